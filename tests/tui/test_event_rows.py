"""The rows of the event log: newest first, filtered, and nothing asked twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.style import Style

from backends.domain import EVENT_KINDS, Event, Fleet, clean
from screens.event_fields import EVENT_FIELDS, event_text
from screens.event_rows import (
    COLUMNS,
    EventCache,
    event_rows,
    gpu_key_of,
    short_age,
    shown_events,
    when,
)
from screens.event_words import SHOWN, condition_of
from screens.node_sections import event_lines
from tests.tui.events import CHANGED, CONNECTED, DOWN, FELL, LOST, NIGHT, STALE, YESTERDAY
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, reading
from tui.widgets.columns import Cell, Row, place
from tui.widgets.filter import Filter, Subject, parse
from tui.widgets.glyphs import ASCII, UNICODE
from tui.widgets.strips import row_strip


def shown(text: str, now: float = NOW, events: tuple[Event, ...] = NIGHT) -> list[Event]:
    return list(shown_events(events, parse(text, EVENT_FIELDS), now, EventCache()).values())


def row_of(event: Event, now: float = NOW) -> Row:
    return event_rows({event.key: event}, now, UNICODE)[0]


def told(row: Row, column: str) -> str:
    cell = row.cells[[each.key for each in COLUMNS].index(column)]
    return cell.text if isinstance(cell, Cell) else cell


def drawn(row: Row, width: int) -> str:
    return row_strip(row, place(COLUMNS, width), UNICODE, lambda _token: Style()).text


def test_the_newest_is_first() -> None:
    assert shown("") == list(reversed(NIGHT))


def test_a_row_says_what_happened_where_and_when() -> None:
    row = row_of(FELL)
    assert [told(row, column.key) for column in COLUMNS] == [
        "      22:08:30",
        "4 m",
        "✖ xid",
        "dgx01",
        "2",
        "79",
        "kernel",
        "GPU has fallen off the bus",
    ]
    assert told(row_of(DOWN), "gpu") == told(row_of(DOWN), "code") == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "GPU has fallen off the bus"),
        ({"count": 1400, "first_at": NOW - 400}, "1,400 times: GPU has fallen off the bus"),
        ({"gi": 5, "ci": 0}, "GI 5 CI 0: GPU has fallen off the bus"),
        ({"gi": 5}, "GI 5: GPU has fallen off the bus"),
        (
            {"kind": "sxid", "text": "Link 30 LTSSM Fault Up", "pci_bus_id": "0000:c1:00.0", "fatal": True},
            "0000:c1:00 fatal: Link 30 LTSSM Fault Up",
        ),
        (
            {"kind": "sxid", "text": "Link 30 LTSSM Fault Up", "pci_bus_id": "0000:c1:00.0", "fatal": False},
            "0000:c1:00 non-fatal: Link 30 LTSSM Fault Up",
        ),
        ({"kind": "sxid", "text": "Data {0x0}", "pci_bus_id": "0000:c1:00.0"}, "0000:c1:00 Data {0x0}"),
    ],
)
def test_a_row_says_what_its_text_does_not(changes: dict[str, Any], expected: str) -> None:
    assert told(row_of(replace(FELL, **changes)), "text") == expected


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_has_a_sign_and_a_word(kind: str) -> None:
    assert kind in SHOWN
    assert len(SHOWN[kind].word) <= 6
    row = row_of(replace(FELL, kind=kind, code=None))
    assert told(row, "kind") == f"{UNICODE.of(SHOWN[kind].style)} {SHOWN[kind].word}"
    plain = event_rows({"k": replace(FELL, kind=kind, code=None)}, NOW, ASCII)[0]
    assert told(plain, "kind").isascii()


@pytest.mark.parametrize(
    ("changes", "style"),
    [
        ({"code": 79}, "bad"),
        ({"code": 94}, "warn"),
        ({"code": 43}, "accent"),
        ({"code": 45}, "accent"),
        ({"kind": "sxid", "code": 20034, "fatal": True}, "bad"),
        ({"kind": "sxid", "code": 20034, "fatal": False}, "warn"),
        ({"kind": "sxid", "code": 12345, "fatal": None}, "accent"),
        ({"kind": "gpu_back", "code": None}, "good"),
    ],
)
def test_every_list_tells_an_event_as_grave_as_its_code(changes: dict[str, Any], style: str) -> None:
    event = replace(FELL, **changes)
    assert condition_of(event).style == style
    assert told(row_of(event), "kind").startswith(UNICODE.of(style))
    head, _ = event_lines(event, UNICODE)
    assert head[1].style == style


def test_a_page_says_of_an_event_what_its_row_says() -> None:
    many = replace(FELL, count=500, first_at=NOW - 400)
    head, body = event_lines(many, UNICODE, "GPU 2")
    assert "".join(cell.text for cell in head) == "2023-11-14 22:08:30  ✖ GPU 2 XID 79"
    assert body.text == told(row_of(many), "text") == "500 times: GPU has fallen off the bus"
    switch = replace(FELL, kind="sxid", code=20034, gpu_index=None, fatal=True, pci_bus_id="0000:c1:00.0", text="Fault")
    head, body = event_lines(switch, UNICODE)
    assert (head[1].text, body.text) == ("✖ SXID 20034", "0000:c1:00 fatal: Fault")
    assert event_lines(LOST, UNICODE, "GPU 2")[0][1].text == "✖ GPU 2 lost"
    assert event_lines(LOST, UNICODE)[0][1].text == "✖ gpu lost"


def test_what_an_xid_means_is_in_sight_at_eighty_columns() -> None:
    line = drawn(row_of(YESTERDAY), 80)
    assert "GPU memory page fault" in line
    assert "pid=" not in line
    assert told(row_of(YESTERDAY), "text").endswith("MMU Fault: ENGINE GRAPHICS (python, pid 4242)")


def test_a_kind_of_a_later_version_is_told_by_its_name() -> None:
    assert told(row_of(replace(FELL, kind="thermal_trip")), "kind") == "● therma"
    assert event_lines(replace(FELL, kind="thermal_trip"), UNICODE)[0][1].text == "● thermal trip"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind=xid", [FELL, YESTERDAY]),
        ("kind=gpu_lost", [LOST]),
        ("kind=lost | state=stale", [STALE, LOST]),
        ("kind=xid & code=79 & node~dgx0", [FELL]),
        ("xid=31", [YESTERDAY]),
        ("code!=79", [YESTERDAY]),
        ("code=na & gpu!=na", [LOST]),
        ("node=dgx01", [FELL, LOST, CONNECTED]),
        ("dgx1 !xid", [LOST, CONNECTED]),
        ("gpu=2", [FELL, LOST]),
        ('text~"fallen off"', [FELL]),
        ("source=kernel | source=nvml", [FELL, LOST, YESTERDAY]),
        ("uuid~gpu-lost bus~9b:00", [LOST]),
        ("age<5m", [DOWN, STALE, FELL]),
        ("age>=1d", [YESTERDAY]),
        ("fallen | mmu", [FELL, YESTERDAY]),
        ('"page fault"', [YESTERDAY]),
        ('"name=python"', [YESTERDAY]),
        ("pid=4242 process~pyth", [YESTERDAY]),
        ("fatal=na & count=1 & gi=na & link=na & kind=xid", [FELL, YESTERDAY]),
        ("xid79", [FELL]),
    ],
)
def test_a_filter_narrows_the_log(text: str, expected: list[Event]) -> None:
    assert shown(text) == expected


def test_ages_go_on_under_the_same_filter() -> None:
    cache, match = EventCache(), parse("age<5m", EVENT_FIELDS)
    assert DOWN.key in shown_events(NIGHT, match, NOW, cache)
    assert DOWN.key in shown_events(NIGHT, match, NOW + 200, cache)
    assert DOWN.key not in shown_events(NIGHT, match, NOW + 300, cache)


def test_only_new_events_are_asked() -> None:
    asked: list[Subject] = []

    def test(subject: Subject) -> bool:
        asked.append(subject)
        return True

    many = tuple(replace(FELL, at=NOW - 1000 + number) for number in range(900))
    match = Filter(parse("kind=xid", EVENT_FIELDS).expression, test)
    cache = EventCache()
    first = shown_events(many, match, NOW, cache)
    assert (len(first), len(asked)) == (900, 900)
    assert shown_events(many, match, NOW + 60, cache) is first
    shown_events((*many[5:], DOWN), match, NOW, cache)
    assert len(asked) == 901


def test_what_the_site_forgot_is_forgotten() -> None:
    cache, match = EventCache(), parse("kind=xid", EVENT_FIELDS)
    for batch in range(20):
        events = tuple(replace(FELL, at=NOW + batch * 1000 + number) for number in range(100))
        shown_events(events, match, NOW, cache)
    assert len(cache.subjects) < 400


def test_an_event_told_twice_is_one_row() -> None:
    assert len(shown("", events=(FELL, FELL))) == 1
    assert len({event.key for event in NIGHT}) == len(NIGHT)


def test_a_change_is_told_and_found_as_the_others_are() -> None:
    row = row_of(CHANGED)
    assert [told(row, key) for key in ("kind", "node", "gpu", "source")] == ["✖ change", "dgx01", "2", "journal"]
    assert told(row, "text") == CHANGED.text
    events = (*NIGHT, CHANGED)
    for text in ("kind=change", "kind=change_failed", "who~bob", "change~20231114", "source=journal", "no room"):
        assert shown(text, events=events) == [CHANGED], text
    assert CHANGED in shown("node=dgx01 & gpu=2", events=events)
    assert shown("kind=change_done", events=events) == []


def test_times_are_local_with_the_date_when_it_is_another_day() -> None:
    assert when(NOW - 60, NOW) == "22:12:20"
    assert when(NOW - 86_400, NOW) == "11-13 22:13:20"
    assert when(NOW - 400 * 86_400, NOW) == "2022-10-10"
    assert when(1e30, NOW) == "n/a"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "now"),
        (9, "now"),
        (10, "10 s"),
        (59, "50 s"),
        (60, "1 m"),
        (3599, "59 m"),
        (7200, "2 h"),
        (86_400 * 99, "99 d"),
        (86_400 * 120, "120d"),
        (86_400 * 800, "2 y"),
        (1e18, "long"),
    ],
)
def test_an_age_takes_four_cells(seconds: float, said: str) -> None:
    assert short_age(seconds) == said


def test_an_event_leads_to_its_gpu_as_it_is_listed_now() -> None:
    value = fleet()
    assert gpu_key_of(FELL, value) == "GPU-lost"
    assert gpu_key_of(STALE, value) is None
    assert gpu_key_of(replace(FELL, gpu_uuid="GPU-gone"), value) is None, "another GPU has its index now"
    assert gpu_key_of(replace(FELL, gpu_uuid=None, gpu_index=1), value) == "GPU-dgx01-1"
    on_bus = replace(h100(0), pci_bus_id="00000000:9B:00.0")
    assert gpu_key_of(replace(LOST, gpu_uuid=None), Fleet((reading("dgx01", h100(1), on_bus),))) == on_bus.key
    assert gpu_key_of(replace(FELL, node="gone"), value) is None
    assert gpu_key_of(FELL, None) is None


def test_eighty_columns_hold_what_matters() -> None:
    placed = place(COLUMNS, 79)
    assert placed[-1].x + placed[-1].width == 79
    assert "source" not in {each.column.key for each in placed}
    assert len(place(COLUMNS, 199)) == len(COLUMNS)


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_events_keep_every_line_at_its_width(evil: str) -> None:
    said = clean(evil)
    row = row_of(Event(NOW, said or "x", said[:20] or "x", said, 10**9, said, said, 10**12, said))
    for width in (80, 120, 200):
        line, placed = drawn(row, width), place(COLUMNS, width)
        assert cell_len(line) == placed[-1].x + placed[-1].width
        assert line.isprintable()


def test_words_look_for_all_that_a_row_shows() -> None:
    assert event_text(FELL) == "dgx01 gpu2 xid xid xid79 kernel gpu has fallen off the bus"
    assert event_text(DOWN) == "dgx08 down down console connection refused by 192.0.2.7"
