"""What is wrong, why, whom it hits and what to do next: the values of triage."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Ordered by `rank`: the greater, the worse."""

    CRITICAL = "critical"
    """Work is lost or wrong now, or will be."""
    WARNING = "warning"
    """Degraded, or will fail; to be looked at today."""
    INFO = "info"
    """Worth knowing; nobody need get up for it."""

    @property
    def rank(self) -> int:
        return {"critical": 2, "warning": 1, "info": 0}[self.value]

    @property
    def word(self) -> str:
        """As people are told: `note` for what documents call `info`."""
        return "note" if self is Severity.INFO else self.value


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about: a GPU of a node, a node, or the site (all None)."""

    node: str | None = None
    gpu_key: str | None = None
    """`Gpu.key`"""
    gpu_index: int | None = None

    @property
    def label(self) -> str:
        """`dgx07 gpu3`, `dgx07`, `site`."""
        if self.node is None:
            return "site"
        return self.node if self.gpu_index is None else f"{self.node} gpu{self.gpu_index}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observed fact: a value with what it was compared with, or a line of a log with its time."""

    text: str
    at: float | None = None
    """Seconds since the epoch; None for a value as it is now."""
    source: str | None = None
    """nvml, kernel log, peers, ssh, host."""


READ_LOG = "read its log"
"""The text of a step that the console does too: it shows the log."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """Something to do about it."""

    kind: str
    """screen (the console goes there), command (to run by hand), change (a Change the console can do)."""
    text: str
    """One line for a person."""
    target: str = ""
    """screen: `node/gpu-key`, `events`, ...; command: the exact command line; change: gpudeck's own command line."""

    @property
    def is_ours(self) -> bool:
        """It is a command line of gpudeck."""
        return self.target.startswith("gpudeck ")


@dataclass(frozen=True, slots=True)
class Hit:
    """A workload that the trouble touches: a pod or container of the platform where it is known, else processes."""

    text: str
    """One line: user, command, memory; or what is known of it."""
    user: str | None = None
    pid: int | None = None
    """None where the line stands for several processes."""
    container_id: str | None = None
    command: str | None = None
    memory_bytes: int | None = None
    """GPU memory of all its processes together."""
    processes: int = 1
    """0: it holds GPUs and runs nothing on them."""
    workload: str | None = None
    """`team-search/llama-70b-0`; None where the platform does not know it, or there is none."""
    owner: str | None = None
    """`Deployment llama-70b`: what a person deployed."""
    is_named: bool = False
    """The driver itself named the process; else it is what ran there."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    who: str
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """A time before the present one, in which the same was so; seconds since the epoch."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause. What follows from it is folded in, not told again."""

    id: str
    """Stable over readings and restarts: rule, node and GPU, as `gpu-lost:dgx07:GPU-...`."""
    rule: str
    severity: Severity
    subject: Subject
    claim: str
    """One line that can be read aloud: what is so."""
    since: float
    """When it was first seen, seconds since the epoch; from the evidence where that knows better."""
    kind: str | None = None
    """Which of its rule's troubles it is, where those are told apart beyond the claim: `connect-timeout`."""
    evidence: tuple[Evidence, ...] = ()
    cause: str | None = None
    """The likely cause, worded as likely."""
    hits: tuple[Hit, ...] = ()
    hits_known: bool = True
    """False: what ran there was never read, and cannot be read now; `hits` are not all, none is not nobody."""
    steps: tuple[NextStep, ...] = ()
    advice_source: str | None = None
    """Who says so: `NVIDIA XID catalogue`, `nvml.h`, `gpudeck: peers`."""
    folded: tuple[str, ...] = ()
    """Claims of the findings that follow from this one."""
    others: tuple[Subject, ...] = ()
    """The other GPUs of its node that those findings are about."""
    recovered_at: float | None = None
    """When it was last no longer seen; None while it lasts."""
    closed_as: str | None = None
    """What became of it, where it did not recover: `abandoned`."""
    acknowledged: Acknowledgement | None = None
    magnitude: float | None = None
    """How much of it, in the rule's own unit (errors, links): an acknowledged finding that grew is open again."""
    again_at: float | None = None
    """When it last began anew, of what happens again and again; None: `since` is its only beginning."""
    earlier: tuple[Earlier, ...] = ()
    """When it was so before, oldest first; bounded in number and to a day."""
    gone_at: float | None = None
    """Since when it is no longer so, of what is not yet counted as recovered; None while it is so."""
    settles_at: float | None = None
    """When it counts as recovered, if it stays gone."""
    unseen_since: float | None = None
    """When its subject was last looked at, of what nobody can tell now; None while it is looked at."""

    @property
    def begun_at(self) -> float:
        """When it began for the last time."""
        return self.since if self.again_at is None else self.again_at


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that ran: an all-clear says what it looked at."""

    rule: str
    title: str
    """`ECC errors`, `NVLink`: for "checked: ..."."""
    subjects: int
    """How many GPUs, nodes or ... it could look at; 0 means it saw nothing to judge."""


@dataclass(frozen=True, slots=True)
class Triage:
    """The site's findings in the order of `backends.triage.impact`, and what was checked to get them."""

    findings: tuple[Finding, ...] = ()
    recovered: tuple[Finding, ...] = ()
    """No longer so, newest first; bounded."""
    checks: tuple[Check, ...] = ()
    nodes_seen: int = 0
    nodes_total: int = 0
    oldest_reading_at: float | None = None
    """Of the nodes that answer: how fresh the all-clear is."""
    just_seen: int = 0
    """Warnings and worse that are seen now and become findings if they are still so in some seconds."""

    @property
    def worst(self) -> Finding | None:
        """The worst that nobody has acknowledged, what is gone last; None when there is none."""
        open_findings = [finding for finding in self.findings if finding.acknowledged is None]
        return max(open_findings, key=lambda finding: (finding.gone_at is None, finding.severity.rank), default=None)

    def count(self, severity: Severity) -> int:
        """Not acknowledged, of that severity."""
        return sum(finding.severity is severity and finding.acknowledged is None for finding in self.findings)
