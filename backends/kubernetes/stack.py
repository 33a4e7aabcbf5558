"""Objects of the API -> the GPU stack. Pure: the same objects and time give the same `Stack`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backends.domain import NotPermitted, Stack, StackNode
from backends.kubernetes.node_state import VALIDATION_SECONDS, OnNode, Site, is_gpu_node, node_of_stack
from backends.kubernetes.objects import TIMED_LABELS, LeanDaemonSet, LeanNode, LeanPod, LeanPolicy
from backends.kubernetes.operands import DEPLOY, OPERANDS, OperandKind, kind_of
from backends.kubernetes.operator_state import components, operator_version, policy_state
from backends.kubernetes.resources import PODS
from backends.kubernetes.support import supported

CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
DEFAULT_NAMESPACES = ("gpu-operator", "nvidia-gpu-operator")
"""Of the Helm chart and of OpenShift's bundle."""
NAMES_IN_NOTE = 5
RETHINK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Objects:
    """Everything the stack is made of."""

    nodes: tuple[LeanNode, ...] = ()
    pods: tuple[LeanPod, ...] = ()
    daemon_sets: tuple[LeanDaemonSet, ...] = ()
    policies: tuple[LeanPolicy, ...] = ()
    pods_of: frozenset[str] | None = None
    """Namespaces whose pods are read; None: all. Of some only, what is requested is not known."""
    sets_of: frozenset[str] | None = None
    """The same of the DaemonSets."""
    version: str | None = None
    """Of the API server: v1.31.2."""
    expected: frozenset[str] = frozenset()
    """Names of the site's own nodes: they have GPUs, whatever their labels say."""
    not_permitted: tuple[NotPermitted, ...] = ()
    troubles: tuple[str, ...] = ()
    """What could not be read, one sentence each."""


class Builder:
    """Makes a `Stack` of `Objects`; a node whose objects did not change is the same object as before.

    Such a node is looked at again every `RETHINK_SECONDS` only, because then just the time has changed.
    """

    def __init__(self, platform: str, namespace: str | None = None) -> None:
        self._platform = platform
        self._namespace = namespace
        self._known: dict[str, _Known] = {}
        self._labels: dict[tuple[str, str], tuple[str | None, float]] = {}
        """(node, label) -> its value, and when it was first seen."""

    def build(self, objects: Objects, now: float) -> Stack:
        namespace = operator_namespace(objects, self._namespace)
        owned, by_node = _pods_by_node(objects.pods, namespace)
        sets_read = objects.sets_of is None or namespace in objects.sets_of
        daemon_sets = _operand_sets(objects.daemon_sets, namespace) if sets_read else None
        deployed = frozenset([kind.key for kind, _ in owned] + [kind.key for kind, _ in daemon_sets or ()])
        hidden = _hidden(objects.pods_of, namespace)
        if hidden is not None:
            deployed |= frozenset(_wanted(objects.nodes))
        limits, seen = dict(_limits(objects.policies)), self._look_at_labels(objects.nodes, now)
        site = Site(daemon_sets, deployed, limits, objects.pods_of is None, now, seen, hidden)
        known: dict[str, _Known] = {}
        for node in sorted(objects.nodes, key=lambda each: each.name):
            on_node = by_node.get(node.name, OnNode())
            if is_gpu_node(node) or on_node.operands or node.name in objects.expected:
                known[node.name] = self._think(node, on_node, site)
        self._known = known
        version = operator_version(objects.pods, namespace)
        return Stack(
            platform=self._platform,
            version=objects.version,
            operands=tuple(kind.operand() for kind in OPERANDS if kind.key in deployed),
            nodes=tuple(each.result for each in known.values()),
            policies=tuple(policy_state(policy) for policy in sorted(objects.policies, key=_oldest)),
            components=components(objects.pods, namespace),
            operator_namespace=namespace,
            operator_version=version,
            support=supported(version, kubernetes=objects.version),
            notes=(*objects.troubles, *_notes(objects, deployed)),
            not_permitted=objects.not_permitted,
        )

    def _look_at_labels(self, nodes: Iterable[LeanNode], now: float) -> dict[tuple[str, str], float]:
        former, self._labels = self._labels, {}
        for node in nodes:
            for label in TIMED_LABELS:
                value = node.labels.get(label)
                known = former.get((node.name, label))
                same = known is not None and known[0] == value
                self._labels[node.name, label] = known if same and known is not None else (value, now)
        return {key: at for key, (value, at) in self._labels.items() if value}

    def _think(self, node: LeanNode, on_node: OnNode, site: Site) -> _Known:
        former = self._known.get(node.name)
        if former is not None and former.holds(node, on_node, site):
            return former
        result = node_of_stack(node, on_node, site)
        if former is not None and former.result == result:
            result = former.result
        return _Known(node, on_node, site, result)


@dataclass(frozen=True, slots=True)
class _Known:
    """A node of the stack, and what it was made of."""

    node: LeanNode
    on_node: OnNode
    site: Site
    result: StackNode

    def holds(self, node: LeanNode, on_node: OnNode, site: Site) -> bool:
        """Equal values of the API are the same objects here, so this compares few values more than once."""
        return (
            site.now - self.site.now < RETHINK_SECONDS
            and self.node is node
            and self.on_node == on_node
            and self.site.same_but_time(site)
        )


def operator_namespace(objects: Objects, configured: str | None) -> str | None:
    """Where the GPU Operator lives: as configured, as the ClusterPolicy says, or where its own pod is."""
    if configured is not None:
        return configured
    told = next((policy.namespace for policy in sorted(objects.policies, key=_oldest) if policy.namespace), None)
    if told is not None:
        return told
    operators = [pod.namespace for pod in objects.pods if is_operator(pod)]
    known = [namespace for namespace in operators if namespace in DEFAULT_NAMESPACES]
    return next(iter(known or operators), None)


def is_operator(pod: LeanPod) -> bool:
    """It calls itself the GPU Operator's own pod."""
    return pod.labels.get("app") == "gpu-operator"


def requests_by_node(pods: Iterable[LeanPod]) -> dict[str, dict[str, int]]:
    """Node -> resource -> what pods that have not ended asked for."""
    found: dict[str, dict[str, int]] = {}
    for pod in pods:
        if pod.node is not None and pod.gpus and not pod.ended:
            counts = found.setdefault(pod.node, {})
            for resource, count in pod.gpus:
                counts[resource] = counts.get(resource, 0) + count
    return found


def _pods_by_node(
    pods: Iterable[LeanPod], namespace: str | None
) -> tuple[list[tuple[OperandKind, LeanPod]], dict[str, OnNode]]:
    owned: list[tuple[OperandKind, LeanPod]] = []
    by_node: dict[str, OnNode] = {}
    for pod in pods:
        # Only in the operator's namespace: anyone may give a pod of his own the label of an operand.
        kind = kind_of(pod.labels) if pod.namespace == namespace else None
        if kind is not None:
            owned.append((kind, pod))
            if pod.node is not None:
                by_node.setdefault(pod.node, OnNode()).operands.append((kind, pod))
    for node, counts in requests_by_node(pods).items():
        by_node.setdefault(node, OnNode()).requested = counts
    return owned, by_node


def _hidden(pods_of: frozenset[str] | None, namespace: str | None) -> str | None:
    """Why the operands' pods are not seen; None where they are."""
    if pods_of is None or namespace in pods_of:
        return None
    return f"not permitted: {PODS.permission('list', namespace)}"


def _wanted(nodes: Iterable[LeanNode]) -> Iterable[str]:
    """The operands that labels of the nodes ask for."""
    for node in nodes:
        yield from (kind.key for kind in OPERANDS if node.labels.get(DEPLOY + kind.deploy) == "true")


def _operand_sets(
    daemon_sets: tuple[LeanDaemonSet, ...], namespace: str | None
) -> tuple[tuple[OperandKind, LeanDaemonSet], ...]:
    pairs = ((kind_of(each.labels), each) for each in daemon_sets if each.namespace == namespace)
    return tuple((kind, each) for kind, each in pairs if kind is not None)


def _notes(objects: Objects, deployed: frozenset[str]) -> Iterable[str]:
    if not objects.policies and not deployed:
        if objects.not_permitted or objects.troubles:
            return
        yield "there is no GPU Operator: neither a ClusterPolicy nor an operand"
        return
    workers = [node for node in objects.nodes if not any(role in node.labels for role in CONTROL_PLANE)]
    unlabelled = [node.name for node in workers if not node.has_nfd]
    if not unlabelled:
        return
    if len(unlabelled) == len(workers):
        yield "no node carries labels of node feature discovery: the operator sees no GPU node"
        return
    named = ", ".join(sorted(unlabelled)[:NAMES_IN_NOTE]) + (", ..." if len(unlabelled) > NAMES_IN_NOTE else "")
    yield f"node feature discovery has not labelled {len(unlabelled)} nodes: {named}"


def _limits(policies: Iterable[LeanPolicy]) -> Iterable[tuple[str, float]]:
    yield "validation-required", VALIDATION_SECONDS
    for policy in sorted(policies, key=_oldest, reverse=True):
        yield from policy.step_limits


def _oldest(policy: LeanPolicy) -> tuple[str, float, str]:
    """The order in which policies count: of several ClusterPolicies only the oldest acts."""
    return (policy.kind, policy.created_at or 0.0, policy.name)
