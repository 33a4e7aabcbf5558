"""Text folded into lines of at most so many terminal cells."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len, chop_cells

from tui.widgets.cells import inert

LIMIT = 2000
"""Characters of a text that are looked at."""


def wrapped(text: str, width: int, most: int = 12, ellipsis: str = "…") -> list[str]:
    """`text` in lines of at most `width` cells, cut after `most` lines with `ellipsis`; a long word is broken."""
    if width <= 0:
        return []
    lines = _filled(_pieces(inert(text[:LIMIT]).split(), width), width)
    cut = len(lines) > most or len(text) > LIMIT
    lines = lines[:most]
    if cut and lines:
        last = lines[-1] if cell_len(lines[-1]) + cell_len(ellipsis) <= width else chop_cells(lines[-1], width - 1)[0]
        lines[-1] = last + ellipsis
    return lines


def wrapped_command(command: str, width: int) -> list[str]:
    """A command in lines that a shell takes as one: folded at blanks outside quotes, each but the last with ` \\`.

    A word that is longer than a line stays whole: broken, it would be another word.
    """
    lines = [""]
    for word in _shell_words(inert(command)):
        line = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and cell_len(line) > width - 2:
            lines.append(word)
        else:
            lines[-1] = line
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _shell_words(command: str) -> list[str]:
    """Split at blanks that a shell would split at; quotes and backslashes stay as they are."""
    words, word, quote, escaped = [], "", "", False
    for character in command:
        if character == " " and not quote and not escaped:
            words.append(word)
            word = ""
            continue
        word += character
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    return [each for each in (*words, word) if each]


def _pieces(words: list[str], width: int) -> list[str]:
    return [piece for word in words for piece in ([word] if cell_len(word) <= width else chop_cells(word, width))]


def _filled(pieces: Iterable[str], width: int) -> list[str]:
    """`pieces` behind each other with a blank between them, as many in a line of `width` cells as fit."""
    lines: list[str] = []
    for piece in pieces:
        if lines and cell_len(lines[-1]) + 1 + cell_len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines
