"""What can be done to a node, from the stack screen and from a finding: chosen, looked at, confirmed, done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from backends.domain import (
    AccessReview,
    Act,
    ApiRequest,
    DrainPlan,
    DrainPod,
    Finding,
    Fleet,
    GpuRequest,
    NextStep,
    NodeControl,
    Owner,
    Permission,
    PodControl,
    Severity,
    Stack,
    StackNode,
    Subject,
    Triage,
)
from screens.changes import ChangesScreen
from screens.confirm import ConfirmScreen
from screens.menu import MenuScreen
from screens.write_window import WriteWindowScreen
from tests.tui.changing import state
from tests.tui.consoles import Opened, build, grid, opened, settled, spec_of
from tests.tui.fleets import NOW, h100, reading
from tests.tui.stacks import blocked, changing, stack, well
from tests.tui.test_changes import ended, open_window
from tests.tui.test_snapshots import LARGE, SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture
from tui.app import Console

__all__ = ["state"]

FLEET = Fleet((reading("dgx01", h100()), reading("dgx02", h100())))
WORK = DrainPod("team-a", "llama-0", Owner("StatefulSet", "llama"), (GpuRequest("nvidia.com/gpu", 2),), uid="u-1")


class Cluster:
    """A backend that remembers what was asked of it."""

    name, summary = "kubernetes", "one of the tests"

    def __init__(self, value: Stack, *, may_write: bool = True) -> None:
        self.value = value
        self.may_write = may_write
        self.cordoned = False
        self.done: list[str] = []
        self.pods = [
            PodControl("gpu-operator", "driver-1", "d-1", Owner("DaemonSet", "driver"), True, False, "Running")
        ]
        self.changed = asyncio.Event()

    @classmethod
    def open(cls, _context: object) -> Cluster:
        raise AssertionError("it is open")

    async def probe(self) -> str | None:
        return "v1.33.4"

    async def close(self) -> None: ...

    async def stack(self) -> AsyncIterator[Stack]:
        yield self.value

    async def request(self, act: Act) -> ApiRequest:
        needs = Permission("patch", "nodes", name=act.node)
        return ApiRequest(f"{act.verb} {act.node or act.pod}", (needs,))

    async def review(self, permissions: Sequence[Permission]) -> tuple[AccessReview, ...]:
        return tuple(AccessReview(each, self.may_write) for each in permissions)

    async def drain_plan(self, node: str) -> DrainPlan:
        gone = "evict llama-0" in self.done
        return DrainPlan(node, () if gone else (WORK,))

    async def follow_node(self, node: str) -> AsyncIterator[NodeControl]:
        while True:
            yield NodeControl(node, not self.cordoned, upgrade_step="upgrade-done")
            await self.changed.wait()

    async def follow_pods(self, _node: str, _namespace: str | None = None) -> AsyncIterator[tuple[PodControl, ...]]:
        while True:
            yield tuple(self.pods)
            await self.changed.wait()

    async def cordon(self, node: str, on: bool, *, dry_run: bool = False) -> bool:
        if not dry_run:
            self.cordoned = on
            self.done.append(f"{'cordon' if on else 'uncordon'} {node}")
        return True

    async def evict(self, _namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        if not dry_run:
            self.done.append(f"evict {name}")

    async def restart_pod(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        if dry_run:
            return
        self.done.append(f"restart {name} {uid}")
        self.pods = [replace(self.pods[0], namespace=namespace, name="driver-2", uid="d-2")]
        self.changed.set()

    async def set_mig_layout(self, node: str, layout: str | None, *, dry_run: bool = False) -> str | None:
        raise NotImplementedError

    async def pause_driver_upgrade(self, node: str, paused: bool, *, dry_run: bool = False) -> bool:
        raise NotImplementedError

    async def start_driver_upgrade(self, node: str, *, dry_run: bool = False) -> str:
        raise NotImplementedError

    async def take_back_driver_upgrade(self, node: str, former: str, *, dry_run: bool = False) -> None:
        raise NotImplementedError


class ReadsOnly:
    """A platform that reports its stack and does nothing else."""

    name, summary = "docker", "one of the tests"

    async def probe(self) -> str | None:
        return "1"

    async def close(self) -> None: ...

    async def stack(self) -> AsyncIterator[Stack]:
        yield Stack("docker")


def with_pods(node: StackNode) -> StackNode:
    """The node as a cluster has it: each operand with its pod."""
    states = tuple(
        replace(each, pod=f"{each.operand}-1", namespace="gpu-operator") if each.pod is None else each
        for each in node.operands
    )
    return replace(node, operands=states)


VALUE = stack(with_pods(well("dgx01")), with_pods(well("dgx02")))


def console() -> Console:
    return build(spec_of(FLEET, platform="kubernetes"), values={"lab": FLEET})


@asynccontextmanager
async def on_stack(backend: Any, value: Stack = VALUE, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Opened]:
    async with opened(console(), size) as on:
        await to_stack(on, backend, value)
        yield on


async def to_stack(on: Opened, backend: Any, value: Stack) -> None:
    on.site.platform.opened = backend
    # A read stack is a value that the topic told: the backend is open by then.
    setattr(on.site.platform, "read_stack", lambda _timeout: anext(backend.stack()))  # noqa: B010
    await on.press("3")
    on.site.stack.publish(value, NOW)
    await on.until(lambda: on.screen.query("#stack-grid") and len(grid(on).rows) == len(value.nodes), "the rows")
    await on.pilot.app.workers.wait_for_complete()


async def menu(on: Opened, title: str) -> None:
    await on.until(lambda: isinstance(on.screen, MenuScreen) and title in on.text, title)


async def asked(on: Opened) -> None:
    await on.until(lambda: isinstance(on.screen, ConfirmScreen), "the question")
    known = ("it can be done", "the name is not typed yet", "refused:")
    await on.until(lambda: any(words in on.text for words in known), "what was asked")


async def test_a_platform_that_can_do_nothing_offers_nothing() -> None:
    async with on_stack(ReadsOnly()) as on:
        assert "Actions" not in on.lines[-1]
        await on.press("a")
        assert not isinstance(on.screen, MenuScreen)
    async with on_stack(Cluster(VALUE)) as on:
        await on.until(lambda: "a Actions" in on.lines[-1], "the key in the footer")


async def test_what_makes_no_sense_now_says_why_and_cannot_be_chosen(state: Path) -> None:
    async with on_stack(Cluster(VALUE)) as on:
        await on.press("a")
        await menu(on, "Actions on dgx01")
        assert "not now: is not cordoned" in on.text
        await on.press("down", "down", "enter")
        assert isinstance(on.screen, MenuScreen)
        await on.press("escape")
        assert not isinstance(on.screen, MenuScreen)


async def test_an_operand_is_restarted_from_its_node(state: Path) -> None:
    cluster = Cluster(VALUE)
    async with on_stack(cluster) as on:
        await open_window(on)
        await on.press("a")
        await menu(on, "Actions on dgx01")
        await on.press("enter")
        await menu(on, "Restart which operand of dgx01?")
        assert "may end the node's GPU pods, or wait" in on.text
        await on.press("enter")
        await asked(on)
        assert "restart the driver on dgx01" in on.text
        assert "1 pod: team-a/llama-0" in on.text
        assert "2 GPUs: 2 x nvidia.com/gpu" in on.text
        assert cluster.done == []
        on.screen.query_one(Input).focus()
        await on.press(*"dgx01", "space", *"driver", "enter", "enter")
        await on.until(lambda: isinstance(on.screen, ChangesScreen), "the changes")
        await ended(on, state, "done")
        assert cluster.done == ["restart driver-1 d-1"]


async def test_a_drain_is_looked_at_first_and_asks_for_the_window_and_for_the_name(state: Path) -> None:
    cluster = Cluster(VALUE)
    async with on_stack(cluster) as on:
        await on.press("a")
        await menu(on, "Actions on dgx01")
        await on.press("down", "down", "down", "enter")
        await on.until(lambda: "only looked at: the write window is closed" in on.text, "the plan")
        assert "1 pod: team-a/llama-0" in on.text
        await on.press("tab", "enter")
        await on.until(lambda: isinstance(on.screen, WriteWindowScreen), "the write window")
        await on.until(lambda: on.app.focused is not None and on.app.focused.id == "window-reason", "the entry")
        await on.press(*"INC-9", "enter", "enter")
        await asked(on)
        assert "drain dgx01" in on.text
        assert "type  dgx01" in on.text
        await on.press("escape")
        await on.until(lambda: not isinstance(on.screen, ConfirmScreen), "the way back")
        assert cluster.done == []


async def test_without_the_right_it_is_refused_with_the_right(state: Path) -> None:
    async with on_stack(Cluster(VALUE, may_write=False)) as on:
        await open_window(on)
        await on.press("a")
        await menu(on, "Actions on dgx01")
        await on.press("down", "enter")
        await asked(on)
        assert "patch nodes dgx01 is not granted" in on.text


async def test_the_layouts_of_a_node_are_those_of_its_board(state: Path) -> None:
    async with on_stack(Cluster(VALUE)) as on:
        await on.press("a")
        await menu(on, "Actions on dgx01")
        await on.press(*["down"] * 5, "enter")
        await menu(on, "MIG layout of dgx01, now none")
        assert "all-3g.40gb" in on.text
        assert "2 x 3g.40gb on every GPU" in on.text
        assert "another name" in on.text


async def test_a_plan_that_fails_is_told(state: Path) -> None:
    cluster = Cluster(VALUE)
    cluster.pods = []
    async with on_stack(cluster) as on:
        await on.press("a")
        await menu(on, "Actions on dgx01")
        await on.press("enter")
        await menu(on, "Restart which operand")
        await on.press("enter")
        await on.until(lambda: any("is not there any more" in each for each in on.notices), "the notice")


def finding(*steps: NextStep) -> Finding:
    return Finding("f-1", "ecc-uncorrected", Severity.CRITICAL, Subject("dgx01"), "2 memory errors", NOW, steps=steps)


async def test_a_finding_opens_the_change_that_it_names(state: Path) -> None:
    cluster = Cluster(VALUE)
    async with on_stack(cluster) as on:
        await open_window(on)
        await on.press("1")
        step = NextStep("change", "drain dgx01", "gpudeck stack drain --node dgx01")
        on.site.find(Triage((finding(step),), nodes_seen=2))
        await on.until(lambda: "[d] drain dgx01" in on.text, "the key of the step")
        assert "gpudeck stack drain --node dgx01" in on.text
        await on.press("d")
        await asked(on)
        assert "1 pod: team-a/llama-0" in on.text


async def test_a_finding_without_one_says_so(state: Path) -> None:
    async with on_stack(Cluster(VALUE)) as on:
        await on.press("1")
        on.site.find(Triage((finding(NextStep("command", "reboot it", "reboot")),), nodes_seen=2))
        await on.until(lambda: "reboot it" in on.text, "the finding")
        await on.press("d")
        assert any("is a change" in each for each in on.notices)


# Looks

BUSY = stack(with_pods(well("dgx01")), blocked("dgx02"), changing("dgx03"))


def shown(*keys: str) -> Any:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(pilot.app, pilot)  # type: ignore[arg-type]
        await to_stack(on, Cluster(BUSY), BUSY)
        for key in ("end", "a", *keys):
            await on.press(key)
            await pilot.pause()
        await on.until(lambda: isinstance(on.screen, MenuScreen), "the list")
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
@pytest.mark.parametrize("keys", [(), ("enter",)], ids=["actions", "operands"])
def test_looks(snap_compare: SnapCompare, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=shown(*keys))


def test_looks_ascii(snap_compare: SnapCompare) -> None:
    app = build(spec_of(FLEET, platform="kubernetes"), values={"lab": FLEET}, ascii_only=True)
    assert snap_compare(app, terminal_size=SMALL, run_before=shown("enter"))
