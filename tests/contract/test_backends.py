"""What every backend promises, on every platform that has a world here. A capability that it lacks is skipped."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backends import registry
from backends.contract import (
    Backend,
    CordonsNodes,
    DrainsNodes,
    FollowsNodes,
    FollowsPods,
    Gone,
    GpudeckError,
    Identifies,
    ListsContainers,
    ListsWorkloads,
    MeasuresContainers,
    PartitionsGpus,
    Refused,
    ReportsStack,
    RestartsPods,
    ReviewsAccess,
    TailsLogs,
    TellsRequests,
    Unreachable,
    capabilities,
)
from backends.domain import (
    Act,
    LogQuery,
    LogSource,
    OperandPhase,
    Permission,
    StackHealth,
    Verb,
)
from backends.feed import closing
from backends.ownership import Ownership
from tests.conftest import NOT_PROMISED
from tests.contract.docker_world import lab_docker, real_docker, real_podman
from tests.contract.kube_world import KubeWorld, OpenShiftWorld
from tests.contract.lab_server import KINDS, LabKube
from tests.contract.worlds import World
from tests.kube.admin import Admin
from tests.kube.fixtures import until
from tests.kube.server import KubeApiserver

T = TypeVar("T")


WORLDS = {"kubernetes": KubeWorld, "openshift": OpenShiftWorld}


@contextlib.asynccontextmanager
async def lab_kube(platform: str, directory: Path) -> AsyncIterator[World]:
    async with LabKube(directory, KINDS[platform]).serving() as server:
        admin = Admin(server.kubeconfig())
        await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
        yield await WORLDS[platform](server, admin).prepare()
        await admin.close()


@contextlib.asynccontextmanager
async def real_kube(platform: str, server: KubeApiserver) -> AsyncIterator[World]:
    admin = Admin(server.kubeconfig())
    await admin.wipe()
    yield await WORLDS[platform](server, admin).prepare()
    await admin.close()


LAB: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {
    "docker": lab_docker,
    **{platform: partial(lab_kube, platform) for platform in WORLDS},
}
REAL: dict[str, tuple[str, Callable[[Any], AbstractAsyncContextManager[World]]]] = {
    "docker": ("dockerd", real_docker),
    "podman": ("podman", real_podman),
    **{platform: ("kube_server", partial(real_kube, platform)) for platform in WORLDS},
}
"""With the fixture of the server."""
SERVERS = {"dockerd": "dockerd", "podman": "podman", "kube_server": "kube-apiserver"}
PROVIDERS = [
    *(pytest.param((platform, "lab"), id=f"{platform}-lab") for platform in sorted(LAB)),
    *(
        pytest.param((platform, "real"), id=f"{platform}-real", marks=pytest.mark.real(SERVERS[REAL[platform][0]]))
        for platform in sorted(REAL)
    ),
]
Make = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture(params=PROVIDERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """How the world is made: each platform as the lab plays it, and as it really is where its server is there."""
    platform, provider = request.param
    if provider == "lab":
        return partial(LAB[platform], tmp_path)
    fixture, make = REAL[platform]
    return partial(make, request.getfixturevalue(fixture))


@pytest.fixture
async def world(made: Make) -> AsyncIterator[World]:
    async with made() as ready:
        yield ready


@pytest.fixture
async def backend(world: World) -> AsyncIterator[Backend]:
    opened = world.open()
    yield opened
    await opened.close()


def can(backend: Backend, capability: type[T]) -> T:
    if not isinstance(backend, capability):
        pytest.skip(f"{backend.name} {NOT_PROMISED}{capability.__name__}")
    return backend


async def test_it_is_registered_under_its_name(backend: Backend) -> None:
    assert registry.load(backend.name).name == backend.name
    assert backend.summary
    assert capabilities(type(backend)) == capabilities(backend)


async def test_it_tells_the_version_of_its_platform(backend: Backend) -> None:
    assert await backend.probe()


async def test_a_platform_that_does_not_answer_is_unreachable_and_says_what_to_do(world: World) -> None:
    lost = world.open_nowhere()
    with pytest.raises(Unreachable) as caught:
        await lost.probe()
    assert caught.value.hint
    if isinstance(lost, ReportsStack) and not world.tells_nodes_itself:
        with pytest.raises(Unreachable):
            await until(lost.stack(), lambda stack: True)
    await lost.close()


async def test_it_is_the_same_one_for_everybody(backend: Backend, world: World) -> None:
    identity = await can(backend, Identifies).identity()
    assert identity.address
    for again in (world.open(), world.open_for_nobody()):
        assert not (await can(again, Identifies).identity()).is_another(identity)
        await again.close()
    lost = world.open_nowhere()
    with pytest.raises(Unreachable):
        await can(lost, Identifies).identity()
    await lost.close()


async def test_closing_twice_and_after_use_is_fine(world: World) -> None:
    opened = world.open()
    await opened.probe()
    await opened.close()
    await opened.close()
    with pytest.raises(GpudeckError):
        await opened.probe()


async def test_the_stack_of_a_good_node_is_ready(backend: Backend, world: World) -> None:
    stack = await until(can(backend, ReportsStack).stack(), lambda stack: True)
    node = stack.get(world.node)
    assert node is not None
    assert (node.health, node.blocker) == (StackHealth.READY, None)
    assert stack.operands
    assert [state.operand for state in node.operands] == [operand.key for operand in stack.operands]
    assert stack.not_permitted == ()


async def test_the_stack_follows_what_happens(backend: Backend, world: World) -> None:
    stacks = can(backend, ReportsStack).stack()
    await until(stacks, lambda stack: stack.health is StackHealth.READY)
    await world.break_stack()
    stack = await until(stacks, lambda stack: stack.health is StackHealth.BLOCKED)
    node = stack.get(world.node)
    assert node is not None
    assert node.blocker is not None
    assert node.blocker.state.operand == world.blocking_operand
    assert node.blocker.state.phase is OperandPhase.FAILING
    assert node.blocker.state.message == world.blocking_message
    await world.mend_stack()
    await until(stacks, lambda stack: stack.health is StackHealth.READY)


async def test_two_readers_see_the_same(backend: Backend, world: World) -> None:
    reports = can(backend, ReportsStack)
    first, second = reports.stack(), reports.stack()
    assert await anext(first) == await anext(second)
    await first.aclose()  # type: ignore[attr-defined]
    await world.break_stack()
    await until(second, lambda stack: stack.health is StackHealth.BLOCKED)


async def test_a_workload_is_joined_from_its_container_to_what_was_deployed(backend: Backend, world: World) -> None:
    found = await until(can(backend, ListsWorkloads).workloads(), lambda workloads: True)
    joined = Ownership(found).container(world.container_id)
    assert joined is not None
    workload, _ = joined
    assert (workload.namespace, workload.name, workload.node) == (world.namespace, world.pod, world.node)
    assert workload.owner is not None
    assert (workload.owner.kind, workload.owner.name) == world.owner
    assert workload.gpu_count == world.gpus
    assert workload.platform == backend.name


async def test_a_workload_that_ended_is_gone(backend: Backend, world: World) -> None:
    values = can(backend, ListsWorkloads).workloads()
    await until(values, lambda found: any(item.name == world.pod for item in found.items))
    await world.end_pod()
    await until(values, lambda found: not any(item.name == world.pod for item in found.items))


async def test_without_rights_everything_is_told_as_not_permitted_and_nothing_breaks(world: World) -> None:
    opened = world.open_for_nobody()
    if isinstance(opened, ReportsStack):
        stack = await until(opened.stack(), lambda stack: True)
        assert stack.not_permitted
        assert stack.nodes == () or world.tells_nodes_itself
    if isinstance(opened, ListsWorkloads):
        workloads = await until(opened.workloads(), lambda workloads: True)
        assert workloads.not_permitted
        assert workloads.items == ()
    await opened.close()


async def test_rights_are_asked_for(backend: Backend, world: World) -> None:
    wanted = (Permission("patch", "nodes", name=world.node), Permission("delete", "pods", world.namespace, world.pod))
    reviews = await can(backend, ReviewsAccess).review(wanted)
    assert [(review.permission, review.allowed) for review in reviews] == [(each, True) for each in wanted]
    nobody = world.open_for_nobody()
    reviews = await can(nobody, ReviewsAccess).review(wanted)
    assert [review.allowed for review in reviews] == [False, False]
    await nobody.close()


async def test_a_dry_run_changes_nothing(backend: Backend, world: World) -> None:
    assert await can(backend, CordonsNodes).cordon(world.node, True, dry_run=True)
    assert await world.is_schedulable()
    before = await world.mig_layout()
    assert await can(backend, PartitionsGpus).set_mig_layout(world.node, "all-1g.10gb", dry_run=True) == before
    assert await world.mig_layout() == before
    await can(backend, RestartsPods).restart_pod(world.namespace, world.pod, dry_run=True)
    await can(backend, DrainsNodes).evict(world.namespace, world.pod, dry_run=True)
    found = await until(can(backend, ListsWorkloads).workloads(), lambda workloads: True)
    assert any(item.name == world.pod for item in found.items)


async def test_a_cordon_is_done_once_and_undone(backend: Backend, world: World) -> None:
    nodes = can(backend, CordonsNodes)
    assert await nodes.cordon(world.node, True)
    assert not await world.is_schedulable()
    assert not await nodes.cordon(world.node, True)
    assert await nodes.cordon(world.node, False)
    assert await world.is_schedulable()


async def test_a_mig_layout_is_set_and_its_former_one_given_back(backend: Backend, world: World) -> None:
    gpus = can(backend, PartitionsGpus)
    former = await gpus.set_mig_layout(world.node, "all-3g.40gb")
    assert await world.mig_layout() == "all-3g.40gb"
    assert await gpus.set_mig_layout(world.node, former) == "all-3g.40gb"
    assert await world.mig_layout() == former


async def test_a_drain_plan_lists_what_goes_and_what_stays(backend: Backend, world: World) -> None:
    plan = await can(backend, DrainsNodes).drain_plan(world.node)
    assert [(pod.namespace, pod.name) for pod in plan.evicts] == [(world.namespace, world.pod)]
    assert plan.evicts[0].owner is not None
    assert (plan.evicts[0].owner.kind, plan.evicts[0].owner.name) == world.owner
    assert plan.gpus == 2
    assert {pod.reason for pod in plan.stays} == {"DaemonSet"}


async def test_a_request_is_told_with_the_rights_it_takes_before_it_is_sent(backend: Backend, world: World) -> None:
    requests = can(backend, TellsRequests)
    for verb in Verb:
        act = Act(verb, world.node, world.namespace, world.pod, uid="u-1", layout="all-1g.10gb")
        told = await requests.request(act)
        assert world.pod in told.text or world.node in told.text
        assert told.needs
    assert await world.is_schedulable()


async def test_a_node_is_followed(backend: Backend, world: World) -> None:
    async with closing(can(backend, FollowsNodes).follow_node(world.node)) as moments:
        first = await anext(moments)
        assert (first.name, first.schedulable) == (world.node, True)
        await can(backend, CordonsNodes).cordon(world.node, True)
        assert not (await until(moments, lambda node: not node.schedulable)).schedulable
    with pytest.raises(Gone):
        await anext(can(backend, FollowsNodes).follow_node("no-such-node"))


async def test_the_pods_of_a_node_are_followed(backend: Backend, world: World) -> None:
    async with closing(can(backend, FollowsPods).follow_pods(world.node, world.namespace)) as moments:
        (pod,) = await anext(moments)
        assert (pod.namespace, pod.name, pod.going, pod.stays) == (world.namespace, world.pod, False, None)
        assert pod.controller is not None
        await can(backend, RestartsPods).restart_pod(world.namespace, world.pod, uid=pod.uid)
        # Its controller may have made another one before anybody looked.
        await until(moments, lambda pods: all(each.going or each.uid != pod.uid for each in pods))


async def test_a_pod_of_the_same_name_and_another_uid_is_left_alone(backend: Backend, world: World) -> None:
    with pytest.raises(Refused):
        await can(backend, RestartsPods).restart_pod(world.namespace, world.pod, uid="another")
    with pytest.raises(Refused):
        await can(backend, DrainsNodes).evict(world.namespace, world.pod, uid="another")


async def test_what_is_not_there_is_gone(backend: Backend, world: World) -> None:
    with pytest.raises(Gone):
        await can(backend, RestartsPods).restart_pod(world.namespace, "no-such-pod")
    with pytest.raises(Gone):
        await can(backend, CordonsNodes).cordon("no-such-node", True)


async def test_logs_of_what_is_not_there_are_an_error(backend: Backend, world: World) -> None:
    logs = can(backend, TailsLogs).logs(LogSource("no-such-pod", world.namespace, node=world.node), LogQuery())
    with pytest.raises(GpudeckError):
        await anext(logs)


async def test_what_a_container_uses_is_measured_while_somebody_reads(backend: Backend, world: World) -> None:
    values = can(backend, MeasuresContainers).usage(LogSource(world.pod, world.namespace, node=world.node))
    async with closing(values) as reading:
        used = await anext(reading)
    assert used.at is not None
    assert used.memory_bytes
    assert used.memory_limit_bytes
    assert used.memory_bytes <= used.memory_limit_bytes
    assert used.pids
    assert used.cpu_percent is None, "the first value is held against none"


async def test_the_use_of_what_is_not_there_is_an_error(backend: Backend, world: World) -> None:
    absent = LogSource("no-such-pod", world.namespace, node=world.node)
    with pytest.raises(Gone):
        await anext(can(backend, MeasuresContainers).usage(absent))


async def test_the_containers_that_may_be_read_are_told_by_name(backend: Backend, world: World) -> None:
    source = LogSource(world.pod, world.namespace, node=world.node)
    found = await can(backend, ListsContainers).containers(source)
    assert world.container_id in [container.id for container in found]
    assert all(container.name for container in found)
