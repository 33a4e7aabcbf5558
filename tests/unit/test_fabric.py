"""Whether a node's GPUs hang on NVSwitches: one answer for triage, the Docker checks and the screens."""

from __future__ import annotations

import dataclasses

import pytest

from backends.docker.about import about
from backends.docker.checks import Facts, stack_node
from backends.domain import Fabric, Gpu, Host, Link, Node, NodeReading, NodeState, Service, Vgpu
from backends.domain.stack import OperandPhase
from backends.fabric import is_dark, is_switched
from backends.triage.rules.fabric import manager_down
from screens.fabric_section import fabric_section
from tests.triage.makers import view
from tui.widgets.glyphs import UNICODE

H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
DARK = (Link(0, False), Link(1, False))
DIRECT = (Link(0, True, remote_kind="gpu"),)
SWITCH = (Link(0, True, remote_kind="switch"),)
GUEST = Vgpu(mode="passthrough")


@pytest.mark.parametrize(
    ("gpu", "switched"),
    [
        (Gpu(name=H100, links=DARK), True),
        (Gpu(name=A100, links=DARK), True),
        (Gpu(links=SWITCH), True),
        (Gpu(name=H100, fabric=Fabric("in_progress")), True),
        (Gpu(name=A100, links=DIRECT), False),
        (Gpu(name="NVIDIA H100 PCIe", links=DARK), False),
        (Gpu(name="NVIDIA H200 NVL", links=DARK), False),
        (Gpu(name="NVIDIA L40S"), False),
        (Gpu(name=H100, fabric=Fabric("not_supported")), False),
        (Gpu(name=A100), None),
        (Gpu(), None),
        (Gpu(name=A100, links=DARK, vgpu=GUEST), None),
        (Gpu(name=A100, links=SWITCH, vgpu=GUEST), True),
    ],
)
def test_what_tells_of_switches(gpu: Gpu, switched: bool | None) -> None:
    assert is_switched((gpu,) * 8) is switched


def test_what_was_behind_switches_still_is() -> None:
    assert is_switched((Gpu(name=A100),), was_switched=True) is True


def test_one_board_and_a_lost_one_are_not_dark() -> None:
    one, lost = Gpu(name=H100, links=DARK), Gpu(name=H100, links=DARK, lost=True)
    assert not is_dark((one, lost))
    assert is_dark((one, one, dataclasses.replace(lost, links=SWITCH)))


@pytest.mark.parametrize(
    ("gpu", "told"), [(Gpu(name=H100, links=DARK), True), (Gpu(name=A100, links=DARK, vgpu=GUEST), False)]
)
def test_the_stack_the_triage_and_the_page_tell_the_same(gpu: Gpu, told: bool) -> None:
    gpus = tuple(dataclasses.replace(gpu, index=index, uuid=f"GPU-{index}") for index in range(8))
    host = Host(services=(Service("nvidia-fabricmanager", "inactive"),))
    node = Node(name="dgx01", driver="580.65.06", gpus=gpus, host=host)
    checked = stack_node(Facts(NodeReading("dgx01", NodeState.LIVE, node, 1.0, None), about({}, {})))
    state = checked.get("fabric-manager")
    assert state is not None
    assert (state.phase is OperandPhase.MISSING) is told
    assert bool(list(manager_down(view(*gpus, host=host)))) is told
    assert bool(fabric_section(node, UNICODE).lines) is told
