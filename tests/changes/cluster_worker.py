"""A process that changes the lab's cluster and is killed at a line of its journal.

It is forked off a server that has imported everything, so that many of them can be killed in a short time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.changes.change import Change
from backends.changes.desk import ChangeDesk
from backends.domain import SiteSpec
from backends.feed import SystemClock
from backends.site import Site
from tests.changes.worker import die_at

PATIENCE_SECONDS = 120.0


def work(spec: SiteSpec, state: Path, change: Change, what: str, number: int) -> None:
    """`what` is run, resume or undo; the process is killed before it writes line `number` of its own."""
    die_at(number, "before")
    asyncio.run(_work(spec, state, change, what))


async def _work(spec: SiteSpec, state: Path, change: Change, what: str) -> None:
    site = Site(spec, clock=SystemClock())
    desk = ChangeDesk(spec, site, state)
    await desk.open_window(30, "INC-1")
    await (desk.run(change) if what == "run" else getattr(desk, what)(change.id))


async def killed(*arguments: Any, running: Callable[[Any], Any]) -> None:
    """Runs `work` in a process until it is killed; `running` lets the cluster live meanwhile."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=work, args=arguments)
    process.start()
    try:
        await running(asyncio.to_thread(process.join, PATIENCE_SECONDS))
        assert process.exitcode == -signal.SIGKILL
    finally:
        process.kill()
        process.join()
        process.close()
