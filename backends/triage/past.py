"""What was told before: what is over, and when what came again was so before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from backends.domain import Earlier, Finding
from backends.triage.rule import Rule
from backends.triage.tracker import Recovered

Told: TypeAlias = Mapping[str, tuple[Finding, frozenset[str]]]
"""Id -> a finding as it is told, with the ids of what it stands for."""


class Past:
    """Of one site."""

    def __init__(
        self,
        rule_of: Callable[[Finding], Rule],
        is_active: Callable[[str], bool],
        note_over: Callable[[str, float], None],
    ) -> None:
        """`is_active(id)`: it still stands, on its own or in another; `note_over(id, at)` hears of what is over."""
        self._rule_of = rule_of
        self._is_active = is_active
        self._note_over = note_over
        self._told: Told = {}
        self._worst: dict[str, Finding] = {}
        """Id -> how it was told when it was greatest."""
        self.causes: frozenset[str] = frozenset()
        """What the findings stood for that were told last."""
        self._recovered = Recovered()
        self._earlier: dict[str, tuple[Earlier, ...]] = {}
        """Id -> when what stands now was so before."""

    @property
    def names(self) -> frozenset[str]:
        """Ids of what was told last."""
        return frozenset(self._told)

    def note(self, told: Told, now: float) -> None:
        """A finding that was told and no longer stands has recovered; one that is folded into another has not."""
        for name, (finding, causes) in self._told.items():
            if name not in told and not any(map(self._is_active, causes)):
                if self._rule_of(finding).recovers:
                    self._recovered.add(self.with_earlier(self.at_worst(finding)), now)
                self._earlier.pop(name, None)
                self._note_over(name, now)
        for name in told:
            if name not in self._told and (earlier := self._recovered.drop(name)):
                self._earlier[name] = earlier
        self._told = told
        self._worst = {name: _greater(self._worst.get(name), finding) for name, (finding, _) in told.items()}
        self.causes = frozenset(cause for _, causes in told.values() for cause in causes)

    def at_worst(self, finding: Finding) -> Finding:
        """What goes is told as it was when it was greatest, not as its last rest."""
        worst = self._worst.get(finding.id, finding)
        since = min(worst.since, finding.since)
        return replace(
            worst,
            since=since,
            gone_at=finding.gone_at,
            settles_at=finding.settles_at,
            unseen_since=finding.unseen_since,
        )

    def with_earlier(self, finding: Finding) -> Finding:
        """With its earlier times; of what its evidence dates the evidence itself tells them."""
        earlier = self._earlier.get(finding.id, ())
        return replace(finding, earlier=earlier) if earlier and not self._rule_of(finding).dated else finding

    def recovered(self, now: float) -> tuple[Finding, ...]:
        """What is over, newest first."""
        return self._recovered.at(now)


def _greater(before: Finding | None, now: Finding) -> Finding:
    """By their magnitude; of equals the one of now."""
    return now if before is None or (now.magnitude or 0.0) >= (before.magnitude or 0.0) else before
