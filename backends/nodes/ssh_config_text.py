"""The text of an OpenSSH configuration: its lines, words, patterns and tokens, as readconf.c and misc.c take them."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from backends.domain import clean

Line = tuple[int, str, list[str], str]
"""Number, keyword in lower case, words, and the rest of the line as it is written."""
_LINE = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+|$)(.*)", re.DOTALL)
_TOKEN = re.compile(r"%(.?)|\$\{([^}]*)\}")


class SshConfigError(ValueError):
    """A line that OpenSSH refuses as well; says file and line."""


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns (* and ?) holds and none that is negated does."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if _pattern(pattern[1:]).fullmatch(name):
                return False
        elif pattern == name or _pattern(pattern).fullmatch(name):
            found = True
    return found


@functools.lru_cache(maxsize=8192)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def words(text: str) -> list[str]:
    """The words of a line: quotes, the few escapes and a comment at the end as in OpenSSH's argv_split().

    Raises ValueError for a quote that is not closed. `DOMAIN\\user` keeps its backslash.
    """
    found: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        if text[at] == "#":
            break
        word, quote = "", ""
        while at < len(text):
            character, following = text[at], text[at + 1 : at + 2]
            if character == "\\" and following and (following in "\\'\"" or (not quote and following == " ")):
                word += following
                at += 1
            elif not quote and character in " \t":
                break
            elif not quote and character in "'\"":
                quote = character
            elif character == quote:
                quote = ""
            else:
                word += character
            at += 1
        if quote:
            raise ValueError("a quote is not closed")
        found.append(word)
    return found


def lines_of(path: Path) -> tuple[Line, ...]:
    status = path.stat()
    return _split(path, (status.st_mtime_ns, status.st_size, status.st_ino))


@functools.lru_cache(maxsize=64)
def _split(path: Path, stamp: tuple[int, ...]) -> tuple[Line, ...]:
    """Read once for all nodes, and again once the file has changed."""
    return tuple(_lines(path))


def _lines(path: Path) -> Iterator[Line]:
    for number, line in enumerate(path.read_bytes().decode("utf-8", "surrogateescape").split("\n"), 1):
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            continue
        rest = match[2].strip()
        try:
            yield number, match[1].lower(), words(rest), rest
        except ValueError as error:
            raise SshConfigError(f"{path} line {number}: {error}") from None


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """% tokens and ${VARIABLES}. Raises SshConfigError for one that is not known."""

    def value(match: re.Match[str]) -> str:
        known = tokens.get(match[1]) if match[2] is None else os.environ.get(match[2])
        if known is None:
            raise SshConfigError(f"{clean(match[0], 60)} in {clean(text, 120)} stands for nothing")
        return known

    return _TOKEN.sub(value, text)
