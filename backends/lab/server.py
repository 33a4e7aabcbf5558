"""The lab: a simulated site on loopback that is reached by SSH like any other.

async with Lab(LabSpec(out=Path("/tmp/L"), nodes=12, scenarios=("gpu-lost",))) as lab:
    ...  # point any client at lab.site_file, or at the ssh_config beside it
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backends.contract import GpudeckError
from backends.feed import Clock, SystemClock
from backends.lab.control import ControlServer
from backends.lab.files import Address, LabFiles, make_directory, write_files, writing
from backends.lab.hardware import SimNode, fleet
from backends.lab.scenarios import SCENARIOS, platform_for, scenario
from backends.lab.stage import Stage

if TYPE_CHECKING:
    from backends.lab.docker import DockerApi
    from backends.lab.kube.service import KubeService
    from backends.lab.listener import NodeListener

CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LabSpec:
    out: Path
    """Directory of the lab's files; made when it is missing."""
    nodes: int = 12
    scenarios: tuple[str, ...] = ()
    """Active from the start."""
    seed: int = 7
    """The same seed gives the same machines, jobs and figures."""
    hostile: bool = False
    """Process commands, users and one GPU name are hostile text."""
    platform: str | None = None
    """docker, kubernetes or openshift: what the nodes run besides SSH. None: what the scenarios need."""
    changing_percent: int = 100
    """Share of the nodes whose values move; the others stand still, for measuring what an idle fleet costs."""
    clock: Clock = field(default_factory=SystemClock)


class Lab:
    """A running lab. Raises GpudeckError when another one runs in the directory, or for an unknown scenario."""

    def __init__(self, spec: LabSpec) -> None:
        for name in spec.scenarios:
            scenario(name)
        if spec.nodes < 1:
            raise GpudeckError("a lab needs at least one node", "Give --nodes a number from 1 up.")
        self.spec = spec
        self.files = LabFiles(spec.out)
        self.nodes: tuple[SimNode, ...] = fleet(spec.nodes, spec.seed, hostile=spec.hostile)
        self.platform = spec.platform or platform_for(spec.scenarios)
        self.kube: KubeService | None = None
        """The cluster and its API, on a lab with Kubernetes or OpenShift."""
        self._stages: dict[str, Stage] = {}
        self._listeners: list[NodeListener] = []
        self._control = ControlServer(self.files.socket, self._answer)
        self._lock: int | None = None
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def site_file(self) -> Path:
        """The settings file that describes the lab as a site."""
        return self.files.site

    @property
    def scenarios_active(self) -> tuple[str, ...]:
        return tuple(self._stages)

    def port(self, node: str) -> int:
        """TCP port of a node on 127.0.0.1; raises KeyError for a name that is not in the lab."""
        for listener in self._listeners:
            if listener.node.hardware.name == node:
                return listener.port
        raise KeyError(node)

    async def __aenter__(self) -> Self:
        make_directory(self.spec.out)
        self._lock = _take_lock(self.files)
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        import asyncssh

        from backends.lab.listener import NodeListener
        from backends.lab.session import Node

        user_key = asyncssh.generate_private_key("ssh-ed25519", comment="gpudeck lab")
        count = len(self.nodes)
        for index, hardware in enumerate(self.nodes):
            hardware.contained = self.platform is not None
            node = Node(hardware, self.spec.clock, (index + 1) / count, still=self._stands_still(index))
            hardware.still_at = node.jobs_clock.now() if self._stands_still(index) else None
            self._listeners.append(NodeListener(node, user_key, self._docker(hardware)))
        if self.platform in ("kubernetes", "openshift"):
            from backends.lab.kube.service import KubeService

            self.kube = KubeService(self.nodes, self.spec.clock, self.platform)
            await self.kube.start()
        for name in self.spec.scenarios:
            self._play(name)
        await self._refresh()
        addresses = [
            Address(
                listener.node.hardware.name,
                listener.port,
                listener.host_key.export_public_key().decode().strip(),
            )
            for listener in self._listeners
        ]
        kubeconfig = None if self.kube is None else self.kube.kubeconfig()
        thanos = None if self.kube is None or self.kube.thanos is None else self.kube.thanos.url
        write_files(self.files, user_key.export_private_key(), addresses, self.platform, kubeconfig, thanos)
        await self._control.start()

    def _docker(self, hardware: SimNode) -> DockerApi | None:
        if self.platform != "docker":
            return None
        from backends.lab.docker import DockerApi

        return DockerApi(hardware, self.spec.clock)

    def _stands_still(self, index: int) -> bool:
        return index * 100 >= self.spec.changing_percent * len(self.nodes)

    def activate(self, name: str) -> asyncio.Task[None]:
        """Switches a scenario on; once more changes nothing.

        The hardware changes at once, connections when the returned task is done. Raises GpudeckError for an unknown
        name.
        """
        self._play(name)
        return self._refresh_soon()

    def deactivate(self, name: str) -> asyncio.Task[None]:
        """Switches a scenario off; one that is not on stays off. Raises GpudeckError for an unknown name."""
        scenario(name)
        stage = self._stages.pop(name, None)
        if stage is not None:
            stage.undo(self.spec.clock.now())
        return self._refresh_soon()

    def _play(self, name: str) -> None:
        chosen = scenario(name)
        if name not in self._stages:
            if chosen.platforms and self.platform not in chosen.platforms:
                where = " or ".join(chosen.platforms)
                raise GpudeckError(
                    f"the scenario {name} needs {where}", f"Start the lab with --platform {chosen.platform}."
                )
            cluster = None if self.kube is None else self.kube.cluster
            stage = Stage(self.nodes, self.spec.clock.now(), cluster)
            try:
                chosen.play(stage)
            except GpudeckError as error:
                raise GpudeckError(f"the scenario {name} cannot be played: {error.message}", error.hint) from error
            self._stages[name] = stage
            if cluster is not None:
                cluster.tick()  # what the API tells and what the nodes tell is one story from its first word

    def _refresh_soon(self) -> asyncio.Task[None]:
        before = self._refreshing

        async def after() -> None:
            # One at a time: two of them must not open the same port.
            if before is not None:
                await asyncio.wait({before})
            await self._refresh()

        self._refreshing = asyncio.create_task(after())
        return self._refreshing

    async def _refresh(self) -> None:
        for listener in self._listeners:
            await listener.refresh()

    async def _answer(self, op: str, name: str | None) -> dict[str, Any]:
        switches = {"on": self.activate, "off": self.deactivate}
        if op in switches:
            await switches[op](name or "")
        elif op != "list":
            raise GpudeckError(f"the lab does not know {op!r}", "Use on, off or list.")
        return {
            "active": list(self.scenarios_active),
            "scenarios": {entry.name: entry.summary for entry in SCENARIOS.values()},
            "nodes": [node.name for node in self.nodes],
        }

    async def close(self) -> None:
        """Ends all connections and frees the directory, in at most `CLOSE_SECONDS`."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        if self._lock is not None:
            await self._control.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(listener.close() for listener in self._listeners))
        self._listeners.clear()
        if self.kube is not None:
            await self.kube.close()
            self.kube = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take_lock(files: LabFiles) -> int:
    """A descriptor that holds the directory's lock; the kernel frees it when the process dies."""
    with writing(files.out):
        descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise GpudeckError(
            f"another lab runs in {files.out}", "Stop it, or give this one another directory."
        ) from error
    return descriptor


async def serve(spec: LabSpec, ready: Callable[[Lab], None]) -> None:
    """Runs a lab until cancelled; calls `ready` once every node listens and all files are written."""
    async with Lab(spec) as lab:
        ready(lab)
        await asyncio.Event().wait()
