"""`gpudeck mig plan`: whether a MIG layout is possible, and the way there."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.contract import ConfigError, Unreachable
from backends.domain import clean
from tui.commands.snapshot import site_of

if TYPE_CHECKING:
    from backends.domain import NodeReading, SiteSpec
    from backends.nodes.mig.plan import Plan
    from backends.nodes.mig.target import Target
    from backends.nodes.mig.wish import Wish
    from backends.ownership import Ownership

NARROWEST, WIDEST = 60, 100
"""Columns of the drawing."""


def mig(arguments: argparse.Namespace) -> int:
    """Prints the plan; 0 when it is possible, 1 when it is not. `apply` carries it out."""
    if arguments.mig_command == "apply":
        from tui.commands.mig_apply import apply

        return apply(arguments)
    from backends.nodes.mig.document import document
    from backends.nodes.mig.planner import plan
    from backends.nodes.mig.wish import parse

    if not 0 < arguments.timeout <= 600:
        raise ConfigError("--timeout must be between 0 and 600 seconds", "")
    wish = parse(arguments.want)
    made = plan(_target(arguments, gpu_index(arguments, wish)), wish)
    print(json.dumps(document(made), indent=1, allow_nan=False) if arguments.json else _text(made, arguments.ascii))
    return 0 if made.possible else 1


def gpu_index(arguments: argparse.Namespace, wish: Wish) -> int | None:
    """From --gpu or from the wish itself; raises ConfigError where the two differ. None where neither says."""
    if arguments.gpu is not None and wish.gpu_index not in (None, arguments.gpu):
        raise ConfigError(f"--gpu says {arguments.gpu}, the wish says on gpu {wish.gpu_index}", "which is it?")
    index = arguments.gpu if arguments.gpu is not None else wish.gpu_index
    if index is not None and index < 0:
        raise ConfigError("--gpu must not be negative", "")
    return index


def _target(arguments: argparse.Namespace, index: int | None) -> Target:
    from backends.nodes.mig.target import target_of, target_of_model
    from backends.ownership import NOBODY

    if arguments.gpu_model is not None:
        return target_of_model(clean(arguments.gpu_model), index or 0)
    site = site_of(arguments)
    reading, ownership = asyncio.run(_read(_only(site, arguments.node), arguments.timeout))
    node = reading.node
    if node is None:
        problem = reading.problem
        if problem is None:
            raise Unreachable(f"{reading.name} did not answer in {arguments.timeout:g} s", "try a longer --timeout")
        raise Unreachable(f"{reading.name}: {problem.message}", problem.hint)
    if index is None and len(node.gpus) == 1:
        index = node.gpus[0].index
    gpu = next((gpu for gpu in node.gpus if gpu.index == index), None)
    if gpu is None:
        known = ", ".join(str(gpu.index) for gpu in node.gpus) or "none"
        said = f"which GPU of {reading.name}?" if index is None else f"{reading.name} has no GPU {index}"
        raise ConfigError(said, f"--gpu INDEX names one of {known}")
    return target_of(node, gpu, site.platform, ownership or NOBODY)


def _only(site: SiteSpec, name: str) -> SiteSpec:
    """The site with that node alone: nobody else need be read."""
    nodes = tuple(node for node in site.nodes if node.name == name)
    if not nodes:
        names = [node.name for node in site.nodes]
        near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {len(names)}: {', '.join(names[:8])}"
        raise ConfigError(f"the site {site.name} has no node {clean(name, 64)!r}", hint)
    return replace(site, nodes=nodes)


async def _read(site: SiteSpec, timeout: float) -> tuple[NodeReading, Ownership | None]:
    """The node, and whose work the site's platform says is on it; None where it said nothing."""
    from backends.site import Site

    opened = Site(site)
    try:
        (reading,) = (await opened.read_once(timeout)).nodes
        return reading, opened.ownership.reading.value
    finally:
        await opened.close()


def _text(made: Plan, ascii_only: bool) -> str:
    """The plan for people: without colour, commands on lines of their own."""
    from tui.widgets.glyphs import ASCII, for_environment
    from tui.widgets.mig_plan import plan_lines
    from tui.widgets.mig_text import Paper

    target = made.target
    columns = shutil.get_terminal_size((80, 24)).columns
    paper = Paper(max(NARROWEST, min(columns, WIDEST)), ASCII if ascii_only else for_environment(os.environ))
    name = target.name or "n/a"
    on = f"GPU {target.index} of {target.node}: {name}" if target.node is not None else f"a GPU of the model {name}"
    lines = ["".join(cell.text for cell in line).rstrip() for line in plan_lines(made, paper)]
    return "\n".join([on, *lines])
