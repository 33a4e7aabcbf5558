"""Where gpudeck keeps what is the user's, after the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification tells to ignore a relative path.
    return Path(value) if value.startswith("/") else Path("~", *default.split("/")).expanduser()


def config_file() -> Path:
    """The configuration that is read when none is named."""
    return _base("XDG_CONFIG_HOME", ".config") / "gpudeck" / "config.toml"


def state_path() -> Path:
    """Where what the console keeps for the user lies; it need not be there yet."""
    return _base("XDG_STATE_HOME", ".local/state") / "gpudeck"


def saved_filters_file() -> Path:
    """The filters saved from the console; its directory need not be there."""
    return state_path() / "filters.toml"


def state_dir() -> Path:
    """`state_path`, made with 0700 on first use; raises JournalFailed where that cannot be. Does I/O."""
    from backends.changes.files import private_directory

    return private_directory(state_path())
