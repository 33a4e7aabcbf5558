"""A MIG plan as a change: what the planner has worked out, made on the node by nvidia-smi."""

from __future__ import annotations

from backends.changes.change import Change
from backends.changes.mig_change import mig_change
from backends.changes.mig_holders import NOT_ASKED
from backends.contract import ChangeRefused, ConfigError, GpudeckError
from backends.domain import Gpu, Problem
from backends.nodes.mig.cluster import LABEL
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
        near = "; ".join(f"{each.why}: {each.plan.wish}" for each in plan.nearest)
        raise GpudeckError(plan.reason or "this layout is not possible", f"near: {near}" if near else "")
    if plan.target.on_operator:
        told = plan.mig_parted.label[0] if plan.mig_parted is not None else f"{LABEL} of the node"
        raise ChangeRefused(
            f"MIG Manager divides the GPUs of {plan.target.node}: it would undo what is made by hand",
            f"change its label instead: {told}",
        )
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
    )


def why_unasked(platform: str | None, problem: Problem | None) -> str:
    """Why a site's platform tells nothing of whose work is on a GPU."""
    if platform is None:
        return "the site has no platform"
    return f"{platform} has not answered yet" if problem is None else problem.message
