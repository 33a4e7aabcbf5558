"""Why a MIG change came to nothing, by the MIG manager's own log."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backends.domain import clean

LIMIT = 200
BEGINS = "Updating to MIG config:"
"""Each change begins with this line (mig-parted, cmd/nvidia-mig-manager/main.go)."""
CHECKS = ("Assertion failure", "Checking if")
"""Of a look at what is there before the change: no reason, whatever it says."""
REASONS: tuple[re.Pattern[str], ...] = (
    re.compile(r"level=fatal"),
    re.compile(r"did not shutdown"),
    re.compile(r"^(?!.*level=)(?:Error\b|Unable to)"),
    re.compile(r"level=error"),
)
"""The surest first: `nvidia-mig-parted` ends with a fatal line, to which the manager adds little but an exit code."""
_MESSAGE = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


def reason_of(lines: Iterable[str]) -> str | None:
    """The line of the last change that says why, without what logrus puts round it; None where none does."""
    last: list[str] = []
    for line in lines:
        last = [] if BEGINS in line else [*last, line]
    told = [line for line in last if not any(check in line for check in CHECKS)]
    for pattern in REASONS:
        found = next((line for line in reversed(told) if pattern.search(line)), None)
        if found is not None:
            return clean(_message(found), LIMIT)
    return None


def _message(line: str) -> str:
    found = _MESSAGE.search(line)
    return line.strip() if found is None else found[1].replace('\\"', '"').replace("\\n", " ")
