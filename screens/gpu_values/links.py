"""What connects the GPU: NVLink, the fabric of switches, PCIe."""

from __future__ import annotations

from backends.domain import Gpu, Link
from screens.condition import link_errors
from screens.gpu_values.errors import risen
from screens.gpu_values.lines import Group, line, told, words
from screens.node_pages.view import NodeView
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Prose, Section

ERROR_FIELDS: tuple[tuple[str, str], ...] = (
    ("CRC flit", "crc_flit_errors"),
    ("CRC data", "crc_data_errors"),
    ("replay", "replay_errors"),
    ("recovery", "recovery_errors"),
)


def nvlink(view: NodeView, gpu: Gpu) -> Group:
    if gpu.links is None:
        return Group(Section("NVLINK", (words("links", None),)), measured=False, name="NVLink")
    if not gpu.links:
        return Group(Section("NVLINK", ((Cell("none", "dim"),),)))
    head = (Cell("LINK STATE   MB/s REMOTE          CRC DATA RPLY RCVR", "dim"),)
    rows = [_row(link, view.glyphs) for link in gpu.links]
    return Group(Section("NVLINK", (*_summary(view, gpu, gpu.links), head, *rows)))


def _summary(view: NodeView, gpu: Gpu, links: tuple[Link, ...]) -> list[Line | Prose]:
    """How many are up, which are down, what was counted."""
    down = [str(link.index) for link in links if link.active is False]
    up = sum(link.active is True for link in links)
    told_of = sum(link.active is not None for link in links)
    state = None if not told_of else f"{up} of {len(links)}"
    lines: list[Line | Prose] = [words("up", state, "bad" if down and up else "")]
    speeds = [
        link.speed_mbytes_per_second for link in links if link.active and link.speed_mbytes_per_second is not None
    ]
    if speeds:
        lines.append(words("speed", f"{sum(speeds) / 1000:.0f} GB/s each way, all links together"))
    if down:
        alone = "" if up else " No link is up: no bridge, or a GPU that runs alone."
        sign, style = (view.glyphs.bad, "bad") if up else (view.glyphs.dot, "dim")
        lines.append(told(sign, f"down: {', '.join(down)}.{alone}", style))
    errors = link_errors(gpu)
    lines.append(words("errors", None if errors is None else _errors(links), "warn" if errors else ""))
    return [*lines, *[Prose(text, "warn") for text in risen(view, gpu, ("link_errors",))]]


def _errors(links: tuple[Link, ...]) -> str:
    """The counters added up over the links, those that are not zero."""
    sums = [(word, sum(getattr(link, name) or 0 for link in links)) for word, name in ERROR_FIELDS]
    return ", ".join(f"{word} {units.count(total)}" for word, total in sums if total) or "none counted"


def _row(link: Link, glyphs: Glyphs) -> Line:
    style = "bad" if link.active is False else ("warn" if link.errors else "")
    state = units.yes_no(link.active, "up", f"{glyphs.bad} down")
    remote = " ".join(part for part in (link.remote_kind, _slot(link.remote_pci_bus_id)) if part) or NOT_MEASURED
    errors = [units.count(getattr(link, name)) for _, name in ERROR_FIELDS]
    text = f"{link.index:>4} {fit(state, 6)} {units.number(link.speed_mbytes_per_second):>5} {fit(remote, 14)}"
    return (Cell(f"{text} {errors[0]:>4} {errors[1]:>4} {errors[2]:>4} {errors[3]:>4}", style),)


def _slot(bus_id: str | None) -> str | None:
    """A PCI bus id without the domain, where that is the first one."""
    domain, _, slot = (bus_id or "").partition(":")
    return slot if domain and not domain.strip("0") else bus_id


def fabric(view: NodeView, gpu: Gpu) -> Group:
    switched = gpu.fabric
    lines: list[Line | Prose] = [
        words("state", None if switched.state is None else switched.state.replace("_", " ")),
        words("status", units.number(switched.status), "bad" if switched.status else ""),
        words("health", switched.health, "" if switched.health in (None, "healthy") else "bad"),
        words("clique", units.number(switched.clique_id)),
        words("cluster", switched.cluster_uuid),
    ]
    if switched.state in ("not_started", "in_progress"):
        waiting = "CUDA does not start here until the fabric is completed: look at nvidia-fabricmanager on this node."
        lines.append(told(view.glyphs.warn, waiting, "warn"))
    known = (switched.state, switched.status, switched.health, switched.clique_id, switched.cluster_uuid)
    return Group(Section("FABRIC", tuple(lines)), any(value is not None for value in known), "fabric")


def pcie(view: NodeView, gpu: Gpu) -> Group:
    bus = gpu.pcie
    narrow = bus.width is not None and bus.max_width is not None and bus.width < bus.max_width
    slow = bus.generation is not None and bus.max_generation is not None and bus.generation < bus.max_generation
    lines: list[Line | Prose] = [
        line("generation", units.number(bus.generation), beside=_of(bus.max_generation)),
        line("lanes", units.number(bus.width), style="warn" if narrow else "", beside=_of(bus.max_width)),
        line("replays", units.number(bus.replay_count)),
        *[Prose(text, "warn") for text in risen(view, gpu, ("pcie_replays",))],
    ]
    if narrow:
        said = "Fewer lanes than this board and slot can do: reseat it, look at the riser, compare with its peers."
        lines.append(told(view.glyphs.warn, said, "warn"))
    elif slow:
        lines.append(told(view.glyphs.dot, "An idle GPU may lower the generation; under load it should not.", "dim"))
    known = (bus.generation, bus.width, bus.max_generation, bus.max_width, bus.replay_count)
    return Group(Section("PCIE", tuple(lines)), any(value is not None for value in known), "PCIe link")


def _of(most: int | None) -> str:
    return "" if most is None else f"of {most}"
