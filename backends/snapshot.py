"""`gpudeck snapshot`: one reading of everything as a document, and as a table for people.

The document's schema is `gpudeck/snapshot/1`: times are seconds since the epoch, a value that was not measured is null.

`stack` is what `gpudeck stack --json` prints (`gpudeck/stack/1`), `workloads` holds the pods or containers that use or
ask for GPUs or run beside such, and each process of a GPU has the `title` of its workload. On a site without a platform
both are null; `platform_parts` says when they were read, and why not, or not all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from backends import stack_report
from backends.allocation import in_use_by_node
from backends.check import PlatformParts, findings, platform_parts
from backends.domain import (
    Event,
    Fleet,
    Gpu,
    GpuProcess,
    Node,
    NodeReading,
    NodeState,
    Severity,
    SiteSpec,
    Triage,
    Workload,
)
from backends.ownership import NOBODY, Ownership

SCHEMA = "gpudeck/snapshot/1"


def document(
    site: SiteSpec,
    fleet: Fleet,
    events: Iterable[Event],
    now: float,
    triage: Triage | None = None,
    platform: PlatformParts | None = None,
) -> dict[str, Any]:
    """The whole snapshot as JSON values; `platform` is None on a site without one."""
    listed = list(events)
    stack = None if platform is None else platform.stack.value
    workloads = None if platform is None else platform.workloads.value
    ownership = NOBODY if workloads is None else Ownership(workloads)
    used = {} if stack is None or workloads is None else in_use_by_node(fleet, stack, ownership)
    return {
        "schema": SCHEMA,
        "site": site.name,
        "platform": site.platform,
        "demo": site.demo,
        "at": now,
        "nodes": [_node(reading, listed, now, ownership) for reading in fleet.nodes],
        "events": [_event(event) for event in listed],
        "findings": findings(triage),
        "platform_parts": None if platform is None else platform_parts(platform),
        "stack": None if stack is None else stack_report.document(site, stack, now, used),
        "workloads": None if workloads is None else [_workload(each) for each in workloads.items],
    }


def _workload(workload: Workload) -> dict[str, Any]:
    return {**dataclasses.asdict(workload), "title": workload.title}


def _node(reading: NodeReading, events: list[Event], now: float, ownership: Ownership) -> dict[str, Any]:
    node = reading.node
    values = dataclasses.asdict(Node() if node is None else dataclasses.replace(node, gpus=()))
    age = reading.age(now)
    problem = reading.problem
    return {
        **values,
        "name": reading.name,
        "state": str(reading.state),
        "reachable": reading.state is NodeState.LIVE,
        "error": None if problem is None else dataclasses.asdict(problem),
        "age_seconds": None if age is None else round(age, 1),
        "gpus": [] if node is None else [_gpu(gpu, reading.name, events, ownership) for gpu in node.gpus],
    }


def _gpu(gpu: Gpu, node: str, events: list[Event], ownership: Ownership) -> dict[str, Any]:
    """Every value of the GPU; the few that scripts ask for first are repeated at the top by a plain name."""
    xids = [event.code for event in events if event.kind == "xid" and event.node == node and _is_of(event, gpu)]
    return {
        **dataclasses.asdict(gpu),
        "utilization_percent": gpu.utilization.gpu_percent,
        "power_watts": gpu.power.draw_watts,
        "temperature_celsius": gpu.temperature.gpu_celsius,
        "clock_event_reasons": gpu.clocks.event_reasons,
        "xids": list(dict.fromkeys(xids)),
        "processes": None if gpu.processes is None else [_process(each, ownership) for each in gpu.processes],
    }


def _process(process: GpuProcess, ownership: Ownership) -> dict[str, Any]:
    workload = ownership.of(process)
    return {**dataclasses.asdict(process), "workload": None if workload is None else workload.title}


def _is_of(event: Event, gpu: Gpu) -> bool:
    if event.gpu_uuid is not None and gpu.uuid is not None:
        return event.gpu_uuid == gpu.uuid
    return event.gpu_index == gpu.index


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": event.at,
        "node": event.node,
        "gpu": event.gpu_uuid,
        "gpu_index": event.gpu_index,
        "pci_bus_id": event.pci_bus_id,
        "kind": event.kind,
        "code": event.code,
        "text": event.text,
        "source": event.source,
        "gi": event.gi,
        "ci": event.ci,
        "pid": event.pid,
        "process": event.process,
        "fatal": event.fatal,
        "link": event.link,
        "count": event.count,
        "first_at": event.first_at,
        "who": event.who,
        "change": event.change,
    }


_COLUMNS = ("NODE", "GPU", "MODEL", "UTIL %", "MEM GiB", "TOTAL GiB", "WATT", "TEMP C", "STATE")


def render(snapshot: dict[str, Any]) -> str:
    """The document as aligned plain text, one line a GPU; n/a for what was not measured."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for node in snapshot["nodes"]:
        if not node["gpus"]:
            rows.append((node["name"], "", "", "", "", "", "", "", _state(node)))
        rows += [_row(node, gpu, _found(snapshot, node, gpu)) for gpu in node["gpus"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    right = range(3, 8)
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    live = sum(node["reachable"] for node in snapshot["nodes"])
    return "\n".join([f"{snapshot['site']}: {live} of {len(snapshot['nodes'])} nodes", *lines])


def _found(snapshot: dict[str, Any], node: dict[str, Any], gpu: dict[str, Any]) -> list[str]:
    """What triage says of the GPU; of what it says of several GPUs, or of the whole node, only that there is more."""
    here = [
        each
        for each in snapshot["findings"]
        if each["subject"]["node"] == node["name"] and Severity(each["severity"]) is not Severity.INFO
    ]
    own = [each for each in here if each["subject"]["gpu_index"] == gpu["index"]]
    words = [f"{Severity(each['severity']).word}: {each['claim']}" for each in own if each["rule"] != "gpu-lost"]
    shared = any(each["subject"]["gpu_index"] is None for each in here) and not node["error"]
    return [*words, *(["findings of its node: gpudeck check"] if shared else [])]


def _row(node: dict[str, Any], gpu: dict[str, Any], found: list[str]) -> tuple[str, ...]:
    memory = gpu["memory"]
    return (
        node["name"],
        str(gpu["index"]),
        (gpu["name"] or "n/a").removeprefix("NVIDIA "),
        _number(gpu["utilization_percent"]),
        _number(memory["used_bytes"], 1 << 30),
        _number(memory["total_bytes"], 1 << 30),
        _number(gpu["power_watts"]),
        _number(gpu["temperature_celsius"]),
        _gpu_state(node, gpu, found),
    )


def _gpu_state(node: dict[str, Any], gpu: dict[str, Any], found: list[str]) -> str:
    words = []
    if gpu["lost"]:
        words.append("lost: " + (gpu["lost_reason"] or "no reason given"))
    if gpu["xids"]:
        words.append("XID " + ", ".join(str(code) for code in gpu["xids"]))
    if node["error"]:
        words.append(_state(node))
    return "; ".join([*words, *found]) or "ok"


def _state(node: dict[str, Any]) -> str:
    error = node["error"]
    return f"{node['state']}: {error['message']}" if error else str(node["state"])


def _number(value: float | None, unit: int = 1) -> str:
    if value is None:
        return "n/a"
    return f"{value / unit:.1f}" if unit > 1 else f"{value:.0f}"
