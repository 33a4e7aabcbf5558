"""A log as somebody reads it: kept within bounds, searched, saved, and read from the platform in the background."""

from backends.logs.pattern import Pattern, PatternError, compile_pattern
from backends.logs.save import as_text, write_new
from backends.logs.search import Search
from backends.logs.store import NOTE, LogStore, note
from backends.logs.tail import LogTail, TailState

__all__ = [
    "NOTE",
    "LogStore",
    "LogTail",
    "Pattern",
    "PatternError",
    "Search",
    "TailState",
    "as_text",
    "compile_pattern",
    "note",
    "write_new",
]
