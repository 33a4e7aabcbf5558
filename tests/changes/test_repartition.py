"""A MIG plan becomes a change, on the command line and on the node's page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from backends.changes.mig import MigStep
from backends.changes.step import Reach, step_from_json, step_json
from backends.contract import ChangeRefused, ConfigError, GpudeckError
from backends.domain import Fleet, Gpu, Memory, Mig, MigInstance, Node, NodeReading, NodeState
from backends.nodes.mig.plan import Plan
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of, target_of_model
from backends.nodes.mig.wish import parse
from backends.nodes.transport import Completed
from backends.repartition import repartition
from screens.confirm import ConfirmScreen
from screens.node import NodeScreen
from tests.tui.changing import state
from tests.tui.consoles import build_on, opened
from tests.tui.fleets import NOW, h100

__all__ = ["state"]

GPU = replace(h100(0, 0), processes=(), memory=Memory(total_bytes=80 << 30, used_bytes=0))
NODE = Node(name="dgx01", gpus=(GPU, replace(h100(1), processes=())), privileged=True)


NOWHERE = cast(Reach, None)
"""A command that ends no instance looks for nobody's work."""


def planned(wish: str, gpu: Gpu = GPU, node: Node = NODE, platform: str | None = None) -> Plan:
    return plan(target_of(node, gpu, platform), parse(wish))


def change(made: Plan) -> Any:
    return repartition(made, GPU, site="lab", reason="INC-1", now=NOW)


def test_every_command_of_a_plan_becomes_a_step() -> None:
    made = planned("3g.40gb,2g.20gb")
    told = change(made)
    assert all(isinstance(step, MigStep) for step in told.steps)
    assert [step.describe() for step in told.steps] == [
        f"on dgx01: {line}" for line in made.commands if "-mig" in line or "-cgi" in line
    ]
    assert told.title == "MIG layout of dgx01 gpu0: 3g.40gb + 2g.20gb"
    assert (told.site, told.reason, told.typed_name) == ("lab", "INC-1", None)


@pytest.mark.parametrize(
    ("wish", "title", "command", "left"),
    [
        # Names that are too long for one line, and places that are asked for, are given to nvidia-smi by their ids.
        (",".join(["19"] * 7), "7x 1g.10gb", ",".join(["19"] * 7), " ".join(["1g.10gb"] * 7)),
        ("19:6,9:0", "1g.10gb:6 + 3g.40gb:0", "9:0,19:6", "3g.40gb:0 1g.10gb:6"),
    ],
)
async def test_profiles_are_told_by_name_where_the_command_has_their_ids(
    wish: str, title: str, command: str, left: str
) -> None:
    told = change(planned(wish))
    creating = told.steps[-1]
    assert told.title == f"MIG layout of dgx01 gpu0: {title}"
    assert creating.describe() == f"on dgx01: nvidia-smi mig -i 0 -cgi {command} -C"
    assert creating.verified_by() == f"nvidia-smi shows MIG on: {left}"
    looked_at = await creating.preview(NOWHERE)
    assert looked_at.effects == (f"MIG on, no instances -> MIG on: {left}",)
    back = creating.undo()
    assert back is not None
    assert "-cgi" not in back.describe()


def test_the_way_back_names_the_profiles_that_were_wished_by_id() -> None:
    """A journal keeps both: the driver may know a profile by another name."""
    creating = change(planned("19:6,9:0")).steps[-1]
    kept = step_from_json(step_json(creating))
    assert kept == creating
    assert [(place.profile, place.profile_id) for place in creating.after.places] == [
        ("3g.40gb", "9"),
        ("1g.10gb", "19"),
    ]


def test_a_login_that_is_not_root_uses_sudo_without_a_password() -> None:
    told = change(planned("7g.80gb", node=replace(NODE, privileged=False)))
    assert all(step.describe().startswith("on dgx01: sudo -n nvidia-smi ") for step in told.steps)


def test_what_is_not_possible_is_refused_with_what_is_near() -> None:
    with pytest.raises(GpudeckError) as caught:
        change(planned("4g.40gb,4g.40gb"))
    assert caught.value.hint.startswith("near: ")


def test_mig_manager_is_not_worked_against() -> None:
    with pytest.raises(ChangeRefused, match="MIG Manager divides the GPUs of dgx01") as caught:
        change(planned("7g.80gb", platform="kubernetes"))
    assert "nvidia.com/mig.config=" in caught.value.hint


def test_mig_manager_is_not_worked_against_where_a_neighbour_tells_no_profile() -> None:
    silent = replace(NODE.gpus[1], mig=Mig(True, True, 7, (MigInstance(1, 0),)))
    made = planned("7g.80gb", node=replace(NODE, gpus=(GPU, silent)), platform="openshift")
    assert made.mig_parted is None
    with pytest.raises(ChangeRefused, match="MIG Manager divides the GPUs of dgx01") as caught:
        change(made)
    assert "nvidia.com/mig.config" in caught.value.hint


def test_what_nvidia_smi_does_not_name_is_not_changed() -> None:
    read_by_smi = replace(GPU, mig=Mig(True, True, 7, (MigInstance(1, 0), MigInstance(5, 0))))
    made = planned("7g.80gb", read_by_smi, replace(NODE, gpus=(read_by_smi,)))
    assert made.possible
    with pytest.raises(
        ChangeRefused, match=r"of an instance \(gi 1\), an instance \(gi 5\) on gpu0 .* no profile"
    ) as caught:
        change(made)
    assert "nvidia-smi" in caught.value.hint
    added = planned("+1g.10gb", read_by_smi, replace(NODE, gpus=(read_by_smi,)))
    assert "no profile was told of an instance (gi 1)" in (added.reason or "")


def test_a_plan_for_a_model_is_no_change() -> None:
    with pytest.raises(ConfigError, match="for a model"):
        change(plan(target_of_model("NVIDIA H100 80GB HBM3"), parse("7g.80gb")))


class Answers:
    """A node that answers what nvidia-smi would."""

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        answers = {
            "id -u": b"0\n",
            "=uuid": GPU.uuid.encode() + b"\n" if GPU.uuid else b"",
            "mode": b"Disabled, Disabled",
            "-q -x": f"<gpu id='0'><uuid>{GPU.uuid}</uuid><processes></processes></gpu>".encode(),
        }
        return Completed(next((said for words, said in answers.items() if words in command), b""), "", 0)


async def test_a_node_that_does_not_answer_is_not_changed(state: Path) -> None:
    stale = Fleet((NodeReading("dgx01", NodeState.STALE, NODE, NOW - 60, None),))
    async with opened(build_on(stale), (120, 40)) as console:
        console.app.push_screen(NodeScreen("dgx01"))
        await console.press("m", "i", *"3g.40gb", "enter")
        await console.until(lambda: "A apply" in console.text, "the plan")
        await console.press("A")
        await console.until(lambda: console.notices, "the notice")
        assert "does not answer now" in console.notices[0]


async def test_the_plan_on_the_page_is_asked_about(state: Path) -> None:
    fleet = Fleet((NodeReading("dgx01", NodeState.LIVE, NODE, NOW, None),))
    async with opened(build_on(fleet), (120, 40)) as console:
        console.site.transport = lambda _node: Answers()  # type: ignore[attr-defined]
        console.app.push_screen(NodeScreen("dgx01"))
        await console.press("m", "A")
        await console.until(lambda: console.notices, "the notice")
        assert "There is no plan on this page" in console.notices[0]
        await console.press("i", *"3g.40gb,3g.40gb", "enter")
        await console.until(lambda: "A apply" in console.text, "the plan")
        await console.press("A")
        await console.until(lambda: "Write window of lab" in console.text, "the dialog of the window")
        await console.until(lambda: getattr(console.app.focused, "id", None) == "window-reason", "the entry")
        await console.press(*"INC-1", "enter", "enter")
        await console.until(lambda: isinstance(console.screen, ConfirmScreen), "the question")
        await console.until(lambda: "it can be done" in console.text, "the look")
        assert "MIG layout of dgx01 gpu0: 2x 3g.40gb" in console.text
        assert "on dgx01: nvidia-smi -i 0 -mig 1" in console.text
