"""The rules over the whole site: when each looks again, and what it saw last."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TypeAlias

from backends.domain import Finding
from backends.triage.rule import Rule
from backends.triage.state import SiteState

AGAIN_SECONDS = 5.0
"""A rule looks again after so long, where something has changed or it depends on the time."""

Told: TypeAlias = Callable[[Rule, Exception | None], None]


class SiteRules:
    """They take turns, so that no second bears all of them.

    `seen` is how many changes of nodes and of the platform there were.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rule for rule in rules if rule.judge_site is not None)
        self._findings: dict[str, list[Finding]] = {}
        self._due: dict[str, float] = {}
        self._at: dict[str, float] = {}
        """Rule -> when it last looked."""
        self._saw: dict[str, int] = {}
        """Rule -> how many changes it had seen then."""
        self.counts: dict[str, int] = {}
        """Rule about the platform -> how much it could look at."""

    def due(self, now: float, seen: int) -> list[Rule]:
        return [rule for rule in self._rules if now >= self._due.get(rule.id, 0.0) and not self._is_same(rule, seen)]

    def hurry(self, *names: str) -> None:
        """They look again with the next triage: what they look at is no node's and has changed."""
        for name in names:
            self._due.pop(name, None)
            self._saw.pop(name, None)

    @property
    def all(self) -> Sequence[Rule]:
        return self._rules

    def findings(self) -> Iterator[Finding]:
        for found in self._findings.values():
            yield from found

    def run(
        self, rules: Iterable[Rule], state: SiteState, seen: int, *, again: bool, told: Told
    ) -> Generator[None, None, None]:
        """Looks with `rules`, in steps of about a millisecond. `told` hears of each whether it failed."""
        for rule in rules:
            yield
            share = (self._rules.index(rule) + 1) / len(self._rules) if again else 1.0
            self._due[rule.id] = state.now + AGAIN_SECONDS * share
            self._at[rule.id], self._saw[rule.id] = state.now, seen
            try:
                yield from self._look(rule, state)
            except Exception as error:  # noqa: BLE001 - a rule that fails costs its own findings and no other's
                told(rule, error)
            else:
                told(rule, None)

    def _look(self, rule: Rule, state: SiteState) -> Generator[None, None, None]:
        found = self._findings[rule.id] = []
        for each in rule.judge_site(state) if rule.judge_site is not None else ():
            if each is None:
                yield
            else:
                found.append(each)
        if found:
            # What a first look shows is told by a second one, as soon as it may be.
            self._due[rule.id] = state.now + (min(AGAIN_SECONDS, rule.first_seconds) or AGAIN_SECONDS)
        if rule.site_subjects is not None:
            self.counts[rule.id] = rule.site_subjects(state)

    def looked_at(self, rule: Rule, now: float, seen: int) -> float:
        """Until when it is known what the rule says: `now` for one that would see the same, or looks at nodes alone."""
        at = self._at.get(rule.id)
        return now if at is None or self._is_same(rule, seen) else at

    def _is_same(self, rule: Rule, seen: int) -> bool:
        """Nothing that the rule looks at has changed since it looked."""
        return not rule.timed and self._saw.get(rule.id) == seen
