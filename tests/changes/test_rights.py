"""A user who may not read something is told the right that is missing, and not that the thing is absent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.contract import GpudeckError, NotAllowed
from backends.domain import OperandPhase, StackHealth
from backends.lab.kube import access
from backends.lab.kube.access import READ, Ask
from backends.logs.find import find
from tests.changes.platforms import NODE, Bench, bench


def reads(*resources: str) -> Callable[[Ask], bool]:
    """Reads these of the whole cluster, and may ask what it may do."""
    return lambda ask: ask.verb in READ and ask.resource in resources


@asynccontextmanager
async def as_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may: Callable[[Ask], bool]) -> AsyncIterator[Bench]:
    monkeypatch.setitem(access.PROFILES, "somebody", may)
    async with bench(tmp_path, user="somebody") as on:
        yield on


@pytest.fixture
async def nobody(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, user="nobody") as on:
        yield on


@pytest.mark.parametrize(
    ("action", "argument"),
    [("cordon", ""), ("restart", "driver"), ("drain", ""), ("mig", "all-1g.10gb"), ("upgrade-start", "")],
)
async def test_nodes_that_may_not_be_read_are_not_called_absent(nobody: Bench, action: str, argument: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        await nobody.change(action, argument)
    assert caught.value.message == f"no node '{NODE}' with GPUs is seen; not permitted: list nodes"
    assert str(caught.value.permission) == "list nodes"


async def test_a_log_is_not_called_absent_where_pods_may_not_be_read(nobody: Bench) -> None:
    backend = await nobody.site.platform.backend()
    with pytest.raises(NotAllowed) as caught:
        await find(backend, "driver", NODE)
    assert caught.value.message == (
        f"no operand, pod or container called 'driver' on {NODE} is seen; not permitted: list nodes, list pods"
    )
    assert caught.value.hint == "ask for the right to list nodes"


async def test_operands_are_unknown_without_their_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with as_user(tmp_path, monkeypatch, reads("nodes", "clusterpolicies", "daemonsets")) as on:
        stack = await on.stack()
        node = stack.get(NODE)
        assert node is not None
        assert (node.health, node.blocker) == (StackHealth.UNKNOWN, None)
        assert {each.phase for each in node.operands} == {OperandPhase.UNKNOWN}
        with pytest.raises(GpudeckError, match=r"no pod .* is seen; not permitted: list pods in gpu-operator"):
            await on.change("restart", "driver")


async def test_without_any_policy_the_labels_of_the_nodes_tell_what_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with as_user(tmp_path, monkeypatch, reads("nodes")) as on:
        node = (await on.stack()).get(NODE)
        assert node is not None
        assert {(each.phase, each.reason) for each in node.operands} == {
            (OperandPhase.UNKNOWN, "not permitted: list pods")
        }


async def test_a_stack_without_nodes_is_not_ready_because_its_policy_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with as_user(tmp_path, monkeypatch, reads("clusterpolicies", "pods", "daemonsets")) as on:
        stack = await on.stack()
        assert stack.policies[0].health is StackHealth.READY
        assert stack.health is StackHealth.UNKNOWN


async def test_who_may_change_nodes_and_see_no_pods_is_told_that_hits_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def may(ask: Ask) -> bool:
        return ask.resource in {"nodes", "selfsubjectaccessreviews"}

    async with as_user(tmp_path, monkeypatch, may) as on:
        cordon = await on.change("cordon")
        assert (await on.desk.preflight(cordon)).obstacles == ()
        upgrade = await on.change("upgrade-start")
        (unknown,) = upgrade.radius.undetermined
        assert (unknown.what, unknown.uncounted) == ("whom it hits now", True)
        assert 'cannot list resource "pods"' in unknown.why
