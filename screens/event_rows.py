"""The events of a site as rows, newest first: pure, and made only for what a screen shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from screens.cells import state_cell
from screens.event_fields import EventItem, event_text
from screens.event_words import condition_of, what
from tui.widgets.columns import Cell, Column, LazyRows, Row
from tui.widgets.filter import Filter, Subject, Verdicts
from tui.widgets.glyphs import NOT_MEASURED

if TYPE_CHECKING:
    from backends.domain import Event, Fleet
    from tui.widgets.glyphs import Glyphs

TIME_WIDTH = 14
COLUMNS: tuple[Column, ...] = (
    Column("time", "TIME", TIME_WIDTH + 2, "right", sortable=False),
    Column("age", "AGE", 4, "right", sortable=False),
    Column("kind", "EVENT", 8, sortable=False),
    Column("node", "NODE", 12, grow=8, sortable=False),
    Column("gpu", "GPU", 3, "right", sortable=False),
    Column("code", "CODE", 5, "right", sortable=False),
    Column("source", "SOURCE", 7, min_terminal_width=100, sortable=False),
    Column("text", "WHAT", 24, grow=200, sortable=False),
)


@dataclass
class EventCache:
    """What was worked out of each event, kept while the site keeps the event."""

    subjects: dict[str, tuple[Event, Subject]] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=Verdicts)
    shown: tuple[object, object, dict[str, Event]] | None = None
    """(events, filter, what of them is shown) of the last call."""


def shown_events(events: tuple[Event, ...], match: Filter, now: float, cache: EventCache) -> dict[str, Event]:
    """By key, newest first, what `match` lets pass; the same object while both are."""
    known = cache.shown
    if known is not None and known[0] is events and known[1] is match and not match.of_the_moment:
        return known[2]
    if len(cache.subjects) > 2 * len(events) + 64:
        cache.subjects.clear()
        cache.verdicts.clear()
    shown = {
        event.key: event for event in reversed(events) if not match or _matches(event, event.key, match, now, cache)
    }
    cache.shown = (events, match, shown)
    return shown


def event_rows(shown: dict[str, Event], now: float, glyphs: Glyphs) -> LazyRows:
    """Rows of what `shown_events` gave, at `now` (seconds since the epoch)."""
    keys = list(shown)
    return LazyRows(keys, lambda index: _row(keys[index], shown[keys[index]], now, glyphs))


def gpu_key_of(event: Event, fleet: Fleet | None) -> str | None:
    """The key of the GPU as its node lists it now; None where it is of no GPU, or of one that is gone."""
    reading = fleet.get(event.node) if fleet else None
    gpus = reading.node.gpus if reading and reading.node else ()
    return next((gpu.key for gpu in gpus if event.is_of(gpu)), None)


def when(at: float, now: float) -> str:
    """Local time, with the date when it is not today's; the date alone of another year."""
    try:
        then, today = (datetime.fromtimestamp(each).astimezone() for each in (at, now))
    except (ValueError, OverflowError, OSError):
        return NOT_MEASURED
    if then.date() == today.date():
        return then.strftime("%H:%M:%S")
    return then.strftime("%m-%d %H:%M:%S" if then.year == today.year else "%Y-%m-%d")


AGE_STEP_SECONDS = 10.0
"""The seconds of an age are told in such steps."""
_AGES = ((100 * 365 * 86400, ""), (365 * 86400, " y"), (100 * 86400, "d"), (86400, " d"), (3600, " h"), (60, " m"))


def short_age(seconds: float) -> str:
    """`now`, `20 s`, `3 m`, `5 h`, `12 d`, `120d`, `2 y`: in four cells, and another one each ten seconds at most."""
    if AGE_STEP_SECONDS <= seconds < 60:
        return f"{int(seconds // AGE_STEP_SECONDS * AGE_STEP_SECONDS)} s"
    size, unit = next(((size, unit) for size, unit in _AGES if seconds >= size), (1, "now"))
    if unit in ("", "now"):
        return unit or "long"
    return f"{int(seconds // (86400 if unit == 'd' else size))}{unit}"


def _matches(event: Event, key: str, match: Filter, now: float, cache: EventCache) -> bool:
    known = cache.subjects.get(key)
    if match.of_the_moment or known is None or known[0] is not event:
        known = (event, Subject(event_text(event), frozenset(), EventItem(event, now)))
        cache.subjects[key] = known
    return cache.verdicts.holds(match, key, known[1])


def _row(key: str, event: Event, now: float, glyphs: Glyphs) -> Row:
    cells = (
        f"{when(event.at, now):>{TIME_WIDTH}}",
        Cell(short_age(now - event.at), "dim"),
        state_cell(condition_of(event), glyphs),
        event.node,
        "" if event.gpu_index is None else str(event.gpu_index),
        "" if event.code is None else str(event.code),
        Cell(event.source or "", "dim"),
        what(event),
    )
    return Row(key, cells)
