"""One node's operands in dependency order, and the first that does not run by a cause of its own.

All operands wait for files that earlier ones leave on the host, so one failing driver shows as a column of Init:0/1
pods. What counts is which of them waits, and for whom.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from backends.domain import OperandPhase, OperandState
from backends.kubernetes.objects import LeanContainer, LeanDaemonSet, LeanNode, LeanPod
from backends.kubernetes.operands import BY_KEY, DEPLOY, OPERANDS, WAITS_FOR, OperandKind

TERMINATING_SECONDS = 120.0
"""A pod that is still there this long after its grace is over is stuck."""
FIRST_STATUS_SECONDS = 60.0
"""The kubelet has written a pod's first conditions by then: a later one tells of a change."""
TRIES = 3
"""A container that was started again so often has failed for more than a minute (back-off 10 s, 20 s, 40 s)."""
GOOD_WAITS = frozenset({"ContainerCreating", "PodInitializing"})
"""Waiting reasons of a container that has not been started yet; any other is a failure."""
ENDED_FROM_OUTSIDE = frozenset({0, 137, 143, 255})
"""Exit codes of a container that was killed, or whose node went down: no word about the container itself."""
KNOWN_SELECTORS = (
    "nvidia.com/",
    "feature.node.kubernetes.io/system-os_release",
    "feature.node.kubernetes.io/kernel-version.full",
)
"""Node labels that were kept."""
TOLERATES_ANY = "Exists"


def operand_states(
    node: LeanNode,
    pods: Iterable[tuple[OperandKind, LeanPod]],
    daemon_sets: Iterable[tuple[OperandKind, LeanDaemonSet]] | None,
    deployed: frozenset[str],
    now: float,
    hidden: str | None = None,
) -> tuple[OperandState, ...]:
    """The state of every operand that the node has or is to have, in the order of `OPERANDS`.

    `pods` are the operands' pods on this node; `daemon_sets` those of the whole cluster, None when they may not be
    read; `deployed` the operands that exist anywhere; `hidden` says why pods may not be read, None where they are.
    """
    present = _newest(pods)
    sets: dict[str, list[LeanDaemonSet]] = {}
    for kind, daemon_set in daemon_sets or ():
        sets.setdefault(kind.key, []).append(daemon_set)
    states: dict[str, OperandState] = {}
    for kind in OPERANDS:
        if kind.key in deployed or kind.key in present:
            state = _one(kind, node, present.get(kind.key), now)
            if state is None and hidden is not None:
                state = _unseen(kind, node, hidden)
            elif state is None:
                state = _absent(kind, node, sets.get(kind.key, []), daemon_sets is not None)
            if state is not None:
                states[kind.key] = state
    return tuple(_waits(state, states, now) for state in states.values())


def first_blocker(states: Iterable[OperandState]) -> OperandState | None:
    """The earliest operand that keeps the later ones from running; None when none does."""
    return next((state for state in states if state.phase.blocks), None)


def _newest(pods: Iterable[tuple[OperandKind, LeanPod]]) -> dict[str, LeanPod]:
    """One pod for each operand: one that is not being deleted over one that is, then the younger."""
    chosen: dict[str, LeanPod] = {}
    for kind, pod in pods:
        former = chosen.get(kind.key)
        if former is None or _rank(pod) > _rank(former):
            chosen[kind.key] = pod
    return chosen


def _rank(pod: LeanPod) -> tuple[bool, float]:
    return (pod.deleted_at is None, pod.created_at or 0.0)


def _one(kind: OperandKind, node: LeanNode, pod: LeanPod | None, now: float) -> OperandState | None:
    """By the pod, or by a label that stands for it; None without either."""
    wanted = node.labels.get(DEPLOY + kind.deploy)
    if wanted is not None and wanted.startswith("paused-"):
        return _state(kind, OperandPhase.PAUSED, pod, reason=wanted)
    if pod is not None:
        return _of_pod(kind, pod, now)
    if node.labels.get(DEPLOY + "operands") == "false" or wanted == "false":
        return OperandState(kind.key, OperandPhase.OFF, reason="turned off by a label of the node")
    return None


def _unseen(kind: OperandKind, node: LeanNode, hidden: str) -> OperandState | None:
    """Whether it has a pod is not known."""
    wanted = node.labels.get(DEPLOY + kind.deploy) == "true"
    return OperandState(kind.key, OperandPhase.UNKNOWN, reason=hidden) if wanted else None


def _absent(
    kind: OperandKind, node: LeanNode, daemon_sets: list[LeanDaemonSet], sets_known: bool
) -> OperandState | None:
    """None when the node has nothing to do with the operand."""
    if node.labels.get(DEPLOY + kind.deploy) != "true":
        return None
    if not sets_known:
        return OperandState(kind.key, OperandPhase.MISSING, reason="no pod")
    if not daemon_sets:
        # Deployed somewhere by its pods, but its DaemonSet is gone: the operator is about to take it away.
        return OperandState(kind.key, OperandPhase.MISSING, reason="no DaemonSet")
    matching = [each for each in daemon_sets if _selects(each.node_selector, node)]
    if not matching:
        if kind.key == "mps":
            return None  # wants nvidia.com/mps.capable=true besides
        reason, message = "no DaemonSet selects this node", _unmatched(daemon_sets[0].node_selector, node)
        return OperandState(kind.key, OperandPhase.MISSING, reason=reason, message=message)
    missing = OperandState(
        kind.key, OperandPhase.MISSING, namespace=matching[0].namespace, daemon_set=matching[0].name, reason="no pod"
    )
    taint = _untolerated(matching[0], node)
    if taint is None:
        return missing
    return dataclasses.replace(missing, reason="taint", message=f"{taint} is not tolerated")


def _of_pod(kind: OperandKind, pod: LeanPod, now: float) -> OperandState:
    if pod.deleted_at is not None:
        stuck = now - pod.deleted_at > TERMINATING_SECONDS
        phase = OperandPhase.FAILING if stuck else OperandPhase.STARTING
        return _state(kind, phase, pod, reason="Terminating", since=pod.deleted_at)
    if pod.ended:
        reason, ended = pod.reason or pod.phase, max((each.since or 0.0 for each in pod.containers), default=0.0)
        return _state(kind, OperandPhase.FAILING, pod, reason=reason, message=pod.message, since=ended or None)
    if pod.unscheduled is not None:
        since = pod.unscheduled_since
        return _state(kind, OperandPhase.FAILING, pod, reason="Unschedulable", message=pod.unscheduled, since=since)
    troubled = next((each for each in pod.containers if not _well(each)), None)
    if troubled is None:
        return _state(kind, OperandPhase.READY, pod, since=pod.ready_since)
    return _overdue(kind, _of_container(kind, pod, troubled), now)


def _overdue(kind: OperandKind, state: OperandState, now: float) -> OperandState:
    """A start-up that takes too long is a failure, unless it waits for another operand."""
    if state.phase is not OperandPhase.STARTING or state.waits_for is not None or state.since is None:
        return state
    seconds = now - state.since
    if seconds <= kind.starting_seconds:
        return state
    reason = f"not ready for {seconds / 60:.0f} min"
    return dataclasses.replace(
        state, phase=OperandPhase.FAILING, reason=f"{state.reason}, {reason}" if state.reason else reason
    )


def _well(container: LeanContainer) -> bool:
    if container.init and not container.sidecar:
        return container.state == "terminated" and container.exit_code == 0
    return container.state == "running" and container.ready


def _of_container(kind: OperandKind, pod: LeanPod, container: LeanContainer) -> OperandState:
    """The state of a pod whose first container that is not well is `container`."""
    waits_for = WAITS_FOR.get(container.name) if container.init else None
    waits_for = None if waits_for == kind.key else waits_for
    phase, reason, message = OperandPhase.FAILING, container.reason, container.message
    since = _failing_since(pod, container)
    if container.state == "waiting" and container.reason not in GOOD_WAITS:
        # The last run's own words say more than "back-off 5m0s restarting failed container".
        message = container.last_message or container.message
    elif container.state == "terminated" and not (container.exit_code == 0 and container.init):
        reason = f"{container.reason or 'terminated'} (exit {container.exit_code})"
    elif container.restarts > 1 and (container.last_exit_code or 0) not in ENDED_FROM_OUTSIDE:
        # Between two crashes it runs: without this the state would change with every one of them.
        reason = f"{container.last_reason or 'Error'} (exit {container.last_exit_code}), started again"
        message = container.last_message
    else:
        phase, since = OperandPhase.STARTING, container.since or _turn_since(pod)
    return _state(
        kind, phase, pod, container=container, waits_for=waits_for, reason=reason, message=message, since=since
    )


def _failing_since(pod: LeanPod, container: LeanContainer) -> float | None:
    """When the pod stopped being ready; of one that never was, when it was this container's turn.

    That only once it was tried again and again: a first failure says nothing of the time before it.
    """
    begun, unready = pod.started_at or pod.created_at, pod.unready_since
    if unready is not None and begun is not None and unready - begun > FIRST_STATUS_SECONDS:
        return unready
    if container.restarts < TRIES and not (container.reason or "").endswith("PullBackOff"):
        return container.since
    before = [each.since for each in pod.containers if each.init and each.exit_code == 0 and each.since is not None]
    return max(before, default=begun)


def _turn_since(pod: LeanPod) -> float | None:
    """Since when the next container could have been started: the end of the last init container."""
    ended = [each.since for each in pod.containers if each.init and each.state == "terminated" and each.since]
    return max(ended, default=pod.started_at or pod.created_at)


def _state(
    kind: OperandKind,
    phase: OperandPhase,
    pod: LeanPod | None,
    *,
    container: LeanContainer | None = None,
    waits_for: str | None = None,
    reason: str | None = None,
    message: str | None = None,
    since: float | None = None,
) -> OperandState:
    if pod is None:
        return OperandState(kind.key, phase, reason=reason, message=message)
    running = [each for each in pod.containers if not each.init or each.sidecar]
    main = next((each for each in pod.containers if each.name == kind.container), None)
    return OperandState(
        operand=kind.key,
        phase=phase,
        pod=pod.name,
        namespace=pod.namespace,
        container=None if container is None else container.name,
        init=container is not None and container.init,
        waits_for=waits_for,
        reason=reason,
        message=message,
        ready_containers=sum(each.ready for each in running),
        containers=len(running),
        restarts=sum(each.restarts for each in pod.containers),
        since=since if since is not None else (None if container is None else container.since),
        version=None if main is None else tag_of(main.image),
    )


def _waits(state: OperandState, states: Mapping[str, OperandState], now: float) -> OperandState:
    """`state` as WAITING when the operand it waits for does not run either; else without that excuse."""
    if state.waits_for is None or state.phase not in {OperandPhase.STARTING, OperandPhase.FAILING}:
        return state
    other = states.get(state.waits_for)
    if other is not None and other.phase not in {OperandPhase.READY, OperandPhase.OFF}:
        return dataclasses.replace(state, phase=OperandPhase.WAITING)
    since = max((at for at in (state.since, None if other is None else other.since) if at is not None), default=None)
    return _overdue(BY_KEY[state.operand], dataclasses.replace(state, waits_for=None, since=since), now)


def tag_of(image: str) -> str | None:
    """The tag of an image's name; a digest is no version."""
    name = image.partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2] or None


def _selects(selector: Mapping[str, str], node: LeanNode) -> bool:
    """Only for NVIDIA's and NFD's labels: the others were not kept, and are taken as matching."""
    return all(node.labels.get(key) == value for key, value in selector.items() if _known(key))


def _unmatched(selector: Mapping[str, str], node: LeanNode) -> str:
    pairs = [(key, value) for key, value in selector.items() if _known(key) and node.labels.get(key) != value]
    return "; ".join(f"{key} is {node.labels.get(key, 'not set')}, not {value}" for key, value in pairs)


def _known(key: str) -> bool:
    return key.startswith(KNOWN_SELECTORS)


def _untolerated(daemon_set: LeanDaemonSet, node: LeanNode) -> str | None:
    """The first taint that keeps the DaemonSet's pod away; what its controller tolerates by itself is left out."""
    for key, value, effect in node.taints:
        if effect not in {"NoSchedule", "NoExecute"} or key.startswith("node.kubernetes.io/"):
            continue
        if not any(
            (not each.key or each.key == key)
            and (not each.effect or each.effect == effect)
            and (each.operator == TOLERATES_ANY or each.value == value)
            for each in daemon_set.tolerations
        ):
            return f"{key}={value}:{effect}" if value else f"{key}:{effect}"
    return None
