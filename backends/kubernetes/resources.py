"""The collections of the API, and the paths under which they are reached."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from backends.domain import Permission


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object."""

    plural: str
    group: str = ""
    """Empty: the core group."""
    version: str = "v1"
    namespaced: bool = True

    @property
    def qualified(self) -> str:
        """`pods`, `clusterpolicies.nvidia.com`: never a kind alone, because other vendors use the same ones."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path of the collection, or of one object; every part is quoted, because names come from outside."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def permission(
        self, verb: str, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> Permission:
        resource = self.qualified if subresource is None else f"{self.qualified}/{subresource}"
        return Permission(verb, resource, namespace if self.namespaced else None, name)


NODES = Resource("nodes", namespaced=False)
PODS = Resource("pods")
CONFIG_MAPS = Resource("configmaps")
EVENTS = Resource("events")
NAMESPACES = Resource("namespaces", namespaced=False)
DAEMON_SETS = Resource("daemonsets", "apps")
CLUSTER_POLICIES = Resource("clusterpolicies", "nvidia.com", namespaced=False)
NVIDIA_DRIVERS = Resource("nvidiadrivers", "nvidia.com", "v1alpha1", namespaced=False)
PROJECTS = Resource("projects", "project.openshift.io", namespaced=False)
ACCESS_REVIEWS = Resource("selfsubjectaccessreviews", "authorization.k8s.io", namespaced=False)
DISRUPTION_BUDGETS = (
    Resource("poddisruptionbudgets", "policy", "v1"),
    Resource("poddisruptionbudgets", "policy", "v1beta1"),
)
"""The newest first; v1beta1 is what servers before 1.21 have."""
