"""The platform as a whole: whether it answers, what it lets the console read, who installs and labels its nodes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.domain import (
    Evidence,
    Finding,
    NextStep,
    NotPermitted,
    OlmOperator,
    OperandPhase,
    PolicyState,
    Problem,
    Severity,
    Stack,
    Subject,
    plural,
)
from backends.triage import steps
from backends.triage.rule import GPUDECK, finding
from backends.triage.state import SiteState
from backends.triage.words import listed

ACCESS_CODES = frozenset({"auth-refused", "not-permitted", "host-key-unknown", "host-key-changed", "host-key-revoked"})
"""Codes of a `Problem` that are about who asks, not about whether anybody answers."""
OWN_CODES = frozenset({"error", "backend-missing", "config"})
"""Nothing of the platform's: the backend is not installed, or cannot do this."""
REFUSED_TOLD = 8
CAUSES = {
    "platform-unreachable": "likely the API server, the network to it or its load balancer",
    "platform-access": "likely the credentials have expired, or were taken back",
    "backend-failed": "a defect of the backend, not of the platform",
}
"""Rule, or code of the problem -> why the platform is not read."""
POLICY_RESOURCES = {"ClusterPolicy": "clusterpolicies.nvidia.com", "NVIDIADriver": "nvidiadrivers.nvidia.com"}


def unreachable(state: SiteState) -> Iterator[Finding]:
    problem = _problem(state)
    if problem is not None and problem.code not in ACCESS_CODES | OWN_CODES:
        yield _not_read("platform-unreachable", f"{state.site.platform} cannot be read", state, problem)


def access(state: SiteState) -> Iterator[Finding]:
    problem = _problem(state)
    if problem is not None and problem.code in ACCESS_CODES:
        yield _not_read("platform-access", f"{state.site.platform} does not let this user in", state, problem)


def _problem(state: SiteState) -> Problem | None:
    platform = state.platform
    return None if platform is None else platform.stack_problem or platform.workloads_problem


def _not_read(rule: str, claim: str, state: SiteState, problem: Problem) -> Finding:
    shown = [steps.advice(problem.hint)] if problem.hint else []
    return finding(
        rule,
        Severity.WARNING,
        Subject(),
        claim,
        problem.at,
        evidence=[Evidence(problem.message, problem.at, state.site.platform)],
        cause=CAUSES.get(problem.code, CAUSES[rule]),
        steps=[*shown, *_ask(state)],
    )


def _ask(state: SiteState) -> list[NextStep]:
    line = {"kubernetes": "kubectl get --raw /readyz", "openshift": "oc whoami; oc get --raw /readyz"}
    found = line.get(state.site.platform or "")
    return [] if found is None else [steps.command("ask it by hand", found)]


def not_permitted(state: SiteState) -> Iterator[Finding]:
    """What the console may not read, once and in one place."""
    platform = state.platform
    if platform is None:
        return
    refused: dict[str, NotPermitted] = {}
    for each in (
        *(platform.stack.not_permitted if platform.stack is not None else ()),
        *(platform.workloads.not_permitted if platform.workloads is not None else ()),
    ):
        refused.setdefault(str(each.permission), each)
    if not refused:
        return
    blind = platform.stack is not None and not _sees_operands(platform.stack)
    left = "the GPU stack is not judged at all" if blind else "nothing else misses because of it"
    yield finding(
        "platform-not-permitted",
        Severity.WARNING if blind else Severity.INFO,
        Subject(),
        f"may not read {listed((each.what for each in refused.values()), 2)}",
        state.now,
        evidence=[
            Evidence(f"{each.what}: needs {permission}", None, state.site.platform)
            for permission, each in list(refused.items())[:REFUSED_TOLD]
        ],
        cause=f"likely the role of this user does not hold these rights; {left}",
        steps=[steps.advice(f"ask for the right to {permission}") for permission in list(refused)[:REFUSED_TOLD]],
        source=GPUDECK,
        magnitude=float(len(refused)),
    )


def _sees_operands(stack: Stack) -> bool:
    """There are nodes, and not all that is known of their operands is that they may not be read."""
    phases = {operand.phase for node in stack.nodes for operand in node.operands}
    return bool(stack.nodes) and phases != {OperandPhase.UNKNOWN}


def components(state: SiteState) -> Iterator[Finding]:
    """The operator itself and node feature discovery."""
    for component in () if state.stack is None else state.stack.components:
        if component.ready >= component.wanted:
            continue
        said = [component.message] if component.message else []
        where = f"-n {component.namespace} describe pod {component.pod}"
        yield finding(
            "operator-component",
            Severity.WARNING,
            Subject(),
            f"{component.name}: {component.ready} of {plural(component.wanted, 'pod')} ready",
            state.since(component.since),
            evidence=[
                Evidence(f"{component.pod}: {component.reason or 'not ready'}", None, state.site.platform),
                *(Evidence(line, None, component.pod) for line in said),
            ],
            cause="likely its image, its configuration or the node it was put on",
            steps=[steps.in_cluster(state.site, "see why", where)] if component.pod and component.namespace else [],
            more=component.name.replace(" ", "-"),
        )


def unlabelled(state: SiteState) -> Iterator[Finding]:
    """Nodes that node feature discovery has not labelled: the operator puts nothing on them."""
    stack = state.stack
    if stack is None or not (stack.operands or stack.policies):
        return
    told = [node for node in stack.nodes if node.labelled is not None]
    bare = [node.name for node in told if node.labelled is False]
    if not bare:
        return
    every = len(bare) == len(told)
    names = listed(sorted(bare), 4)
    claim = (
        "node feature discovery is down: no node carries its labels"
        if every
        else f"node feature discovery has not labelled {plural(len(bare), 'node')}: {names}"
    )
    policy = next((each for each in stack.policies if each.reason == "NFDLabelsMissing"), None)
    yield finding(
        "nfd",
        Severity.CRITICAL if every else Severity.WARNING,
        Subject(),
        claim,
        state.now,
        evidence=[
            Evidence(
                f"{len(bare)} of {plural(len(told), 'node')} without feature.node.kubernetes.io labels",
                None,
                stack.platform,
            ),
            *(
                []
                if policy is None
                else [Evidence(f"{policy.kind} {policy.name}: {policy.message}", None, stack.platform)]
            ),
        ],
        cause="likely the pods of node feature discovery do not run; without its labels the operator takes its operands"
        " away, and no new work gets a GPU",
        steps=[
            steps.in_cluster(
                state.site,
                "see whether its pods run",
                "get pods -A -l app.kubernetes.io/name=node-feature-discovery -o wide",
            ),
            steps.open_stack(),
        ],
        magnitude=float(len(bare)),
    )


def olm(state: SiteState) -> Iterator[Finding]:
    """Operators that OLM installs: one that failed, and one that waits for somebody's word."""
    for operator in () if state.stack is None else state.stack.operators:
        installed = operator.csv_phase == "Succeeded"
        if operator.waits_for_approval:
            yield _waits(state, operator, Severity.INFO if installed else Severity.WARNING)
        elif not operator.healthy and not (operator.csv_phase is None and _csvs_hidden(state)):
            phase = operator.csv_phase or operator.install_plan_phase or "not installed"
            said = operator.message or operator.csv_message or operator.csv_reason or "no reason given"
            yield finding(
                "olm-failed",
                Severity.WARNING,
                Subject(),
                f"operator {operator.package} is {phase}",
                state.since(operator.since),
                evidence=[Evidence(said, None, "OLM")],
                cause="likely its catalogue, its images or a right that its install plan needs",
                steps=[_subscription(operator), steps.open_stack()],
                more=operator.package,
            )


def _csvs_hidden(state: SiteState) -> bool:
    """Whether an operator is installed may not be read."""
    refused = () if state.stack is None else state.stack.not_permitted
    return any(each.permission.resource.startswith("clusterserviceversions") for each in refused)


def _waits(state: SiteState, operator: OlmOperator, severity: Severity) -> Finding:
    approved = '{"spec":{"approved":true}}'
    plan = f"oc -n {operator.namespace} patch installplan {operator.install_plan} --type merge -p '{approved}'"
    has = operator.installed_csv or "nothing"
    return finding(
        "olm-approval",
        severity,
        Subject(),
        f"the install plan of {operator.package} waits for approval: {operator.current_csv or 'a new version'}",
        state.since(operator.install_plan_at),
        evidence=[
            Evidence(f"install plan {operator.install_plan}: {operator.install_plan_phase}", None, "OLM"),
            Evidence(f"installed: {has}, approval {operator.approval or 'n/a'}", None, "OLM"),
        ],
        cause="the subscription asks for a person's word before each new version",
        steps=[_subscription(operator), steps.command("approve it", plan), steps.open_stack()],
        more=operator.package,
    )


def _subscription(operator: OlmOperator) -> NextStep:
    return steps.command("look at it", f"oc -n {operator.namespace} get subscription,installplan,csv")


def policy(state: SiteState) -> Iterator[Finding]:
    """The operator's own verdict, where no node tells why."""
    stack = state.stack
    if stack is None or any(node.blocker is not None for node in stack.nodes):
        return
    for each in stack.policies:
        if each.state != "notReady":
            continue
        yield finding(
            "operator-policy",
            Severity.WARNING,
            Subject(),
            f"{each.kind} {each.name} is not ready: {each.reason or 'no reason given'}",
            state.since(each.since),
            evidence=[Evidence(each.message, None, "GPU Operator")] if each.message else [],
            cause="likely what its message names",
            steps=[steps.in_cluster(state.site, "read it", _describe(each)), steps.open_stack()],
            more=each.name,
        )


def _describe(policy: PolicyState) -> str:
    """By the full name of the resource: other operators have a ClusterPolicy too."""
    resource = POLICY_RESOURCES.get(policy.kind, policy.kind.lower())
    return f"describe {resource} {shlex.quote(policy.name)}"


def platform_subjects(state: SiteState) -> int:
    """1 where the site has a platform that has said anything."""
    platform = state.platform
    return int(platform is not None and (platform.stack is not None or _problem(state) is not None))


def operator_subjects(state: SiteState) -> int:
    return 0 if state.stack is None else len(state.stack.operators)


def component_subjects(state: SiteState) -> int:
    return 0 if state.stack is None else len(state.stack.components)


def policy_subjects(state: SiteState) -> int:
    return 0 if state.stack is None else len(state.stack.policies)


def labelled_subjects(state: SiteState) -> int:
    return 0 if state.stack is None else sum(node.labelled is not None for node in state.stack.nodes)
