"""How every list of events names one: its sign, its name, and what happened. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.domain import short_bus_id
from backends.triage.events import severity_of, words_of
from screens.condition import Condition
from tui.widgets.glyphs import SEVERITIES

if TYPE_CHECKING:
    from backends.domain import Event

CHANGE = "change"
SHOWN: dict[str, Condition] = {
    "xid": Condition("warn", "xid"),
    "sxid": Condition("warn", "sxid"),
    "gpu_lost": Condition("bad", "lost"),
    "gpu_back": Condition("good", "back"),
    "ecc_double_bit": Condition("bad", "ecc"),
    "connected": Condition("good", "live"),
    "disconnected": Condition("stale", "stale"),
    "down": Condition("bad", "down"),
    "stalled": Condition("bad", "stall"),
    "resumed": Condition("good", "resume"),
    "change_begun": Condition("accent", CHANGE),
    "change_failed": Condition("bad", CHANGE),
    "change_stopped": Condition("warn", CHANGE),
    "change_cut_off": Condition("bad", CHANGE),
    "change_done": Condition("good", CHANGE),
    "change_undone": Condition("good", CHANGE),
    "change_abandoned": Condition("warn", CHANGE),
}
"""The words are those that the fleet has for the same state. An XID and an SXID are as grave as their code."""


def word_of(kind: str) -> str:
    """A kind of event in at most six letters."""
    return SHOWN[kind].word if kind in SHOWN else kind[:6]


def condition_of(event: Event) -> Condition:
    severity = severity_of(event)
    style = SHOWN[event.kind].style if event.kind in SHOWN else ""
    return Condition(style if severity is None else SEVERITIES[severity][0], word_of(event.kind))


def name_of(event: Event) -> str:
    """`XID 79`, `SXID 20034`, `gpu lost`."""
    if event.kind in ("xid", "sxid"):
        return event.kind.upper() + ("" if event.code is None else f" {event.code}")
    return event.kind.replace("_", " ")


def what(event: Event) -> str:
    """What happened, before it how many the event stands for and where on a switch or a GPU it was, behind it to which
    process."""
    switch = f"{short_bus_id(event.pci_bus_id)} " if event.kind == "sxid" and event.pci_bus_id else ""
    fatal = {True: "fatal: ", False: "non-fatal: "}.get(event.fatal, "") if event.fatal is not None else ""
    instance = "" if event.gi is None else f"GI {event.gi}{'' if event.ci is None else f' CI {event.ci}'}: "
    times = f"{event.count:,} times: " if event.count > 1 else ""
    return f"{times}{switch}{fatal}{instance}{words_of(event)}{_met_by(event)}"


def runs(events: Iterable[Event]) -> list[Event]:
    """`events`, oldest first, as the newest of each run of one name about one device, which stands for all of it."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if last is None or event.code is None or _run(last) != _run(event):
            found.append(event)
            continue
        begun = last.at if last.first_at is None else last.first_at
        found[-1] = replace(event, count=last.count + event.count, first_at=begun)
    return found


def _run(event: Event) -> tuple[object, ...]:
    return event.kind, event.code, event.device, event.gi, event.ci, event.fatal, event.pid


def _met_by(event: Event) -> str:
    if event.kind != "xid" or event.pid is None:
        return ""
    return f" (pid {event.pid})" if event.process is None else f" ({event.process}, pid {event.pid})"
