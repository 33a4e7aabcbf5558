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
    """Keys of this page alone."""


def _actions(page: str, group: str, *rows: tuple[str, str, str, str]) -> tuple[Action, ...]:
    """Actions of a page from (name, key, label, help); each calls the page's `action_<name>`."""
    return tuple(
        # The strip and the page show them: the footer is the screen's.
        Action(f"node.{page}_{name}", key, label, said, show=False, group=group, call=f"on_page('{page}', '{name}')")
        for name, key, label, said in rows
    )


def _values() -> NodePage:
    from screens.node_pages.values import ValuesPage

    return ValuesPage()


def _host() -> NodePage:
    from screens.node_pages.host import HostPage

    return HostPage()


def _mig() -> NodePage:
    from screens.node_pages.mig import MigPage

    return MigPage()


def _charts() -> NodePage:
    from screens.node_pages.charts import ChartsPage

    return ChartsPage()


TIME_KEYS = _actions(
    "charts",
    "Charts",
    ("zoom_in", "plus,equals_sign", "Zoom in", "A shorter time"),
    ("zoom_out", "minus", "Zoom out", "A longer time"),
    ("earlier", "left", "Earlier", "A quarter of the time back"),
    ("later", "right", "Later", "A quarter of the time on"),
    ("cursor_left", "comma", "Cursor left", "The cursor to the moment before; a click puts it anywhere"),
    ("cursor_right", "full_stop", "Cursor right", "The cursor to the next moment"),
    ("event_before", "less_than_sign", "Event before", "The cursor to the event before it"),
    ("event_after", "greater_than_sign", "Event after", "The cursor to the event after it"),
    ("present", "n", "Now", "Follow the present, without a cursor"),
    ("chart_before", "K", "Chart before", "Choose the chart before"),
    ("chart_after", "J", "Chart after", "Choose the next chart"),
    ("only", "z", "Only this", "The chosen chart alone, or all again"),
)


def _topology() -> NodePage:
    from screens.node_pages.topology import TopologyPage

    return TopologyPage()


def _processes() -> NodePage:
    from screens.node_pages.processes import ProcessesPage

    return ProcessesPage()


PROCESS_KEYS = _actions(
    "processes",
    "Processes",
    ("logs", "l", "Log", "The log of the container that the chosen process runs in"),
    ("sort_next", ">", "Sort", "Sort by the next column"),
    ("sort_previous", "<", "Sort back", "Sort by the previous column"),
    ("reverse", "r", "Reverse", "Turn the order round"),
    ("unsort", "u", "Unsort", "Back to the order of the GPUs"),
)
MIG_KEYS = _actions(
    "mig",
    "MIG",
    ("what_if", "i", "What if", "Type a layout: before and after, who blocks it, what it costs, the commands"),
    ("copy", "y", "Copy", "Copy the commands of the layout that was typed"),
    ("apply", "A", "Apply", "Ask to make the layout that was typed"),
)

PAGES: tuple[Page, ...] = (
    Page("values", "v", "Values", "Every value of the GPU", _values),
    Page("charts", "c", "Charts", "What the GPU's values were over time", _charts, TIME_KEYS),
    Page("mig", "m", "MIG", "How the GPUs are divided, and what if", _mig, MIG_KEYS),
    Page("topology", "x", "Links", "NVLink, PCIe and NICs: the matrix, what is down, a drawing", _topology),
    Page(
        "processes",
        "p",
        "Processes",
        "Every process on the GPUs: whose, where, since when",
        _processes,
        PROCESS_KEYS,
    ),
    Page("host", "o", "Host", "The machine: system, driver, services, disks, network, events", _host),
)
"""In the order in which the strip shows them; the first is the one that opens."""
