"""The pages of the node screen: each is one module with one widget, and one line in `PAGES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def _values() -> NodePage:
    from screens.node_pages.values import ValuesPage

    return ValuesPage()


def _host() -> NodePage:
    from screens.node_pages.host import HostPage

    return HostPage()


def _mig() -> NodePage:
    from screens.node_pages.mig import MigPage

    return MigPage()


PAGES: tuple[Page, ...] = (
    Page("values", "v", "Values", "Every value of the GPU", _values),
    Page("mig", "m", "MIG", "How the GPUs are divided, and what if", _mig),
    Page("host", "o", "Host", "The machine: system, driver, services, disks, network, events", _host),
)
"""In the order in which the strip shows them; the first is the one that opens."""
