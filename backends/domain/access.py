"""What a cluster lets this user do, in the words of RBAC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Permission:
    """One right at a cluster's API."""

    verb: str
    """get, list, watch, create, patch, delete."""
    resource: str
    """Plural with its API group and subresource: pods, pods/eviction, clusterpolicies.nvidia.com."""
    namespace: str | None = None
    """None: in the whole cluster, or a resource without namespaces."""
    name: str | None = None
    """None: every object."""

    def __str__(self) -> str:
        """`patch nodes dgx07`, `list pods in team-a`: for "needs: ..."."""
        named = f" {self.name}" if self.name is not None else ""
        placed = f" in {self.namespace}" if self.namespace is not None else ""
        return f"{self.verb} {self.resource}{named}{placed}"


@dataclass(frozen=True, slots=True)
class NotPermitted:
    """Something that is not shown because it may not be read; nothing else misses because of it."""

    what: str
    """In words: the pods of team-a."""
    permission: Permission
    """The right that would show it."""
    node: str | None = None
    """By whose engine it is refused, for that node alone; None: by the platform of the whole site."""


@dataclass(frozen=True, slots=True)
class AccessReview:
    """The answer of a SelfSubjectAccessReview (authorization.k8s.io/v1)."""

    permission: Permission
    allowed: bool
    reason: str | None = None
    """The authorizer's words; most leave it empty."""
