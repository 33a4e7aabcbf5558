"""What a dead console left behind: read from its journal, and a finding until somebody brings it to an end."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.changes import journals
from backends.changes.command import CommandStep
from backends.changes.journal import Journal
from backends.changes.lock import Owner, SiteLock, lock_path
from backends.changes.record import JournalCorrupt
from backends.changes.unfinished import UnfinishedChanges
from backends.contract import JournalFailed
from backends.domain import Fleet, NodeSpec, Severity, SiteSpec, UnfinishedChange
from backends.site import Site
from backends.triage.engine import Triager
from tests.changes.steps import NOW, Nowhere, change_of
from tests.changes.test_journal import ACTOR

SITE = "lab"


def service(verb: str) -> CommandStep:
    return CommandStep("dgx01", ("sudo", "-n", "systemctl", verb, "nvidia-persistenced", "nvsm"))


def leave(state: Path, *events: tuple[str, dict[str, Any]], change_id: str = "20260101T000000.000-aaaa") -> Journal:
    """The journal of a change of four steps whose console died."""
    steps = (service("stop"), CommandStep("dgx01", ("true",)), CommandStep("dgx01", ("true",)), service("start"))
    journal = Journal.create(state / "changes", change_of(*steps, site=SITE, change_id=change_id), ACTOR, NOW)
    for name, values in events:
        journal.write(name, NOW + 5, **values)
    return journal


RUNNING = UnfinishedChange("c1", "drain dgx01", "bob@head01", "running", "step 2 of 4", "PATCH", NOW, True, (), True)
CUT_OFF: tuple[tuple[str, dict[str, Any]], ...] = (
    ("applying", {"step": 0}),
    ("verified", {"step": 0}),
    ("applying", {"step": 1}),
)


def reader(state: Path, site: str = SITE) -> Callable[[], tuple[UnfinishedChange, ...]]:
    return UnfinishedChanges(state / "changes", SiteSpec(site), Nowhere(), platform.node()).read


def test_a_change_that_was_cut_off_tells_its_step_and_what_it_stopped(tmp_path: Path) -> None:
    leave(tmp_path, *CUT_OFF).close()
    (left,) = reader(tmp_path)()
    assert (left.status, left.place, left.touched) == ("interrupted", "step 2 of 4", True)
    assert (left.nodes, left.stopped_services) == (("dgx01",), ("nvidia-persistenced", "nvsm"))
    assert left.who == ACTOR.label
    assert left.offers == ("resume", "abandon")  # no command is known that takes these steps back


def test_it_is_over_when_it_was_brought_to_an_end(tmp_path: Path) -> None:
    journal = leave(tmp_path, *CUT_OFF)
    read = reader(tmp_path)
    assert len(read()) == 1
    journal.write("abandoned", NOW + 9, why="by hand")
    journal.close()
    assert read() == ()


def test_what_was_given_up_within_a_day_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW + 60)
    journal = leave(tmp_path, *CUT_OFF)
    journal.write("abandoned", NOW + 9, why="by hand")
    journal.close()
    (given_up,) = reader(tmp_path)()
    assert (given_up.status, given_up.offers, given_up.why) == ("abandoned", (), "by hand")


def test_services_that_were_started_again_are_not_told(tmp_path: Path) -> None:
    again = [(name, {"step": step}) for step in (1, 2, 3) for name in ("applying", "verified")]
    leave(tmp_path, *CUT_OFF[:2], *again).close()
    (left,) = reader(tmp_path)()
    assert left.stopped_services == ()


def hold(state: Path) -> SiteLock:
    """Somebody is at the change that `leave` leaves."""
    owner = Owner(1, platform.node(), "bob", "20260101T000000.000-aaaa", "x", "step 2", since=NOW, beat=NOW)
    return SiteLock.acquire(lock_path(state / "changes", SITE), owner, NOW)


def test_a_running_change_says_so_and_offers_nothing_and_one_of_another_site_is_none_of_it(tmp_path: Path) -> None:
    leave(tmp_path, *CUT_OFF).close()
    assert reader(tmp_path, "other")() == ()
    lock = hold(tmp_path)
    (runs,) = reader(tmp_path)()
    assert (runs.running, runs.status, runs.place, runs.offers) == (True, "running", "step 2 of 4", ())
    lock.release()
    (left,) = reader(tmp_path)()
    assert (left.running, left.status) == (False, "interrupted")


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path, *CUT_OFF).close()
    read = reader(tmp_path)
    before = read()

    def fails(path: Path) -> Any:
        raise JournalCorrupt(f"{path} was read again")

    monkeypatch.setattr(journals, "read", fails)
    assert read() == before


def test_a_directory_that_cannot_be_listed_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "changes").write_text("a file")
    with pytest.raises(JournalFailed, match="cannot be read"):
        reader(tmp_path)()


# As a finding


async def triaged(state: Path | None) -> Any:
    """The triage of a site with one node that cannot be reached."""
    site = Site(SiteSpec(SITE, nodes=(NodeSpec("dgx01", "127.0.0.1:1"),)), state_dir=state)
    try:
        return await site.observe(10.0, 0.0)
    finally:
        await site.close()


async def test_it_is_a_finding_until_it_is_ended(tmp_path: Path) -> None:
    leave(tmp_path, *CUT_OFF).close()
    found = await triaged(tmp_path)
    (told,) = [finding for finding in found.findings if finding.rule == "change-unfinished"]
    assert told.severity is Severity.WARNING
    assert told.subject.node == "dgx01"
    assert told.claim == (
        f"a change of {ACTOR.label} was cut off at step 2 of 4; services stopped: nvidia-persistenced, nvsm"
    )
    assert told.steps[0].target == "changes/20260101T000000.000-aaaa"
    change_id = "20260101T000000.000-aaaa"
    commands = [
        f"gpudeck changes resume {change_id} --yes --confirm NAME",
        f"gpudeck changes abandon {change_id} --yes",
    ]
    assert [step.target for step in told.steps if step.kind == "command"] == commands
    assert next(each for each in found.checks if each.rule == "change-unfinished").subjects == 1


async def test_one_that_runs_is_told_to_every_console_and_is_no_unfinished_one(tmp_path: Path) -> None:
    leave(tmp_path, *CUT_OFF).close()
    lock = hold(tmp_path)
    found = await triaged(tmp_path)
    lock.release()
    (told,) = [finding for finding in found.findings if finding.rule.startswith("change-")]
    assert (told.rule, told.severity, told.subject.node) == ("change-running", Severity.INFO, "dgx01")
    assert told.claim.startswith(f"a change of {ACTOR.label} runs: ")
    assert told.claim.endswith(", step 2 of 4")
    assert [step.kind for step in told.steps] == ["screen"]


def test_the_commands_name_the_configuration_that_was_named() -> None:
    triager = Triager(SiteSpec(SITE, config_file=Path("/srv/the sites/a.toml")))
    triager.unfinished = (replace(RUNNING, status="failed", running=False, touched=True, offers=("undo",)),)
    (told,) = triager.run(Fleet(), (), NOW).findings
    assert told.steps[-1].target == "gpudeck changes undo c1 --yes --config '/srv/the sites/a.toml'"


def test_where_a_name_is_wanted_the_command_has_a_place_for_it_and_the_step_says_so() -> None:
    triager = Triager(SiteSpec(SITE))
    offers = ("resume", "undo")
    triager.unfinished = (replace(RUNNING, status="failed", running=False, offers=offers, named=("resume",)),)
    (told,) = triager.run(Fleet(), (), NOW).findings
    undo, resume = told.steps[-2:]
    assert (undo.target, resume.target) == (
        "gpudeck changes undo c1 --yes",
        "gpudeck changes resume c1 --yes --confirm NAME",
    )
    assert "NAME" not in undo.text
    assert resume.text.endswith("(for NAME type the name of what is changed)")


@pytest.mark.parametrize(
    ("status", "why", "cause"),
    [
        ("stopped", "it was asked to stop (SIGINT)", "it was asked to stop (SIGINT)"),
        ("failed", "web-pdb allows no eviction", "web-pdb allows no eviction"),
        ("interrupted", "", "likely the console ended, or was killed, while it ran"),
        ("stopped", "", None),
    ],
)
def test_why_it_did_not_end_is_what_its_journal_says(status: str, why: str, cause: str | None) -> None:
    triager = Triager(SiteSpec(SITE))
    triager.unfinished = (replace(RUNNING, status=status, running=False, why=why),)
    (told,) = triager.run(Fleet(), (), NOW).findings
    assert told.cause == cause


def test_what_was_given_up_has_not_recovered() -> None:
    triager, left = Triager(SiteSpec(SITE)), replace(RUNNING, status="interrupted", running=False)
    triager.unfinished = (left,)
    triager.run(Fleet(), (), NOW)
    triager.unfinished = (replace(left, status="abandoned", why="done by hand"),)
    after = triager.run(Fleet(), (), NOW + 1)  # at once, not with the next turn of the rule
    assert after.findings == ()
    (over,) = after.recovered
    assert (over.closed_as, over.cause) == ("abandoned", "done by hand")


def test_a_change_that_ran_has_not_recovered() -> None:
    triager, unfinished = Triager(SiteSpec(SITE)), RUNNING
    triager.unfinished = (unfinished,)
    (told,) = triager.run(Fleet(), (), NOW).findings
    triager.unfinished = ()
    after = triager.run(Fleet(), (), NOW + 1)
    assert told.rule == "change-running"
    assert (after.findings, after.recovered) == ((), ())


async def test_without_a_state_directory_nothing_is_judged(tmp_path: Path) -> None:
    found = await triaged(None)
    assert next(each for each in found.checks if each.rule == "change-unfinished").subjects == 0
    empty = await triaged(tmp_path)
    assert next(each for each in empty.checks if each.rule == "change-unfinished").subjects == 1
    assert not [finding for finding in empty.findings if finding.rule == "change-unfinished"]


def test_the_value_of_an_untouched_change_needs_nobody_at_night(tmp_path: Path) -> None:
    leave(tmp_path, ("applying", {"step": 0}), ("failed", {"step": 0, "said": "x", "effect": "none"})).close()
    (left,) = reader(tmp_path)()
    assert isinstance(left, UnfinishedChange)
    assert (left.status, left.touched, left.stopped_services) == ("failed", False, ())
