"""Findings over time."""

from __future__ import annotations

from dataclasses import replace

from backends.domain import Finding, NextStep, Severity
from backends.triage.rules import rule_of
from backends.triage.tracker import RECOVERED_KEPT, RECOVERED_SECONDS, Recovered, Tracker
from tests.triage.makers import NOW, told


def slow() -> Finding:
    """Of a rule that waits 3 s before it speaks and 60 s before it is silent."""
    return told("hw-thermal", gpu_index=0, since=NOW)


def at(tracker: Tracker, seconds: float, *found: Finding, **more: object) -> list[str]:
    return [each.rule for each in tracker.update(found, NOW + seconds, **more)]  # type: ignore[arg-type]


def test_what_lasts_becomes_a_finding_since_it_began() -> None:
    tracker = Tracker(rule_of)
    assert at(tracker, 0, slow()) == []
    assert at(tracker, 2, slow()) == []
    (found,) = tracker.update([told("hw-thermal", gpu_index=0, since=NOW + 3)], NOW + 3)
    assert found.since == NOW


def test_what_is_seen_and_no_finding_yet_is_counted_while_it_is_seen() -> None:
    tracker = Tracker(rule_of)
    note = told("power-limit", severity=Severity.INFO, since=NOW)
    held = told("alloc-idle", since=NOW)
    assert at(tracker, 0, slow(), note, held) == []
    assert tracker.just_seen == 1, "neither a note, nor what is a finding only after ten minutes"
    assert at(tracker, 1) == []
    assert tracker.just_seen == 0, "it is not seen now"
    assert at(tracker, 2, slow()) == []
    assert tracker.just_seen == 1
    assert at(tracker, 6, slow()) == ["hw-thermal"]
    assert tracker.just_seen == 0


def test_what_flickers_once_is_none() -> None:
    tracker = Tracker(rule_of)
    assert at(tracker, 0, slow()) == []
    assert all(at(tracker, second) == [] for second in range(1, 20))
    assert at(tracker, 20, told("hw-thermal", gpu_index=0, since=NOW + 20)) == []


def test_one_look_shows_a_moment_however_long_it_is_until_the_next() -> None:
    tracker = Tracker(rule_of)
    assert all(at(tracker, second, slow(), looked_at=lambda _: NOW) == [] for second in range(10))
    assert at(tracker, 10, slow(), looked_at=lambda _: NOW + 10)


def test_what_comes_and_goes_every_second_is_one_that_stays() -> None:
    tracker = Tracker(rule_of)
    told_at = [bool(at(tracker, second, *([slow()] if second % 2 == 0 else []))) for second in range(120)]
    assert told_at.index(True) <= 6
    assert all(told_at[6:])


def test_blips_that_are_apart_add_up_to_nothing() -> None:
    tracker = Tracker(rule_of)
    for second in range(120):
        assert at(tracker, second, *([slow()] if second % 8 == 0 else [])) == []


def test_what_is_so_for_a_part_of_the_time_is_one_when_that_part_is_long_enough() -> None:
    tracker = Tracker(rule_of)
    warm = told("sw-thermal", gpu_index=0, since=NOW)
    seen = [bool(at(tracker, second, *([warm] if second % 4 < 2 else []))) for second in range(60)]
    assert 5 <= seen.index(True) <= 15
    assert all(seen[15:])


def test_a_connection_that_is_cut_again_and_again_is_as_bad_as_one_that_stays_away() -> None:
    tracker = Tracker(rule_of)
    seen = [
        bool(at(tracker, second, *([told("node-unreadable", since=NOW + second)] if second % 4 == 0 else [])))
        for second in range(13)
    ]
    assert seen.index(True) == 8


def test_a_claim_about_a_duration_is_not_made_of_one_reading() -> None:
    tracker = Tracker(rule_of)
    waits = (told("mig-stuck", gpu_index=0, since=NOW), told("idle-with-memory", gpu_index=1, since=NOW))
    assert at(tracker, 0, *waits, slow(), at_once=True) == ["hw-thermal"]
    for second in range(1, 400, 5):
        at(tracker, second, *waits)
    assert at(tracker, 400, *waits) == ["mig-stuck"]


def test_it_goes_after_its_time_and_only_then() -> None:
    tracker = Tracker(rule_of)
    at(tracker, 0, slow())
    assert at(tracker, 5, slow())
    assert at(tracker, 6)
    (fading,) = tracker.update([], NOW + 7)
    assert (fading.gone_at, fading.settles_at) == (NOW + 6, NOW + 66)
    assert at(tracker, 65)
    assert at(tracker, 66) == []


def test_what_its_own_evidence_dates_need_not_wait_again() -> None:
    tracker = Tracker(rule_of)
    assert at(tracker, 0, told("node-unreachable", since=NOW - 30)) == ["node-unreachable"]


def test_one_reading_is_told_at_once() -> None:
    assert at(Tracker(rule_of), 0, slow(), at_once=True) == ["hw-thermal"]


def test_what_is_so_from_the_first_reading_waits_less_where_the_rule_says_so() -> None:
    first, later = Tracker(rule_of), Tracker(rule_of)
    narrow = told("pcie-generation", gpu_index=0, since=NOW)
    at(first, 0, narrow, is_first=lambda finding: True)
    at(later, 0, narrow)
    assert at(first, 5, narrow) == ["pcie-generation"]
    assert at(later, 5, narrow) == []
    assert at(later, 31, narrow) == ["pcie-generation"]


def test_what_cannot_be_told_now_is_neither_so_nor_over() -> None:
    tracker = Tracker(rule_of)
    at(tracker, 0, slow())
    at(tracker, 5, slow())
    assert at(tracker, 500, is_held=lambda finding: True) == ["hw-thermal"]
    assert at(tracker, 501) == ["hw-thermal"]
    assert at(tracker, 561) == []


def test_what_is_over_offers_no_change_but_keeps_what_else_was_advised() -> None:
    recovered = Recovered()
    steps = (
        NextStep("screen", "look at the change", "changes/c1"),
        NextStep("command", "take back what it has done", "gpudeck changes undo c1"),
        NextStep("change", "drain n1", "gpudeck stack drain --node n1"),
        NextStep("command", "on n1: collect what NVIDIA's support asks for", "nvidia-bug-report.sh"),
    )
    recovered.add(replace(told("change-unfinished", "n1"), steps=steps), NOW)
    assert recovered.at(NOW)[0].steps == (steps[0], steps[3])


def test_the_recovered_are_newest_first_and_bounded_in_number_and_time() -> None:
    recovered = Recovered()
    for number in range(RECOVERED_KEPT + 10):
        recovered.add(told("hw-thermal", f"n{number}", 0), NOW + number)
    kept = recovered.at(NOW + 60)
    assert len(kept) == RECOVERED_KEPT
    assert kept[0].recovered_at == NOW + RECOVERED_KEPT + 9
    assert len(recovered.at(NOW + RECOVERED_SECONDS + 50)) == 10
    recovered.drop(kept[0].id)
    assert kept[0].id not in [finding.id for finding in recovered.at(NOW + 60)]
