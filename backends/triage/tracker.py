"""Findings over time: nothing flaps, what lasted keeps its beginning, what ended is remembered for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from backends.domain import Finding
from backends.triage.rule import Rule

GAP_SECONDS = 10.0
"""What was not yet a finding and is not seen for so long begins anew."""
RECOVERED_KEPT = 50
RECOVERED_SECONDS = 86_400.0


@dataclass(slots=True)
class _Track:
    finding: Finding
    first_at: float
    last_at: float
    patience: float
    raised: bool = False
    gone_at: float | None = None


class Tracker:
    """Of the findings as the rules make them, before they are grouped."""

    def __init__(self, rule_of: Callable[[Finding], Rule]) -> None:
        self._rule_of = rule_of
        self._tracks: dict[str, _Track] = {}

    def update(
        self,
        found: Iterable[Finding],
        now: float,
        *,
        is_first: Callable[[Finding], bool] = lambda finding: False,
        is_held: Callable[[Finding], bool] = lambda finding: False,
        at_once: bool = False,
    ) -> list[Finding]:
        """The findings that stand at `now`, each since it began.

        `is_first(finding)`: what it is about has just been read for the first time. `is_held(finding)`: whether it
        still is so cannot be told now. `at_once`: one reading is all there is, nothing is waited for.
        """
        for finding in found:
            self._see(finding, now, is_first, at_once)
        for identity, track in list(self._tracks.items()):
            if track.last_at != now:
                self._miss(identity, track, now, is_held)
        return [track.finding for track in self._tracks.values() if track.raised]

    def is_active(self, identity: str) -> bool:
        track = self._tracks.get(identity)
        return track is not None and track.raised

    def gone_at(self, identity: str) -> float | None:
        """Since when a finding that still stands is no longer seen."""
        track = self._tracks.get(identity)
        return None if track is None else track.gone_at

    def _see(self, finding: Finding, now: float, is_first: Callable[[Finding], bool], at_once: bool) -> None:
        track = self._tracks.get(finding.id)
        if track is None:
            rule = self._rule_of(finding)
            patience = rule.first_seconds if is_first(finding) else rule.raise_seconds
            track = self._tracks[finding.id] = _Track(finding, now, now, patience)
        begun = min(track.first_at, finding.since, track.finding.since)
        track.finding = finding if finding.since == begun else replace(finding, since=begun)
        track.last_at, track.gone_at = now, None
        track.raised = track.raised or at_once or now - begun >= track.patience

    def _miss(self, identity: str, track: _Track, now: float, is_held: Callable[[Finding], bool]) -> None:
        if is_held(track.finding):
            return
        if not track.raised:
            if now - track.last_at > GAP_SECONDS:
                del self._tracks[identity]
            return
        if track.gone_at is None:
            track.gone_at = now
        if now - track.gone_at >= self._rule_of(track.finding).clear_seconds:
            del self._tracks[identity]


class Recovered:
    """What is over, newest first, as it was last told; bounded in number and in time."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(self, finding: Finding, at: float) -> None:
        self._findings.insert(0, replace(finding, recovered_at=at, acknowledged=None))
        del self._findings[RECOVERED_KEPT:]

    def drop(self, identity: str) -> None:
        """It is so again."""
        if any(finding.id == identity for finding in self._findings):
            self._findings = [finding for finding in self._findings if finding.id != identity]

    def at(self, now: float) -> tuple[Finding, ...]:
        self._findings = [
            finding for finding in self._findings if now - (finding.recovered_at or 0.0) <= RECOVERED_SECONDS
        ]
        return tuple(self._findings)
