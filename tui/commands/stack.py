"""`gpudeck stack`"""

from __future__ import annotations

import argparse
import asyncio
import json

from backends.contract import ConfigError, Unreachable
from backends.domain import SiteSpec, Stack
from tui import cli


def stack(arguments: argparse.Namespace) -> int:
    """Prints the GPU stack: 0 when all is well, 1 when something blocks, 3 when the platform cannot be reached.

    With a word behind it something of the stack is changed.
    """
    if not 0 < arguments.timeout <= 600:
        raise ConfigError("--timeout must be between 0 and 600 seconds", "")
    spec = platform_site(arguments)
    if arguments.stack_command is not None:
        from tui.commands.stack_change import stack_change

        return stack_change(arguments, spec)
    found, now = asyncio.run(_read(spec, arguments.timeout))
    from backends import stack_report

    if arguments.json:
        print(json.dumps(stack_report.document(spec, found, now), indent=1, allow_nan=False))
    else:
        print(stack_report.render(spec, found, now))
    return int(stack_report.is_blocked(found)) if found.answered else Unreachable.exit_code


def platform_site(arguments: argparse.Namespace) -> SiteSpec:
    """The configured site; without a configuration the cluster of the kubeconfig."""
    path = cli.settings_path(arguments)
    if path is not None:
        from tui.config import load

        spec = load(path).site(arguments.site)
        if spec.platform is None:
            raise ConfigError(f"the site {spec.name} has no platform", 'set platform = "kubernetes" for it')
        return spec
    from backends.discovery import discover

    found = discover()
    if found.kubeconfig is None:
        raise ConfigError(
            "there is no configuration and no kubeconfig",
            "write a configuration (see README), name one with --config, or log in to a cluster",
        )
    return SiteSpec(found.kube_context or "cluster", platform="kubernetes")


async def _read(spec: SiteSpec, timeout: float) -> tuple[Stack, float]:
    """The stack as soon as all of it was read once, and when that was."""
    from backends.site import Site

    site = Site(spec)
    try:
        return await site.platform.read_stack(timeout), site.clock.now()
    finally:
        await site.close()
