"""The findings as the rows of the triage screen: what comes first, what is marked, what a filter finds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from tui.widgets import units
from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell, Column, Row
from tui.widgets.filter import Filter, Subject
from tui.widgets.glyphs import SEVERITIES, Glyphs

if TYPE_CHECKING:
    from backends.domain import Finding, Hit, Triage

SUBJECT_WIDTH = 16
HITS_WIDTH = 22

COLUMNS: tuple[Column, ...] = (
    Column("state", "STATE", 13, sortable=False),
    Column("since", "SINCE", 5, sortable=False),
    Column("subject", "SUBJECT", SUBJECT_WIDTH, sortable=False),
    Column("claim", "FINDING", 12, grow=1000, sortable=False),
    Column("hits", "HITS", HITS_WIDTH, min_terminal_width=104, sortable=False),
)
FILTERED_CHARACTERS = 4000
"""A filter looks at so much of a finding's text."""
EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class TriageView:
    """How the findings are looked at."""

    match: Filter = EVERYTHING
    settled: bool = True
    """Whether the acknowledged and the recovered ones are shown."""
    now: float = 0.0
    """For a filter that asks how old a finding is; seconds since the epoch."""


class FindingItem(NamedTuple):
    """A finding, looked at at a time."""

    finding: Finding
    now: float
    """Seconds since the epoch."""


def state_word(finding: Finding) -> str:
    """open, acked, recovered or abandoned."""
    if finding.closed_as is not None:
        return finding.closed_as
    if finding.recovered_at is not None:
        return "recovered"
    return "open" if finding.acknowledged is None else "acked"


def shown(triage: Triage, view: TriageView) -> list[Finding]:
    """What the list holds: the findings in the order that triage gave them, then the latest recoveries first."""
    current = list(triage.findings)
    known = {each.id for each in current}
    over = [each for each in triage.recovered if each.id not in known]
    over.sort(key=lambda each: (-(each.recovered_at or 0.0), each.id))
    if not view.settled:
        current, over = [each for each in current if each.acknowledged is None], []
    every = {each.id: each for each in (*current, *over)}
    return (
        [each for each in every.values() if view.match.matches(subject_of(each, view.now))]
        if view.match
        else [*every.values()]
    )


def state_of(finding: Finding, glyphs: Glyphs) -> Cell:
    """`✖ critical`, `▲ acked`, `✓ recovered`: the glyph keeps the severity of what has another word.

    `unseen` is what nobody can look at now, `clearing` what is no longer so and watched.
    """
    if finding.closed_as is not None:
        return Cell(finding.closed_as, "dim")
    if finding.recovered_at is not None:
        return Cell(f"{glyphs.good} recovered", "dim")
    style, word = SEVERITIES[finding.severity]
    if finding.acknowledged is not None:
        return Cell(f"{glyphs.of(style)} acked", "dim")
    if finding.unseen_since is not None:
        return Cell(f"{glyphs.of(style)} unseen", "stale")
    if finding.gone_at is not None:
        return Cell(f"{glyphs.of(style)} clearing", "dim")
    return Cell(f"{glyphs.of(style)} {word}", style)


def subject_of(finding: Finding, now: float = 0.0) -> Subject:
    """What a filter finds a finding by: its words, its rule, its subject, whom it hits, and the state it is in."""
    words = [finding.subject.label, finding.claim, SEVERITIES[finding.severity][1], finding.rule, state_word(finding)]
    words += [finding.cause or "", *(hit.text for hit in finding.hits), *(hit.user or "" for hit in finding.hits)]
    text = " ".join(words)[:FILTERED_CHARACTERS].lower()
    return Subject(text, frozenset(), FindingItem(finding, now))


def hits_text(hits: tuple[Hit, ...], width: int = HITS_WIDTH, ellipsis: str = "…") -> str:
    """Whose work it is, in `width` cells: `llama-70b +2` owners or users, or how many workloads nobody is known of."""
    names = list(dict.fromkeys(name for hit in hits if (name := _whose(hit)) is not None))
    if not names:
        return f"{len(hits)} workload{'' if len(hits) == 1 else 's'}" if hits else ""
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return fit(inert(names[0][: width * 4]), width - len(more), ellipsis=ellipsis).rstrip() + more


def _hits_cell(finding: Finding, style: str, glyphs: Glyphs) -> Cell:
    text = hits_text(finding.hits, ellipsis=glyphs.ellipsis)
    return Cell(text, style) if text or finding.hits_known else Cell("not known", "dim")


def _whose(hit: Hit) -> str | None:
    """What owns it on the platform, else the pod itself, else its user."""
    if hit.owner is not None:
        return hit.owner.partition(" ")[2] or hit.owner
    return hit.user if hit.workload is None else hit.workload.rpartition("/")[2]


def label(finding: Finding, width: int, glyphs: Glyphs) -> str:
    """The subject in at most `width` cells: of a long node name the end goes, never the GPU's number."""
    subject = finding.subject
    tail = "" if subject.node is None or subject.gpu_index is None else f" gpu{subject.gpu_index}"
    name = inert((subject.node or subject.label)[: width * 4 + 1])
    room = width - len(tail)
    return (name if cell_len(name) <= room else fit(name, room, ellipsis=glyphs.ellipsis).rstrip()) + tail


def triage_row(finding: Finding, now: float, glyphs: Glyphs) -> Row:
    """The finding in one line; its key is the finding's id."""
    over = finding.recovered_at is not None
    claim = f"to {units.clock_time(finding.recovered_at, now)}  {finding.claim}" if over else finding.claim
    return Row(
        finding.id,
        (
            state_of(finding, glyphs),
            units.clock_time(finding.begun_at, now),
            label(finding, SUBJECT_WIDTH, glyphs),
            claim,
            _hits_cell(finding, "" if over else "accent", glyphs),
        ),
        dim=over or finding.acknowledged is not None,
    )
