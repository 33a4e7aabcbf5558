"""What the findings may be asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.domain import Finding, Hit, NextStep, Subject
from screens.events import EventsScreen
from screens.finding_fields import FINDING_FIELDS
from screens.triage_jump import screen_of
from screens.triage_rows import TriageView, shown, subject_of
from tests.tui.findings import ACKED, DISK, DRIFT, HOT, LOST, RECOVERED, SEVERAL, triage
from tests.tui.fleets import NOW
from tui.widgets.filter import parse

EVERY = triage(*SEVERAL.findings, ACKED, recovered=(RECOVERED,))


def left(text: str) -> list[Finding]:
    return shown(EVERY, TriageView(parse(text, FINDING_FIELDS), now=NOW))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("severity=critical", [LOST, ACKED]),
        ("severity=note | severity=info", [DRIFT]),
        ("state=open & severity!=note", [LOST, HOT, DISK]),
        ("state=acked", [ACKED]),
        ("state=recovered", [RECOVERED]),
        ("node=dgx01", [LOST, HOT]),
        ("gpu=2", [LOST]),
        ("gpu=na", [DISK, DRIFT]),
        ("rule=thermal", [HOT, ACKED]),
        ("claim~slowdown & state=open", [HOT]),
        ("cause!=na", [LOST, RECOVERED]),
        ("user=bob", [LOST]),
        ("user!=alice", [DISK, DRIFT, RECOVERED]),
        ("hits>1", [LOST]),
        ("age<20m", [LOST]),
        ("age>=1d", [DISK]),
        ("dgx2 !recovered", [DISK, ACKED]),
    ],
)
def test_a_filter_narrows_the_findings(text: str, expected: list[Finding]) -> None:
    assert left(text) == expected


def test_whose_work_is_hit_may_not_be_known() -> None:
    unread = replace(HOT, hits=(), hits_known=False)
    assert parse("hits=na", FINDING_FIELDS).matches(subject_of(unread, NOW))
    assert not parse("hits=0", FINDING_FIELDS).matches(subject_of(unread, NOW))
    hidden = replace(HOT, hits=(Hit("python train.py"),))
    match = parse("user=na hits=1", FINDING_FIELDS)
    assert shown(triage(hidden), TriageView(match)) == [hidden]


def test_a_step_to_the_events_opens_them_for_the_node() -> None:
    step = NextStep("screen", "what happened there", "events")
    log = screen_of(replace(LOST, steps=(step,)))
    assert isinstance(log, EventsScreen)
    assert (log.filter_text, log.opened_filter) == ("node=dgx01", "node=dgx01")
    everything = screen_of(replace(LOST, steps=(step,), subject=Subject()))
    assert isinstance(everything, EventsScreen)
    assert everything.filter_text == ""
