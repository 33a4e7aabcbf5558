"""A node's links as cells and lines of text: the matrix, the verdict, the figures of each GPU, the NICs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Link, Node
from backends.nodes.topology import GpuLinks, NicChoice, TopologyMatrix, gpu_links, nearest_nics
from backends.nvlinks import missed_links
from screens.fabric_section import fabric_cells
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.link_matrix import MatrixRow
from tui.widgets.sheet import Line, Section

LINKS_NAMED = 6
"""Links of one GPU that are told one by one; a GPU that lost its fabric loses all of them."""
ERROR_WORDS: tuple[tuple[str, str], ...] = (
    ("replay_errors", "replay"),
    ("recovery_errors", "recovery"),
    ("crc_flit_errors", "CRC flit"),
    ("crc_data_errors", "CRC data"),
)
_LEVEL_STYLES = {"X": "dim", "PIX": "good", "PXB": "good", "PHB": "", "NODE": "dim", "SYS": "dim", None: "dim"}


# The matrix


def matrix_rows(matrix: TopologyMatrix, node: Node, stale: bool) -> list[MatrixRow]:
    """The matrix as rows of cells; a thin bond stands out where one of its GPUs misses links, else it was built so."""
    best = max((_bond(cell) or 0 for line in matrix.cells for cell in line), default=0)
    missed = missed_links(node.gpus)
    broken = {f"GPU{gpu.index}" for gpu in node.gpus if gpu.key in missed}
    choices = {f"GPU{each.gpu.index}": each for each in nearest_nics(node)}
    rows = []
    for position, label in enumerate(matrix.labels):
        nic = position - matrix.gpu_count
        cells = tuple(
            Cell(
                cell or NOT_MEASURED,
                "stale" if stale else _cell_style(cell, best, is_broken=bool(broken & {label, other})),
            )
            for other, cell in zip(matrix.labels, matrix.cells[position], strict=True)
        )
        side = "" if nic >= 0 else _side(matrix, position, choices.get(label))
        rows.append(MatrixRow(label, matrix.nics[nic] if nic >= 0 else "", cells, Cell(side, "dim")))
    return rows


def _bond(cell: str | None) -> int | None:
    digits = (cell or "").removeprefix("NV")
    return int(digits) if cell and cell.startswith("NV") and digits.isdigit() else None


def _cell_style(cell: str | None, best: int, *, is_broken: bool) -> str:
    bond = _bond(cell)
    if bond is not None:
        return "bad" if is_broken and bond < best else "accent"
    return _LEVEL_STYLES.get(cell, "")


def _side(matrix: TopologyMatrix, position: int, choice: NicChoice | None) -> str:
    numa = matrix.numa_affinity[position] or NOT_MEASURED
    cpus = matrix.cpu_affinity[position] or NOT_MEASURED
    nearest = "" if choice is None or choice.nic is None else f"  {choice.nic} {choice.level}"
    return f"NUMA {numa}  CPUs {cpus}{nearest}"


# The verdict


def verdict(node: Node, glyphs: Glyphs, stale: bool) -> list[Cell]:
    """What is wrong with the links of the node in one line; how many there are when nothing is."""
    known = [found for gpu in node.gpus if (found := gpu_links(gpu)) is not None and not gpu.lost]
    said: list[Cell] = []
    lost = [str(gpu.index) for gpu in node.gpus if gpu.lost]
    if lost:
        said.append(Cell(f"{glyphs.bad} lost: GPU {', '.join(lost)}", "bad"))
    said += fabric_cells(node, glyphs)
    missed = missed_links(node.gpus)
    said += [
        Cell(f"{glyphs.bad} GPU {each.gpu.index}: {_down(each, missed[each.gpu.key])}", "bad")
        for each in known
        if each.gpu.key in missed
    ]
    wrong = [each for each in known if each.errors]
    if wrong:
        gpus = ", ".join(str(each.gpu.index) for each in wrong)
        total = sum(each.errors or 0 for each in wrong)
        said.append(Cell(f"{glyphs.warn} {units.count(total)} errors on GPU {gpus}", "warn"))
    if known and not said:
        up, links = sum(each.up for each in known), sum(each.total for each in known)
        counted = "no errors" if any(each.errors is not None for each in known) else f"errors {NOT_MEASURED}"
        untold = any(each.untold for each in known)
        style = "stale" if untold else "good" if up else "dim"
        sign = glyphs.note if style == "dim" else glyphs.of(style)
        rest = "" if up == links or untold else ", the others unused"
        said.append(
            Cell(f"{sign} {up}/{links} NVLinks up{rest}, {counted}" if up else f"{sign} no NVLink is in use", style)
        )
    if not known and not said:
        said.append(Cell(f"{glyphs.note} no NVLink was read", "dim"))
    divided = sum(gpu.mig.enabled is True and not gpu.links for gpu in node.gpus)
    if divided:
        said.append(Cell(f"MIG: {divided} {NOT_MEASURED}", "dim"))
    if not stale:
        return said
    return [Cell(f"{glyphs.stale} last known:", "stale"), *(Cell(cell.text, "stale") for cell in said)]


def _down(links: GpuLinks, missed: Sequence[Link]) -> str:
    if len(missed) == links.total:
        return f"all {links.total} links down"
    numbers = ", ".join(str(link.index) for link in missed[:LINKS_NAMED])
    more = "" if len(missed) <= LINKS_NAMED else f" and {len(missed) - LINKS_NAMED} more"
    return f"link {numbers}{more} down ({links.up}/{links.total})"


# Figures


def links_section(node: Node, glyphs: Glyphs) -> Section:
    """One line per GPU, and under it one per link that should be up and is not, or has counted errors."""
    lines: list[Line] = []
    missed = missed_links(node.gpus)
    for gpu in node.gpus:
        found = gpu_links(gpu)
        if found is None:
            why = "lost" if gpu.lost else "MIG is on: cannot be asked" if gpu.mig.enabled else NOT_MEASURED
            lines.append((Cell(f"{gpu.index:>3}   "), Cell(why, "dim")))
            continue
        own = missed.get(gpu.key, ())
        lines += [_figures(found, own), *_links_in_trouble(gpu.links or (), own, glyphs)]
    if not any(gpu.links for gpu in node.gpus):
        return Section("NVLINK", ((Cell("no link was read", "dim"),),) if node.gpus else ())
    head = (Cell("GPU      UP    GB/s  REPLAY   RECOV    FLIT    DATA", "dim"),)
    return Section("NVLINK (errors since the links came up)", (head, *lines))


def _figures(links: GpuLinks, missed: Sequence[Link]) -> Line:
    style = "bad" if missed else ""
    speed = None if links.mbytes_per_second is None else links.mbytes_per_second / 1000
    counters = (links.replay_errors, links.recovery_errors, links.crc_flit_errors, links.crc_data_errors)
    return (
        Cell(f"{links.gpu.index:>3} "),
        Cell(f"{links.up:>4}/{links.total:<2}", style or ("stale" if links.untold else "")),
        Cell(f"{units.number(speed, 1):>8}"),
        *(Cell(f"{units.count(count):>8}", "warn" if count else "dim") for count in counters),
    )


def _links_in_trouble(links: Sequence[Link], missed: Sequence[Link], glyphs: Glyphs) -> list[Line]:
    troubled = [link for link in links if link in missed or link.active is None or link.errors]
    lines: list[Line] = []
    for link in troubled[:LINKS_NAMED]:
        style = {False: "bad", None: "stale"}.get(link.active, "warn")
        state = {False: "down", None: "could not be asked", True: "up"}[link.active]
        errors = ", ".join(f"{word} {count}" for name, word in ERROR_WORDS if (count := getattr(link, name)))
        lines.append(
            (Cell(f"     {glyphs.of(style)} link {link.index} {state}", style), Cell(f"  {errors}" if errors else ""))
        )
    if len(troubled) > LINKS_NAMED:
        lines.append((Cell(f"     and {len(troubled) - LINKS_NAMED} more links", "warn"),))
    return lines


# GPUDirect


def gpudirect_section(node: Node, glyphs: Glyphs) -> Section:
    """The RDMA device to use with each GPU, and whether the machine can do GPUDirect RDMA at all."""
    if not node.gpus:
        return Section("GPUDIRECT RDMA", ())
    choices = nearest_nics(node)
    lines: list[Line] = [_ability(node, glyphs)]
    if all(choice.nic is None and choice.reason == choices[0].reason for choice in choices):
        return Section("GPUDIRECT RDMA", (*lines, (Cell(choices[0].reason, "dim"),)))
    return Section("GPUDIRECT RDMA", (*lines, *(_choice(choice, glyphs) for choice in choices)))


def _ability(node: Node, glyphs: Glyphs) -> Line:
    host = node.host
    ways = [name for name, there in (("nvidia_peermem", host.peermem), ("DMA-BUF", host.dma_buf)) if there]
    if ways:
        return (Cell(f"{glyphs.good} possible by {' and '.join(ways)}", "good"),)
    if host.peermem is None or host.dma_buf is None:
        return (Cell(f"peermem and DMA-BUF {NOT_MEASURED}", "dim"),)
    return (Cell(f"{glyphs.warn} off: no nvidia_peermem, no DMA-BUF", "warn"),)


def _choice(choice: NicChoice, glyphs: Glyphs) -> Line:
    # A NIC behind the CPU is how some servers are built; one that is down is not.
    style = "warn" if choice.passed_over else {True: "good", False: "", None: "dim"}[choice.near]
    return (
        Cell(f"GPU{choice.gpu.index:<3}"),
        Cell(fit(choice.nic or NOT_MEASURED, 10, ellipsis=glyphs.ellipsis) + " "),
        Cell(f"{choice.level or NOT_MEASURED:<5}", style),
        Cell(f"{glyphs.of(style)} {choice.reason}", style),
    )
