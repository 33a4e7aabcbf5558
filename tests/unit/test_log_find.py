"""Which log a name means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar, Self

import pytest

from backends.contract import GpudeckError, NotAllowed, SiteContext, Unreachable
from backends.domain import LogSource, NotPermitted, Permission, Stack, Unread, Workload, Workloads
from backends.logs.find import find, of_operand, of_workload, source_of
from tests.tui.stacks import blocked, stack, well

DRIVER = LogSource("nvidia-driver-daemonset-7k2fp", "gpu-operator", ("nvidia-driver-ctr",))


def test_an_operand_is_its_pod_and_the_container_that_is_not_well() -> None:
    assert of_operand(stack(blocked("dgx02.example.com"), well("dgx01")), "driver", "dgx02") == DRIVER
    assert of_operand(stack(blocked("dgx02"), well("dgx01")), "driver", None) == DRIVER, "the only pod there is"
    assert of_operand(stack(blocked("dgx02")), "nvidia-driver-daemonset-7k2fp", None) == DRIVER


def test_an_operand_without_a_pod_or_on_another_node_is_not_found() -> None:
    assert of_operand(stack(well("dgx01")), "driver", "dgx01") is None
    assert of_operand(stack(blocked("dgx02")), "driver", "nowhere") is None
    assert of_operand(stack(blocked("dgx02")), "nothing", None) is None


def test_an_operand_of_several_nodes_needs_one() -> None:
    second = blocked("dgx03")
    states = (replace(second.operands[0], pod="other"), *second.operands[1:])
    with pytest.raises(GpudeckError) as caught:
        of_operand(stack(blocked("dgx02"), replace(second, operands=states)), "driver", None)
    assert caught.value.hint == "name one with --node: dgx02, dgx03"


def test_of_many_nodes_a_few_are_named_and_the_rest_counted() -> None:
    nodes = [blocked(f"dgx{number:02}") for number in range(8)]
    own = [
        replace(node, operands=(replace(node.operands[0], pod=f"driver-{node.name}"), *node.operands[1:]))
        for node in nodes
    ]
    with pytest.raises(GpudeckError, match="runs on 8 nodes") as caught:
        of_operand(stack(*own), "driver", None)
    assert caught.value.hint == "name one with --node: dgx00, dgx01, dgx02, dgx03, dgx04 and 3 more"


def test_a_workload_is_a_pod_or_a_container_of_its_node() -> None:
    pod = Workload("kubernetes", "llama-0", "1", namespace="team-a", node="dgx01")
    container = Workload("docker", "llama", "2", namespace="compose-project", node="dgx01")
    assert source_of(pod) == LogSource("llama-0", "team-a")
    assert source_of(container) == LogSource("llama", node="dgx01")
    twin = replace(container, node="dgx02")
    both = Workloads((pod, container, twin))
    assert of_workload(both, "llama", "dgx02") == LogSource("llama", node="dgx02")
    assert of_workload(both, "absent", None) is None
    with pytest.raises(GpudeckError, match="several are called llama"):
        of_workload(both, "llama", None)


class Engines:
    """The backend of a site of engines; its stack is not to be asked."""

    name: ClassVar[str] = "docker"
    summary: ClassVar[str] = ""

    def __init__(
        self, *items: Workload, denied: tuple[NotPermitted, ...] = (), unread: tuple[Unread, ...] = ()
    ) -> None:
        self._workloads = Workloads(items, denied, unread)

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        raise NotImplementedError

    async def probe(self) -> str | None:
        return None

    async def close(self) -> None:
        return

    def stack(self) -> AsyncIterator[Stack]:
        raise AssertionError("operands of a node without an operator have no log")

    async def workloads(self) -> AsyncIterator[Workloads]:
        yield self._workloads


LLAMA = Workload("docker", "llama", "2", namespace="search", node="dgx01")


async def test_on_engines_a_container_is_looked_for_and_the_stack_is_not_asked() -> None:
    backend = Engines(LLAMA)
    assert await find(backend, "llama", None) == LogSource("llama", node="dgx01")
    assert await find(backend, "search/llama", None) == LogSource("llama", node="dgx01")


async def test_on_engines_a_container_of_a_named_node_is_taken_as_it_is() -> None:
    assert await find(Engines(), "stopped-long-ago", "dgx02") == LogSource("stopped-long-ago", node="dgx02")


async def test_on_engines_no_hint_speaks_of_pods() -> None:
    with pytest.raises(GpudeckError) as absent:
        await find(Engines(LLAMA), "absent", None)
    with pytest.raises(GpudeckError) as several:
        await find(Engines(LLAMA, replace(LLAMA, node="dgx02")), "llama", None)
    for caught in (absent.value, several.value):
        assert "pod" not in f"{caught.message} {caught.hint}".lower()
    assert several.value.hint == "name its --node"


async def test_a_container_is_not_said_to_be_absent_where_no_engine_was_asked() -> None:
    with pytest.raises(Unreachable, match="could be looked for: dgx02 does not answer"):
        await find(Engines(LLAMA, unread=(Unread("dgx02", "dgx02 does not answer"),)), "absent", None)


async def test_a_container_is_not_said_to_be_absent_where_an_engine_refuses_the_list() -> None:
    denied = NotPermitted("the containers of dgx02", Permission("list", "containers"))
    with pytest.raises(NotAllowed, match="no container called 'absent' is seen; not permitted: list containers"):
        await find(Engines(LLAMA, denied=(denied,)), "absent", None)
