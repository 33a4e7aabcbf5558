"""When the probe reads the values that it reads slowly."""

from __future__ import annotations

from typing import Any

import pytest

from backends.feed import ManualClock
from backends.lab.dynamics import Meter
from backends.lab.hardware import EPOCH, fleet
from backends.lab.host import SimHost
from backends.lab.nvml import SimNvml
from backends.nodes.probe import Probe

START = EPOCH + 5_000_000.0


class Beating:
    """A probe on a machine of the lab; `slow` are the times of its slow readings."""

    def __init__(self, slow_seconds: float) -> None:
        self.clock = ManualClock(START)
        self.machine = fleet(6, 7)[0]
        meter = Meter(self.machine)
        host = SimHost(self.machine, meter, self.clock, self.clock)
        self.slow: list[float] = []
        options = {"protocol": 1, "fast_seconds": 1.0, "slow_seconds": slow_seconds}
        nvml = SimNvml(self.machine, meter, self.clock)
        probe: Any = Probe(nvml, host, self._take, options)  # type: ignore[no-untyped-call]
        self.probe = probe
        assert probe.start()

    def _take(self, message: dict[str, Any]) -> None:
        read_at = message.get("node", {}).get("slow_read_at")
        if read_at is not None:
            self.slow.append(read_at - START)

    async def passes(self, seconds: int, *, told_every: int = 0, kind: str = "xid") -> None:
        for second in range(1, seconds + 1):
            await self.clock.advance(1.0)
            if told_every and second % told_every == 0:
                self.told(kind)
            self.probe.beat()

    def told(self, kind: str = "xid", ago: float = 0.0) -> None:
        event = {"kind": kind, "at": self.clock.now() - ago, "code": 48, "pci_bus_id": None, "text": "said"}
        self.probe.tell_kernel(event)


async def test_an_error_has_the_slow_values_read_at_once_and_again_when_it_is_booked() -> None:
    beating = Beating(slow_seconds=120)
    await beating.passes(30)
    assert beating.slow == [0.0]
    beating.told()
    await beating.passes(60)
    assert beating.slow[:2] == [0.0, 31.0]
    assert 36.0 <= beating.slow[2] <= 60.0
    assert len(beating.slow) == 3


@pytest.mark.parametrize("kind", ["xid", "sxid"])
async def test_a_storm_does_not_make_the_slow_beat_a_fast_one(kind: str) -> None:
    beating = Beating(slow_seconds=120)
    await beating.passes(600, told_every=1, kind=kind)
    assert len(beating.slow) <= 1 + 600 / 40
    quiet = len(beating.slow)
    await beating.passes(600)
    assert len(beating.slow) - quiet <= 600 / 120 + 2


async def test_what_the_log_tells_of_the_past_has_nothing_read() -> None:
    beating = Beating(slow_seconds=120)
    beating.told(ago=3600)
    await beating.passes(60)
    assert beating.slow == [0.0]


async def test_a_short_slow_beat_stays_what_it_is() -> None:
    beating = Beating(slow_seconds=2)
    await beating.passes(20, told_every=1)
    assert len(beating.slow) == 11


async def test_an_error_that_nvml_tells_counts_too() -> None:
    beating = Beating(slow_seconds=120)
    await beating.passes(30)
    beating.probe.note_error()
    await beating.passes(1)
    assert beating.slow == [0.0, 31.0]


async def test_a_gpu_that_comes_back_has_its_slow_values_read_anew() -> None:
    beating = Beating(slow_seconds=120)
    gpu = beating.machine.gpus[0]
    gpu.faults.lost = True
    await beating.passes(2)
    gpu.faults.lost, gpu.faults.ecc_uncorrected = False, 3
    await beating.passes(2)
    assert beating.probe.gpus[0].merged()["ecc"]["volatile"]["uncorrected"] == 3
