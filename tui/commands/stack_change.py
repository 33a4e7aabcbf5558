"""`gpudeck stack restart|cordon|drain|...`: what is done to a node through the site's platform, as a change."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from backends.contract import ConfigError
from tui.commands.changes import change_site

if TYPE_CHECKING:
    from backends.changes.change import Change
    from backends.domain import SiteSpec
    from backends.site import Site


def stack_change(arguments: argparse.Namespace, spec: SiteSpec) -> int:
    """Does it with --yes, shows it with --dry-run; 1 where it is refused or failed."""
    from backends.changes.platform_actions import ACTIONS, Wish, offered, plan

    verb = arguments.stack_command
    action = f"{verb}-{arguments.phase}" if verb == "upgrade" else verb
    if verb == "drain" and arguments.force:
        action = "drain-force"
    argument = getattr(arguments, "argument", "")
    wish = Wish(action, arguments.node, argument, arguments.reason or "")

    async def planned(site: Site) -> Change:
        backend = await site.platform.backend()
        if ACTIONS[action] not in offered(backend):
            raise ConfigError(f"the platform {backend.name} cannot do this", "see: gpudeck backends")
        return await plan(wish, await site.platform.read_stack(arguments.timeout), site, site=spec.name)

    return asyncio.run(change_site(arguments, spec, planned, None, "done"))
