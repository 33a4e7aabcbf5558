"""The MIG instances that events name: what ran in them, and how they are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from backends.domain import Event, Gpu, GpuProcess, MigInstance
from backends.triage.words import listed

NAMED = 2
"""So many are named; more are counted."""


class Instance(NamedTuple):
    """A GPU instance, or the compute instance of it that is named."""

    gi: int
    ci: int | None

    def may_hold(self, process: GpuProcess) -> bool:
        """Whether `process` runs in it; one of which no instance is told may."""
        if process.gi is None:
            return True
        return process.gi == self.gi and (None in (process.ci, self.ci) or process.ci == self.ci)


def named(events: Iterable[Event]) -> tuple[Instance, ...]:
    """Those that `events` name, each once; none where one of them tells none: it may be anywhere on the GPU."""
    found: dict[Instance, None] = {}
    for event in events:
        if event.gi is None:
            return ()
        found[Instance(event.gi, event.ci)] = None
    return tuple(found)


def within(gpu: Gpu | None, events: Iterable[Event]) -> str:
    """` in GI 2 (3g.40gb)`; empty where `events` tell no instance."""
    words = dict.fromkeys(_words(gpu, instance) for instance in named(events))
    if not words:
        return ""
    return f" in {listed(words) if len(words) <= NAMED else f'{len(words)} MIG instances'}"


def _words(gpu: Gpu | None, instance: Instance) -> str:
    """A compute instance is named where its GPU instance has several."""
    parts = [] if gpu is None else [each for each in gpu.mig.instances if each.gi == instance.gi]
    own = [each for each in parts if each.ci == instance.ci] if len(parts) > 1 else []
    where = f"GI {instance.gi}" + (f" CI {instance.ci}" if own else "")
    profile = _profile(own, parts)
    return where if profile is None else f"{where} ({profile})"


def _profile(own: list[MigInstance], parts: list[MigInstance]) -> str | None:
    """That of the compute instance, `1c.3g.40gb`, else that of the GPU instance, `3g.40gb`."""
    if own:
        return own[0].profile
    return next((each.profile.rpartition("c.")[2] for each in parts if each.profile), None)
