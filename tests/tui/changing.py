"""Changes for the tests of the console: steps that say what a test wants, and a console with a fixed actor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import backends.changes.desk
from backends.changes.actor import Actor
from backends.changes.change import BlastRadius, Change, Permission, Preview, ReplicasLeft, Target, Undetermined
from backends.changes.journal import Journal
from backends.changes.places import Places
from backends.changes.step import KINDS, Reach, Step, Told, Verdict
from tests.changes.steps import FileStep
from tests.tui.fleets import NOW

KINDS["test-told"] = "tests.tui.changing:ToldStep"
KINDS["test-crowded"] = "tests.tui.changing:CrowdedStep"

ACTOR = Actor("alice", 1000, "head01", tty="/dev/pts/3", ssh_from="192.0.2.7")
ID = "20231114T221320.000-aaaa"


@dataclass(frozen=True, slots=True)
class ToldStep(FileStep):
    """A file step with other words: what a real one would say."""

    kind: ClassVar[str] = "test-told"

    words: str = "on dgx01: nvidia-smi mig -i 2 -cgi 9:0,9:4 -C"
    undo_words: str = "on dgx01: nvidia-smi mig -i 2 -dci"

    def describe(self) -> str:
        return self.words

    def verified_by(self) -> str:
        return "nvidia-smi shows MIG on: 3g.40gb:0 3g.40gb:4"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [Permission("root on dgx01", self.granted, "id -u says 0" if self.granted else "the login is uid 1000")]

    async def preview(self, reach: Reach) -> Preview:
        return Preview(("MIG off -> MIG on: 3g.40gb:0 3g.40gb:4",), ("the GPU is reset",))

    def undo(self) -> Step | None:
        return UndoStep(self.path, content="", words=self.undo_words) if self.undoable else None


@dataclass(frozen=True, slots=True)
class UndoStep(ToldStep):
    """Removes the file."""

    async def apply(self, reach: Reach, told: Told) -> str:
        Path(self.path).unlink()
        return "gone"

    async def check(self, reach: Reach) -> Verdict:
        return Verdict(not Path(self.path).exists(), "MIG off")

    def undo(self) -> Step | None:
        return None


class Gate:
    """Where a `WaitingStep` stands until the test lets it go on."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


class WaitingStep(ToldStep):
    gates: ClassVar[dict[str, Gate]] = {}

    async def apply(self, reach: Reach, told: Told) -> str:
        gate = self.gates[self.path]
        told("draining: 2 of 5 pods gone")
        gate.reached.set()
        await gate.open.wait()
        return await ToldStep.apply(self, reach, told)


class CrowdedStep(ToldStep):
    """Hits whoever is in `CROWD`."""

    kind: ClassVar[str] = "test-crowded"

    @classmethod
    async def hits(cls, steps: Sequence[Step], reach: Reach) -> BlastRadius:
        return BlastRadius(pods=tuple(CROWD))


CROWD: list[str] = []


class UnseenStep(ToldStep):
    """Its effect is waited for ten minutes, and does not come."""

    async def check(self, reach: Reach) -> Verdict:
        return Verdict(False, "1 of 2 pods Ready")


def waiting(path: Path) -> tuple[WaitingStep, Gate]:
    gate = WaitingStep.gates[str(path)] = Gate()
    return WaitingStep(str(path)), gate


RADIUS = BlastRadius(
    pods=("search/llama-70b-2",),
    processes=("4242 alice python train.py --config configs/pretrain_8k.yaml",),
    users=("alice",),
    owners=("Deployment search/llama-70b",),
    models=("llama-70b",),
    replicas=(ReplicasLeft("llama-70b", 3, 4),),
    gpus=("dgx01 gpu2",),
    undetermined=(Undetermined("the pods of 1 container", "no platform was asked"),),
)


def change_of(*steps: Step, **more: Any) -> Change:
    values: dict[str, Any] = {
        "id": ID,
        "title": "MIG layout of dgx01 gpu2: 3g.40gb 3g.40gb",
        "reason": "INC-42",
        "site": "lab",
        "targets": (Target("gpu", "dgx01 gpu2", "dgx01", "GPU-dgx01-2", 2),),
        "radius": RADIUS,
        **more,
    }
    return Change(steps=tuple(steps), **values)


def left_behind(state: Path, change: Change, *events: tuple[str, dict[str, Any]], places: Places | None = None) -> None:
    """The journal of a console that is no more."""
    journal = Journal.create(state / "changes", change, ACTOR, NOW - 600, places)
    for event, values in events:
        journal.write(event, NOW - 590, **values)
    journal.close()


@pytest.fixture
def state(nobodys_machine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of the console under test, whose user is always the same."""
    monkeypatch.setattr(backends.changes.desk, "current", lambda: ACTOR)
    return nobodys_machine / ".local" / "state" / "gpudeck"
