"""The lab's times: when a simulated GPU is idle or busy."""

from __future__ import annotations

from backends.lab.dynamics import sample, window_seconds
from backends.lab.hardware import SimNode

FROM = 1_790_000_000.0


def idle_time(node: SimNode, gpu: int) -> float:
    """A time at which nothing runs on a GPU, with the whole window before it."""
    return _time(node, gpu, busy=False)


def busy_time(node: SimNode, gpu: int) -> float:
    """A time at which something runs on a GPU."""
    return _time(node, gpu, busy=True)


def _time(node: SimNode, gpu: int, *, busy: bool) -> float:
    length = window_seconds(node)
    start = FROM // length * length
    for number in range(10_000):
        # Late enough in the window that its work has begun.
        at = start + number * length + 120
        if bool(sample(node, node.gpus[gpu], at).processes) is busy:
            return float(at)
    raise AssertionError(f"gpu{gpu} of {node.name} is always {'idle' if busy else 'busy'}")
