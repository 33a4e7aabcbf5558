"""CPU that reading a node costs the node: the real probe against the smallest loop over NVML."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fake_nvml import FakeDriver
from tests.gpu_check import cost, main_thread_seconds

GPUS = 8
BEAT_SECONDS = 1.0
"""As in use: a sample costs more CPU after a second of sleep, with cold caches, than in a quick loop."""
BEATS = 20
"""Two of them read the slow fields."""

MINIMAL = f"""
import sys, time
import pynvml as n
n.nvmlInit()
gpus = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
while True:
    for gpu in gpus:
        n.nvmlDeviceGetUtilizationRates(gpu)
        n.nvmlDeviceGetMemoryInfo(gpu)
        n.nvmlDeviceGetPowerUsage(gpu)
        n.nvmlDeviceGetTemperature(gpu, 0)
    sys.stdout.write("{{}}\\n")
    sys.stdout.flush()
    time.sleep({BEAT_SECONDS})
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds per sample of `GPUS` GPUs, of the thread that samples.

    The probe's other threads are left out: one waits for events, and the fake driver polls where a real one sleeps.
    """

    probe: float
    minimal: float

    @property
    def ratio(self) -> float:
        return self.probe / self.minimal


def measure() -> Cost:
    """Both one after the other on the fake driver; raises RuntimeError when a loop ends early."""
    with tempfile.TemporaryDirectory(prefix="gpudeck-bench-") as directory:
        driver = FakeDriver(Path(directory) / "driver")
        driver.set("gpus", GPUS)
        before = dict(os.environ)
        os.environ.update(driver.env)
        try:
            minimal = _minimal()
            probe = 1000 * asyncio.run(cost(BEATS, main_thread_seconds)) / BEATS
        finally:
            os.environ.clear()
            os.environ.update(before)
    return Cost(probe, minimal)


def _minimal() -> float:
    process = subprocess.Popen([sys.executable, "-c", MINIMAL], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        _line(process.stdout.readline())
        before = main_thread_seconds(process.pid)
        for _ in range(BEATS):
            _line(process.stdout.readline())
        return 1000 * (main_thread_seconds(process.pid) - before) / BEATS
    finally:
        process.terminate()
        process.wait(timeout=10)


def _line(line: bytes) -> None:
    if not line:
        raise RuntimeError("the minimal loop ended")
