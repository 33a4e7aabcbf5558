"""A MIG change end to end: the lab's nodes over SSH, the commands of a planner, the way back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import backends.changes.mig_driver
import backends.changes.mig_state
from backends.changes.change import Change
from backends.changes.command import CommandStep
from backends.changes.desk import ChangeDesk
from backends.changes.former import undoing
from backends.changes.mig import MigStep
from backends.changes.mig_change import mig_change
from backends.changes.mig_commands import commands
from backends.changes.mig_layout import MigLayout, parse_wanted
from backends.changes.mig_reset import MigResetStep
from backends.changes.mig_state import Holder, MigGpu, MigState, in_the_way
from backends.changes.mig_undo import MigLayoutStep
from backends.changes.radius import radius_of
from backends.changes.record import Effect, Status, StepState
from backends.changes.step import step_from_json, step_json
from backends.contract import ChangeRefused, ConfigError, StepFailed
from backends.domain import Gpu, GpuProcess
from backends.feed import ManualClock
from backends.lab import smi_mig
from backends.lab.hardware import SimGpu, SimNode, fleet
from backends.lab.mig import create, find_profile
from backends.lab.server import Lab, LabSpec
from backends.nodes.transport import Completed
from backends.site import Site
from tests.changes.labs import busy_time, idle_time, time_with_work_in
from tests.tui.fleets import NOW, mig_gpu
from tui.config import load


@pytest.fixture(autouse=True)
def quick_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smi_mig, "CHANGE_SECONDS", 0.0)


A100, H100 = "dgx-a100-01", "dgx-h100-01"


@dataclass
class Bench:
    lab: Lab
    site: Site
    desk: ChangeDesk
    gpu: Gpu
    node: str
    others: tuple[Gpu, ...] = ()

    @property
    def simulated(self) -> SimGpu:
        return _node(self.lab.nodes, self.node).gpus[self.gpu.index]

    @property
    def uuids(self) -> dict[int, str]:
        """Placement start -> UUID of the MIG device there."""
        return {mig.start: mig.uuid for mig in self.simulated.mig if mig.compute}

    def planned(self, *lines: str) -> Change:
        return mig_change(site="lab", node=self.node, gpu=self.gpu, lines=lines, reason="INC-1", now=NOW)

    @property
    def layout(self) -> list[tuple[str, int]]:
        return sorted((mig.profile.name, mig.start) for mig in self.simulated.mig)

    def change(self, wish: str, **more: Any) -> Change:
        wanted = parse_wanted(wish)
        lines = commands(str(self.gpu.index), MigLayout.of(self.gpu.mig), wanted)
        planned = [" ".join(words) for words in lines]
        values: dict[str, Any] = {"reason": "INC-1", "now": NOW, **more}
        return mig_change(site="lab", node=self.node, gpu=self.gpu, lines=planned, **values)


def _node(nodes: tuple[SimNode, ...], name: str) -> SimNode:
    return next(node for node in nodes if node.name == name)


@asynccontextmanager
async def bench(
    tmp_path: Path, node: str, gpu: int, *, busy: bool = False, work_in: int | None = None
) -> AsyncIterator[Bench]:
    """A lab at a time when the GPU is idle, busy, or has work in one GPU instance alone, and a desk on it."""
    there = _node(fleet(12, 7), node)
    when = (busy_time if busy else idle_time)(there, gpu)
    if work_in is not None:
        when = time_with_work_in(there, gpu, work_in)
    async with Lab(LabSpec(tmp_path / "lab", clock=ManualClock(when))) as lab:
        spec = load(lab.site_file).site(None)
        site = Site(replace(spec, nodes=tuple(each for each in spec.nodes if each.name == node)))
        reading = (await site.read_once(20)).nodes[0]
        assert reading.node is not None, reading.problem
        desk = ChangeDesk(spec, site, tmp_path / "state")
        await desk.open_window(10, "INC-1")
        try:
            chosen = reading.node.gpus[gpu]
            others = tuple(each for each in reading.node.gpus if each is not chosen)
            yield Bench(lab, site, desk, chosen, node, others)
        finally:
            await desk.close()
            await site.close()


async def test_a_gpu_is_cut_up_anew_and_put_back(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        before = on.layout
        change = on.change("2g.20gb:4,4g.40gb")
        found = await on.desk.preflight(change)
        assert found.obstacles == ()
        assert [(each.what, each.granted) for each in found.permissions] == [(f"root on {A100}", True)]
        assert [step.describe() for step in change.steps] == [
            f"on {A100}: nvidia-smi mig -i 1 -dci",
            f"on {A100}: nvidia-smi mig -i 1 -dgi",
            f"on {A100}: nvidia-smi mig -i 1 -cgi 4g.40gb,2g.20gb:4 -C",
        ]
        record = await on.desk.run(change)
        assert record.status is Status.DONE, record
        assert on.layout == [("2g.20gb", 4), ("4g.40gb", 0)]
        assert record.steps[2].said == "MIG on: 4g.40gb:0 2g.20gb:4"
        undone = await on.desk.undo(record.id)
        assert undone.status is Status.UNDONE, undone
        assert on.layout == before
        assert [step.state for step in undone.steps] == [StepState.UNDONE] * 3


async def test_mig_is_switched_on_and_off_again(tmp_path: Path) -> None:
    async with bench(tmp_path, H100, 0) as on:
        change = on.change("2g.20gb,1g.10gb:6")
        found = await on.desk.preflight(change)
        assert any("off again after a reboot" in warning for warning in found.warnings)
        record = await on.desk.run(change)
        assert record.status is Status.DONE, record
        assert on.layout == [("1g.10gb", 6), ("2g.20gb", 4)]
        assert on.simulated.mig_on
        assert (await on.desk.undo(record.id)).status is Status.UNDONE
        assert (on.simulated.mig_on, on.layout) == (False, [])


async def test_the_console_sees_what_was_changed(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        await on.desk.run(on.change("7g.80gb"))
        again = Site(on.site.spec)
        try:
            reading = (await again.read_once(20)).nodes[0]
        finally:
            await again.close()
        assert reading.node is not None
        (instance,) = reading.node.gpus[1].mig.instances
        assert (instance.profile, instance.placement) == ("7g.80gb", (0, 8))


async def test_work_on_the_gpu_is_an_obstacle_before_the_first_step(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1, busy=True) as on:
        before = on.layout
        change = on.change("7g.80gb")
        assert change.radius.workloads == len(on.gpu.processes or ()) > 0
        assert change.radius.users
        assert change.typed_name == f"{A100} gpu1"
        found = await on.desk.preflight(change)
        (obstacle,) = found.obstacles
        assert f"on {A100} gpu1, and the driver refuses while there is any" in obstacle
        assert "end what runs there first" in obstacle
        with pytest.raises(ChangeRefused, match="the driver refuses"):
            await on.desk.run(change)
        assert (await on.desk.look()).records == ()
        assert on.layout == before
        assert all(mig.compute for mig in on.simulated.mig)


async def test_work_that_comes_after_the_question_stops_the_step_before_it_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, H100, 0, busy=True) as on:
        change = on.change("on")
        monkeypatch.setattr(backends.changes.mig_driver, "processes_on", _first_blind(1))
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE)
        assert "the driver refuses while there is any" in record.why
        assert not on.simulated.mig_wanted


async def test_a_mode_that_stays_pending_is_told_and_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, H100, 0, busy=True) as on:
        # A client that nvidia-smi lists nowhere, as a display is.
        monkeypatch.setattr(backends.changes.mig_driver, "processes_on", _first_blind(99))
        change = on.change("on")
        fast = replace(change, steps=tuple(_impatient(step) for step in change.steps))
        record = await on.desk.run(fast)
        assert (record.status, record.in_doubt) == (Status.FAILED, 0)
        assert "on is pending: the GPU's next reset brings it; taken back by: nvidia-smi -i 0 -mig 0" in record.why
        assert on.simulated.mig_wanted
        undo = await on.desk.with_radius(undoing(record))
        found = await on.desk.preflight(undo)
        assert found.obstacles == ()  # it is safe while work runs
        assert undo.radius.workloads == 0
        assert "taken back by: nvidia-smi -i 0 -mig 0" in found.previews[0].effects[0]
        assert (await on.desk.undo(record.id)).status is Status.UNDONE
        assert not on.simulated.mig_wanted


async def test_a_pending_mode_of_somebody_else_is_taken_back_by_a_plan(tmp_path: Path) -> None:
    async with bench(tmp_path, H100, 0, busy=True) as on:
        on.simulated.faults.mig_pending = True
        change = mig_change(
            site="lab", node=H100, gpu=on.gpu, lines=["nvidia-smi -i 0 -mig 0"], reason="INC-1", now=NOW
        )
        assert (change.radius.workloads, change.typed_name) == (0, None)
        found = await on.desk.preflight(change)
        assert (found.obstacles, found.warnings) == ((), ())
        assert (await on.desk.run(change)).status is Status.DONE
        assert not on.simulated.mig_wanted


RESET = ("nvidia-smi --gpu-reset -i 0", "nvidia-smi mig -i 0 -cgi 9:0,9:4 -C")
"""The mode that waits comes with the reset, and then the instances."""


@pytest.fixture
def resets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The resets that nodes are given; each brings the mode that waits."""
    answer, ran = smi_mig.answer, []

    def reset(node: Any, line: str) -> Any:
        if "--gpu-reset" not in line:
            return answer(node, line)
        ran.append(line)
        gpu = node.hardware.gpus[0]
        gpu.mig_on, gpu.mig, gpu.faults.mig_pending = gpu.mig_wanted, (), None
        return 0, "GPU 00000000:1B:00.0 was successfully reset.\nAll done.\n"

    monkeypatch.setattr(smi_mig, "answer", reset)
    return ran


async def test_a_reset_brings_the_mode_that_waits_and_is_looked_at(tmp_path: Path, resets: list[str]) -> None:
    async with bench(tmp_path, H100, 0) as on:
        on.simulated.faults.mig_pending = True
        on.gpu = replace(on.gpu, mig=replace(on.gpu.mig, pending=True))
        change = on.planned(*RESET)
        assert change.typed_name == f"{H100} gpu0"
        record = await on.desk.run(change)
        assert record.status is Status.DONE, record
        assert resets == ["nvidia-smi --gpu-reset -i 0"]
        assert [step.state for step in record.steps] == [StepState.VERIFIED] * 2
        assert on.layout == [("3g.40gb", 0), ("3g.40gb", 4)]


async def test_a_reset_is_refused_while_work_is_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resets: list[str]
) -> None:
    async with bench(tmp_path, H100, 0, busy=True) as on:
        on.simulated.faults.mig_pending = True
        on.gpu = replace(on.gpu, mig=replace(on.gpu.mig, pending=True))
        change = on.planned(*RESET)
        assert change.radius.workloads == len(on.gpu.processes or ()) > 0
        (obstacle, *_) = (await on.desk.preflight(change)).obstacles
        assert "the driver refuses while there is any" in obstacle
        # Work that comes after the question: the preview saw none.
        monkeypatch.setattr(backends.changes.mig_driver, "processes_on", _first_blind(1))
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect, resets) == (Status.FAILED, Effect.NONE, [])


async def test_a_reset_of_all_gpus_is_refused_while_work_is_on_any_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resets: list[str]
) -> None:
    async with bench(tmp_path, H100, 0) as on:
        on.simulated.faults.mig_pending = True
        waiting = replace(on.gpu, mig=replace(on.gpu.mig, pending=True))
        lines = ("nvidia-smi --gpu-reset", RESET[1])
        change = mig_change(site="lab", node=H100, gpu=waiting, lines=lines, reason="x", now=NOW, reset_with=on.others)
        step = change.steps[0]
        assert isinstance(step, MigResetStep)
        assert [other.index for other in step.others] == [each.index for each in on.others]
        assert step_from_json(json.loads(json.dumps(step_json(step)))) == step
        assert len(change.radius.gpus) == len(on.others) + 1
        busy = [each for each in on.others if each.processes]
        assert busy, "somebody works on this node"
        assert change.radius.workloads > 0
        found = await on.desk.preflight(change)
        told = [obstacle.partition(", and the driver refuses")[0].rpartition(" ")[2] for obstacle in found.obstacles]
        assert told == [f"gpu{each.index}" for each in busy]
        assert "are reset as well, and their MIG instances go" in found.previews[0].effects[1]
        assert set((await on.desk.with_radius(change)).radius.gpus) == set(change.radius.gpus)
        with pytest.raises(ChangeRefused, match="gpu1, and the driver refuses while there is any"):
            await on.desk.run(change)
        # Work that comes after the question: two looks at each GPU, of the preview and for the radius, saw none.
        monkeypatch.setattr(backends.changes.mig_driver, "processes_on", _first_blind(2 * (len(on.others) + 1)))
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect, resets) == (Status.FAILED, Effect.NONE, [])


async def test_a_reset_of_a_gpu_that_is_not_as_planned_is_refused(tmp_path: Path, resets: list[str]) -> None:
    async with bench(tmp_path, H100, 0) as on:
        on.gpu = replace(on.gpu, mig=replace(on.gpu.mig, pending=True))
        record = await on.desk.run(on.planned(*RESET))  # somebody has taken the pending mode back
        assert (record.status, record.steps[0].effect, resets) == (Status.FAILED, Effect.NONE, [])
        assert "is not as planned" in record.why


async def test_an_undo_says_what_each_of_its_steps_does_and_waits_for_idle_instances(tmp_path: Path) -> None:
    async with bench(tmp_path, H100, 0) as on:
        record = await on.desk.run(on.change("3g.40gb:0,3g.40gb:4"))
        assert record.status is Status.DONE, record
        undo = undoing(record)
        found = await on.desk.preflight(undo)
        assert [preview.effects for preview in found.previews] == [
            ("MIG on: 3g.40gb:0 3g.40gb:4 -> MIG on, no instances",),
            ("MIG on, no instances -> MIG off",),
        ]
        assert found.obstacles == ()


def _first_blind(count: int) -> Any:
    """`processes_on` that sees nothing the first `count` times."""
    known, left = backends.changes.mig_state.processes_on, [None] * count

    async def processes_on(reach: Any, gpu: Any) -> list[Holder]:
        return [] if left and left.pop() is None else await known(reach, gpu)

    return processes_on


def test_processes_of_services_that_the_plan_stops_are_not_in_the_way() -> None:
    engine, python, daemon = (
        Holder(1, "/usr/bin/nv-hostengine -n"),
        Holder(2, "python", 5),
        Holder(3, "nvidia-persistenced", 6),
    )
    processes = [engine, python, daemon]
    assert in_the_way(processes, ended=None, stopped=["nvidia-dcgm"]) == [python, daemon]
    assert in_the_way(processes, ended=None, stopped=["nvidia-persistenced", "dcgm.service"]) == [python]
    assert in_the_way(processes, ended={5, 7}) == [engine, python]  # where the first one is, nobody knows
    assert in_the_way(processes, ended=set()) == []


SPARING = (
    "nvidia-smi mig -i 1 -dci -gi 1",
    "nvidia-smi mig -i 1 -dgi -gi 1",
    "nvidia-smi mig -i 1 -cgi 2g.20gb:0 -C",
)
"""Of the two 3g.40gb of the A100's GPU 1, the one at 4 stays."""


async def test_an_undo_leaves_alone_what_the_change_has_spared_and_the_work_in_it(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1, work_in=2) as on:
        before, spared = on.layout, on.uuids[4]
        record = await on.desk.run(on.planned(*SPARING))
        assert record.status is Status.DONE, record
        assert on.layout == [("2g.20gb", 0), ("3g.40gb", 4)]
        undone = await on.desk.undo(record.id)
        assert undone.status is Status.UNDONE, undone
        assert [step.state for step in undone.steps] == [StepState.UNDONE] * 3
        assert (on.layout, on.uuids[4]) == (before, spared)
        assert all(mig.compute for mig in on.simulated.mig)


@pytest.mark.parametrize("lines", [SPARING, ("nvidia-smi mig -i 1 -dci", "nvidia-smi mig -i 1 -dgi")])
async def test_what_an_undo_shows_is_what_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...]
) -> None:
    async with bench(tmp_path, A100, 1) as on:
        record = await on.desk.run(on.planned(*lines))
        shown = await on.desk.with_radius(undoing(record))
        told = [line.partition(": ")[2] for step in shown.steps for line in step.describe().split("\n")]
        ran = _commands_of(monkeypatch)
        assert (await on.desk.undo(record.id)).status is Status.UNDONE
        assert [line for line in told if line.startswith("nvidia-smi")] == ran != []
        assert (await on.desk.preflight(shown)).obstacles == ()


def _commands_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The changing MIG commands that nodes are given from now on."""
    ran: list[str] = []
    answer = smi_mig.answer

    def noted(node: Any, line: str) -> Any:
        if smi_mig.changes(line):
            ran.append(line)
        return answer(node, line)

    monkeypatch.setattr(smi_mig, "answer", noted)
    return ran


async def test_an_undo_looks_for_work_before_its_first_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path, A100, 1, work_in=2) as on:
        undo = MigLayoutStep(_mig_gpu(on), parse_wanted("off"), MigLayout.of(on.gpu.mig))
        assert "the driver refuses while there is any" in (await undo.preview(on.site)).obstacles[0]
        ran = _commands_of(monkeypatch)
        with pytest.raises(StepFailed, match="1 process on dgx-a100-01 gpu1") as caught:
            await undo.apply(on.site, print)
        assert (caught.value.untouched, ran) == (True, [])


def _mig_gpu(on: Bench) -> MigGpu:
    assert on.gpu.uuid is not None
    return MigGpu(on.node, on.gpu.index, on.gpu.uuid)


async def test_an_undo_destroys_nothing_that_the_change_has_not_made(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        record = await on.desk.run(on.planned(*SPARING))
        # By somebody's hand the 3g.40gb at 4 went, and a 1g.10gb came.
        on.simulated.mig = tuple(mig for mig in on.simulated.mig if mig.start != 4)
        create(on.simulated, find_profile(on.simulated.board, "1g.10gb"), 6, NOW, compute=True)
        here = on.layout
        with pytest.raises(ChangeRefused, match=r"1g\.10gb:6, which this change did not make"):
            await on.desk.undo(record.id)
        assert on.layout == here


@pytest.mark.parametrize("what", ["resume", "undo"])
async def test_a_step_that_the_driver_refused_has_changed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with bench(tmp_path, A100, 1, work_in=2) as on:
        before, spared = on.layout, on.uuids[4]
        with monkeypatch.context() as patched:
            answer = smi_mig.answer
            patched.setattr(
                smi_mig, "answer", lambda node, line: (19, "In use\n") if " -dgi " in line else answer(node, line)
            )
            record = await on.desk.run(on.planned(*SPARING))
        assert (record.status, record.reached, record.steps[1].effect) == (Status.FAILED, 1, Effect.NONE)
        again = await (on.desk.resume(record.id) if what == "resume" else on.desk.undo(record.id))
        assert again.status is (Status.DONE if what == "resume" else Status.UNDONE), again
        assert on.layout == ([("2g.20gb", 0), ("3g.40gb", 4)] if what == "resume" else before)
        assert on.uuids[4] == spared
        assert all(mig.compute for mig in on.simulated.mig)


@pytest.mark.parametrize(
    ("architecture", "said", "unsaid"),
    [("Ampere", "the GPU is reset", "Hopper"), ("Hopper", "off again after a reboot", "reset"), (None, "if this", "-")],
)
async def test_what_a_mode_costs_is_told_for_this_board_alone(
    tmp_path: Path, architecture: str | None, said: str, unsaid: str
) -> None:
    async with bench(tmp_path, H100, 0) as on:
        on.gpu = replace(on.gpu, architecture=architecture)
        (warning,) = (await on.desk.preflight(on.change("on"))).warnings
        assert said in warning
        assert unsaid not in warning


def _impatient(step: Any) -> MigStep:
    made = MigStep(step.gpu, step.argv, step.before, step.after)
    object.__setattr__(made, "verify_seconds", 0.0)
    return made


async def test_a_layout_without_room_fails_and_is_put_back(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        before = on.layout
        record = await on.desk.run(on.change("4g.40gb,4g.40gb"))
        assert (record.status, record.reached) == (Status.FAILED, 2)
        assert "Insufficient Resources" in record.why
        assert (await on.desk.undo(record.id)).status is Status.UNDONE
        assert on.layout == before


async def test_a_gpu_that_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        change = on.change("7g.80gb")
        on.simulated.mig = on.simulated.mig[:-1]
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE)
        assert "is not as planned" in record.why


async def test_a_gpu_instance_that_nvml_does_not_list_is_named_as_what_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, A100, 1) as on:
        change = on.change("7g.80gb")
        first = change.steps[0]
        assert isinstance(first, MigStep)
        *seen, last = first.before.places
        hidden = replace(first.before, places=(*seen, replace(last, computes=())))

        async def told(*_: object) -> MigState:
            return MigState(hidden)

        monkeypatch.setattr(backends.changes.mig_driver, "state_of", told)
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE)
        assert "without a compute instance are there, which NVML does not list" in record.why


async def test_an_instance_whose_id_is_another_by_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path, A100, 1) as on:
        change = on.planned(*SPARING)
        first, second = sorted(on.simulated.mig, key=lambda mig: mig.start)
        assert (first.gi, first.start, second.gi, second.start) == (1, 0, 2, 4)
        # Both were made anew meanwhile, the one at 4 before the one at 0.
        on.simulated.mig = (replace(first, gi=2), replace(second, gi=1))
        ran = _commands_of(monkeypatch)
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect, ran) == (Status.FAILED, Effect.NONE, [])
        assert f"GPU instance id 1 of {A100} gpu1 is not the instance that was planned" in record.why


async def test_another_gpu_under_the_same_index_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        change = on.change("7g.80gb")
        on.simulated.uuid = "GPU-somebody-else"
        record = await on.desk.run(change)
        assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE)
        assert "the order of the GPUs has changed" in record.why


async def test_a_login_without_root_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1) as on:
        node = _node(on.lab.nodes, A100)
        node.machine = replace(node.machine, privileged=False)
        found = await on.desk.preflight(on.change("7g.80gb"))
        assert found.obstacles == (f"root on {A100} is not granted: the login is uid 1000",)
        assert (await on.desk.preflight(on.change("7g.80gb", sudo=True))).obstacles[0].startswith(f"root on {A100}")


# The change as a value


def test_steps_go_through_json_unchanged() -> None:
    change = _planned("nvidia-smi mig -i 0 -dci", "nvidia-smi mig -i 0 -dgi", "nvidia-smi mig -i 0 -cgi 9:0 -C")
    for step in change.steps:
        undo = step.undo()
        assert isinstance(undo, MigLayoutStep)
        for each in (step, undo):
            assert step_from_json(json.loads(json.dumps(step_json(each)))) == each
    undo = change.steps[-1].undo()
    assert undo is not None
    assert undo.describe() == "on a100: nvidia-smi mig -i 0 -dci\non a100: nvidia-smi mig -i 0 -dgi"


def _planned(*lines: str, gpu: Gpu | None = None) -> Change:
    cut = gpu or mig_gpu(0, "3g.20gb", "2g.10gb")
    return mig_change(site="lab", node="a100", gpu=cut, lines=lines, reason="x", now=NOW)


@pytest.mark.parametrize(
    "line",
    [
        "nvidia-smi -mig 1",
        "nvidia-smi mig -cgi 9 -C",
        "nvidia-smi mig -i 1 -dgi",
        "nvidia-smi mig -i 0,1 -dgi",
        "nvidia-smi -i 1 --gpu-reset",
        "nvidia-smi --gpu-reset",
        "nvidia-smi -i 0 -pl 300",
        "kubectl drain a100",
        "systemctl restart dcgm",
        "systemctl stop --now dcgm",
        "systemctl stop",
        "rm -rf / -i 0",
        "",
    ],
)
def test_a_command_that_is_not_about_this_gpu_alone_is_refused(line: str) -> None:
    with pytest.raises(ConfigError):
        _planned(line)


def test_a_change_without_a_command_is_none() -> None:
    with pytest.raises(ConfigError, match="needs no change"):
        _planned()


async def test_what_a_planner_adds_around_it_becomes_steps_of_its_own() -> None:
    change = _planned(
        "sudo systemctl stop nvidia-dcgm nvsm",
        "sudo nvidia-smi -i 0 -mig 0",
        "nvidia-smi -i 0 --query-gpu=mig.mode.current --format=csv,noheader",
        "sudo nvidia-smi --gpu-reset -i 0",
        "sudo systemctl start nvidia-dcgm nvsm",
        "nvidia-smi -L",
    )
    assert [step.describe().partition(": ")[2] for step in change.steps] == [
        "sudo -n systemctl stop nvidia-dcgm nvsm",
        "sudo -n nvidia-smi -i 0 -mig 0",
        "sudo -n nvidia-smi --gpu-reset -i 0",
        "sudo -n systemctl start nvidia-dcgm nvsm",
    ]
    undos = [step.undo() for step in change.steps]
    assert undos[0] is not None
    assert undos[0].describe() == "on a100: sudo -n systemctl start nvidia-dcgm nvsm"
    assert undos[2] is None
    reset = change.steps[2]
    assert isinstance(reset, MigResetStep)
    assert (reset.stopped, reset.after.words) == (("nvidia-dcgm", "nvsm"), "MIG off")
    stop = change.steps[0]
    assert isinstance(stop, CommandStep)
    assert stop.verified_by() == "systemctl is-active nvidia-dcgm nvsm: each must be stopped"
    assert change.steps[-1].verified_by().endswith(": each must run")
    for output, status, stopped in (
        (b"inactive\nfailed\n", 3, True),
        (b"inactive\nactive\n", 0, False),
        (b"active\nactive\n", 0, False),
    ):
        assert stop.check_after is not None
        assert stop.undo_check is not None
        assert stop.check_after.judge(Completed(output, "", status)).holds is stopped
        assert stop.undo_check.judge(Completed(output, "", status)).holds is (output == b"active\nactive\n")
    for step in change.steps:
        assert step_from_json(json.loads(json.dumps(step_json(step)))) == step


def test_whom_it_hits_is_told_with_what_is_not_known() -> None:
    processes = (
        GpuProcess(1, "compute", "alice", "python a.py", gi=0),
        GpuProcess(2, "compute", "bob", "python b.py", gi=1, container_id="c" * 64),
        GpuProcess(3, "compute", "bob", "python c.py", gi=1, container_id="c" * 64),
    )
    gpu = replace(mig_gpu(0, "3g.20gb", "2g.10gb"), processes=processes)
    one = _planned("nvidia-smi mig -i 0 -dci -gi 0", gpu=gpu)
    assert (one.radius.processes, one.radius.containers) == (("1 alice python a.py",), ())
    whole = _planned("nvidia-smi mig -i 0 -dci", gpu=gpu)
    assert (whole.radius.workloads, whole.radius.users) == (2, ("alice", "bob"))
    assert whole.radius.containers == ("c" * 12,)
    assert [each.what for each in whole.radius.undetermined] == [
        "the pods and owners of 1 container",
        "containers that hold it and run nothing",
        "the models they serve",
    ]
    assert whole.typed_name == "a100 gpu0"
    unread = _planned("nvidia-smi mig -i 0 -dci", gpu=replace(gpu, processes=None))
    assert unread.radius.undetermined[0].uncounted
    assert unread.typed_name == "a100 gpu0"
    only_added = _planned("nvidia-smi mig -i 0 -cgi 19 -C", gpu=gpu)
    assert (only_added.radius.workloads, only_added.typed_name) == (0, None)


async def test_whom_an_undo_hits_is_read_from_the_gpu_as_it_is(tmp_path: Path) -> None:
    async with bench(tmp_path, A100, 1, busy=True) as on:
        radius = await radius_of(on.change("7g.80gb").steps, on.site)
        assert radius.gpus == (f"{A100} gpu1",)
        assert radius.workloads == len(on.gpu.processes or ()) > 0
        undo = on.change("7g.80gb").steps[0].undo()
        assert isinstance(undo, MigLayoutStep)
        assert (await radius_of([undo], on.site)).workloads == 0  # that layout is there: nothing goes
        away = replace(undo, layout=parse_wanted("off"))
        assert (await radius_of([away], on.site)).processes == radius.processes
    async with bench(tmp_path / "idle", A100, 1) as on:
        assert (await radius_of(on.change("7g.80gb").steps, on.site)).workloads == 0
