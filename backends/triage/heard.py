"""What the triage has heard of the platform: whether it is news, whether it still holds, and whom findings hit."""

from __future__ import annotations

from dataclasses import replace

from backends.domain import Evidence, Finding
from backends.ownership import NOBODY
from backends.triage import hits, own
from backends.triage.rules import rule_of
from backends.triage.rules.connection import OF_NODE
from backends.triage.state import PlatformState

PARTS = ("stack", "workloads")
ALL_PARTS = (*PARTS, "monitoring")
"""The last one is a part of the first, which answers without it."""
LAST_READ = "as last read"


class Heard:
    """Of one site; `state` is None on a site without a platform."""

    def __init__(self) -> None:
        self.state: PlatformState | None = None
        self.changes = 0
        """How often it said something else."""
        self._first_at: dict[str, float] = {}
        """`stack` and `workloads` -> when the platform first told them."""
        self._answered_at: dict[str, float] = {}
        """Each of `ALL_PARTS` -> when it last did."""

    def take(self, state: PlatformState | None, now: float) -> bool:
        """Whether it tells a part of itself for the first time."""
        if state is None or not state.is_same(self.state):
            self.changes += state is not self.state
            self.state = state
        known = len(self._first_at)
        for part in PARTS:
            if self.answers(part):
                self._first_at.setdefault(part, now)
        for part in ALL_PARTS:
            if self.answers(part):
                self._answered_at[part] = now
        return len(self._first_at) > known

    def answers(self, part: str) -> bool:
        return self.state is not None and self.state.answers(part)

    def answered_at(self, part: str) -> float | None:
        """When that part was last known to be so, seconds since the epoch; None where it never was."""
        return self._answered_at.get(part)

    def seconds(self, now: float) -> float:
        """For how long it has told all that it tells: one part without the other shows little."""
        return now - max(self._first_at.values(), default=now)

    def named(self, told: Finding) -> Finding:
        """With the pods or containers that it hits by their names, and with the age of what the platform told before it
        fell silent."""
        found = hits.named(told.hits, NOBODY if self.state is None else self.state.ownership)
        evidence = self._dated(told)
        same = found is told.hits and evidence is told.evidence
        return told if same else replace(told, hits=found, evidence=evidence)

    def holding(self, told: Finding) -> Finding:
        """With what was given GPUs of the node, where the node itself never told what runs there."""
        node = told.subject.node
        if told.hits_known or node is None or self.state is None or told.rule not in OF_NODE:
            return told
        holders, whole = self.state.ownership.holders(node), self.state.ownership.complete_on(node)
        known = whole and self.answers("workloads")
        return replace(told, hits=hits.of_workloads(holders), hits_known=known) if holders or known else told

    def _dated(self, told: Finding) -> tuple[Evidence, ...]:
        """The evidence with the time at which it was read, while nothing newer is told: it is not that of now."""
        if self.state is None or all(map(self.answers, ALL_PARTS)):
            return told.evidence
        part = (own.OWN.get(told.rule) or rule_of(told)).about_platform
        if part is None or self.answers(part):
            return told.evidence
        at = self.answered_at(part) if part == "monitoring" else self.state.told_at(part)
        if at is None or all(each.at is not None for each in told.evidence):
            return told.evidence
        return tuple(each if each.at is not None else _old(each, at) for each in told.evidence)


def _old(value: Evidence, at: float) -> Evidence:
    return replace(value, at=at, source=f"{value.source}, {LAST_READ}" if value.source else LAST_READ)
