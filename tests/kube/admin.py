"""An administrator's hand at the test cluster: creates objects with their status, deletes them for good."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from pathlib import Path
from typing import Any

import yaml

from backends.contract import Gone, Refused
from backends.domain import KubernetesSpec
from backends.feed import SystemClock
from backends.kubernetes.api import MERGE_PATCH, Api
from backends.kubernetes.resources import Resource
from tests.kube import objects

CRDS = Path(__file__).parents[1] / "data" / "crds"
REVIEWS = Resource("subjectaccessreviews", "authorization.k8s.io", namespaced=False)
DEFINITIONS = Resource("customresourcedefinitions", "apiextensions.k8s.io", namespaced=False)
Raw = dict[str, Any]

KINDS: dict[tuple[str, str], Resource] = {
    ("v1", "Node"): Resource("nodes", namespaced=False),
    ("v1", "Namespace"): Resource("namespaces", namespaced=False),
    ("v1", "Pod"): Resource("pods"),
    ("v1", "Event"): Resource("events"),
    ("v1", "Service"): Resource("services"),
    ("apps/v1", "DaemonSet"): Resource("daemonsets", "apps"),
    ("apps/v1", "Deployment"): Resource("deployments", "apps"),
    ("apps/v1", "ReplicaSet"): Resource("replicasets", "apps"),
    ("batch/v1", "Job"): Resource("jobs", "batch"),
    ("policy/v1beta1", "PodDisruptionBudget"): Resource("poddisruptionbudgets", "policy", "v1beta1"),
    ("nvidia.com/v1", "ClusterPolicy"): Resource("clusterpolicies", "nvidia.com", namespaced=False),
    ("nvidia.com/v1alpha1", "NVIDIADriver"): Resource("nvidiadrivers", "nvidia.com", "v1alpha1", namespaced=False),
    ("config.openshift.io/v1", "ClusterVersion"): Resource("clusterversions", "config.openshift.io", namespaced=False),
    ("operators.coreos.com/v1alpha1", "Subscription"): Resource("subscriptions", "operators.coreos.com", "v1alpha1"),
    ("operators.coreos.com/v1alpha1", "InstallPlan"): Resource("installplans", "operators.coreos.com", "v1alpha1"),
    ("operators.coreos.com/v1alpha1", "ClusterServiceVersion"): Resource(
        "clusterserviceversions", "operators.coreos.com", "v1alpha1"
    ),
    ("route.openshift.io/v1", "Route"): Resource("routes", "route.openshift.io"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): Resource(
        "clusterroles", "rbac.authorization.k8s.io", namespaced=False
    ),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): Resource(
        "clusterrolebindings", "rbac.authorization.k8s.io", namespaced=False
    ),
    ("rbac.authorization.k8s.io/v1", "Role"): Resource("roles", "rbac.authorization.k8s.io"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): Resource("rolebindings", "rbac.authorization.k8s.io"),
}
WIPED = (
    "Pod",
    "Node",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "Job",
    "PodDisruptionBudget",
    "ClusterPolicy",
    "NVIDIADriver",
    "ClusterVersion",
    "Subscription",
    "InstallPlan",
    "ClusterServiceVersion",
    "Route",
    "Event",
    "Service",
)
"""Namespaces stay: no controller would ever finish their deletion."""
AT_ONCE = 16


class Admin:
    def __init__(self, kubeconfig: Path) -> None:
        self.api = Api(KubernetesSpec(kubeconfig=kubeconfig), SystemClock())
        self._namespaces: set[str] = set()
        self._granted: list[Raw] = []

    async def close(self) -> None:
        await self.api.close()

    async def install_crds(self) -> None:
        """All of `tests/data/crds`, and waits until the server serves them."""
        for file in sorted(CRDS.glob("*.yaml")):
            for document in yaml.safe_load_all(file.read_text()):
                if document:
                    try:
                        await self.api.send("POST", DEFINITIONS.path(), document)
                    except Refused:
                        await self.api.send("POST", DEFINITIONS.path(), for_old_servers(document))
        for resource in KINDS.values():
            async with asyncio.timeout(30):
                while not await self.api.exists(resource):
                    await asyncio.sleep(0.1)

    async def create(self, *wanted: Raw) -> list[Raw]:
        """Creates each with its status; returns what the server made of them, in their order."""
        for namespace in {each["metadata"].get("namespace") for each in wanted}:
            await self.namespace(namespace)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(each: Raw) -> Raw:
            async with gate:
                return await self._create(each)

        return list(await asyncio.gather(*(one(each) for each in wanted)))

    async def namespace(self, name: str | None) -> None:
        if name is None or name in self._namespaces:
            return
        with contextlib.suppress(Refused):  # it is there already
            await self.api.send("POST", KINDS["v1", "Namespace"].path(), {"metadata": {"name": name}})
        self._namespaces.add(name)

    async def patch(self, wanted: Raw, patch: Raw, subresource: str | None = None) -> Raw:
        return await self.api.send(
            "PATCH", _path(wanted, subresource), patch, content_type=MERGE_PATCH, query={"fieldManager": "test"}
        )

    async def get(self, wanted: Raw) -> Raw:
        return await self.api.get(_path(wanted))

    async def uid(self, wanted: Raw) -> str | None:
        """Tells an object from its successor of the same name; None when there is none."""
        try:
            return str((await self.get(wanted))["metadata"]["uid"])
        except Gone:
            return None

    async def delete(self, wanted: Raw) -> None:
        await self.api.send("DELETE", _path(wanted), query={"gracePeriodSeconds": 0})

    async def wipe(self) -> None:
        """Deletes what the tests made."""
        for (_, kind), resource in KINDS.items():
            if kind not in WIPED:
                continue
            try:
                listed = await self.api.get(resource.path())
            except Gone:
                continue
            for each in listed.get("items") or ():
                path = resource.path(each["metadata"].get("namespace"), each["metadata"]["name"])
                with contextlib.suppress(Gone):
                    await self.api.send("DELETE", path, query={"gracePeriodSeconds": 0})

    async def grant(
        self, user: str, namespace: str | None, resources: list[str], verbs: list[str], group: str = "", name: str = ""
    ) -> None:
        """Gives a right until `revoke_all`."""
        made = objects.grant(user, namespace, resources, verbs, group, name)
        await self.create(*made)
        self._granted += made
        rule = {"verbs": verbs, "apiGroups": [group], "resources": resources}
        await self._until_granted(user, rule, namespace)

    async def bind(self, user: str, *roles: Raw) -> None:
        """Gives ClusterRoles that are written out elsewhere, until `revoke_all`."""
        for role in roles:
            _, binding = objects.grant(user, None, ["any"], [], name=role["metadata"]["name"])
            made = [role, binding]
            await self.create(*made)
            self._granted += made
            await self._until_granted(user, role["rules"][0])

    async def _until_granted(self, user: str, rule: Raw, namespace: str | None = None) -> None:
        """The server's authorizer hears of a new role a moment later."""
        resource, _, sub = rule["resources"][0].partition("/")
        asked = {"verb": rule["verbs"][0], "group": rule["apiGroups"][0], "resource": resource, "subresource": sub}
        if namespace is not None:
            asked["namespace"] = namespace
        review = {
            "apiVersion": REVIEWS.group_version,
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": asked},
        }
        async with asyncio.timeout(30):
            while not (await self.api.send("POST", REVIEWS.path(), review))["status"]["allowed"]:
                await asyncio.sleep(0.05)

    async def revoke_all(self) -> None:
        granted, self._granted = self._granted, []
        for each in reversed(granted):
            with contextlib.suppress(Gone):
                await self.delete(each)

    async def _create(self, wanted: Raw) -> Raw:
        resource = KINDS[wanted["apiVersion"], wanted["kind"]]
        metadata = {key: value for key, value in wanted["metadata"].items() if key != "uid"}
        body = {**copy.deepcopy(wanted), "metadata": metadata}
        status = body.pop("status", None)
        if wanted["kind"] == "Pod":
            body["spec"].setdefault("automountServiceAccountToken", False)
        made = await self.api.send("POST", resource.path(metadata.get("namespace")), body)
        if status is not None and wanted["kind"] != "ReplicaSet":
            return await self.patch(wanted, {"status": status}, "status")
        return made


def _path(wanted: Raw, subresource: str | None = None) -> str:
    resource = KINDS[wanted["apiVersion"], wanted["kind"]]
    return resource.path(wanted["metadata"].get("namespace"), wanted["metadata"]["name"], subresource)


def for_old_servers(definition: Any) -> Any:
    """A definition without what apiserver 1.20 refuses in newer ones: defaults, choices, and keyed lists, whose keys
    have no default then. None of it matters to a reader."""
    if isinstance(definition, list):
        return [for_old_servers(each) for each in definition]
    if not isinstance(definition, dict):
        return definition
    kept = {
        key: for_old_servers(value)
        for key, value in definition.items()
        if key != "x-kubernetes-list-map-keys" and (key not in {"default", "enum"} or isinstance(value, dict))
    }
    if kept.get("x-kubernetes-list-type") == "map":
        del kept["x-kubernetes-list-type"]
    return kept
