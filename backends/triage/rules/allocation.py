"""What the platform gave out against what really runs on the GPUs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backends.allocation import Watched, of_kind
from backends.domain import Evidence, Finding, GpuUse, Mismatch, MismatchKind, NextStep, Severity, Subject, Workload
from backends.ownership import asked_words, owner_words
from backends.triage import hits, steps
from backends.triage.rule import finding
from backends.triage.state import NodeView, SiteState
from backends.triage.words import gib


@dataclass(frozen=True, slots=True)
class Kind:
    rule: str
    severity: Severity
    cause: str
    advice: str
    docker: Severity | None = None
    """Where an engine without a scheduler runs the containers."""


KINDS: dict[MismatchKind, Kind] = {
    MismatchKind.IDLE: Kind(
        "alloc-idle",
        Severity.INFO,
        "likely a notebook or a server that was left, or work that has not begun: nobody else gets these GPUs",
        "ask its owner whether it still needs them",
    ),
    MismatchKind.UNALLOCATED: Kind(
        "alloc-unasked",
        Severity.WARNING,
        "likely NVIDIA_VISIBLE_DEVICES in its image or environment, or a privileged container: the scheduler knows"
        " nothing of it and gives the GPU to others too",
        "let it ask for a GPU in its resources; forbid NVIDIA_VISIBLE_DEVICES to unprivileged pods in the toolkit",
        docker=Severity.INFO,
    ),
    MismatchKind.TWICE: Kind(
        "alloc-twice",
        Severity.WARNING,
        "likely one of them sees more GPUs than it was given, or the device plugin forgot what it gave out",
        "stop one of them, and look at the environment of both",
    ),
    MismatchKind.ORPHAN: Kind(
        "alloc-orphan",
        Severity.WARNING,
        "likely its pod was deleted while its container did not die: it holds memory that is given to the next one",
        "end it on the node once its owner agrees",
        docker=Severity.INFO,
    ),
    MismatchKind.HOST: Kind(
        "alloc-host",
        Severity.WARNING,
        "likely somebody logged in to the node and started it: the scheduler gives the GPU to pods too",
        "ask its user to run it as a pod, or take the node out of the cluster",
    ),
}


def judge(kind: MismatchKind) -> Callable[[SiteState], Iterator[Finding]]:
    """The rule for one kind."""

    def rule(state: SiteState) -> Iterator[Finding]:
        platform = state.platform
        if platform is None or not platform.answers("workloads"):
            return
        known = {} if platform.stack is None else {node.name: node for node in platform.stack.nodes}
        for view in state.views:
            if view.node is None:
                continue
            node = known.get(view.name)
            if node is None and platform.stack is not None:
                node = platform.stack.get(view.name)
            seen = Watched(view.name, view.node, node, platform.stack, platform.ownership, state.now)
            for each in of_kind(kind, seen):
                yield _finding(each, view, platform.ownership.platform)

    return rule


def _finding(found: Mismatch, view: NodeView, platform: str | None) -> Finding:
    kind = KINDS[found.kind]
    severity = kind.docker if platform == "docker" and kind.docker is not None else kind.severity
    more = (
        found.workloads[0].uid
        if found.kind is MismatchKind.IDLE
        else ",".join(str(use.process.pid) for use in found.uses if use.workload is None)
    )
    touched = hits.merged([hits.of_processes(use.process for use in found.uses)]) or hits.of_workloads(found.workloads)
    return finding(
        kind.rule,
        severity,
        Subject(found.node, found.gpu_key, found.gpu_index),
        found.claim,
        view.now,
        evidence=[*map(_asked, found.workloads), *(_seen(use) for use in found.uses)] or [Evidence(found.claim)],
        cause=kind.cause,
        hits=touched,
        steps=_steps(kind, found, view),
        source="gpudeck: allocation",
        more=more,
    )


def _asked(workload: Workload) -> Evidence:
    owner = owner_words(workload)
    of = f" of {owner}" if owner else ""
    return Evidence(f"{workload.title}{of} asked for {asked_words(workload)}", workload.started_at, workload.platform)


def _seen(use: GpuUse) -> Evidence:
    process = use.process
    held = "" if process.memory_bytes is None else f" with {gib(process.memory_bytes)}"
    inside = f" in container {process.container_id[:12]}" if process.container_id else " in no container"
    return Evidence(f"pid {process.pid} is on GPU {use.gpu_index}{held}{inside}", None, "nvml")


def _steps(kind: Kind, found: Mismatch, view: NodeView) -> Iterator[NextStep]:
    gpu = next((each for each in view.gpus if each.key == found.gpu_key), None)
    yield steps.open_node(view, "processes") if gpu is None else steps.open_gpu(view, gpu, "processes")
    for workload in found.workloads:
        if workload.platform == "docker":
            yield steps.command(f"on {view.name}: look at it", f"docker inspect {shlex.quote(workload.name)}")
        else:
            tool = "oc" if workload.platform == "openshift" else "kubectl"
            where = shlex.quote(workload.namespace or "default")
            yield steps.command("look at it", f"{tool} -n {where} describe pod {shlex.quote(workload.name)}")
    for use in found.uses:
        if use.workload is None:
            yield steps.command(
                f"on {view.name}: see what started it", f"ps -o pid,ppid,user,lstart,cgroup,args {use.process.pid}"
            )
    yield steps.advice(kind.advice)


def judged(state: SiteState) -> int:
    """How many nodes both sides tell of."""
    platform = state.platform
    if platform is None or not platform.answers("workloads"):
        return 0
    return sum(view.node is not None and platform.ownership.knows(view.name) for view in state.views)
