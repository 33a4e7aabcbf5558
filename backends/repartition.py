"""A MIG plan as a change: what the planner has worked out, made on the node by nvidia-smi."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from backends.changes.change import Change
from backends.changes.mig_change import mig_change
from backends.changes.mig_holders import NOT_ASKED
from backends.contract import Backend, ChangeRefused, ConfigError, GpudeckError, ListsMigLayouts
from backends.domain import Gpu, GpuLayout, Problem, SiteSpec
from backends.nodes.mig.plan import Plan
from backends.ownership import Ownership


def repartition(
    plan: Plan,
    gpu: Gpu,
    *,
    site: str,
    reason: str,
    now: float,
    ownership: Ownership | None = None,
    unasked: str = NOT_ASKED,
) -> Change:
    """The change that carries `plan` out on `gpu`, the GPU it was made for.

    `ownership` is what the site's platform tells, None with the reason why it tells nothing.

    Raises GpudeckError where the plan is not possible, and ChangeRefused where MIG Manager divides the GPUs, since it
    would undo what is made by hand, and where it was not told how the GPU is divided now.
    """
    if plan.target.node is None:
        raise ConfigError("this plan is for a model and not for a GPU of a node", "")
    if not plan.possible:
        raise _impossible(plan)
    if plan.target.on_operator:
        raise _manager_divides(plan, "a layout that it has is asked for by gpudeck stack mig")
    unnamed = [each for each in plan.target.standing if each.profile is None]
    if unnamed:
        named, where = ", ".join(each.name for each in unnamed), f"gpu{plan.target.index} of {plan.target.node}"
        raise ChangeRefused(
            f"of {named} on {where} no profile was told: it can be neither checked before nor made again by an undo",
            "nvidia-smi tells none, nor does an old driver to others than root; the commands of the plan can be typed",
        )
    return mig_change(
        site=site,
        node=plan.target.node,
        gpu=gpu,
        lines=plan.commands,
        reason=reason,
        now=now,
        wish=plan.wish,
        names={} if plan.target.board is None else plan.target.board.names_by_id,
        ownership=ownership,
        unasked=unasked,
        reset_with=plan.target.reset_with if any(step.kind == "reset" for step in plan.steps) else (),
    )


async def not_by_hand(plan: Plan, gpus: Sequence[Gpu], backend: Backend, site: SiteSpec) -> GpudeckError:
    """Why a plan is not carried out where MIG Manager divides the GPUs, and which of its layouts is the same.

    `gpus` are those of the plan's node, which is one of `site`.
    """
    if not plan.possible:
        return _impossible(plan)
    wanted = layout_of(plan, gpus)
    if wanted is None or not isinstance(backend, ListsMigLayouts):
        return _manager_divides(plan, f"a layout that it has is asked for by {_asked_for(plan, 'LAYOUT', site)}")
    try:
        names = await backend.mig_layouts(plan.target.node or "", wanted)
    except GpudeckError as error:
        return _manager_divides(plan, f"which layouts it has is not known: {error.message}")
    if names:
        return _manager_divides(
            plan, f"it has this layout: {' or '.join(_asked_for(plan, name, site) for name in names)}"
        )
    where = ("--node", plan.target.node or "", "--gpu", str(plan.target.index))
    shown = site.command("mig", "plan", *where, "--want", plan.wish)
    return _manager_divides(plan, f"none of its layouts makes this; {shown} shows the entry that its ConfigMap needs")


def layout_of(plan: Plan, gpus: Sequence[Gpu]) -> tuple[GpuLayout, ...] | None:
    """What the plan makes of all GPUs of its node that have MIG; None where a profile was not told."""
    if plan.after is not None:
        after: list[str | None] = [each.profile.name for each in plan.after]
    else:
        after = [*(each.profile for each in plan.keeps), *(each.profile.name for each in plan.adds)]
    boards = {gpu.index: gpu.pci_device_id for gpu in gpus}
    divided = [(plan.target.index, plan.enabled, after)]
    divided += [(index, on, [each.profile for each in made]) for index, on, made in plan.target.neighbours]
    found = []
    for index, enabled, profiles in divided:
        named = [each for each in profiles if each is not None]
        if len(named) < len(profiles):
            return None
        counts = tuple(sorted(Counter(named).items())) if enabled else ()
        found.append(GpuLayout(index, enabled, counts, boards.get(index)))
    return tuple(found)


def _impossible(plan: Plan) -> GpudeckError:
    near = "; ".join(f"{each.why}: {each.plan.wish}" for each in plan.nearest)
    return GpudeckError(plan.reason or "this layout is not possible", f"near: {near}" if near else "")


def _manager_divides(plan: Plan, hint: str) -> ChangeRefused:
    return ChangeRefused(
        f"MIG Manager divides the GPUs of {plan.target.node}: it would undo what is made by hand", hint
    )


def _asked_for(plan: Plan, layout: str, site: SiteSpec) -> str:
    return site.command("stack", "mig", layout, "--node", plan.target.node or "")


def why_unasked(platform: str | None, problem: Problem | None) -> str:
    """Why a site's platform tells nothing of whose work is on a GPU."""
    if platform is None:
        return "the site has no platform"
    return f"{platform} has not answered yet" if problem is None else problem.message
