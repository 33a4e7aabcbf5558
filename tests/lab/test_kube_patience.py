"""What is sent to an API server that asks for patience, and what a budget says: the lab's API in the place of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.contract import Held, Refused
from backends.domain import KubernetesSpec
from backends.feed import SystemClock
from backends.kubernetes import actions
from backends.kubernetes.api import PATIENT_TRIES, Api
from backends.lab.kube.server import Faults
from tests.contract.lab_server import KINDS, LabKube
from tests.kube import objects
from tests.kube.admin import Admin

LABELS = {"app": "guarded"}


class NapClock(SystemClock):
    """Remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@dataclass
class Busy:
    api: Api
    clock: NapClock
    faults: Faults
    admin: Admin

    async def is_cordoned(self) -> bool:
        return bool((await self.admin.get(objects.node("dgx01")))["spec"].get("unschedulable"))


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Busy]:
    async with LabKube(tmp_path, KINDS["kubernetes"]).serving() as server:
        admin = Admin(server.kubeconfig())
        await admin.create(objects.node("dgx01"), objects.pod("a", node="dgx01", namespace="team-a", labels=LABELS))
        clock = NapClock()
        api = Api(KubernetesSpec(kubeconfig=server.kubeconfig()), clock)
        await api.get("/version")
        yield Busy(api, clock, server._api.faults, admin)
        await api.close()
        await admin.close()


async def guard(on: Busy, name: str, allowed: int) -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}},
        "status": {"disruptionsAllowed": allowed, "desiredHealthy": 1, "currentHealthy": 1},
    }
    await on.admin.api.send("POST", "/apis/policy/v1/namespaces/team-a/poddisruptionbudgets", budget)


async def test_a_change_waits_as_long_as_a_busy_server_asks(on: Busy) -> None:
    on.faults.too_many, on.faults.retry_after = 2, 7
    await actions.evict(on.api, "team-a", "a", "v1", dry_run=False)
    assert on.clock.slept == [7, 7]
    assert await on.admin.uid(objects.pod("a", namespace="team-a")) is None


@pytest.mark.parametrize(("retry_after", "waits"), [(7, PATIENT_TRIES - 1), (20, 1), (40, 0)])
async def test_it_does_not_wait_for_ever_and_has_done_nothing_then(on: Busy, retry_after: int, waits: int) -> None:
    on.faults.too_many, on.faults.retry_after = 99, retry_after
    with pytest.raises(Refused, match="the API server is too busy") as caught:
        await actions.restart_pod(on.api, "team-a", "a", dry_run=False)
    assert not isinstance(caught.value, Held)
    assert on.clock.slept == [retry_after] * waits
    on.faults.too_many = 0
    assert await on.admin.uid(objects.pod("a", namespace="team-a")) is not None


async def test_a_budget_is_named_and_not_waited_for_here(on: Busy) -> None:
    await guard(on, "keep", 0)
    with pytest.raises(Held, match="The disruption budget keep needs 1 healthy pods and has 1 currently"):
        await actions.evict(on.api, "team-a", "a", "v1", dry_run=False)
    assert on.clock.slept == []


async def test_two_budgets_are_a_refusal_whatever_they_allow(on: Busy) -> None:
    await guard(on, "keep", 1)
    await guard(on, "spare", 1)
    with pytest.raises(Refused, match="more than one PodDisruptionBudget") as caught:
        await actions.evict(on.api, "team-a", "a", "v1", dry_run=True)
    assert not isinstance(caught.value, Held)
