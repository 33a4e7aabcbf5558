"""The map of a GPU and a plan as lines: the drawing, and in words what it shows. Pure, without Textual or Rich."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from backends.domain import GpuProcess
from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.geometry import Layout, Room, room
from backends.nodes.mig.picture import GpuMap
from backends.nodes.mig.plan import MigParted, Near, Plan
from backends.nodes.mig.target import GpuInstance, placed
from tui.widgets import units
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.mig_cells import Box, Line, SliceState, gaps, grid_lines, short_names, signs, slice_states

PROCESSES_SHOWN = 8
"""Of one instance."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What is drawn on."""

    width: int
    glyphs: Glyphs
    whole_commands: bool = False
    """Command lines are never broken: they are copied from here."""


def paragraph(text: str, paper: Paper, style: str = "", head: str = "", indent: int = 2) -> list[Line]:
    """`text` broken into lines under `head`; words are not cut while they fit."""
    found = textwrap.wrap(
        text,
        max(20, paper.width - indent),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    )
    return [(Cell(" " * indent + each, style),) for each in found]


def title(text: str) -> Line:
    return (Cell(text, "title"),)


# The map


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
    lines += _instances(gpu, paper)
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
    boxes = [_instance_box(each, gpu.places == "supposed") for each in gpu.instances if each.placement is not None]
    boxes += gaps(board, _taken(gpu.instances), gpu.room, signs(paper.glyphs.ascii))
    unknown: SliceState = "unknown"
    states = (unknown,) * board.compute_slices
    if gpu.room is not None:
        states = slice_states(board, tuple(placed(board, each) for each in gpu.instances), gpu.room)
    return grid_lines(board, boxes, states, paper.width, paper.glyphs.ascii, compact=compact)


def _taken(instances: Sequence[GpuInstance]) -> list[tuple[int, int]]:
    return [each.placement for each in instances if each.placement is not None]


def _instance_box(each: GpuInstance, supposed: bool) -> Box:
    start, size = each.placement or (0, 0)
    gi = "gi n/a" if each.gi is None else f"gi {each.gi}"
    count = len(each.processes or ())
    notes = (f"{gi}, {_busy(each)}", f"{gi} {count}p" if count else gi, gi.replace(" ", ""))
    names = short_names(each.profile or NOT_MEASURED)
    if supposed:
        names = tuple(f"{name} ?" for name in names)
    return Box(start, size, names, notes, "stale" if supposed else "accent", each.memory.used_percent)


def _busy(each: GpuInstance) -> str:
    """idle, 1 process, 2 processes, processes n/a"""
    if each.processes is None:
        return f"processes {NOT_MEASURED}"
    count = len(each.processes)
    return "idle" if not count else f"{count} {'process' if count == 1 else 'processes'}"


def _instances(gpu: GpuMap, paper: Paper) -> Iterator[Line]:
    if not gpu.instances:
        return
    yield (Cell(f"  {'INSTANCE':<12} {'GI':>2} {'CI':<5} {'AT':<5} {'SM':>3} {'USED/TOTAL GiB':>14}", "dim"),)
    for each in gpu.instances:
        yield from _instance(each, gpu.places, paper)


def _instance(each: GpuInstance, places: str, paper: Paper) -> Iterator[Line]:
    read = places in ("read", "deduced")
    at = _place(each) if read else NOT_MEASURED
    memory = units.gib_pair(each.memory.used_bytes, each.memory.total_bytes)
    cis = ",".join(map(str, each.cis)) or NOT_MEASURED
    name = (each.profile or NOT_MEASURED)[:12]
    gi, sms = units.number(each.gi), units.number(each.multiprocessors)
    yield (Cell(f"  {name:<12}", "accent"), Cell(f" {gi:>2} {cis[:5]:<5} {at:<5} {sms:>3} {memory:>14}"))
    ordered = sorted(each.processes or (), key=lambda process: -(process.memory_bytes or 0))
    for process in ordered[:PROCESSES_SHOWN]:
        yield (Cell(f"    {_process(process)}"),)
    if len(ordered) > PROCESSES_SHOWN:
        yield (Cell(f"    and {len(ordered) - PROCESSES_SHOWN} more processes", "dim"),)


def _place(each: GpuInstance) -> str:
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
    if left.scattered:
        names = ", ".join(profile.name for profile in left.scattered)
        yield from paragraph(f"fragmented: {amount}, yet no place for {names}", paper, "warn", f"{glyphs.warn} ")
    for reason in gpu.stranded.reasons:
        yield from paragraph(reason, paper, "warn", f"{glyphs.warn} ")
    if not left.fits and not gpu.stranded.reasons:
        yield from paragraph("every slice is used", paper, "good", f"{glyphs.good} ")


# The plan


def plan_lines(plan: Plan, paper: Paper) -> list[Line]:
    """A plan for people: the verdict, before and after, who blocks, what it costs, what to type."""
    lines = list(_verdict(plan, paper))
    if not plan.possible:
        return [*lines, *_nearest(plan.nearest, paper), *_profiles(plan.target.board, paper)]
    lines += drawings(plan, paper)
    for heading, style, texts in (
        ("STRANDED", "warn", plan.stranded.reasons),
        ("FIRST THESE HAVE TO GO", "bad", [each.text for each in plan.blockers if each.kind != "unknown"]),
        ("NOT KNOWN", "warn", [each.text for each in plan.blockers if each.kind == "unknown"]),
        ("COSTS", "", [each.text for each in plan.costs]),
    ):
        lines += _listed(heading, texts, paper, style)
    lines += commands(plan, paper)
    lines += _listed("NOTES", plan.notes, paper, "dim")
    return lines


def _listed(heading: str, texts: Sequence[str], paper: Paper, style: str) -> list[Line]:
    if not texts:
        return []
    mark = f"{paper.glyphs.of(style)} " if style in ("warn", "bad") else f"{paper.glyphs.dot} "
    return [title(heading), *(line for text in texts for line in paragraph(text, paper, style, mark))]


def _verdict(plan: Plan, paper: Paper) -> Iterator[Line]:
    glyphs, where = paper.glyphs, "" if plan.target.node is None else f" on GPU {plan.target.index}"
    if not plan.possible:
        yield (Cell(f"{glyphs.bad} not possible", "bad"), Cell(f"{where}: {plan.wish}"))
        yield from paragraph(plan.reason or "", paper)
        return
    if not plan.changes:
        yield (Cell(f"{glyphs.good} nothing to do", "good"), Cell(f"{where}: {plan.wish} is what is there"))
        return
    yield (Cell(f"{glyphs.good} possible", "good"), Cell(f"{where}: {plan.wish}"))
    for word, instances in (("stays", plan.keeps), ("goes", plan.destroys)):
        yield from _told(word, ((each.profile or NOT_MEASURED, _place(each)) for each in instances), paper)
    yield from _told("new", ((each.profile.name, each.label) for each in plan.creates), paper)
    if plan.blocked_by:
        yield (Cell(f"{glyphs.warn} blocked now by {plan.blocked_by}: see below", "warn"),)


def _summary(plan: Plan) -> str:
    """1 stays, 2 go, 1 new"""
    stay, go, new = len(plan.keeps), len(plan.destroys), len(plan.creates)
    said = [
        f"{stay} {'stays' if stay == 1 else 'stay'}" if stay else "",
        f"{go} {'goes' if go == 1 else 'go'}" if go else "",
        f"{new} new" if new else "",
    ]
    return ", ".join(each for each in said if each)


def _told(word: str, named: Iterable[tuple[str, str]], paper: Paper) -> list[Line]:
    """`new    1g.10gb 0:1 1:1, 3g.40gb 4:4`: the places of each profile."""
    places: dict[str, list[str]] = {}
    for name, place in named:
        places.setdefault(name, []).append(place)
    said = ", ".join(f"{name} {' '.join(each)}" for name, each in places.items())
    return paragraph(said, paper, "", f"{word:<6} ") if said else []


def drawings(plan: Plan, paper: Paper) -> list[Line]:
    """Before and after, in the marks of the change."""
    target = plan.target
    lines = [title("BEFORE" if plan.changes else "NOW")]
    if not target.enabled:
        lines += paragraph("MIG off: one GPU", paper, "dim")
    elif target.board is not None:
        lines += _before(plan, target.board, paper)
    if not plan.changes:
        return lines
    lines.append(title("AFTER"))
    if not plan.enabled:
        return [*lines, *paragraph("MIG off: one GPU", paper, "dim")]
    if plan.after is None or plan.room is None or target.board is None:
        return [*lines, *paragraph("as before: nothing moves", paper, "dim")]
    return [*lines, *_after(plan, target.board, plan.after, plan.room, paper)]


def _before(plan: Plan, board: Board, paper: Paper) -> list[Line]:
    target = plan.target
    if target.layout is None:
        names = ", ".join(each.name for each in target.instances)
        return paragraph(f"{names}: where they stand could not be read (root only)", paper, "stale")
    going = set(map(id, plan.destroys))
    boxes = [
        Box(
            *(each.placement or (0, 0)),
            short_names(each.profile or NOT_MEASURED),
            _notes("goes" if id(each) in going else "stays", each),
            "bad" if id(each) in going else "",
        )
        for each in target.instances
    ]
    left = room(board, target.layout)
    boxes += gaps(board, _taken(target.instances), left, signs(paper.glyphs.ascii))
    return grid_lines(
        board, boxes, slice_states(board, target.layout, left), paper.width, paper.glyphs.ascii, memory=False
    )


def _notes(word: str, each: GpuInstance) -> tuple[str, ...]:
    count = len(each.processes or ())
    gi = "" if each.gi is None else f"gi {each.gi} "
    busy = f", {_busy(each)}" if count else ""
    return f"{gi}{word}{busy}", f"{word} {count}p" if count else word, word


def _after(plan: Plan, board: Board, after: Layout, left: Room, paper: Paper) -> list[Line]:
    stays = {each.placement: each for each in plan.keeps}
    boxes = []
    for each in after:
        kept = None if each in plan.creates else stays.get((each.start, each.size))
        notes = ("new",) if kept is None else _notes("stays", kept)
        names = short_names(each.profile.name)
        boxes.append(Box(each.start, each.size, names, notes, "good" if kept is None else ""))
    boxes += gaps(board, [(each.start, each.size) for each in after], left, signs(paper.glyphs.ascii))
    return grid_lines(board, boxes, slice_states(board, after, left), paper.width, paper.glyphs.ascii, memory=False)


def commands(plan: Plan, paper: Paper) -> list[Line]:
    """The steps in order; what is typed elsewhere than on the node says where."""
    if not plan.steps:
        return []
    lines: list[Line] = [title("COMMANDS (nothing is applied here)")]
    for step in plan.steps:
        where = "in the cluster: " if step.where == "cluster" else ""
        lines += paragraph(f"{where}{step.text}", paper, "dim", f"{paper.glyphs.dot} ")
        lines += _command(step.command, paper)
    if plan.mig_parted is not None and plan.mig_parted.label:
        lines += _by_mig_manager(plan.mig_parted, paper)
    return lines


def _by_mig_manager(made: MigParted, paper: Paper) -> list[Line]:
    lines: list[Line] = [title("OR BY MIG MANAGER")]
    said = f"with this configuration in the ConfigMap that it reads (key config.yaml), label {made.name}:"
    lines += paragraph(said, paper, "dim", f"{paper.glyphs.dot} ")
    lines += [(Cell(f"    {each}"),) for each in made.config.splitlines()]
    for command in made.label:
        lines += _command(command, paper)
    return lines


def _nearest(nearest: Sequence[Near], paper: Paper) -> Iterator[Line]:
    if not nearest:
        return
    yield title("NEAREST")
    for each in nearest:
        places = " ".join(f"{place.profile.name}@{place.label}" for place in each.plan.after or ())
        yield (Cell(f"  {each.plan.wish}", "accent"),)
        summary = f" ({_summary(each.plan)})" if each.plan.keeps or each.plan.destroys else ""
        yield from paragraph(f"{each.why}: {places}{summary}", paper, "dim", "", 4)
        if each.plan.blocked_by:
            yield from paragraph(f"blocked now by {each.plan.blocked_by}", paper, "bad", f"{paper.glyphs.bad} ", 4)
        for reason in each.plan.stranded.reasons:
            yield from paragraph(reason, paper, "warn", f"{paper.glyphs.warn} ", 4)
        for command in each.plan.commands:
            yield from _command(command, paper)


def _command(command: str, paper: Paper) -> list[Line]:
    if paper.whole_commands:
        return [(Cell(f"    {command}", "accent"),)]
    return paragraph(command, paper, "accent", "", 4)


def _profiles(board: Board | None, paper: Paper) -> Iterator[Line]:
    """The table of what the board has."""
    if board is None:
        return
    yield title(f"PROFILES OF THE {board.key}")
    yield (
        Cell(f"  {'PROFILE':<14} {'ID':>3} {'MAX':>3} {'SLICES':>6} {'SIZE':>4} {'SM':>3} {'MiB':>6}  STARTS", "dim"),
    )
    for each in board.profiles:
        size = str(each.size) if each.size else NOT_MEASURED
        starts = ",".join(map(str, each.starts)) or NOT_MEASURED
        figures = f"{each.max_instances:>3} {each.compute_slices:>6} {size:>4} {units.number(each.multiprocessors):>3}"
        yield (
            Cell(f"  {each.name:<14}", "accent"),
            Cell(f" {units.number(each.id):>3} {figures} {units.number(each.memory_mib):>6}  {starts}"),
        )
