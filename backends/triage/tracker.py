"""Findings over time: nothing flaps, what lasted keeps its beginning, what ended is remembered for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from backends.domain import Earlier, Finding, Severity
from backends.triage.rule import EARLIER_KEPT, Rule

GAP_SECONDS = 10.0
"""What was not yet a finding and is not seen for so long begins anew."""
SEEN_SHARE = 1 / 3
"""What comes and goes must have been so for a rule's patience within three times that: a blip now and then is none."""
RUNS_KEPT = 64
SOON_SECONDS = 30.0
"""What waits longer is not told as what was just seen."""
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
    missed_at: float | None = None
    """When it was last not seen, since it was seen last."""

    def note_seen(self, at: float) -> None:
        if self.runs and self.missed_at is None:
            self.runs[-1] = (self.runs[-1][0], at)
        else:
            self.runs.append((at if self.missed_at is None else self.missed_at, at))
        self.missed_at = None

    def has_lasted(self, at: float, since: float, *, counts_gaps: bool) -> bool:
        """`at`: when its rule looked last; `since`: what the finding itself says."""
        begun = min(self.first_at, since)
        if (counts_gaps or since < self.first_at) and at - begun >= self.patience:
            return True
        start = at - max(GAP_SECONDS, self.patience / SEEN_SHARE)
        return sum(end - max(begun, start) for begun, end in self.runs if end > start) >= self.patience


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
        looked_at: Callable[[Finding], float] | None = None,
        at_once: bool = False,
    ) -> list[Finding]:
        """The findings that stand at `now`, each since it began.

        `is_first(finding)`: what it is about has just been read for the first time. `is_held(finding)`: whether it
        still is so cannot be told now. `looked_at(finding)`: when its rule looked last, by default `now`; one look
        shows a moment, however long it is until the next. `at_once`: one reading is all there is; nothing is waited
        for but what is a fault only by how long it lasts.
        """
        for finding in found:
            self._see(finding, now, now if looked_at is None else looked_at(finding), is_first, at_once)
        for identity, track in list(self._tracks.items()):
            if track.last_at != now:
                self._miss(identity, track, now, is_held)
        return [self._told(track) for track in self._tracks.values() if track.raised]

    def _told(self, track: _Track) -> Finding:
        if track.gone_at is None:
            return track.finding
        settles_at = track.gone_at + self._rule_of(track.finding).clear_seconds
        return replace(track.finding, gone_at=track.gone_at, settles_at=settles_at)

    @property
    def just_seen(self) -> int:
        """How many warnings, or worse, the last update saw that are no findings yet, but soon are if they last."""
        return sum(map(self._is_coming, self._tracks.values()))

    def _is_coming(self, track: _Track) -> bool:
        rule = self._rule_of(track.finding)
        is_bad = track.finding.severity.rank >= Severity.WARNING.rank
        seen = not track.raised and track.missed_at is None and is_bad
        return seen and track.patience <= SOON_SECONDS and not rule.tells_duration

    def is_active(self, identity: str) -> bool:
        track = self._tracks.get(identity)
        return track is not None and track.raised

    def _see(
        self, finding: Finding, now: float, looked_at: float, is_first: Callable[[Finding], bool], at_once: bool
    ) -> None:
        track = self._tracks.get(finding.id)
        rule = self._rule_of(finding)
        if track is None:
            patience = rule.first_seconds if is_first(finding) else rule.raise_seconds
            track = self._tracks[finding.id] = _Track(finding, looked_at, now, patience)
        begun = min(track.first_at, finding.since, track.finding.since)
        track.finding = finding if finding.since == begun else replace(finding, since=begun)
        track.last_at, track.gone_at = now, None
        if track.raised:
            return
        track.note_seen(looked_at)
        at_once = at_once and not rule.tells_duration
        track.raised = at_once or track.has_lasted(looked_at, finding.since, counts_gaps=rule.counts_gaps)

    def _miss(self, identity: str, track: _Track, now: float, is_held: Callable[[Finding], bool]) -> None:
        track.missed_at = now
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
        """It is over at `at`; it was so until it was last gone, where that is known.

        What gpudeck would have done about it is no longer offered; what else was advised stays to be read.
        """
        over = replace(
            finding,
            recovered_at=at if finding.gone_at is None else finding.gone_at,
            steps=tuple(step for step in finding.steps if not step.is_ours),
            acknowledged=None,
            gone_at=None,
            settles_at=None,
            unseen_since=None,
        )
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
