"""A process that runs a change and is killed at the write of the journal that it is told.

python -m tests.changes.worker STATE FILES PLAN NUMBER PLACE
PLAN is run, run-dies, resume or undo; PLACE is before, torn or after the NUMBERth line; NUMBER 0 is never.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from backends.changes import files as files_module
from backends.changes.files import write_all
from tests.changes.steps import FileStep, change_of, open_desk

CHANGE = "20231114T221320-aaaaaa"


def steps(files: Path, dies: str = "") -> list[FileStep]:
    made = [FileStep(str(files / name), content=f"content of {name}") for name in "abc"]
    if dies:
        made[1] = FileStep(made[1].path, content=made[1].content, dies=dies)
    return made


def die_at(number: int, place: str) -> None:
    """Kills this process at a line of the journal: before it, in the middle of it, or when it is synced."""
    lines = 0

    def write(descriptor: int, payload: bytes) -> None:
        nonlocal lines
        lines += 1
        if lines != number:
            return write_all(descriptor, payload)
        if place == "torn":
            os.write(descriptor, payload[: len(payload) // 2])
        if place == "after":
            write_all(descriptor, payload)
            os.fsync(descriptor)
        return os.kill(os.getpid(), signal.SIGKILL)

    files_module.write_all = write


async def main(state: Path, files: Path, plan: str, number: int, place: str) -> None:
    die_at(number, place)
    desk = await open_desk(state)
    if plan.startswith("run"):
        dies = plan.partition("-")[2]
        record = await desk.run(change_of(*steps(files, dies), change_id=CHANGE))
    else:
        record = await (desk.resume(CHANGE) if plan == "resume" else desk.undo(CHANGE))
    print(record.status)
    await desk.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]))
