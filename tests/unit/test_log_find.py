"""Which log a name means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.contract import GpudeckError
from backends.domain import LogSource, Workload, Workloads
from backends.logs.find import of_operand, of_workload, source_of
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
