"""`gpudeck snapshot`"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from backends.contract import ConfigError, Unreachable
from backends.domain import NodeSpec, SiteSpec
from tui import cli


def snapshot(arguments: argparse.Namespace) -> int:
    """Prints one reading; 3 when no node could be read."""
    if not 0 < arguments.timeout <= 600:
        raise ConfigError("--timeout must be between 0 and 600 seconds", "")
    document = asyncio.run(_read(site_of(arguments), arguments.timeout))
    from backends.snapshot import render

    print(json.dumps(document, indent=1, allow_nan=False) if arguments.json else render(document))
    return 0 if any(node["reachable"] for node in document["nodes"]) else Unreachable.exit_code


def site_of(arguments: argparse.Namespace) -> SiteSpec:
    """The site that is asked for; this machine where there is no configuration; raises ConfigError."""
    path = cli.settings_path(arguments)
    if path is not None:
        from tui.config import load

        return load(path).site(arguments.site)
    from backends.discovery import local_driver

    if local_driver() is None:
        raise ConfigError(
            "there is no configuration and no NVIDIA driver on this machine",
            "write a configuration (see README), name one with --config, or try: gpudeck demo",
        )
    return SiteSpec("local", nodes=(NodeSpec("local", local=True),))


async def _read(spec: SiteSpec, timeout: float) -> dict[str, Any]:
    from backends.check import PlatformParts
    from backends.site import Site
    from backends.snapshot import document
    from tui.paths import state_path

    site = Site(spec, state_dir=state_path())
    try:
        fleet = await site.read_once(timeout)
        events, triage = site.events.reading.value or (), site.triage.reading.value
        parts = PlatformParts(site.stack.reading, site.workloads.reading) if spec.platform is not None else None
        return document(spec, fleet, events, site.clock.now(), triage, parts)
    finally:
        await site.close()
