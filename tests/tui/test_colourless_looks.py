"""What the screens of the platforms, the logs and the events look like without colour; a log that says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from backends.contract import NotAllowed
from screens.logs import LogsScreen, open_logs
from tests.tui import test_changes_looks, test_logs_screen, test_platform_actions, test_stack_screen
from tests.tui.consoles import Opened, build_on, settled
from tests.tui.events import NIGHT
from tests.tui.fleets import fleet
from tests.tui.stacks import blocked, changing, stack, well
from tests.tui.test_changes_looks import state  # noqa: F401 - a fixture
from tests.tui.test_events import to_events
from tests.tui.test_logs_screen import TARGET, Platform
from tests.tui.test_snapshots import SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture

BUSY = stack(well("dgx01"), blocked("dgx02"), changing("dgx03"))


@pytest.fixture
def no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def test_stack_no_color(snap_compare: SnapCompare, no_color: None) -> None:
    app = test_logs_screen.console(theme=None)
    assert snap_compare(app, terminal_size=SMALL, run_before=test_stack_screen.shown(BUSY))


def test_actions_no_color(snap_compare: SnapCompare, no_color: None) -> None:
    app = test_logs_screen.console(theme=None)
    assert snap_compare(app, terminal_size=SMALL, run_before=test_platform_actions.shown())


def test_log_no_color(snap_compare: SnapCompare, no_color: None) -> None:
    run = test_logs_screen.drawn("/", *"kernel", "enter", "n")
    assert snap_compare(test_logs_screen.console(theme=None), terminal_size=SMALL, run_before=run)


def test_write_window_no_color(snap_compare: SnapCompare, state: Path, no_color: None) -> None:  # noqa: F811
    app = test_changes_looks.console(theme=None)
    assert snap_compare(app, terminal_size=SMALL, run_before=test_changes_looks.window())


def test_events_no_color(snap_compare: SnapCompare, no_color: None) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await to_events(Opened(cast(Any, pilot.app), pilot), *NIGHT)
        await pilot.pause()

    assert snap_compare(build_on(fleet(), theme=None), terminal_size=SMALL, run_before=run)


def silent(refusal: NotAllowed | None, words: str) -> Any:
    """The log screen on a log that has no line, or may not be read, until it says `words`."""

    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(cast(Any, pilot.app), pilot)
        on.site.platform = platform = Platform()
        open_logs(on.app, TARGET)
        await on.until(lambda: isinstance(on.screen, LogsScreen), "the log screen")
        if refusal is not None:
            platform.scripted.says.put_nowait(refusal)
        await on.until(lambda: words in on.text, words)
        await pilot.pause()

    return run


def test_log_that_says_nothing(snap_compare: SnapCompare) -> None:
    assert snap_compare(test_logs_screen.console(), terminal_size=SMALL, run_before=silent(None, "No line yet"))


def test_log_that_may_not_be_read(snap_compare: SnapCompare) -> None:
    refusal = NotAllowed('User "a" cannot get resource "pods/log"', "needs: get pods/log in logs")
    run = silent(refusal, "needs: get pods/log in logs")
    assert snap_compare(test_logs_screen.console(), terminal_size=SMALL, run_before=run)
