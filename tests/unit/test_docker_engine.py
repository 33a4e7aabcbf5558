"""When the engine of a node counts as one that cannot be reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.contract import GpudeckError, NotAllowed, SiteContext, Unreachable
from backends.docker import DockerBackend
from backends.docker.backend import SECOND_LOOK_SECONDS
from backends.domain import Fleet, Node, NodeReading, NodeSpec, NodeState, OperandPhase, SiteSpec, Stack, StackNode
from backends.feed import closing
from tests.unit.test_docker_values import ENGINE

GONE = Unreachable("the container engine of dgx01 gave no answer in 10 s", "systemctl status docker")


class NoWaiting:
    """A clock that waits for nothing, and notes what it was asked to wait."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Answers:
    """An engine that gives one answer after the other, the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def about(self) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, GpudeckError):
            raise answer
        return answer


def opened(engine: Answers, state: NodeState = NodeState.LIVE) -> tuple[DockerBackend, NoWaiting]:
    clock = NoWaiting()
    reading = NodeReading("dgx01", state, Node(name="dgx01", driver="580.65.06"), 0.0, None)
    site = SiteSpec("test", nodes=(NodeSpec("dgx01"),), platform="docker")
    access: Any = None
    backend = DockerBackend(SiteContext(site, clock, lambda _node: access, lambda: Fleet((reading,))))
    backend._engines = {"dgx01": engine}  # type: ignore[dict-item]
    return backend, clock


async def looks(stacks: AsyncIterator[Stack], count: int) -> list[StackNode]:
    async with closing(stacks) as values:
        return [(await anext(values)).nodes[0] for _ in range(count)]


def engine_of(node: StackNode) -> OperandPhase:
    state = node.get("engine")
    assert state is not None
    return state.phase


async def test_one_question_without_an_answer_is_no_dead_engine() -> None:
    engine = Answers(GONE, ENGINE)
    backend, clock = opened(engine)
    (node,) = await looks(backend.stack(), 1)
    assert engine_of(node) is OperandPhase.READY
    assert clock.slept == [SECOND_LOOK_SECONDS]


async def test_an_engine_that_gives_no_answer_twice_is_dead_and_is_asked_once_from_then_on() -> None:
    engine = Answers(GONE, GONE, GONE, GONE, ENGINE)
    backend, clock = opened(engine)
    dead, well = await looks(backend.stack(), 2)
    assert (engine_of(dead), engine_of(well)) == (OperandPhase.FAILING, OperandPhase.READY)
    assert clock.slept.count(SECOND_LOOK_SECONDS) == 1
    assert engine.asked == 5


async def test_a_node_that_does_not_answer_costs_no_second_question() -> None:
    engine = Answers(GONE)
    backend, clock = opened(engine, NodeState.DOWN)
    (node,) = await looks(backend.stack(), 1)
    assert engine_of(node) is OperandPhase.UNKNOWN, "the connection failed, not the engine"
    assert (engine.asked, clock.slept) == (1, [])


@pytest.mark.parametrize("state", [NodeState.LIVE, NodeState.DOWN])
async def test_an_engine_that_refuses_this_login_is_not_called_dead(state: NodeState) -> None:
    backend, _ = opened(Answers(NotAllowed("the container engine of dgx01 refuses this user")), state)
    (node,) = await looks(backend.stack(), 1)
    found = node.get("engine")
    assert found is not None
    assert (found.phase, found.reason) == (OperandPhase.UNKNOWN, "not permitted: get info")
    assert node.blocker is None
