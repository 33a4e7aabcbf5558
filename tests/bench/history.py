"""What a site's histories cost: memory when they are full, CPU at 1 Hz. Each site in a process of its own."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Gpu,
    Link,
    Memory,
    Node,
    Pcie,
    Power,
    RemappedRows,
    Temperature,
    Utilization,
)
from backends.feed.gpu_history import GpuHistory

GPUS_PER_NODE = 8
SECONDS = 20
START = 1_700_000_040.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the histories of a site alone; the readings themselves are not counted."""

    mebibytes: float
    """Resident, with every minute filled."""
    budget_mebibytes: float
    hours: float
    """How far back the minutes reach."""
    cpu_percent: float
    """Of a core, with every GPU read once a second."""
    window_milliseconds: float
    """Reading an hour of one series for a chart of 220 points."""


def measure(nodes: int) -> Cost:
    """`nodes` nodes of 8 GPUs with six series each, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", __name__, str(nodes)], capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def _gpu(index: int) -> Gpu:
    return Gpu(
        index=index,
        uuid=f"GPU-01234567-89ab-cdef-0123-{index:012d}",
        utilization=Utilization(93, 41),
        memory=Memory(80 << 30, 60 << 30),
        power=Power(612.5, 700.0),
        temperature=Temperature(71, 85, 90),
        clocks=Clocks(sm_mhz=1755, max_sm_mhz=1980),
        ecc=Ecc(True, True, EccCounts(0, 0)),
        pcie=Pcie(5, 16, 5, 16, 0),
        remapped_rows=RemappedRows(0, 0),
        links=tuple(Link(n, True, 4, 26562, "switch", None, 0, 0, 0, 0) for n in range(18)),
    )


def _beat(site: list[Node], second: int) -> list[Node]:
    """The site a second later: every value that moves has moved."""
    power, busy = Power(500.0 + second % 200, 700.0), Utilization(second % 100, 41)
    return [
        replace(node, gpus=tuple(replace(gpu, power=power, utilization=busy) for gpu in node.gpus)) for node in site
    ]


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _here(nodes: int) -> Cost:
    site = [
        Node(name=f"n{number:04d}", gpus=tuple(_gpu(number * GPUS_PER_NODE + each) for each in range(GPUS_PER_NODE)))
        for number in range(nodes)
    ]
    history = GpuHistory()
    gc.collect()
    before = _resident_bytes()
    now = START
    for node in site:
        history.record_node(node.name, node, now)
    for _ in range(history.minutes + 1):  # a sample a minute fills the minutes as sixty do
        now += 60
        for node in site:
            history.record_node(node.name, node, now)
    spent = 0.0
    for second in range(SECONDS):
        beat = _beat(site, second)
        began = time.process_time()
        for node in beat:
            history.record_node(node.name, node, now + second)
        spent += time.process_time() - began
    gc.collect()
    resident = _resident_bytes() - before
    key = f"n0000/{site[0].gpus[0].key}/power"
    began = time.process_time()
    for _ in itertools.repeat(None, 50):
        history.window(key, now, 3600, 220)
    window = (time.process_time() - began) / 50
    return Cost(
        mebibytes=resident / 2**20,
        budget_mebibytes=history.budget_bytes / 2**20,
        hours=history.minutes / 60,
        cpu_percent=100 * spent / SECONDS,
        window_milliseconds=1000 * window,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_here(int(sys.argv[1])))))
