"""SXIDs, the errors of NVSwitches: what a number means, and how grave it is (NVIDIA Fabric Manager user guide)."""

from __future__ import annotations

from backends.domain import Severity

MEANINGS: dict[int, tuple[str, Severity]] = {
    10004: ("it gets too hot", Severity.WARNING),
    11001: ("it met an invalid command", Severity.WARNING),
    20034: ("a link of it went down", Severity.WARNING),
}
"""SXID -> what it means, and how grave it is where the line does not call it fatal."""
OTHER = ("see the lines", Severity.INFO)
