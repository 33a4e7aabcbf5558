"""The pages of the node screen: each is one module with one widget, and one line in `PAGES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.actions import Action

if TYPE_CHECKING:
    from screens.node_pages.view import NodePage


@dataclass(frozen=True, slots=True)
class Page:
    id: str
    key: str
    label: str
    help: str
    widget: Callable[[], NodePage]
    """Imports the page when it is first shown."""
    actions: tuple[Action, ...] = ()
    """While the page is in sight, wherever the keys go: `node.zoom_in` calls its `action_zoom_in`."""


def _values() -> NodePage:
    from screens.node_pages.values import ValuesPage

    return ValuesPage()


def _host() -> NodePage:
    from screens.node_pages.host import HostPage

    return HostPage()


def _charts() -> NodePage:
    from screens.node_pages.charts import ChartsPage

    return ChartsPage()


def _chart(name: str, key: str, label: str, help_text: str) -> Action:
    return Action(f"node.{name}", key, label, help_text, show=False, group="Charts of a GPU")


CHART_ACTIONS = (
    _chart("zoom_in", "plus,equals_sign", "Zoom in", "A shorter time"),
    _chart("zoom_out", "minus", "Zoom out", "A longer time"),
    _chart("earlier", "left", "Earlier", "A quarter of the time back"),
    _chart("later", "right", "Later", "A quarter of the time on"),
    _chart("cursor_left", "comma", "Cursor left", "The cursor to the moment before; a click puts it anywhere"),
    _chart("cursor_right", "full_stop", "Cursor right", "The cursor to the next moment"),
    _chart("event_before", "less_than_sign", "Event before", "The cursor to the event before it"),
    _chart("event_after", "greater_than_sign", "Event after", "The cursor to the event after it"),
    _chart("present", "n", "Now", "Follow the present, without a cursor"),
    _chart("chart_before", "K", "Chart before", "Choose the chart before"),
    _chart("chart_after", "J", "Chart after", "Choose the next chart"),
    _chart("only", "z", "Only this", "The chosen chart alone, or all again"),
)

PAGES: tuple[Page, ...] = (
    Page("values", "v", "Values", "Every value of the GPU", _values),
    Page("charts", "c", "Charts", "What the GPU's values were over time", _charts, CHART_ACTIONS),
    Page("host", "o", "Host", "The machine: system, driver, services, disks, network, events", _host),
)
"""In the order in which the strip shows them; the first is the one that opens."""
