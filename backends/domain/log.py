"""Lines of a container's log, from whichever platform runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogSource:
    """Whose log: a pod with its containers, or one container of a node's engine."""

    name: str
    """Of the pod; on Docker of the container."""
    namespace: str | None = None
    containers: tuple[str, ...] = ()
    """Of a pod; empty: all of them, init containers first."""
    node: str | None = None
    """Which node's engine is asked; None where the platform is one API."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which part of a log."""

    follow: bool = True
    """Goes on until the reader leaves; a cut connection is resumed where it was."""
    previous: bool = False
    """Of the container's former run: why it crashed. Never followed."""
    tail_lines: int | None = 1000
    """Of each container; None: from the beginning."""
    since_seconds: int | None = None
    """Only what is younger."""
    resume: tuple[tuple[str, float], ...] = ()
    """Container -> `LogLine.at` of the last line that was read of it, by the clock that stamps lines. From the start
    of that second on all is wanted, in place of `tail_lines` and `since_seconds`."""


@dataclass(frozen=True, slots=True)
class LogLine:
    text: str
    """Inert, bounded: control and escape sequences are taken out."""
    container: str
    at: float | None = None
    """When the runtime received it, seconds since the epoch; None where it does not say."""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Lines that arrived together, in the order of their arrival."""

    lines: tuple[LogLine, ...] = ()
    dropped: int = 0
    """Lines left out before these because the reader was slower than the log."""
    problem: str | None = None
    """Why a container's log cannot be read, or was interrupted; the others go on."""
    retried: bool = False
    """The log that `problem` is about is tried again."""
