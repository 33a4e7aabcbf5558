"""`gpudeck mig apply`: carries a MIG plan out on a node, as a change that is told, journaled and can be undone."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.contract import ConfigError, Unreachable
from backends.domain import clean
from tui.commands.changes import change_site, site_named
from tui.commands.mig import gpu_index

if TYPE_CHECKING:
    from backends.changes.change import Change
    from backends.domain import Gpu, Node
    from backends.site import Site

READ_SECONDS = 20.0


def apply(arguments: argparse.Namespace) -> int:
    """Does it with --yes, shows it with --dry-run; 1 where the board does not allow it or it failed."""
    from backends.nodes.mig import planner
    from backends.nodes.mig.target import target_of
    from backends.nodes.mig.wish import parse
    from backends.ownership import NOBODY
    from backends.repartition import repartition, why_unasked

    wish = parse(arguments.want)
    index = gpu_index(arguments, wish)
    spec = site_named(arguments, arguments.site)
    chosen = tuple(node for node in spec.nodes if node.name == arguments.node)
    if not chosen:
        raise ConfigError(
            f"the site {spec.name} has no node {clean(arguments.node, 64)!r}", f"see: {spec.command('snapshot')}"
        )
    spec = replace(spec, nodes=chosen)

    async def plan(site: Site) -> Change:
        node, gpu = await _read(site, index)
        whose = site.ownership.reading
        made = planner.plan(target_of(node, gpu, spec.platform, whose.value or NOBODY), wish)
        return repartition(
            made,
            gpu,
            site=spec.name,
            reason=arguments.reason or "",
            now=site.clock.now(),
            ownership=whose.value,
            unasked=why_unasked(spec.platform, whose.error),
        )

    return asyncio.run(change_site(arguments, spec, plan, None, "done"))


async def _read(site: Site, index: int | None) -> tuple[Node, Gpu]:
    """The node and the GPU as they are now; raises GpudeckError."""
    (reading,) = (await site.read_once(READ_SECONDS)).nodes
    if reading.node is None:
        problem = reading.problem
        said = f"it did not answer within {READ_SECONDS:.0f} s" if problem is None else problem.message
        raise Unreachable(f"{reading.name}: {said}", "" if problem is None else problem.hint)
    gpu = next((gpu for gpu in reading.node.gpus if gpu.index == index), None)
    if gpu is None:
        raise ConfigError(f"{reading.name} has no GPU {index}", f"it has {len(reading.node.gpus)}, counted from 0")
    return reading.node, gpu
