"""The map of a GPU as lines: the drawing, and in words what it shows. Pure, without Textual or Rich."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backends.domain import GpuProcess
from backends.nodes.mig.picture import GpuMap
from backends.nodes.mig.target import GpuInstance, placed
from tui.widgets import units
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.mig_cells import Box, Line, SliceState, gaps, grid_lines, short_names, signs, slice_states

PROCESSES_SHOWN = 8
"""Of one instance."""


Fold = Callable[[str, int], Sequence[str]]


def _fold(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


@dataclass(frozen=True, slots=True)
class Paper:
    """What is drawn on."""

    width: int
    glyphs: Glyphs
    fold: Fold = _fold
    """Breaks a sentence into lines of at most so many cells."""
    fold_command: Fold | None = None
    """Breaks a command likewise; None: commands stay whole, to be copied from here."""


def paragraph(text: str, paper: Paper, style: str = "", head: str = "", indent: int = 2) -> list[Line]:
    """`text` broken into lines behind `head`."""
    found = paper.fold(text, max(20, paper.width - indent - len(head)))
    return [
        (Cell(" " * indent + (head if not number else " " * len(head)) + each, style),)
        for number, each in enumerate(found)
    ]


def title(text: str) -> Line:
    return (Cell(text, "title"),)


def map_lines(gpu: GpuMap, paper: Paper, detail: bool = True) -> list[Line]:
    """A GPU: its state, the grid where there is one, and with `detail` its instances and processes in words."""
    lines = _headline(f"GPU {gpu.index}", units.model(gpu.name), gpu, paper)
    if gpu.is_drawn and gpu.places != "unknown":
        lines += _map_grid(gpu, paper, compact=not detail)
    if not detail:
        said = [note for note in gpu.notes if gpu.places != "read"][:1]
        return [*lines, *(line for note in said for line in paragraph(note, paper, "stale"))]
    if gpu.is_drawn:
        lines.append(_legend(paper.glyphs))
    lines += _instances(gpu)
    for note in gpu.notes:
        lines += paragraph(note, paper, "stale" if gpu.places != "read" else "dim")
    return [*lines, *_room(gpu, paper)]


def _headline(label: str, model: str, gpu: GpuMap, paper: Paper) -> list[Line]:
    """One line where it has room, else two."""
    sign = f"{paper.glyphs.of(gpu.style)} " if gpu.style in ("warn", "bad", "good") else ""
    head = (Cell(label, "title"), Cell(f"  {model}" if model else ""))
    state = Cell(f"  {sign}{gpu.headline}", gpu.style)
    if sum(len(cell.text) for cell in (*head, state)) <= paper.width:
        return [(*head, state)]
    return [head, (state,)]


def others_lines(gpus: Sequence[GpuMap], paper: Paper) -> list[Line]:
    """GPUs that nobody chose: those with a grid small, those without one line for all that say the same."""
    lines: list[Line] = []
    told: set[tuple[str, str]] = set()
    for gpu in gpus:
        if gpu.is_drawn:
            lines += [*map_lines(gpu, paper, detail=False), ()]
            continue
        same = [each for each in gpus if not each.is_drawn and (each.headline, each.style) == (gpu.headline, gpu.style)]
        if (gpu.headline, gpu.style) not in told:
            told.add((gpu.headline, gpu.style))
            lines += _headline(f"GPU {' '.join(str(each.index) for each in same)}", "", gpu, paper)
    return lines


def _legend(glyphs: Glyphs) -> Line:
    sign = signs(glyphs.ascii)
    said = f"  {sign.used} used  {sign.free} free  {sign.stranded} stranded  {sign.scattered} fragmented"
    return (Cell(said, "dim"),)


def _map_grid(gpu: GpuMap, paper: Paper, compact: bool) -> list[Line]:
    board = gpu.board
    assert board is not None, "a grid is a board's"
    boxes = [_instance_box(each, gpu) for each in gpu.instances if each.placement is not None]
    boxes += gaps(board, taken(gpu.instances), gpu.room, signs(paper.glyphs.ascii))
    unknown: SliceState = "unknown"
    states = (unknown,) * board.compute_slices
    if gpu.room is not None:
        states = slice_states(board, tuple(placed(board, each) for each in gpu.instances), gpu.room)
    return grid_lines(board, boxes, states, paper.width, paper.glyphs.ascii, compact=compact)


def taken(instances: Sequence[GpuInstance]) -> list[tuple[int, int]]:
    return [each.placement for each in instances if each.placement is not None]


def _instance_style(gpu: GpuMap) -> str:
    """Of what is known, and known to be so now."""
    return "stale" if gpu.places == "supposed" or gpu.style == "stale" else "accent"


def _instance_box(each: GpuInstance, gpu: GpuMap) -> Box:
    start, size = each.placement or (0, 0)
    gi = "gi n/a" if each.gi is None else f"gi {each.gi}"
    count = len(each.processes or ())
    notes = (f"{gi}, {busy(each)}", f"{gi} {count}p" if count else gi, gi.replace(" ", ""))
    names = short_names(each.profile or NOT_MEASURED)
    if gpu.places == "supposed":
        names = tuple(f"{name} ?" for name in names)
    return Box(start, size, names, notes, _instance_style(gpu), each.memory.used_percent)


def busy(each: GpuInstance) -> str:
    """idle, 1 process, 2 processes, processes n/a"""
    if each.processes is None:
        return f"processes {NOT_MEASURED}"
    count = len(each.processes)
    return "idle" if not count else f"{count} {'process' if count == 1 else 'processes'}"


def _instances(gpu: GpuMap) -> Iterator[Line]:
    if not gpu.instances:
        return
    yield (Cell(f"  {'INSTANCE':<12} {'GI':>2} {'CI':<5} {'AT':<5} {'SM':>3} {'USED/TOTAL GiB':>14}", "dim"),)
    for each in gpu.instances:
        yield from _instance(each, gpu)


def _instance(each: GpuInstance, gpu: GpuMap) -> Iterator[Line]:
    read = gpu.places in ("read", "deduced")
    at = place_of(each) if read else NOT_MEASURED
    memory = units.gib_pair(each.memory.used_bytes, each.memory.total_bytes)
    cis = ",".join(map(str, each.cis)) or NOT_MEASURED
    name = (each.profile or NOT_MEASURED)[:12]
    gi, sms = units.number(each.gi), units.number(each.multiprocessors)
    yield (Cell(f"  {name:<12}", _instance_style(gpu)), Cell(f" {gi:>2} {cis[:5]:<5} {at:<5} {sms:>3} {memory:>14}"))
    ordered = sorted(each.processes or (), key=lambda process: -(process.memory_bytes or 0))
    for process in ordered[:PROCESSES_SHOWN]:
        yield (Cell(f"    {_process(process)}"),)
    if len(ordered) > PROCESSES_SHOWN:
        yield (Cell(f"    and {len(ordered) - PROCESSES_SHOWN} more processes", "dim"),)


def place_of(each: GpuInstance) -> str:
    """0:4, start and size"""
    return NOT_MEASURED if each.placement is None else f"{each.placement[0]}:{each.placement[1]}"


def _process(process: GpuProcess) -> str:
    memory = units.gib(process.memory_bytes)
    return f"{process.pid:>7} {process.user or NOT_MEASURED} {memory} GiB {process.command or NOT_MEASURED}"


def _room(gpu: GpuMap, paper: Paper) -> Iterator[Line]:
    """What is free, fragmented and stranded, in words."""
    left, board, glyphs = gpu.room, gpu.board, paper.glyphs
    if left is None or board is None:
        return
    memory = len(left.free_units) * board.memory_slices // board.units
    amount = f"{len(left.free_slices)} compute and {memory} memory {'slice' if memory == 1 else 'slices'} free"
    if left.fits:
        said = " or ".join(f"{count}x {profile.name}" for profile, count in left.fits)
        yield from paragraph(f"{amount}: room for {said}", paper, "", f"{glyphs.note} ")
    names = ", ".join(profile.name for profile in left.scattered)
    if left.is_fragmented:
        yield from paragraph(f"fragmented: {amount}, yet no place for {names}", paper, "warn", f"{glyphs.warn} ")
    elif names:
        yield from paragraph(f"no place for {names} as things stand", paper, "dim", f"{glyphs.dot} ")
    for reason in gpu.stranded.reasons:
        yield from paragraph(reason, paper, "warn", f"{glyphs.warn} ")
    if not left.fits and not gpu.stranded.reasons:
        yield from paragraph("every slice is used", paper, "good", f"{glyphs.good} ")
