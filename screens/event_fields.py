"""What a filter may ask an event for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backends.domain import EVENT_KINDS
from screens.event_words import CHANGE, what, word_of
from tui.widgets.filter.fields import SECONDS, Field, FieldTable

if TYPE_CHECKING:
    from backends.domain import Event


class EventItem(NamedTuple):
    """An event, looked at at a time."""

    event: Event
    now: float
    """Seconds since the epoch."""


def _kinds(item: EventItem) -> frozenset[str]:
    kind = item.event.kind
    return frozenset({kind, word_of(kind)})


EVENT_FIELDS = FieldTable(
    (
        Field(
            "kind",
            "text",
            _kinds,
            "what happened",
            "kind=xid",
            ("event", "state"),
            choices=(*EVENT_KINDS, CHANGE),
        ),
        Field("node", "text", lambda item: item.event.node, "name of the node", "node~h100"),
        Field("gpu", "number", lambda item: item.event.gpu_index, "index of the GPU on its node", "gpu=3", ("index",)),
        Field("code", "number", lambda item: item.event.code, "number of the XID or SXID", "code=79", ("xid", "sxid")),
        Field(
            "fatal",
            "flag",
            lambda item: item.event.fatal,
            "whether a switch calls its error fatal",
            "fatal=yes",
        ),
        Field("link", "number", lambda item: item.event.link, "port of the switch that tells of an SXID", "link=30"),
        Field("pid", "number", lambda item: item.event.pid, "process that met an XID", "pid=41277"),
        Field("process", "text", lambda item: item.event.process, "its name", "process~python"),
        Field("gi", "number", lambda item: item.event.gi, "MIG GPU instance of an XID", "gi=5"),
        Field("ci", "number", lambda item: item.event.ci, "compute instance in it", "ci=0"),
        Field(
            "count",
            "number",
            lambda item: item.event.count,
            "how many of a run a row stands for",
            "count>1",
            ("times",),
        ),
        Field(
            "age",
            "number",
            lambda item: max(0.0, item.now - item.event.at),
            "how long ago: s, m, h or d",
            "age<10m",
            unit=SECONDS,
            of_the_moment=True,
        ),
        Field("text", "text", lambda item: item.event.text, "what was said", 'text~"fallen off"'),
        Field(
            "source",
            "text",
            lambda item: item.event.source,
            "who noticed it",
            "source=kernel",
            choices=("nvml", "kernel", "console", "journal"),
        ),
        Field("who", "text", lambda item: item.event.who, "who began, stopped or ended a change", "who~alice"),
        Field("change", "text", lambda item: item.event.change, "id of a change", "change~20260101"),
        Field("uuid", "text", lambda item: item.event.gpu_uuid, "UUID of the GPU", "uuid~8f3a"),
        Field("bus", "text", lambda item: item.event.pci_bus_id, "PCI bus id of the GPU or switch", "bus~9b:00"),
    ),
    words={},
)


def event_text(event: Event) -> str:
    """What words look for: all that an event's row shows, and the text as it was told."""
    gpu = "" if event.gpu_index is None else f"gpu{event.gpu_index}"
    code = "" if event.code is None else f"{'sxid' if event.kind == 'sxid' else 'xid'}{event.code}"
    said = what(event)
    told = "" if event.text in said else event.text
    source, process = event.source or "", event.process or ""
    parts = (event.node, gpu, event.kind, word_of(event.kind), code, source, process, said, told)
    return " ".join(part for part in parts if part).lower()
