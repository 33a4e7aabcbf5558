"""The two lines on top: where this is, how much of it answers, how old the oldest value is; modes, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical

from backends.domain import NodeState
from tui.chrome.modes import Alarm, Span, Tabs, mode_line
from tui.widgets import units
from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine

if TYPE_CHECKING:
    from backends.domain import Fleet, SiteSpec
    from tui.widgets.glyphs import Glyphs


FRESH_BEATS = 5
"""A value older than this many beats is no longer live, whatever its node's state."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the header says; equal values paint nothing."""

    site: str
    platform: str | None
    demo: bool
    live: int
    total: int
    failed: int
    oldest: tuple[str, int] | None
    """(node, age in seconds, coarse) of the oldest value that is no longer live; None where there is none."""
    connecting: int


def summarize(spec: SiteSpec, fleet: Fleet, now: float) -> Summary:
    """The header's figures; ages are coarse so that they change rarely."""
    fresh = FRESH_BEATS * max(1.0, spec.fast_seconds)
    aged = [(age, reading) for reading in fleet.nodes if (age := reading.age(now)) is not None]
    old = [(age, reading.name) for age, reading in aged if reading.state is NodeState.STALE or age > fresh]
    oldest = max(old, default=None)
    return Summary(
        site=spec.name,
        platform=spec.platform,
        demo=spec.demo,
        live=sum(reading.is_current for reading in fleet.nodes),
        total=len(fleet.nodes),
        failed=sum(not reading.is_current and reading.state is not NodeState.CONNECTING for reading in fleet.nodes),
        oldest=(oldest[1], int(oldest[0] // 10) * 10) if oldest is not None else None,
        connecting=sum(reading.state is NodeState.CONNECTING for reading in fleet.nodes),
    )


class Marked(Protocol):
    @property
    def mark(self) -> Cell | None:
        """What stands in the place of READ-ONLY while the write window is open; None while it is closed."""
        ...


class HeaderApp(Protocol):
    """What the header needs of the application."""

    @property
    def summary(self) -> Summary | None: ...

    @property
    def alarm(self) -> Alarm | None: ...

    @property
    def tabs(self) -> Tabs: ...

    @property
    def glyphs(self) -> Glyphs: ...

    @property
    def changing(self) -> Marked: ...

    async def action_open_mode(self, mode: str) -> None: ...


class HeaderLine(StyledLine):
    DEFAULT_CSS = """
    HeaderLine {
        & > .line--tab { text-style: reverse; }
        & > .line--mark { color: $text-accent; text-style: reverse; }
        & > .line--name { text-style: bold; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"line--tab", "line--mark", "line--name"}


class Header(Vertical):
    DEFAULT_CSS = """
    Header { dock: top; height: 2; background: $panel; }
    Header #header-modes { background: $surface; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._crumbs: tuple[str, ...] = ()
        self._spans: list[Span] = []

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header-site")
        yield HeaderLine(id="header-modes")

    def on_mount(self) -> None:
        self.repaint_lines()

    def on_resize(self, _event: events.Resize) -> None:
        self.repaint_lines()

    def set_crumbs(self, crumbs: tuple[str, ...]) -> None:
        """Says where the user is: the mode's name, then what was opened in it."""
        if crumbs != self._crumbs:
            self._crumbs = crumbs
            self.repaint_lines()

    def repaint_lines(self) -> None:
        """Draws what the application says now; nothing when it says the same."""
        app = cast(HeaderApp, self.app)
        width = self.size.width or self.app.size.width  # before the first layout too: the first paint is the whole one
        for line in self.query("#header-site").results(HeaderLine):
            line.set_cells(site_cells(app.summary, width, app.glyphs, app.changing.mark))
        for line in self.query("#header-modes").results(HeaderLine):
            cells, self._spans = mode_line(app.tabs, self._crumbs[1:], app.alarm, width, app.glyphs)
            line.set_cells(cells)

    async def on_click(self, event: events.Click) -> None:
        for start, end, mode in self._spans:
            if event.screen_y == self.region.y + 1 and start <= event.screen_x < end:
                await cast(HeaderApp, self.app).action_open_mode(mode)
                return


_READ_ONLY = Cell("READ-ONLY", "accent")


def site_cells(summary: Summary | None, width: int, glyphs: Glyphs, mark: Cell | None = None) -> list[Cell]:
    """gpudeck  prod  kubernetes  DEMO  31/32 nodes  live ... READ-ONLY; too narrow, the least important go first.

    `mark` stands in the place of READ-ONLY while the site may be changed.
    """
    mark = mark or _READ_ONLY
    parts: list[tuple[int, Cell]] = [(9, Cell("gpudeck", "name"))]
    if summary is None:
        parts.append((9, Cell("no site", "dim")))
    else:
        parts += _site_parts(summary, glyphs)
    while len(parts) > 1 and _length(parts) + len(mark.text) + 1 > width:
        parts.remove(min(parts, key=lambda part: part[0]))
    cells = [Cell(" ")]
    for _, cell in parts:
        cells += [cell, Cell("  ")]
    gap = width - _length(parts) - len(mark.text) - 1
    return [*cells, Cell(" " * gap), mark] if gap >= 0 else cells


def _site_parts(summary: Summary, glyphs: Glyphs) -> list[tuple[int, Cell]]:
    parts = [(8, Cell(inert(summary.site)[:32], "accent"))]
    if summary.platform:
        parts.append((2, Cell(summary.platform)))
    if summary.demo:
        parts.append((7, Cell(" DEMO ", "mark")))
    nodes = f"{summary.live}/{summary.total} nodes"
    parts.append((6, Cell(f"{glyphs.warn} {nodes}", "warn") if summary.failed else Cell(nodes)))
    if summary.connecting:
        parts.append((4, Cell(f"{summary.connecting} connecting", "dim")))
    if summary.oldest is not None:
        name, age = summary.oldest
        parts.append((5, Cell(f"{glyphs.stale} oldest {units.coarse_age(age)} ({inert(name)[:24]})", "stale")))
    elif summary.live and not summary.failed and not summary.connecting:
        parts.append((3, Cell(f"{glyphs.good} live", "good")))
    return parts


def _length(parts: list[tuple[int, Cell]]) -> int:
    return 1 + sum(cell_len(cell.text) + 2 for _, cell in parts)
