"""What a filter may ask a process for."""

from __future__ import annotations

from typing import NamedTuple

from screens.process_rows import Listed
from screens.workload_fields import workload_fields
from screens.workloads import words
from tui.widgets.filter import Subject
from tui.widgets.filter.fields import BYTES, SECONDS, Field, FieldTable


class ProcessItem(NamedTuple):
    """A process on one GPU, looked at at a time."""

    listed: Listed
    now: float
    """Seconds since the epoch, by the node's clock."""


def _age(item: ProcessItem) -> float | None:
    started = item.listed.process.started_at
    return None if started is None else max(0.0, item.now - started)


def _container(item: ProcessItem) -> str | frozenset[str] | None:
    inside, workload = item.listed.process.container_id, item.listed.workload
    if inside is None or workload is None:
        return inside
    return frozenset({inside, *(one.name for one in workload.containers if one.id == inside)})


def _user(item: ProcessItem) -> str | frozenset[str] | None:
    """The Unix user, and whom the workload names: in a pod a process is often root's."""
    process, workload = item.listed.process, item.listed.workload
    named = workload.user if workload is not None else None
    return process.user if named is None else frozenset(each for each in (process.user, named) if each)


def _profile(item: ProcessItem) -> str | None:
    """Of the MIG instance it runs in; None outside one."""
    gpu, process = item.listed.gpu, item.listed.process
    if process.gi is None:
        return None
    return next((one.profile for one in gpu.mig.instances if (one.gi, one.ci) == (process.gi, process.ci)), None)


PROCESS_FIELDS = FieldTable(
    (
        Field("pid", "number", lambda item: item.listed.process.pid, "process id on the node", "pid=4242"),
        Field("user", "text", _user, "whose it is", "user=alice"),
        Field("gpu", "number", lambda item: item.listed.gpu.index, "index of the GPU it is on", "gpu=3", ("index",)),
        Field("mig", "text", _profile, "profile of its MIG instance", "mig~3g", ("profile",)),
        Field(
            "mem",
            "number",
            lambda item: item.listed.process.memory_bytes,
            "GPU memory it holds",
            "mem>40g",
            ("memory",),
            unit=BYTES,
        ),
        Field("age", "number", _age, "how long it runs: s, m, h or d", "age>1d", unit=SECONDS, of_the_moment=True),
        Field(
            "kind",
            "text",
            lambda item: item.listed.process.kind,
            "what it uses the GPU for",
            "kind=compute",
            choices=("compute", "graphics", "mps"),
        ),
        *workload_fields(lambda item: None if item.listed.workload is None else (item.listed.workload,)),
        Field(
            "container",
            "text",
            _container,
            "id or name of its container; na outside one",
            "container~0123ab",
        ),
        Field("command", "text", lambda item: item.listed.process.command, "what it runs", "command~train", ("cmd",)),
    ),
    words={},
)


def process_subject(each: Listed, now: float) -> Subject:
    """Words look for what its row shows."""
    process = each.process
    parts = (
        str(process.pid),
        process.user,
        f"gpu{each.gpu.index}",
        process.kind,
        process.container_id,
        process.command,
        words((each.workload,)) if each.workload is not None else None,
    )
    text = " ".join(part for part in parts if part).lower()
    return Subject(text, frozenset(), ProcessItem(each, now))
