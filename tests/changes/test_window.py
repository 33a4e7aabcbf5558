"""The write window: closed, open for a while, closed again by itself."""

from __future__ import annotations

import pytest

from backends.changes.window import WindowState, WriteWindow
from backends.contract import ChangeRefused
from backends.domain import ChangeSpec
from backends.feed import ManualClock


class TwoClocks(ManualClock):
    """A wall clock that can be set, beside a monotonic one that cannot."""

    offset = 0.0

    def now(self) -> float:
        return super().now() + self.offset


async def test_it_is_closed_until_it_is_opened_and_counts_down_to_closed() -> None:
    clock = ManualClock()
    window = WriteWindow("prod", clock=clock)
    assert window.state.reading.value == WindowState()
    assert window.state.reading.value.label == "READ-ONLY"
    refusal = window.refusal()
    assert refusal is not None
    assert "closed" in refusal.message
    labels: list[str] = []
    window.state.watch(lambda reading: labels.append(reading.value.label if reading.value else ""))
    window.open(1, "INC-7")
    assert window.refusal() is None
    await clock.advance(61)
    assert labels == ["WRITE 01:00", *(f"WRITE 00:{left:02d}" for left in range(59, 0, -1)), "READ-ONLY"]
    assert not window.is_open
    assert clock.sleepers == 0


async def test_it_is_silent_while_it_is_closed() -> None:
    clock = ManualClock()
    window = WriteWindow("prod", clock=clock)
    heard: list[object] = []
    window.state.watch(heard.append)
    await clock.advance(3600)
    window.close()
    assert heard == []


async def test_it_can_be_closed_and_opened_anew() -> None:
    clock = ManualClock()
    window = WriteWindow("prod", clock=clock)
    window.open(10, "a")
    await clock.advance(30)
    window.open(5, "b")
    assert window.state.reading.value == WindowState(300, "b")
    window.close()
    assert window.state.reading.value == WindowState()
    assert window.reason == ""
    await clock.advance(1000)
    assert window.state.reading.value == WindowState()


async def test_a_wall_clock_set_back_does_not_keep_it_open() -> None:
    clock = TwoClocks()
    window = WriteWindow("prod", clock=clock)
    window.open(5, "a")
    clock.offset = -86_400
    await clock.advance(301)
    assert not window.is_open


async def test_a_sleep_of_the_machine_counts() -> None:
    clock = TwoClocks()
    window = WriteWindow("prod", clock=clock)
    window.open(5, "a")
    clock.offset = 3_600
    assert not window.is_open
    assert window.refusal() is not None
    await clock.advance(1)
    assert window.state.reading.value == WindowState()


@pytest.mark.parametrize(
    ("minutes", "reason", "words"),
    [(0, "x", "1 to 15 minutes, not 0"), (16, "x", "1 to 15 minutes, not 16"), (5, "  ", "needs a reason")],
)
async def test_the_configuration_bounds_it_and_asks_for_a_reason(minutes: int, reason: str, words: str) -> None:
    window = WriteWindow("prod", ChangeSpec(window_max_minutes=15), clock=ManualClock())
    with pytest.raises(ChangeRefused, match=words):
        window.open(minutes, reason)
    assert not window.is_open


async def test_a_reason_can_be_left_to_the_person() -> None:
    window = WriteWindow("prod", ChangeSpec(require_reason=False), clock=ManualClock())
    window.open(5, "")
    assert window.is_open
    window.close()


async def test_read_only_keeps_it_closed() -> None:
    window = WriteWindow("prod", clock=ManualClock(), read_only=True)
    with pytest.raises(ChangeRefused, match="--read-only"):
        window.open(5, "x")
    refusal = window.refusal()
    assert refusal is not None
    assert "--read-only" in refusal.message
