"""Which GPUs a reset takes, and that triage, the map, the plan and the values' page tell the same."""

from __future__ import annotations

import dataclasses

import pytest

from backends.domain import Gpu, Host, Link, Mig, Node, Service
from backends.nodes.mig.picture import picture
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of
from backends.nodes.mig.wish import parse
from backends.resets import Reset, reset_of
from backends.triage import steps
from screens.gpu_values.lines import reset_line
from screens.node_pages.view import NodeView
from tests.triage.makers import NOW, bus, links, live, view
from tests.unit.migs import A100, process

PENDING = Mig(enabled=False, pending=True, max_instances=7)
DARK = links(12, down=range(12))


def board(index: int, architecture: str | None = "Ampere", of: tuple[Link, ...] | None = None) -> Gpu:
    return Gpu(
        index=index,
        uuid=f"GPU-{index}",
        pci_bus_id=bus(index),
        name=A100,
        architecture=architecture,
        links=links(12) if of is None else of,
        mig=PENDING,
        processes=(),
    )


def machine(*gpus: Gpu, manager: str | None = None) -> Node:
    services = () if manager is None else (Service("nvidia-fabricmanager", manager),)
    return Node(name="n1", driver="580.65.06", gpus=gpus, host=Host(services=services), privileged=True)


@pytest.mark.parametrize(
    ("architecture", "of", "manager", "together"),
    [
        ("Ampere", None, "active", False),
        ("Ampere", None, "activating", False),
        ("Ampere", None, "failed", True),
        ("Ampere", None, "inactive", True),
        ("Ampere", None, "missing", False),
        ("Ampere", None, None, False),
        ("Ampere", DARK, "missing", True),
        ("Ampere", links(12, remote="gpu"), "inactive", False),
        ("Ampere", (), "inactive", False),
        ("Hopper", None, "failed", False),
        ("Blackwell", None, "inactive", False),
        ("Volta", None, "active", True),
        ("Volta", links(6, remote="gpu"), None, True),
        ("Turing", (), None, False),
        (None, None, "failed", False),
    ],
)
def test_who_is_reset_with_a_gpu(
    architecture: str | None, of: tuple[Link, ...] | None, manager: str | None, together: bool
) -> None:
    gpus = tuple(board(index, architecture, of) for index in range(4))
    reset = reset_of(gpus[2], machine(*gpus, manager=manager))
    assert [other.index for other in reset.others] == ([0, 1, 3] if together else [])
    assert ("-i" in reset.command.split()) is not together


def test_a_reset_names_its_gpu_by_what_no_other_process_counts_anew() -> None:
    gpu = board(2)
    assert reset_of(gpu, None).command == f"nvidia-smi --gpu-reset -i {bus(2)}"
    nameless = dataclasses.replace(gpu, pci_bus_id=None)
    assert reset_of(nameless, None).command == "nvidia-smi --gpu-reset -i GPU-2"
    assert reset_of(dataclasses.replace(nameless, uuid=None), None).command == "nvidia-smi --gpu-reset -i 2"


def test_without_its_node_a_gpu_is_reset_alone() -> None:
    assert reset_of(board(2), None) == Reset(board(2))


@pytest.mark.parametrize("manager", ["active", "failed"])
def test_every_place_tells_the_same_reset(manager: str) -> None:
    gpus = tuple(board(index) for index in range(8))
    node = machine(*gpus, manager=manager)
    command = reset_of(gpus[2], node).command
    seen = view(*gpus, host=node.host)
    assert [step.target for step in steps.reset_gpu(seen, gpus[2])] == [command]
    made = plan(target_of(node, gpus[2]), parse("3g.40gb,3g.40gb"))
    assert next(step.command for step in made.steps if step.kind == "reset") == command
    assert f"then {command}, or reboot" in next(step.text for step in made.steps if step.kind == "check-mode")
    assert any(command in note for note in picture(gpus[2], node).notes)
    assert reset_line(NodeView(live(node), gpus[2], NOW), gpus[2]).startswith(command)


def test_a_plan_names_who_else_is_reset() -> None:
    gpus = [board(index) for index in range(4)]
    gpus[0] = dataclasses.replace(gpus[0], processes=(process(77),))
    gpus[1] = dataclasses.replace(gpus[1], processes=None)
    gpus[3] = dataclasses.replace(gpus[3], processes_omitted=9)
    made = plan(target_of(machine(*gpus, manager="failed"), gpus[2]), parse("3g.40gb,3g.40gb"))
    assert [(each.kind, each.text) for each in made.blockers] == [
        ("process", "pid 77 alice python train.py on GPU 0"),
        ("unknown", "the processes on GPU 1, which is reset as well, could not be read"),
        ("unknown", "and 9 more processes on GPU 3 that were not read"),
    ]
    assert "reset-together" in {cost.code for cost in made.costs}
    alone = plan(target_of(machine(*gpus, manager="active"), gpus[2]), parse("3g.40gb,3g.40gb"))
    assert alone.blockers == ()
    assert "reset-together" not in {cost.code for cost in alone.costs}
