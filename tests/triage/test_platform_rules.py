"""The rules about the platform: what it says, what may not be read, and what was given out against what runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backends.changes.platform_actions import Wish, wish_of
from backends.domain import (
    ClusterRelease,
    Component,
    DrainPod,
    DriverUpgradeState,
    Fleet,
    GpuProcess,
    KubernetesSpec,
    MigManagerState,
    NodeGpuCapacity,
    NodeSpec,
    NotPermitted,
    OlmOperator,
    OperandPhase,
    OperandState,
    Permission,
    PolicyState,
    Problem,
    ResourceCount,
    Severity,
    Since,
    SiteSpec,
    Stack,
    StackHealth,
    StackNode,
    Triage,
    UnfinishedChange,
    Workloads,
)
from backends.domain.stack import Blocker
from backends.ownership import Ownership
from backends.triage.engine import Triager
from backends.triage.rules import RULES
from backends.triage.rules import platform as rules_of_platform
from backends.triage.state import NodeView, PlatformState, SiteState
from tests.triage.makers import NOW, failed, fleet, gpu, idle, live, node, view
from tests.tui.stacks import OPERANDS, blocked, changing, well
from tests.workloads import container_id, owned, pod

SITE = SiteSpec("prod", platform="kubernetes", nodes=tuple(NodeSpec(f"n{number}") for number in range(1, 5)))


def stack(*nodes: StackNode, **more: Any) -> Stack:
    return Stack("kubernetes", "v1.33.4", OPERANDS, nodes, operator_namespace="gpu-operator", **more)


def platform(told: Stack | None = None, ownership: Ownership | None = None, **more: Any) -> PlatformState:
    known = ownership or owned(pod("llama-70b-0", node="n1"))
    return PlatformState(told or stack(well("n1")), known, known.workloads, **more)


def state(said: PlatformState | None, *views: NodeView) -> SiteState:
    return SiteState(SITE, views or (view(uses("llama-70b-0")),), NOW, {}, said)


def found(said: PlatformState | None, *views: NodeView) -> list[tuple[str, str, str]]:
    """(rule, severity, claim) of what the rules about the platform say."""
    rules = [rule for rule in RULES if rule.judge_site is not None and rule.site_subjects is not None]
    return [
        (each.rule, str(each.severity), each.claim)
        for rule in rules
        if rule.judge_site is not None
        for each in filter(None, rule.judge_site(state(said, *views)))
    ]


def uses(of: str | None, pid: int = 7, **more: Any) -> Any:
    inside = None if of is None else container_id(of)
    return gpu(processes=(GpuProcess(pid, "compute", "root", "python", container_id=inside, **more),))


def run(triager: Triager, said: PlatformState | None, now: float = NOW, value: Fleet | None = None) -> Triage:
    return triager.run(value or fleet(live(node(uses("llama-70b-0")), now)), (), now, platform=said, at_once=True)


def test_a_site_without_a_platform_has_nothing_to_say_about_one() -> None:
    assert found(None) == []
    triage = run(Triager(SiteSpec("bare")), None)
    assert not {check.rule for check in triage.checks} & {"operand", "alloc-idle", "nfd", "platform-unreachable"}


def test_a_platform_that_is_well_has_no_finding() -> None:
    assert found(platform(), view(uses("llama-70b-0"))) == []


# The stack


def test_an_engine_that_has_to_be_restarted_hits_what_runs_in_it() -> None:
    missing = OperandState("toolkit", OperandPhase.MISSING, reason="no-runtime")
    node = StackNode("n1", StackHealth.BLOCKED, (missing,), Blocker(missing, "container toolkit"))
    trains = pod("train", node="n1", namespace=None, owner=None, platform="docker")
    proxy = pod("nginx", node="n1", namespace=None, owner=None, platform="docker", gpus=())
    other = pod("far", node="n2", namespace=None, owner=None, platform="docker")
    stopped = dataclasses.replace(pod("old", node="n1", platform="docker"), phase="Failed")
    said = platform(Stack("docker", nodes=(node,)), owned(proxy, trains, other, stopped))
    (operand,) = [rule for rule in RULES if rule.id == "operand"]
    assert operand.judge_site is not None
    (told,) = filter(None, operand.judge_site(state(said)))
    assert [each.workload for each in told.hits] == ["train", "nginx"]
    assert "restart of the engine" in told.hits[0].text
    lines = [step.target for step in told.steps if step.target]
    restart = next(place for place, line in enumerate(lines) if "systemctl restart docker" in line)
    assert lines[restart - 1] == "docker info --format '{{.LiveRestoreEnabled}}'"
    assert any("let their work end first" in step.text for step in told.steps)


def test_a_node_that_never_answered_hits_what_the_platform_runs_there() -> None:
    down, waiting = failed("unreachable"), dataclasses.replace(pod("batch-0", node="n2"), phase="Pending")
    (alone,) = Triager(SiteSpec("bare")).run(fleet(down), (), NOW, at_once=True).findings
    assert (alone.hits, alone.hits_known) == ((), False)
    told = {
        said: next(each for each in run(Triager(SITE), ownership, value=fleet(down)).findings if each.subject.node)
        for said, ownership in (
            ("given", platform()),
            ("nobody", platform(ownership=owned(waiting))),
            ("denied", platform(ownership=owned(denied=[NotPermitted("pods", Permission("list", "pods"))]))),
        )
    }
    assert {said: each.rule for said, each in told.items()} == dict.fromkeys(told, "node-unreachable")
    assert [each.workload for each in told["given"].hits] == ["team-search/llama-70b-0"]
    assert {said: each.hits_known for said, each in told.items()} == {"given": True, "nobody": True, "denied": False}


def test_the_first_blocking_operand_is_named_with_its_log_line_and_cause() -> None:
    (operand,) = [rule for rule in RULES if rule.id == "operand"]
    assert operand.judge_site is not None
    (told,) = filter(None, operand.judge_site(state(platform(stack(blocked("n1.example.com"))))))
    assert (told.rule, told.severity, told.claim) == (
        "operand-driver",
        Severity.CRITICAL,
        "driver crashes in nvidia-driver-ctr",
    )
    assert told.subject.node == "n1"  # as the site calls it
    assert any("linux-headers" in each.text and each.source == "log of nvidia-driver-ctr" for each in told.evidence)
    assert "headers of the kernel" in (told.cause or "")
    assert any("kubectl -n gpu-operator logs" in step.target for step in told.steps)


@pytest.mark.parametrize(
    ("key", "phase", "reason", "severity", "claim"),
    [
        ("dcgm-exporter", OperandPhase.FAILING, "ImagePullBackOff", "warning", "exporter cannot pull its image"),
        ("toolkit", OperandPhase.MISSING, "no DaemonSet selects this node", "critical", "is missing: no DaemonSet"),
        ("driver", OperandPhase.STARTING, None, "info", "exporter is still starting"),
        ("gfd", OperandPhase.FAILING, "Error (exit 2), started again", "warning", "crashes in main"),
        ("gfd", OperandPhase.FAILING, None, "warning", "exporter fails"),
    ],
)
def test_an_operand_s_trouble_in_words(
    key: str, phase: OperandPhase, reason: str | None, severity: str, claim: str
) -> None:
    state_ = OperandState(key, phase, pod="p", namespace="gpu-operator", container="main", reason=reason)
    sick = StackNode("n1", StackHealth.BLOCKED, (state_,), Blocker(state_, "exporter"))
    ((rule, grave, told),) = found(platform(stack(sick)))
    assert (rule, grave) == (f"operand-{key}", severity)
    assert claim in told


def test_ten_nodes_with_the_same_blocker_are_one_finding_and_another_blocker_is_its_own() -> None:
    many = [blocked(f"n{number}") for number in range(1, 11)]
    other = OperandState("gfd", OperandPhase.FAILING, pod="p", namespace="gpu-operator", reason="OOMKilled")
    nodes = [*many, StackNode("n99", StackHealth.BLOCKED, (other,), Blocker(other, "GPU feature discovery"))]
    well_ones = [well(f"w{number}") for number in range(90)]
    readings = fleet(*(live(node(idle(node=each.name), name=each.name)) for each in (*nodes, *well_ones)))
    triage = run(Triager(SITE), platform(stack(*nodes, *well_ones)), value=readings)
    assert [(each.id, each.claim) for each in triage.findings] == [
        ("operand-driver:site", "driver crashes in nvidia-driver-ctr on 10 of 101 nodes"),
        ("operand-gfd:n99", "GPU feature discovery is killed for want of memory"),
    ]
    assert len(triage.findings[0].folded) == 10


def test_text_of_an_operand_cannot_break_the_claim_of_many() -> None:
    state_ = OperandState("gfd", OperandPhase.FAILING, pod="p", namespace="gpu-operator", reason="{0} {claim} {")
    sick = [StackNode(f"n{n}", StackHealth.BLOCKED, (state_,), Blocker(state_, "gfd")) for n in (1, 2)]
    readings = fleet(*(live(node(idle(node=each.name), name=each.name)) for each in sick))
    (told,) = run(Triager(SITE), platform(stack(*sick)), value=readings).findings
    assert told.claim == "gfd fails: (0) (claim) ( on 2 of 2 nodes"


def test_gpus_that_a_running_plugin_took_out() -> None:
    short = NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 8, 6, 0),))
    assert found(platform(stack(dataclasses.replace(well("n1"), capacity=short)))) == [
        ("gpu-allocatable", "warning", "2 of 8 nvidia.com/gpu cannot be allocated: the device plugin took them out")
    ]
    states = tuple(
        dataclasses.replace(each, phase=OperandPhase.WAITING) if each.operand == "device-plugin" else each
        for each in well("n1").operands
    )
    assert found(platform(stack(dataclasses.replace(well("n1"), capacity=short, operands=states)))) == []


def test_changes_that_are_stuck_or_failed() -> None:
    stuck = changing("n1")
    old = Since(NOW - 4000)
    upgrade = DriverUpgradeState("drain-required", old, 300.0, hint="a pod cannot be evicted")
    late = dataclasses.replace(stuck, upgrade=upgrade, mig=MigManagerState("all-3g.40gb", "pending", old))
    assert [(rule, grave) for rule, grave, _ in found(platform(stack(late)))] == [
        ("mig-manager", "warning"),
        ("driver-upgrade", "warning"),
    ]
    moving = DriverUpgradeState("drain-required", Since(NOW - 100), 300.0)
    assert found(platform(stack(dataclasses.replace(well("n1"), upgrade=moving)))) == []
    failed = dataclasses.replace(well("n1"), mig=MigManagerState("all-3g.40gb", "failed"))
    assert found(platform(stack(failed))) == [("mig-manager", "warning", "the MIG change to all-3g.40gb failed")]


def test_a_mig_layout_that_nobody_takes_up_is_told() -> None:
    untaken = dataclasses.replace(well("n1"), mig=MigManagerState("all-3g.40gb", None, Since(NOW - 4000)))
    (told,) = run(Triager(SITE), platform(stack(untaken))).findings
    assert told.claim == "the MIG change to all-3g.40gb is not taken up"
    assert "nvidia.com/mig.config.state is not set" in {each.text for each in told.evidence}
    assert "MIG Manager does not run" in (told.cause or "")


def test_a_failed_mig_change_tells_the_manager_s_reason_and_the_way_to_ask_again() -> None:
    reason = "Unable to enable MIG mode: In use by another client"
    mig = MigManagerState("all-3g.40gb", "failed", Since(NOW - 60), reason)
    (told,) = run(Triager(SITE), platform(stack(dataclasses.replace(well("n1"), mig=mig)))).findings
    assert (reason, "log of nvidia-mig-manager") in {(each.text, each.source) for each in told.evidence}
    assert told.cause == "likely work still runs on a GPU that is to be changed"
    (again,) = (step for step in told.steps if step.kind == "change")
    assert wish_of(again.target) == Wish("mig", "n1", "all-3g.40gb")


@pytest.mark.parametrize(("offers", "kind"), [(("resume", "undo", "abandon"), "command"), ((), "screen")])
def test_while_a_change_of_its_own_is_unfinished_the_way_to_ask_again_is_that_one(
    offers: tuple[str, ...], kind: str
) -> None:
    mig = MigManagerState("all-3g.40gb", "failed", Since(NOW - 60))
    triager = Triager(SITE)
    left = UnfinishedChange("c1", "MIG layout", "bob@head01", "failed", "step 1 of 1", "PATCH", NOW, True, offers)
    triager.unfinished = (dataclasses.replace(left, mig_nodes=("n1",)),)
    told = next(
        each
        for each in run(triager, platform(stack(dataclasses.replace(well("n1"), mig=mig)))).findings
        if each.rule == "mig-manager"
    )
    assert [step for step in told.steps if step.kind == "change"] == []
    (way,) = (step for step in told.steps if "change that asked for it" in step.text)
    assert (way.kind, way.target) == (kind, "gpudeck changes resume c1 --yes" if offers else "changes/c1")


@pytest.mark.parametrize(
    ("limit", "claim", "bound", "source"),
    [
        (300.0, "is stuck at", "the operator or its policy gives this step 5 min", "GPU Operator"),
        (None, "seems stuck at", "nothing bounds this step; after 30 min gpudeck takes it for stuck", "gpudeck"),
    ],
)
def test_a_step_that_nothing_bounds_is_called_stuck_as_a_judgement(
    limit: float | None, claim: str, bound: str, source: str
) -> None:
    upgrade = DriverUpgradeState("drain-required", Since(NOW - 4000), limit, usual_seconds=1800.0)
    said = platform(stack(dataclasses.replace(well("n1"), upgrade=upgrade)))
    (told,) = run(Triager(SITE), said).findings
    assert told.claim == f"the driver upgrade {claim} drain-required"
    assert (bound, source) in {(each.text, each.source) for each in told.evidence}


HELD = DrainPod("team-a", "web-1", budgets=("web",), healthy=((2, 1),))


@pytest.mark.parametrize(
    ("held", "cause", "looks"),
    [
        (None, "likely a pod that may not be evicted", "kubectl get pdb -A"),
        ((), "no PodDisruptionBudget holds a pod of the node", None),
        ((HELD,), "team-a/web-1 cannot be evicted: PodDisruptionBudget web needs 2 and has 1", "describe pdb web"),
    ],
)
def test_a_drain_that_is_stuck_names_the_pod_and_the_budget(
    held: tuple[DrainPod, ...] | None, cause: str, looks: str | None
) -> None:
    upgrade = DriverUpgradeState(
        "drain-required", Since(NOW - 4000), 300.0, hint="a pod that may not be evicted", held=held
    )
    said = platform(stack(dataclasses.replace(well("n1"), upgrade=upgrade)))
    (told,) = run(Triager(SITE), said).findings
    assert told.cause == cause
    commands = [step.target or "" for step in told.steps if "pdb" in (step.target or "")]
    assert [looks in command for command in commands if looks] == ([True] if looks else [])
    assert (cause in {each.text for each in told.evidence}) == bool(held)


def test_a_step_that_no_budget_can_hold_is_not_looked_at_for_budgets() -> None:
    upgrade = DriverUpgradeState("pod-restart-required", Since(NOW - 4000), 300.0, hint="the driver does not come up")
    said = platform(stack(dataclasses.replace(well("n1"), upgrade=upgrade)))
    (told,) = run(Triager(SITE), said).findings
    assert not [step for step in told.steps if "pdb" in (step.target or "")]


def test_a_node_that_is_not_ready_explains_its_operands() -> None:
    down = dataclasses.replace(blocked("n1"), ready=False)
    (told,) = run(Triager(SITE), platform(stack(down))).findings
    assert (told.rule, told.severity) == ("platform-node", Severity.CRITICAL)
    assert told.folded == ("driver crashes in nvidia-driver-ctr",)


# The operator


def test_nodes_that_nobody_labelled() -> None:
    bare = dataclasses.replace(well("n1"), labelled=False)
    labelled = dataclasses.replace(well("n2"), labelled=True)
    assert found(platform(stack(bare, labelled))) == [
        ("nfd", "warning", "node feature discovery has not labelled 1 node: n1")
    ]
    ((rule, grave, claim),) = found(platform(stack(bare, dataclasses.replace(bare, name="n2"))))
    assert (rule, grave) == ("nfd", "critical")
    assert "no node carries its labels" in claim


def test_the_operator_s_verdict_is_told_where_no_node_tells_why() -> None:
    policy = PolicyState("ClusterPolicy", "cluster-policy", "notReady", "OperandNotReady", "state-dcgm")
    assert found(platform(stack(well("n1"), policies=(policy,)))) == [
        ("operator-policy", "warning", "ClusterPolicy cluster-policy is not ready: OperandNotReady")
    ]
    assert [rule for rule, _, _ in found(platform(stack(blocked("n1"), policies=(policy,))))] == ["operand-driver"]


def test_a_component_that_is_down_and_operators_of_olm() -> None:
    component = Component("gpu-operator", 0, 1, "CrashLoopBackOff", None, "gpu-operator-1", "gpu-operator")
    waits = OlmOperator(
        "nfd", "openshift-nfd", "nfd", installed_csv="a", csv_phase="Succeeded", install_plan_phase="RequiresApproval"
    )
    first = dataclasses.replace(waits, package="gpu", installed_csv=None, csv_phase=None)
    broken = OlmOperator("gpu2", "ns", "gpu2", csv_phase="Failed", csv_message="no such image")
    told = found(platform(stack(well("n1"), components=(component,), operators=(waits, first, broken))))
    assert [(rule, grave) for rule, grave, _ in told] == [
        ("operator-component", "warning"),
        ("olm-approval", "info"),
        ("olm-approval", "warning"),
        ("olm-failed", "warning"),
    ]


# Whether it answers


def problem(code: str) -> Problem:
    return Problem(code, "the API server said no", "log in again", NOW - 60)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("unreachable", "platform-unreachable"),
        ("timeout", "platform-unreachable"),
        ("backend-failed", "platform-unreachable"),
        ("auth-refused", "platform-access"),
        ("not-permitted", "platform-access"),
    ],
)
def test_a_platform_that_does_not_answer(code: str, rule: str) -> None:
    said = PlatformState(stack_problem=problem(code), workloads_problem=problem(code))
    assert [(found_rule, grave) for found_rule, grave, _ in found(said)] == [(rule, "warning")]


def test_a_backend_that_cannot_do_this_is_no_trouble_of_the_platform() -> None:
    assert found(platform(workloads_problem=problem("error"))) == []


def test_what_may_not_be_read_is_said_once_and_breaks_nothing() -> None:
    denied = NotPermitted("pods of the cluster", Permission("list", "pods"))
    known = owned(denied=[denied])
    said = PlatformState(stack(well("n1"), not_permitted=(denied,)), known, known.workloads)
    assert found(said, view(uses("hidden"))) == [("platform-not-permitted", "info", "may not read pods of the cluster")]


@pytest.mark.parametrize("namespaces", [(), ("team-a",)])
def test_who_may_not_list_all_pods_may_name_namespaces_instead(namespaces: tuple[str, ...]) -> None:
    denied = NotPermitted("pods of the cluster", Permission("list", "pods"))
    site = dataclasses.replace(SITE, kubernetes=KubernetesSpec(namespaces=namespaces))
    seen = dataclasses.replace(state(platform(stack(well("n1"), not_permitted=(denied,)))), site=site)
    (told,) = rules_of_platform.not_permitted(seen)
    ways = [step.text for step in told.steps]
    assert ways[0] == "ask for the right to list pods"
    assert any('namespaces = ["NAME", ...]' in way for way in ways) is not bool(namespaces)


def test_an_operator_whose_version_may_not_be_read_is_not_called_missing() -> None:
    hidden = OlmOperator("gpu-operator-certified", "nvidia-gpu-operator", "gpu-operator")
    denied = NotPermitted("versions", Permission("list", "clusterserviceversions.operators.coreos.com", "x"))
    assert [rule for rule, *_ in found(PlatformState(stack(operators=(hidden,))))] == ["olm-failed"]
    told = found(PlatformState(stack(well("n1"), operators=(hidden,), not_permitted=(denied,))))
    assert [rule for rule, *_ in told] == ["platform-not-permitted"]


def test_who_may_read_nothing_is_not_told_that_all_is_well() -> None:
    denied = NotPermitted("nodes", Permission("list", "nodes"))
    said = PlatformState(stack(not_permitted=(denied,)))
    assert found(said) == [("platform-not-permitted", "warning", "may not read nodes")]


def test_who_may_read_no_pods_is_not_told_that_the_operands_are_judged() -> None:
    denied = NotPermitted("pods", Permission("list", "pods"))
    hidden = tuple(dataclasses.replace(each, phase=OperandPhase.UNKNOWN) for each in well("n1").operands)
    said = PlatformState(stack(dataclasses.replace(well("n1"), operands=hidden), not_permitted=(denied,)))
    assert found(said) == [("platform-not-permitted", "warning", "may not read pods")]


def test_an_outage_neither_ends_nor_repeats_what_was_so() -> None:
    triager = Triager(SITE)
    sick = platform(stack(blocked("n1")))
    assert [each.rule for each in run(triager, sick).findings] == ["operand-driver"]
    cut = dataclasses.replace(sick, stack_problem=problem("unreachable"), workloads_problem=problem("unreachable"))
    for seconds in (10.0, 60.0, 120.0):
        rules = {each.rule for each in run(triager, cut, NOW + seconds).findings}
        assert rules == {"operand-driver", "platform-unreachable"}
    mended = platform(stack(well("n1")))
    for seconds in (130.0, 140.0, 160.0, 180.0):
        triage = run(triager, mended, NOW + seconds)
    assert triage.findings == ()
    assert {each.rule for each in triage.recovered} == {"operand-driver", "platform-unreachable"}


def test_in_an_outage_values_say_when_they_were_read() -> None:
    triager = Triager(SITE)
    node = dataclasses.replace(well("n1"), capacity=NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 8, 6, 6),)))
    broken = blocked("n2")
    assert broken.blocker is not None
    event = broken.blocker.events[0]
    sick = platform(stack(broken, node), stack_at=NOW - 4)
    assert {each.at for told in run(triager, sick).findings for each in told.evidence} >= {None, event.at}
    cut = dataclasses.replace(sick, stack_problem=problem("unreachable"))
    after = {each.rule: each for each in run(triager, cut, NOW + 60).findings}
    driver = after["operand-driver"].evidence
    assert None not in {each.at for each in (*driver, *after["gpu-allocatable"].evidence)}
    assert (driver[1].at, driver[1].source) == (NOW - 4, "log of nvidia-driver-ctr, as last read")
    assert (event.at, "events") in {(each.at, each.source) for each in driver}, "an event keeps its own time"
    again = dataclasses.replace(sick, stack=stack(blocked("n2"), node))
    assert {each.at for told in run(triager, again, NOW + 70).findings for each in told.evidence} >= {None}


def test_what_could_be_seen_only_now_is_news_however_long_the_rest_was_known() -> None:
    """A check looks for some seconds from when everything was told: the slowest part must not cost a finding."""
    triager = Triager(SITE)
    ownership = owned(pod("a", node="n1", started_at=NOW - 9000), pod("b", node="n1", started_at=NOW - 9000))
    processes = (
        GpuProcess(1, "compute", "root", "a", container_id=container_id("a")),
        GpuProcess(2, "compute", "root", "b", container_id=container_id("b")),
    )
    card = gpu(processes=processes)
    waiting = PlatformState(None, ownership, ownership.workloads)
    whole = platform(stack(well("n1")), ownership)

    def rules(said: PlatformState, seconds: float) -> set[str]:
        at = NOW + seconds
        return {each.rule for each in triager.run(fleet(live(node(card), at)), (), at, platform=said).findings}

    assert rules(waiting, 0.0) == set()
    assert rules(waiting, 10.0) == set()
    assert rules(whole, 20.0) == set()
    assert rules(whole, 25.0) == {"alloc-twice"}


# Allocation


def test_what_runs_against_what_was_given() -> None:
    ownership = owned(
        pod("idle", node="n1", started_at=NOW - 9000),
        pod("asked", node="n1", started_at=NOW - 9000),
        pod("unasked", node="n1", gpus=()),
    )
    card = gpu(
        processes=(
            GpuProcess(1, "compute", "root", "a", container_id=container_id("asked")),
            GpuProcess(2, "compute", "root", "b", container_id=container_id("unasked")),
            GpuProcess(3, "compute", "root", "c", container_id=container_id("gone")),
            GpuProcess(4, "compute", "jane", "d"),
        )
    )
    assert [(rule, grave) for rule, grave, _ in found(platform(ownership=ownership), view(card))] == [
        ("alloc-idle", "info"),
        ("alloc-unasked", "warning"),
        ("alloc-orphan", "warning"),
        ("alloc-host", "warning"),
    ]


@pytest.mark.parametrize("begins", [each / 2 for each in range(14)])
def test_a_pod_that_ends_a_moment_before_its_process_leaves_no_orphan(begins: float) -> None:
    """The platform tells at once, the node every second, and the rule keeps what it saw until it looks again."""
    triager, ownership = Triager(SITE), owned(pod("other", node="n1", started_at=NOW - 9000))
    for half in range(40):
        at = NOW + half / 2
        card = uses("ended") if begins <= half / 2 < begins + 1 else gpu(processes=())
        told = triager.run(fleet(live(node(card), at)), (), at, platform=platform(ownership=ownership))
        assert "alloc-orphan" not in {each.rule for each in told.findings}, half / 2
    assert "alloc-idle" in {each.rule for each in told.findings}  # the rules did look


def test_an_engine_without_a_scheduler_has_no_strangers_on_the_host_and_nothing_twice() -> None:
    ownership = owned(pod("a", node="n1", platform="docker"), pod("b", node="n1", platform="docker"))
    card = gpu(
        processes=(
            GpuProcess(1, "compute", "root", "a", container_id=container_id("a")),
            GpuProcess(2, "compute", "root", "b", container_id=container_id("b")),
            GpuProcess(3, "compute", "root", "c", container_id=container_id("gone")),
            GpuProcess(4, "compute", "jane", "d"),
        )
    )
    told = found(platform(Stack("docker"), ownership), view(card))
    assert [(rule, grave) for rule, grave, _ in told] == [("alloc-orphan", "info")]


def test_workloads_that_are_not_told_yet_make_no_mismatch() -> None:
    said = PlatformState(stack(well("n1")), workloads=None)
    assert found(said, view(uses("anything"))) == []
    nothing = PlatformState(stack(well("n1")), Ownership(Workloads()), Workloads())
    assert found(nothing, view(uses("anything"))) == []


# Whom it hits


def test_the_hits_of_any_finding_name_the_pod_and_its_owner() -> None:
    ownership = owned(pod("llama-70b-0", node="n1", user="carla"))
    inside = container_id("llama-70b-0")
    hot = gpu(
        temperature=gpu().temperature,
        recovery_action="gpu_reset",
        processes=tuple(GpuProcess(pid, "compute", "root", "python", 1 << 30, container_id=inside) for pid in (1, 2)),
    )
    triage = run(Triager(SITE), platform(ownership=ownership), value=fleet(live(node(hot))))
    (hit,) = triage.findings[0].hits
    assert hit.text == "team-search/llama-70b-0 (Deployment llama-70b, carla, 2 processes, 2.0 GiB)"
    assert (hit.workload, hit.owner, hit.processes) == ("team-search/llama-70b-0", "Deployment llama-70b", 2)
    assert (hit.user, hit.pid, hit.memory_bytes) == ("carla", None, 2 << 30)


@pytest.mark.parametrize(
    ("operand", "running"),
    [
        ("driver", ["runs until the driver is made anew"]),
        ("validator", ["runs on GPUs that are not validated"]),
        ("toolkit", []),
    ],
)
def test_work_that_waits_for_an_operand_is_told_apart_from_work_that_runs(operand: str, running: list[str]) -> None:
    waits = dataclasses.replace(pod("late", node="n1"), phase="Pending")
    ended = dataclasses.replace(pod("done", node="n1"), phase="Succeeded")
    ownership = owned(ended, pod("busy", node="n1"), waits)
    state_ = OperandState(operand, OperandPhase.FAILING, pod="p", namespace="gpu-operator", reason="OOMKilled")
    sick = StackNode("n1", StackHealth.BLOCKED, (state_,), Blocker(state_, operand))
    triage = run(Triager(SITE), platform(stack(sick), ownership))
    (told,) = (each for each in triage.findings if each.rule == f"operand-{operand}")
    assert [each.text for each in told.hits] == [
        "team-search/late (waits, Deployment llama-70b)",
        *(f"team-search/busy ({how}, Deployment llama-70b)" for how in running),
    ]


def test_workloads_of_many_nodes_keep_their_names_in_one_finding() -> None:
    names = ("n1", "n2", "n3", "n4")
    ownership = owned(*(pod(f"job-{name}", node=name, owner=None) for name in names))
    readings = fleet(*(live(node(idle(node=name), name=name)) for name in names))
    triage = run(Triager(SITE), platform(stack(*map(blocked, names)), ownership), value=readings)
    (told,) = (each for each in triage.findings if each.rule == "operand-driver")
    assert [each.workload for each in told.hits] == [f"team-search/job-{name}" for name in names]


def test_checks_count_what_the_platform_let_be_looked_at() -> None:
    triage = run(Triager(SITE), platform(stack(well("n1"), dataclasses.replace(well("n2"), labelled=True))))
    looked = {check.rule: check.subjects for check in triage.checks}
    assert (looked["operand"], looked["nfd"], looked["alloc-host"], looked["platform-unreachable"]) == (2, 1, 1, 1)


@pytest.mark.parametrize(
    ("release", "told"),
    [
        (ClusterRelease("4.20.4", "4.20.5", True, True, False, "Working towards 4.20.5"), []),
        (
            ClusterRelease("4.20.4", "4.20.5", True, True, True, "etcd is degraded"),
            [("cluster-release", "warning", "the OpenShift cluster is failing on its way to 4.20.5")],
        ),
        (
            ClusterRelease("4.20.4", "4.20.4", False, False, False, "x"),
            [("cluster-release", "critical", "the OpenShift cluster is not available")],
        ),
        (None, []),
    ],
)
def test_a_cluster_that_fails_is_told_and_an_upgrade_is_not(
    release: ClusterRelease | None, told: list[tuple[str, str, str]]
) -> None:
    assert found(platform(stack(well("n1"), cluster=release))) == told


@pytest.mark.parametrize(("on", "tool"), [("kubernetes", "kubectl"), ("openshift", "oc")])
def test_a_policy_is_read_by_the_full_name_of_its_resource_with_the_cluster_s_own_tool(on: str, tool: str) -> None:
    policy = PolicyState("ClusterPolicy", "gpu-cluster-policy", "notReady", "OperandNotReady", "x")
    triager = Triager(dataclasses.replace(SITE, platform=on))
    (told,) = (each for each in run(triager, platform(stack(well("n1"), policies=(policy,)))).findings
               if each.rule == "operator-policy")  # fmt: skip
    assert told.steps[0].target == f"{tool} describe clusterpolicies.nvidia.com gpu-cluster-policy"


def test_on_openshift_no_finding_of_the_stack_names_kubectl() -> None:
    ill = dataclasses.replace(well("n2"), ready=False)
    taken = dataclasses.replace(well("n3"), capacity=NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 8, 6),)))
    nfd = Component("node feature discovery", 0, 1, pod="nfd-worker", namespace="openshift-nfd")
    said = platform(stack(blocked("n1"), ill, taken, changing("n4"), components=(nfd,)))
    triage = run(Triager(dataclasses.replace(SITE, platform="openshift")), said)
    targets = [step.target for each in triage.findings for step in each.steps if step.target]
    assert any(target.startswith("oc get pdb") for target in targets)
    assert not [target for target in targets if "kubectl" in target]


EARLIER = NOW - 5_000


def sinces(said: PlatformState) -> dict[str, float]:
    rules = [rule for rule in RULES if rule.judge_site is not None and rule.site_subjects is not None]
    told = (each for rule in rules if rule.judge_site is not None for each in rule.judge_site(state(said)))
    return {each.rule: each.since for each in filter(None, told)}


def told_at(at: float | None) -> PlatformState:
    failed = OlmOperator("nfd", "openshift-nfd", "nfd", csv_phase="Failed", since=at)
    waits = OlmOperator("gpu-operator", "x", "x", install_plan_phase="RequiresApproval", install_plan_at=at)
    return platform(
        stack(
            dataclasses.replace(well("n1"), ready=False, ready_at=at),
            components=(Component("gpu-operator", 0, 1, since=at),),
            policies=(PolicyState("ClusterPolicy", "cluster-policy", "notReady", since=at),),
            operators=(failed, waits),
            cluster=ClusterRelease("4.20.4", "4.20.4", True, False, True, since=at),
        )
    )


PLATFORM_RULES = {"platform-node", "operator-component", "operator-policy", "olm-failed", "olm-approval"}


def test_what_a_platform_tells_began_when_the_platform_says() -> None:
    assert sinces(told_at(EARLIER)) == dict.fromkeys({*PLATFORM_RULES, "cluster-release"}, EARLIER)
    assert set(sinces(told_at(None)).values()) == {NOW}, "where it does not say, now"
    assert set(sinces(told_at(NOW + 3)).values()) == {NOW}, "its clock may be ahead"


def test_a_console_that_starts_tells_since_when_a_node_is_not_ready() -> None:
    triage = run(Triager(SITE), told_at(EARLIER))
    assert {each.rule: each.since for each in triage.findings}["platform-node"] == EARLIER
