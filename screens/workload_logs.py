"""The log of a process, of the work on a GPU, of what a finding is about; or why there is none. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.logs.find import source_of
from screens.logs_rows import LogTarget, stack_targets
from screens.triage_jump import STACK, destination

if TYPE_CHECKING:
    from backends.domain import Finding, GpuProcess, Problem, Stack, Workload
    from backends.ownership import Ownership

ID_DIGITS = 12
NO_PLATFORM = "This site names no platform: it has no log of a workload."


def workload_target(workload: Workload, container: str | None = None) -> LogTarget:
    """The log of a workload; of one of its containers where it is named, else of all of them."""
    source = source_of(workload)
    if container is not None and source.namespace is not None:
        source = replace(source, containers=(container,))
    return LogTarget(source, workload.title)


def container_target(ownership: Ownership | None, identity: str | None) -> LogTarget | None:
    """The log of the container with these hex digits; None where the platform does not know it."""
    found = ownership.container(identity) if ownership is not None else None
    return None if found is None else workload_target(found[0], found[1].name)


def workload_targets(workloads: Iterable[Workload]) -> list[LogTarget]:
    return [workload_target(each) for each in workloads]


def process_targets(processes: Iterable[GpuProcess], ownership: Ownership | None) -> list[LogTarget]:
    """The logs of the containers that processes run in, each once."""
    found = (container_target(ownership, each.container_id) for each in processes)
    return list(dict.fromkeys(each for each in found if each is not None))


def finding_targets(finding: Finding, ownership: Ownership | None, stack: Stack | None) -> list[LogTarget]:
    """What tells about a finding, the first the most: of the stack what blocks its node, else the work that it hits."""
    to = destination(finding)
    node = stack.get(to.node) if stack is not None and to.page == STACK and to.node is not None else None
    if stack is not None and node is not None:
        first, others = stack_targets(stack, node)
        return list(dict.fromkeys(each for each in (first, *others) if each is not None))
    if ownership is None:
        return []
    titled = {each.title: each for each in ownership.workloads.items}
    found: list[LogTarget | None] = []
    for hit in finding.hits:
        named = titled.get(hit.workload or "")
        found.append(container_target(ownership, hit.container_id) or (workload_target(named) if named else None))
    return list(dict.fromkeys(each for each in found if each is not None))


def without_log(platform: str | None, ownership: Ownership | None, problem: Problem | None) -> str:
    """Why no log can be told, where that is known of the platform as a whole; empty where it is not."""
    if platform is None:
        return NO_PLATFORM
    if ownership is None:
        return f"{platform} cannot be read: {problem.message}" if problem else f"{platform} has told no workload yet."
    return ""


def process_without_log(process: GpuProcess, node: str, platform: str | None, ownership: Ownership | None) -> str:
    """Why a process has no log here."""
    if process.container_id is None:
        return f"pid {process.pid} runs in no container: {platform} has no log of it."
    unknown = f"{platform} does not tell whose container {process.container_id[:ID_DIGITS]} is"
    gap = None if ownership is None else ownership.gap_on(node)
    return f"{unknown}: {gap or 'it has no log of it'}."
