"""Which log a name means: an operand of a node, a pod, a container of an engine."""

from __future__ import annotations

from backends.contract import Backend, GpudeckError, ListsWorkloads, ReportsStack, Unreachable
from backends.domain import LogSource, NotPermitted, Stack, Workload, Workloads, clean, node_named
from backends.feed import closing
from backends.rights import not_seen

ENGINES = frozenset({"docker"})
"""Platforms whose workloads are containers of a node's engine, not pods."""


def source_of(workload: Workload) -> LogSource:
    """The log of a workload."""
    if workload.platform in ENGINES:
        return LogSource(workload.name, node=workload.node)
    return LogSource(workload.name, workload.namespace)


def of_operand(stack: Stack, name: str, node: str | None) -> LogSource | None:
    """The pod of the operand called `name`, by its key or its pod's name, with the container that is not well.

    Raises GpudeckError when it runs on several nodes and none is named.
    """
    nodes = stack.nodes if node is None else tuple(each for each in [node_named(stack.nodes, node)] if each is not None)
    found = [
        (each.name, state)
        for each in nodes
        for state in each.operands
        if name in (state.operand, state.pod) and state.pod is not None
    ]
    if len({state.pod for _, state in found}) > 1:
        on = ", ".join(sorted(each for each, _ in found)[:5]) + (", …" if len(found) > 5 else "")
        raise GpudeckError(f"{clean(name, 64)} runs on {len(found)} nodes", f"name one with --node: {on}")
    if not found:
        return None
    _, state = found[0]
    return LogSource(state.pod or "", state.namespace, (state.container,) if state.container is not None else ())


def of_workload(workloads: Workloads, name: str, node: str | None) -> LogSource | None:
    """By its name or its title, PROJECT/NAME; raises GpudeckError for a name that several have."""
    found = [each for each in workloads.items if name in (each.name, each.title) and node in (None, each.node)]
    if len(found) > 1:
        where = ", ".join(sorted(f"{each.title} on {each.node}" for each in found)[:5])
        engines = all(each.platform in ENGINES for each in found)
        hint = "name its --node" if engines else "name one as NAMESPACE/POD, or its --node"
        raise GpudeckError(f"several are called {clean(name, 64)}: {where}", hint)
    return source_of(found[0]) if found else None


async def find(backend: Backend, name: str, node: str | None) -> LogSource:
    """What `name` means on this platform. Raises `GpudeckError`.

    NAMESPACE/POD is taken as it is, and so is a container of a node's engine: operands there are no containers.
    """
    if backend.name in ENGINES:
        return await _of_engines(backend, name, node)
    namespace, slash, pod = name.partition("/")
    if slash:
        return LogSource(pod, namespace)
    refused: list[NotPermitted] = []
    if isinstance(backend, ReportsStack):
        async with closing(backend.stack()) as stacks:
            stack = await anext(stacks)
        source = of_operand(stack, name, node)
        refused += stack.not_permitted
        if source is not None:
            return source
    workloads = await _workloads(backend)
    source = of_workload(workloads, name, node)
    refused += workloads.not_permitted
    if source is not None:
        return source
    called = f"called {clean(name, 64)!r}" + (f" on {clean(node, 64)}" if node is not None else "")
    hidden = not_seen(f"no operand, pod or container {called}", refused, "nodes", "pods")
    if hidden is not None:
        raise hidden
    raise GpudeckError(f"no operand, pod or container is {called}", "NAMESPACE/POD names any other pod")


async def _of_engines(backend: Backend, name: str, node: str | None) -> LogSource:
    if node is not None:
        return LogSource(name.rpartition("/")[2], node=node)
    workloads = await _workloads(backend)
    found = of_workload(workloads, name, node)
    if found is not None:
        return found
    called = f"called {clean(name, 64)!r}"
    hidden = not_seen(f"no container {called}", workloads.not_permitted, "containers")
    if hidden is not None:
        raise hidden
    said = f"no container is {called}"
    if not workloads.unread:
        raise GpudeckError(said, "docker ps -a on the node tells their names")
    first, *more = workloads.unread
    others = f" (and {len(more)} more)" if more else ""
    raise Unreachable(f"{said} where that could be looked for: {first.why}{others}", "name its node with --node")


async def _workloads(backend: Backend) -> Workloads:
    if not isinstance(backend, ListsWorkloads):
        return Workloads()
    async with closing(backend.workloads()) as values:
        return await anext(values)
