"""Where `enter` on a finding leads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.domain import NextStep, Subject
from screens.fleet import FleetScreen
from screens.node import NodeScreen
from screens.stack import StackScreen
from screens.triage_jump import Destination, change_of, destination, screen_of
from tests.tui.findings import LOST

GPU = Subject("dgx01", "GPU-1", 1)
NODE = Subject("dgx01")


@pytest.mark.parametrize(
    ("subject", "target", "to"),
    [
        (GPU, None, Destination("dgx01", "GPU-1")),
        (NODE, None, Destination("dgx01")),
        (Subject(), None, Destination()),
        (GPU, "dgx01/GPU-1", Destination("dgx01", "GPU-1")),
        (GPU, "dgx01/GPU-7/host", Destination("dgx01", "GPU-7", "host")),
        (GPU, "host", Destination("dgx01", "GPU-1", "host")),
        (NODE, "dgx01/host", Destination("dgx01", None, "host")),
        (NODE, "dgx01", Destination("dgx01")),
        (GPU, "dgx02/GPU-9", Destination("dgx02", "GPU-9")),
        (Subject(), "dgx02/host", Destination("dgx02", None, "host")),
        (Subject("rack/1"), "rack/1/host", Destination("rack/1", None, "host")),
        (GPU, "something-later", Destination("dgx01", "GPU-1")),
        (Subject(), "host", Destination()),
    ],
)
def test_a_step_names_the_place_else_the_subject_does(subject: Subject, target: str | None, to: Destination) -> None:
    steps = () if target is None else (NextStep("command", "run", "true"), NextStep("screen", "look", target))
    assert destination(replace(LOST, subject=subject, steps=steps)) == to


def test_only_the_first_screen_counts() -> None:
    steps = (NextStep("screen", "look", "host"), NextStep("screen", "look", "dgx02/GPU-9"))
    assert destination(replace(LOST, subject=GPU, steps=steps)).page == "host"


def test_a_gpu_or_a_page_is_a_node_screen_and_a_node_the_fleet() -> None:
    node = screen_of(replace(LOST, subject=GPU, steps=()))
    assert isinstance(node, NodeScreen)
    assert (node.node_name, node.gpu_key, node.page.id) == ("dgx01", "GPU-1", "values")
    narrowed = screen_of(replace(LOST, subject=NODE, steps=()))
    assert isinstance(narrowed, FleetScreen)
    assert narrowed.filter_text == "node=dgx01"
    assert isinstance(screen_of(replace(LOST, subject=Subject(), steps=())), FleetScreen)


def test_a_finding_of_the_stack_leads_to_the_stack_at_its_node() -> None:
    steps = (NextStep("screen", "look at the GPU stack", "stack"),)
    assert destination(replace(LOST, subject=NODE, steps=steps)) == Destination("dgx01", None, "stack")
    assert isinstance(screen_of(replace(LOST, subject=Subject(), steps=steps)), StackScreen)


def test_a_change_is_looked_at_where_the_changes_are() -> None:
    led = replace(LOST, steps=(NextStep("command", "run", "true"), NextStep("screen", "look", "changes/2026-aaaa")))
    assert change_of(led) == "2026-aaaa"
    assert change_of(replace(LOST, steps=(NextStep("screen", "look", "changes"),))) is None
    assert change_of(LOST) is None
