"""One finding in full: what is so since when, whom it hits, why, what to do next, what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.domain import READ_LOG
from screens.triage_rows import state_of
from tui.widgets import units
from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell
from tui.widgets.glyphs import SEVERITIES, Glyphs
from tui.widgets.sheet import Line, Section
from tui.widgets.wrap import wrapped, wrapped_command

if TYPE_CHECKING:
    from backends.domain import Earlier, Evidence, Finding, Hit, NextStep

LABEL_WIDTH = 10
INDENT = 2
"""What a sheet puts before the lines of a section."""
MOST_HITS = 8
MOST_EVIDENCE = 24
MOST_FOLDED = 12
MOST_EARLIER = 3
MOST_COMMAND_LINES = 12
JUMP_KEY, CHANGE_KEY, LOG_KEY = "enter", "d", "l"
NEXT = "next"
UNKNOWN_HITS = "not known: what ran there cannot be read any more"

Group = list[Line]


@dataclass(frozen=True, slots=True)
class Page:
    """Where the evidence is drawn."""

    width: int
    height: int
    now: float
    glyphs: Glyphs

    @property
    def text_width(self) -> int:
        """Cells behind the labels."""
        return max(8, self.width - INDENT - LABEL_WIDTH - 1)


def evidence_sections(finding: Finding, page: Page, gpu_name: str | None = None) -> list[Section]:
    """The finding as one section; where the page is high enough, with a blank line between its parts."""
    groups = [group for group in _groups(finding, page) if group]
    lines = [line for group in groups for line in group]
    if len(lines) + len(groups) + 1 <= page.height:
        lines = [line for group in groups for line in (*group, ())][:-1]
    title = finding.subject.label if gpu_name is None else f"{finding.subject.label}  {units.model(gpu_name)}"
    return [Section(fit(title, page.width, ellipsis=page.glyphs.ellipsis).rstrip(), tuple(lines))]


def finding_text(finding: Finding) -> str:
    """The finding as plain text with whole times and command lines, for a ticket or a message."""
    acknowledged = finding.acknowledged
    lines = [
        f"{SEVERITIES[finding.severity][1]}: {finding.subject.label}: {finding.claim}",
        f"since {units.moment(finding.begun_at)}",
    ]
    lines += [f"so before from {units.moment(each.since)} to {units.moment(each.until)}" for each in finding.earlier]
    if finding.recovered_at is not None:
        lines.append(f"{finding.closed_as or 'recovered'} {units.moment(finding.recovered_at)}")
    if finding.unseen_since is not None:
        gone = ": no longer so" if finding.gone_at is not None else ""
        lines.append(f"last looked at {units.moment(finding.unseen_since)}{gone}")
    elif finding.gone_at is not None:
        lines.append(f"no longer so since {units.moment(finding.gone_at)}")
    lines += [f"hits: {hit_text(hit)}" for hit in finding.hits]
    lines += [] if finding.hits_known else [f"hits: {UNKNOWN_HITS}"]
    lines += [f"cause: {finding.cause}"] if finding.cause else []
    for each in finding.evidence:
        source = f" ({each.source})" if each.source else ""
        lines.append(f"evidence: {units.moment(each.at) if each.at is not None else 'now'}: {each.text}{source}")
    lines += [f"follows from it: {claim}" for claim in finding.folded]
    for step in finding.steps:
        lines.append(f"{_next_word(finding)}: {step.text}")
        lines += [f"    {step.target}"] if _typed(step) else []
    lines += [f"source of the advice: {finding.advice_source}"] if finding.advice_source else []
    if acknowledged is not None:
        said = f"acknowledged {units.moment(acknowledged.at)} by {acknowledged.who}"
        lines.append(f"{said}: {acknowledged.why}" if acknowledged.why else said)
    lines.append(f"id: {finding.id}")
    return "\n".join(inert(line) for line in lines) + "\n"


def hit_text(hit: Hit) -> str:
    """What is known of a workload, each fact once; a pod's own line says enough."""
    if hit.workload is not None:
        return hit.text
    facts = [
        f"{hit.user}: {hit.text}" if hit.user and hit.user not in hit.text else hit.text,
        f"pid {hit.pid}" if hit.pid is not None and str(hit.pid) not in hit.text else None,
        f"container {hit.container_id[:12]}" if hit.container_id and hit.container_id[:12] not in hit.text else None,
    ]
    return ", ".join(fact for fact in facts if fact)


def _groups(finding: Finding, page: Page) -> Iterable[Group]:
    width, glyphs = page.text_width, page.glyphs
    yield _head(finding, page)
    hits = _listed("hits", [hit_text(hit) for hit in finding.hits], MOST_HITS, page, "accent")
    unknown = [] if finding.hits_known else wrapped(UNKNOWN_HITS, width, ellipsis=glyphs.ellipsis)
    yield hits + _field("" if hits else "hits", unknown)
    yield _field("cause", wrapped(finding.cause or "", width, ellipsis=glyphs.ellipsis))
    yield _steps(finding, page)  # before the evidence, which may be long: what to do is in sight at once
    yield _evidence(finding.evidence, page)
    yield _listed("then", [each for each in finding.folded if each != finding.claim], MOST_FOLDED, page)
    yield _field("source", wrapped(finding.advice_source or "", width), "dim")


def _head(finding: Finding, page: Page) -> Group:
    """The claim with its severity, since when, and what became of it."""
    style, word = SEVERITIES[finding.severity]
    mark = f"{page.glyphs.of(style)} {word}"
    style = "" if finding.recovered_at is not None else style
    lines: Group = []
    for number, text in enumerate(wrapped(finding.claim, page.text_width, ellipsis=page.glyphs.ellipsis)):
        lead = fit(mark, LABEL_WIDTH + 1) if number == 0 else " " * (LABEL_WIDTH + 1)
        lines.append((Cell(lead, style), Cell(text, style)))
    since = units.clock_time(finding.begun_at, page.now, seconds=True)
    if finding.recovered_at is None:
        lines += _field("since", [f"{since}, {units.ago(page.now - finding.begun_at)}"])
    else:
        until = units.clock_time(finding.recovered_at, page.now, seconds=True)
        lasted = units.age(finding.recovered_at - finding.begun_at)
        lines += _field("was so", [f"{since} to {until}, for {lasted}"])
        lines += _field("now", [state_of(finding, page.glyphs).text], "" if finding.closed_as else "good")
    for label, said in _standing(finding, page.now):
        lines += _field(label, wrapped(said, page.text_width, ellipsis=page.glyphs.ellipsis), "accent")
    acknowledged = finding.acknowledged
    if acknowledged is not None:
        at = units.clock_time(acknowledged.at, page.now, seconds=True)
        said = f"{at} by {acknowledged.who}: {acknowledged.why or 'no reason given'}"
        lines += _field("acked", wrapped(said, page.text_width, ellipsis=page.glyphs.ellipsis), "accent")
    return lines


def _standing(finding: Finding, now: float) -> Iterable[tuple[str, str]]:
    """What is to be known of a finding that came again, that is over perhaps, or that nobody can look at."""
    if finding.earlier:
        spells = [_spell(each, now) for each in finding.earlier[-MOST_EARLIER:]]
        yield "again", f"{units.times(len(finding.earlier) + 1)}; before: {', '.join(spells)}"
    if finding.unseen_since is not None:
        look = units.clock_time(finding.unseen_since, now, seconds=True)
        gone = "no longer so; " if finding.gone_at is not None else ""
        yield "last look", f"{look}: {gone}it could not be looked at since"
    elif finding.gone_at is not None:
        gone, settles = (units.clock_time(at, now, seconds=True) for at in (finding.gone_at, finding.settles_at))
        yield "now", f"no longer so since {gone}; recovered if that holds until {settles}"


def _spell(earlier: Earlier, now: float) -> str:
    since, until = (units.clock_time(at, now, seconds=True) for at in (earlier.since, earlier.until))
    return since if since == until else f"{since} to {until}"


def _evidence(evidence: Sequence[Evidence], page: Page) -> Group:
    """Each fact with its time, `now` for a value as it is, and who told it."""
    times = [
        "now" if each.at is None else units.clock_time(each.at, page.now, seconds=True)
        for each in evidence[:MOST_EVIDENCE]
    ]
    column = max(map(len, times), default=0)
    lines: Group = []
    for at, each in zip(times, evidence[:MOST_EVIDENCE], strict=True):
        said = f"{each.text}  ({each.source})" if each.source else each.text
        for number, text in enumerate(wrapped(said, page.text_width - column - 2, 4, page.glyphs.ellipsis)):
            lines.append(
                (*_lead("evidence", lines), Cell(fit(at if number == 0 else "", column + 2), "dim"), Cell(text))
            )
    return lines + _more(len(evidence), MOST_EVIDENCE)


def _steps(finding: Finding, page: Page) -> Group:
    """What to do: first the place that `enter` opens, then the rest in its order, commands as they are typed."""
    jump = next((step for step in finding.steps if step.kind == "screen"), None)
    said = f"opens {finding.subject.label}" if jump is None else jump.text
    first, lines = _step_lines(f"[{JUMP_KEY}] ", said, page), list[Line]()
    for step in finding.steps:
        if step is not jump:
            lines += _step_lines(_key(step), step.text, page)
            lines += _command(step.target, page) if _typed(step) else []
    if finding.recovered_at is None:
        return _under(NEXT, [*first, *lines])
    return [*_under(NEXT, first), *_under(_next_word(finding), lines)]


def _next_word(finding: Finding) -> str:
    """What is over wants nothing: what was to be done about it is history."""
    return NEXT if finding.recovered_at is None else "advised"


def _key(step: NextStep) -> str:
    """The key that does it here, as it stands before the step."""
    if can_change(step):
        return f"[{CHANGE_KEY}] "
    return f"[{LOG_KEY}] " if step.text == READ_LOG else ""


def can_change(step: NextStep) -> bool:
    """The console can do it, after a look."""
    return step.kind == "change" and step.is_ours


def _typed(step: NextStep) -> bool:
    """It is a command line, of a tool or of gpudeck itself."""
    return bool(step.target) and (step.kind == "command" or can_change(step))


def _step_lines(key: str, said: str, page: Page) -> Group:
    texts = wrapped(said, page.text_width - len(key), 4, page.glyphs.ellipsis) or [""]
    return [(Cell(" " * len(key) if number else key, "accent"), Cell(text)) for number, text in enumerate(texts)]


def _command(command: str, page: Page) -> Group:
    folded = wrapped_command(command, page.text_width - INDENT) if command else []
    lines: Group = [(Cell(" " * INDENT), Cell(text, "accent")) for text in folded[:MOST_COMMAND_LINES]]
    if len(folded) > MOST_COMMAND_LINES:
        lines.append((Cell(f"and {len(folded) - MOST_COMMAND_LINES} more lines; copy has them all", "dim"),))
    return lines


def _listed(label: str, texts: Sequence[str], most: int, page: Page, style: str = "") -> Group:
    lines: Group = []
    for text in texts[:most]:
        for part in wrapped(text, page.text_width, 2, page.glyphs.ellipsis):
            lines.append((*_lead(label, lines), Cell(part, style)))
    return lines + _more(len(texts), most)


def _under(label: str, lines: Group) -> Group:
    """`lines` behind the label."""
    return [(*_lead(label, list(lines[:number])), *line) for number, line in enumerate(lines)]


def _field(label: str, texts: Sequence[str], style: str = "") -> Group:
    lines: Group = []
    for text in texts:
        lines.append((*_lead(label, lines), Cell(text, style)))
    return lines


def _lead(label: str, before: Group) -> Line:
    """The label on the first line, blanks on the others."""
    return (Cell(fit("" if before else label, LABEL_WIDTH + 1), "dim"),)


def _more(total: int, shown: int) -> Group:
    left = total - shown
    return [(Cell(" " * (LABEL_WIDTH + 1)), Cell(f"and {left} more", "dim"))] if left > 0 else []
