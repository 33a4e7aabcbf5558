"""The resources the lab's API serves. One line each; discovery is made from this table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"


KUBERNETES: tuple[Kind, ...] = (
    Kind("", "v1", "nodes", "Node", False, ("status",)),
    Kind("", "v1", "namespaces", "Namespace", False, ("status",)),
    Kind("", "v1", "pods", "Pod", True, ("status", "log", "eviction")),
    Kind("", "v1", "events", "Event", True),
    Kind("", "v1", "configmaps", "ConfigMap", True),
    Kind("", "v1", "services", "Service", True, ("status",)),
    Kind("", "v1", "endpoints", "Endpoints", True),
    Kind("apps", "v1", "daemonsets", "DaemonSet", True, ("status",)),
    Kind("apps", "v1", "deployments", "Deployment", True, ("status",)),
    Kind("apps", "v1", "replicasets", "ReplicaSet", True, ("status",)),
    Kind("apps", "v1", "statefulsets", "StatefulSet", True, ("status",)),
    Kind("batch", "v1", "jobs", "Job", True, ("status",)),
    Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("status",)),
    Kind("nvidia.com", "v1", "clusterpolicies", "ClusterPolicy", False, ("status",)),
    Kind("nvidia.com", "v1alpha1", "nvidiadrivers", "NVIDIADriver", False, ("status",)),
)
OPENSHIFT: tuple[Kind, ...] = (
    Kind("config.openshift.io", "v1", "clusterversions", "ClusterVersion", False, ("status",)),
    Kind("config.openshift.io", "v1", "clusteroperators", "ClusterOperator", False, ("status",)),
    Kind("operators.coreos.com", "v1alpha1", "subscriptions", "Subscription", True, ("status",)),
    Kind("operators.coreos.com", "v1alpha1", "installplans", "InstallPlan", True, ("status",)),
    Kind("operators.coreos.com", "v1alpha1", "clusterserviceversions", "ClusterServiceVersion", True, ("status",)),
    Kind("route.openshift.io", "v1", "routes", "Route", True, ("status",)),
    Kind("project.openshift.io", "v1", "projects", "Project", False),
)
"""Served besides when the lab plays OpenShift."""

REVIEWS: dict[str, str] = {
    "selfsubjectaccessreviews": "SelfSubjectAccessReview",
    "selfsubjectrulesreviews": "SelfSubjectRulesReview",
}
"""Of authorization.k8s.io/v1: answered, never stored."""
