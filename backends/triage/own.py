"""What the triage finds wrong with itself: a rule that fails, what cannot be kept."""

from __future__ import annotations

from pathlib import Path

from backends.domain import Evidence, Finding, NextStep, Severity, Subject, clean
from backends.triage.rule import Rule, finding


def broken(rule: Rule, error: Exception, now: float) -> Finding:
    said = clean(f"{type(error).__name__}: {error}", 200)
    return finding(
        BROKEN.id,
        Severity.INFO,
        Subject(),
        f"the check of {rule.title} failed: a defect in gpudeck",
        now,
        evidence=[Evidence(said, None, "gpudeck")],
        more=rule.id,
    )


def kept(warning: str, file: Path | None, now: float) -> Finding:
    return finding(
        KEPT.id,
        Severity.INFO,
        Subject(),
        _without(file, warning, "the acknowledgements"),
        now,
        evidence=[Evidence(warning, None, "gpudeck")],
        cause="likely another program wrote there, or the disk is full",
        steps=[NextStep("command", "look at the file; without it only the acknowledgements are forgotten")],
    )


def inventory(warning: str, file: Path | None, now: float) -> Finding:
    return finding(
        INVENTORY.id,
        Severity.INFO,
        Subject(),
        _without(file, warning, "the inventory of GPUs"),
        now,
        evidence=[Evidence(warning, None, "gpudeck")],
        cause="likely another program wrote there, or the disk is full",
        steps=[NextStep("command", "look at the file; without it a GPU that vanishes while nobody looks is not told")],
    )


def _without(file: Path | None, warning: str, called: str) -> str:
    """What is wrong before anything is cut: the path stands in the evidence."""
    return warning if file is None else warning.replace(str(file), called)


def _own(name: str, title: str) -> Rule:
    return Rule(
        name, title, (Severity.INFO,), lambda _view: 0, about_values=False, raise_seconds=0.0, first_seconds=0.0
    )


BROKEN = _own("rule-failed", "gpudeck's own checks")
KEPT = _own("acknowledgements", "acknowledgements")
INVENTORY = _own("inventory", "the inventory of GPUs")
OWN = {rule.id: rule for rule in (BROKEN, KEPT, INVENTORY)}
"""What the triage finds wrong with itself."""
