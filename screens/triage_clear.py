"""What the triage screen says besides its findings: how many there are, what was checked, what could not be looked at.

Pure. It never calls a site well of which a part was not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backends.domain import NodeState
from backends.domain.text import NAME_LIMIT
from tui.widgets import units
from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell
from tui.widgets.filter import shortened
from tui.widgets.glyphs import SEVERITIES, Glyphs
from tui.widgets.sheet import Line, Section
from tui.widgets.wrap import wrapped

if TYPE_CHECKING:
    from backends.domain import Fleet, NodeReading, Triage

NAME_WIDTH = 16
STATE_WIDTH = 12
CHECK_WIDTH = 38
MOST_UNREAD = 40
JUST_SEEN = "just seen, looked at again"


def summary_cells(triage: Triage, hidden: int, glyphs: Glyphs) -> list[Cell]:
    """The line over the findings: how many of each, how many nodes were looked at, what is hidden."""
    cells = []
    for severity, (style, word) in SEVERITIES.items():
        count = sum(each.severity == severity and each.acknowledged is None for each in triage.findings)
        if count:
            plural = word if count == 1 or severity == "critical" else f"{word}s"
            cells.append(Cell(f"{glyphs.of(style)} {count} {plural}", style))
    acknowledged = sum(each.acknowledged is not None for each in triage.findings)
    if not cells:
        cells.append(Cell("no open findings" if acknowledged else "no findings"))
    if triage.just_seen:
        cells.append(Cell(f"{glyphs.warn} {triage.just_seen} {JUST_SEEN}", "warn"))
    for count, word in ((acknowledged, "acked"), (len(triage.recovered), "recovered")):
        if count:
            cells.append(Cell(f"{count} {word}", "dim"))
    if hidden:
        cells.append(Cell(f"{hidden} hidden", "accent"))
    whole = triage.nodes_seen == triage.nodes_total
    looked = f"{triage.nodes_seen}/{triage.nodes_total} nodes looked at"
    return [*cells, Cell(looked, "dim") if whole else Cell(f"{glyphs.warn} {looked}", "warn")]


def nothing_listed(triage: Triage, filter_text: str, width: int) -> list[Section]:
    """There are findings, but none that the list shows: why."""
    count = len(triage.findings) + len(triage.recovered)
    if filter_text:
        said = f"Nothing matches /{shortened(filter_text)}/ in {_count(count, 'finding')}."
    else:
        said = f"Nothing is open; {count} acknowledged or recovered are hidden."
    return [Section("NOTHING SHOWN", tuple((Cell(text),) for text in wrapped(said, max(8, width - 2))))]


def clear_sections(
    triage: Triage, fleet: Fleet | None, now: float, width: int, glyphs: Glyphs, platform: str | None = None
) -> list[Section]:
    """No findings: on how many nodes and GPUs, how fresh, by which checks, and what was not looked at.

    `platform` names one whose GPU stack was not read.
    """
    room = max(8, width - 2)
    nodes = fleet.nodes if fleet is not None else ()
    sections = [
        Section(
            "NO OPEN FINDINGS" if triage.findings else "NO FINDINGS",
            tuple(_verdict(triage, nodes, now, room, glyphs, platform)),
        ),
        Section("NOT LOOKED AT", tuple(_unread(nodes, room, glyphs))),
        Section("CHECKED", tuple(_checked(triage, room))),
    ]
    return [section for section in sections if section.lines]


def _verdict(
    triage: Triage, nodes: Sequence[NodeReading], now: float, width: int, glyphs: Glyphs, platform: str | None
) -> list[Line]:
    # The fleet may know already of a node that triage still counts as seen: such a site is not called well.
    unread = max(triage.nodes_total - triage.nodes_seen, sum(each.state is not NodeState.LIVE for each in nodes))
    seen, total = max(0, triage.nodes_total - unread), triage.nodes_total
    gpus = sum(len(reading.node.gpus) for reading in nodes if reading.node and reading.state is NodeState.LIVE)
    what = "Nothing else is wrong" if triage.findings or triage.just_seen else "Nothing is wrong"
    fresh = "" if triage.oldest_reading_at is None else _freshness(now - triage.oldest_reading_at)
    if not seen:
        said, style = f"Nothing was looked at: none of {_count(total, 'node')} answers.", "stale"
    elif seen < total:
        looked = f"the {_count(seen, 'node')} that answer{'s' if seen == 1 else ''} ({_count(gpus, 'GPU')})"
        said, style = f"{what} on {looked}{fresh}. {unread} of {total} could not be looked at.", "warn"
    else:
        said, style = f"{what} on {_count(seen, 'node')} with {_count(gpus, 'GPU')}{fresh}.", "good"
    if triage.just_seen:
        said, style = f"{triage.just_seen} {JUST_SEEN}. {said}", "warn" if style == "good" else style
    if platform is not None:
        said, style = f"{said} The GPU stack of {platform} is not read.", "warn" if style == "good" else style
    lines = wrapped(said, width - 2, ellipsis=glyphs.ellipsis)
    return [(Cell(f"{glyphs.of(style)} " if n == 0 else "  ", style), Cell(text)) for n, text in enumerate(lines)]


def _freshness(age: float) -> str:
    return f"; the oldest reading is {units.coarse_age(age)} old"


def _unread(nodes: Sequence[NodeReading], width: int, glyphs: Glyphs) -> list[Line]:
    unread = [reading for reading in nodes if reading.state is not NodeState.LIVE]
    lines = [_unread_line(reading, width, glyphs) for reading in unread[:MOST_UNREAD]]
    left = len(unread) - MOST_UNREAD
    if left > 0:
        lines.append((Cell(f"and {left} more", "dim"),))
    closed = sum(reading.state is NodeState.LIVE and _hides_log(reading) for reading in nodes)
    if closed:
        said = f"kernel log closed on {_count(closed, 'node')}: past XIDs are unseen"
        lines += [(Cell(text, "dim"),) for text in wrapped(said, width, ellipsis=glyphs.ellipsis)]
    return lines


def _hides_log(reading: NodeReading) -> bool:
    return reading.node is not None and bool(reading.node.gpus) and reading.node.kernel_log is None


def _unread_line(reading: NodeReading, width: int, glyphs: Glyphs) -> Line:
    name = fit(reading.name, NAME_WIDTH, ellipsis=glyphs.ellipsis)
    style = "bad" if reading.state is NodeState.DOWN else "stale"
    said = fit(f"{glyphs.of(style)} {reading.state.value}", STATE_WIDTH)
    why = f" {reading.problem.message}" if reading.problem is not None else ""
    room = max(0, width - NAME_WIDTH - 1 - len(said))
    return Cell(f"{name} "), Cell(said, style), Cell(fit(inert(why), room, ellipsis=glyphs.ellipsis), "dim")


def _checked(triage: Triage, width: int) -> list[Line]:
    """Every rule with how much it looked at, in columns whose figures stay in place; then those without a subject."""
    looked = [f"{check.subjects:>5} {inert(check.title[:NAME_LIMIT])}" for check in triage.checks if check.subjects]
    columns = max(1, width // CHECK_WIDTH)
    rows = [looked[start : start + columns] for start in range(0, len(looked), columns)]
    idle = ", ".join(check.title for check in triage.checks if not check.subjects)
    lines: list[Line] = [(Cell(" ".join(fit(text, CHECK_WIDTH - 1) for text in row)),) for row in rows]
    return [*lines, *((Cell(text, "dim"),) for text in wrapped(f"nothing to judge: {idle}" if idle else "", width))]


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
