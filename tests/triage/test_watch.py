"""What keeps the triage of a site up to date, beside a state directory that takes its time."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from backends.domain import Event, Fleet, NodeSpec, SiteSpec, Triage
from backends.feed import ManualClock, Topic
from backends.triage import acknowledgements
from backends.triage.acknowledgements import FILE_NAME, Acknowledgements, Pending
from backends.triage.watch import TriageWatch
from tests.triage.makers import NOW, gpu, live, node
from tests.triage.test_engine import BAD
from tests.triage.test_outage import SOUND

SPEC = SiteSpec("prod", nodes=(NodeSpec("n1"),))


class Watched:
    """A watch on one node; `sick` and `well` are its readings."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(NOW)
        self.fleet: Topic[Fleet] = Topic("fleet")
        events: Topic[tuple[Event, ...]] = Topic("events")
        kept = Acknowledgements("prod", directory)
        self.watch = TriageWatch(SPEC, self.fleet, events, clock=self.clock, acknowledgements=kept)

    async def seen(self, *, sick: bool, seconds: int) -> Triage:
        for _ in range(seconds):
            value = node(gpu(ecc=BAD if sick else SOUND), slow_read_at=self.clock.now())
            self.fleet.publish(Fleet((live(value, self.clock.now()),)), self.clock.now())
            await self.clock.advance(1.0)
        triage = self.watch.topic.reading.value
        assert triage is not None
        return triage


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before it is set."""
    ready, write = threading.Event(), acknowledgements._append

    def late(file: Path, pending: Pending) -> None:
        assert threading.current_thread() is not threading.main_thread(), "the loop stands"
        ready.wait(10)
        write(file, pending)

    monkeypatch.setattr(acknowledgements, "_append", late)
    return ready


async def test_the_loop_does_not_wait_for_the_file_and_nothing_is_lost_at_the_end(
    tmp_path: Path, slow_disk: threading.Event
) -> None:
    watched = Watched(tmp_path)
    watched.watch.start()
    (found,) = (await watched.seen(sick=True, seconds=8)).findings
    assert watched.watch.acknowledge(found.id, "alice", "riser ordered")
    triage = watched.watch.topic.reading.value
    assert triage is not None
    assert triage.findings[0].acknowledged is not None
    assert (await watched.seen(sick=False, seconds=40)).findings == ()
    assert not (tmp_path / FILE_NAME).exists()
    slow_disk.set()
    await watched.watch.close()
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert (lines[-1]["id"], lines[-1]["why"]) == (found.id, "riser ordered")
    assert lines[-1]["over"] is not None


async def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    watched = Watched(tmp_path / "state")
    watched.watch.start()
    (found,) = (await watched.seen(sick=True, seconds=8)).findings
    assert watched.watch.acknowledge(found.id, "alice", "")
    told = asyncio.Event()
    watched.watch.topic.watch(
        lambda reading: (
            told.set() if reading.value and "acknowledgements" in {x.rule for x in reading.value.findings} else None
        )
    )
    async with asyncio.timeout(10):
        while not told.is_set():
            await watched.seen(sick=True, seconds=1)
    await watched.watch.close()
