"""One event by itself: how grave it is and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.domain import Event, Severity
from backends.triage.events import severity_of, words_of
from tests.triage.makers import NOW

XID = Event(NOW, "dgx01", "xid", "GPU has fallen off the bus.", code=79, source="kernel")
ASKED = "GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)"


@pytest.mark.parametrize(
    ("event", "severity"),
    [
        (XID, Severity.CRITICAL),
        (replace(XID, code=48), Severity.CRITICAL),
        (replace(XID, code=94), Severity.WARNING),
        (replace(XID, code=43), Severity.INFO),
        (replace(XID, code=45), Severity.INFO),
        (replace(XID, code=999), Severity.WARNING),
        (replace(XID, code=None), None),
        (replace(XID, code=154, text=ASKED), Severity.WARNING),
        (replace(XID, code=154, text=ASKED.replace("0x2 (Node Reboot Required)", "0x0 (None)")), Severity.INFO),
        (replace(XID, kind="sxid", code=20034, fatal=True), Severity.CRITICAL),
        (replace(XID, kind="sxid", code=20034, fatal=False), Severity.WARNING),
        (replace(XID, kind="sxid", code=20034), Severity.WARNING),
        (replace(XID, kind="sxid", code=12345, fatal=False), Severity.INFO),
        (replace(XID, kind="connected", code=None), None),
        (replace(XID, kind="later", code=79), None),
    ],
)
def test_an_event_is_as_grave_as_its_code(event: Event, severity: Severity | None) -> None:
    assert severity_of(event) is severity


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (79, "GPU has fallen off the bus.", "GPU has fallen off the bus."),
        (79, "reported by NVML", "GPU has fallen off the bus"),
        (79, "", "GPU has fallen off the bus"),
        (48, "pid='<unknown>', name=<unknown>, DBE in partition 4", "Double Bit ECC Error: DBE in partition 4"),
        (43, "pid=41277, name=python, Ch 00000008", "GPU stopped processing: Ch 00000008"),
        (45, "pid=7, name=nv a, Ch 00000008", "Preemptive cleanup: Ch 00000008"),
        (31, "pid=7, name=python", "GPU memory page fault"),
        (62, "PMU Halt", "Internal micro-controller halt: PMU Halt"),
        (999, "pid=7, name=python, no one knows", "no one knows"),
        (999, "reported by NVML", "reported by NVML"),
        (154, ASKED, f"the driver asks for node reboot: {ASKED}"),
        (13, "SM Warp, pid=3, name=x, y", "Graphics Engine Exception: SM Warp, pid=3, name=x, y"),
    ],
)
def test_an_xid_says_what_it_means_and_then_the_drivers_words_without_the_process(
    code: int, text: str, words: str
) -> None:
    assert words_of(replace(XID, code=code, text=text)) == words


def test_other_events_say_what_was_told() -> None:
    assert words_of(replace(XID, kind="sxid", text="pid=3, name=x, Link 30")) == "pid=3, name=x, Link 30"
    assert words_of(replace(XID, kind="gpu_lost", code=None, text="NVML: GPU is lost")) == "NVML: GPU is lost"
