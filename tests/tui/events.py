"""Events for the tests of the event log: what a bad night leaves."""

from __future__ import annotations

from backends.domain import Event
from tests.tui.fleets import NOW

YESTERDAY = Event(
    NOW - 90_000,
    "dgx02",
    "xid",
    "pid=4242, name=python, Ch 00000010, intr 00000000. MMU Fault: ENGINE GRAPHICS",
    1,
    "GPU-dgx02-1",
    code=31,
    source="kernel",
    pid=4242,
    process="python",
)
CONNECTED = Event(NOW - 4_000, "dgx01", "connected", "read through nvml", source="console")
LOST = Event(NOW - 300, "dgx01", "gpu_lost", "NVML: GPU is lost", 2, "GPU-lost", "00000000:9B:00.0", source="nvml")
FELL = Event(NOW - 290, "dgx01", "xid", "GPU has fallen off the bus", 2, "GPU-lost", code=79, source="kernel")
STALE = Event(NOW - 240, "dgx07", "disconnected", "connection refused by 192.0.2.7", source="console")
DOWN = Event(NOW - 30, "dgx08", "down", "connection refused by 192.0.2.7", source="console")

CHANGED = Event(
    NOW - 200,
    "dgx01",
    "change_failed",
    "failed at step 2 of 4: MIG layout of dgx01 gpu2: 3g.40gb, by bob@head02: no room",
    2,
    "GPU-dgx01-2",
    source="journal",
    who="bob@head02",
    change="20231114T221320.000-aaaa",
)
"""Of another console; not a part of the night."""

NIGHT = (YESTERDAY, CONNECTED, LOST, FELL, STALE, DOWN)
"""Oldest first, as a site keeps them."""
