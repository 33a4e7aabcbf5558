"""`gpudeck stack`: the GPU stack as a document, and as text for people.

The document's schema is `gpudeck/stack/1`: times are seconds since the epoch, what is not known is null.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from backends.allocation import InUse
from backends.domain import Blocker, OperandPhase, ResourceCount, SiteSpec, Stack, StackHealth, StackNode, plural

SCHEMA = "gpudeck/stack/1"
ALERTS_TOLD = 16
LOG_LINES = 4
"""Of what blocks, in the table: the last one alone often says only that it failed."""
UNKNOWN_RELEASE = "whether that is supported is not known: a release that this gpudeck has no table of"
WELL = frozenset({StackHealth.READY, StackHealth.CHANGING, StackHealth.OFF})
"""Nothing is in the way: a change that is under way is none."""
NOT_KNOWN: Mapping[str, InUse] = {}


def document(site: SiteSpec, stack: Stack, now: float, used: Mapping[str, InUse] = NOT_KNOWN) -> dict[str, Any]:
    """The whole stack as JSON values; `used` is what is in use on each node of which that is known."""
    values = dataclasses.asdict(stack)
    del values["nodes"]
    return {
        "schema": SCHEMA,
        "site": site.name,
        "at": now,
        **values,
        "health": str(stack.health),
        "blocked": is_blocked(stack),
        "counts": counts(stack),
        "policies": [{**dataclasses.asdict(each), "health": str(each.health)} for each in stack.policies],
        "operators": [
            {**dataclasses.asdict(each), "healthy": each.healthy, "waits_for_approval": each.waits_for_approval}
            for each in stack.operators
        ],
        "nodes": [_node(node, now, used.get(node.name)) for node in stack.nodes],
    }


def is_blocked(stack: Stack) -> bool:
    """Something keeps GPUs from being used, or may: whatever is not well, changing or off."""
    return stack.health not in WELL


def counts(stack: Stack) -> dict[str, Any]:
    """Nodes by health, and for each operand how many nodes have it in which phase."""
    health = {str(each): 0 for each in StackHealth}
    for node in stack.nodes:
        health[str(node.health)] += 1
    operands: dict[str, dict[str, int]] = {operand.key: {} for operand in stack.operands}
    for node in stack.nodes:
        for state in node.operands:
            of = operands.setdefault(state.operand, {})
            of[str(state.phase)] = of.get(str(state.phase), 0) + 1
    return {"nodes": health, "operands": operands}


def _node(node: StackNode, now: float, used: InUse | None) -> dict[str, Any]:
    values = dataclasses.asdict(node)
    values["health"] = str(node.health)
    values["operands"] = [{**dataclasses.asdict(each), "phase": str(each.phase)} for each in node.operands]
    values["waiting"] = node.waiting
    values["in_use"] = None if used is None else dataclasses.asdict(used)
    if node.blocker is not None:
        state = {**dataclasses.asdict(node.blocker.state), "phase": str(node.blocker.state.phase)}
        values["blocker"] |= {"operand": node.blocker.state.operand, "state": state, "log_line": node.blocker.log_line}
    if node.mig is not None:
        values["mig"] |= {"stuck": node.mig.stuck(now)}
    if node.upgrade is not None:
        values["upgrade"] |= {"stuck": node.upgrade.stuck(now), "running": node.upgrade.running}
    return values


_MARKS = {
    OperandPhase.READY: "ok",
    OperandPhase.STARTING: "start",
    OperandPhase.WAITING: "wait",
    OperandPhase.FAILING: "FAIL",
    OperandPhase.MISSING: "MISS",
    OperandPhase.PAUSED: "pause",
    OperandPhase.OFF: "off",
    OperandPhase.UNKNOWN: "?",
}


def render(site: SiteSpec, stack: Stack, now: float, used: Mapping[str, InUse] = NOT_KNOWN) -> str:
    """Aligned plain text: what is wrong first, then a line for each node."""
    lines = [f"{site.name}: {stack.title}, GPU stack {stack.health}"]
    lines += [f"  {line}" for line in _about(stack)]
    for node in stack.nodes:
        if node.blocker is not None:
            lines += _blocker(node, node.blocker)
        lines += [f"  {node.name}: {note}" for note in node.notes]
        if node.mig is not None and node.mig.reason is not None:
            lines.append(f"    log of the MIG manager: {node.mig.reason}")
    if stack.nodes:
        lines += ["", *_table(stack, used)]
    return "\n".join(lines)


def _about(stack: Stack) -> list[str]:
    lines = [f"cluster: {stack.cluster.words}"] if stack.cluster is not None and stack.cluster.words else []
    lines += _monitoring(stack)
    lines += [
        f"{policy.kind} {policy.name}: {policy.state or 'n/a'}"
        + (f", {policy.reason}" if policy.reason else "")
        + (f": {policy.message}" if policy.message else "")
        for policy in stack.policies
    ]
    lines += [
        f"{component.name}: {component.ready} of {component.wanted} ready"
        + (f", {component.reason}" if component.reason else "")
        for component in stack.components
        if component.ready < component.wanted
    ]
    for operator in stack.operators:
        state = operator.csv_phase or operator.install_plan_phase or operator.state or "n/a"
        said = operator.csv_message if operator.csv_phase != "Succeeded" else None
        waits = f", install plan {operator.install_plan} waits for approval" if operator.waits_for_approval else ""
        trouble = operator.message or said
        lines.append(f"operator {operator.package}: {state}{waits}" + (f": {trouble}" if trouble else ""))
    lines += [f"{each.title}: SCCs refuse its pods: {each.words}" for each in stack.refused]
    lines += [f"{each.what}: {UNKNOWN_RELEASE}" for each in stack.support if each.supported is None]
    lines += [f"{each.what} is outside of {each.wanted}" for each in stack.support if each.supported is False]
    lines += list(stack.notes)
    lines += [f"not permitted: {denied.what} (needs: {denied.permission})" for denied in stack.not_permitted]
    return lines


def _monitoring(stack: Stack) -> list[str]:
    """Where the cluster's Prometheus answers, whose metrics it has, and what it warns of."""
    told = stack.monitoring
    having = "" if told is None else f", GPU metrics of {plural(len(told.nodes), 'node')}"
    lines = [] if stack.monitoring_url is None else [f"metrics: {stack.monitoring_url}{having}"]
    lines += [] if stack.monitoring_problem is None else [f"metrics: n/a, {stack.monitoring_problem}"]
    if told is not None:
        lines += [f"alert {each.words}" for each in told.alerts[:ALERTS_TOLD]]
        more = len(told.alerts) + told.more_alerts - ALERTS_TOLD
        lines += [f"alerts: {more} more"] if more > 0 else []
    return lines


def _blocker(node: StackNode, blocker: Blocker) -> list[str]:
    state = blocker.state
    where = f", container {state.container}" if state.container else ""
    reason = f": {state.reason}" if state.reason else ""
    lines = [f"  {node.name}: {blocker.title} is {state.phase}{where}{reason}"]
    if state.message:
        lines.append(f"    {state.message}")
    told = [line for line in blocker.log or () if line.strip()][-LOG_LINES:]
    if told:
        lines += [f"    log: {line}" for line in told]
    elif blocker.log_problem:
        lines.append(f"    log: n/a, {blocker.log_problem}")
    if blocker.events and blocker.events[-1].warning:
        lines.append(f"    event: {blocker.events[-1].text}")
    if node.waiting:
        lines.append(f"    {plural(node.waiting, 'operand waits', 'operands wait')} for it")
    return lines


_COUNTS = ("ALLOC", "REQ", "USED")
"""Behind how many there are: what may be given out, what pods asked for, what has a process of a pod."""
BUSY = "BUSY(DCGM)"
"""GPUs with a utilisation above 0 as the cluster's monitoring has it: one that holds a model and waits is not busy."""


def _table(stack: Stack, used: Mapping[str, InUse]) -> list[str]:
    cut = any(node.capacity.instances for node in stack.nodes)
    busy = _busy(stack, used)
    numbers = ["GPU", *_COUNTS, *(["MIG", *_COUNTS] if cut else []), *([BUSY] if busy else [])]
    header = ["NODE", "STATE", *(operand.key for operand in stack.operands), *numbers]
    rows = [header]
    for node in stack.nodes:
        states = {state.operand: _MARKS[state.phase] for state in node.operands}
        marks = [states.get(operand.key, "-") for operand in stack.operands]
        figures = _numbers(node, used.get(node.name), cut)
        rows.append([node.name, str(node.health), *marks, *figures, *([busy[node.name]] if busy else [])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    first_number = len(header) - len(numbers)
    return [
        "  ".join(
            cell.rjust(width) if column >= first_number else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _busy(stack: Stack, used: Mapping[str, InUse]) -> dict[str, str]:
    """`3/8` for the nodes of which is not known what is used; empty where DCGM tells it of none of them."""
    told = () if stack.monitoring is None else stack.monitoring.nodes
    known = {each.node: f"{each.busy}/{each.gpus}" for each in told if each.busy is not None}
    if known.keys() <= used.keys():
        return {}
    return {node.name: "-" if node.name in used else known.get(node.name, "n/a") for node in stack.nodes}


def _numbers(node: StackNode, used: InUse | None, cut: bool) -> list[str]:
    """Of the GPUs, then of the MIG instances, where any node has such."""
    capacity = node.capacity
    gpus, instances = (None, None) if used is None else used.counted(capacity)
    told = [*(_sums(capacity.whole) if capacity.whole else (capacity.gpus, None, None)), gpus]
    words = ["n/a" if each is None else str(each) for each in told]
    if not cut:
        return words
    told = [*_sums(capacity.instances), instances] if capacity.instances else []
    return words + (["n/a" if each is None else str(each) for each in told] or ["-"] * 4)


def _sums(counts: Sequence[ResourceCount]) -> list[int | None]:
    """Capacity, allocatable and requested; the last one None where it may not be read."""
    requested = [count.requested for count in counts if count.requested is not None]
    return [
        sum(count.capacity for count in counts),
        sum(count.allocatable for count in counts),
        sum(requested) if len(requested) == len(counts) else None,
    ]
