"""Text from outside: node names, process names, log lines, error bodies.

Everything a node, an API or a user's process sends is untrusted. `clean` makes it inert before it enters a domain
value: no control or escape sequences, no direction overrides, one line, bounded length. The screens additionally never
pass it through markup.
"""

from __future__ import annotations

import re

NAME_LIMIT = 256
"""Characters kept of a name, a command or a one-line message."""

_ESCAPE_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: title, hyperlink, clipboard
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # CSI and two-character sequences
)
# C0 and C1 controls, soft hyphen, zero-width and direction marks, line separators, surrogates, non-characters,
# interlinear annotation, tag characters and variation selectors: whatever draws nothing or reorders its neighbours.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]"
)
_PRINTABLE_ASCII = re.compile(r"[ -~]*")


def clean(text: str, limit: int = NAME_LIMIT) -> str:
    """`text` as one inert line of at most `limit` characters; a cut is marked with an ellipsis.

    Tabs and line ends become one space. The result holds no character that moves the cursor, changes the direction of
    writing or takes no room.
    """
    if len(text) <= limit and _PRINTABLE_ASCII.fullmatch(text):
        return text
    # A bounded look-ahead keeps a 10 MB "name" from costing more than its first characters.
    head = text[: limit * 8]
    head = _ESCAPE_SEQUENCES.sub("", head)
    head = re.sub(r"[\t\r\n\v\f\x85\u2028\u2029]+", " ", head)
    head = _INVISIBLE.sub("", head)
    if len(head) > limit or len(text) > limit * 8:
        head = head[: limit - 1] + "…"
    return head


def plural(count: int, noun: str, many: str | None = None) -> str:
    """`1 error`, `2 errors`, `12,000 errors`."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
