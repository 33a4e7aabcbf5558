"""Nodes as the console knows them, read by the real probe from the lab's simulated hardware, without a network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from backends.domain import Node, ProbeCost
from backends.feed import ManualClock
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimNode, fleet
from backends.lab.host import SimHost
from backends.lab.nvml import SimNvml
from backends.nodes import wire
from backends.nodes.probe import Probe

NOW = 1_790_000_000.0


def simulated(name: str, prepare: Callable[[SimNode], None] = lambda _node: None, *, hostile: bool = False) -> Node:
    """The node called `name` of the lab's fleet of twelve, after `prepare` has put its faults on it."""
    hardware = next(node for node in fleet(12, 7, hostile=hostile) if node.name == name)
    prepare(hardware)
    clock, meter = ManualClock(NOW), Meter(hardware)
    said: list[dict[str, Any]] = []
    host = SimHost(hardware, meter, clock)
    probe: Any = Probe(SimNvml(hardware, meter, clock), host, said.append, {"protocol": 1})  # type: ignore[no-untyped-call]
    assert probe.start()
    state = next(message for message in said if message["t"] == "state")
    node = wire.state(json.loads(json.dumps(state)), name, 0.0)
    # The one value that the machine of the test has a part in.
    return dataclasses.replace(node, probe=ProbeCost(sample_milliseconds=2.5))
