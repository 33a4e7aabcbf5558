"""What became another between two readings of a node."""

from __future__ import annotations

from dataclasses import replace

from backends.domain import Event, Gpu, Node, Problem, Stall
from backends.feed import Reading
from backends.nodes.transitions import UNLISTED, LostGpus, transitions

NEVER: Reading[Node] = Reading()
A = Gpu(index=0, uuid="GPU-a", pci_bus_id="00000000:1B:00.0")
B = Gpu(index=1, uuid="GPU-b", pci_bus_id="00000000:9B:00.0")
LOST_B = replace(B, lost=True, lost_reason="NVML: GPU is lost")
REFUSED = Problem("unreachable", "connection refused", "", 5.0)


def read(*gpus: Gpu, stall: Stall | None = None) -> Reading[Node]:
    return Reading(Node(name="n", gpus=gpus, stall=stall), 1.0, None)


def failed(last: Reading[Node] = NEVER) -> Reading[Node]:
    return Reading(last.value, last.at, REFUSED)


class Watched:
    """Follows readings as a site does."""

    def __init__(self) -> None:
        self.lost = LostGpus()
        self.before = NEVER

    def then(self, after: Reading[Node]) -> list[tuple[str, int | None, str]]:
        """(kind, GPU index, text) of what is news."""
        found = list(transitions("n", self.before, after, self.lost, 7.0))
        self.before = after
        assert all((event.node, event.at, event.source) == ("n", 7.0, "console") for event in found)
        return [(event.kind, event.gpu_index, event.text) for event in found if self.lost.is_news(event)]


def test_a_first_reading_of_a_healthy_node_is_no_news() -> None:
    watched = Watched()
    assert watched.then(read(A, B)) == []
    assert watched.then(read(replace(A, minor_number=3), B)) == []


def test_a_node_that_never_answered_is_down_once() -> None:
    watched = Watched()
    assert watched.then(failed()) == [("down", None, "connection refused")]
    assert watched.then(failed()) == []
    assert watched.then(read(A)) == []


def test_a_node_that_stops_answering_is_told_by_its_connection() -> None:
    watched = Watched()
    watched.then(read(A, B))
    assert watched.then(failed(watched.before)) == []


def test_a_hanging_driver_is_told_when_it_begins_and_ends() -> None:
    watched = Watched()
    watched.then(read(A))
    hangs = read(A, stall=Stall(3, "nvmlDeviceGetPowerUsage", 9.0))
    assert watched.then(hangs) == [("stalled", None, "NVML hangs in nvmlDeviceGetPowerUsage of GPU 3")]
    assert watched.then(read(A, stall=Stall(3, "nvmlDeviceGetPowerUsage", 12.0))) == []
    assert watched.then(read(A)) == [("resumed", None, "NVML answers again")]


def test_a_gpu_is_lost_once_and_comes_back() -> None:
    watched = Watched()
    watched.then(read(A, B))
    assert watched.then(read(A, LOST_B)) == [("gpu_lost", 1, "NVML: GPU is lost")]
    assert watched.then(read(replace(A, minor_number=1), LOST_B)) == []
    assert watched.then(failed(watched.before)) == []
    assert watched.then(read(A, LOST_B)) == [], "a new connection finds it as lost as before"
    assert watched.then(read(A, B)) == [("gpu_back", 1, "it answers again")]
    assert watched.then(read(A, LOST_B)) == [("gpu_lost", 1, "NVML: GPU is lost")]


def test_a_gpu_that_is_lost_from_the_start_is_told() -> None:
    assert Watched().then(read(A, LOST_B)) == [("gpu_lost", 1, "NVML: GPU is lost")]


def test_the_probe_and_the_values_tell_of_one_loss() -> None:
    told = Event(6.0, "n", "gpu_lost", "lost", 1, "GPU-b", "00000000:9B:00.0", source="nvml")
    watched = Watched()
    watched.then(read(A, B))
    assert watched.lost.is_news(told)
    assert watched.then(read(A, B)) == [], "the event may come before the value"
    assert watched.then(read(A, LOST_B)) == []
    assert not watched.lost.is_news(told)


def test_a_gpu_that_is_no_longer_listed_is_lost() -> None:
    watched = Watched()
    watched.then(read(A, B))
    assert watched.then(read(A)) == [("gpu_lost", 1, UNLISTED)]
    assert watched.then(read(A, B)) == [("gpu_back", 1, "it answers again")]


def test_a_lost_gpu_is_known_by_its_slot_when_it_tells_no_uuid() -> None:
    watched = Watched()
    watched.then(read(A, B))
    nameless = Gpu(index=1, pci_bus_id="0000:9b:00.0", lost=True)
    assert watched.then(read(A, nameless)) == [("gpu_lost", 1, "lost")]
    assert watched.then(read(A, LOST_B)) == []
    assert watched.then(read(A, B)) == [("gpu_back", 1, "it answers again")]
