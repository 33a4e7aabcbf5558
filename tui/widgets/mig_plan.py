"""A MIG plan as lines: the verdict, before and after, who blocks, what it costs, what to type. Pure, as `mig_text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.geometry import Layout, Room, room
from backends.nodes.mig.plan import MigParted, Near, Plan, Step
from backends.nodes.mig.target import GpuInstance
from tui.widgets import units
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.mig_cells import Box, Line, gaps, grid_lines, short_names, signs, slice_states
from tui.widgets.mig_text import Paper, busy, paragraph, place_of, taken, title

COMMAND_INDENT = 4


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
        yield from _headed(f"{glyphs.bad} not possible", "bad", f"{where}: {plan.wish}", paper)
        yield from paragraph(plan.reason or "", paper)
        return
    if not plan.changes:
        said = f"{where}: {plan.wish} is what is there"
        yield from _headed(f"{glyphs.good} nothing to do", "good", said, paper)
        return
    yield from _headed(f"{glyphs.good} possible", "good", f"{where}: {plan.wish}", paper)
    for word, instances in (("stays", plan.keeps), ("goes", plan.destroys)):
        yield from _told(word, ((each.profile or NOT_MEASURED, place_of(each)) for each in instances), paper)
    yield from _told("new", ((each.profile.name, each.label) for each in plan.creates), paper)
    yield from _told("new", ((each.words, "where the driver finds a place") for each in plan.adds), paper)
    if plan.blocked_by:
        yield (Cell(f"{glyphs.warn} blocked now by {plan.blocked_by}: see below", "warn"),)


def _headed(head: str, style: str, text: str, paper: Paper) -> list[Line]:
    """`head` and `text` on one line where they have room."""
    if len(head) + len(text) <= paper.width:
        return [(Cell(head, style), Cell(text))]
    return [(Cell(head, style),), *paragraph(text.removeprefix(": "), paper)]


def _summary(plan: Plan) -> str:
    """1 stays, 2 go, 1 new"""
    stay, go, new = len(plan.keeps), len(plan.destroys), len(plan.creates) + len(plan.adds)
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
        new = "".join(f", and {each.words}" for each in plan.adds)
        return [*lines, *paragraph(f"as before, nothing moves{new}", paper, "dim")]
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
    boxes += gaps(board, taken(target.instances), left, signs(paper.glyphs.ascii))
    return grid_lines(
        board, boxes, slice_states(board, target.layout, left), paper.width, paper.glyphs.ascii, memory=False
    )


def _notes(word: str, each: GpuInstance) -> tuple[str, ...]:
    count = len(each.processes or ())
    gi = "" if each.gi is None else f"gi {each.gi} "
    work = f", {busy(each)}" if count else ""
    return f"{gi}{word}{work}", f"{word} {count}p" if count else word, word


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
        lines += _step(step, paper)
    if plan.mig_parted is not None and plan.mig_parted.steps:
        lines += _by_mig_manager(plan.mig_parted, paper)
    return lines


def _step(step: Step, paper: Paper) -> list[Line]:
    where = "in the cluster: " if step.where == "cluster" else ""
    text = paragraph(f"{where}{step.text}", paper, "dim", f"{paper.glyphs.dot} ")
    return [*text, *_command(step.command, paper)]


def _by_mig_manager(made: MigParted, paper: Paper) -> list[Line]:
    lines: list[Line] = [title("OR BY MIG MANAGER")]
    said = f"with this configuration in the ConfigMap that it reads (key config.yaml), label {made.name}:"
    lines += paragraph(said, paper, "dim", f"{paper.glyphs.dot} ")
    lines += [(Cell(f"    {each}"),) for each in made.config.splitlines()]
    for step in made.steps:
        lines += _step(step, paper)
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
        if any(step.where == "cluster" for step in each.plan.steps):
            yield from paragraph("the cluster's part comes with the plan: take it first", paper, "dim", "", 4)
        for step in each.plan.steps:
            if step.where == "node":
                yield from _command(step.command, paper)


def _command(command: str, paper: Paper) -> list[Line]:
    lines = [command] if paper.fold_command is None else paper.fold_command(command, paper.width - COMMAND_INDENT)
    return [(Cell(" " * COMMAND_INDENT + line, "accent"),) for line in lines]


def _profiles(board: Board | None, paper: Paper) -> Iterator[Line]:
    """The table of what the board has."""
    if board is None:
        return
    yield title(f"PROFILES OF THE {board.key}")
    yield (Cell(f"  {'PROFILE':<14} {'ID':>3} {'MAX':>3} {'SM':>3} {'MiB':>6} {'SIZE':>4}  STARTS", "dim"),)
    for each in board.profiles:
        figures = f"{units.number(each.id):>3} {each.max_instances:>3} {units.number(each.multiprocessors):>3}"
        size = str(each.size) if each.size else NOT_MEASURED
        yield (
            Cell(f"  {each.name:<14}", "accent"),
            Cell(f" {figures} {units.number(each.memory_mib):>6} {size:>4}  {_starts(each.starts)}"),
        )


def _starts(starts: Sequence[int]) -> str:
    """0-6, or 0,2,4"""
    if len(starts) > 2 and list(starts) == list(range(starts[0], starts[-1] + 1)):
        return f"{starts[0]}-{starts[-1]}"
    return ",".join(map(str, starts)) or NOT_MEASURED
