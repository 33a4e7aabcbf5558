"""What the dialogs and the screen of changes look like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from backends.changes.change import BlastRadius, Change
from backends.domain import Fleet
from screens.changes import ChangesScreen
from screens.confirm import ConfirmScreen
from screens.write_window import WriteWindowScreen
from tests.tui.changing import ID, ToldStep, change_of, left_behind, state
from tests.tui.consoles import PATIENCE_SECONDS, build_on, lines, settled
from tests.tui.fleets import h100, reading
from tests.tui.test_snapshots import LARGE, SIZES, SMALL, SnapCompare, one_terminal
from tui.app import Console

__all__ = ["one_terminal", "state"]

Run = Callable[[Pilot[Any]], Awaitable[None]]
CREATE = "on dgx01: nvidia-smi mig -i 2 -cgi 9:0,9:4 -C"
MODE = "on dgx01: nvidia-smi -i 2 -mig 1"


def console(**options: Any) -> Console:
    return build_on(Fleet((reading("dgx01", *(h100(n) for n in range(4))),)), **options)


def steps(folder: Path, **last: Any) -> tuple[ToldStep, ToldStep]:
    return (
        ToldStep(str(folder / "a"), words=MODE, undo_words="on dgx01: nvidia-smi -i 2 -mig 0"),
        ToldStep(str(folder / "b"), words=CREATE, **last),
    )


async def until(pilot: Pilot[Any], words: str) -> None:
    """Waits until `words` are on the screen."""
    app = pilot.app
    assert isinstance(app, Console)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while words not in "\n".join(lines(app)):
            await pilot.pause(0.01)


async def still(pilot: Pilot[Any], screen: type) -> None:
    await pilot.pause()
    assert isinstance(pilot.app.screen, screen)
    for entry in pilot.app.screen.query(Input):
        entry.cursor_blink = False
    await pilot.pause()


def question(change: Change, words: str, *keys: str) -> Run:
    """Opens the window, asks about `change`, and waits for `words`."""

    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await pilot.press("w")
        await until(pilot, "Write window of lab")
        await pilot.press(*"INC-42", "enter", "enter")
        await until(pilot, "WRITE 15:00")
        assert isinstance(pilot.app, Console)
        pilot.app.changing.propose(change)
        await until(pilot, words)
        await pilot.press(*keys)
        await still(pilot, ConfirmScreen)

    return run


@SIZES
def test_question(snap_compare: SnapCompare, state: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    run = question(change_of(*steps(tmp_path)), "the name is not typed yet")
    assert snap_compare(console(), terminal_size=size, run_before=run)


def test_question_typed(snap_compare: SnapCompare, state: Path, tmp_path: Path) -> None:
    keys = ("tab", *"dgx01 gpu2", "enter")
    run = question(change_of(*steps(tmp_path)), "the name is not typed yet", *keys)
    assert snap_compare(console(), terminal_size=SMALL, run_before=run)


def test_question_refused(snap_compare: SnapCompare, state: Path, tmp_path: Path) -> None:
    change = change_of(*steps(tmp_path, granted=False), radius=BlastRadius(gpus=("dgx01 gpu2",)))
    assert snap_compare(console(), terminal_size=SMALL, run_before=question(change, "refused:"))


def test_question_ascii(snap_compare: SnapCompare, state: Path, tmp_path: Path) -> None:
    run = question(change_of(*steps(tmp_path)), "the name is not typed yet")
    assert snap_compare(console(ascii_only=True), terminal_size=SMALL, run_before=run)


def test_question_no_color(
    snap_compare: SnapCompare, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = question(change_of(*steps(tmp_path)), "the name is not typed yet")
    assert snap_compare(console(theme=None), terminal_size=SMALL, run_before=run)


@SIZES
def test_only_looked_at(snap_compare: SnapCompare, state: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        assert isinstance(pilot.app, Console)
        pilot.app.changing.propose(change_of(*steps(tmp_path)))
        await until(pilot, "only looked at: the write window is closed")
        await still(pilot, ConfirmScreen)

    assert snap_compare(console(), terminal_size=size, run_before=run)


def window(*keys: str) -> Run:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await pilot.press("w")
        await until(pilot, "Write window of lab")
        await pilot.press(*keys)
        await still(pilot, WriteWindowScreen)

    return run


@SIZES
def test_write_window(snap_compare: SnapCompare, state: Path, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=window())


def test_write_window_ready(snap_compare: SnapCompare, state: Path) -> None:
    run = window(*"INC-42: gpu2 for search", "enter")
    assert snap_compare(console(), terminal_size=SMALL, run_before=run)


def test_write_window_ascii(snap_compare: SnapCompare, state: Path) -> None:
    assert snap_compare(console(ascii_only=True), terminal_size=SMALL, run_before=window())


def histories(state: Path, folder: Path) -> None:
    """Changes in every state, the newest cut off in its second step."""
    applied: list[tuple[str, dict[str, Any]]] = [
        ("applying", {"step": 0}),
        ("applied", {"step": 0, "said": "All done."}),
        ("verified", {"step": 0, "said": "MIG on, no instances"}),
        ("applying", {"step": 1}),
    ]
    whole = [*applied, ("applied", {"step": 1}), ("verified", {"step": 1}), ("finished", {})]
    said = "exited 19: In use by another client (end what runs on the GPU first)"
    rows: tuple[tuple[str, list[tuple[str, dict[str, Any]]]], ...] = (
        ("cut off in a step", applied),
        ("failed", [*applied, ("failed", {"step": 1, "said": said, "effect": "none"})]),
        ("stopped", [*applied[:3], ("stopped", {"why": "the write window of lab is closed"})]),
        ("done", whole),
        ("undone", [*whole, ("undo", {}), ("undone", {"step": 1}), ("undone", {"step": 0}), ("undo-finished", {})]),
        ("abandoned", [*applied, ("abandoned", {"why": "done by hand"})]),
    )
    for number, (title, events) in enumerate(rows):
        change = change_of(*steps(folder), id=f"{ID[:-1]}{9 - number}", title=f"A change that is {title}")
        left_behind(state, change, *events)
    (state / "changes" / "20200101T000000.000-dead.journal").write_text("{]\n")


def changes(*keys: str) -> Run:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        pilot.app.clear_notifications()
        await pilot.press("C")
        await until(pilot, "not brought to an end")
        await pilot.press(*keys)
        await still(pilot, ChangesScreen)

    return run


@SIZES
def test_changes(snap_compare: SnapCompare, state: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    histories(state, tmp_path)
    assert snap_compare(console(), terminal_size=size, run_before=changes())


def test_changes_failed(snap_compare: SnapCompare, state: Path, tmp_path: Path) -> None:
    histories(state, tmp_path)
    assert snap_compare(console(), terminal_size=LARGE, run_before=changes("down"))


def test_changes_ascii(snap_compare: SnapCompare, state: Path, tmp_path: Path) -> None:
    histories(state, tmp_path)
    assert snap_compare(console(ascii_only=True), terminal_size=SMALL, run_before=changes())


def test_changes_no_color(
    snap_compare: SnapCompare, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    histories(state, tmp_path)
    assert snap_compare(console(theme=None), terminal_size=SMALL, run_before=changes())
