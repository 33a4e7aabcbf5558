"""One node's stream: what it publishes, and how it survives what a node does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backends.contract import AuthRefused
from backends.domain import Event, NodeSpec
from backends.feed import Backoff, ManualClock
from backends.nodes.stream import NodeStream
from backends.nodes.transport import Completed
from tests.scripted import ScriptedChannel, ScriptedTransport

HELLO = {"t": "hello", "protocol": 1, "python": "3.8.10", "pid": 1, "uid": 0}
STATE: dict[str, Any] = {
    "t": "state",
    "at": 1_700_000_000.0,
    "node": {"driver": "580.95.05", "kernel_log": "kmsg"},
    "gpus": [{"index": 0, "uuid": "GPU-0", "pci_bus_id": "00000000:1B:00.0", "utilization": {"gpu_percent": 10}}],
}
XID = {"t": "event", "at": 1_700_000_000.0, "kind": "xid", "code": 79, "pci_bus_id": "0000:1b:00", "source": "kernel"}
SMI_XML = Path(__file__).parents[1] / "data" / "nvidia_smi" / "a100-sxm4-v12.xml"


class Bench:
    """A stream on a scripted transport and a manual clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        self.events: list[Event] = []
        self.stream = NodeStream(
            NodeSpec("dgx01"),
            self.transport,
            fast_seconds=1.0,
            slow_seconds=10.0,
            on_event=self.events.append,
            clock=self.clock,
            backoff=Backoff(first=1, most=4),
        )

    async def run(self, *channels: ScriptedChannel | AuthRefused, seconds: float = 0.5) -> None:
        self.transport.channels.extend(channels)
        self.stream.start()
        await self.clock.advance(seconds)

    def error_code(self) -> str | None:
        error = self.stream.topic.reading.error
        return None if error is None else error.code


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.stream.close()
    assert made.transport.closed


async def test_state_then_deltas_are_published(bench: Bench) -> None:
    channel = ScriptedChannel().say(HELLO, STATE)
    await bench.run(channel)
    assert channel.sent
    node = bench.stream.topic.reading.value
    assert node is not None
    assert node.gpus[0].utilization.gpu_percent == 10
    channel.say({"t": "delta", "at": 1_700_000_001.0, "gpus": {"0": {"utilization": {"gpu_percent": 90}}}})
    await bench.clock.advance(1)
    node = bench.stream.topic.reading.value
    assert node is not None
    assert node.gpus[0].utilization.gpu_percent == 90
    assert [event.kind for event in bench.events] == ["connected"]


async def test_a_chatty_login_shell_is_skipped(bench: Bench) -> None:
    await bench.run(ScriptedChannel().say(b"Welcome to DGX OS\n", b"\n", HELLO, STATE))
    assert bench.stream.topic.reading.value is not None


async def test_an_endless_login_shell_is_named(bench: Bench) -> None:
    await bench.run(ScriptedChannel().say(*[b"motd\n"] * 60))
    error = bench.stream.topic.reading.error
    assert error is not None
    assert "before the probe spoke" in error.message


@pytest.mark.parametrize("half", [b'{"t":"del', b'{"t":"delta","gpus":{"7":{}}}\n'])
async def test_a_cut_line_keeps_the_last_value_and_starts_again(bench: Bench, half: bytes) -> None:
    first = ScriptedChannel().say(HELLO, STATE, half)
    await bench.run(first, ScriptedChannel().say(HELLO, STATE))
    assert bench.error_code() == "probe-cut"
    assert bench.stream.topic.reading.value is not None
    assert first.closed
    await bench.clock.advance(2)
    assert bench.error_code() is None
    assert [event.kind for event in bench.events] == ["connected", "disconnected", "connected"]


async def test_the_last_words_of_a_dead_probe_are_shown(bench: Bench) -> None:
    await bench.run(ScriptedChannel().say(HELLO).end(status=137, stderr="Killed \x1b[31mnow"))
    error = bench.stream.topic.reading.error
    assert error is not None
    assert error.message == 'the probe ended with status 137: "Killed now"'


async def test_refused_logins_back_off_and_keep_the_time_of_the_first(bench: Bench) -> None:
    await bench.run(*[AuthRefused("no key was accepted", "add one") for _ in range(20)], seconds=20)
    error = bench.stream.topic.reading.error
    assert error is not None
    assert (error.code, error.at) == ("auth-refused", 1_700_000_000.0)
    assert 4 <= bench.transport.opened <= 14


async def test_another_protocol_is_refused_then_the_fallback_is_tried(bench: Bench) -> None:
    bench.transport.runs.append(Completed(stdout=b"", stderr="nvidia-smi: not found", status=127))
    await bench.run(ScriptedChannel().say({**HELLO, "protocol": 99}))
    error = bench.stream.topic.reading.error
    assert error is not None
    assert error.code == "no-driver"
    assert "protocol 99" in error.message
    assert "not found" in error.message


@pytest.mark.parametrize(
    ("status", "warning"), [(0, ""), (14, ". nvidia-smi: exit status 14, the infoROM of a GPU is corrupted")]
)
async def test_without_python_nvidia_smi_is_read_and_the_node_says_so(bench: Bench, status: int, warning: str) -> None:
    fatal = {"t": "fatal", "code": "no-python", "text": "no python3 on this node", "hint": "install python3"}
    bench.transport.runs.append(Completed(stdout=SMI_XML.read_bytes(), stderr="", status=status))
    channel = ScriptedChannel().say(fatal).end(127)
    bench.transport.channels.append(channel)
    bench.stream.start()
    for _ in range(200):
        if bench.stream.topic.reading.value is not None:
            break
        await bench.clock.advance(0.01)
    node = bench.stream.topic.reading.value
    assert node is not None
    assert node.transport == "nvidia-smi"
    assert node.transport_note == f"no python3 on this node. install python3{warning}"
    assert channel.closed


async def test_an_xid_before_the_state_waits_for_its_gpu(bench: Bench) -> None:
    await bench.run(ScriptedChannel().say(HELLO, XID, STATE))
    (xid,) = [event for event in bench.events if event.kind == "xid"]
    assert (xid.gpu_uuid, xid.code) == ("GPU-0", 79)


async def test_a_stall_is_shown_until_the_next_sample(bench: Bench) -> None:
    channel = ScriptedChannel().say(HELLO, STATE, {"t": "stall", "gpu_index": 0, "call": "nvmlX", "seconds": 9.0})
    await bench.run(channel)
    node = bench.stream.topic.reading.value
    assert node is not None
    assert node.stall is not None
    assert node.stall.call == "nvmlX"
    channel.say({"t": "delta"})
    await bench.clock.advance(1)
    assert bench.stream.topic.reading.value is not None
    assert bench.stream.topic.reading.value.stall is None


async def test_a_skewed_clock_is_measured(bench: Bench) -> None:
    await bench.run(ScriptedChannel().say(HELLO, {**STATE, "at": 1_700_000_042.0}))
    assert bench.stream.topic.reading.value is not None
    assert bench.stream.topic.reading.value.clock_skew_seconds == pytest.approx(42.0)


def ahead(seconds: float, number: int) -> dict[str, Any]:
    """The so-many-th beat of a node whose clock is ahead; the manual clock stands at the state's time."""
    return {"t": "delta", "at": 1_700_000_000.5 + number + seconds}


async def test_a_clock_that_was_set_right_is_right(bench: Bench) -> None:
    channel = ScriptedChannel().say(HELLO, {**STATE, "at": 1_700_000_312.0})
    await bench.run(channel)
    assert skew_of(bench) == pytest.approx(312.0)
    for beat in range(10):
        channel.say(ahead(0.0, beat))
        await bench.clock.advance(1)
    assert skew_of(bench) == 0.0
    channel.say({**XID, "at": 1_700_000_010.0})
    await bench.clock.advance(1)
    (xid,) = [event for event in bench.events if event.kind == "xid"]
    assert xid.at == pytest.approx(1_700_000_010.0)


async def test_a_clock_that_jumps_ahead_is_noticed_at_once(bench: Bench) -> None:
    channel = ScriptedChannel().say(HELLO, STATE)
    await bench.run(channel)
    channel.say(ahead(60.0, 0))
    await bench.clock.advance(1)
    assert skew_of(bench) == pytest.approx(60.0, abs=1.0)


async def test_beats_that_come_late_are_no_skew(bench: Bench) -> None:
    channel = ScriptedChannel().say(HELLO, STATE)
    await bench.run(channel)
    node = bench.stream.topic.reading.value
    for beat in range(12):
        channel.say(ahead(-4.0 if beat % 4 else 0.0, beat))
        await bench.clock.advance(1)
    assert bench.stream.topic.reading.value is node, "the same value: nothing is drawn anew"


async def test_a_state_that_took_long_is_corrected_by_the_beats(bench: Bench) -> None:
    channel = ScriptedChannel().say(HELLO, {**STATE, "at": 1_699_999_991.0})
    await bench.run(channel)
    assert skew_of(bench) == pytest.approx(-9.0, abs=0.6)
    channel.say(ahead(0.0, 0))
    await bench.clock.advance(1)
    assert skew_of(bench) == 0.0


def skew_of(bench: Bench) -> float | None:
    node = bench.stream.topic.reading.value
    assert node is not None
    return node.clock_skew_seconds


async def test_what_the_kernel_log_says_is_told_when_nvml_never_answers(bench: Bench) -> None:
    stall = {"t": "stall", "at": 1_700_000_000.0, "gpu_index": None, "call": "nvmlInit", "seconds": 9.0}
    channel = ScriptedChannel().say(HELLO, {**XID, "code": 119}, stall)
    await bench.run(channel)
    assert bench.error_code() == "driver-hangs"
    assert [event.code for event in bench.events if event.kind == "xid"] == [119]
    channel.say(XID)
    await bench.clock.advance(1)
    (_, later) = [event for event in bench.events if event.kind == "xid"]
    assert (later.code, later.pci_bus_id, later.gpu_index) == (79, "0000:1b:00", None)


async def test_what_the_kernel_log_says_is_told_when_the_driver_does_not_start(bench: Bench) -> None:
    fatal = {"t": "fatal", "code": "nvml-failed", "text": "NVML does not start: Unknown Error", "hint": ""}
    bench.transport.runs.append(Completed(stdout=b"", stderr="no", status=9))
    await bench.run(ScriptedChannel().say(HELLO, {**XID, "code": 143}, fatal))
    assert [event.code for event in bench.events if event.kind == "xid"] == [143]


async def test_what_was_told_before_the_state_is_told_again_with_its_gpu(bench: Bench) -> None:
    stall = {"t": "stall", "at": 1_700_000_000.0, "gpu_index": None, "call": "nvmlInit", "seconds": 9.0}
    await bench.run(ScriptedChannel().say(HELLO, XID, stall, STATE))
    assert [event.gpu_uuid for event in bench.events if event.kind == "xid"] == [None, "GPU-0"]


async def test_what_holds_the_probe_is_named(bench: Bench) -> None:
    stall = {"t": "stall", "at": 1.0, "gpu_index": None, "call": "a file of /proc or /sys", "seconds": 9.0}
    await bench.run(ScriptedChannel().say(HELLO, stall))
    error = bench.stream.topic.reading.error
    assert error is not None
    assert error.message == "the probe hangs in a file of /proc or /sys"


async def test_the_next_probe_goes_on_in_the_kernel_log_where_the_last_one_stopped(bench: Bench) -> None:
    first = ScriptedChannel().say(HELLO, STATE, {**XID, "mark": "kmsg 6a1f 7 7000"}).end()
    untold = ScriptedChannel().say(HELLO, {**XID, "mark": "kmsg 6a1f 9 9000"}).end()
    third = ScriptedChannel().say(HELLO, STATE)
    await bench.run(first, untold, third, seconds=10)
    assert [options_of(channel)["kernel_after"] for channel in (first, untold, third)] == [
        None,
        "kmsg 6a1f 7 7000",
        "kmsg 6a1f 7 7000",
    ]


def options_of(channel: ScriptedChannel) -> dict[str, Any]:
    """What the console told the probe, behind the probe's own source."""
    sent = bytes(channel.sent)
    for _ in range(2):
        size, _, rest = sent.partition(b"\n")
        section, sent = rest[: int(size)], rest[int(size) :]
    found: dict[str, Any] = json.loads(section)
    return found


async def test_silence_is_an_error(bench: Bench) -> None:
    bench.stream.silence_seconds = 0.05
    bench.transport.channels.append(ScriptedChannel().say(HELLO, STATE))
    heard: list[str] = []
    bench.stream.topic.watch(lambda reading: heard.append(reading.error.code if reading.error else "value"))
    bench.stream.start()
    async with asyncio.timeout(10):
        while heard[-1:] != ["probe-silent"]:
            await asyncio.sleep(0.01)
    assert heard[0] == "value"
