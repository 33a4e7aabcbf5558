"""Findings over time: nothing flaps, what lasted keeps its beginning, what ended is remembered for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from backends.domain import Earlier, Finding
from backends.triage.rule import EARLIER_KEPT, Rule

GAP_SECONDS = 10.0
"""What was not yet a finding and is not seen for so long begins anew."""
SEEN_SHARE = 1 / 3
"""What comes and goes must have been so for a rule's patience within three times that: a blip now and then is none."""
RUNS_KEPT = 64
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
    runs: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RUNS_KEPT))
    """From when to when it was seen without a break; only of what is not yet a finding."""

    def note_seen(self, now: float, before: float) -> None:
        """It is so at `now`; the last look before was at `before`."""
        if self.runs and self.runs[-1][1] >= before:
            self.runs[-1] = (self.runs[-1][0], now)
        else:
            self.runs.append((before if self.runs else now, now))

    def has_lasted(self, now: float, since: float, *, counts_gaps: bool) -> bool:
        """`since` is what the finding itself says."""
        begun = min(self.first_at, since)
        if (counts_gaps or since < self.first_at) and now - begun >= self.patience:
            return True
        start = now - max(GAP_SECONDS, self.patience / SEEN_SHARE)
        return sum(end - max(begun, start) for begun, end in self.runs if end > start) >= self.patience


class Tracker:
    """Of the findings as the rules make them, before they are grouped."""

    def __init__(self, rule_of: Callable[[Finding], Rule]) -> None:
        self._rule_of = rule_of
        self._tracks: dict[str, _Track] = {}
        self._looked_at = float("-inf")

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
        still is so cannot be told now. `at_once`: one reading is all there is; nothing is waited for but what is a
        fault only by how long it lasts.
        """
        for finding in found:
            self._see(finding, now, is_first, at_once)
        for identity, track in list(self._tracks.items()):
            if track.last_at != now:
                self._miss(identity, track, now, is_held)
        self._looked_at = now
        return [self._told(track) for track in self._tracks.values() if track.raised]

    def _told(self, track: _Track) -> Finding:
        if track.gone_at is None:
            return track.finding
        settles_at = track.gone_at + self._rule_of(track.finding).clear_seconds
        return replace(track.finding, gone_at=track.gone_at, settles_at=settles_at)

    def is_active(self, identity: str) -> bool:
        track = self._tracks.get(identity)
        return track is not None and track.raised

    def _see(self, finding: Finding, now: float, is_first: Callable[[Finding], bool], at_once: bool) -> None:
        track = self._tracks.get(finding.id)
        rule = self._rule_of(finding)
        if track is None:
            patience = rule.first_seconds if is_first(finding) else rule.raise_seconds
            track = self._tracks[finding.id] = _Track(finding, now, now, patience)
        begun = min(track.first_at, finding.since, track.finding.since)
        track.finding = finding if finding.since == begun else replace(finding, since=begun)
        track.last_at, track.gone_at = now, None
        if track.raised:
            return
        track.note_seen(now, self._looked_at)
        at_once = at_once and not rule.tells_duration
        track.raised = at_once or track.has_lasted(now, finding.since, counts_gaps=rule.counts_gaps)

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
        """It is over at `at`; it was so until it was last gone, where that is known."""
        until = at if finding.gone_at is None else finding.gone_at
        over = replace(finding, recovered_at=until, acknowledged=None, gone_at=None, settles_at=None, unseen_since=None)
        self._findings.insert(0, over)
        del self._findings[RECOVERED_KEPT:]

    def drop(self, identity: str) -> tuple[Earlier, ...]:
        """It is so again; when it was so before, oldest first."""
        over = [finding for finding in self._findings if finding.id == identity]
        if not over:
            return ()
        self._findings = [finding for finding in self._findings if finding.id != identity]
        last = over[0]
        return (*last.earlier, Earlier(last.begun_at, last.recovered_at or last.begun_at))[-EARLIER_KEPT:]

    def at(self, now: float) -> tuple[Finding, ...]:
        self._findings = [
            finding for finding in self._findings if now - (finding.recovered_at or 0.0) <= RECOVERED_SECONDS
        ]
        return tuple(self._findings)
