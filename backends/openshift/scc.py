"""What the event says that a controller leaves when it can make no pod. Pure.

A pod that no SecurityContextConstraint admits is refused before it exists. The message of the event lists, for each SCC
that the pod's service account may use, what it does not admit, and by name those that it may not use
(openshift/apiserver-library-go, sccadmission). The parts are parted by commas, on old releases by spaces; not each
names its SCC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.domain import SccClause, clean
from backends.kubernetes.details import events_of
from backends.kubernetes.fields import table, time_of, word
from backends.kubernetes.objects import OwnerRef

FAILED_CREATE = "FailedCreate"
"""Reason of the event of a ReplicaSet, StatefulSet, Job, DaemonSet or ReplicationController."""
SCC_WORDS = "unable to validate against any security context constraint"
READ_LIMIT = 8192
"""Characters of the message that are looked at: with fifty SCCs it has some 5,000."""
CLAUSES_KEPT = 8
UNUSABLE_KEPT = 64
FIELD_LIMIT, WHY_LIMIT = 96, 160

_BETWEEN = re.compile(
    r"(?<![:,\s])[,\s]++(?=provider\s|\.?spec[.\[]|\.?(?:init|ephemeral)?[cC]ontainers\[|\.?pod\.|capabilities\.)"
)
_PROVIDER = re.compile(r'provider "?([^":\s]++)"?:?\s*+')
_OBJECTION = re.compile(r'(?:(\S++)\s)?(?:Invalid value: ("[^"]*+"|[^:]*+): |Forbidden: )(.+)')
_TOLD_VALUE = re.compile(r"(?!true\Z)[\w.-]++")
"""A user id or a capability; that a switch is on and a list of groups say nothing more than their reason."""
_UNUSABLE = "Forbidden: not usable by user or serviceaccount"


@dataclass(frozen=True, slots=True)
class FailedCreate:
    """The event of a controller that could not make a pod, for whatever reason."""

    namespace: str
    controller: OwnerRef
    since: float | None
    """First seen, seconds since the epoch."""
    at: float | None
    """Last seen."""
    count: int
    refused: bool
    """By the SCCs; False: by something else, such as a quota."""
    clauses: tuple[SccClause, ...] = ()
    unusable: tuple[str, ...] = ()


def failed_create_of(raw: Mapping[str, Any]) -> FailedCreate:
    about = table(raw, "involvedObject")
    (event,) = events_of([dict(raw)])
    message = raw.get("message")
    said = clean(message, READ_LIMIT) if isinstance(message, str) else ""
    refused = SCC_WORDS in said
    clauses, unusable = objections(said) if refused else ((), ())
    return FailedCreate(
        namespace=word(about, "namespace") or word(table(raw, "metadata"), "namespace"),
        controller=OwnerRef(*(word(about, key) for key in ("apiVersion", "kind", "name", "uid"))),
        since=time_of(raw.get("firstTimestamp")) or time_of(raw.get("eventTime")),
        at=event.at,
        count=event.count,
        refused=refused,
        clauses=clauses,
        unusable=unusable,
    )


def objections(message: str) -> tuple[tuple[SccClause, ...], tuple[str, ...]]:
    """What SCCs object to, each reason once, and the names of those that may not be used."""
    listed = message.partition(SCC_WORDS)[2].lstrip(": ").removeprefix("[").removesuffix("]")
    clauses: dict[tuple[str | None, str], SccClause] = {}
    unusable: dict[str, None] = {}
    for part in _BETWEEN.split(listed):
        provider = _PROVIDER.match(part)
        scc = None if provider is None else clean(provider[1], FIELD_LIMIT)
        said = part if provider is None else part[provider.end() :]
        if scc is not None and said and (_UNUSABLE in said or _UNUSABLE.startswith(said)):
            unusable[scc] = None
        elif clause := _clause(scc, said):
            clauses.setdefault((clause.scc, clause.why), clause)
    return tuple(clauses.values())[:CLAUSES_KEPT], tuple(unusable)[:UNUSABLE_KEPT]


def _clause(scc: str | None, said: str) -> SccClause | None:
    """None where a message that was cut ends before it says anything."""
    found = _OBJECTION.match(said)
    if found is None:
        return SccClause(clean(said, WHY_LIMIT), scc) if said.strip() else None
    field, value, why = found[1], (found[2] or "").strip('"'), found[3]
    if _TOLD_VALUE.fullmatch(value) and value not in re.split(r"[^\w.-]+", why):
        why = f"{value}: {why}"
    return SccClause(clean(why, WHY_LIMIT), scc, clean(field.rstrip(":"), FIELD_LIMIT) if field else None)
