"""What the `/` line does for the screen on top, and the commands about filters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from textual.screen import Screen

from backends.contract import ConfigError
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


class FilterLine:
    """A screen with a list has `apply_filter(text)`, which raises FilterError, and `filter_text`, what is in force.

    One whose rows have fields also has their table as `filter_fields`, `filter_values(field)` for completion, and
    `filter_found`, whether any row is shown.
    """

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

    def apply(self, text: str) -> FilterError | None:
        """Filters the screen on top; the error leaves the filter before in force."""
        apply = getattr(self._app.screen, "apply_filter", None)
        if apply is None:
            return FilterError("this screen has no list to filter")
        try:
            said = apply(text)
        except FilterError as error:
            return error
        return FilterError(said) if isinstance(said, str) else None

    def typed(self, text: str) -> FilterError | None:
        """As `apply`, of a text that is not finished.

        A last word that finds nothing and begins the name of a field is not looked for yet: the list does not empty
        itself while somebody types `temp>85`.
        """
        from tui.widgets.filter.completion import ending

        error = self.apply(text)
        if error is None and not getattr(self._app.screen, "filter_found", True):
            fields = self.fields_of(self._app.screen)
            end = ending(text, fields)
            if end and end.field is None and any(name.startswith(end.word.lower()) for name in fields.names):
                self.apply(text[: end.start].rstrip(" !&|"))
        return error

    def complete(self, text: str) -> list[str]:
        """Whole filters that `text` may become on the screen on top, best first."""
        from tui.widgets.filter.completion import complete

        screen = self._app.screen
        values = getattr(screen, "filter_values", lambda _field: ())
        return complete(text, self.fields_of(screen), sorted(self.saved.all), values)

    def hint(self, text: str) -> str:
        """What helps to go on after `text`."""
        from tui.widgets.filter.completion import hint

        return hint(text, self.fields_of(self._app.screen))

    def fields_of(self, screen: Screen[Any]) -> FieldTable:
        from tui.widgets.filter.fields import WORDS_ONLY, FieldTable

        fields = getattr(screen, "filter_fields", None)
        return fields if isinstance(fields, FieldTable) else WORDS_ONLY

    def help_of(self, screen: Screen[Any]) -> Text | None:
        """What may be typed for that screen; None where it has no list."""
        from screens.help_filter import filter_help

        return filter_help(self.fields_of(screen), self.saved.all) if hasattr(screen, "apply_filter") else None

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
        meant = text.strip() or getattr(self._app.screen, "filter_text", "")
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
        except OSError as error:
            said = clean(error.strerror or type(error).__name__)
            self._app.notify(f"The filters hold for this session only: {said}", severity="error", markup=False)
        else:
            self._app.notify(done, markup=False)
