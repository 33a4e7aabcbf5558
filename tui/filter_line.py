"""What the `/` line does for the screen on top, and the commands about filters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from textual.screen import Screen

from backends.contract import ConfigError, GpudeckError
from backends.domain import clean
from tui.console_actions import Command
from tui.saved_filters import SavedFilters, read_own, write_own
from tui.widgets.filter import FilterError

if TYPE_CHECKING:
    from rich.text import Text

    from tui.widgets.filter.fields import FieldTable


class FilterApp(Protocol):
    """What is needed of the application."""

    @property
    def screen(self) -> Screen[Any]: ...

    def notify(self, message: str, *, severity: Any = ..., markup: bool = ...) -> None: ...

    def run_worker(self, work: Any, *, exclusive: bool = ..., group: str = ...) -> Any: ...


class Filtered(Protocol):
    """A screen with a list; or what a screen names as `filtered`, where the list is a part of it.

    One whose rows have fields also has their table as `filter_fields`, `filter_values(field)` for completion, and
    `filter_found`, whether any row is shown; one that opens filtered, `opened_filter`, the text it opened with. One
    whose `/` takes something else than a filter says what as `filter_hint`.
    """

    filter_text: str
    """What is in force."""

    def apply_filter(self, text: str) -> object:
        """Raises FilterError, and leaves the filter before in force."""
        ...


class FilterLine:
    """The filters of whatever screen is on top."""

    def __init__(self, app: FilterApp, configured: Mapping[str, str], places: Mapping[str, str]) -> None:
        """`configured` and `places` are those of the settings; raises ConfigError."""
        self._app = app
        self.saved = SavedFilters(configured, places)

    def commands(self) -> list[Command]:
        return [
            Command("filter", "filter the list", self._filter, self._offered, takes_text=True, endings=self._complete),
            Command("save", "save the filter under a name", self._save, takes_text=True),
            Command("forget", "forget a saved filter", self._forget, lambda: sorted(self.saved.own), takes_text=True),
        ]

    def target(self, screen: Screen[Any] | None = None) -> Filtered | None:
        """What a filter narrows on `screen`, else on the screen on top; None where there is no list."""
        on = screen or self._app.screen
        found = getattr(on, "filtered", on)
        return cast(Filtered, found) if hasattr(found, "apply_filter") else None

    def apply(self, text: str) -> FilterError | None:
        """Filters the screen on top; the error leaves the filter before in force."""
        target = self.target()
        if target is None:
            return FilterError("this screen has no list to filter")
        try:
            target.apply_filter(text)
        except FilterError as error:
            return error
        return None

    def end(self) -> bool:
        """Ends the filter of the screen on top; False where there is none to end.

        A list that was opened with a filter is left with it: ending it first would show what was not asked for.
        """
        target = self.target()
        if target is None or target.filter_text in ("", getattr(target, "opened_filter", "")):
            return False
        target.apply_filter("")
        return True

    def typed(self, text: str) -> FilterError | None:
        """As `apply`, of a text that is not finished.

        A last word that finds nothing and begins the name of a field is not looked for yet: the list does not empty
        itself while somebody types `temp>85`.
        """
        from tui.widgets.filter.completion import ending

        error = self.apply(text)
        if error is None and not getattr(self.target(), "filter_found", True):
            fields = self.fields_of(self.target())
            end = ending(text, fields)
            if end and end.field is None and any(name.startswith(end.word.lower()) for name in fields.names):
                self.apply(text[: end.start].rstrip(" !&|"))
        return error

    def complete(self, text: str) -> list[str]:
        """Whole filters that `text` may become on the screen on top, best first."""
        from tui.widgets.filter.completion import complete

        target = self.target()
        values = getattr(target, "filter_values", lambda _field: ())
        return complete(text, self.fields_of(target), sorted(self.saved.all), values)

    def hint(self, text: str) -> str:
        """What helps to go on after `text`."""
        from tui.widgets.filter.completion import hint

        own = getattr(self.target(), "filter_hint", None)
        if isinstance(own, str):
            return own
        return hint(text, self.fields_of(self.target()))

    def fields_of(self, target: Filtered | None) -> FieldTable:
        from tui.widgets.filter.fields import WORDS_ONLY, FieldTable

        fields = getattr(target, "filter_fields", None)
        return fields if isinstance(fields, FieldTable) else WORDS_ONLY

    def help_of(self, screen: Screen[Any]) -> Text | None:
        """What may be typed for that screen; None where it has no list."""
        from rich.text import Text

        from screens.help_filter import filter_help

        target = self.target(screen)
        if isinstance(own := getattr(target, "filter_hint", None), str):
            return Text(own)
        return None if target is None else filter_help(self.fields_of(target), self.saved.all)

    async def load(self) -> None:
        """Reads the filters saved before; what is wrong with them is told, and they are left alone."""
        try:
            self.saved.take(await asyncio.to_thread(read_own))
        except ConfigError as error:
            self.saved.broken = f"{error.message}: {error.hint}" if error.hint else error.message
            self._app.notify(f"Saved filters: {self.saved.broken}", severity="error", markup=False)

    # Commands

    def _offered(self) -> Iterable[str]:
        return sorted(self.saved.all)

    def _complete(self, rest: str) -> list[str]:
        return self.complete(rest)

    def _filter(self, rest: str) -> str | None:
        """A name that is saved, or a filter."""
        error = self.apply(f"@{rest}" if rest in self.saved.all else rest)
        return None if error is None else error.sentence

    def _save(self, rest: str) -> str | None:
        name, _, text = rest.partition(" ")
        meant = text.strip() or getattr(self.target(), "filter_text", "")
        if not name:
            return "under which name? :save NAME"
        if not meant:
            return "no filter is in force here: / makes one"
        return self._change(name, meant, f"Saved as @{clean(name, 32)}: {clean(meant, 60)}")

    def _forget(self, rest: str) -> str | None:
        return self._change(rest, None, f"@{clean(rest, 32)} is forgotten") if rest else "which saved filter?"

    def _change(self, name: str, text: str | None, done: str) -> str | None:
        try:
            own = self.saved.changed(name, text)
        except ConfigError as error:
            return f"{error.message}: {error.hint}" if error.hint else error.message
        self._app.run_worker(self._write(own, done), exclusive=False, group="saved-filters")
        self.saved.take(own)
        return None

    async def _write(self, own: Mapping[str, str], done: str) -> None:
        try:
            await asyncio.to_thread(write_own, own)
        except GpudeckError as error:
            said = clean(f"{error.message}: {error.hint}", 300)
            self._app.notify(f"The filters hold for this session only: {said}", severity="error", markup=False)
        else:
            self._app.notify(done, markup=False)
