"""Changes that the operator makes on a node and does not bring to an end: MIG layouts, driver upgrades."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.domain import DriverUpgradeState, Evidence, Finding, Severity
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, finding
from backends.triage.rules.stack import cause_of, holders, log_steps, nodes
from backends.triage.state import SiteState
from backends.triage.words import duration


def mig_manager(state: SiteState) -> Iterator[Finding]:
    """A MIG layout that the manager gave up, or stays at."""
    for node, subject in nodes(state):
        mig = node.mig
        if mig is None or not (mig.state == "failed" or mig.stuck(state.now)):
            continue
        failed = "failed" if mig.state == "failed" else "does not come to an end"
        again = state.site.command("stack", "mig", mig.requested or "", "--node", node.name)
        yield finding(
            "mig-manager",
            Severity.WARNING,
            subject,
            f"the MIG change to {mig.requested or 'n/a'} {failed}",
            state.since(None if mig.since is None else mig.since.at),
            evidence=[
                Evidence(f"nvidia.com/mig.config={mig.requested}", None, state.site.platform),
                Evidence(f"nvidia.com/mig.config.state={mig.state}", None, state.site.platform),
                *([] if mig.reason is None else [Evidence(mig.reason, None, "log of nvidia-mig-manager")]),
            ],
            cause=cause_of(mig.reason) or "likely work still runs on a GPU, or the layout is none that its GPUs have",
            hits=hits.of_workloads(holders(state, node)),
            steps=[
                *log_steps(state, "the MIG manager", node.get("mig-manager")),
                *(
                    []
                    if mig.requested is None
                    else [steps.change("ask for the layout again once that is mended", again)]
                ),
                steps.open_stack(),
            ],
            source="NVIDIA MIG manager",
        )


def upgrades(state: SiteState) -> Iterator[Finding]:
    """A driver upgrade that failed, or that stays in a step for longer than its policy gives it."""
    for node, subject in nodes(state):
        upgrade = node.upgrade
        if upgrade is None or not (upgrade.step == "upgrade-failed" or upgrade.stuck(state.now)):
            continue
        since = None if upgrade.since is None else upgrade.since.at
        evidence = [
            Evidence(f"nvidia.com/gpu-driver-upgrade-state={upgrade.step}", since, state.site.platform),
            *_bound(upgrade),
        ]
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
            cause=f"likely {upgrade.hint}" if upgrade.hint else None,
            hits=hits.of_workloads(holders(state, node)),
            steps=[
                steps.in_cluster(
                    state.site,
                    "see what is still there",
                    f"get pods -A --field-selector spec.nodeName={shlex.quote(node.name)}",
                ),
                steps.in_cluster(state.site, "see what may not be evicted", "get pdb -A"),
                steps.open_stack(),
            ],
            source="NVIDIA GPU Operator",
        )


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
