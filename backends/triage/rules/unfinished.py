"""Changes that run now, and those that nobody brought to an end: what these stopped stays so until somebody does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from backends.domain import Evidence, Finding, NextStep, Severity, Subject, UnfinishedChange, ending_command
from backends.triage import steps
from backends.triage.rule import finding
from backends.triage.state import NodeView, SiteState

SCREEN = "changes"
LEFT_OPEN, RUNNING = "change-unfinished", "change-running"
ABANDONED = "abandoned"
CUT_OFF = frozenset({"interrupted", "undo-interrupted"})
ENDS: dict[str, str] = {
    "interrupted": "was cut off",
    "undo-interrupted": "was cut off while it was undone",
    "stopped": "was stopped",
    "failed": "failed",
    "undo-failed": "could not be undone",
}
WORDS: dict[str, str] = {
    "undo": "take back what it has done",
    "resume": "go on with it",
    "abandon": "close it, when all is as it should be: nothing is touched",
}


def running(state: SiteState) -> Iterator[Finding]:
    """What a colleague, or another console, is at: it explains what is seen, and nobody begins beside it."""
    for change in state.unfinished or ():
        if change.running:
            doing = "is being taken back" if change.status == "undoing" else "runs"
            place = f", {change.place}" if change.place else ""
            yield finding(
                RUNNING,
                Severity.INFO,
                _subject(state, change),
                f"a change of {change.who} {doing}: {change.title}{place}",
                change.updated_at,
                evidence=_evidence(change),
                steps=[NextStep("screen", "look at the change", f"{SCREEN}/{change.id}")],
                more=change.id,
            )


def left_open(state: SiteState) -> Iterator[Finding]:
    for change in state.unfinished or ():
        if change.running or change.status == ABANDONED:
            continue
        yield finding(
            LEFT_OPEN,
            Severity.WARNING if change.touched else Severity.INFO,
            _subject(state, change),
            _claim(change),
            change.updated_at,
            evidence=_evidence(change),
            cause=_cause(change),
            steps=[
                NextStep("screen", "look at the change and what can be done", f"{SCREEN}/{change.id}"),
                *(
                    ending(state, change, offer, WORDS[offer])
                    for offer in ("undo", "resume", "abandon")
                    if offer in change.offers
                ),
            ],
            more=change.id,
        )


def ending(state: SiteState, change: UnfinishedChange, offer: str, words: str) -> NextStep:
    """The command that ends it so."""
    named = offer in change.named
    told = f"{words} (for NAME type the name of what is changed)" if named else words
    return steps.command(told, ending_command(offer, change.id, state.site.config_file, named=named))


def _cause(change: UnfinishedChange) -> str | None:
    """What its journal says; of one that says nothing, what likely was."""
    if change.why:
        return change.why
    return "likely the console ended, or was killed, while it ran" if change.status in CUT_OFF else None


def closed(told: Finding, changes: Iterable[UnfinishedChange]) -> Finding:
    """What is over, as what it is where somebody gave the change up: nothing has recovered."""
    if told.rule != LEFT_OPEN:
        return told
    given_up = (each for each in changes if each.status == ABANDONED and told.id.endswith(f":{each.id}"))
    return next((replace(told, closed_as=ABANDONED, cause=each.why or told.cause) for each in given_up), told)


def _subject(state: SiteState, change: UnfinishedChange) -> Subject:
    known = {view.name for view in state.views}
    nodes = [node for node in change.nodes if node in known]
    return Subject(nodes[0]) if len(nodes) == 1 else Subject()


def _claim(change: UnfinishedChange) -> str:
    place = f" at {change.place}" if change.place else " before its first step"
    services = f"; services stopped: {', '.join(change.stopped_services)}" if change.stopped_services else ""
    return f"a change of {change.who} {ENDS.get(change.status, change.status)}{place}{services}"


def _evidence(change: UnfinishedChange) -> Iterator[Evidence]:
    yield Evidence(change.title, None, "journal")
    if change.step:
        yield Evidence(f"{change.place}: {change.step}", change.updated_at, "journal")


def tells_changes(view: NodeView) -> int:
    return int(view.tells_changes)
