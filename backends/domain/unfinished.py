"""A change that nobody brought to an end, as its journal tells it to whoever only looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backends.domain.identity import Identity
from backends.domain.spec import command_line


@dataclass(frozen=True, slots=True)
class UnfinishedChange:
    """It has no end yet: some console is at it, or none any more."""

    id: str
    """What `gpudeck changes undo` takes."""
    title: str
    who: str
    """alice@head01"""
    status: str
    """running, undoing; interrupted, undo-interrupted, stopped, failed, undo-failed; abandoned: nobody brings it to an
    end any more."""
    place: str
    """`step 2 of 4`; empty before the first step."""
    step: str
    """What that step does; empty before the first."""
    updated_at: float
    """Its last word, seconds since the epoch."""
    touched: bool
    """Something that it did stands, or may stand."""
    offers: tuple[str, ...]
    """What can be done about it: resume, undo, abandon; nothing while it runs."""
    running: bool = False
    """A console, or a command, is at it now."""
    nodes: tuple[str, ...] = ()
    """Nodes of the site that its steps act on."""
    stopped_services: tuple[str, ...] = ()
    """Services that it stopped and did not start again."""
    named: tuple[str, ...] = ()
    """Those of `offers` that may end work: they want the name of what is changed typed."""
    mig_nodes: tuple[str, ...] = ()
    """Nodes whose MIG manager it asks for a layout."""
    why: str = ""
    """What its journal says of why it stopped, failed or was abandoned; empty where it says nothing."""
    places: Mapping[str, Identity] = field(default_factory=dict)
    """Who was acted on: nodes by `node NAME`, and the platform."""


def ending_command(what: str, change_id: str, config_file: Path | None, *, named: bool = False) -> str:
    """`gpudeck changes undo ID --yes`: does it as it stands, in any directory; abandon asks why on the terminal.

    `config_file` is `SiteSpec.config_file`. With `named` the name of what is changed is to be typed for NAME: it is
    left out, because a person who types it has looked whom it hits.
    """
    confirm = ("--confirm", "NAME") if named else ()
    return command_line("changes", what, change_id, "--yes", *confirm, config_file=config_file)
