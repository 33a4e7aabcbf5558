"""No configuration: what is there, and a session with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import SelectionList, Static
from textual.widgets.selection_list import Selection

from backends.discovery import Discovery, discover, suggest_toml
from backends.domain import SiteSpec
from tui.paths import config_file


class OfferScreen(Screen[None]):
    """Shows what discovery found; the user ticks SSH hosts and starts, or writes the configuration."""

    CSS_PATH = "offer.tcss"
    BINDINGS: ClassVar = [
        Binding("enter", "start", "Open these", priority=True, id="offer.start"),
        Binding("w", "write", "Write the configuration", id="offer.write"),
    ]

    def __init__(self, open_site: Callable[[SiteSpec], None]) -> None:
        super().__init__()
        self._open_site = open_site
        self._found = Discovery()

    def compose(self) -> ComposeResult:
        yield Static(Text("gpudeck  no configuration", style="bold"), id="offer-title")
        yield Static(Text("Looking around ..."), id="offer-found")
        yield SelectionList[str](id="offer-hosts")
        yield Static(Text(""), id="offer-keys")

    async def on_mount(self) -> None:
        self._found = await asyncio.to_thread(discover)
        self.query_one("#offer-found", Static).update(found_text(self._found))
        hosts = self.query_one("#offer-hosts", SelectionList)
        hosts.display = bool(self._found.ssh_hosts)
        hosts.add_options([Selection(Text(host), host) for host in self._found.ssh_hosts])
        if self._found.ssh_hosts:
            hosts.highlighted = 0
        hosts.focus()
        self.query_one("#offer-keys", Static).update(Text(self._keys()))

    def on_selection_list_selection_toggled(self, event: SelectionList.SelectionToggled[str]) -> None:
        """A tick in words as well: the list's own is a colour and nothing else."""
        host = event.selection.value
        ticked = host in event.selection_list.selected
        event.selection_list.replace_option_prompt_at_index(
            event.selection_index, Text(f"{host}  chosen" if ticked else host)
        )

    def _keys(self) -> str:
        if self._found.ssh_hosts:
            return "space ticks a host   enter opens what is ticked   w writes it as configuration   q quits"
        if self._found.driver is not None:
            return "enter opens this machine   w writes it as configuration   q quits"
        return "q quits   gpudeck demo shows a simulated site"

    def _chosen(self) -> SiteSpec | None:
        return self._found.site(tuple(self.query_one("#offer-hosts", SelectionList).selected))

    def action_start(self) -> None:
        if self.app.screen is not self:
            return  # a second enter that came with the first
        site = self._chosen()
        if site is None:
            self.notify("Nothing is chosen: tick a host with space.", severity="warning", markup=False)
            return
        self.dismiss()
        self._open_site(site)

    def action_write(self) -> None:
        site = self._chosen()
        if site is None:
            self.notify("Nothing is chosen: tick a host with space.", severity="warning", markup=False)
            return
        path = config_file()
        try:
            write_new(path, suggest_toml(site))
        except OSError as error:
            self.notify(f"{path} was not written: {error.strerror}", severity="error", markup=False)
            return
        self.notify(f"Written: {path}", markup=False)


def found_text(found: Discovery) -> Text:
    """What was found and where was looked, as plain text."""
    text = Text()
    rows = (
        ("NVIDIA driver here", found.driver),
        (
            "kubeconfig",
            f"{found.kubeconfig} ({found.kube_context or 'no current context'})" if found.kubeconfig else None,
        ),
        ("Docker socket", str(found.docker_socket) if found.docker_socket else None),
        ("SSH hosts", f"{len(found.ssh_hosts)} in {found.ssh_config}" if found.ssh_hosts else None),
    )
    for name, value in rows:
        text.append(f"  {name:<20}")
        text.append(f"{value or 'not found'}\n", style="" if value else "dim")
    text.append("\nLooked at: " + ", ".join(found.looked_at), style="dim")
    if not any(value for _, value in rows):
        text.append(f"\n\nWrite a configuration: {config_file()}\n")
        text.append('  [site.prod]\n  nodes = ["dgx[01-32]"]\n')
    return text


def write_new(path: Path, content: str) -> None:
    """Writes a file that must not be there yet; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
