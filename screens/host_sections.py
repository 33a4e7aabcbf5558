"""Everything known about the machine around the GPUs, as sections of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Disk, Host, Node, RdmaPort, Service
from screens.node_sections import LABEL_WIDTH, METER_WIDTH, line
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Section
from tui.widgets.spark import meter

DISK_LOW_PERCENT = 10.0
DISK_FULL_PERCENT = 2.0
MOUNT_WIDTH = 14
DEVICE_WIDTH = 11
DISK_METER = 8
DISK_HEAD = f"{'MOUNT':<{MOUNT_WIDTH}} KIND FREE GiB   OF GiB FREE"
RDMA_HEAD = f"{'DEVICE':<{DEVICE_WIDTH}} STATE      Gb/s LINK NUMA NETDEV"
LAYERS = {"infiniband": "IB", "ethernet": "Eth"}
"""What fits into the table."""

SERVICE_STYLES = {"active": "good", "failed": "bad", "inactive": "dim", None: "dim"}
PORT_STYLES = {"active": "good", None: "dim"}
"""Any other state is a warning: the service is not ready, the port carries nothing."""


def host_sections(node: Node, now: float, glyphs: Glyphs) -> list[Section]:
    """The machine in groups; `now` is in seconds since the epoch."""
    host = node.host
    return [
        _system(node, now),
        _driver(node),
        _load(node, glyphs),
        Section("DISKS", _table(DISK_HEAD, [_disk(disk, glyphs) for disk in host.disks or ()], host.disks is None)),
        Section("RDMA", _table(RDMA_HEAD, [_port(port, glyphs) for port in host.rdma or ()], host.rdma is None)),
        _services(host, glyphs),
        Section(
            "CONTAINER RUNTIMES",
            _table("", _runtimes(host), host.runtimes is None),
        ),
        _probe(node),
    ]


def _runtimes(host: Host) -> list[Line]:
    """The sockets, and what CDI has for their containers where it has anything."""
    cdi = [line("CDI devices", ", ".join(host.cdi))] if host.cdi else []
    return [*(line(each.name, each.socket) for each in host.runtimes or ()), *cdi]


def _system(node: Node, now: float) -> Section:
    skew = node.clock_skew_seconds
    # The node's own clock told when it started.
    up = None if node.boot_at is None else now + (skew or 0.0) - node.boot_at
    return Section(
        "SYSTEM",
        (
            line("host name", node.hostname),
            line("system", node.os),
            line("kernel", node.kernel),
            line("started", units.moment(node.boot_at)),
            line("up", units.age(up)),
            line("clock skew", units.number(skew, 1), unit="s"),
        ),
    )


def _driver(node: Node) -> Section:
    host = node.host
    return Section(
        "DRIVER AND GPUDIRECT",
        (
            line("driver", node.driver),
            line("CUDA up to", node.cuda),
            line("NVML", node.nvml),
            line("kernel module", host.kernel_modules),
            line("nvidia_peermem", units.yes_no(host.peermem, "loaded", "not loaded")),
            line("DMA-BUF", units.yes_no(host.dma_buf, "possible", "not with this module and kernel")),
        ),
    )


def _load(node: Node, glyphs: Glyphs) -> Section:
    available, total = node.memory_available_bytes, node.memory_total_bytes
    used = None if available is None or total is None else max(0, total - available)
    load = None if node.load_1m is None or not node.cpu_count else 100 * node.load_1m / node.cpu_count
    return Section(
        "CPU AND MEMORY",
        (
            line("CPUs", units.number(node.cpu_count)),
            (*line("load, 1 minute", units.number(node.load_1m, 2)), *_bar(load, glyphs)),
            (
                *line("memory used", units.pair(units.gib(used), units.gib(total)), unit="GiB"),
                *_bar(100 * used / total if used is not None and total else None, glyphs),
            ),
        ),
    )


def _bar(percent: float | None, glyphs: Glyphs, style: str = "accent") -> tuple[Cell, ...]:
    if percent is None:
        return ()
    return Cell("  "), Cell(meter(percent, METER_WIDTH, glyphs.ascii), style)


def _table(head: str, lines: Sequence[Line], unread: bool) -> tuple[Line, ...]:
    """A head and its lines; n/a where nobody could look, none where there is nothing."""
    if unread or not lines:
        return ((Cell(NOT_MEASURED if unread else "none", "dim"),),)
    return ((Cell(head, "dim"),), *lines) if head else tuple(lines)


def _disk(disk: Disk, glyphs: Glyphs) -> Line:
    free = disk.free_percent
    style, word = "", ""
    if disk.read_only:
        style, word = "bad", "read-only"
    elif free is not None and free < DISK_LOW_PERCENT:
        style, word = ("bad", "full") if free < DISK_FULL_PERCENT else ("warn", "low")
    share = NOT_MEASURED if free is None else f"{free:.0f}%"
    cells = [
        Cell(fit(disk.mount, MOUNT_WIDTH, ellipsis=glyphs.ellipsis) + " "),
        Cell(fit(disk.kind or NOT_MEASURED, 4), "dim"),
        Cell(f"{units.gib(disk.free_bytes):>9}", "dim" if disk.free_bytes is None else style),
        Cell(f"{units.gib(disk.total_bytes):>9}", "dim" if disk.total_bytes is None else ""),
        Cell(f"{share:>5} ", "dim" if free is None else style),
    ]
    if word:
        cells.append(Cell(f"{glyphs.of(style)} {word} ", style))
    if free is not None:
        cells.append(Cell(meter(100 - free, DISK_METER, glyphs.ascii) + " ", style or "accent"))
    cells.append(Cell(disk.device or "", "dim"))
    return tuple(cells)


def _port(port: RdmaPort, glyphs: Glyphs) -> Line:
    style = PORT_STYLES.get(port.state, "warn")
    state = NOT_MEASURED if port.state is None else f"{glyphs.of(style)} {port.state}"
    layer = LAYERS.get(port.link_layer or "", port.link_layer or NOT_MEASURED)
    name = port.device if port.port == 1 else f"{port.device}/{port.port}"
    physical = "" if port.physical_state in (None, "linkup") else f"  {port.physical_state}"
    return (
        Cell(fit(name, DEVICE_WIDTH, ellipsis=glyphs.ellipsis) + " "),
        Cell(fit(state, 9), style),
        Cell(f"{units.number(port.rate_gbps):>5} "),
        Cell(fit(layer, 4)),
        Cell(f"{units.number(port.numa_node):>5} "),
        Cell(port.netdev or "", "dim"),
        Cell(physical, "warn"),
    )


def _services(host: Host, glyphs: Glyphs) -> Section:
    if host.services is None:
        return Section("SERVICES", ((Cell(NOT_MEASURED, "dim"),),))
    lines = [_service(each, glyphs) for each in host.services if each.state != "missing"]
    missing = [each.name for each in host.services if each.state == "missing"]
    # Names do not fit beside the label: one line each would push the rest off the page.
    lines += [
        (Cell(fit("not installed" if not number else "", LABEL_WIDTH + 8), "dim"), Cell(name, "dim"))
        for number, name in enumerate(missing)
    ]
    return Section("SERVICES", tuple(lines) or ((Cell("none", "dim"),),))


def _service(service: Service, glyphs: Glyphs) -> Line:
    style = SERVICE_STYLES.get(service.state, "warn")
    said = NOT_MEASURED if service.state is None else f"{glyphs.of(style)} {service.state}"
    return Cell(fit(service.name, LABEL_WIDTH + 7) + " ", "dim"), Cell(said, style)


def _probe(node: Node) -> Section:
    lines = [
        line("read by", node.transport),
        line("as root", units.yes_no(node.privileged)),
        line("XIDs from", f"NVML and {node.kernel_log}" if node.kernel_log else None),
        line("probe CPU", units.number(node.probe.cpu_percent, 1), unit="% of a core"),
        line("probe sample", units.number(node.probe.sample_milliseconds, 1), unit="ms"),
    ]
    if node.transport_note:
        lines.append((Cell(node.transport_note, "warn"),))
    if node.stall is not None:
        stall = node.stall
        where = "an unnamed GPU" if stall.gpu_index is None else f"GPU {stall.gpu_index}"
        lines.append((Cell(f"{stall.call or 'an NVML call'} on {where} hangs for {units.age(stall.seconds)}", "bad"),))
    lines += [(Cell(fault, "warn"),) for fault in node.host.unread]
    return Section("PROBE", tuple(lines))
