"""Text in terminal cells: whatever comes in, what goes out has the asked width and cannot act."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def inert(text: str) -> str:
    """`text` without anything a terminal could act on; a space or a replacement sign stands for what was there.

    The domain values are clean already: this holds even for a caller that forgot.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else (" " if character.isspace() else _REPLACEMENT) for character in text
    )


@lru_cache(maxsize=16384)
def fit(text: str, width: int, align: str = "left", ellipsis: str = "…") -> str:
    """`text` in exactly `width` cells, cut with `ellipsis` or padded on the side away from `align`.

    Counts cells as the terminal does: wide characters two, combining ones none.
    """
    if width <= 0:
        return ""
    # Four characters a cell bounds what one cell of stacked accents can send to the terminal.
    head = inert(text[: width * 4 + 1])
    used = len(head) if head.isascii() else cell_len(head)
    if used > width or len(text) > width * 4 + 1:
        return set_cell_size(head, width - 1) + ellipsis
    if used == width:
        return head
    pad = " " * (width - used)
    return pad + head if align == "right" else head + pad
