"""The fleet's rows: every value named for what it is, n/a where nothing was measured, stale where it is old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.style import Style

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Fabric,
    Fleet,
    Gpu,
    GpuProcess,
    Link,
    Mig,
    Node,
    NodeReading,
    NodeState,
    Pcie,
    RemappedRows,
    Severity,
    Subject,
    Temperature,
    clean,
)
from backends.feed import History
from screens.aggregate import summary
from screens.cells import CELL_INDEX, COLUMNS, gpu_cells
from screens.condition import gpu_condition, node_condition
from screens.rows import FleetView, RowCache, fleet_rows, found_of, identity, row_key
from tests.tui.findings import ACKED, DISK, HOT
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, mig_gpu, reading, refused
from tui.widgets import units
from tui.widgets.columns import Cell, Row, place
from tui.widgets.filter import parse
from tui.widgets.glyphs import ASCII, UNICODE
from tui.widgets.spark import meter, spark
from tui.widgets.strips import row_strip

TREE = FleetView()


def text(row: Row, column: str) -> str:
    cell = row.cells[CELL_INDEX[column]]
    return cell.text if isinstance(cell, Cell) else cell


def style(row: Row, column: str) -> str:
    cell = row.cells[CELL_INDEX[column]]
    return cell.style if isinstance(cell, Cell) else ""


def drawn(row: Row, width: int) -> str:
    return row_strip(row, place(COLUMNS, width), UNICODE, lambda _token: Style()).text


def by_key(rows: Sequence[Row]) -> dict[str, Row]:
    return {row.key: row for row in rows}


def test_a_gpu_row_says_what_was_measured() -> None:
    row = fleet_rows(Fleet((reading("n", h100(0)),)), None, NOW, TREE)[1]
    assert [text(row, key) for key in ("state", "utilization", "memory", "power", "temperature")] == [
        "✓ ok",
        "93",
        "3.0/ 80.0",
        "658/ 700",
        "40",
    ]
    assert [text(row, key) for key in ("clocks", "ecc", "remaps", "links", "mig", "processes", "user")] == [
        "pwr-cap",
        "0/0",
        "0",
        "18/18",
        "off",
        "1",
        "alice",
    ]


def test_nothing_measured_is_na_and_never_zero() -> None:
    rows = fleet_rows(Fleet((reading("n", Gpu()),)), None, NOW, TREE)
    for row in rows:
        assert "0" not in drawn(row, 200).replace("  0 n/a", "")
    for column in COLUMNS:
        if column.key not in ("name", "state", "meter", "spark"):
            assert text(rows[1], column.key) == "n/a", column.key
            assert style(rows[1], column.key) == "dim"


def test_a_lost_gpu_says_lost_and_why_with_its_last_values_stale() -> None:
    lost = replace(h100(2), lost=True, lost_reason="NVML: GPU is lost")
    row = fleet_rows(Fleet((reading("n", h100(0), lost),)), None, NOW, TREE)[2]
    assert (text(row, "state"), style(row, "state")) == ("✖ lost", "bad")
    assert (text(row, "memory"), style(row, "memory")) == ("21.0/ 80.0", "stale")
    assert "NVML: GPU is lost" in drawn(row, 80)


def test_a_lost_gpu_does_not_count_in_the_nodes_figures() -> None:
    lost = replace(h100(1, 100), lost=True)
    node = fleet_rows(Fleet((reading("n", h100(0, 50), lost),)), None, NOW, TREE)[0]
    assert text(node, "utilization") == "50"
    assert text(node, "power") == "400/700"
    assert text(node, "state") == "✖ lost"
    assert text(node, "spark") == "50..50 % of 1"


def test_a_dead_node_keeps_its_values_with_age_and_reason() -> None:
    rows = by_key(fleet_rows(fleet(), None, NOW, TREE))
    node = rows["dgx07"]
    assert text(node, "state") == "◌ stale"
    assert node.dim
    assert "4 m old: connection refused" in drawn(node, 80)
    assert text(node, "utilization") == "50"
    gpu = rows[row_key("dgx07", h100(0, 50, "dgx07"))]
    assert style(gpu, "utilization") == "stale"


def test_a_node_never_seen_says_why() -> None:
    rows = by_key(fleet_rows(fleet(), None, NOW, TREE))
    assert "connection refused by" in drawn(rows["dgx08"], 80)
    assert text(rows["dgx08"], "state") == "✖ down"
    assert text(rows["dgx09"], "state") == "◌ wait"


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (Gpu(), ("good", "ok")),
        (Gpu(lost=True, clocks=Clocks(event_reasons=("hw_thermal_slowdown",))), ("bad", "lost")),
        (Gpu(remapped_rows=RemappedRows(failed=True)), ("bad", "remap")),
        (Gpu(remapped_rows=RemappedRows(pending=True)), ("warn", "remap")),
        (Gpu(ecc=Ecc(volatile=EccCounts(0, 1))), ("bad", "ecc")),
        (Gpu(clocks=Clocks(event_reasons=("hw_thermal_slowdown",))), ("bad", "hot")),
        (Gpu(clocks=Clocks(event_reasons=("sw_thermal_slowdown",))), ("warn", "hot")),
        (Gpu(temperature=Temperature(gpu_celsius=88, gpu_max_celsius=87)), ("warn", "hot")),
        (Gpu(temperature=Temperature(gpu_celsius=40, slowdown_tlimit_celsius=-2)), ("good", "ok")),
        (Gpu(temperature=Temperature(margin_celsius=0)), ("warn", "hot")),
        (Gpu(clocks=Clocks(event_reasons=("hw_power_brake_slowdown",))), ("warn", "slow")),
        (Gpu(pcie=Pcie(width=4, max_width=16)), ("warn", "pcie")),
        (Gpu(links=(Link(0, True), Link(1, False))), ("good", "ok")),
        (Gpu(links=(Link(0, False), Link(1, False))), ("good", "ok")),
        (Gpu(mig=Mig(enabled=False, pending=True)), ("warn", "mig")),
        (Gpu(fabric=Fabric(health="unhealthy")), ("bad", "fabric")),
        (Gpu(recovery_action="node_reboot"), ("warn", "reset")),
    ],
)
def test_the_condition_is_the_most_serious_thing(gpu: Gpu, expected: tuple[str, str]) -> None:
    assert gpu_condition(gpu) == expected
    assert node_condition(reading("n", gpu)) == expected


def test_mig_is_listed_where_it_fits() -> None:
    rows = fleet_rows(
        Fleet((reading("n", mig_gpu(0, "3g.20gb", "2g.10gb", "1c.2g.10gb"), mig_gpu(1, *["1g.5gb"] * 7)),)),
        None,
        NOW,
        TREE,
    )
    assert [text(row, "mig") for row in rows] == ["2 of 2", "3g 2g 2g", "7x1g"]


def test_links_and_ecc_flag_what_is_wrong() -> None:
    down = replace(h100(0), links=tuple(Link(n, n != 3) for n in range(18)))
    noisy = replace(h100(1), links=tuple(Link(n, True, crc_data_errors=5) for n in range(18)))
    sick = replace(h100(2), ecc=Ecc(True, True, EccCounts(123_456, 7)))
    gpus = (down, noisy, sick, h100(3))
    node, first, second, third, _ = fleet_rows(Fleet((reading("n", *gpus),)), None, NOW, TREE)
    assert (text(node, "links"), style(node, "links")) == ("1 dn", "bad")
    assert (text(first, "links"), style(first, "links"), text(first, "state")) == ("17/18", "bad", "✖ link")
    assert (text(second, "links"), style(second, "links")) == ("!18", "warn")
    assert (text(third, "ecc"), style(third, "ecc")) == ("7/+", "bad")


@pytest.mark.parametrize(("active", "shown"), [(4, "4/12"), (0, "0/12")])
def test_links_that_no_board_of_the_node_uses_are_no_trouble(active: int, shown: str) -> None:
    bridged = tuple(Link(number, number >= 12 - active) for number in range(12))
    gpus = [replace(h100(index), links=bridged) for index in range(4)]
    node, *rows = fleet_rows(Fleet((reading("n", *gpus),)), None, NOW, TREE)
    assert text(node, "state") == "✓ ok"
    assert (text(node, "links"), style(node, "links")) == (("up", "") if active else ("none", "dim"))
    assert {(text(row, "links"), style(row, "links"), text(row, "state")) for row in rows} == {
        (shown, "" if active else "dim", "✓ ok")
    }


def test_folding_hides_gpus_and_keeps_the_node() -> None:
    rows = fleet_rows(fleet(), None, NOW, FleetView(folded=frozenset({"dgx01"})))
    assert rows[0].expanded is False
    assert rows[1].key == "dgx02"
    assert rows[1].expanded is True


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("column", [column.key for column in COLUMNS if column.sortable])
def test_every_column_sorts_with_gpus_under_their_node_and_the_unmeasured_last(column: str, reverse: bool) -> None:
    rows = fleet_rows(fleet(), None, NOW, FleetView(sort=column, reverse=reverse))
    assert {row.key for row in rows} == {row.key for row in fleet_rows(fleet(), None, NOW, TREE)}
    node = ""
    for row in rows:
        name, gpu = identity(row.key)
        node = name if gpu is None else node
        assert name == node
    flat = fleet_rows(fleet(), None, NOW, FleetView(sort=column, reverse=reverse, layout="flat"))
    told = [text(row, column) != "n/a" for row in flat if text(row, "state") != "✖ lost"]
    if column not in ("state", "name"):
        assert told == sorted(told, reverse=True)


def test_sorting_by_utilisation() -> None:
    rows = fleet_rows(fleet(), None, NOW, FleetView(sort="utilization", reverse=True))
    assert [row.key for row in rows if row.depth == 0][:3] == ["dgx01", "dgx07", "dgx02"]
    flat = fleet_rows(fleet(), None, NOW, FleetView(sort="utilization", reverse=True, layout="flat"))
    assert [text(row, "utilization") for row in flat[:4]] == ["90", "89", "50", "0"]


def test_a_filter_keeps_the_gpus_it_means_and_opens_their_nodes() -> None:
    folded = frozenset({"dgx01", "dgx02"})
    rows = fleet_rows(fleet(), None, NOW, FleetView(folded=folded, match=parse("lost")))
    assert [identity(row.key)[0] for row in rows] == ["dgx01", "dgx01"]
    rows = fleet_rows(fleet(), None, NOW, FleetView(match=parse("refused down")))
    assert [row.key for row in rows] == ["dgx08"]
    assert not fleet_rows(fleet(), None, NOW, FleetView(match=parse("no such thing")))
    rows = fleet_rows(fleet(), None, NOW, FleetView(match=parse("mig 7x !3g")))
    assert not rows
    rows = fleet_rows(fleet(), None, NOW, FleetView(match=parse("ALICE !dgx01")))
    assert {identity(row.key)[0] for row in rows} == {"dgx07"}


def test_rows_of_an_unchanged_node_are_the_same_objects() -> None:
    cache, history, view = RowCache(), History(), TREE
    site = fleet()
    first = fleet_rows(site, history, NOW, view, cache)
    # A heartbeat: a new reading of the same node.
    beat = Fleet(tuple(replace(each, at=None if each.at is None else each.at + 1) for each in site.nodes))
    second = fleet_rows(beat, history, NOW + 1, view, cache)
    assert all(a is b for a, b in zip(first, second, strict=True))
    changed = Fleet((reading("dgx01", h100(0, 1)), *site.nodes[1:]))
    assert len(second) == len(first)
    third = fleet_rows(changed, history, NOW + 1, view, cache)
    assert text(third[1], "utilization") == "1"
    assert third[-1] is first[-1]


def test_the_trend_is_of_the_utilisation_of_the_last_minutes() -> None:
    history = History()
    for second in range(0, 60, 5):
        history.push("n/GPU-dgx01-0", NOW + second, 100.0 if second >= 30 else 0.0)
    row = fleet_rows(Fleet((reading("n", h100(0)),)), history, NOW + 60, TREE)[1]
    assert text(row, "spark") == "▁▁▁███".rjust(30)


def test_hostile_names_keep_every_line_at_its_width() -> None:
    for evil in HOSTILE:
        said = clean(evil)
        gpu = replace(h100(0), name=said, lost_reason=said, processes=(GpuProcess(1, "compute", said, said, 1),))
        readings = (reading(said or "x", gpu), refused(said or "x", replace(gpu, lost=True)))
        for row in fleet_rows(Fleet(readings), None, NOW, TREE):
            for width in (80, 120, 200):
                line = drawn(row, width)
                placed = place(COLUMNS, width)
                assert cell_len(line) == placed[-1].x + placed[-1].width
                assert line.isprintable()


def test_eighty_columns_hold_what_matters() -> None:
    placed = place(COLUMNS, 79)
    assert placed[-1].x + placed[-1].width <= 79
    keys = {each.column.key for each in placed}
    assert keys >= {"name", "state", "utilization", "memory", "power", "temperature", "clocks", "ecc", "links"}
    assert len(place(COLUMNS, 199)) == len(COLUMNS)


def test_every_gpu_has_one_cell_per_column() -> None:
    assert len(gpu_cells(Gpu(), "x", gpu_condition(Gpu()), "", ASCII)) == len(COLUMNS)


def test_the_summary_counts_what_answers() -> None:
    said = " ".join(cell.text for cell in summary(fleet(), UNICODE))
    assert said.startswith("6 nodes 7 GPUs")
    assert "◌ 2 unread" in said
    assert "✖ 1 lost" in said
    assert "mean util 45 %" in said
    assert "mean util n/a" in " ".join(cell.text for cell in summary(Fleet(), UNICODE))


def test_where_no_node_answers_the_summary_counts_no_gpus() -> None:
    last = refused("n", h100(0))
    said = " ".join(cell.text for cell in summary(Fleet((last,)), UNICODE))
    assert said.startswith("1 nodes GPUs n/a ◌ 1 unread")


def test_a_stalled_nvml_call_shows_on_the_node() -> None:
    from backends.domain import Stall

    stuck = NodeReading("n", NodeState.LIVE, Node(name="n", gpus=(h100(0),), stall=Stall(0, "nvmlX", 9.0)), NOW, None)
    assert node_condition(stuck) == ("bad", "stall")
    row, gpu = fleet_rows(Fleet((stuck,)), None, NOW + 240, TREE)
    assert "4 m old: NVML hangs in nvmlX of GPU 0" in drawn(row, 100)
    assert row.dim
    assert (text(gpu, "state"), style(gpu, "utilization")) == ("◌ stale", "stale")
    told = "  ".join(cell.text for cell in summary(Fleet((stuck, reading("m", h100(0, 30)))), UNICODE))
    assert "◌ 1 unread" in told
    assert "mean util 30 %" in told, "what a GPU did before is not in the mean of now"
    for asked, found in (("stale", 2), ("ok", 0)):
        assert len(fleet_rows(Fleet((stuck,)), None, NOW, replace(TREE, match=parse(asked)))) == found


def test_spark_and_meter() -> None:
    assert spark([0, 50, 100, None], 6, 0, 100) == "  ▁▅█ "
    assert spark([3.0] * 8, 4, 0, 100) == "▁▁▁▁", "a flat 3 % looks like 3 %"
    assert spark([0, 0, 0, 90], 2, 0, 100) == "▁▇", "a spike is kept"
    assert spark([], 3, 0, 100) == "   "
    assert spark([float("nan"), 5], 2, 0, 0, ascii=True) == " _"
    assert meter(50, 4) == "██  "
    assert meter(None, 4) == "    "
    assert meter(250, 3, ascii=True) == "###"


def test_units() -> None:
    assert [units.age(seconds) for seconds in (None, 3.9, 125, 3840, 273_600)] == [
        "n/a",
        "3 s",
        "2 m",
        "1 h 04 m",
        "3 d 04 h",
    ]
    assert [units.coarse_age(seconds) for seconds in (3, 12, 59, 60)] == ["<10 s", "10 s", "50 s", "1 m"]
    said = ["less than 1 min ago", "3 min ago", "25 min ago", "1 h 23 min ago", "2 days ago"]
    assert [units.ago(seconds) for seconds in (-5, 200, 1500, 5000, 200_000)] == said
    assert [units.times(count) for count in (2, 3, 4, 12, 22)] == [
        "second time",
        "third time",
        "4th time",
        "12th time",
        "22nd time",
    ]
    assert [units.count(value) for value in (None, 0, 9999, 12_345, 3_000_000, 10**15)] == [
        "n/a",
        "0",
        "9999",
        "12k",
        "3M",
        "999G",
    ]
    assert units.pair("n/a", "n/a") == "n/a"
    assert units.pair("n/a", "700") == "n/a/700"
    assert units.moment(1e30) == "n/a"


def test_a_row_that_shows_nothing_of_an_open_finding_points_to_the_triage() -> None:
    site = Fleet((reading("dgx01", h100(0), h100(1)), reading("dgx02", h100(0))))
    open_finding = replace(DISK, subject=Subject("dgx02"))
    of_a_gpu = replace(HOT, subject=Subject("dgx01", h100(1).key, 1))
    seen = replace(open_finding, subject=Subject("dgx01"), severity=Severity.CRITICAL, acknowledged=ACKED.acknowledged)
    found = found_of((open_finding, of_a_gpu, seen))
    rows = by_key(fleet_rows(site, None, NOW, replace(TREE, found=found)))
    assert text(rows["dgx02"], "state").endswith("triage")
    assert style(rows["dgx02"], "state") == "warn"
    assert text(rows["dgx01"], "state").endswith("triage"), "the worst of its GPUs"
    assert text(rows[row_key("dgx01", h100(1))], "state").endswith("triage")
    assert text(rows[row_key("dgx01", h100(0))], "state").endswith("ok")
    lost = Fleet((reading("dgx02", replace(h100(0), lost=True)),))
    assert text(fleet_rows(lost, None, NOW, replace(TREE, found=found))[0], "state").endswith("lost"), "graver"


def test_a_finding_does_not_hide_that_a_node_shows_old_values() -> None:
    down = replace(DISK, subject=Subject("dgx02"), severity=Severity.CRITICAL)
    row = fleet_rows(Fleet((refused("dgx02", h100(0)),)), None, NOW, replace(TREE, found=found_of((down,))))[0]
    assert (text(row, "state"), style(row, "state")) == ("✖ stale", "bad")
