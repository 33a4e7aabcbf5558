"""Where `enter` on a finding leads: the GPU, the page of its node, the event log, or the fleet narrowed to the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screens.node_pages import PAGES

if TYPE_CHECKING:
    from backends.domain import Finding, Subject
    from tui.live import LiveScreen

PAGE_IDS = frozenset(page.id for page in PAGES)
STACK = "stack"
"""The step's target that is the GPU stack, at the subject's node where it has one."""
CHANGES = "changes"
"""`changes/ID`: the screen of changes, with that one chosen."""
EVENTS = "events"
"""The step's target that is the event log, of the subject's node where it has one."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A node without GPU and page is looked at in the fleet; without a node it is the whole fleet."""

    node: str | None = None
    gpu_key: str | None = None
    page: str | None = None


def destination(finding: Finding) -> Destination:
    """What the first step to a screen names, else the subject."""
    subject = finding.subject
    target = next((step.target for step in finding.steps if step.kind == "screen" and step.target), "")
    if target in (EVENTS, STACK):
        return Destination(subject.node, None, target)
    return _target(target, subject) or Destination(subject.node, subject.gpu_key)


def _target(target: str, subject: Subject) -> Destination | None:
    """`node`, `node/gpu-key`, `node/gpu-key/page`, `node/page`, or a page of the subject's node; None for others."""
    if target in PAGE_IDS and subject.node is not None:
        return Destination(subject.node, subject.gpu_key, target)
    if subject.node is not None and (target == subject.node or target.startswith(f"{subject.node}/")):
        node, rest = subject.node, target[len(subject.node) + 1 :]
    else:
        node, slash, rest = target.partition("/")
        if not (node and slash):
            return None
    parts = [part for part in rest.split("/") if part]
    page = parts.pop() if parts and parts[-1] in PAGE_IDS else None
    return Destination(node, parts[0] if parts else None, page)


def change_of(finding: Finding) -> str | None:
    """The id of the change that its first step to a screen leads to; None for another screen."""
    target = next((step.target for step in finding.steps if step.kind == "screen"), "")
    place, _, change_id = target.partition("/")
    return change_id if place == CHANGES and change_id else None


def screen_of(finding: Finding) -> LiveScreen:
    """The screen to push; leaving it comes back to the finding."""
    to = destination(finding)
    if to.page == EVENTS:
        from screens.events import EventsScreen

        return EventsScreen.of_node(to.node)
    if to.page == STACK:
        from screens.stack import StackScreen

        return StackScreen(to.node)
    if to.node is not None and (to.gpu_key or to.page):
        from screens.node import NodeScreen

        return NodeScreen(to.node, to.gpu_key, to.page)
    from screens.fleet import FleetScreen

    return FleetScreen(to.node)
