"""Changes that the operator makes on a node and does not bring to an end: MIG layouts, driver upgrades."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.domain import DriverUpgradeState, Evidence, Finding, NextStep, Severity
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, finding
from backends.triage.rules.stack import cause_of, holders, log_steps, nodes
from backends.triage.rules.unfinished import ABANDONED, ending
from backends.triage.state import SiteState
from backends.triage.words import duration

HELD_TOLD = 3
HELD_UP = "likely work still runs on a GPU, or the layout is none that its GPUs have"
UNTAKEN = "likely MIG Manager does not run on the node, or hangs"


def mig_manager(state: SiteState) -> Iterator[Finding]:
    """A MIG layout that the manager gave up, or stays at."""
    for node, subject in nodes(state):
        mig = node.mig
        if mig is None or not mig.broken(state.now):
            continue
        failed = "failed" if mig.state == "failed" else "does not come to an end"
        failed = "is not taken up" if mig.untaken else failed
        yield finding(
            "mig-manager",
            Severity.WARNING,
            subject,
            f"the MIG change to {mig.requested or 'n/a'} {failed}",
            state.since(None if mig.since is None else mig.since.at),
            evidence=[
                Evidence(f"nvidia.com/mig.config={mig.requested}", None, state.site.platform),
                Evidence(
                    f"nvidia.com/mig.config.state{' is not set' if mig.state is None else f'={mig.state}'}",
                    None,
                    state.site.platform,
                ),
                *([] if mig.reason is None else [Evidence(mig.reason, None, "log of nvidia-mig-manager")]),
            ],
            cause=cause_of(mig.reason) or (UNTAKEN if mig.untaken else HELD_UP),
            hits=hits.of_workloads(holders(state, node)),
            steps=[
                *log_steps(state, "the MIG manager", node.get("mig-manager")),
                *_ask_again(state, node.name, mig.requested),
                steps.open_stack(),
            ],
            source="NVIDIA MIG manager",
        )


def _ask_again(state: SiteState, node: str, layout: str | None) -> Iterator[NextStep]:
    """A change of gpudeck's own that asked for it is gone on with: while it has no end, none is begun beside it."""
    left = [each for each in state.unfinished or () if node in each.mig_nodes and each.status != ABANDONED]
    for change in left[:1]:
        what = "what can be done about the change that asked for it, once that is mended"
        if "resume" in change.offers:
            yield ending(state, change, "resume", "go on with the change that asked for it, once that is mended")
        else:
            yield NextStep("screen", what, f"changes/{change.id}")
    if not left and layout is not None:
        line = state.site.command("stack", "mig", layout, "--node", node)
        yield steps.change("ask for the layout again once that is mended", line)


def upgrades(state: SiteState) -> Iterator[Finding]:
    """A driver upgrade that failed, or that stays in a step for longer than its policy gives it."""
    for node, subject in nodes(state):
        upgrade = node.upgrade
        if upgrade is None or not upgrade.broken(state.now):
            continue
        since = None if upgrade.since is None else upgrade.since.at
        evidence = [
            Evidence(f"nvidia.com/gpu-driver-upgrade-state={upgrade.step}", since, state.site.platform),
            *_bound(upgrade),
        ]
        evidence += [Evidence(pod.held_words, None, state.site.platform) for pod in (upgrade.held or ())[:HELD_TOLD]]
        if not node.schedulable:
            evidence.append(Evidence("the node is cordoned", None, state.site.platform))
        failed = upgrade.step == "upgrade-failed"
        yield finding(
            "driver-upgrade",
            Severity.WARNING,
            subject,
            "the driver upgrade failed" if failed else f"the driver upgrade {_lasts(upgrade)} at {upgrade.step}",
            state.since(since),
            evidence=evidence,
            cause=upgrade.why,
            hits=hits.of_workloads(holders(state, node)),
            steps=[
                *_held_steps(state, upgrade),
                steps.in_cluster(
                    state.site,
                    "see what is still there",
                    f"get pods -A --field-selector spec.nodeName={shlex.quote(node.name)}",
                ),
                steps.open_stack(),
            ],
            source="NVIDIA GPU Operator",
        )


def _held_steps(state: SiteState, upgrade: DriverUpgradeState) -> Iterator[NextStep]:
    """How to look at the budgets that hold a drain; all of them only where it is not known which."""
    if upgrade.step != "drain-required":
        return
    if upgrade.held is None:
        yield steps.in_cluster(state.site, "see what may not be evicted", "get pdb -A")
    for pod in (upgrade.held or ())[:HELD_TOLD]:
        words = f"-n {shlex.quote(pod.namespace)} describe pdb {' '.join(map(shlex.quote, pod.budgets))}"
        yield steps.in_cluster(state.site, f"see what {pod.title} waits for: another healthy pod lets it go", words)


def _lasts(upgrade: DriverUpgradeState) -> str:
    return "seems stuck" if upgrade.limit_seconds is None else "is stuck"


def _bound(upgrade: DriverUpgradeState) -> Iterator[Evidence]:
    """How long the step may take, and who says so."""
    if upgrade.limit_seconds is not None:
        given = f"the operator or its policy gives this step {duration(upgrade.limit_seconds)}"
        yield Evidence(given, None, "GPU Operator")
    elif upgrade.running and upgrade.usual_seconds is not None:
        usual = duration(upgrade.usual_seconds)
        yield Evidence(f"nothing bounds this step; after {usual} gpudeck takes it for stuck", None, GPUDECK)
