"""Changes as rows and sections: pure, from what the desk knows."""

from __future__ import annotations

from collections.abc import Sequence

from backends.changes.desk_view import DeskView
from backends.changes.former import status_word
from backends.changes.journals import Unreadable
from backends.changes.record import ChangeRecord, Effect, StepRecord, StepState
from backends.contract import ChangeRefused
from tui.widgets import units
from tui.widgets.change_dialog import folded, whole_lines
from tui.widgets.columns import Cell, Column, Row
from tui.widgets.glyphs import Glyphs
from tui.widgets.sheet import Line, Section

COLUMNS = (
    Column("state", "STATE", 18, sortable=False),
    Column("begun", "BEGUN", 14, sortable=False),
    Column("step", "STEP", 5, "right", sortable=False),
    Column("title", "CHANGE", 24, grow=60, sortable=False),
    Column("who", "WHO", 20, min_terminal_width=110, grow=12, sortable=False),
)

STATUS_STYLE = {
    "running": "accent",
    "undoing": "accent",
    "interrupted": "bad",
    "undo-interrupted": "bad",
    "failed": "bad",
    "undo-failed": "bad",
    "stopped": "warn",
    "done": "good",
    "undone": "",
    "abandoned": "stale",
}
STEP_STYLE = {
    StepState.PENDING: "stale",
    StepState.APPLYING: "accent",
    StepState.APPLIED: "warn",
    StepState.VERIFIED: "good",
    StepState.FAILED: "bad",
    StepState.UNDOING: "accent",
    StepState.UNDONE: "",
    StepState.UNDO_FAILED: "bad",
    StepState.KEPT: "warn",
    StepState.ALREADY: "good",
}
OFFER_WORDS = {
    "resume": "goes on: a step in doubt is looked at first",
    "undo": "takes back what was done, the last step first",
    "abandon": "closes it without touching anything",
}

STOP_WORDS = "stops it before its next step"
STOP_WAITING_WORDS = "ends the wait: the step stays unverified, and undo is offered"


def change_rows(view: DeskView, glyphs: Glyphs) -> list[Row]:
    """One row a change, newest first; then the journals that cannot be read."""
    rows = [_row(record, view, glyphs) for record in view.records]
    return [*rows, *(_unreadable(each, glyphs) for each in view.unreadable)]


def _row(record: ChangeRecord, view: DeskView, glyphs: Glyphs) -> Row:
    word = status_word(record, running=view.is_running(record))
    elsewhere = record.id in view.elsewhere
    style = "stale" if elsewhere else STATUS_STYLE[word]
    reached = record.reached
    step = f"{0 if reached is None else reached + 1}/{len(record.steps)}"
    cells = (
        Cell(f"{glyphs.of(style)} {word}", style),
        units.moment(record.begun_at)[5:],
        step,
        f"elsewhere: {record.title}" if elsewhere else record.title,
        record.actor.label,
    )
    return Row(record.id, cells, dim=elsewhere or (record.ended and style != "good"))


def _unreadable(each: Unreadable, glyphs: Glyphs) -> Row:
    return Row(f"!{each.path.name}", (Cell(f"{glyphs.bad} unreadable", "bad"), "", "", each.path.name, ""))


def change_sections(
    record: ChangeRecord, view: DeskView, width: int, now: float, keys: dict[str, str], glyphs: Glyphs
) -> list[Section]:
    """Everything about one change; `keys` are what resume, undo, abandon and stop are done with."""
    running = view.is_running(record)
    word = status_word(record, running=running)
    style = STATUS_STYLE[word]
    state: list[Line] = [(Cell(f"{glyphs.of(style)} {word}", style), Cell(f"  {_when(record, now)}", "dim"))]
    state += folded(record.why, width, style) if record.why else ()
    state += [] if record.ended else _reached(record, width, running)
    if record.waits_until is not None:
        state += folded(f"its effect is waited for {_left(record.waits_until - now)} more at most", width, "accent")
    if running and view.held.owner is not None:
        owner = view.held.owner
        state += folded(f"by {owner.who}, pid {owner.pid} on {owner.host}", width)
    if record.torn_bytes:
        state += folded(f"the journal's last line was cut off ({record.torn_bytes} bytes); it is not counted", width)
    return [
        Section(record.title, tuple(state)),
        *_elsewhere(view.elsewhere.get(record.id), width),
        Section("What can be done", _offers(record, view.offers(record), running, keys)),
        *(_step(number, len(record.steps), step, record, width, glyphs) for number, step in enumerate(record.steps, 1)),
        Section("Hits, as it was asked about", tuple(line for hit in record.hits for line in folded(hit, width))),
        Section("By", _by(record, width)),
    ]


def _elsewhere(why: ChangeRefused | None, width: int) -> list[Section]:
    return [] if why is None else [Section("Of another site", folded(f"{why.message}; {why.hint}", width, "warn"))]


def _reached(record: ChangeRecord, width: int, running: bool) -> list[Line]:
    index = record.reached
    if index is None:
        return [*folded("no step had begun", width)]
    step = record.steps[index]
    lines = [*folded(f"came to step {index + 1} of {len(record.steps)}: {_what(step)}", width)]
    if running and record.progress and step.state in (StepState.APPLYING, StepState.UNDOING):
        lines += folded(f"{step.state}: {record.progress}", width, "accent")
    elif step.effect is Effect.UNKNOWN:
        lines += folded(f"{step.state}: its effect is not known", width, "warn")
    return lines


def _when(record: ChangeRecord, now: float) -> str:
    return f"last word {units.coarse_age(now - record.updated_at)} ago"


def _offers(record: ChangeRecord, offers: Sequence[str], running: bool, keys: dict[str, str]) -> tuple[Line, ...]:
    if running:
        words = STOP_WORDS if record.waits_until is None else STOP_WAITING_WORDS
        return ((Cell(f"{keys['stop']:<8}", "accent"), Cell(words)),)
    return tuple((Cell(f"{keys[offer]:<8}", "accent"), Cell(f"{offer}: {OFFER_WORDS[offer]}")) for offer in offers)


def _what(step: StepRecord) -> str:
    """What is run, or was run last: backwards it is the undo."""
    backwards = step.state in (StepState.UNDOING, StepState.UNDO_FAILED)
    return f"undo: {step.undo_describe}" if backwards and step.undo_describe else step.describe


def _step(number: int, of: int, step: StepRecord, record: ChangeRecord, width: int, glyphs: Glyphs) -> Section:
    waits = record.waits_until is not None and record.reached == number - 1
    style = "accent" if waits else STEP_STYLE[step.state]
    doubt = step.effect is Effect.UNKNOWN and style != "bad"
    head = Cell(f"{glyphs.of(style)} {step.words}", "warn" if doubt else style)
    lines: list[Line] = [(head,)]
    lines += [line for text in _what(step).split("\n") for line in folded(text, width, "accent")]
    said = record.progress if waits or step.state in (StepState.APPLYING, StepState.UNDOING) else step.said
    lines += [(Cell(text),) for text in (whole_lines(said, width) if said else ())]
    if step.state is StepState.PENDING:
        lines += folded(f"verify: {step.verified_by}", width, "dim")
    return Section(f"Step {number} of {of}", tuple(lines))


def _left(seconds: float) -> str:
    """`59:40`, of minutes and seconds."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def _by(record: ChangeRecord, width: int) -> tuple[Line, ...]:
    actor = record.actor
    where = [f"tty {actor.tty}" if actor.tty else "", f"from {actor.ssh_from}" if actor.ssh_from else ""]
    rows = (
        ("who", ", ".join(filter(None, [actor.label, *where]))),
        *((("last", record.last_by),) if record.last_by else ()),
        ("reason", record.reason or "none was given"),
        ("begun", units.moment(record.begun_at)),
        ("targets", ", ".join(record.targets)),
        ("id", record.id),
    )
    lines: list[Line] = []
    for label, text in rows:
        for number, line in enumerate(whole_lines(text, max(1, width - 9))):
            lines.append((Cell(f"{label if number == 0 else '':<9}", "dim"), Cell(line)))
    return tuple(lines)


def unreadable_sections(each: Unreadable, width: int) -> list[Section]:
    """A journal that cannot be read."""
    lines = (*folded(each.why, width, "bad"), *folded("gpudeck leaves it alone: look at it by hand.", width))
    return [Section("Unreadable", lines)]
