"""What somebody asked for and is not seen, where a right to read is missing: no word of it being absent."""

from __future__ import annotations

from collections.abc import Iterable

from backends.contract import NotAllowed
from backends.domain import NotPermitted

RIGHTS_TOLD = 3


def not_seen(what: str, refused: Iterable[NotPermitted], *resources: str) -> NotAllowed | None:
    """The error for `what`, in words; None where every right to read `resources` is there.

    A missing right to watch hides nothing: the collection is listed again and again then.
    """
    asked = (each.permission for each in refused if each.permission.resource in resources)
    rights = list(dict.fromkeys(right for right in asked if right.verb != "watch"))
    if not rights:
        return None
    more = f" and {len(rights) - RIGHTS_TOLD} more" if len(rights) > RIGHTS_TOLD else ""
    told = ", ".join(map(str, rights[:RIGHTS_TOLD])) + more
    ask = f"ask for the right to {rights[0]}"
    return NotAllowed(f"{what} is seen; not permitted: {told}", ask, permission=rights[0])
