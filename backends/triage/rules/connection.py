"""Nodes that cannot be reached or read, that are slow, or whose clock is off."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

from backends.domain import Event, Evidence, Finding, NextStep, NodeReading, NodeState, Severity, Subject, plural
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, finding, of_node
from backends.triage.state import NodeView, SiteState
from backends.triage.words import duration

MIN_NODES = 4
"""A site's own clock is doubted only against so many nodes."""
FLAPS = 4
FLAP_SECONDS = 900.0
STEADY_SECONDS = 60.0
"""A connection that has held for so long no longer flaps."""
WAITING_SECONDS = 60.0
"""A node that has neither answered nor failed by then; connections are given up long before."""
SLOW_SAMPLE_MILLISECONDS = 5000.0
"""Reading all values of all GPUs takes some 100 ms; so much is a driver in trouble."""
LATE_SECONDS = 6.0
LATE_BEATS = 6
STALL_CRITICAL_SECONDS = 30.0
AHEAD_SECONDS = 10.0
BEHIND_SECONDS = 30.0
"""A node that seems behind may only have been read late: the delay of the network and of a busy console is in it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a code of a `Problem` means for the one who is called."""

    rule: str
    severity: Severity
    claim: str
    many: str
    """The claim for a good part of the site."""
    cause: str
    ssh: str | None = None
    """Options of an ssh command that shows the trouble by hand."""


_UNREACHABLE, _ACCESS, _UNREADABLE = "node-unreachable", "node-access", "node-unreadable"
_BATCH = "-o BatchMode=yes"

TROUBLES: dict[str, Trouble] = {
    "unreachable": Trouble(
        _UNREACHABLE, Severity.CRITICAL, "cannot be reached", "{count} of {total} nodes cannot be reached",
        "likely the node is down or restarting, or sshd or the network does not let this machine in", "-v",
    ),
    "connect-timeout": Trouble(
        _UNREACHABLE, Severity.CRITICAL, "does not answer", "{count} of {total} nodes do not answer",
        "likely the node is down or hangs, or the network drops the packets", "-v",
    ),
    "auth-refused": Trouble(
        _ACCESS, Severity.WARNING, "refuses the SSH key",
        "{count} of {total} nodes refuse the SSH key",
        "likely the key is not in ssh-agent or not in the node's authorized_keys", _BATCH,
    ),
    "host-key-unknown": Trouble(
        _ACCESS, Severity.WARNING, "has a host key that known_hosts does not hold",
        "{count} of {total} nodes have host keys that known_hosts does not hold",
        "likely nobody connected to it from this account before", "",
    ),
    "host-key-changed": Trouble(
        _ACCESS, Severity.WARNING, "offers another host key than known_hosts holds",
        "{count} of {total} nodes offer other host keys than known_hosts holds",
        "likely the node was installed anew; an attacker in between looks the same", "",
    ),
    "host-key-revoked": Trouble(
        _ACCESS, Severity.CRITICAL, "shows a host key that is revoked",
        "{count} of {total} nodes show host keys that are revoked",
        "likely the node still has a key that was given up; an attacker who holds it looks the same", "",
    ),
    "no-driver": Trouble(
        _UNREADABLE, Severity.CRITICAL, "has no working NVIDIA driver",
        "{count} of {total} nodes have no working NVIDIA driver",
        "likely the kernel module is not loaded, or it and the user library are of different versions", None,
    ),
    "driver-hangs": Trouble(
        _UNREADABLE, Severity.CRITICAL, "its driver hangs: NVML does not come back",
        "{count} of {total} nodes have a driver that hangs",
        "likely a GPU or its firmware (GSP) no longer answers the driver", None,
    ),
    "probe-cut": Trouble(
        _UNREADABLE, Severity.WARNING, "cuts the probe off", "{count} of {total} nodes cut the probe off",
        "likely something on the node kills it (out of memory, a limit on sessions), or the connection breaks", None,
    ),
    "probe-silent": Trouble(
        _UNREADABLE, Severity.CRITICAL, "has stopped answering the probe",
        "{count} of {total} nodes have stopped answering the probe",
        "likely the driver hangs on a sick GPU, or the node or its network does", None,
    ),
}  # fmt: skip
"""Code of a `Problem` -> what it means."""

OF_NODE = frozenset({_UNREACHABLE, _UNREADABLE, "nvml-stall"})
"""Rules whose trouble touches all work of a node."""
OF_CONNECTION = frozenset({_UNREACHABLE, _ACCESS, _UNREADABLE, "node-flapping"})
OTHER_TROUBLE = Trouble(
    _UNREADABLE,
    Severity.WARNING,
    "cannot be read",
    "{count} of {total} nodes cannot be read",
    "see the message of the console",
)


def not_read(rule: str, view: NodeView) -> Iterator[Finding]:
    """The finding of the node's present problem if that belongs to `rule`."""
    problem = view.reading.problem
    if problem is None or not is_cut(view.reading):
        return
    trouble = TROUBLES.get(problem.code, OTHER_TROUBLE)
    if trouble.rule != rule:
        return
    evidence = [Evidence(problem.message, problem.at, _way(view))]
    if view.reading.at is not None:
        evidence.append(Evidence("last reading", view.reading.at, _way(view)))
    yield finding(
        rule,
        trouble.severity,
        of_node(view),
        trouble.claim,
        problem.at,
        evidence=evidence,
        cause=trouble.cause,
        hits=hits.of_node(view.last),
        hits_known=rule == _ACCESS or hits.are_known(view.last),
        steps=_what_to_do(view, trouble, problem.hint),
        kind=problem.code,
    )


def _way(view: NodeView) -> str:
    """How the node is reached: the source of what is told of its connection."""
    return "local" if view.spec.local else "ssh"


def is_cut(reading: NodeReading) -> bool:
    """Nothing comes from the node."""
    return reading.problem is not None and reading.state in (NodeState.DOWN, NodeState.STALE)


def is_unreachable(reading: NodeReading) -> bool:
    problem = reading.problem if is_cut(reading) else None
    return problem is not None and TROUBLES.get(problem.code, OTHER_TROUBLE).rule == _UNREACHABLE


def across(told: Finding) -> str | None:
    """The claim for many nodes of which `told` is so."""
    return None if told.kind is None else TROUBLES.get(told.kind, OTHER_TROUBLE).many


def _what_to_do(view: NodeView, trouble: Trouble, hint: str) -> Iterator[NextStep]:
    if trouble.ssh is not None and not view.spec.local:
        yield steps.command("see it by hand", steps.ssh(view, trouble.ssh, "true"))
    elif trouble.rule == _UNREADABLE:
        line = "nvidia-smi" if view.spec.local else steps.ssh(view, _BATCH, "nvidia-smi")
        yield steps.command("see whether nvidia-smi answers there", line)
    if hint:
        yield steps.advice(hint)
    yield steps.open_node(view)


def unreachable(view: NodeView) -> Iterator[Finding]:
    return not_read(_UNREACHABLE, view)


def access(view: NodeView) -> Iterator[Finding]:
    return not_read(_ACCESS, view)


def unreadable(view: NodeView) -> Iterator[Finding]:
    return not_read(_UNREADABLE, view)


def waiting(view: NodeView) -> Iterator[Finding]:
    """Neither an answer nor an error since it was first asked: nothing of it has been judged."""
    if view.reading.state is not NodeState.CONNECTING:
        return
    asked_at = view.memory.asked_at
    so_long = "" if asked_at is None else f" in {duration(view.now - asked_at)}"
    yield finding(
        "node-waiting",
        Severity.WARNING,
        of_node(view),
        f"has not answered{so_long}: nothing of it was judged",
        view.now if asked_at is None else asked_at,
        evidence=[Evidence("first asked", asked_at, _way(view))],
        cause="likely a network that drops the packets, or a node that hangs",
        steps=[
            *(() if view.spec.local else (steps.command("see it by hand", steps.ssh(view, "-v", "true")),)),
            steps.open_node(view),
        ],
    )


def closed_log(view: NodeView) -> Iterator[Finding]:
    """XIDs from before gpudeck looked are in the kernel log alone."""
    if view.node is None or not view.node.gpus or open_logs(view):
        return
    seen = "those from now on are told by the driver" if view.node.transport == "nvml" else "no XID is seen there"
    yield finding(
        "kernel-log",
        Severity.INFO,
        of_node(view),
        "its kernel log is closed: past XIDs are unseen",
        view.now,
        evidence=[Evidence(f"neither /dev/kmsg nor the kernel's journal could be read; {seen}", None, "host")],
        cause="likely this login has no right to the kernel log",
        steps=[
            steps.advice(f"on {view.name}: put the login into the group systemd-journal (or adm), then connect anew"),
            steps.open_node(view),
        ],
    )


def open_logs(view: NodeView) -> int:
    return int(view.node is not None and view.node.kernel_log is not None)


def stalled(view: NodeView) -> Iterator[Finding]:
    """NVML holds a call of a node that answers: the values stand still."""
    last = view.last
    if view.reading.state is not NodeState.LIVE or last is None or last.stall is None:
        return
    stall = last.stall
    gpu = next((gpu for gpu in last.gpus if gpu.index == stall.gpu_index), None)
    subject = of_node(view) if gpu is None else Subject(view.name, gpu.key, gpu.index)
    held = "" if stall.seconds is None else f" for {duration(stall.seconds)}"
    yield finding(
        "nvml-stall",
        Severity.CRITICAL if (stall.seconds or 0.0) >= STALL_CRITICAL_SECONDS else Severity.WARNING,
        subject,
        "the driver hangs: NVML does not come back",
        view.now if view.reading.at is None else view.reading.at,
        evidence=[Evidence(f"{stall.call or 'a call'} has been held{held}", None, "nvml")],
        cause="likely the GPU or its firmware (GSP) no longer answers the driver",
        hits=hits.of_node(last) if gpu is None else hits.of_gpu(gpu),
        hits_known=hits.are_known(last) if gpu is None else gpu.processes is not None,
        steps=[steps.kernel_log(view), steps.drain(view), *steps.reboot(view), steps.open_node(view)],
    )


def slow(view: NodeView) -> Iterator[Finding]:
    """Beats that come late, and samples that take long."""
    if view.reading.state is not NodeState.LIVE or view.last is None or view.last.stall is not None:
        return
    age = view.reading.age(view.now)
    beats = LATE_BEATS if view.last.transport == "nvml" else LATE_BEATS * 10
    if age is not None and age > max(LATE_SECONDS, beats * view.site.fast_seconds):
        yield finding(
            "node-slow",
            Severity.INFO,
            of_node(view),
            f"has sent nothing for {duration(age)}",
            view.now - age,
            evidence=[Evidence("last reading", view.reading.at, _way(view))],
            cause="likely the node or the network to it is overloaded",
            steps=[steps.open_node(view)],
        )
        return
    took = view.last.probe.sample_milliseconds
    if took is not None and took > SLOW_SAMPLE_MILLISECONDS:
        yield finding(
            "node-slow",
            Severity.WARNING,
            of_node(view),
            f"NVML takes {took / 1000:.0f} s for one sample",
            view.now,
            evidence=[Evidence(f"the last full sample of all GPUs took {took:.0f} ms", None, "nvml")],
            cause="likely a GPU that answers late, or a node without CPU time to spare",
            steps=[steps.open_node(view), steps.kernel_log(view)],
        )


def silent_across(told: Finding) -> str | None:
    """Many silent nodes are one trouble; a slow NVML is each node's own."""
    return "{count} of {total} nodes have sent nothing for a while" if told.severity is Severity.INFO else None


def flapping(view: NodeView) -> Iterator[Finding]:
    """A connection that breaks again and again, although the node answers in between."""
    lost = [event for event in view.events if event.kind == "disconnected" and view.now - event.at <= FLAP_SECONDS]
    if len(lost) < FLAPS or view.now - lost[-1].at > STEADY_SECONDS:
        return
    yield finding(
        "node-flapping",
        Severity.WARNING,
        of_node(view),
        f"was lost {len(lost)} times within {duration(FLAP_SECONDS)}",
        lost[0].at,
        evidence=[Evidence(event.text, event.at, _way(view)) for event in lost[-4:] if not _is_told(view, event)],
        cause="likely the network, or something on the node that ends the probe",
        steps=[steps.open_events(), steps.open_node(view)],
        source=GPUDECK,
    )


def _is_told(view: NodeView, event: Event) -> bool:
    """The finding of the node's present problem tells it."""
    problem = view.reading.problem if is_cut(view.reading) else None
    return problem is not None and event.text == problem.message and abs(event.at - problem.at) < 1.0


def by_time(told: Finding) -> Finding:
    """With what was seen of the connection oldest first, wherever it comes from; other findings as they are."""
    if told.rule not in OF_CONNECTION:
        return told
    return replace(told, evidence=tuple(sorted(told.evidence, key=lambda each: each.at or 0.0)))


def fallback(view: NodeView) -> Iterator[Finding]:
    if view.node is None or view.node.transport != "nvidia-smi":
        return
    yield finding(
        "fallback-transport",
        Severity.INFO,
        of_node(view),
        "is read by nvidia-smi only: no XIDs, no links, a slower beat",
        view.now,
        evidence=[Evidence(view.node.transport_note, None, _way(view))] if view.node.transport_note else (),
        cause="likely no python3 (3.6 or later) is installed there",
        steps=[steps.advice(f"install python3 on {view.name}"), steps.open_node(view)],
    )


def clock_skew(state: SiteState) -> Iterator[Finding]:
    """Clocks that differ from this machine's; when nearly all differ alike, it is this machine's that is off."""
    skews = [(view, skew) for view in state.views if view.node and (skew := view.node.clock_skew_seconds) is not None]
    common = 0.0
    if len(skews) >= MIN_NODES:
        median = statistics.median(skew for _, skew in skews)
        alike = sum(abs(skew - median) < AHEAD_SECONDS / 2 for _, skew in skews)
        if _is_off(median) and alike >= 0.75 * len(skews):
            common = median
            yield _own_clock(state, median, alike, len(skews))
    for view, skew in skews:
        if _is_off(skew - common):
            yield _node_clock(view, skew)


def _is_off(skew: float) -> bool:
    return skew >= AHEAD_SECONDS or skew <= -BEHIND_SECONDS


def _own_clock(state: SiteState, skew: float, alike: int, total: int) -> Finding:
    return finding(
        "clock-skew",
        Severity.WARNING,
        Subject(),
        f"this machine's clock is {duration(abs(skew))} {'behind' if skew > 0 else 'ahead of'} its nodes",
        state.now,
        evidence=[Evidence(f"{alike} of {plural(total, 'node')} agree among themselves", None, "peers")],
        cause="likely time synchronisation does not run on this machine",
        steps=[steps.command("on this machine: see whether the clock is synchronised", "timedatectl")],
    )


def _node_clock(view: NodeView, skew: float) -> Finding:
    return finding(
        "clock-skew",
        Severity.WARNING,
        of_node(view),
        f"its clock is {duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}",
        view.now,
        evidence=[Evidence(f"clock minus this machine's clock: {skew:+.1f} s", None, _way(view))],
        cause="likely time synchronisation does not run there: logs and tickets of that node carry wrong times",
        steps=[
            steps.command(f"on {view.name}: see whether the clock is synchronised", "timedatectl; chronyc tracking"),
            steps.open_node(view),
        ],
    )
