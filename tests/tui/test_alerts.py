"""Who is told of a new critical finding, when, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.cells import cell_len

from backends.domain import Acknowledgement, Fleet, Severity
from tests.tui.consoles import Opened, build_on, opened
from tests.tui.findings import HOT, LOST, triage
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, reading
from tui.alerts import APART_SECONDS, SETTLE_SECONDS, Alerts, alert_text
from tui.app import AGE_SECONDS
from tui.widgets.glyphs import ASCII, UNICODE

OTHER = replace(LOST, id="other", since=NOW - 10)
AGAIN = SETTLE_SECONDS + APART_SECONDS


def settled() -> Alerts:
    """A site that was opened long ago, without findings."""
    alerts = Alerts()
    alerts.reading(0, 0.0)
    alerts.hear(triage(), SETTLE_SECONDS)
    return alerts


def told(alerts: Alerts, now: float) -> list[str]:
    return [finding.id for finding in alerts.due(now)]


# The policy


def test_a_new_critical_finding_is_told_once() -> None:
    alerts = settled()
    alerts.hear(triage(LOST), SETTLE_SECONDS)
    assert told(alerts, SETTLE_SECONDS) == [LOST.id]
    alerts.hear(triage(LOST), AGAIN)
    assert told(alerts, AGAIN) == []


def test_warnings_are_not_told_until_they_become_critical() -> None:
    alerts = settled()
    alerts.hear(triage(HOT), SETTLE_SECONDS)
    assert told(alerts, SETTLE_SECONDS) == []
    alerts.hear(triage(replace(HOT, severity=Severity.CRITICAL)), SETTLE_SECONDS + 1)
    assert told(alerts, SETTLE_SECONDS + 1) == [HOT.id]


def test_what_is_found_while_the_site_is_opened_was_there_before() -> None:
    alerts = Alerts()
    alerts.reading(3, 0.0)
    alerts.hear(triage(LOST), 100.0)
    alerts.reading(0, 100.0)
    alerts.hear(triage(LOST, OTHER), 100.0 + SETTLE_SECONDS - 1)
    assert told(alerts, 100.0 + SETTLE_SECONDS) == []
    alerts.hear(triage(LOST, OTHER, replace(LOST, id="new")), 100.0 + SETTLE_SECONDS)
    assert told(alerts, 100.0 + SETTLE_SECONDS) == ["new"]


def test_many_at_once_and_many_in_a_row_are_told_together() -> None:
    alerts = settled()
    alerts.hear(triage(LOST), SETTLE_SECONDS)
    assert told(alerts, SETTLE_SECONDS) == [LOST.id]
    alerts.hear(triage(LOST, OTHER), SETTLE_SECONDS + 1)
    alerts.hear(triage(LOST, OTHER, replace(LOST, id="third")), SETTLE_SECONDS + 2)
    assert told(alerts, SETTLE_SECONDS + 2) == [], "not so soon"
    assert told(alerts, AGAIN) == ["other", "third"], "in the order of triage"


def test_what_is_over_or_acknowledged_before_its_turn_is_not_told() -> None:
    alerts = settled()
    alerts.hear(triage(LOST), SETTLE_SECONDS)
    told(alerts, SETTLE_SECONDS)
    alerts.hear(triage(LOST, OTHER, replace(LOST, id="third")), SETTLE_SECONDS + 1)
    alerts.hear(triage(LOST, replace(OTHER, acknowledged=Acknowledgement("a", "", NOW))), SETTLE_SECONDS + 2)
    assert told(alerts, AGAIN) == []


def test_what_comes_and_goes_is_told_again_only_when_it_was_forgotten() -> None:
    alerts = settled()
    alerts.hear(triage(LOST), SETTLE_SECONDS)
    told(alerts, SETTLE_SECONDS)
    alerts.hear(triage(recovered=(replace(LOST, recovered_at=NOW),)), AGAIN)
    alerts.hear(triage(LOST), AGAIN)
    assert told(alerts, AGAIN) == []
    alerts.hear(triage(), AGAIN)
    alerts.hear(triage(LOST), AGAIN)
    assert told(alerts, AGAIN) == [LOST.id]


def test_the_alert_names_the_first_and_counts_the_others() -> None:
    assert alert_text((LOST,), UNICODE) == "✖ dgx01 gpu2: lost from the bus (XID 79)"
    assert alert_text((LOST, OTHER), ASCII) == "X dgx01 gpu2: lost from the bus (XID 79), and 1 more critical finding"
    assert alert_text((LOST, OTHER, HOT), UNICODE).endswith(", and 2 more critical findings")


# On the console


@asynccontextmanager
async def watched(mode: str = "fleet", **options: Any) -> AsyncIterator[tuple[Opened, list[int]]]:
    """A console whose site was opened long ago; and the bells that rang."""
    rung: list[int] = []
    value = Fleet((reading("dgx01", h100(0)),))
    async with opened(build_on(value, **options), mode=mode) as console:
        console.app.bell = lambda: rung.append(1)  # type: ignore[method-assign]
        console.site.find(triage())
        await cast(Any, console.app.clock).advance(SETTLE_SECONDS)
        yield console, rung


async def test_a_new_critical_finding_is_told_on_another_screen() -> None:
    async with watched() as (console, rung):
        console.site.find(triage(LOST))
        await console.until(lambda: console.notices, "the alert")
        assert console.notices == ["✖ dgx01 gpu2: lost from the bus (XID 79)"]
        await console.until(lambda: "lost from the bus (XID 79)" in "\n".join(console.lines[2:]), "it is drawn")
        assert rung == [], "no sound unless it is asked for"


async def test_on_the_triage_screen_the_list_tells_it() -> None:
    async with watched("triage") as (console, _):
        console.site.find(triage(LOST))
        await console.until(lambda: "✖ critical" in console.text, "the list")
        assert console.notices == []


async def test_a_screen_over_triage_is_another_screen() -> None:
    async with watched("triage") as (console, _):
        await console.press("question_mark")
        console.site.find(triage(LOST))
        await console.until(lambda: console.notices, "the alert")


async def test_what_waits_for_its_turn_is_told_without_news() -> None:
    async with watched() as (console, _):
        console.site.find(triage(LOST))
        console.site.find(triage(LOST, OTHER))
        await console.until(lambda: len(console.notices) == 1, "the first")
        await cast(Any, console.app.clock).advance(APART_SECONDS)
        console.app._grow_old()  # what the console does each AGE_SECONDS
        await console.until(lambda: len(console.notices) == 2, f"the second, at most {AGE_SECONDS} s later")


@pytest.mark.parametrize("mode", ["fleet", "triage"])
async def test_the_bell_rings_where_the_configuration_says_so(mode: str) -> None:
    async with watched(mode, bell=True) as (console, rung):
        console.site.find(triage(LOST, OTHER))
        assert rung == [1], "once for both"
        console.site.find(triage(LOST, OTHER))
        assert rung == [1]
        assert console.app.is_running


async def test_nothing_is_told_of_what_was_there_at_the_start() -> None:
    async with opened(build_on(fleet())) as console:
        console.site.find(triage(LOST))
        await console.until(lambda: "✖1" in console.lines[1], "the header")
        assert console.notices == []


@pytest.mark.parametrize("evil", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_a_hostile_claim_in_an_alert_is_inert(evil: str) -> None:
    async with watched() as (console, _):
        console.site.find(triage(replace(LOST, claim=evil)))
        await console.until(lambda: console.notices, "the alert")
        await console.pilot.pause()
        for line in console.lines:
            assert cell_len(line) == 80
            assert line.isprintable()
        for x in range(30, 78, 6):
            await console.pilot.click(offset=(x, 20))
        assert console.app.is_running
