"""The charts of a GPU on the node screen: what they show in which state, their keys, and what they repaint."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from backends.domain import (
    Clocks,
    Event,
    Fleet,
    Gpu,
    Memory,
    NodeReading,
    NodeState,
    Pcie,
    Power,
    Problem,
    Temperature,
    Utilization,
)
from backends.domain.gpu_series import GPU_SERIES
from backends.feed import Point
from screens.node import NodeScreen
from screens.node_pages.chart_plots import latest, marks, plot
from screens.node_pages.charts import ChartsPage
from screens.node_pages.view import NodeView
from tests.tui.consoles import Opened, ScriptedSite, build_on, grid, opened, settled
from tests.tui.fleets import GIB, NOW, h100, mig_gpu, reading
from tests.tui.test_snapshots import LARGE, SIZES, SMALL, SnapCompare
from tui.widgets.timespan import ZOOMS

XID = Event(NOW - 312, "dgx01", "xid", "GPU has fallen off the bus", gpu_index=0, code=79, source="kernel")
OTHERS_XID = Event(NOW - 200, "dgx01", "xid", "not this one", gpu_index=1, code=31, source="kernel")


def hot(second: float = 0.0, **changes: Any) -> Gpu:
    """An H100 `second` seconds ago: busy in waves, and hotter towards the end."""
    busy = round(60 + 38 * math.sin(second / 90))
    gpu = replace(
        h100(0),
        utilization=Utilization(busy, 20),
        memory=Memory(80 * GIB, (40 + busy // 4) * GIB),
        power=Power(150 + 5.2 * busy, 700.0, max_limit_watts=700.0),
        temperature=Temperature(max(60, 93 - int(second // 30)), 85, 88, 92),
        clocks=Clocks(sm_mhz=1980 - (400 if second < 120 else 0), max_sm_mhz=1980),
    )
    return replace(gpu, **changes)


def remember(site: ScriptedSite, make: Callable[[float], Gpu], seconds: int = 1200, until: int = 0) -> None:
    """What the site read of dgx01 from `seconds` ago to `until` seconds ago."""
    for ago in range(seconds, until - 1, -1):
        site.history.record_node("dgx01", reading("dgx01", make(ago)).node, NOW - ago)  # type: ignore[arg-type]


def stale(*gpus: Gpu) -> NodeReading:
    problem = Problem("unreachable", "connection refused by 192.0.2.7", "is sshd running there?", NOW - 240)
    return replace(reading("dgx01", *gpus, at=NOW - 240), state=NodeState.STALE, problem=problem)


Fill = Callable[[ScriptedSite], None]
STATES: dict[str, tuple[Fleet, Fill]] = {
    "normal": (Fleet((reading("dgx01", hot(), h100(1)),)), lambda site: remember(site, hot)),
    "no-data": (Fleet((reading("dgx01", h100(0)),)), lambda site: None),
    "mig": (
        Fleet((reading("dgx01", replace(mig_gpu(0, "3g.20gb"), power=Power(212.0, 400.0))),)),
        lambda site: remember(site, lambda _: replace(mig_gpu(0, "3g.20gb"), power=Power(212.0, 400.0))),
    ),
    "lost": (
        Fleet((reading("dgx01", hot(lost=True, lost_reason="NVML: GPU is lost")),)),
        lambda site: remember(site, hot, until=312),
    ),
    "stale": (Fleet((stale(hot()),)), lambda site: remember(site, hot, until=240)),
    "none": (Fleet((reading("dgx01"),)), lambda site: None),
}


def charted(
    state: str, *keys: str, events: tuple[Event, ...] = (XID, OTHERS_XID)
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        site = cast(ScriptedSite, pilot.app.site)  # type: ignore[attr-defined]
        STATES[state][1](site)
        site.events.publish(events, NOW)
        await pilot.press("enter", "c", *keys)
        await pilot.pause()
        assert isinstance(pilot.app.screen, NodeScreen)
        await pilot.pause()

    return run


@asynccontextmanager
async def charts(
    state: str = "normal", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Opened, ChartsPage, ScriptedSite]]:
    async with opened(build_on(STATES[state][0]), size) as console:
        await charted(state)(console.pilot)
        yield console, console.screen.query_one(ChartsPage), console.site


def shown(page: ChartsPage) -> dict[str, str]:
    """The title of each chart in sight, by series."""
    return {name: chart.text_lines[0].strip() for name, chart in page.charts.items() if chart.display}


def marked(gpu: Gpu, *events: Event) -> list[str]:
    """What stands on the time axis of its charts."""
    view = NodeView(reading("dgx01", gpu, h100(1)), gpu, NOW, events)
    return [mark.label for mark in marks(view, gpu)]


def test_an_event_is_marked_on_the_charts_of_the_gpu_it_is_about() -> None:
    gpu = replace(hot(), pci_bus_id="00000000:1B:00.0")
    assert gpu.index == 0
    unlisted = replace(XID, gpu_index=None, gpu_uuid=None, pci_bus_id="0000:9b:00")
    assert marked(gpu, unlisted) == [], "of a GPU that NVML does not list"
    assert marked(gpu, replace(unlisted, pci_bus_id=None)) == [], "nobody knows of which"
    assert marked(gpu, replace(unlisted, pci_bus_id="0000:1b:00")) == ["79"]
    assert marked(gpu, replace(XID, gpu_index=0, gpu_uuid="GPU-gone")) == [], "of a board that was there before"
    assert marked(gpu, replace(XID, gpu_index=0, gpu_uuid=None)) == ["79"]
    assert marked(gpu, Event(NOW - 5, "dgx01", "disconnected", "refused"), Event(NOW, "dgx01", "stalled", "hangs")) == [
        "",
        "",
    ]


def test_a_mark_is_as_grave_as_its_event() -> None:
    gpu = hot()
    own = replace(XID, gpu_index=0, gpu_uuid=gpu.uuid)
    view = NodeView(reading("dgx01", gpu), gpu, NOW, (own, replace(own, at=NOW, code=43)))
    assert [mark.style for mark in marks(view, gpu)] == ["bad", "accent"]


async def test_left_at_the_longest_span_does_not_freeze_the_charts() -> None:
    async with charts() as (console, page, _):
        await console.press("minus", "minus", "minus", "left")
        assert (page.time.words, page.time.end) == ("6 h", None)


def test_a_gpu_that_was_lost_before_it_was_read_has_no_last_value() -> None:
    never = Gpu(index=3, uuid="GPU-x", lost=True)
    view = NodeView(reading("dgx01", never), never, NOW)
    assert latest(view, never, GPU_SERIES[0]).text == "✖ lost"
    assert "before it was lost" in plot(view, never, GPU_SERIES[0], NOW, 300, 60).note


def test_a_board_at_its_power_limit_is_no_alarm() -> None:
    series = next(each for each in GPU_SERIES if each.id == "power")
    for draw in (700.0, 712.0):
        gpu = replace(h100(0), power=Power(draw, 700.0, 700.0))
        view = NodeView(reading("dgx01", gpu), gpu, NOW)
        assert latest(view, gpu, series).style == ""
        limit = next(iter(plot(view, gpu, series, NOW, 300, 60).thresholds))
        assert (limit.word, limit.style) == ("limit", "accent")


# What they show


async def test_three_charts_at_a_time_and_the_chosen_one_among_them() -> None:
    async with charts() as (console, page, _):
        assert list(shown(page)) == ["utilization", "memory", "power"]
        assert shown(page)["utilization"].startswith("▸ Utilisation  60 %  min")
        await console.press("J", "J", "J")
        assert list(shown(page)) == ["memory", "power", "temperature"]
        assert shown(page)["temperature"].startswith("▸ Temperature  ✖ 93 °C")
        await console.press("J", "J", "J", "J")
        assert list(shown(page)) == ["temperature", "sm_clock", "memory_temperature"]


async def test_one_chart_alone_has_the_whole_page() -> None:
    async with charts() as (console, page, _):
        await console.press("J", "J", "z")
        assert list(shown(page)) == ["power"]
        assert page.charts["power"].size.height > 12
        await console.press("z")
        assert len(shown(page)) == 3


async def test_a_large_terminal_shows_all_in_two_columns() -> None:
    async with charts(size=(200, 50)) as (_, page, _):
        assert len(shown(page)) == 6
        regions = [chart.region for chart in page.charts.values() if chart.display]
        assert len({region.x for region in regions}) == 2
        widths = [region.width for region in regions]
        assert max(widths) - min(widths) <= 1
        assert "not measured here: Headroom to T.Limit" in page.query_one("#charts-missing").text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("state", "series", "said"),
    [
        ("no-data", "utilization", "no sample yet: what is read from now on is kept"),
        ("mig", "utilization", "cannot be measured while MIG is on"),
    ],
)
async def test_an_empty_chart_says_why(state: str, series: str, said: str) -> None:
    async with charts(state) as (_, page, _):
        assert said in "\n".join(page.charts[series].text_lines)


async def test_a_lost_gpu_and_a_stale_node_end_in_a_gap() -> None:
    for state, word in (("lost", "✖ lost, last"), ("stale", "◌ stale, last")):
        async with charts(state) as (_, page, _):
            assert word in shown(page)["power"]
            rows = page.charts["utilization"].text_lines[1:]
            assert all(row.endswith(" " * 10) for row in rows), "nothing was measured lately"
            assert any(row[6:-10].strip() for row in rows)


async def test_a_node_without_gpus_says_so() -> None:
    async with charts("none") as (console, _, _):
        assert "The node reports no GPU." in console.text


async def test_events_of_this_gpu_stand_on_the_time_axis() -> None:
    async with charts() as (console, _, _):
        assert "✖79" in console.text
        assert "✖31" not in console.text


async def test_a_risen_counter_stands_on_the_time_axis() -> None:
    async with charts() as (console, page, site):
        for ago, count in ((100, 0), (60, 7)):
            site.history.record_node(
                "dgx01",
                reading("dgx01", hot(0, pcie=Pcie(5, 16, 5, 16, count))).node,  # type: ignore[arg-type]
                NOW - ago + 200,
            )
        await site.clock.advance(200)
        await console.press("n")
        site.publish(STATES["normal"][0])
        await console.until(lambda: "▲+7" in console.text, "the mark")
        await console.press("less_than_sign")
        assert "PCIe replays +7, now 7" in console.text
        assert page.time.cursor is not None


# Keys and mouse


async def test_zoom_pan_and_cursor_are_shared_and_work_from_the_list() -> None:
    async with charts() as (console, page, _):
        assert console.screen.focused is grid(console)
        await console.press("minus")
        assert page.time.words == "1 h"
        await console.press("plus", "plus", "plus", "plus")
        assert page.time.words == ZOOMS[0][1]
        await console.press("left")
        assert "5 min to 22:12:05" in console.text
        await console.press("right")
        assert "5 min to now" in console.text
        await console.press("comma", "comma")
        assert "ago" in console.text
        for title in shown(page).values():
            assert "there" in title
        await console.press("n")
        assert page.time.cursor is None


async def test_the_keys_of_the_charts_do_nothing_on_another_page() -> None:
    async with charts() as (console, page, _):
        before = page.time
        await console.press("v", "minus", "comma", "left", "z")
        assert page.time == before
        await console.press("c", "minus")
        assert page.time != before


async def test_the_line_tells_the_keys_that_work() -> None:
    async with opened(build_on(STATES["normal"][0], keys={"node.charts_zoom_in": "f5"}), (200, 50)) as console:
        await charted("normal")(console.pilot)
        page = console.screen.query_one(ChartsPage)
        assert "f5 - zoom  , . cursor  < > events  J K chart  z alone  left right time  n now" in console.text
        await console.press("f5")
        assert page.time.words == ZOOMS[0][1]


async def test_the_cursor_goes_from_event_to_event() -> None:
    async with charts() as (console, page, _):
        await console.press("less_than_sign")
        assert page.time.cursor == XID.at
        assert "XID 79: GPU has fallen off the bus" in console.text
        await console.press("plus")
        assert "XID 79" in console.text, "it stays in sight"


async def test_a_click_points_at_a_moment_and_chooses_the_chart() -> None:
    async with charts() as (console, page, _):
        await console.pilot.click("#chart-power", offset=(30, 3))
        await console.pilot.pause()
        assert page.time.cursor is not None
        assert shown(page)["power"].startswith("▸ Power")
        assert all("there" in title for title in shown(page).values())


async def test_arrows_choose_a_chart_once_the_page_has_the_keys() -> None:
    async with charts() as (console, page, _):
        await console.press("enter")
        assert console.screen.focused is page
        await console.press("j")
        assert shown(page)["memory"].startswith("▸")
        await console.press("k")
        assert shown(page)["utilization"].startswith("▸")


async def test_another_gpu_shows_its_own_history() -> None:
    async with charts() as (console, page, _):
        await console.press("right_square_bracket")
        await console.until(lambda: "no sample yet" in console.text, "the second GPU has none")
        assert page.time.words == "15 min"


# Cost


async def test_nothing_is_repainted_when_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with charts(size=(200, 50)) as (console, _, site):
        asked: list[Any] = []
        for widget in console.screen.query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *regions, **_: asked.append(regions))
        site.publish(STATES["normal"][0])
        console.screen.redraw()
        assert asked == []


async def test_a_new_sample_repaints_the_end_and_not_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    async with charts() as (console, page, site):
        chart = page.charts["power"]
        regions: list[Any] = []
        monkeypatch.setattr(chart, "refresh", lambda *asked, **_: regions.extend(asked))
        later = hot(0, power=Power(689.0, 700.0, max_limit_watts=700.0))
        site.history.record_node("dgx01", reading("dgx01", later).node, NOW)  # type: ignore[arg-type]
        console.screen.redraw()
        assert regions
        assert all(region.x >= chart.size.width - 2 for region in regions if region.y > 0)


async def test_only_the_charts_in_sight_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with charts() as (console, page, site):
        read: list[str] = []
        plain = site.history.window

        def window(key: str, now: float, seconds: float, points: int) -> tuple[Point | None, ...]:
            read.append(key)
            return plain(key, now, seconds, points)

        monkeypatch.setattr(site.history, "window", window)
        console.screen.redraw()
        assert len(read) == len(shown(page)) == 3


# Looks


@SIZES
def test_charts(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(build_on(STATES["normal"][0]), terminal_size=size, run_before=charted("normal"))


@pytest.mark.parametrize("state", ["no-data", "mig", "lost", "stale"])
def test_charts_states(snap_compare: SnapCompare, state: str) -> None:
    assert snap_compare(build_on(STATES[state][0]), terminal_size=SMALL, run_before=charted(state))


def test_charts_cursor(snap_compare: SnapCompare) -> None:
    run = charted("normal", "less_than_sign", "J", "J", "J")
    assert snap_compare(build_on(STATES["normal"][0]), terminal_size=SMALL, run_before=run)


def test_charts_alone(snap_compare: SnapCompare) -> None:
    run = charted("normal", "J", "J", "J", "z")
    assert snap_compare(build_on(STATES["normal"][0]), terminal_size=LARGE, run_before=run)


def test_charts_ascii(snap_compare: SnapCompare) -> None:
    app = build_on(STATES["normal"][0], ascii_only=True)
    assert snap_compare(app, terminal_size=SMALL, run_before=charted("normal"))


def test_charts_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = build_on(STATES["normal"][0], theme=None)
    assert snap_compare(app, terminal_size=SMALL, run_before=charted("normal", "less_than_sign"))
