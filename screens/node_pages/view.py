"""What a page of the node screen is given, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.widget import Widget

from tui.widgets.glyphs import UNICODE, Glyphs

if TYPE_CHECKING:
    from backends.domain import Event, Finding, Gpu, NodeReading, Problem
    from backends.feed import History
    from backends.ownership import Ownership


@dataclass(frozen=True, slots=True, eq=False)
class NodeView:
    """One node as it is now: all a page draws from."""

    reading: NodeReading
    gpu: Gpu | None
    """The chosen GPU; None on a node without any, and where the chosen one is no longer listed."""
    now: float
    """Seconds since the epoch."""
    events: tuple[Event, ...] = ()
    """Of this node, oldest first."""
    findings: tuple[Finding, ...] = ()
    """Of this node and its GPUs, worst first."""
    history: History | None = None
    glyphs: Glyphs = UNICODE
    platform: str | None = None
    """docker, kubernetes or openshift; None where none is configured."""
    ownership: Ownership | None = None
    """Whose work it is; None where no platform has told."""
    ownership_problem: Problem | None = None
    """Why the platform tells nothing newer."""

    def is_old(self, gpu: Gpu) -> bool:
        """Whether what is known of `gpu` is what it was: it is lost, or its node's values are not of now."""
        return gpu.lost or not self.reading.is_current

    @property
    def no_gpu(self) -> str:
        """Why there is no chosen GPU, in a sentence."""
        node = self.reading.node
        if node is None:
            return "No value was read yet."
        return "The chosen GPU is no longer listed: choose another one." if node.gpus else "The node reports no GPU."


class NodePage(Widget):
    """Fills the right side of the node screen; `focus_target` takes the keys when the page is opened."""

    DEFAULT_CSS = """
    NodePage { width: 1fr; height: 1fr; }
    """

    def show_node(self, view: NodeView) -> None:
        """Draws `view`; called only while the page is in sight, and costs what changed."""
        raise TypeError(f"{type(self).__name__} draws nothing")

    def out_of_sight(self) -> None:
        """It is no longer in sight: what it has measured for itself ends."""

    @property
    def focus_target(self) -> Widget | None:
        """What scrolls or moves on this page; None where nothing does."""
        return None
