"""Controllers that SCCs refuse, found by the backend `openshift` in the lab's API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.domain import GpuRequest, SccRefusal, Stack
from backends.feed import closing
from backends.lab.kube.access import READ, Ask, User
from backends.openshift import refusals
from backends.openshift.backend import OpenShift
from tests.contract.lab_server import KINDS, LabKube
from tests.kube import objects
from tests.kube import openshift_objects as openshift
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.server import token


def no_controllers(ask: Ask) -> bool:
    return ask.verb in READ and ask.resource != "replicasets"


def no_events(ask: Ask) -> bool:
    return ask.verb in READ and ask.resource != "events"


def one_namespace(ask: Ask) -> bool:
    """Reads pods of the cluster, and the rest of team-a alone."""
    return ask.verb in READ and (ask.namespace == "team-a" or ask.resource in ("nodes", "pods", "projects"))


USERS = {"blind": no_controllers, "deaf": no_events, "tenant": one_namespace}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LabKube]:
    users = tuple(User(name, token(name), may) for name, may in USERS.items())
    async with LabKube(tmp_path, KINDS["openshift"], users).serving() as server:
        yield server


@pytest.fixture
async def admin(server: LabKube) -> AsyncIterator[Admin]:
    made = Admin(server.kubeconfig())
    yield made
    await made.close()


async def refuse(admin: Admin, wanted: dict[str, Any], **more: Any) -> dict[str, Any]:
    (made,) = await admin.create(wanted)
    await admin.create(openshift.failed_create(made, **more))
    return made


def has_refused(stack: Stack) -> object:
    return stack.refused


async def first_stack(
    server: LabKube, user: str = "admin", holds: Callable[[Stack], object] = has_refused, **settings: Any
) -> Stack:
    """The first of which `holds`: what OpenShift adds may come after the first value."""
    backend = OpenShift.open(context(server.kubeconfig(user), **settings))
    try:
        async with closing(backend.stack()) as stacks:
            return await until(stacks, holds)
    finally:
        await backend.close()


def titles(found: tuple[SccRefusal, ...]) -> list[str]:
    return [each.title for each in found]


async def test_a_refused_replica_set_is_told_by_its_deployment_with_reason_and_pods(
    server: LabKube, admin: Admin
) -> None:
    owner = objects.controller("apps/v1", "Deployment", "llama")
    await refuse(admin, openshift.replica_set("llama-7d9", "team-a", gpus=2, owner=owner, account="runner"))
    (found,) = (await first_stack(server)).refused
    assert found.title == "Deployment team-a/llama"
    assert (found.kind, found.name, found.service_account) == ("ReplicaSet", "llama-7d9", "runner")
    assert (found.wanted, found.missing, found.gpus) == (2, 2, (GpuRequest("nvidia.com/gpu", 2),))
    assert found.why == "Privileged containers are not allowed"
    assert found.unusable == ("anyuid", "privileged")


async def test_work_without_gpus_and_other_failures_are_not_told(server: LabKube, admin: Admin) -> None:
    await refuse(admin, openshift.replica_set("web", "team-a", gpus=0))
    await refuse(admin, openshift.replica_set("full", "team-a"), message="exceeded quota: gpus")
    await refuse(admin, openshift.replica_set("old", "team-a"), at=time.time() - refusals.RETRY_SECONDS - 60)
    await refuse(admin, openshift.replica_set("nfd-gc", "openshift-nfd", gpus=0))
    stack = await first_stack(server)
    assert titles(stack.refused) == ["ReplicaSet openshift-nfd/nfd-gc"], "of the stack itself everything counts"
    assert not any("nobody looked at" in note for note in stack.notes)


async def test_one_that_gets_its_pods_is_over_though_its_event_stays(
    server: LabKube, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FRESH_SECONDS", 0.0)
    made = await refuse(admin, openshift.replica_set("llama", "team-a"))
    backend = OpenShift.open(context(server.kubeconfig()))
    async with closing(backend.stack()) as stacks:
        await until(stacks, lambda stack: stack.refused)
        await admin.patch(made, {"status": {"replicas": 2}}, "status")
        await admin.create(openshift.replica_set("nudge", "team-a"), objects.pod("nudge", namespace="team-a"))
        await until(stacks, lambda stack: not stack.refused)
    await backend.close()


async def test_one_that_begins_later_is_told(server: LabKube, admin: Admin) -> None:
    backend = OpenShift.open(context(server.kubeconfig()))
    async with closing(backend.stack()) as stacks:
        assert (await anext(stacks)).refused == ()
        await refuse(admin, openshift.replica_set("llama", "team-a"))
        await until(stacks, lambda stack: titles(stack.refused) == ["ReplicaSet team-a/llama"])
    await backend.close()


async def test_an_event_of_another_object_of_that_name_is_not_its_own(server: LabKube, admin: Admin) -> None:
    made = await refuse(admin, openshift.replica_set("llama", "team-a"))
    await admin.delete(made)
    await admin.create(openshift.replica_set("llama", "team-a"))
    await refuse(admin, openshift.replica_set("other", "team-a"))
    assert titles((await first_stack(server)).refused) == ["ReplicaSet team-a/other"]


async def test_a_controller_that_may_not_be_read_is_told_as_not_known_with_the_right(
    server: LabKube, admin: Admin
) -> None:
    await refuse(admin, openshift.replica_set("llama", "team-a"))
    stack = await first_stack(server, "blind")
    (found,) = stack.refused
    assert (found.title, found.gpus, found.missing) == ("ReplicaSet team-a/llama", None, None)
    assert "get replicasets.apps in team-a" in {str(each.permission) for each in stack.not_permitted}


def event_rights(stack: Stack) -> list[str]:
    return [str(each.permission) for each in stack.not_permitted if each.permission.resource == "events"]


async def test_without_the_events_the_one_right_is_named(server: LabKube, admin: Admin) -> None:
    await refuse(admin, openshift.replica_set("llama", "team-a"))
    stack = await first_stack(server, "deaf", event_rights, namespaces=("team-a",))
    assert stack.refused == ()
    assert event_rights(stack) == ["list events"]


async def test_where_one_namespace_may_be_read_its_refusals_are_told(server: LabKube, admin: Admin) -> None:
    for space in ("team-a", "team-b"):
        await refuse(admin, openshift.replica_set("llama", space))
    stack = await first_stack(server, "tenant", namespaces=("team-a", "team-b"))
    assert titles(stack.refused) == ["ReplicaSet team-a/llama"]


async def test_of_many_that_are_refused_it_is_told_how_many_nobody_looked_at(
    server: LabKube, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST", 2)
    for number in range(5):
        await refuse(admin, openshift.replica_set(f"llama-{number}", "team-a"))
    stack = await first_stack(server, holds=lambda stack: len(stack.refused) == 2)
    assert "SCCs refuse 3 more controllers that nobody looked at" in stack.notes
