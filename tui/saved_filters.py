"""Filters with a name: those of the configuration, and those saved from the console, which have a file of their own.

The configuration is never written. A name of the configuration counts before the same name of the console's file.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

from backends.contract import ConfigError
from backends.domain import clean
from tui.paths import saved_filters_file, state_dir
from tui.toml_lines import TomlLines
from tui.widgets.filter import FilterError

MOST_SAVED = 100
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
NAME_RULE = "a small letter, then small letters, digits, - and _; at most 32"
_HEAD = "# Filters saved in the console with :save; the configuration has its own in [filters].\n[filters]\n"


class SavedFilters:
    """What `@name` stands for."""

    def __init__(self, configured: Mapping[str, str], places: Mapping[str, str]) -> None:
        """Raises ConfigError for a configured filter that means nothing; `places` are those of `Settings`."""
        self.configured = configured
        self._own: dict[str, str] = {}
        self.broken: str | None = None
        """Why the console's own file cannot be used, in a sentence; nothing is written over it then."""
        for name, text in configured.items():
            _check(name, text, configured, places.get(f"filters.{name}", "the configuration"))

    @property
    def all(self) -> Mapping[str, str]:
        """Name -> text."""
        return ChainMap(dict(self.configured), self._own)

    @property
    def own(self) -> Mapping[str, str]:
        """Those of the console's own file."""
        return self._own

    def take(self, own: Mapping[str, str]) -> None:
        """The filters of the console's own file."""
        self._own = dict(own)

    def changed(self, name: str, text: str | None) -> dict[str, str]:
        """The console's own filters with `name` meaning `text`, or without it; raises ConfigError."""
        from screens.filter_tables import check_filter, is_taken

        if self.broken is not None:
            raise ConfigError(self.broken)
        if name in self.configured:
            raise ConfigError(f"@{name} is in the configuration", "change it there, or choose another name")
        own = {key: value for key, value in self._own.items() if key != name}
        if text is None:
            if name not in self._own:
                raise ConfigError(f"no filter is saved as {clean(name, 24)}")
        elif not _NAME.fullmatch(name):
            raise ConfigError(f"{clean(name, 24)} is no name for a filter", NAME_RULE)
        elif is_taken(name):
            raise ConfigError(f"{name} is a word of the filters already", "choose another name")
        elif len(own) >= MOST_SAVED:
            raise ConfigError(f"{MOST_SAVED} filters are saved already", ":forget one first")
        else:
            own[name] = text
        every = ChainMap(dict(self.configured), own)
        for each, meaning in every.items():
            try:
                check_filter(meaning, every)
            except FilterError as error:
                where = "" if each == name else f"@{each} needs it: "
                raise ConfigError(f"{where}{error.sentence}") from None
        return own


def read_own() -> dict[str, str]:
    """The console's own filters, none without a file; raises ConfigError. Does I/O."""
    path = saved_filters_file()
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {clean(str(error))}", "repair or delete it") from None
    own = document.get("filters", {})
    lines = TomlLines(text)
    if set(document) - {"filters"} or not isinstance(own, dict):
        raise ConfigError(f"{path} holds something else than [filters]", "repair or delete it")
    for name, meaning in own.items():
        place = f"{path}:{lines.line(('filters', name))}"
        if not isinstance(meaning, str):
            raise ConfigError(f"{place}: {clean(name, 32)} must be text")
        _check(name, meaning, own, place)
    return own


def write_own(own: Mapping[str, str]) -> None:
    """Replaces the console's own file at once, readable by its owner only; raises JournalFailed. Does I/O."""
    from backends.changes.files import failed

    try:
        _replace(state_dir(), own)
    except OSError as error:
        raise failed("written", saved_filters_file(), error) from None


def _replace(directory: Path, own: Mapping[str, str]) -> None:
    import tempfile

    handle, temporary = tempfile.mkstemp(prefix=".filters-", dir=directory)  # made with 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document_of(own))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(saved_filters_file())
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def document_of(own: Mapping[str, str]) -> str:
    """The file as TOML; a JSON string is a TOML string but for the one control character that JSON lets stand."""
    lines = (f"{name} = {json.dumps(text, ensure_ascii=False)}\n" for name, text in sorted(own.items()))
    return _HEAD + "".join(lines).replace("\x7f", "\\u007f")


def _check(name: str, text: str, saved: Mapping[str, str], place: str) -> None:
    from screens.filter_tables import check_filter, is_taken

    if not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: {clean(name, 32)!r} is no name for a filter", NAME_RULE)
    if is_taken(name):
        raise ConfigError(f"{place}: {name} is a word of the filters already", "choose another name")
    try:
        check_filter(text, saved)
    except FilterError as error:
        at = f"character {error.position + 1} of {clean(text, 60)!r}"
        raise ConfigError(f"{place}: filter {name}, {at}: {error.message}", error.hint) from None
