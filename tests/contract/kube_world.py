"""The worlds of the backends `kubernetes` and `openshift`: an API server, real or the lab's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from backends.contract import Backend
from backends.domain import Stack, StackHealth
from backends.kubernetes.backend import Kubernetes
from backends.openshift.backend import OpenShift
from tests.kube import objects, openshift_objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context
from tests.kube.server import token, write_kubeconfig


class Server(Protocol):
    @property
    def directory(self) -> Path: ...

    def kubeconfig(self, user: str = "admin") -> Path: ...


class KubeWorld:
    node = "dgx01"
    namespace = "team-search"
    pod = "llama-70b-0"
    owner = ("Deployment", "llama-70b")
    gpus = 2
    tells_nodes_itself = False
    blocking_operand = "driver"
    blocking_message = "Could not resolve Linux kernel version"

    def __init__(self, server: Server, admin: Admin) -> None:
        self._server = server
        self._admin = admin
        self.container_id = ""

    async def prepare(self) -> KubeWorld:
        await self._admin.create(*objects.good_cluster(self.node, "dgx02"))
        replica_set = await self._replica_set()
        owner = objects.controller("apps/v1", "ReplicaSet", "llama-70b-6d5f", replica_set["metadata"]["uid"])
        pod = objects.pod(self.pod, node=self.node, namespace=self.namespace, gpus={"nvidia.com/gpu": 2}, owner=owner)
        await self._admin.create(pod)
        self.container_id = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        return self

    async def _replica_set(self) -> dict[str, Any]:
        template = {
            "metadata": {"labels": {"app": "llama"}},
            "spec": {"containers": [{"name": "main", "image": "busybox:1"}]},
        }
        spec = {"selector": {"matchLabels": {"app": "llama"}}, "template": template}
        below: dict[str, Any] = {"name": self.owner[1], "namespace": self.namespace}
        (deployment,) = await self._admin.create(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": below, "spec": spec}
        )
        above = objects.controller("apps/v1", "Deployment", self.owner[1], deployment["metadata"]["uid"])
        metadata: dict[str, Any] = {"name": "llama-70b-6d5f", "namespace": self.namespace, "ownerReferences": [above]}
        (replica_set,) = await self._admin.create(
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
        )
        return replica_set

    def open(self) -> Backend:
        return self.opened("admin")

    def open_for_nobody(self) -> Backend:
        return self.opened("nobody")

    def open_nowhere(self) -> Backend:
        path = self._server.directory / "kubeconfig-nowhere"
        write_kubeconfig(path, {"server": "https://127.0.0.1:1"}, {"token": token("admin")})
        return self._make(path)

    def opened(self, user: str, **settings: Any) -> Backend:
        return self._make(self._server.kubeconfig(user), **settings)

    def _make(self, kubeconfig: Path, **settings: Any) -> Backend:
        return Kubernetes.open(context(kubeconfig, nodes=(self.node,), **settings))

    def is_whole(self, stack: Stack) -> bool:
        return stack.version is not None and stack.health is StackHealth.READY

    async def break_stack(self) -> None:
        broken = objects.operand("driver", self.node, nvidia_driver_ctr=objects.crashing(self.blocking_message))
        await self._admin.patch(broken, {"status": broken["status"]}, "status")

    async def mend_stack(self) -> None:
        mended = objects.operand("driver", self.node)
        await self._admin.patch(mended, {"status": mended["status"]}, "status")

    async def end_pod(self) -> None:
        await self._admin.delete(objects.pod(self.pod, namespace=self.namespace))

    async def is_schedulable(self) -> bool:
        raw = await self._admin.get(objects.node(self.node))
        return not raw["spec"].get("unschedulable")

    async def mig_layout(self) -> str | None:
        raw = await self._admin.get(objects.node(self.node))
        layout: str | None = raw["metadata"]["labels"].get("nvidia.com/mig.config")
        return layout


class OpenShiftWorld(KubeWorld):
    async def prepare(self) -> OpenShiftWorld:
        await super().prepare()
        await self._admin.create(
            openshift_objects.cluster_version(),
            openshift_objects.subscription(),
            openshift_objects.install_plan(),
            openshift_objects.service_version(),
        )
        return self

    def is_whole(self, stack: Stack) -> bool:
        return super().is_whole(stack) and stack.cluster is not None and stack.operators != ()

    def _make(self, kubeconfig: Path, **settings: Any) -> Backend:
        return OpenShift.open(context(kubeconfig, nodes=(self.node,), **settings))
