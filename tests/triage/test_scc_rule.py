"""What the triage says of pods that OpenShift's SCCs refuse."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backends.domain import (
    Finding,
    GpuRequest,
    NotPermitted,
    OperandPhase,
    Owner,
    Permission,
    SccClause,
    SccRefusal,
    Severity,
    SiteSpec,
    Stack,
    StackNode,
)
from backends.domain.stack import Blocker
from backends.ownership import NOBODY
from backends.triage.rules import scc, stack
from backends.triage.state import PlatformState, SiteState
from tests.triage.makers import NOW
from tests.tui.stacks import OPERANDS, blocked, well

PRIVILEGED = SccClause("Privileged containers are not allowed", "restricted-v2", ".containers[0].privileged")
LLAMA = SccRefusal(
    kind="ReplicaSet",
    namespace="team-a",
    name="llama-7d9",
    clauses=(PRIVILEGED,),
    unusable=("anyuid", "privileged"),
    owner=Owner("Deployment", "llama"),
    service_account="runner",
    gpus=(GpuRequest("nvidia.com/gpu", 2),),
    wanted=2,
    missing=2,
    since=NOW - 600,
    at=NOW - 30,
    count=12,
)
DRIVER = dataclasses.replace(
    LLAMA,
    kind="DaemonSet",
    namespace="nvidia-gpu-operator",
    name="nvidia-driver-daemonset",
    owner=None,
    service_account="nvidia-driver",
    gpus=(),
    operand="driver",
)


def state_of(*refused: SccRefusal, nodes: tuple[StackNode, ...] = (), **more: Any) -> SiteState:
    told = Stack("openshift", operands=OPERANDS, nodes=nodes or (well("n1"),), refused=refused, **more)
    return SiteState(SiteSpec("prod", platform="openshift"), (), NOW, {}, PlatformState(told, NOBODY))


def found(*refused: SccRefusal, **more: Any) -> list[Finding]:
    return list(scc.refused(state_of(*refused, **more)))


def without_driver(name: str) -> StackNode:
    node = blocked(name)
    assert node.blocker is not None
    missing = dataclasses.replace(
        node.blocker.state,
        phase=OperandPhase.MISSING,
        pod=None,
        container=None,
        namespace=DRIVER.namespace,
        daemon_set=DRIVER.name,
        reason="no pod",
    )
    return dataclasses.replace(node, blocker=Blocker(missing, "driver"))


def test_the_finding_names_who_is_refused_why_and_what_to_do() -> None:
    (told,) = found(LLAMA)
    assert told.claim == "SCCs refuse the pods of Deployment team-a/llama: Privileged containers are not allowed"
    assert (told.severity, told.since, told.id) == (Severity.WARNING, NOW - 600, "scc-refused:site:team-a")
    assert [each.text for each in told.evidence] == [
        "ReplicaSet team-a/llama-7d9: 0 of 2 pods, each asks for 2 nvidia.com/gpu, refused 12 times",
        "restricted-v2: .containers[0].privileged: Privileged containers are not allowed",
        "service account runner may not use anyuid and privileged",
    ]
    assert "privileged container" in (told.cause or "")
    assert [step.target for step in told.steps if step.target][:2] == [
        "oc -n team-a describe replicaset llama-7d9",
        "oc -n team-a get replicaset llama-7d9 -o yaml | oc -n team-a adm policy scc-subject-review -z runner -f -",
    ]
    widening = [step for step in told.steps if "add-scc-to-user" in step.text]
    assert [step.target for step in widening] == [""], "advice to a person, no line to paste"
    assert told.hits[0].owner == "Deployment llama"


def test_those_of_one_namespace_are_one_finding_whatever_their_number() -> None:
    others = [dataclasses.replace(LLAMA, name=f"job-{number}", kind="Job", owner=None) for number in range(3)]
    elsewhere = dataclasses.replace(LLAMA, namespace="team-b")
    one, two = found(LLAMA, *others, elsewhere)
    assert one.claim.startswith(
        "SCCs refuse the pods of 4 controllers of team-a, Deployment llama, Job job-0 and 2 more:"
    )
    assert (len(one.hits), one.magnitude) == (4, 4.0)
    assert two.id == "scc-refused:site:team-b"


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        ("hostPath volumes are not allowed to be used", "directory of the node"),
        ("Host network is not allowed to be used", "network"),
        ("0: must be in the ranges: [1, 2]", "ids of its own range"),
        ("SETPCAP: capability may not be added", "capabilities"),
        ("something new", "more than the SCCs"),
    ],
)
def test_the_cause_follows_what_is_objected_to(clause: str, words: str) -> None:
    (told,) = found(dataclasses.replace(LLAMA, clauses=(SccClause(clause, "restricted-v2"),)))
    assert words in (told.cause or "")


def test_a_service_account_without_any_scc_is_told_as_such() -> None:
    (told,) = found(dataclasses.replace(LLAMA, clauses=()))
    assert told.claim.endswith("its service account may use no SCC that admits it")
    assert "role binding" in (told.cause or "")


def test_what_may_not_be_read_is_no_warning() -> None:
    (told,) = found(dataclasses.replace(LLAMA, gpus=None, owner=None, service_account=None, wanted=None, missing=None))
    assert told.severity is Severity.INFO
    assert "whether it asks for GPUs is not known" in told.evidence[0].text


def test_an_operand_that_blocks_its_nodes_is_told_there_with_the_cause() -> None:
    state = state_of(DRIVER, nodes=(without_driver("n1"), without_driver("n2")))
    assert list(scc.refused(state)) == []
    first, second = stack.operands(state)
    assert first.claim == second.claim == "driver has no pod, SCCs refuse it: Privileged containers are not allowed"
    assert (first.severity, first.rule) == (Severity.CRITICAL, "operand-driver")
    assert "the operator makes both" in (first.cause or "")
    assert not any("add-scc-to-user" in step.text for step in first.steps)


def test_a_daemon_set_that_blocks_no_node_is_told_by_itself_as_grave_as_its_operand() -> None:
    exporter = dataclasses.replace(DRIVER, name="nvidia-dcgm-exporter", operand="dcgm-exporter")
    assert [each.severity for each in found(DRIVER)] == [Severity.CRITICAL]
    assert [each.severity for each in found(exporter)] == [Severity.WARNING]
    (both,) = found(exporter, DRIVER)
    assert both.severity is Severity.CRITICAL


def test_names_from_outside_stay_arguments_of_the_commands() -> None:
    (told,) = found(dataclasses.replace(LLAMA, name="x; rm -rf /", namespace="$(id)", service_account="`id`"))
    assert "oc -n '$(id)' describe replicaset 'x; rm -rf /'" in [step.target for step in told.steps]


def test_events_that_may_not_be_read_were_not_checked() -> None:
    assert scc.subjects(state_of()) == 1
    denied = NotPermitted("events of the cluster", Permission("list", "events"))
    assert scc.subjects(state_of(not_permitted=(denied,))) == 0
    kubernetes = dataclasses.replace(state_of(), platform=PlatformState(Stack("kubernetes"), NOBODY))
    assert scc.subjects(kubernetes) == 0
