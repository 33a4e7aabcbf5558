"""SXids: what the driver of the NVSwitches wrote into the kernel log.

A switch serves all GPUs of its machine, so what one reports is told of the node. A fatal one ends the work over the
switch until the fabric is started anew: with a reset of all GPUs and switches together, or with a reboot.
"""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Event, Evidence, Finding, NextStep, Severity, plural, short_bus_id
from backends.triage import hits, steps
from backends.triage.rule import finding, of_node
from backends.triage.state import NodeView
from backends.triage.sxids import MEANINGS, OTHER
from backends.triage.words import ranges

FATAL_SECONDS = 86_400.0
NON_FATAL_SECONDS = 3600.0
"""What ended nothing is news for this long."""
EVIDENCE_KEPT = 8
SOURCE = "NVIDIA Fabric Manager user guide"


def told(view: NodeView) -> Iterator[Finding]:
    booted = view.booted_at or 0.0
    events = [event for event in view.events if event.kind == "sxid" and event.code is not None and event.at >= booted]
    if not events:
        return
    fatal_codes = {(event.device, event.code) for event in events if event.fatal}
    # The registers of a fatal one are lines of their own, and those do not say how grave it is.
    fatal = [event for event in events if event.fatal or (event.fatal is None and _name(event) in fatal_codes)]
    other = [event for event in events if event not in fatal]
    if fatal and view.now - fatal[-1].at <= FATAL_SECONDS:
        yield _finding(view, "sxid-fatal", Severity.CRITICAL, fatal)
    if other and view.now - other[-1].at <= NON_FATAL_SECONDS:
        worst = max((_meaning(event)[1] for event in other), key=lambda severity: severity.rank)
        yield _finding(view, "sxid-nonfatal", worst, other)


def switched(view: NodeView) -> int:
    """Nodes with NVSwitches whose kernel log is read: nothing else tells of SXids."""
    if view.node is None or view.node.kernel_log is None:
        return 0
    return int(any(link.remote_kind == "switch" for gpu in view.gpus for link in gpu.links or ()))


def _finding(view: NodeView, rule: str, severity: Severity, events: list[Event]) -> Finding:
    first = next((event for event in events if event.code in MEANINGS), events[0])
    count = sum(event.count for event in events)
    links = ranges({event.link for event in events if event.link is not None})
    meaning = _meaning(first)[0]
    grave = "fatal error" if severity is Severity.CRITICAL else "error"
    claim = f"NVSwitch {grave} (SXID {first.code}): {meaning}"
    switches = sorted({short_bus_id(event.pci_bus_id) for event in events if event.pci_bus_id})
    where = f"{plural(len(switches), 'switch', 'switches')}: {', '.join(switches)}"
    evidence = [Evidence(f"SXID {event.code}: {event.text}", event.at, "kernel log") for event in events]
    evidence = [*evidence[: EVIDENCE_KEPT - 2], Evidence(where, None, "kernel log")]
    if links:
        evidence.append(Evidence(f"ports of the switch: {links}; {plural(count, 'line')} in all", None, "kernel log"))
    return finding(
        rule,
        severity,
        of_node(view),
        claim,
        events[0].at,
        evidence=evidence,
        cause="likely a port, a cable or the switch itself; or the GPU at the other end, if that failed first",
        hits=hits.of_node(view.last) if severity is Severity.CRITICAL else (),
        steps=_what_to_do(view, severity),
        source=SOURCE,
        magnitude=float(count),
    )


def _what_to_do(view: NodeView, severity: Severity) -> list[NextStep]:
    if severity is not Severity.CRITICAL:
        return [steps.fabric_manager(view), steps.open_events(), steps.open_node(view, "topology")]
    return [
        steps.drain(view),
        steps.fabric_manager(view),
        steps.bug_report(view),
        steps.reset_all(view),
        *steps.reboot(view),
        steps.advice("does it return on the same port? then it is for the vendor"),
        steps.open_node(view, "topology"),
    ]


def _name(event: Event) -> tuple[str | None, int | None]:
    return (event.device, event.code)


def _meaning(event: Event) -> tuple[str, Severity]:
    return MEANINGS.get(event.code or 0, OTHER)
