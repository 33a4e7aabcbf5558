"""What can be done to a node through its platform: one table for the command line and the console.

Each row makes a Change out of the stack as it is; whom it hits, dry runs and permissions are found out by its steps.
"""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backends.changes import not_now
from backends.changes.change import Change, Target, new_id
from backends.changes.nearest import nearest
from backends.changes.node_steps import CordonStep, MigLabelStep
from backends.changes.platform_step import backend_for
from backends.changes.pod_steps import DrainedStep, EvictStep, PodRef, RestartStep, evicted, wait_seconds
from backends.changes.radius import with_radius
from backends.changes.side_effects import DRIVER_WARNINGS, ENDS_GPU_PODS, SIDE_EFFECTS
from backends.changes.step import Reach, Step
from backends.changes.upgrade_steps import UpgradePauseStep, UpgradeStartStep
from backends.contract import (
    ConfigError,
    CordonsNodes,
    DrainsNodes,
    FollowsNodes,
    FollowsPods,
    GpudeckError,
    PartitionsGpus,
    RestartsPods,
    TellsRequests,
    UpgradesDrivers,
)
from backends.domain import Act, Owner, Stack, StackNode, Verb, clean
from backends.feed import closing
from backends.rights import not_seen

STARTING_SECONDS: dict[str, float] = {"driver": 1500.0, "vgpu-manager": 1500.0}
"""Operand -> how long its successor may take; the startup probe of the driver gives it 21 min to compile."""
OTHER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for."""

    action: str
    node: str
    argument: str = ""
    """An operand's key, or the name of a MIG layout."""
    reason: str = ""


_VALUED = frozenset({"--node", "--config", "--site"})
"""Options of `gpudeck stack` with a value."""


def wish_of(line: str) -> Wish | None:
    """The wish of a command line `gpudeck stack VERB [WORD] --node NAME [--force]`; None for any other line.

    Which site it is about, `--config FILE` and `--site NAME`, is left to whoever has the line.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if words[:2] != ["gpudeck", "stack"]:
        return None
    options: dict[str, str] = {}
    others: list[str] = []
    following = iter(words[2:])
    for word in following:
        if word in _VALUED:
            options[word] = next(following, "")
        else:
            others.append(word)
    if not options.get("--node"):
        return None
    verb, *rest = others or [""]
    given = [word for word in rest if not word.startswith("-")]
    action = f"{verb}-{given.pop(0)}" if verb == "upgrade" and given else verb
    action = "drain-force" if action == "drain" and "--force" in rest else action
    if action not in ACTIONS or len(given) != bool(ACTIONS[action].takes):
        return None
    return Wish(action, options["--node"], *given)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a row is planned with."""

    wish: Wish
    stack: Stack
    node: StackNode
    reach: Reach

    async def request(self, verb: Verb, **values: Any) -> Any:
        return await (await backend_for(self.reach, TellsRequests)).request(Act(verb, self.node.name, **values))


@dataclass(frozen=True, slots=True)
class PlatformAction:
    """One row."""

    id: str
    title: str
    """`restart {argument} on {node}`"""
    help: str
    target: str
    """What is changed, and what is typed to confirm it where it ends workloads: `{node}`, `{node} {argument}`."""
    needs: tuple[type, ...]
    """Without one of these capabilities it is not offered."""
    steps: Callable[[_Plan], Awaitable[Sequence[Step]]]
    takes: str = ""
    """What it takes besides the node: operand, layout."""
    not_now: Callable[[StackNode, float], str | None] = lambda _node, _now: None
    """Why it makes no sense on the node as it is."""


def offered(backend: object) -> tuple[PlatformAction, ...]:
    """Those that the platform can do."""
    return tuple(action for action in ACTIONS.values() if all(isinstance(backend, need) for need in action.needs))


async def plan(wish: Wish, stack: Stack, reach: Reach, *, site: str) -> Change:
    """The change that does it, with whom it hits now. Raises ConfigError for a name nobody has, else GpudeckError."""
    action = ACTIONS[wish.action]
    node = _node_named(stack, wish.node)
    words = {"node": node.name, "argument": wish.argument}
    reason = action.not_now(node, reach.clock.now())
    if reason is not None:
        raise GpudeckError(f"{node.name} {reason}", f"see: {reach.spec.command('stack')}")
    change = Change(
        id=new_id(reach.clock.now()),
        title=action.title.format(**words),
        reason=wish.reason,
        site=site,
        targets=(Target(action.takes or "node", action.target.format(**words), node.name),),
        steps=tuple(await action.steps(_Plan(wish, stack, node, reach))),
    )
    return await with_radius(change, reach)


def _node_named(stack: Stack, name: str) -> StackNode:
    found = stack.get(name)
    if found is not None:
        return found
    called = f"no node {clean(name, 64)!r} with GPUs"
    hidden = not_seen(called, stack.not_permitted, "nodes")
    raise hidden or ConfigError(f"the platform has {called}", nearest(name, [node.name for node in stack.nodes]))


# The rows' steps


async def _restart(plan: _Plan) -> Sequence[Step]:
    key = plan.wish.argument
    operands = [operand.key for operand in plan.stack.operands]
    if key not in operands:
        hidden = not_seen(f"no operand called {clean(key, 64)!r}", plan.stack.not_permitted, "pods")
        raise hidden or ConfigError(f"no operand is called {clean(key, 64)!r}", nearest(key, operands))
    state = plan.node.get(key)
    if state is None or state.pod is None or state.namespace is None:
        there = [each.operand for each in plan.node.operands if each.pod is not None]
        said = f"{plan.node.name} has no pod of the {key}"
        raise GpudeckError(said, f"there are: {', '.join(there)}" if there else "nothing of the stack runs there")
    pod, controller = await _pod(plan.reach, plan.node.name, state.namespace, state.pod)
    effect = SIDE_EFFECTS.get(key)
    warnings: tuple[str, ...] = () if effect is None else (effect[1],)
    if key == "driver":
        warnings = DRIVER_WARNINGS[await _upgrades_itself(plan.reach, plan.node.name)]
    request = await plan.request(Verb.RESTART, namespace=pod.namespace, pod=pod.name, uid=pod.uid)
    step = RestartStep(
        request=request,
        node=plan.node.name,
        pod=pod,
        controller=controller,
        operand=key,
        ends_gpu_pods=key in ENDS_GPU_PODS,
        warnings=warnings,
        verify_seconds=STARTING_SECONDS.get(key, OTHER_SECONDS),
    )
    return [step]


async def _upgrades_itself(reach: Reach, node: str) -> bool | None:
    """None: it is not told, or nobody can be asked."""
    try:
        backend = await backend_for(reach, FollowsNodes)
        async with closing(backend.follow_node(node)) as moments:
            return (await anext(moments)).upgrades_itself
    except GpudeckError:
        return None


async def _pod(reach: Reach, node: str, namespace: str, name: str) -> tuple[PodRef, Owner]:
    """The pod as it is at this moment, and what makes it anew. Raises GpudeckError."""
    backend = await backend_for(reach, FollowsPods)
    async with closing(backend.follow_pods(node, namespace)) as moments:
        pods = await anext(moments)
    found = next((pod for pod in pods if pod.name == name), None)
    if found is None:
        raise GpudeckError(f"the pod {namespace}/{name} is not there any more", "look at the stack again")
    if found.controller is None:
        raise GpudeckError(f"the pod {namespace}/{name} has no controller", "nothing would make it anew")
    return PodRef(namespace, name, found.uid), found.controller


async def _cordon(plan: _Plan) -> Sequence[Step]:
    return [await _cordon_step(plan, on=True)]


async def _uncordon(plan: _Plan) -> Sequence[Step]:
    return [await _cordon_step(plan, on=False)]


async def _cordon_step(plan: _Plan, *, on: bool) -> CordonStep:
    there, back = (Verb.CORDON, Verb.UNCORDON) if on else (Verb.UNCORDON, Verb.CORDON)
    return CordonStep(request=await plan.request(there), back=await plan.request(back), node=plan.node.name, on=on)


async def _drain(plan: _Plan) -> Sequence[Step]:
    return await _drain_steps(plan, force=False)


async def _drain_by_force(plan: _Plan) -> Sequence[Step]:
    return await _drain_steps(plan, force=True)


async def _drain_steps(plan: _Plan, *, force: bool) -> Sequence[Step]:
    """The node is closed first; a cordon that somebody else has set is left to him, also by the undo."""
    node = plan.node.name
    found = await (await backend_for(plan.reach, DrainsNodes)).drain_plan(node)
    steps: list[Step] = [] if await _is_cordoned(plan.reach, node) else [await _cordon_step(plan, on=True)]
    for pod, comes_back in evicted(found, force=force):
        ref = PodRef(pod.namespace, pod.name, pod.uid or "")
        request = await plan.request(Verb.EVICT, namespace=ref.namespace, pod=ref.name, uid=ref.uid)
        steps.append(EvictStep(request=request, node=node, pod=ref, comes_back=comes_back))
    return [*steps, DrainedStep(node, force, verify_seconds=wait_seconds(found, force=force))]


async def _is_cordoned(reach: Reach, node: str) -> bool:
    backend = await backend_for(reach, FollowsNodes)
    async with closing(backend.follow_node(node)) as moments:
        return not (await anext(moments)).schedulable


async def _mig(plan: _Plan) -> Sequence[Step]:
    mig, layout = plan.node.mig, plan.wish.argument
    former = None if mig is None else mig.requested
    again = mig is not None and former == layout and (mig.state == "failed" or mig.stuck(plan.reach.clock.now()))
    return [
        MigLabelStep(
            request=await plan.request(Verb.MIG, layout=layout),
            back=await plan.request(Verb.MIG, layout=former),
            node=plan.node.name,
            layout=layout,
            former=former,
            away=await plan.request(Verb.MIG, layout=None) if again else None,
        )
    ]


async def _upgrade_start(plan: _Plan) -> Sequence[Step]:
    former = "" if plan.node.upgrade is None else plan.node.upgrade.step
    there, back = await plan.request(Verb.UPGRADE_START), await plan.request(Verb.UPGRADE_BACK, step=former)
    return [UpgradeStartStep(request=there, back=back, node=plan.node.name, former=former)]


async def _upgrade_pause(plan: _Plan) -> Sequence[Step]:
    return [await _pause_step(plan, paused=True)]


async def _upgrade_resume(plan: _Plan) -> Sequence[Step]:
    return [await _pause_step(plan, paused=False)]


async def _pause_step(plan: _Plan, *, paused: bool) -> UpgradePauseStep:
    there, back = (Verb.UPGRADE_PAUSE, Verb.UPGRADE_RESUME) if paused else (Verb.UPGRADE_RESUME, Verb.UPGRADE_PAUSE)
    return UpgradePauseStep(
        request=await plan.request(there), back=await plan.request(back), node=plan.node.name, paused=paused
    )


_SEES = (TellsRequests, FollowsNodes)
ACTIONS: dict[str, PlatformAction] = {
    action.id: action
    for action in (
        PlatformAction(
            "restart",
            "restart the {argument} on {node}",
            "delete its pod; its DaemonSet makes another one",
            "{node} {argument}",
            (RestartsPods, TellsRequests, FollowsPods),
            _restart,
            takes="operand",
            not_now=not_now.nothing_runs,
        ),
        PlatformAction(
            "cordon",
            "cordon {node}",
            "keep new pods off the node",
            "{node}",
            (CordonsNodes, *_SEES),
            _cordon,
            not_now=not_now.cordoned_already,
        ),
        PlatformAction(
            "uncordon",
            "uncordon {node}",
            "let new pods on the node again",
            "{node}",
            (CordonsNodes, *_SEES),
            _uncordon,
            not_now=not_now.not_cordoned,
        ),
        PlatformAction(
            "drain",
            "drain {node}",
            "cordon it, then evict its pods as their budgets allow",
            "{node}",
            (CordonsNodes, DrainsNodes, FollowsPods, *_SEES),
            _drain,
        ),
        PlatformAction(
            "drain-force",
            "drain {node} by force",
            "also pods that come back nowhere or lose data",
            "{node}",
            (CordonsNodes, DrainsNodes, FollowsPods, *_SEES),
            _drain_by_force,
        ),
        PlatformAction(
            "mig",
            "MIG layout of {node}: {argument}",
            "ask the MIG manager for a layout of all its GPUs",
            "{node} mig",
            (PartitionsGpus, *_SEES),
            _mig,
            takes="layout",
            not_now=not_now.no_mig_manager,
        ),
        PlatformAction(
            "upgrade-start",
            "upgrade the driver of {node}",
            "begin the operator's driver upgrade of this node",
            "{node} driver",
            (UpgradesDrivers, *_SEES),
            _upgrade_start,
            not_now=not_now.upgrade_under_way,
        ),
        PlatformAction(
            "upgrade-pause",
            "leave {node} out of driver upgrades",
            "the operator begins no upgrade of this node",
            "{node} driver",
            (UpgradesDrivers, *_SEES),
            _upgrade_pause,
            not_now=not_now.paused_already,
        ),
        PlatformAction(
            "upgrade-resume",
            "take {node} in driver upgrades again",
            "the operator upgrades this node again",
            "{node} driver",
            (UpgradesDrivers, *_SEES),
            _upgrade_resume,
            not_now=not_now.not_paused,
        ),
    )
}
