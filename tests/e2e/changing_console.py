"""A console in whose site a change runs, for signals: python -m tests.e2e.changing_console FILES

Its first step ends when the desk is asked to stop; `FILES/begun` tells that it has begun.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from backends.changes.step import Reach, Told
from tests.changes.steps import FileStep
from tests.tui.changing import change_of
from tests.tui.consoles import build_on
from tests.tui.fleets import fleet
from tui.app import Console
from tui.commands.ending import Ending


class UntilStopped(FileStep):
    """Works until its desk stops, and is done then."""

    async def apply(self, reach: Reach, told: Told) -> str:
        Path(self.path).with_name("begun").touch()
        desk = APPS[0].changing.desk
        assert desk is not None
        await desk._stopping.wait()
        return await FileStep.apply(self, reach, told)


APPS: list[Console] = []


def main(files: Path) -> int:
    app = build_on(fleet())
    APPS.append(app)

    async def begin(_pilot: Any) -> None:
        while (desk := await app.changing.open_desk()) is None:
            await asyncio.sleep(0.01)
        await desk.open_window(10, "INC-42")
        desk.launch(desk.run(change_of(UntilStopped(str(files / "a")), FileStep(str(files / "b")))))

    with Ending() as ending:
        ending.run(lambda code: app.exit(return_code=code), lambda: app.run(auto_pilot=begin))
    return ending.exit_code or 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
