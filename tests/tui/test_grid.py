"""The live table: what it repaints, where the cursor goes, and that no text can break a line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region

from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell, Column, Note, Row, diff_span, place
from tui.widgets.grid import Grid

COLUMNS = (
    Column("name", "NAME", 12, grow=4),
    Column("busy", "BUSY", 6, "right", unit="%"),
    Column("memory", "MEM", 10, "right"),
    Column("user", "USER", 10),
    Column("wide", "ONLY WIDE", 20, min_terminal_width=80),
)


def rows(count: int, busy: int = 0) -> list[Row]:
    return [Row(f"r{n}", (f"row {n}", str(busy), f"{n}.0/80.0", "alice", "x")) for n in range(count)]


class Host(App[None]):
    def __init__(self, shown: Sequence[Row] = ()) -> None:
        super().__init__()
        self.shown = shown
        self.heard: list[Any] = []

    def compose(self) -> ComposeResult:
        yield Grid(COLUMNS)

    def on_mount(self) -> None:
        self.grid.set_rows(self.shown)
        self.grid.focus()

    @property
    def grid(self) -> Grid:
        return self.query_one(Grid)

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        self.heard.append(("activated", event.row.key))

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        self.heard.append(("highlighted", event.row.key if event.row else None))

    def on_grid_header_clicked(self, event: Grid.HeaderClicked) -> None:
        self.heard.append(("header", event.column))

    def on_grid_toggle_fold(self, event: Grid.ToggleFold) -> None:
        self.heard.append(("fold", event.row.key))


def lines(app: Host) -> list[str]:
    return [app.grid.render_line(y).text for y in range(app.grid.size.height)]


async def test_an_equal_list_of_rows_repaints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host(rows(50))
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        asked: list[Any] = []
        monkeypatch.setattr(app.grid, "refresh", lambda *regions, **_: asked.append(regions))
        app.grid.set_rows(rows(50))
        assert asked == []


async def test_only_the_span_that_changed_is_repainted(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Host(rows(50))
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        asked: list[Region] = []
        monkeypatch.setattr(app.grid, "refresh", lambda *regions, **_: asked.extend(regions))
        changed = rows(50)
        changed[3] = Row("r3", ("row 3", "77", "3.0/80.0", "alice", "x"))
        changed[40] = Row("r40", ("row 40", "77", "3.0/80.0", "alice", "x"))  # out of view
        app.grid.set_rows(changed)
        busy = next(
            each for each in place(COLUMNS, app.grid.scrollable_content_region.width) if each.column.key == "busy"
        )
        assert asked == [Region(busy.x, 4, busy.width, 1)]
        assert "77" in lines(app)[4]


async def test_the_cursor_follows_its_row_and_falls_to_the_nearest_index() -> None:
    app = Host(rows(20))
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.press("down", "down", "down")
        assert app.grid.cursor_row
        assert app.grid.cursor_row.key == "r3"
        app.grid.set_rows(list(reversed(rows(20))))
        assert app.grid.cursor_row.key == "r3"
        await pilot.pause()
        assert any("row 3 " in line for line in lines(app)), "the selected row stays in view"
        app.grid.set_rows([row for row in reversed(rows(20)) if row.key != "r3"])
        assert app.grid.cursor_row.key == "r2"
        app.grid.set_rows([])
        await pilot.pause()
        assert app.heard[-1] == ("highlighted", None)
        assert app.grid.cursor_row is None


async def test_keys_reach_every_row() -> None:
    app = Host(rows(100))
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.press("end")
        assert app.grid.cursor == 99
        await pilot.pause()
        assert "row 99" in "".join(lines(app))
        await pilot.press("pageup", "home", "pagedown", "k")
        assert app.grid.cursor == app.grid.size.height - 1 - 1 - 1
        await pilot.press("enter")
        await pilot.pause()
        assert app.heard[-1] == ("activated", app.grid.cursor_row.key)  # type: ignore[union-attr]


async def test_narrow_grids_drop_columns_and_scroll_the_rest_under_a_frozen_first() -> None:
    app = Host(rows(3))
    async with app.run_test(size=(30, 8)) as pilot:
        assert "wide" not in app.grid.visible_columns
        assert lines(app)[0].startswith("NAME")
        await pilot.press("shift+right", "shift+right")
        await pilot.pause()
        assert lines(app)[1].startswith("  row 0")
        assert "alice" in lines(app)[1]
        assert lines(app)[0].split() == ["NAME", "USER"], "no part of a column is left between them"
        await pilot.resize_terminal(100, 8)
        await pilot.pause()
        assert "wide" in app.grid.visible_columns
        assert all(cell_len(line) == app.grid.scrollable_content_region.width for line in lines(app))


async def test_mouse() -> None:
    shown = [Row("node", ("node", "1", "1", "u", "x"), expanded=True), *rows(3)]
    app = Host(shown)
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        await pilot.click(Grid, offset=(20, 0))
        await pilot.click(Grid, offset=(4, 3))
        assert app.grid.cursor == 2
        await pilot.click(Grid, offset=(0, 1))
        await pilot.click(Grid, offset=(6, 4), times=2)
        await pilot.pause()
        kinds = [entry for entry in app.heard if entry[0] != "highlighted"]
        assert kinds == [("header", "busy"), ("fold", "node"), ("activated", "r2")]


async def test_the_sorted_column_says_so() -> None:
    app = Host(rows(3))
    async with app.run_test(size=(60, 12)):
        app.grid.set_sort("memory", reverse=True)
        assert "MEM↓" in lines(app)[0]


async def test_hostile_text_stays_in_its_cells() -> None:
    evil = [
        "[@click=app.quit]bye[/]",
        "\x1b[31mred\x1b]0;title\x07",
        "\u202eevil\u202c",
        "名前" * 40,
        "e\u0301" * 5000,
        "x" * 10_000,
        "a\nb\rc\td",
        "👩‍🚀" * 9,
    ]
    shown = [Row(f"k{n}", (text, text, text, text, text), note=None) for n, text in enumerate(evil)]
    shown.append(Row("note", ("n", "1", "2", "3", "4"), note=Note(2, Cell("\x1b[2J[b]boom[/b]" * 50, "bad"))))
    app = Host(shown)
    async with app.run_test(size=(60, 14)) as pilot:
        await pilot.pause()
        for line in lines(app):
            assert cell_len(line) == app.grid.scrollable_content_region.width
            assert inert(line) == line
            assert len(line) < 1000
        assert "[@click=app" in lines(app)[1]


async def test_a_theme_change_recolours_kept_strips() -> None:
    app = Host([Row("a", (Cell("a", "bad"), "1", "2", "3", "4"))])
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        before = list(app.grid.render_line(1))
        app.theme = "textual-light"
        await pilot.pause()
        assert list(app.grid.render_line(1)) != before


@given(st.text(max_size=60), st.integers(0, 30), st.sampled_from(["left", "right"]))
def test_fit_has_the_asked_width_whatever_comes_in(text: str, width: int, align: str) -> None:
    assert cell_len(fit(text, width, align)) == width


def test_place_shares_spare_room_and_never_depends_on_values() -> None:
    narrow, wide = place(COLUMNS, 60), place(COLUMNS, 200)
    assert [each.width for each in narrow] == [16, 6, 10, 10]
    assert wide[-1].column.key == "wide"
    assert all(b.x == a.x + a.width + 1 for a, b in itertools.pairwise(wide))


def test_diff_span() -> None:
    placed = place(COLUMNS, 60)
    before = rows(1)[0]
    assert diff_span(before, rows(1)[0], placed) is None
    after = Row("r0", (*before.cells[:4], "changed, but not shown"))
    assert diff_span(before, after, placed) is None
    assert diff_span(before, Row("r0", before.cells, dim=True), placed) == (0, placed[-1].x + placed[-1].width)
