"""One event by itself: how grave it is, and what its number stands for. What it is a part of, the rules judge."""

from __future__ import annotations

import re

from backends.domain import Event, Severity
from backends.triage import xids
from backends.triage.sxids import MEANINGS, OTHER

_BRIEF = re.compile(r" -- |, | \(")
"""Where the catalogue goes on to explain."""
_MET_BY = re.compile(r"^pid=(?:'<unknown>'|\d+), name=(?:<unknown>|[^,]*)(?:, |$)")
_NO_WORDS = "reported by NVML"


def severity_of(event: Event) -> Severity | None:
    """Of an XID by NVIDIA's catalogue and of an SXID by what the switch calls it; None for any other kind."""
    if event.code is None:
        return None
    if event.kind == "sxid":
        return Severity.CRITICAL if event.fatal else MEANINGS.get(event.code, OTHER)[1]
    if event.kind != "xid":
        return None
    if event.code == xids.RECOVERY_CHANGED:
        return Severity.INFO if xids.recovery_action(event.text) == "none" else Severity.WARNING
    return xids.lookup(event.code, event.text).severity


def words_of(event: Event) -> str:
    """What is said of an event; of an XID what its code means, then the driver's own words without the process, which
    stands in `pid` and `process`."""
    if event.kind != "xid" or event.code is None:
        return event.text
    own = _MET_BY.sub("", xids.message(event.text), count=1)
    own = "" if own == _NO_WORDS else own
    meaning = _meaning(event)
    if not meaning or meaning.lower() in own.lower():
        return own or event.text
    return f"{meaning}: {own}" if own else meaning


def _meaning(event: Event) -> str:
    assert event.code is not None, "an XID has a code"
    action = xids.recovery_action(event.text) if event.code == xids.RECOVERY_CHANGED else None
    if action is not None:
        return f"the driver asks for {'nothing' if action == 'none' else action.replace('_', ' ')}"
    meaning = xids.lookup(event.code).meaning
    return "" if meaning == xids.UNKNOWN_MEANING else _BRIEF.split(meaning)[0]
