"""OpenShift's own release: what its ClusterVersion says of the cluster that the GPU stack stands on."""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Evidence, Finding, Severity, Subject
from backends.triage import steps
from backends.triage.rule import finding
from backends.triage.state import SiteState


def release(state: SiteState) -> Iterator[Finding]:
    """A cluster that is not available, or whose version operator fails; an upgrade that goes on is no finding."""
    told = None if state.stack is None else state.stack.cluster
    if told is None or not told.unwell:
        return
    gone = told.available is False
    said = "is not available" if gone else "is failing"
    wanted = told.desired if told.desired and told.desired != told.version else None
    yield finding(
        "cluster-release",
        Severity.CRITICAL if gone else Severity.WARNING,
        Subject(),
        f"the OpenShift cluster {said}" + (f" on its way to {wanted}" if wanted else ""),
        state.since(told.since),
        evidence=[
            Evidence(told.message or "its ClusterVersion gives no reason", None, "ClusterVersion"),
            Evidence(f"release {told.version or 'n/a'}, wanted {told.desired or 'n/a'}", None, "ClusterVersion"),
        ],
        cause="likely the cluster operator that its message names",
        steps=[
            steps.command("see which cluster operator is unwell", "oc get clusteroperators.config.openshift.io"),
            steps.command("see how far the cluster is", "oc adm upgrade"),
            steps.open_stack(),
        ],
        source="OpenShift",
    )


def subjects(state: SiteState) -> int:
    return int(state.stack is not None and state.stack.cluster is not None)
