"""Whom a MIG change hits: who works there, and who holds it and runs nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.changes.change import Change
from backends.changes.mig_change import mig_change
from backends.changes.mig_holders import given
from backends.domain import (
    Container,
    Gpu,
    GpuProcess,
    GpuRequest,
    Memory,
    Mig,
    NotPermitted,
    Owner,
    Permission,
    Unread,
    Workload,
    Workloads,
)
from backends.ownership import Ownership
from tests.tui.fleets import NOW, h100, mig_gpu

NODE = "a100"
GPU = replace(mig_gpu(0, "3g.20gb", "2g.10gb"), uuid="GPU-11111111-2222", processes=())


def container(name: str, *devices: str, count: int | None = None, phase: str = "Running") -> Workload:
    asked = GpuRequest("device-request", len(devices) if devices else count, devices)
    return Workload(
        platform="docker",
        name=name,
        uid=name,
        namespace="team-search",
        node=NODE,
        phase=phase,
        owners=(Owner("compose", name.partition("-")[0]),),
        user=f"{name}@example",
        gpus=(asked,),
        containers=(Container(name, id=f"{len(name):064x}"),),
    )


def change(*workloads: Workload, line: str = "nvidia-smi mig -i 0 -dci -gi {gi}", gpu: Gpu = GPU) -> Change:
    first = gpu.mig.instances[0]
    return mig_change(
        site="lab",
        node=NODE,
        gpu=gpu,
        lines=[line.format(gi=first.gi)],
        reason="x",
        now=NOW,
        ownership=Ownership(Workloads(workloads)),
    )


def test_a_container_that_holds_an_instance_and_runs_nothing_is_hit() -> None:
    first, second = GPU.mig.instances
    assert first.uuid is not None
    assert second.uuid is not None
    holder, neighbour = container("jupyter-1", first.uuid), container("search-22", second.uuid)
    radius = change(holder, neighbour).radius
    assert radius.containers == ("team-search/jupyter-1",)
    assert radius.owners == ("compose team-search/jupyter",)
    assert radius.users == ("jupyter-1@example",)
    assert radius.workloads == 1
    assert [each.what for each in radius.undetermined] == ["the models they serve"]
    assert change(holder).typed_name == "a100 gpu0"
    whole = change(holder, neighbour, line="nvidia-smi mig -i 0 -dci").radius
    assert whole.containers == ("team-search/jupyter-1", "team-search/search-22")
    assert change(holder, line="nvidia-smi mig -i 0 -cgi 19 -C").radius.workloads == 0
    ended = container("jupyter-1", first.uuid, phase="Succeeded")
    assert change(ended).radius.workloads == 0


def test_a_container_that_works_there_is_named_once_and_by_its_name() -> None:
    first = GPU.mig.instances[0]
    assert first.uuid
    worker = container("search-1", first.uuid)
    busy = replace(
        GPU,
        processes=(
            GpuProcess(7, "compute", "uid1000", "python", gi=first.gi, container_id=worker.containers[0].id),
            GpuProcess(8, "compute", "uid1000", "python", gi=first.gi, container_id="f" * 64),
        ),
    )
    radius = change(worker, gpu=busy).radius
    assert radius.containers == ("team-search/search-1", "f" * 12)
    assert (radius.processes, radius.users) == ((), ("uid1000", "search-1@example"))
    assert radius.undetermined[0].what == "the pods and owners of 1 container"
    assert radius.undetermined[0].why == "the platform does not know them"


@pytest.mark.parametrize(
    ("devices", "hit"),
    [
        (("0",), True),
        (("1",), False),
        (("nvidia.com/gpu=0",), True),
        (("nvidia.com/gpu=all",), True),
        (("GPU-11111111-2222",), True),
        (("GPU-11111111",), True),
        (("GPU-1",), False),
        (("0:0",), True),
        (("nvidia.com/gpu=0:1",), False),
        (("1:0",), False),
        (("MIG-GPU-11111111-2222/{gi}/0",), True),
        (("MIG-GPU-99999999-2222/{gi}/0",), False),
    ],
)
def test_devices_are_known_by_all_their_names(devices: tuple[str, ...], hit: bool) -> None:
    first = GPU.mig.instances[0]
    assert first.gi is not None
    words = tuple(word.format(gi=first.gi) for word in devices)
    assert given(container("a", *words), GPU, {first.gi}) is hit


@pytest.mark.parametrize(("count", "index", "hit"), [(None, 5, True), (2, 1, True), (2, 2, False)])
def test_a_number_of_gpus_is_the_first_ones(count: int | None, index: int, hit: bool) -> None:
    assert given(container("a", count=count), replace(GPU, index=index), None) is hit


def test_a_reset_hits_the_whole_gpu_and_needs_its_name() -> None:
    waiting = replace(h100(0), index=0, mig=Mig(False, True, 7, ()))
    lines = ["nvidia-smi --gpu-reset -i 0", "nvidia-smi mig -i 0 -cgi 9:0,9:4 -C"]

    def made(gpu: Gpu, *workloads: Workload) -> Change:
        ownership = Ownership(Workloads(workloads))
        return mig_change(site="lab", node=NODE, gpu=gpu, lines=lines, reason="x", now=NOW, ownership=ownership)

    busy = made(waiting, container("jupyter-1", "0"))
    assert busy.radius.processes == ("4242 alice python train.py",)
    assert busy.radius.containers == ("team-search/jupyter-1",)
    assert busy.typed_name == "a100 gpu0"
    assert made(replace(waiting, processes=())).typed_name == "a100 gpu0"


def test_memory_that_nobody_is_seen_to_hold_may_be_somebodys() -> None:
    held = replace(h100(0), index=0, processes=(), memory=Memory(total_bytes=80 << 30, used_bytes=41 << 30))
    lines = ["nvidia-smi -i 0 -mig 1"]

    def made(gpu: Gpu) -> Change:
        return mig_change(
            site="lab", node=NODE, gpu=gpu, lines=lines, reason="x", now=NOW, ownership=Ownership(Workloads())
        )

    unknown = [each for each in made(held).radius.undetermined if each.uncounted]
    assert [each.what for each in unknown] == ["who holds 41.0 GiB of its memory"]
    assert made(held).typed_name == "a100 gpu0"
    free = replace(held, memory=Memory(total_bytes=80 << 30, used_bytes=600 << 20))
    assert made(free).typed_name is None


def test_what_is_not_known_is_said() -> None:
    lines = ["nvidia-smi mig -i 0 -dci"]
    made = mig_change(site="lab", node=NODE, gpu=GPU, lines=lines, reason="x", now=NOW, unasked="docker is silent")
    assert [(each.what, each.why) for each in made.radius.undetermined] == [
        ("containers that hold it and run nothing", "docker is silent")
    ]
    assert change().radius.undetermined[0].why == "the platform tells of none on the node"
    refused = NotPermitted("the containers of a100: permission denied", Permission("list", "containers"), NODE)
    silent, elsewhere = Unread(NODE, "a100 does not answer"), Unread("h100", "h100 does not answer")
    for known, why, uncounted in (
        (Workloads((), (refused,)), refused.what, True),
        (Workloads(unread=(silent,)), silent.why, True),
        (Workloads(unread=(elsewhere,)), "the platform tells of none on the node", False),
    ):
        half = mig_change(site="lab", node=NODE, gpu=GPU, lines=lines, reason="x", now=NOW, ownership=Ownership(known))
        assert (half.radius.undetermined[0].why, half.radius.undetermined[0].uncounted) == (why, uncounted)
