"""XIDs: what the driver wrote into the kernel log, sorted into causes and what follows from them.

XIDs of one GPU that come close together are one incident. It is told by the one that comes first in the triage order;
the others are its evidence. An incident ends with the boot of the node, when the GPU's own state shows that it is over,
or after a time that depends on what NVIDIA asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from backends.domain import Earlier, Event, Evidence, Finding, Gpu, Hit, NextStep, NodeState, Severity, Subject, plural
from backends.triage import hits, instances, steps, xids
from backends.triage.rule import finding, of_gpu, of_node
from backends.triage.rules.recovery import CLAIMS
from backends.triage.state import NodeView

INCIDENT_SECONDS = 120.0
"""An XID this soon after another on the same GPU belongs to the same incident."""
SETTLED_SECONDS = 30.0
"""So long an XID is told whatever its GPU shows then; after that by the values that were read behind it."""
APP_SECONDS = 3600.0
"""An application's fault is news for this long."""
ASKS_NOTHING_SECONDS = 3600.0
"""How long an XID is told although the driver asks for no recovery."""
LASTS_SECONDS = 86_400.0
EVIDENCE_KEPT = 8

_BRIEF_ACTIONS = frozenset({"RESTART_APP", "IGNORE", "WORKFLOW_XID_13", "WORKFLOW_XID_31", "WORKFLOW_XID_45"})


def _no_uncorrected(gpu: Gpu) -> bool:
    return gpu.ecc.volatile.uncorrected == 0


def _no_remap_open(gpu: Gpu) -> bool:
    return gpu.remapped_rows.pending is False and gpu.remapped_rows.failed is False


def _nothing_to_replace(gpu: Gpu) -> bool:
    """Boards before Ampere retire pages, and remap no rows."""
    pending = gpu.retired_pages.pending
    return _no_remap_open(gpu) if pending is None else not pending


OVER: dict[int, Callable[[Gpu], bool]] = {
    79: lambda gpu: not gpu.lost,
    48: _no_uncorrected,
    94: _no_uncorrected,
    95: _no_uncorrected,
    140: _no_uncorrected,
    171: _no_uncorrected,
    172: _no_uncorrected,
    63: _nothing_to_replace,
    64: _no_remap_open,
    xids.RECOVERY_CHANGED: lambda gpu: gpu.recovery_action == "none",
}
"""Code -> whether the GPU's present state shows that it was dealt with: the volatile ECC counts start anew with the
driver or a reset, a remap is no longer pending after one; what the driver asks for is read."""

STATE_TELLS = frozenset(OVER)

CAUSES: dict[int, str] = {
    46: "likely the GPU hangs: its engines make no progress",
    48: "likely a memory cell that failed",
    54: "likely a power cable that is loose or missing",
    62: "likely the GPU's own power management crashed",
    63: "likely a memory cell that failed; its row is replaced at the next reset",
    64: "likely no spare rows are left in that bank of memory",
    74: "likely one end of the link, or the bridge, cable or switch between",
    79: "likely its PCIe link, its power or its heat: look what came just before",
    94: "likely a memory cell that failed; only the process that read it was ended",
    95: "likely a memory cell that failed; what ran on the GPU may have gone on with wrong data",
    109: "likely a program or the driver that holds the GPU",
    119: "likely the GPU's firmware (GSP) hangs",
    120: "likely the GPU's firmware (GSP) crashed",
    136: "likely one end of the link, or the bridge, cable or switch between",
    143: "likely the GPU did not come up after a reset or a reboot",
    167: "likely the GPU's PCIe link or slot",
}
"""Where the code alone makes a cause likely."""


def told(view: NodeView) -> Iterator[Finding]:
    if view.reading.state is NodeState.CONNECTING:
        return  # the first reading, which says which GPUs they are about, is on its way
    booted = view.booted_at or 0.0
    by_gpu: dict[str | None, list[Event]] = {}
    gpus: dict[str | None, Gpu | None] = {}
    for event in view.events:
        if event.kind != "xid" or event.code is None or event.at < booted or view.now - event.at > LASTS_SECONDS:
            continue
        gpu = view.gpu_of(event)
        key = gpu.key if gpu is not None else event.pci_bus_id
        gpus[key] = gpu
        if xids.recovery_action(event.text) == "none" and event.code == xids.RECOVERY_CHANGED:
            # The driver itself says that what was before is dealt with; an application's fault stays news.
            by_gpu[key] = [each for each in by_gpu.get(key, ()) if _is_app_fault(each)]
        else:
            by_gpu.setdefault(key, []).append(event)
    for key, events in by_gpu.items():
        yield from _of_gpu(view, gpus[key], events)


def _is_app_fault(event: Event) -> bool:
    return xids.lookup(event.code or 0, event.text).is_app_fault


def xid_subjects(view: NodeView) -> int:
    """GPUs whose XIDs can be seen: the kernel log may be read. Without it only those since gpudeck looks are told."""
    return 0 if view.node is None or view.node.kernel_log is None else len(view.node.gpus)


def _of_gpu(view: NodeView, gpu: Gpu | None, events: list[Event]) -> Iterator[Finding]:
    """One finding for each head code: incidents that repeat are one."""
    lasting: dict[int, list[list[Event]]] = {}
    for incident in _incidents(events):
        head = _head(incident)
        if _lasts(view, gpu, head, incident):
            lasting.setdefault(head.code or 0, []).append(incident)
    for code, incidents in lasting.items():
        yield _finding(view, gpu, code, incidents)


def _incidents(events: Sequence[Event]) -> list[list[Event]]:
    found: list[list[Event]] = []
    for event in events:
        if found and event.begun_at - found[-1][-1].at <= INCIDENT_SECONDS:
            found[-1].append(event)
        else:
            found.append([event])
    return found


def _head(incident: list[Event]) -> Event:
    return min(incident, key=_order)


def _order(event: Event) -> tuple[int, int]:
    code = event.code or 0
    if _wish([event]) is not None:
        # More than the fault of an application, and told by what it came with where that is more than such a fault.
        return (-Severity.WARNING.rank, len(xids.TRIAGE_ORDER))
    place = xids.TRIAGE_ORDER.index(code) if code in xids.TRIAGE_ORDER else len(xids.TRIAGE_ORDER)
    return (-xids.lookup(code, event.text).severity.rank, place)


def _wish(incident: Iterable[Event]) -> str | None:
    """What the driver asked for last, in the words of `Gpu.recovery_action`; None where it asked for nothing."""
    told = [event.text for event in incident if event.code == xids.RECOVERY_CHANGED]
    action = xids.recovery_action(told[-1]) if told else None
    return None if action == "none" else action


def _asks_nothing(view: NodeView, gpu: Gpu | None, incident: Sequence[Event]) -> bool:
    """The driver itself, asked behind the incident, says that the GPU needs no recovery."""
    answers = gpu is not None and not gpu.lost and gpu.recovery_action == "none"
    return answers and view.shows_since(incident[-1].at)


def _lasts(view: NodeView, gpu: Gpu | None, head: Event, incident: list[Event]) -> bool:
    age = view.now - incident[-1].at
    code = head.code or 0
    if age > SETTLED_SECONDS and gpu is not None and not gpu.lost and view.shows_since(incident[-1].at):
        over = OVER.get(code)
        if over is not None and over(gpu):
            return False
    xid = xids.lookup(code, head.text)
    if xid.is_app_fault or (xid.action in _BRIEF_ACTIONS and xid.code not in STATE_TELLS):
        return age <= APP_SECONDS
    if xid.code not in STATE_TELLS and _asks_nothing(view, gpu, incident):
        return age <= ASKS_NOTHING_SECONDS
    return age <= LASTS_SECONDS


def _finding(view: NodeView, gpu: Gpu | None, code: int, incidents: list[list[Event]]) -> Finding:
    heads = [event for incident in incidents for event in incident if event.code == code]
    newest = incidents[-1]
    xid = xids.lookup(code, heads[-1].text)
    subject = of_node(view) if gpu is None else of_gpu(view, gpu)
    return finding(
        f"xid-{code}",
        _severity(view, gpu, xid, newest),
        subject if gpu is not None else Subject(view.name),
        _claim(xid, _many(heads), instances.within(gpu, heads), _wish(heads)),
        heads[0].begun_at,
        evidence=_evidence(gpu, code, incidents),
        cause=_cause(xid, newest),
        hits=victims(view, gpu, heads) if xid.hits_one_process else hits.of_gpu(gpu),
        steps=_what_to_do(view, gpu, xid, newest),
        source=xids.CATALOGUE,
        magnitude=None if xid.is_app_fault else float(_many(heads)),
        again_at=newest[0].begun_at if len(incidents) > 1 else None,
        earlier=[Earlier(incident[0].begun_at, incident[-1].at) for incident in incidents[:-1]],
        more="" if gpu is not None else (heads[-1].pci_bus_id or ""),
    )


def _many(events: Iterable[Event]) -> int:
    """How many XIDs they stand for."""
    return sum(event.count for event in events)


def victims(view: NodeView, gpu: Gpu | None, events: Sequence[Event]) -> tuple[Hit, ...]:
    """Whose work `events` of one code ended, which touch no other process on the GPU."""
    skew = 0.0 if view.last is None else view.last.clock_skew_seconds or 0.0
    return hits.of_xid(gpu, events, events[-1].at + skew)


def _severity(view: NodeView, gpu: Gpu | None, xid: xids.Xid, newest: list[Event]) -> Severity:
    """The table's; one step less where the driver, asked after the XID, wants nothing done. What it asks for itself
    outranks the table."""
    wish = _wish(newest)
    table = Severity.WARNING if xid.code == xids.RECOVERY_CHANGED else xid.severity
    if wish is not None and not _asks_nothing(view, gpu, newest):
        asked = CLAIMS[wish][0] if wish in CLAIMS else Severity.WARNING
        return max(table, asked, key=lambda each: each.rank)
    settled = view.now - newest[-1].at > SETTLED_SECONDS and xid.code not in STATE_TELLS
    if table is Severity.CRITICAL and settled and _asks_nothing(view, gpu, newest):
        return Severity.WARNING
    return table


def _claim(xid: xids.Xid, count: int, within: str, wish: str | None) -> str:
    if wish is not None:
        return f"XID {xid.code}: {CLAIMS[wish][1] if wish in CLAIMS else f'the driver asks for {wish}'}"
    times = "" if count == 1 else f", {plural(count, 'time')}"
    return f"XID {xid.code}{within}: {xid.meaning}{times}"


def together(told: Finding) -> str:
    """The claim for several GPUs, of which `told` is one: how often and in which instance is each one's own."""
    code = int(told.rule.rpartition("-")[2])
    if code == xids.RECOVERY_CHANGED:
        return "{count} of {total} GPUs need recovery, says the driver (XID 154)"
    return f"{{count}} of {{total}} GPUs have XID {code}: {xids.lookup(code).meaning}"


def _evidence(gpu: Gpu | None, code: int, incidents: list[list[Event]]) -> list[Evidence]:
    """The newest incident line by line, a run of one code once; older incidents by their time."""
    lines = [
        Evidence(f"XID {code} before, {plural(_many(incident), 'line')}", incident[0].at, "kernel log")
        for incident in incidents[:-1][-3:]
    ]
    by_code: dict[int | None, list[Event]] = {}
    for event in incidents[-1]:
        by_code.setdefault(event.code, []).append(event)
    for event, *more in by_code.values():
        meaning = xids.lookup(event.code or 0, event.text).meaning
        count, within = _many((event, *more)), instances.within(gpu, (event, *more))
        many = f" ({plural(count, 'time')})" if count > 1 else ""
        said = xids.message(event.text) if event.text and event.source != "nvml" else meaning
        source = "nvml" if event.source == "nvml" else "kernel log"
        lines.append(Evidence(f"XID {event.code}{within}{many}: {said}", event.at, source))
    if incidents[-1][-1].at - incidents[-1][0].at >= 1.0:
        lines.append(Evidence("the last XID of this incident", incidents[-1][-1].at, "kernel log"))
    return lines[:EVIDENCE_KEPT]


def _cause(xid: xids.Xid, newest: list[Event]) -> str | None:
    if xid.code == 45 and len({event.code for event in newest}) == 1:
        return "likely a process that was killed or ended while it worked on the GPU; no other XID explains it"
    if xid.is_app_fault:
        pids = {event.pid for event in newest if event.pid is not None}
        if len(pids) > 2:
            return f"likely the application; {len(pids)} processes met it: if they are unrelated, suspect the GPU"
        return "likely the application, not the GPU"
    return CAUSES.get(xid.code)


def _what_to_do(view: NodeView, gpu: Gpu | None, xid: xids.Xid, newest: list[Event]) -> list[NextStep]:
    wish = _wish(newest)
    todo: list[NextStep] = []
    if wish is not None and gpu is not None:
        todo += steps.recovery(view, gpu, wish)
    elif xid.action_text is not None:
        todo.append(steps.advice(f"NVIDIA: {xid.action_text}"))
        if not _asks_nothing(view, gpu, newest) or xid.severity is Severity.CRITICAL:
            todo += steps.by_catalogue(view, gpu, xid.action)
    else:
        todo.append(steps.advice("NVIDIA's catalogue names no action for it"))
        todo.append(steps.bug_report(view))
    if xid.note is not None:
        todo.append(steps.advice(xid.note))
    if gpu is None:
        todo.append(steps.open_events())
    else:
        todo.append(steps.open_gpu(view, gpu, "mig" if instances.named(newest) else None))
    return todo
