"""Memory that nobody uses: held by no process, or by processes whose GPU has been idle for long."""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Evidence, Finding, Gpu, GpuProcess, Severity
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, finding, of_gpu
from backends.triage.state import NodeView, load_class
from backends.triage.words import gib

GIB = 1024**3
HELD_BYTES = 2 * GIB
"""The driver's own share of a GPU is below this; on drivers that count it as used it is some 600 MiB."""
IDLE_SECONDS = 3600.0
"""An idle GPU with memory allocated is told after this time; the tracker counts it."""
IDLE_BYTES = 4 * GIB
HOSTS_OF_GUESTS = frozenset({"vgpu", "host_vgpu", "host_vsga"})
"""Virtualization modes in which the memory of guests shows and their processes do not."""


def memory_held(view: NodeView) -> Iterator[Finding]:
    """Memory in use on a GPU whose list of processes could be read and is empty, or holds only dead ones."""
    for gpu in view.gpus:
        used = gpu.memory.used_bytes
        if used is None or used < HELD_BYTES or not tells_processes(gpu) or gpu.processes_omitted:
            continue
        processes = gpu.processes or ()
        if any(_lives(process) for process in processes):
            continue
        ghosts = _ghosts(view, processes)
        if len(ghosts) == len(processes):
            yield _held(view, gpu, used, ghosts)


def _held(view: NodeView, gpu: Gpu, used: int, ghosts: tuple[GpuProcess, ...]) -> Finding:
    evidence = [Evidence(f"{gib(used)} in use, {len(gpu.processes or ())} processes listed", None, "nvml")]
    evidence += [Evidence(f"pid {ghost.pid} is listed, the node has no such process", None, "host") for ghost in ghosts]
    sees = _sees_processes(view)
    return finding(
        "memory-held",
        Severity.WARNING if sees else Severity.INFO,
        of_gpu(view, gpu),
        f"{gib(used)} of its memory are held by no live process",
        view.now,
        evidence=evidence,
        cause="likely a process that died and left its context behind"
        if sees
        else "likely a process that this login cannot see, in a container perhaps, or one that died",
        steps=[
            steps.command(
                f"on {view.name}: who has the device open",
                f"fuser -v /dev/nvidia{gpu.index if gpu.minor_number is None else gpu.minor_number}",
            ),
            steps.drain(view),
            *steps.reset_gpu(view, gpu),
            steps.open_gpu(view, gpu, "processes"),
        ],
        source=GPUDECK,
    )


def _ghosts(view: NodeView, processes: tuple[GpuProcess, ...]) -> tuple[GpuProcess, ...]:
    """Listed processes that the node does not have.

    Only root sees every process.
    """
    assert view.node is not None
    if not view.node.privileged or view.node.transport != "nvml":
        return ()
    return processes if _sees_processes(view) else ()


def _sees_processes(view: NodeView) -> bool:
    """Some process of NVML's lists is known to the node: a probe in a container of its own would see none."""
    return any(_lives(process) for gpu in view.gpus for process in gpu.processes or ())


def _lives(process: GpuProcess) -> bool:
    return process.user is not None or process.command is not None or process.started_at is not None


def idle_with_memory(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        used = gpu.memory.used_bytes
        if used is None or used < IDLE_BYTES or not gpu.processes or gpu.mig.enabled or load_class(gpu) != "idle":
            continue
        yield finding(
            "idle-with-memory",
            Severity.INFO,
            of_gpu(view, gpu),
            f"has been idle for over an hour with {gib(used)} allocated",
            view.now,
            evidence=[Evidence(f"{gib(used)} in use, the driver calls the GPU idle", None, "nvml")],
            cause="likely a notebook or a server without requests",
            hits=hits.of_gpu(gpu),
            steps=[steps.advice("ask its owner"), steps.open_gpu(view, gpu, "processes")],
            source=GPUDECK,
        )


def tells_processes(gpu: Gpu) -> bool:
    return gpu.processes is not None and not gpu.mig.enabled and gpu.vgpu.mode not in HOSTS_OF_GUESTS


def tells_idle(gpu: Gpu) -> bool:
    return gpu.memory.used_bytes is not None and not gpu.mig.enabled and load_class(gpu) is not None
