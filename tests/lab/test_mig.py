"""The lab's DGX A100s as the real probe reads them: the map shows how they are cut, and plans start from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.domain import Node, NodeSpec, SiteSpec, SshSpec
from backends.lab.hardware import SimNode
from backends.lab.server import Lab, LabSpec
from backends.nodes.mig.picture import picture
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of
from backends.nodes.mig.wish import configurations, parse
from backends.site import Site
from tests.unit.mig_table import PretendSmi, is_valid

SECONDS = 30.0


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab(LabSpec(tmp_path / "lab", nodes=12)) as running:
        yield running


async def read(lab: Lab, name: str) -> Node:
    site = Site(SiteSpec("lab", nodes=(NodeSpec(name),), ssh=SshSpec(config_file=lab.files.ssh_config)))
    try:
        (reading,) = (await site.read_once(SECONDS)).nodes
    finally:
        await site.close()
    assert reading.node is not None, reading.problem
    return reading.node


def cut_nodes(lab: Lab) -> list[SimNode]:
    return [each for each in lab.nodes if any(gpu.mig for gpu in each.gpus)]


async def test_the_map_shows_how_the_lab_cut_its_gpus(lab: Lab) -> None:
    assert len(cut_nodes(lab)) == 2
    for machine in cut_nodes(lab):
        node = await read(lab, machine.name)
        for simulated, gpu in zip(machine.gpus, node.gpus, strict=True):
            seen = picture(gpu)
            if not simulated.mig:
                assert seen.state == "off"
                continue
            assert (seen.state, seen.places) == ("on", "read")
            assert {(each.profile, each.placement, each.gi) for each in seen.instances} == {
                (each.profile.name, (each.start, each.profile.size), each.gi) for each in simulated.mig
            }
            assert not any("against the table" in note for note in seen.notes)
            assert is_valid("A100-80GB", [(each.profile.name, each.start) for each in simulated.mig])
            sitting = {process.pid for each in seen.instances for process in each.processes or ()}
            assert sitting == {process.pid for process in gpu.processes or ()}


async def test_every_configuration_is_reached_from_every_gpu_of_a_cut_node(lab: Lab) -> None:
    node = await read(lab, cut_nodes(lab)[0].name)
    for gpu in node.gpus:
        target = target_of(node, gpu)
        assert target.board is not None
        for name in configurations(target.board):
            made = plan(target, parse(name))
            assert made.possible
            smi = PretendSmi("A100-80GB", mode=bool(gpu.mig.enabled))
            smi.worlds = {
                frozenset(
                    (each.profile or "", (each.placement or (0, 0))[0], each.gi or 0) for each in target.instances
                )
            }
            for command in made.commands:
                smi.run(command.replace(f"-i {gpu.pci_bus_id}", "-i 0"))
            assert smi.mode == made.enabled
            assert smi.layouts == {tuple((each.profile.name, each.start) for each in made.after or ())}


async def test_a_vgpu_guest_of_the_lab_says_so(lab: Lab) -> None:
    guest = next(each for each in lab.nodes if each.machine.board.virtual)
    node = await read(lab, guest.name)
    (gpu,) = node.gpus
    seen = picture(gpu)
    assert seen.state == "guest"
    assert seen.headline.startswith("vGPU guest, ")
    assert "vGPU as its guest sees it" in (plan(target_of(node, gpu), parse("1g.10gb")).reason or "")
