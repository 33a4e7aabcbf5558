"""The header's second line: modes, crumbs, and what is wrong, in every width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.domain import Triage
from screens.fleet import FleetScreen
from screens.triage import TriageScreen
from tests.tui.consoles import build_on, opened, to_node
from tests.tui.findings import ACKED, DRIFT, HOT, LOST, SEVERAL, triage
from tests.tui.fleets import HOSTILE, NOW, fleet
from tui.chrome.modes import Alarm, alarm_of, count_cells, mode_line
from tui.widgets.glyphs import ASCII, UNICODE

LABELS = ("Triage", "Fleet", "Stack", "Builds", "Models", "Latency", "Install")
WORST = ("critical", "dgx01 gpu2", "lost from the bus (XID 79)")
ALARM = Alarm(1, 2, 1, WORST)


def tabs(count: int, current: int = 1) -> tuple[tuple[str, str, str, bool], ...]:
    return tuple((label.lower(), str(n), label, n == current) for n, label in enumerate(LABELS[:count], 1))


def text(
    count: int = 2, crumbs: tuple[str, ...] = (), alarm: Alarm | None = ALARM, width: int = 80, current: int = 1
) -> str:
    return "".join(cell.text for cell in mode_line(tabs(count, current), crumbs, alarm, width, UNICODE)[0])


# What is counted


def test_only_open_findings_are_counted() -> None:
    assert alarm_of(triage(LOST, ACKED, HOT, DRIFT)) == Alarm(1, 1, 1, WORST)
    assert alarm_of(triage()) == Alarm()
    assert alarm_of(Triage(nodes_total=6)) is None, "nothing was looked at: nothing is said"
    assert alarm_of(triage(seen=4)) == Alarm(unread=2)


def test_what_is_no_longer_so_is_named_after_what_is_and_as_clearing() -> None:
    gone = replace(LOST, gone_at=NOW)
    assert alarm_of(triage(gone, HOT)) == Alarm(1, 1, 0, ("warning", HOT.subject.label, HOT.claim))
    assert alarm_of(triage(gone)) == Alarm(1, 0, 0, ("critical", "dgx01 gpu2", "clearing: lost from the bus (XID 79)"))


@pytest.mark.parametrize(
    ("alarm", "said"),
    [
        (Alarm(1, 3), "✖1 ▲3"),
        (Alarm(0, 3, 2), "▲3"),
        (Alarm(0, 0, 2), "●2"),
        (Alarm(120, 1000), "✖99+ ▲99+"),
        (Alarm(), ""),
        (None, ""),
    ],
)
def test_counts_are_a_sign_and_a_number(alarm: Alarm | None, said: str) -> None:
    assert "".join(cell.text for cell in count_cells(alarm, UNICODE)) == said


def test_counts_have_ascii_twins() -> None:
    assert "".join(cell.text for cell in count_cells(Alarm(1, 3), ASCII)) == "X1 !3"


# What fits


def test_all_modes_and_the_counts_fit_into_80_cells() -> None:
    said = text(7, alarm=Alarm(99, 99, worst=WORST))
    assert said == " [1 Triage] 2 Fleet  3 Stack  4 Builds  5 Models  6 Latency  7 Install  ✖99 ▲99"
    assert cell_len(said) == 79


def test_the_worst_is_told_where_there_is_room() -> None:
    assert text(2).endswith("✖ dgx01 gpu2: lost from the bus (XID 79)  ✖1 ▲2")
    assert "dgx01 gpu2" not in text(7)
    assert text(7, width=200).endswith("✖ dgx01 gpu2: lost from the bus (XID 79)  ✖1 ▲2")


def test_without_findings_it_says_so_and_how_many_nodes_are_unread() -> None:
    assert text(2, alarm=Alarm()).endswith("  no findings")
    assert text(2, alarm=Alarm(unread=3)).endswith("  no findings, 3 unread")
    assert text(2, alarm=None).rstrip() == " [1 Triage] 2 Fleet", "before the first triage nothing is said"


def test_crumbs_shorten_the_other_modes_before_they_are_cut() -> None:
    assert text(7, ("dgx01", "GPU 3"), current=2).startswith("  1 [2 Fleet] 3  4  5  6  7  › dgx01 › GPU 3 ")
    said = text(7, ("a-very-long-name-of-a-node", "GPU 3", "and more of it"), current=2)
    assert "…" in said
    assert said.endswith("✖1 ▲2")


@pytest.mark.parametrize("count", [3, 7])
@pytest.mark.parametrize("name", ["dgx01", "hgx-h200-01", "rack12-gpu-node-0117.cluster.example"])
def test_the_worst_is_told_beside_any_node(count: int, name: str) -> None:
    said = text(count, (name, "GPU 3"), Alarm(12, 34, worst=WORST), current=2)
    assert "✖ dgx01 gpu2: lost f" in said
    assert said.endswith("✖12 ▲34")
    assert "GPU 3" in said
    assert f"{name[-7:]} › GPU 3" in said or name in said, "the end of a name tells nodes apart"


def test_without_findings_crumbs_take_what_they_need() -> None:
    assert " 1 Triage [2 Fleet] 3 Stack  › hgx-h200-01 › GPU 3 " in text(
        3, ("hgx-h200-01", "GPU 3"), Alarm(), current=2
    )


def test_a_few_cells_are_enough_to_begin() -> None:
    assert text(3, alarm=ALARM, width=60).endswith("✖ dgx01 gpu2: lost f…  ✖1 ▲2")
    assert text(3, alarm=ALARM, width=54).endswith("✖ dgx01 gpu2: …  ✖1 ▲2")
    assert "dgx01" not in text(3, alarm=ALARM, width=48)


@given(
    count=st.integers(1, 7),
    crumbs=st.lists(st.text(max_size=60), max_size=4).map(tuple),
    critical=st.integers(0, 300),
    claim=st.text(max_size=300),
    width=st.integers(12, 220),
)
def test_the_line_never_exceeds_its_width_and_keeps_the_counts(
    count: int, crumbs: tuple[str, ...], critical: int, claim: str, width: int
) -> None:
    alarm = Alarm(critical, 7, worst=("critical", claim, claim))
    cells, spans = mode_line(tabs(count), crumbs, alarm, width, UNICODE)
    said = "".join(cell.text for cell in cells)
    assert cell_len(said) <= width
    assert said.isprintable()
    counts = "".join(cell.text for cell in count_cells(alarm, UNICODE))
    assert said.endswith(counts)
    assert spans[0].mode == "triage"


# On the screens


async def test_every_screen_says_what_is_worst() -> None:
    async with opened(build_on(fleet())) as console:
        console.site.find(SEVERAL)
        await console.until(lambda: "✖ dgx01 gpu2: lost from the bus" in console.lines[1], "the worst")
        await to_node(console)
        assert "✖ dgx01 gpu2: lost from" in console.lines[1]
        assert "✖1 ▲2" in console.lines[1]
        console.site.find(triage(HOT))
        await console.until(lambda: "✖1" not in console.lines[1] and "▲1" in console.lines[1], "the change")
        await console.press("escape")
        assert isinstance(console.screen, FleetScreen)
        await console.until(lambda: "▲1" in console.lines[1], "the change, on the screen that was hidden")
        await console.press("1")
        await console.until(lambda: "▲1" in console.lines[1], "the change, in another mode")


async def test_a_click_on_what_is_wrong_opens_triage() -> None:
    async with opened(build_on(fleet())) as console:
        console.site.find(SEVERAL)
        await console.until(lambda: "✖1 ▲2" in console.lines[1], "the counts")
        await console.pilot.click(offset=(console.lines[1].index("✖1"), 1))
        await console.until(lambda: isinstance(console.screen, TriageScreen), "triage")


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("evil", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_a_hostile_claim_in_the_header_is_inert(evil: str, width: int) -> None:
    async with opened(build_on(fleet()), (width, 24)) as console:
        console.site.find(triage(replace(LOST, claim=evil)))
        await console.until(lambda: "✖1" in console.lines[1], "the counts")
        assert cell_len(console.lines[1]) == width
        assert console.lines[1].isprintable()
        assert console.lines[1].rstrip().endswith("✖1")
        await console.pilot.click(offset=(width - 20, 1))
        assert console.app.is_running
