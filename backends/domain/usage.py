"""What a container uses of its machine beside GPUs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """At one moment; None where the engine did not tell, and for everything while the container does not run."""

    at: float | None = None
    """Seconds since the epoch, by the node's clock."""
    cpu_percent: float | None = None
    """Of one CPU since the value before: 250 is the time of two and a half. None in the first value."""
    cpus: int | None = None
    """Of the machine that are online."""
    memory_bytes: int | None = None
    """Held; page cache that could be dropped is left out where the engine tells how much that is."""
    memory_with_cache: bool = False
    """The engine does not tell: `memory_bytes` has all page cache in it."""
    memory_limit_bytes: int | None = None
    """The machine's memory where the container has no limit."""
    pids: int | None = None
    """Processes and threads."""
    pids_limit: int | None = None
    """None: no limit."""
    received_bytes: int | None = None
    """Over all its network interfaces since it started; None in the host's network."""
    sent_bytes: int | None = None
    read_bytes: int | None = None
    """From block devices since it started."""
    written_bytes: int | None = None
