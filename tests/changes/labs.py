"""The lab's times: when a simulated GPU is idle or busy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.lab.dynamics import SimProcess, sample, window_seconds
from backends.lab.hardware import SimNode

FROM = 1_790_000_000.0


def idle_time(node: SimNode, gpu: int) -> float:
    """A time at which nothing runs on a GPU, with the whole window before it."""
    return _time(node, gpu, busy=False)


def busy_time(node: SimNode, gpu: int) -> float:
    """A time at which something runs on a GPU."""
    return _time(node, gpu, busy=True)


def time_with_work_in(node: SimNode, gpu: int, *instances: int) -> float:
    """A time at which work is in these GPU instances of a GPU and in no other."""
    return _when(node, gpu, lambda processes: {each.gi for each in processes} == set(instances))


def _time(node: SimNode, gpu: int, *, busy: bool) -> float:
    return _when(node, gpu, lambda processes: bool(processes) is busy)


def _when(node: SimNode, gpu: int, wanted: Callable[[Sequence[SimProcess]], bool]) -> float:
    length = window_seconds(node)
    start = FROM // length * length
    for number in range(10_000):
        # Late enough in the window that its work has begun.
        at = start + number * length + 120
        if wanted(sample(node, node.gpus[gpu], at).processes):
            return float(at)
    raise AssertionError(f"gpu{gpu} of {node.name} is never so")
