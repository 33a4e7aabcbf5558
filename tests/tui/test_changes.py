"""Changing things from the console: the write window, the question before, the screen of changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events
from textual.widgets import Input

from backends.changes.change import BlastRadius, Target
from backends.changes.desk_view import DeskView
from backends.changes.lock import Owner, SiteLock, lock_path
from backends.changes.report import listed
from backends.domain import Event, Fleet, Identity
from screens.changes import ChangesScreen
from screens.confirm import ConfirmScreen
from screens.write_window import WriteWindowScreen
from tests.tui.changing import ID, CrowdedStep, ToldStep, UnseenStep, change_of, left_behind, state, waiting
from tests.tui.consoles import Opened, build_on, grid, opened
from tests.tui.fleets import HOSTILE, NOW, h100, reading
from tui.widgets.change_dialog import whole_lines
from tui.widgets.choice import Choice
from tui.widgets.sheet import Sheet

__all__ = ["state"]

QUIET = BlastRadius(gpus=("dgx01 gpu2",))


def one_node() -> Fleet:
    return Fleet((reading("dgx01", h100(0)),))


@asynccontextmanager
async def changing(state: Path, size: tuple[int, int] = (80, 24), **options: Any) -> AsyncIterator[Opened]:
    async with opened(build_on(one_node(), **options), size) as console:
        yield console


async def open_window(console: Opened, reason: str = "INC-42") -> None:
    await console.press("w")
    await console.until(lambda: isinstance(console.screen, WriteWindowScreen), "the dialog of the write window")
    await console.until(lambda: focused(console) == "window-reason", "the entry")
    await console.press(*reason, "enter", "enter")
    await console.until(lambda: "WRITE" in console.lines[0], "the mark in the header")


async def asked(console: Opened, change: Any) -> ConfirmScreen:
    """The question about `change`, with everything found out."""
    console.app.changing.propose(change)
    await console.until(lambda: isinstance(console.screen, ConfirmScreen), "the question")
    known = ("it can be done", "the name is not typed yet", "refused:")
    await console.until(lambda: any(words in console.text for words in known), "what was asked")
    return cast(ConfirmScreen, console.screen)


def focused(console: Opened) -> str | None:
    return console.app.focused.id if console.app.focused is not None else None


def records(state: Path) -> list[Any]:
    return [each.record for each in listed(state / "changes", None, NOW, "head01")[0]]


async def ended(console: Opened, state: Path, status: str) -> None:
    await console.until(lambda: [each.status for each in records(state)] == [status], status)
    await console.until(lambda: not console.app.changing.busy, "the end of the change")


# The write window


async def test_the_window_is_opened_counts_down_and_closes_by_itself(state: Path) -> None:
    async with changing(state) as console:
        assert console.lines[0].rstrip().endswith("READ-ONLY")
        await open_window(console)
        assert console.lines[0].rstrip().endswith("▲ WRITE 15:00")
        clock = cast(Any, console.app.clock)
        await clock.advance(28)
        await console.until(lambda: console.lines[0].rstrip().endswith("▲ WRITE 14:32"), "the countdown")
        await clock.advance(14 * 60 + 32)
        await console.until(lambda: console.lines[0].rstrip().endswith("READ-ONLY"), "the end of the window")


async def test_a_reason_is_asked_for_and_the_most_minutes_hold(state: Path) -> None:
    async with changing(state) as console:
        await console.press("w")
        await console.until(lambda: isinstance(console.screen, WriteWindowScreen))
        assert "needs a reason" not in console.text, "nothing was typed yet"
        await console.press("enter")
        assert "a write window needs a reason" in console.text
        await console.press("enter")
        assert isinstance(console.app.screen, WriteWindowScreen) is False
        assert console.lines[0].rstrip().endswith("READ-ONLY")
        await console.press("w", "shift+tab", "9", "9", "9", "enter", *"why", "enter")
        assert "lasts 1 to 60 minutes" in console.text
        assert focused(console) == "window-cancel"
        await console.press("escape")
        assert console.lines[0].rstrip().endswith("READ-ONLY")


async def test_an_open_window_can_be_closed(state: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        await console.press("w")
        await console.until(lambda: isinstance(console.screen, WriteWindowScreen))
        assert "It is open for 15:00 more: INC-42" in console.text
        console.screen.query_one("#window-close", Choice).focus()
        await console.press("enter")
        await console.until(lambda: console.lines[0].rstrip().endswith("READ-ONLY"), "the end of the window")


async def test_a_read_only_console_opens_none(state: Path) -> None:
    app = build_on(one_node())
    app.read_only = True
    async with opened(app) as console:
        await console.press("w")
        await console.until(lambda: console.notices, "the notice")
        assert "--read-only" in console.notices[0]
        app.changing.propose(change_of(ToldStep("/nowhere")))
        await console.until(lambda: "only looked at: this gpudeck was started with --read-only" in console.text, "why")
        assert [each.id for each in console.screen.query(Choice)] == ["confirm-cancel"]
        await console.press("tab", "enter")
        await console.until(lambda: not isinstance(console.screen, ConfirmScreen), "the way back")
        assert records(state) == []


async def test_its_command_opens_the_same_dialog(state: Path) -> None:
    async with changing(state) as console:
        await console.press(":", *"write", "enter")
        await console.until(lambda: isinstance(console.screen, WriteWindowScreen), "the dialog")


async def test_an_entry_takes_the_letter_of_the_window(state: Path) -> None:
    async with changing(state) as console:
        await console.press("slash", "w")
        assert not isinstance(console.screen, WriteWindowScreen)


# The question


async def looked_at(console: Opened) -> None:
    """The change is on the screen, to be looked at only; from there to the dialog of the window."""
    await console.until(lambda: "only looked at: the write window is closed" in console.text, "the change")
    assert focused(console) == "confirm-cancel"
    assert not console.screen.query(Input)
    await console.press("tab", "enter")


async def test_with_a_closed_window_it_is_looked_at_and_the_window_asked_about(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        console.app.changing.propose(change_of(ToldStep(str(tmp_path / "a")), reason=""))
        await looked_at(console)
        await console.until(lambda: isinstance(console.screen, WriteWindowScreen), "the dialog of the window")
        await console.until(lambda: focused(console) == "window-reason", "the entry")
        await console.press(*"INC-7", "enter", "enter")
        await console.until(lambda: isinstance(console.screen, ConfirmScreen), "the question")
        await console.until(lambda: "INC-7" in "\n".join(console.screen.query_one(Sheet).text_lines), "the reason")


async def test_who_does_not_open_the_window_changes_nothing(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        console.app.changing.propose(change_of(ToldStep(str(tmp_path / "a"))))
        await looked_at(console)
        await console.until(lambda: isinstance(console.screen, WriteWindowScreen))
        await console.press("escape")
        await console.until(lambda: not isinstance(console.screen, WriteWindowScreen | ConfirmScreen))
        assert records(state) == []


async def test_everything_about_the_change_is_on_the_screen(state: Path, tmp_path: Path) -> None:
    async with changing(state, (200, 50)) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a")), ToldStep(str(tmp_path / "b"), undoable=False)))
        for words in (
            "MIG layout of dgx01 gpu2",
            "on dgx01: nvidia-smi mig -i 2 -cgi 9:0,9:4 -C",
            "MIG off -> MIG on: 3g.40gb:0 3g.40gb:4",
            "nvidia-smi shows MIG on",
            "on dgx01: nvidia-smi mig -i 2 -dci",
            "there is none",
            "search/llama-70b-2",
            "4242 alice python train.py",
            "3 of 4 replicas left",
            "not known: the pods of 1 container (no platform was asked)",
            "✓ root on dgx01: granted (id -u says 0)",
            "▲ the GPU is reset",
            "INC-42",
        ):
            assert words in console.text, words


@pytest.mark.parametrize("keys", [("enter",), ("space",), ("escape",), ("q",), ("enter", "enter")])
async def test_the_answer_is_no_unless_somebody_says_yes(state: Path, tmp_path: Path, keys: tuple[str, ...]) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a")), radius=QUIET))
        assert focused(console) == "confirm-cancel"
        assert "[Cancel]" in console.text
        await console.press(*keys)
        await console.until(lambda: not isinstance(console.screen, ConfirmScreen), "the answer")
        assert records(state) == []
        assert not (tmp_path / "a").exists()


async def test_a_change_that_ends_no_work_needs_no_name(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a")), radius=QUIET))
        assert not console.screen.query(Input)
        await console.press("tab", "enter")
        await ended(console, state, "done")
        assert (tmp_path / "a").exists()


async def test_a_change_that_ends_work_needs_the_name_typed(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a"))))
        await console.press("tab")
        assert focused(console) == "confirm-name"
        await console.press(*"dgx01 gpu", "enter")
        assert focused(console) == "confirm-name", "what is typed next mends it"
        assert console.screen.query_one("#confirm-apply", Choice).disabled
        await console.press("2", "enter")
        assert focused(console) == "confirm-apply"
        assert "it can be done" in console.text
        await console.press("enter")
        await ended(console, state, "done")


@pytest.mark.parametrize("name", ["dgx01 gpu2", "qa7", "k8s-1", "7up"])
async def test_what_is_typed_goes_into_the_entry_although_the_answer_has_the_keys(
    state: Path, tmp_path: Path, name: str
) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a")), targets=(Target("gpu", name),)))
        assert focused(console) == "confirm-cancel"
        assert "type it, or tab to the entry" in console.text
        await console.press(*name[:-1])
        assert focused(console) == "confirm-name"
        assert "that is not the name yet" in console.text
        await console.press(name[-1], "enter", "enter")
        await ended(console, state, "done")


async def test_a_name_that_comes_in_one_go_is_typed_whole(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a")), targets=(Target("node", "hgx-h200-02"),)))
        for letter in "hgx-h200-02":
            console.app.post_message(events.Key("minus" if letter == "-" else letter, letter))
        await console.until(lambda: console.screen.query_one(Input).value == "hgx-h200-02", "the name")
        await console.press("enter", "enter")
        await ended(console, state, "done")


async def test_a_refused_change_asks_for_no_name(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a"), granted=False)))
        assert "To go on type" not in console.text
        await console.press("d", "tab")
        assert focused(console) == "confirm-cancel"
        assert console.screen.query_one(Input).value == ""


async def test_a_refusal_is_told_and_cannot_be_overridden(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a"), granted=False), radius=QUIET))
        assert "✖ refused: root on dgx01 is not granted: the login is uid 1000" in console.text
        await console.press("tab")
        assert focused(console) == "confirm-cancel"
        await console.pilot.click("#confirm-apply")
        assert isinstance(console.screen, ConfirmScreen)
        await console.press("escape")
        assert records(state) == []


@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
@pytest.mark.parametrize("width", [80, 200])
async def test_hostile_text_is_inert_and_whole(state: Path, tmp_path: Path, name: str, width: int) -> None:
    async with changing(state, (width, 24)) as console:
        await open_window(console)
        text = name[:400]
        hostile = change_of(
            ToldStep(str(tmp_path / "a"), words=text, undo_words=text),
            title=text,
            reason=text,
            targets=(Target("gpu", text),),
            radius=replace(QUIET, pods=(text,), users=(text,)),
        )
        await asked(console, hostile)
        for line in console.lines:
            assert cell_len(line) == width
            assert line.isprintable()
        for x in range(3, 40, 3):
            await console.pilot.click(offset=(x, 6))
        assert console.app.is_running
        assert isinstance(console.screen, ConfirmScreen)


# The screen of changes


async def test_a_running_change_is_followed_step_by_step_and_can_be_stopped(state: Path, tmp_path: Path) -> None:
    async with changing(state, (200, 50)) as console:
        await open_window(console)
        step, gate = waiting(tmp_path / "a")
        await asked(console, change_of(step, ToldStep(str(tmp_path / "b")), radius=QUIET))
        await console.press("tab", "enter")
        await console.until(lambda: isinstance(console.screen, ChangesScreen), "the screen of changes")
        await gate.reached.wait()
        await console.until(lambda: "draining: 2 of 5 pods gone" in console.text, "the progress")
        for words in (
            "● running",
            "1/2",
            "applying: draining: 2 of 5 pods gone",
            "applying, its effect is not known",
            "stops it before its next step",
            "running: alice@head01, step 1 of 2, applying",
        ):
            await console.until(lambda words=words: words in console.text, words)  # type: ignore[misc]
        assert "x Stop" in console.lines[-1]
        assert "Undo" not in console.lines[-1]
        await console.press("u", "x")
        assert not isinstance(console.screen, ConfirmScreen)
        gate.open.set()
        await ended(console, state, "stopped")
        await console.until(lambda: "▲ stopped" in console.text, "the end on the screen")
        assert not (tmp_path / "b").exists()


async def test_what_hits_more_when_it_is_said_yes_to_is_asked_about_anew(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = ["search/llama-70b-0"]
    monkeypatch.setattr("tests.tui.changing.CROWD", crowd)
    async with changing(state, (200, 50)) as console:
        await open_window(console)
        change = change_of(CrowdedStep(str(tmp_path / "a")), radius=BlastRadius(pods=tuple(crowd)))
        await asked(console, change)
        crowd.append("vision/train-7")
        await console.press(*"dgx01 gpu2", "enter", "enter")
        more = "It hits more than when you were asked"
        await console.until(lambda: isinstance(console.screen, ConfirmScreen) and more in console.text, "the news")
        await console.until(lambda: "the name is not typed yet" in console.text, "the question")
        assert "✖ pod vision/train-7" in console.text
        assert "2 pods: search/llama-70b-0, vision/train-7" in console.text
        assert focused(console) == "confirm-cancel"
        assert records(state) == []
        assert not (tmp_path / "a").exists()
        crowd.pop(0)  # fewer is no news
        await console.press(*"dgx01 gpu2", "enter", "enter")
        await ended(console, state, "done")
        assert records(state)[0].hits[0] == "2 pods: search/llama-70b-0, vision/train-7"


async def test_whom_the_look_finds_is_shown_asks_for_the_name_and_is_what_is_compared(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = ["vision/train-7"]
    monkeypatch.setattr("tests.tui.changing.CROWD", crowd)
    async with changing(state, (200, 50)) as console:
        await open_window(console)
        await asked(console, change_of(CrowdedStep(str(tmp_path / "a")), radius=QUIET))
        assert "✖ pod vision/train-7" in console.text
        assert "the name is not typed yet" in console.text
        assert focused(console) == "confirm-cancel"
        await console.press(*"dgx01 gpu2", "enter", "enter")
        await ended(console, state, "done")
        assert records(state)[0].hits[0] == "1 pod: vision/train-7"


async def test_whom_a_resume_hits_is_looked_at_behind_the_dialog_of_the_window(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd: list[str] = []
    monkeypatch.setattr("tests.tui.changing.CROWD", crowd)
    step = CrowdedStep(str(tmp_path / "a"))
    left_behind(state, change_of(step), ("applying", {"step": 0}))
    async with changing(state, (200, 50)) as console:
        console.app.changing.again(records(state)[0], "resume")
        await looked_at(console)
        await console.until(lambda: isinstance(console.screen, WriteWindowScreen), "the dialog of the window")
        crowd.append("vision/train-7")
        await console.until(lambda: focused(console) == "window-reason", "the entry")
        await console.press(*"INC-7", "enter", "enter")
        await console.until(lambda: isinstance(console.screen, ConfirmScreen), "the question")
        await console.until(lambda: "1 pod: vision/train-7" in console.text, "whom it hits")
        assert "Seen just now besides" not in console.text


async def test_how_long_an_effect_is_waited_for_counts_down_and_a_stop_ends_it(state: Path, tmp_path: Path) -> None:
    async with changing(state, (200, 50)) as console:
        await open_window(console)
        step = UnseenStep(str(tmp_path / "a"), verify_seconds=600)
        await asked(console, change_of(step, ToldStep(str(tmp_path / "b")), radius=QUIET))
        await console.press("tab", "enter")
        await console.until(lambda: "not yet: 1 of 2 pods Ready" in console.text, "what is seen")
        await console.until(lambda: "is waited for 10:00 more at most" in console.text, "the time that is left")
        assert "x       ends the wait: the step stays unverified, and undo is offered" in console.text
        await cast(Any, console.app.clock).advance(90)
        await console.until(lambda: "is waited for 8:30 more at most" in console.text, "the countdown")
        await console.press("x")
        await ended(console, state, "stopped")
        await console.until(lambda: "not verified, the wait was ended after 90 s" in console.text, "the end")
        assert "u       undo: takes back what was done" in console.text
        assert "▲ applied, not verified" in console.text
        assert "is waited for" not in console.text


async def test_the_end_of_the_window_is_told_while_a_change_runs(state: Path, tmp_path: Path) -> None:
    async with changing(state, (120, 40)) as console:
        await open_window(console)
        step, gate = waiting(tmp_path / "a")
        await asked(console, change_of(step, ToldStep(str(tmp_path / "b")), radius=QUIET))
        await console.press("tab", "enter")
        await gate.reached.wait()
        await cast(Any, console.app.clock).advance(15 * 60)
        assert any("The write window has closed" in notice for notice in console.notices)
        gate.open.set()
        await ended(console, state, "stopped")
        assert "write window of lab is closed" in records(state)[0].why


async def test_leaving_while_a_change_runs_takes_two_keys(state: Path, tmp_path: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        step, gate = waiting(tmp_path / "a")
        await asked(console, change_of(step, radius=QUIET))
        await console.press("tab", "enter")
        await gate.reached.wait()
        await console.press("q")
        assert console.app.is_running
        assert "Once more to leave" in console.notices[-1]
        gate.open.set()
        await console.press("q")
    assert records(state)[0].status == "done"


async def test_a_failed_change_is_undone_from_the_screen(state: Path, tmp_path: Path) -> None:
    async with changing(state, (120, 40)) as console:
        await open_window(console)
        steps = ToldStep(str(tmp_path / "a")), ToldStep(str(tmp_path / "b"), fails="refused")
        await asked(console, change_of(*steps, radius=QUIET))
        await console.press("tab", "enter")
        await ended(console, state, "failed")
        assert "failed at step 2 of 2" in console.notices[-1]
        await console.until(lambda: "takes back what was done" in console.text, "the offer")
        await console.press("u")
        await console.until(lambda: isinstance(console.screen, ConfirmScreen), "the question about the undo")
        await console.until(lambda: "it can be done" in console.text, "the look before it")
        assert "Undo of: MIG layout of dgx01 gpu2" in console.text
        assert "whom it hits now" in console.text
        await console.press("tab", "enter")
        await ended(console, state, "undone")
        assert not (tmp_path / "a").exists()


async def test_what_a_dead_console_left_is_told_and_resumed(state: Path, tmp_path: Path) -> None:
    steps = ToldStep(str(tmp_path / "a")), ToldStep(str(tmp_path / "b"))
    (tmp_path / "a").write_text("done")
    left_behind(state, change_of(*steps, radius=QUIET), ("applying", {"step": 0}))
    async with changing(state, (120, 40)) as console:
        await console.until(lambda: console.notices, "the notice")
        assert "A change was left unfinished: MIG layout of dgx01 gpu2" in console.notices[0]
        assert "(interrupted, step 1 of 2, applying)" in console.notices[0]
        await console.press("C")
        await console.until(lambda: "✖ interrupted" in console.text, "the list")
        assert "✖ 1 not brought to an end" in console.text
        await console.press("r")
        await looked_at(console)
        await console.until(lambda: focused(console) == "window-reason", "the entry")
        await console.press(*"INC-9", "enter", "enter")
        await console.until(lambda: isinstance(console.screen, ConfirmScreen), "the question")
        await console.until(lambda: "it can be done" in console.text, "the look before it")
        await console.press("tab", "enter")
        await ended(console, state, "done")


async def test_a_list_of_before_offers_nothing_until_it_is_read_again(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(state, change_of(ToldStep(str(tmp_path / "a")), radius=QUIET), ("applying", {"step": 0}))
    async with changing(state, (120, 40)) as console:
        await console.press("C")
        await console.until(lambda: "✖ interrupted" in console.text, "the list")
        assert "Resume" in console.lines[-1]
        await console.press("escape")
        desk, may_read = console.app.changing.desk, asyncio.Event()
        assert desk is not None
        read = desk.look

        async def slowly() -> DeskView:
            await may_read.wait()
            return await read()

        monkeypatch.setattr(desk._listing, "_fetch", slowly)
        reading = desk.view.reading
        assert reading.value is not None
        assert reading.at is not None
        desk.view.publish(reading.value, reading.at - 60.0)
        await console.press("C")
        await console.until(lambda: "reading the journals again" in console.text, "what it does")
        assert "Resume" not in console.lines[-1]
        may_read.set()
        await console.until(lambda: "Resume" in console.lines[-1], "what can be done")


async def test_what_was_left_on_another_machine_of_that_name_is_marked_and_only_given_up(
    state: Path, tmp_path: Path
) -> None:
    there = {"node dgx01": Identity("root@10.9.9.9")}
    left_behind(state, change_of(ToldStep(str(tmp_path / "a"))), ("applying", {"step": 0}), places=there)
    async with changing(state, (140, 40)) as console:
        await console.press("C")
        await console.until(lambda: "elsewhere:" in console.text, "the list")
        assert "not brought to an end" not in console.text
        assert console.notices == []
        await console.until(lambda: "it was made elsewhere: node dgx01 was root@10.9.9.9" in console.text, "why")
        assert "abandon: closes it" in console.text
        assert "undo: takes back" not in console.text


async def test_a_finding_of_what_was_left_leads_to_that_change(state: Path, tmp_path: Path) -> None:
    left_behind(state, change_of(ToldStep(str(tmp_path / "a"))), ("applying", {"step": 0}))
    async with changing(state) as console:
        console.app.changing.open_screen(ID)
        await console.until(lambda: isinstance(console.screen, ChangesScreen), "the screen of changes")
        await console.until(lambda: "✖ interrupted" in console.text, "the list")
        row = grid(console).cursor_row
        assert row is not None
        assert row.key == ID


async def test_the_event_log_tells_of_a_change_and_leads_to_it(state: Path, tmp_path: Path) -> None:
    left_behind(state, change_of(ToldStep(str(tmp_path / "a"))), ("applying", {"step": 0}))
    begun = Event(NOW - 600, "dgx01", "change_begun", "begun: MIG layout", source="journal", who="alice", change=ID)
    async with changing(state) as console:
        console.site.events.publish((begun, replace(begun, at=NOW - 590, node="", kind="change_done")), NOW)
        await console.press("e")
        await console.until(lambda: "begun: MIG layout" in console.text, "the event log")
        await console.press("o")
        assert console.notices[-1] == "This change acts on no node."
        await console.press("down", "enter")
        await console.until(lambda: isinstance(console.screen, ChangesScreen), "the screen of changes")
        await console.until(lambda: "✖ interrupted" in console.text, "the list")
        assert grid(console).cursor_row is not None


async def test_abandoning_asks_why(state: Path, tmp_path: Path) -> None:
    left_behind(state, change_of(ToldStep(str(tmp_path / "a"))), ("applying", {"step": 0}))
    async with changing(state) as console:
        await console.press("C")
        await console.until(lambda: "✖ interrupted" in console.text, "the list")
        await console.press("a")
        await console.until(lambda: "Why is it closed?" in console.text, "the question")
        await console.press("enter", "enter")
        assert records(state)[0].status == "open"
        await console.press("a", *"done by hand", "enter", "enter")
        await ended(console, state, "abandoned")
        assert records(state)[0].why == "done by hand"


async def test_the_running_change_of_another_console_is_seen(state: Path, tmp_path: Path) -> None:
    left_behind(state, change_of(ToldStep(str(tmp_path / "a"))), ("applying", {"step": 0}))
    owner = Owner(os.getpid(), "head01", "bob@head01", ID, "MIG layout", "step 1 of 1, applying", NOW - 180, NOW)
    lock = SiteLock.acquire(lock_path(state / "changes", "lab"), owner, NOW)
    try:
        async with changing(state, (140, 40)) as console:
            await console.press("C")
            await console.until(lambda: "running: bob@head01, step 1 of 1, applying" in console.text, "the other one")
            assert f"by bob@head01, pid {os.getpid()} on head01" in console.text
            await console.press("u", "x")
            assert not isinstance(console.screen, ConfirmScreen)
            assert not {"Stop", "Resume", "Undo", "Abandon"}.intersection(console.lines[-1].split())
            await open_window(console)
            await asked(console, change_of(ToldStep(str(tmp_path / "b")), id="other", targets=(), radius=QUIET))
            assert "this site is being changed by bob@head01" in console.text
    finally:
        lock.release()


async def test_the_list_is_narrowed_by_a_filter(state: Path, tmp_path: Path) -> None:
    for number, reason in enumerate(("INC-42", "INC-7")):
        change = change_of(ToldStep(str(tmp_path / "a")), id=f"{ID}{number}", reason=reason)
        left_behind(state, change, ("applying", {"step": 0}), *((("abandoned", {"why": "x"}),) if number else ()))
    async with changing(state) as console:
        await console.press("C")
        await console.until(lambda: "2 changes" in console.text, "the list")
        await console.press("slash", *"reason~INC-7", "enter")
        await console.until(lambda: "1 of 2 changes match /reason~INC-7/" in console.text, "the filter")
        assert [row.key for row in grid(console).rows] == [f"{ID}1"]
        for text, kept in (("open", 1), ("doubt state=interrupted", 1), ("who~alice steps=1", 2), ("age<1m", 0)):
            cast(ChangesScreen, console.screen).apply_filter(text)
            await console.pilot.pause()
            assert f"{kept} of 2 changes match" in console.text, text
        await console.press("escape")
        await console.until(lambda: " 2 changes" in console.text, "all of them")


async def test_an_unreadable_journal_is_listed_by_name(state: Path, tmp_path: Path) -> None:
    (state / "changes").mkdir(parents=True)
    (state / "changes" / "20200101T000000.000-dead.journal").write_text("{]\n")
    async with changing(state) as console:
        await console.press("C")
        await console.until(lambda: "✖ unreadable" in console.text, "the list")
        assert "line 1 is no JSON" in console.text


async def test_hostile_journals_are_inert(state: Path, tmp_path: Path) -> None:
    for number, name in enumerate(HOSTILE):
        change = change_of(
            ToldStep(str(tmp_path / "a"), words=name), id=f"{ID}{number}", title=name, reason=name, targets=()
        )
        left_behind(state, change, ("applying", {"step": 0}), ("failed", {"step": 0, "said": name, "effect": "x"}))
    async with changing(state) as console:
        await console.press("C")
        await console.until(lambda: f"{len(HOSTILE)} changes" in console.text, "the list")
        for _ in HOSTILE:
            for line in console.lines:
                assert cell_len(line) == 80
                assert line.isprintable()
            await console.press("down")


async def test_a_listing_that_says_the_same_repaints_nothing(state: Path, tmp_path: Path) -> None:
    left_behind(state, change_of(ToldStep(str(tmp_path / "a"))), ("applying", {"step": 0}))
    async with changing(state) as console:
        await console.press("C")
        await console.until(lambda: "✖ interrupted" in console.text, "the list")
        painted = grid(console).repaints
        desk = console.app.changing.desk
        assert desk is not None
        heard: list[object] = []
        desk.view.watch(heard.append)
        await cast(Any, console.app.clock).advance(2.1)
        await console.until(lambda: heard, "another listing")
        await console.pilot.pause()
        assert grid(console).repaints == painted


async def test_without_journals_the_screen_says_so_and_the_start_reads_nothing(state: Path) -> None:
    async with changing(state) as console:
        assert console.app.changing.desk is None
        await console.press(":", *"changes", "enter")
        await console.until(lambda: "0 changes" in console.text, "the empty list")
        said = "One begins with d on a finding of the triage"
        await console.until(lambda: said in " ".join(console.text.split()), "how one begins")


async def test_a_state_directory_that_fails_is_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.parent.mkdir(parents=True)
    state.write_text("a file")
    async with changing(state) as console:
        await console.press("w")
        await console.until(lambda: console.notices, "the notice")
        assert f"{state} cannot be made: File exists. there is a file of that name: move it away" in console.notices[0]


async def test_the_site_that_is_left_takes_its_window_along(state: Path) -> None:
    async with changing(state) as console:
        await open_window(console)
        console.app.open_site(console.site.spec)
        await console.until(lambda: console.lines[0].rstrip().endswith("READ-ONLY"), "the header of the new site")
        assert console.app.changing.desk is None


# Lines


@given(st.text(max_size=200), st.integers(2, 60))
def test_a_folded_text_fits_and_loses_nothing_but_blanks(text: str, width: int) -> None:
    lines = whole_lines(text, width)
    assert all(cell_len(line) <= width for line in lines)
    kept = "".join("".join(lines).split())
    shown = "".join(character for character in "".join(whole_lines(text, 10_000)) if not character.isspace())
    assert kept == "".join(shown.split())


def test_an_indent_stays_in_front_of_every_line() -> None:
    assert whole_lines("  4242 alice python train.py", 16) == ["  4242 alice", "  python", "  train.py"]
    assert whole_lines("nvidia-smi mig", 4) == ["nvid", "ia-s", "mi", "mig"]
    assert whole_lines("", 10) == [""]


async def test_steps_wait_for_nobody(state: Path, tmp_path: Path) -> None:
    """The loop goes on while a step runs: the clock of the window, the keys, the list."""
    async with changing(state) as console:
        await open_window(console)
        step, gate = waiting(tmp_path / "a")
        await asked(console, change_of(step, radius=QUIET))
        await console.press("tab", "enter")
        await gate.reached.wait()
        await console.press("escape", "down", "up")
        assert not isinstance(console.screen, ChangesScreen)
        gate.open.set()
        await ended(console, state, "done")
        await console.until(lambda: any(": done" in notice for notice in console.notices), "the notice")
        await asyncio.sleep(0)
