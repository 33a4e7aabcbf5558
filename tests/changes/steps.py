"""Steps that do something real and small: files that are written and removed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Change, Permission, Preview, Target
from backends.changes.desk import ChangeDesk
from backends.changes.step import KINDS, Reach, Runner, Step, Told, Verdict
from backends.contract import GpudeckError, StepFailed
from backends.domain import ChangeSpec, SiteSpec
from backends.feed import Clock, SystemClock

KINDS["test-file"] = "tests.changes.steps:FileStep"
KINDS["test-gone"] = "tests.changes.steps:GoneStep"

NOW = 1_700_000_000.0
SITE = "prod"


@dataclass(frozen=True, slots=True)
class FileStep(Step):
    """Writes a file. Undone by removing it."""

    kind: ClassVar[str] = "test-file"

    path: str
    content: str = "done"
    fails: str = ""
    """refused: nothing is done; half: half is written, then it fails; lost: all is written, and then it fails."""
    dies: str = ""
    """before, half or after: the process is killed there."""
    repeatable: bool = False
    undoable: bool = True
    secret: str = ""
    verify_seconds: float = 0.0
    granted: bool | None = True

    def describe(self) -> str:
        return f"write {self.content!r} into {self.path}"

    def verified_by(self) -> str:
        return f"{self.path} holds {self.content!r}"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [Permission("write files", self.granted, "the test says so")]

    async def preview(self, reach: Reach) -> Preview:
        return Preview((f"{Path(self.path).name} appears",), ("it is a test",))

    async def apply(self, reach: Reach, told: Told) -> str:
        told("writing")
        if self.fails == "refused":
            raise StepFailed("the file is not wanted", "ask for another", untouched=True)
        self._die("before")
        half = len(self.content) // 2
        Path(self.path).write_text(self.content[:half])
        self._die("half")
        if self.fails == "half":
            raise RuntimeError("the pen broke")
        Path(self.path).write_text(self.content)
        self._die("after")
        if self.fails == "lost":
            raise StepFailed("the line went dead")
        return f"{len(self.content)} characters"

    def _die(self, place: str) -> None:
        if self.dies == place:
            os.kill(os.getpid(), signal.SIGKILL)

    async def check(self, reach: Reach) -> Verdict:
        path = Path(self.path)
        if not path.exists():
            return Verdict(False, "there is no such file")
        said = path.read_text()
        return Verdict(said == self.content, f"it holds {said!r}")

    def undo(self) -> Step | None:
        return GoneStep(self.path) if self.undoable else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "dies": ""}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        values = dict(document)
        values.pop("kind", None)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class GoneStep(Step):
    """Removes a file."""

    kind: ClassVar[str] = "test-gone"

    path: str
    verify_seconds: float = 0.0

    def describe(self) -> str:
        return f"remove {self.path}"

    def verified_by(self) -> str:
        return f"{self.path} is not there"

    async def apply(self, reach: Reach, told: Told) -> str:
        Path(self.path).unlink()
        return "removed"

    async def check(self, reach: Reach) -> Verdict:
        there = Path(self.path).exists()
        return Verdict(not there, "the file is there" if there else "there is no file")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(str(document["path"]))


@dataclass(frozen=True, slots=True)
class GatedStep(FileStep):
    """A file step that waits at `GATES[path]` in the middle, for tests that look at a running change."""

    kind: ClassVar[str] = "test-file"

    async def apply(self, reach: Reach, told: Told) -> str:
        reached, go_on = GATES.setdefault(self.path, (asyncio.Event(), asyncio.Event()))
        reached.set()
        await go_on.wait()
        return await FileStep.apply(self, reach, told)


GATES: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}


class Nowhere:
    """A reach without nodes."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.spec = SiteSpec(SITE)

    def transport(self, node: str) -> Runner:
        raise GpudeckError(f"no node {node}")

    def client(self, name: str) -> Any:
        raise GpudeckError(f"no {name}")


def change_of(*steps: Step, change_id: str = "20231114T221320-aaaaaa", **more: Any) -> Change:
    values: dict[str, Any] = {
        "title": "write some files",
        "reason": "INC-1",
        "site": SITE,
        "targets": (Target("file", "the files"),),
        "radius": BlastRadius(processes=("1 alice sleep",), gpus=("dgx01 gpu0",)),
        **more,
    }
    return Change(id=change_id, steps=tuple(steps), **values)


def desk_on(state: Path, clock: Clock | None = None, *, read_only: bool = False, **rules: Any) -> ChangeDesk:
    """A desk whose write window is still closed."""
    return ChangeDesk(SiteSpec(SITE, changes=ChangeSpec(**rules)), Nowhere(clock), state, read_only=read_only)


async def open_desk(state: Path, clock: Clock | None = None, **rules: Any) -> ChangeDesk:
    """A desk whose write window is open."""
    desk = desk_on(state, clock, **rules)
    await desk.open_window(30, "INC-1")
    return desk
