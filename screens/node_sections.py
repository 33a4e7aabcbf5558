"""Everything known about a node, as sections of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Event, Node
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Section

LABEL_WIDTH = 15
METER_WIDTH = 16
EVENTS_SHOWN = 20


def line(label: str, value: str | None, style: str = "", unit: str = "") -> Line:
    """`label value unit`; None and n/a are dim, and carry no unit."""
    head = Cell(fit(label, LABEL_WIDTH) + " ", "dim")
    if value is None or value == NOT_MEASURED:
        return head, Cell(NOT_MEASURED, "dim")
    return head, Cell(f"{value} {unit}" if unit else value, style)


def node_section(node: Node) -> Section:
    available, total = node.memory_available_bytes, node.memory_total_bytes
    lines = [
        line("host name", node.hostname),
        line("driver", node.driver),
        line("CUDA up to", node.cuda),
        line("NVML", node.nvml),
        line("system", node.os),
        line("kernel", node.kernel),
        line("started", units.moment(node.boot_at)),
        line("CPUs", units.number(node.cpu_count)),
        line("load, 1 minute", units.number(node.load_1m, 2)),
        line("memory free", units.pair(units.gib(available), units.gib(total)), unit="GiB"),
        line("clock skew", units.number(node.clock_skew_seconds, 1), unit="s"),
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
    return Section("NODE", tuple(lines))


def events_section(events: Sequence[Event], glyphs: Glyphs) -> Section:
    """The newest events first."""
    lines = []
    for event in list(events)[::-1][:EVENTS_SHOWN]:
        where = "" if event.gpu_index is None else f"GPU {event.gpu_index} "
        code = "" if event.code is None else f"{event.kind} {event.code} "
        style = "" if event.kind == "connected" else "warn"
        lines.append(
            (Cell(f"{units.moment(event.at)} ", "dim"), Cell(f"{glyphs.of(style)} {where}{code}{event.text}", style))
        )
    return Section("EVENTS OF THIS NODE", tuple(lines) or ((Cell("none since the console started", "dim"),),))
