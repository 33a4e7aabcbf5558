"""`gpudeck logs`"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from backends.contract import ConfigError, TailsLogs, Unreachable
from backends.domain import LogBatch, LogQuery, SiteSpec
from tui.commands.stack import platform_site

FIND_SECONDS = 30.0


def logs(arguments: argparse.Namespace) -> int:
    """Prints a log; 1 when some of it could not be read. What is not of the log goes to stderr."""
    query = LogQuery(
        follow=arguments.follow and not arguments.previous,
        previous=arguments.previous,
        tail_lines=None if arguments.tail < 0 else arguments.tail,
        since_seconds=arguments.since,
    )
    return asyncio.run(_print(platform_site(arguments), query, arguments))


async def _print(spec: SiteSpec, query: LogQuery, arguments: argparse.Namespace) -> int:
    from backends.feed import closing
    from backends.logs.find import find
    from backends.site import Site

    site = Site(spec)
    try:
        backend = await site.platform.backend()
        if not isinstance(backend, TailsLogs):
            raise ConfigError(f"the backend {backend.name} reads no logs", "see: gpudeck backends")
        try:
            async with asyncio.timeout(FIND_SECONDS):
                source = await find(backend, arguments.name, arguments.node)
        except TimeoutError:
            raise Unreachable(f"{spec.name} did not answer within {FIND_SECONDS:.0f} s", "") from None
        if arguments.container:
            source = replace(source, containers=tuple(arguments.container))
        several = source.namespace is not None and len(source.containers) != 1
        code = 0
        async with closing(backend.logs(source, query)) as batches:
            async for batch in batches:
                code = max(code, _write(batch, timestamps=arguments.timestamps, container=several))
        return code
    finally:
        await site.close()


def _write(batch: LogBatch, *, timestamps: bool, container: bool) -> int:
    """0, or 1 for a part that cannot be read. Raises BrokenPipeError when the reader has gone."""
    from backends.logs import as_text

    if batch.dropped:
        print(f"gpudeck: {batch.dropped:,} lines are missing: they came faster than they were taken", file=sys.stderr)
    if batch.lines:
        lines = [as_text(line, timestamps=timestamps, container=container) for line in batch.lines]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    if batch.problem is not None:
        print(f"gpudeck: {batch.problem}", file=sys.stderr)
        return int(not batch.retried)
    return 0
