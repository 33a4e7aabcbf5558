"""`gpudeck check`"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from backends.contract import ConfigError
from backends.domain import SiteSpec
from tui.commands.snapshot import site_of


def check(arguments: argparse.Namespace) -> int:
    """Prints what is wrong; 0 all well, 1 a warning or worse, 3 no node answers."""
    if not 0 < arguments.timeout <= 600:
        raise ConfigError("--timeout must be between 0 and 600 seconds", "")
    if not 0 <= arguments.watch_seconds <= 86_400:
        raise ConfigError("--watch-seconds must be between 0 and 86400", "")
    document = asyncio.run(_observe(site_of(arguments), arguments.timeout, arguments.watch_seconds))
    from backends.check import exit_code, render

    print(json.dumps(document, indent=1, allow_nan=False) if arguments.json else render(document))
    return exit_code(document)


async def _observe(spec: SiteSpec, timeout: float, seconds: float) -> dict[str, Any]:
    from backends.check import PlatformParts, document
    from backends.domain import Fleet
    from backends.site import Site
    from tui.paths import state_path

    site = Site(spec, state_dir=state_path())
    try:
        triage = await site.observe(timeout, seconds)
        parts = PlatformParts(site.stack.reading, site.workloads.reading) if spec.platform is not None else None
        return document(spec, site.fleet.reading.value or Fleet(), triage, site.clock.now(), parts)
    finally:
        await site.close()
