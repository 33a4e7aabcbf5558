"""The machine around the GPUs: scratch disks and RDMA ports."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator

from backends.domain import Disk, Evidence, Finding, RdmaPort, Severity, plural
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, finding, of_node
from backends.triage.state import NodeView, SiteState
from backends.triage.words import gib

GIB = 1024**3
NEARLY_FULL_PERCENT = 5.0
FULL_PERCENT = 1.0
ENOUGH_BYTES = 500 * GIB
"""So much free space is enough whatever its share is: 4 % of a 30 TB array are no trouble."""
SMALL_BYTES = 16 * GIB
"""Smaller file systems are no scratch space: boot, recovery."""
NOT_SCRATCH = ("/boot", "/snap", "/efi", "/recovery")
SCRATCH = re.compile(r"/(?:[^/]*(?:scratch|nvme|ssd)[^/]*|raid\d*|local|tmp|work)(?:/|$)", re.IGNORECASE)
"""Mount points that are there to be written to."""
MIN_NODES = 3
"""Other nodes of the same GPUs that have the port, before one that is down there is missed."""
USUAL_SHARE = 0.75


def disks(view: NodeView) -> Iterator[Finding]:
    for disk in _judged(view):
        free, percent = disk.free_bytes, disk.free_percent
        if free is None or percent is None or percent >= NEARLY_FULL_PERCENT or free >= ENOUGH_BYTES:
            continue
        full = percent < FULL_PERCENT
        yield finding(
            "disk-full",
            Severity.CRITICAL if full else Severity.WARNING,
            of_node(view),
            f"{disk.mount} is {'full' if full else 'nearly full'}: {gib(free)} left",
            view.now,
            evidence=[
                Evidence(
                    f"{gib(free)} of {gib(disk.total_bytes or 0)} free ({percent:.1f} %) on {disk.device or 'n/a'}",
                    None,
                    "host",
                )
            ],
            cause="likely checkpoints, datasets or images that nobody removed",
            hits=hits.of_node(view.node) if full else (),
            steps=[
                steps.command(
                    f"on {view.name}: what takes the room", f"du -xh --max-depth=2 {shlex.quote(disk.mount)} | sort -h"
                ),
                steps.open_node(view, "host"),
            ],
            source=GPUDECK,
            more=disk.mount,
        )


def read_only(view: NodeView) -> Iterator[Finding]:
    """A disk for work that cannot be written: by its name, or because it could be before."""
    for disk in _disks(view):
        if disk.read_only and _wants_writing(view, disk):
            before = (
                "it could be written before"
                if view.memory.was_writable(disk.mount)
                else "its name is of a scratch disk"
            )
            yield finding(
                "disk-read-only",
                Severity.WARNING,
                of_node(view),
                f"{disk.mount} is read-only",
                view.now,
                evidence=[
                    Evidence(f"{disk.device or 'n/a'} on {disk.mount} is mounted read-only", None, "host"),
                    Evidence(before, None, "host"),
                ],
                cause="likely the kernel met errors of the disk or its file system and lets nobody write there",
                hits=hits.of_node(view.node),
                steps=[
                    steps.command(
                        f"on {view.name}: what the kernel says of it", "journalctl -k -g 'I/O error|remount|EXT4|XFS'"
                    ),
                    steps.advice(
                        "stop the work that writes there, check the disk, repair the file system, mount it anew"
                    ),
                    steps.open_node(view, "host"),
                ],
                source=GPUDECK,
                more=disk.mount,
            )


def writable_count(view: NodeView) -> int:
    return sum(disk.read_only is not None and _wants_writing(view, disk) for disk in _disks(view))


def _wants_writing(view: NodeView, disk: Disk) -> bool:
    return SCRATCH.match(disk.mount) is not None or view.memory.was_writable(disk.mount)


def _disks(view: NodeView) -> tuple[Disk, ...]:
    return () if view.node is None else view.node.host.disks or ()


def disk_count(view: NodeView) -> int:
    return len(_judged(view))


def _judged(view: NodeView) -> list[Disk]:
    return [
        disk
        for disk in _disks(view)
        if not disk.read_only
        and disk.free_percent is not None
        and (disk.total_bytes or 0) >= SMALL_BYTES
        and not disk.mount.startswith(NOT_SCRATCH)
    ]


def rdma_ports(state: SiteState) -> Iterator[Finding | None]:
    """Ports that are down although they worked before, or work on the other nodes of the same kind."""
    kinds: defaultdict[tuple[str | None, ...], list[NodeView]] = defaultdict(list)
    for view in state.views:
        if view.node is not None and view.node.host.rdma:
            kinds[tuple(gpu.name for gpu in view.node.gpus)].append(view)
    for views in kinds.values():
        active: Counter[tuple[str, int]] = Counter()
        yield None
        for view in views:
            active.update((port.device, port.port) for port in _ports(view) if port.state == "active")
        yield None
        for view in views:
            for port in _ports(view):
                if port.state in ("down", "init", "armed") and port.physical_state != "disabled":
                    others, up = len(views) - 1, active[port.device, port.port]
                    usual = others >= MIN_NODES and up >= USUAL_SHARE * others
                    if usual or view.memory.port_was_active(port.device, port.port):
                        yield _port_down(view, port, up, others)


def _port_down(view: NodeView, port: RdmaPort, up: int, others: int) -> Finding:
    name = f"{port.device} port {port.port}"
    no_manager = port.state == "init" and port.physical_state == "linkup" and port.link_layer == "infiniband"
    physical = f", physically {port.physical_state}" if port.physical_state else ""
    return finding(
        "rdma-port",
        Severity.WARNING,
        of_node(view),
        f"RDMA {name} is {port.state}",
        view.now,
        evidence=[
            Evidence(f"{name} ({port.netdev or port.link_layer or 'n/a'}): {port.state}{physical}", None, "host"),
            Evidence(f"active on {up} of {plural(others, 'other node')} of the same kind", None, "peers"),
        ],
        cause="likely no subnet manager answers"
        if no_manager
        else "likely its cable, transceiver or switch port; jobs over several nodes fall back or fail",
        hits=hits.of_node(view.node),
        steps=[
            steps.command(f"on {view.name}: state of the ports", "ibstat; rdma link"),
            steps.open_node(view, "host"),
        ],
        source="gpudeck: peers",
        more=f"{port.device}/{port.port}",
    )


def _ports(view: NodeView) -> tuple[RdmaPort, ...]:
    return () if view.node is None else view.node.host.rdma or ()


def port_count(view: NodeView) -> int:
    return len(_ports(view))
