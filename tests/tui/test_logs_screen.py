"""The log screen: follows and lets go, searches, chooses, saves, and paints no more than it must."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from backends.contract import NotAllowed
from backends.domain import Container, Fleet, LogBatch, LogLine, LogQuery, LogSource
from backends.logs import TailState
from screens.ask import AskScreen
from screens.logs import LogsScreen, open_logs
from screens.logs_rows import LogTarget, target_words
from screens.pick import PickScreen
from screens.stack import StackScreen
from tests.scripted_logs import SOURCE, Scripted, batch
from tests.tui.consoles import Opened, build, opened, settled, spec_of
from tests.tui.fleets import HOSTILE, NOW, h100, reading
from tests.tui.stacks import blocked, changing, stack, well
from tests.tui.test_snapshots import LARGE, SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture
from tests.tui.test_stack_screen import to_stack
from tui.app import Console
from tui.widgets.line import StyledLine
from tui.widgets.log_view import LogView

FLEET = Fleet((reading("dgx01", h100()), reading("dgx02", h100())))
TARGET = LogTarget(SOURCE, "driver on dgx02")


class Platform:
    def __init__(self) -> None:
        self.scripted = Scripted()

    async def backend(self) -> Scripted:
        return self.scripted


def console(platform: str = "kubernetes", **more: Any) -> Console:
    return build(spec_of(FLEET, platform=platform), values={"lab": FLEET}, **more)


@asynccontextmanager
async def log_of(
    *texts: str, target: LogTarget = TARGET, size: tuple[int, int] = SMALL
) -> AsyncIterator[tuple[Opened, Scripted]]:
    """The screen on a log that says `texts` first."""
    async with opened(console(), size=size) as on:
        on.site.platform = platform = Platform()
        open_logs(on.app, target)
        await on.until(lambda: isinstance(on.screen, LogsScreen), "the log screen")
        if texts:
            await say(on, platform.scripted, batch(*texts, at=NOW))
        yield on, platform.scripted


async def say(on: Opened, scripted: Scripted, *batches: LogBatch) -> None:
    """Lets the log say more, and waits until it is drawn."""
    screen = logs_screen(on)
    await on.until(lambda: screen.tail is not None, "the tail")
    assert screen.tail is not None
    expected = screen.tail.received + sum(len(each.lines) for each in batches)
    for each in batches:
        scripted.says.put_nowait(each)
    await on.until(lambda: screen.tail is not None and screen.tail.received >= expected, "the lines")
    await on.until(lambda: screen._frame is None, "the painting")


def logs_screen(on: Opened) -> LogsScreen:
    return next(each for each in on.app.screen_stack if isinstance(each, LogsScreen))


def view(on: Opened) -> LogView:
    return logs_screen(on).query_one(LogView)


def numbered(start: int, stop: int) -> list[str]:
    return [f"line {number}" for number in range(start, stop)]


def shown(on: Opened) -> list[str]:
    """The rows of the view."""
    return [each.rstrip() for each in on.lines[4:-1]]


async def test_the_end_is_followed_until_somebody_scrolls_up() -> None:
    async with log_of(*numbered(0, 100)) as (on, scripted):
        assert shown(on)[-1] == "line 99"
        await say(on, scripted, batch("line 100"))
        assert shown(on)[-1] == "line 100"
        await on.press("up")
        assert shown(on)[-1] == "line 99"
        await say(on, scripted, batch("line 101", "line 102"))
        assert shown(on)[-1] == "line 99"
        assert "3 below" in on.text
        await on.press("G")
        assert shown(on)[-1] == "line 102"
        await say(on, scripted, batch("line 103"))
        assert shown(on)[-1] == "line 103"


async def test_a_closed_log_leaves_its_lines_at_once_however_old_the_screen_was() -> None:
    async with log_of(*numbered(0, 100)) as (on, _):
        tail = logs_screen(on).tail
        assert tail is not None
        store = weakref.ref(tail.store)
        tail = None
        gc.collect(0)
        gc.collect(1)
        await on.press("escape")
        await on.until(lambda: not any(isinstance(each, LogsScreen) for each in on.app.screen_stack), "the way back")
        await on.until(lambda: gc.collect(1) is not None and store() is None, "the lines to go")


async def test_scrolling_down_to_the_end_follows_again() -> None:
    async with log_of(*numbered(0, 100)) as (on, scripted):
        await on.press("g")
        assert shown(on)[0] == "line 0"
        for _ in range(8):
            await on.press("pagedown")
        await say(on, scripted, batch("line 100"))
        assert shown(on)[-1] == "line 100"


async def test_lines_that_are_dropped_above_leave_the_view_where_it_is() -> None:
    async with log_of() as (on, scripted):
        await on.until(lambda: logs_screen(on).tail is not None)
        tail = logs_screen(on).tail
        assert tail is not None
        tail.store._most_lines = 100
        await say(on, scripted, batch(*numbered(0, 100)))
        await on.press("up", "up", "up")
        before = shown(on)
        await say(on, scripted, batch(*numbered(100, 150)))
        assert shown(on) == before
        assert "50 earlier lines dropped" in on.text
        await say(on, scripted, batch(*numbered(150, 300)))
        assert shown(on)[0] == "line 200", "its own lines are gone: the oldest there are"


async def test_f_stands_still_and_follows_again() -> None:
    async with log_of(*numbered(0, 50)) as (on, scripted):
        await on.press("f")
        await say(on, scripted, batch("line 50"))
        assert shown(on)[-1] == "line 49"
        await on.press("f")
        assert shown(on)[-1] == "line 50"


async def test_what_is_searched_for_is_counted_and_gone_to() -> None:
    texts = [f"step {number} {'CUDA error' if number % 40 == 5 else 'fine'}" for number in range(200)]
    async with log_of(*texts) as (on, scripted):
        await on.press("/", *"cuda err", "enter")
        await on.until(lambda: "5 found" in on.text, "the count")
        await on.until(lambda: "step 165 CUDA error" in on.text, "the last one, which is the nearest")
        await on.press("n")
        await on.until(lambda: "5 of 5" in on.text, "the first one in view")
        await on.press("n")
        await on.until(lambda: "1 of 5" in on.text, "round the end")
        assert any(each.startswith("step 5 CUDA") for each in shown(on))
        await on.press("N")
        await on.until(lambda: "5 of 5" in on.text, "and back")
        await say(on, scripted, batch("one more CUDA error"))
        await on.until(lambda: "5 of 6" in on.text, "new lines are searched too")
        await on.press("escape")
        assert "of 6" not in on.text
        assert isinstance(on.screen, LogsScreen)
        await on.press("escape")
        assert not isinstance(on.screen, LogsScreen)


async def test_marks_that_there_was_no_time_for_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.logs.search.MARK_SECONDS", 0.0)
    async with log_of(*numbered(0, 12)) as (on, _):
        await on.press("slash", *"line", "enter")
        await on.until(lambda: len(view(on)._marks) == 12, "every mark")


async def test_where_the_view_stands_is_told_with_the_same_drawing() -> None:
    async with log_of(*numbered(0, 100)) as (on, _):
        line = on.screen.query_one("#logs-state", StyledLine)
        view(on).action_rows(-3)
        assert "3 below" in line.text
        view(on).action_end()
        assert "below" not in line.text


async def test_what_is_typed_in_one_go_is_looked_for_as_a_whole() -> None:
    async with log_of(*numbered(0, 100)) as (on, _):
        await on.type_ahead("/", *"line 7", "enter")
        await on.until(lambda: "/line 7/ 11 of 11" in on.text, "the count")


async def test_a_long_log_is_searched_in_slices_to_its_end() -> None:
    async with log_of() as (on, scripted):
        await say(on, scripted, *[batch(*numbered(at * 2000, at * 2000 + 2000)) for at in range(40)])
        await on.press("/", *"~7$", "enter")
        assert shown(on)[-1] == "line 79999"
        await on.until(lambda: "8,000 found" in on.text, "the count")


async def test_a_bad_expression_is_told_under_its_character_and_changes_nothing() -> None:
    async with log_of("a [b", "c") as (on, _):
        await on.press("/", *"a", "enter")
        await on.until(lambda: "/a/ 1 found" in on.text, "the count")
        await on.press("/")
        for _ in range(3):
            await on.press("backspace")
        await on.press(*"~[b", "enter")
        await on.until(lambda: "not a regular expression" in on.text, "the error")
        assert logs_screen(on).filter_text == "", "the search before it was of what was left of it"
        await on.press("backspace", "backspace", "c", "enter")
        await on.until(lambda: "/~c/ 1 found" in on.text, "the expression")


async def test_nothing_found_says_so() -> None:
    async with log_of("a") as (on, _):
        await on.press("n")
        assert any("/ looks for something" in each for each in on.notices)
        await on.press("/", *"zzz", "enter")
        await on.until(lambda: "0 found" in on.text, "the count")


async def test_long_lines_are_cut_folded_and_moved_sideways() -> None:
    text = "start " + "x" * 100 + " end"
    async with log_of(text, "next") as (on, _):
        assert shown(on)[0].endswith("…")
        await on.press("right")
        assert not shown(on)[0].startswith("start")
        await on.press("left", "z")
        assert shown(on)[1].endswith(" end")
        assert shown(on)[2] == "next"


async def test_a_match_far_to_the_right_is_brought_into_view() -> None:
    async with log_of("x" * 300 + " needle", "no", "needle") as (on, _):
        await on.press("/", *"needle", "enter", "n", "n", "n")
        await on.until(lambda: "1 of 2" in on.text, "the long line")
        assert "needle" in shown(on)[0]
        await on.press("n")
        assert shown(on)[2] == "needle"


async def test_times_are_shown_when_asked_for() -> None:
    async with log_of("one") as (on, _):
        assert shown(on)[0] == "one"
        await on.press("T")
        assert shown(on)[0][8:] == ".000 one"


async def test_lines_of_several_containers_carry_their_names() -> None:
    async with log_of(target=LogTarget(LogSource("talker", "logs"), "x")) as (on, scripted):
        lines = (LogLine("one", "main"), LogLine("two", "sidecar"))
        await say(on, scripted, LogBatch(lines))
        assert [each for each in shown(on) if each] == ["main    one", "sidecar two"]
        assert "all containers" in on.text


async def test_another_container_is_chosen_with_its_state_in_view() -> None:
    async with log_of("one") as (on, scripted):
        scripted.found = (
            Container("k8s-driver-manager", state="terminated", reason="Completed", init=True),
            Container("main", state="waiting", reason="CrashLoopBackOff", restarts=6),
        )
        await on.press("c")
        await on.until(lambda: isinstance(on.screen, PickScreen), "the choice")
        await on.until(lambda: "waiting (CrashLoopBackOff), 6 restarts" in on.text, "the states")
        assert "init k8s-driver-manager  terminated (Completed)" in on.text
        assert on.screen.query_one(OptionList).highlighted == 2, "the one that is read"
        await on.press("up", "enter")
        await on.until(lambda: scripted.asked[-1][0].containers == ("k8s-driver-manager",), "the other log")


async def test_the_former_run_and_another_range_are_asked_for() -> None:
    async with log_of("one") as (on, scripted):
        await on.press("p")
        await on.until(lambda: scripted.asked[-1][1].previous, "the former run")
        await on.until(lambda: "former run" in on.text, "said")
        await on.press("p")
        await on.until(lambda: not scripted.asked[-1][1].previous, "this run")
        await on.press("r")
        await on.until(lambda: isinstance(on.screen, PickScreen), "the choice")
        await on.press("end", "enter")
        await on.until(lambda: scripted.asked[-1][1] == LogQuery(tail_lines=None), "all of it")


async def test_a_log_that_may_not_be_read_names_the_right() -> None:
    async with log_of() as (on, scripted):
        refusal = NotAllowed('User "a" cannot get resource "pods/log"', "needs: get pods/log in logs")
        scripted.says.put_nowait(refusal)
        await on.until(lambda: "needs: get pods/log in logs" in on.text, "the right")
        assert "not readable" in on.text


async def test_a_log_that_says_nothing_is_told_so_until_it_does() -> None:
    async with log_of() as (on, scripted):
        await on.until(lambda: "No line yet" in on.text, "the words")
        await say(on, scripted, batch("one"))
        assert "No line yet" not in on.text


async def test_an_interruption_is_told_and_over_when_lines_come_again() -> None:
    async with log_of("one") as (on, scripted):
        scripted.says.put_nowait(LogBatch(problem="main: the connection was lost", retried=True))
        await on.until(lambda: "interrupted" in on.text, "the state")
        assert "--- main: the connection was lost ---" in shown(on) or "the connection was lost" in on.text
        await say(on, scripted, batch("two"))
        await on.until(lambda: "following" in on.text, "it goes on")
        assert "--- main: the connection was lost ---" in shown(on)
        scripted.says.put_nowait(None)
        await on.until(lambda: "ended" in on.text, "the end")


async def test_hostile_lines_are_inert() -> None:
    from backends.domain import clean

    for wrap in ((), ("z",)):
        async with log_of(*[clean(evil, 4096) for evil in HOSTILE]) as (on, _):
            await on.press(*wrap)
            assert all(each.isprintable() for each in on.lines)


async def test_behind_another_mode_it_is_not_read_and_goes_on_afterwards() -> None:
    async with log_of("one") as (on, scripted):
        screen = logs_screen(on)
        await on.press("1")
        await on.until(lambda: screen.tail is not None and screen.tail.state is TailState.PAUSED, "the pause")
        await on.app.switch_mode("fleet")
        await on.until(lambda: len(scripted.asked) == 2, "read again")
        scripted.says.put_nowait(batch("one", "two", at=NOW))
        await on.until(lambda: [each for each in shown(on) if each] == ["one", "two"], "what is new")


async def test_nothing_new_paints_nothing_and_a_burst_paints_once() -> None:
    async with log_of(*numbered(0, 30)) as (on, scripted):
        before = view(on).repaints
        logs_screen(on).redraw()
        assert view(on).repaints == before
        await say(on, scripted, *[batch(*numbered(30 + at, 31 + at)) for at in range(200)])
        rows = view(on).size.height
        assert 0 < view(on).repaints - before <= 4 * rows


# Saving


async def saved_as(on: Opened, path: str) -> None:
    await on.press("S")
    await on.until(lambda: isinstance(on.screen, AskScreen), "the question")
    on.screen.query_one(Input).value = path
    await on.press("enter", "enter")


async def test_the_lines_are_saved_as_they_are_shown(tmp_path: Path) -> None:
    async with log_of("one", "two") as (on, _):
        path = tmp_path / "out.log"
        await saved_as(on, str(path))
        await on.until(lambda: any("2 lines, 8 bytes" in each for each in on.notices), "the notice")
        assert path.read_text() == "one\ntwo\n"
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_is_there_is_not_overwritten_and_another_name_asked_for(tmp_path: Path) -> None:
    async with log_of("one") as (on, _):
        path = tmp_path / "out.log"
        path.write_text("mine")
        await saved_as(on, str(path))
        await on.until(lambda: "is there already" in on.text, "why not")
        assert on.screen.query_one(Input).value == str(path)
        await on.press("escape")
        assert path.read_text() == "mine"


async def test_the_name_that_is_offered_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with log_of("one", target=LogTarget(LogSource("../a b\x00", "logs", ("main",)), "x")) as (on, _):
        await on.press("S")
        await on.until(lambda: isinstance(on.screen, AskScreen), "the question")
        offered = Path(on.screen.query_one(Input).value)
        assert offered.parent == tmp_path
        assert offered.name.startswith("_a_b_-main-2023111")
        assert offered.suffix == ".log"


# From the stack


async def test_l_opens_the_log_of_what_blocks_the_node() -> None:
    async with opened(console()) as on:
        on.site.platform = platform = Platform()
        await to_stack(on, stack(blocked("dgx02"), well("dgx01")))
        await on.press("l")
        await on.until(lambda: platform.scripted.asked, "the log")
        (source, _) = platform.scripted.asked[0]
        assert source == LogSource("nvidia-driver-daemonset-7k2fp", "gpu-operator", ("nvidia-driver-ctr",))
        assert "driver on dgx02" in on.text


async def test_a_node_without_pods_has_no_log() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx01")))
        await on.press("l")
        assert any("there is no log" in each for each in on.notices)


async def test_on_docker_a_container_of_the_node_is_chosen_first() -> None:
    async with opened(console("docker")) as on:
        on.site.platform = platform = Platform()
        platform.scripted.found = (Container("llama-70b", state="running"), Container("triton", state="exited"))
        await to_stack(on, replace(stack(well("dgx01")), platform="docker"))
        await on.press("l")
        await on.until(lambda: isinstance(on.screen, PickScreen), "the choice")
        assert platform.scripted.asked == []
        await on.press("down", "enter")
        await on.until(lambda: platform.scripted.asked, "the log")
        assert platform.scripted.asked[0][0] == LogSource("triton", node="dgx01")


async def test_where_no_container_is_chosen_there_is_no_empty_screen() -> None:
    async with opened(console("docker")) as on:
        on.site.platform = platform = Platform()
        platform.scripted.found = ()
        await to_stack(on, replace(stack(well("dgx01")), platform="docker"))
        await on.press("l")
        await on.until(lambda: on.notices == ["There is no container on dgx01."], "why")
        await on.until(lambda: isinstance(on.screen, StackScreen), "the stack again")
        platform.scripted.found = (Container("llama-70b", state="running"),)
        await on.press("l")
        await on.until(lambda: isinstance(on.screen, PickScreen), "the choice")
        await on.press("escape")
        await on.until(lambda: isinstance(on.screen, StackScreen), "the stack again")


async def test_a_mig_change_that_failed_leads_to_the_log_of_its_manager() -> None:
    node = changing("dgx03")
    states = tuple(
        replace(each, pod=f"{each.operand}-x1", namespace="gpu-operator") if each.operand == "mig-manager" else each
        for each in node.operands
    )
    async with opened(console()) as on:
        on.site.platform = platform = Platform()
        await to_stack(on, stack(replace(node, operands=states)))
        await on.press("l")
        await on.until(lambda: platform.scripted.asked, "the log")
        assert platform.scripted.asked[0][0].name == "mig-manager-x1"


async def test_a_long_choice_takes_one_line() -> None:
    async with log_of("one") as (on, _):
        others = [LogTarget(LogSource(f"pod-{number}-" + "x" * 90, "logs"), f"operand {number}") for number in "12"]
        on.app.push_screen(PickScreen("Whose log", target_words(others)))
        await on.until(lambda: isinstance(on.screen, PickScreen), "the choice")
        await on.until(lambda: "operand 2" in on.text, "the second")
        first, second = (next(y for y, line in enumerate(on.lines) if f"operand {n}" in line) for n in "12")
        assert second == first + 1


# Looks


LOOKS = [
    "Starting installation of NVIDIA driver version 590.48.01 for Linux kernel version 6.8.0-1028-nvidia",
    "Updating the package cache...",
    "W1125 08:31:17.123456       1 main.go:42] the mirror is slow",
    "Installing Linux kernel headers...",
    "E: Unable to locate package linux-headers-6.8.0-1028-nvidia",
    "ERROR: Could not install the kernel headers: the driver cannot be built",
]


def drawn(*keys: str) -> Any:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(cast(Console, pilot.app), pilot)
        on.site.platform = platform = Platform()
        open_logs(on.app, TARGET)
        await on.until(lambda: isinstance(on.screen, LogsScreen))
        await say(on, platform.scripted, batch(*LOOKS, at=NOW))
        for key in keys:
            await on.press(key)
        await on.until(lambda: logs_screen(on)._frame is None)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_looks(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=drawn("T", "/", *"kernel", "enter", "n"))


def test_looks_wrapped_in_ascii(snap_compare: SnapCompare) -> None:
    assert snap_compare(console(ascii_only=True), terminal_size=SMALL, run_before=drawn("z"))
