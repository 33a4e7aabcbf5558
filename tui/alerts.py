"""Which critical findings the on-call is told of while looking at something else. Pure: the times come from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.widgets.cells import inert

if TYPE_CHECKING:
    from backends.domain import Finding, Triage
    from tui.widgets.glyphs import Glyphs

SETTLE_SECONDS = 10.0
"""A site is being opened until no node has been connecting for so long: what is found then was there before."""
APART_SECONDS = 30.0
"""The least time between two alerts; what is found meanwhile is told together."""
SUBJECT_LIMIT, CLAIM_LIMIT = 80, 160


class Alerts:
    """Each finding is told once; again only after it was gone so long that triage has forgotten it."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: dict[str, Finding] = {}
        self._settled_at: float | None = None
        """When no node was connecting any more; None before."""
        self._told_at = float("-inf")

    def reading(self, connecting: int, now: float) -> None:
        """`connecting` nodes have told neither a value nor an error yet; `now` in seconds of a monotonic clock."""
        if self._settled_at is None and not connecting:
            self._settled_at = now

    def hear(self, triage: Triage, now: float) -> None:
        """Takes in what is found now."""
        critical = {each.id: each for each in triage.findings if each.severity == "critical"}
        is_settled = self._settled_at is not None and now - self._settled_at >= SETTLE_SECONDS
        self._waiting = {
            key: each
            for key, each in critical.items()
            if each.acknowledged is None and (key in self._waiting or (is_settled and key not in self._known))
        }
        self._known = (self._known & {each.id for each in triage.recovered}) | set(critical)

    def due(self, now: float) -> tuple[Finding, ...]:
        """What is to be told now, in the order of triage; each finding once."""
        if not self._waiting or now - self._told_at < APART_SECONDS:
            return ()
        told = tuple(self._waiting.values())
        self._waiting, self._told_at = {}, now
        return told


def alert_text(findings: tuple[Finding, ...], glyphs: Glyphs) -> str:
    """`✖ dgx07 gpu3: lost from the bus, and 2 more critical findings`; at least one is given."""
    first, *others = findings
    said = f"{glyphs.bad} {inert(first.subject.label[:SUBJECT_LIMIT])}: {inert(first.claim[:CLAIM_LIMIT])}"
    if not others:
        return said
    return f"{said}, and {len(others)} more critical finding{'' if len(others) == 1 else 's'}"
