"""What state a GPU or a node is in, as one word: the most serious thing its own values say.

This names what a reading shows; it does not look for causes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from backends.domain import NodeState
from backends.nvlinks import misses_links

if TYPE_CHECKING:
    from backends.domain import Gpu, NodeReading


class Condition(NamedTuple):
    """A style token (bad, warn, stale, good) and a word of at most six letters."""

    style: str
    word: str


SEVERITY = {"bad": 4, "warn": 3, "stale": 2, "accent": 1, "": 1, "good": 0}
OK = Condition("good", "ok")
LOST = Condition("bad", "lost")
FALLBACK = Condition("accent", "smi")
"""Well, as far as nvidia-smi tells: the probe does not run there."""
HOT_REASONS = frozenset({"hw_thermal_slowdown", "sw_thermal_slowdown"})
SLOW_REASONS = frozenset({"hw_slowdown", "hw_power_brake_slowdown"})


def is_hot(gpu: Gpu) -> bool:
    """A thermal slowdown is on, or the temperature is at the board's own limit (absolute or T.Limit, never mixed)."""
    if HOT_REASONS.intersection(gpu.clocks.event_reasons or ()):
        return True
    temperature = gpu.temperature
    limit = temperature.gpu_max_celsius if temperature.gpu_max_celsius is not None else temperature.slowdown_celsius
    if temperature.gpu_celsius is not None and limit is not None and temperature.gpu_celsius >= limit:
        return True
    return temperature.margin_celsius is not None and temperature.margin_celsius <= 0


def links_down(gpu: Gpu) -> int:
    """How many NVLinks say that they are not active; links that say nothing do not count."""
    return sum(link.active is False for link in gpu.links or ())


def link_errors(gpu: Gpu) -> int | None:
    """The sum over the links that count errors; None when none does."""
    counted = [link.errors for link in gpu.links or () if link.errors is not None]
    return sum(counted) if counted else None


LINK = Condition("bad", "link")
"""NVLinks are down that the other boards of the node have up: `backends.nvlinks` judges."""
_CHECKS: tuple[tuple[Condition, Callable[[Gpu], bool]], ...] = (
    (LOST, lambda gpu: gpu.lost),
    (Condition("bad", "remap"), lambda gpu: gpu.remapped_rows.failed is True),
    (Condition("bad", "ecc"), lambda gpu: (gpu.ecc.volatile.uncorrected or 0) > 0),
    (Condition("bad", "fabric"), lambda gpu: gpu.fabric.health == "unhealthy"),
    (
        Condition("bad", "hot"),
        lambda gpu: is_hot(gpu) and "hw_thermal_slowdown" in (gpu.clocks.event_reasons or ()),
    ),
    (LINK, lambda _gpu: False),
    (Condition("warn", "hot"), is_hot),
    (Condition("warn", "slow"), lambda gpu: bool(SLOW_REASONS.intersection(gpu.clocks.event_reasons or ()))),
    (Condition("warn", "remap"), lambda gpu: gpu.remapped_rows.pending is True or gpu.retired_pages.pending is True),
    (
        Condition("warn", "pcie"),
        lambda gpu: (
            gpu.pcie.width is not None and gpu.pcie.max_width is not None and 0 < gpu.pcie.width < gpu.pcie.max_width
        ),
    ),
    (Condition("warn", "mig"), lambda gpu: gpu.mig.pending is not None and gpu.mig.pending != gpu.mig.enabled),
    (Condition("warn", "reset"), lambda gpu: gpu.recovery_action not in (None, "none")),
)
"""Most serious first."""


def gpu_condition(gpu: Gpu, around: Sequence[Gpu] = ()) -> Condition:
    """The first check that holds, else ok. `around` are the GPUs of its node: without them no link is called down."""
    for condition, holds in _CHECKS:
        if holds(gpu) or (condition is LINK and around and misses_links(gpu, around)):
            return condition
    return OK


def node_condition(reading: NodeReading) -> Condition:
    """Of the node itself where it cannot be read, else the worst of its GPUs."""
    if reading.state is NodeState.DOWN:
        return Condition("bad", "down")
    if reading.state is NodeState.CONNECTING:
        return Condition("stale", "wait")
    if reading.state is NodeState.STALE:
        return Condition("stale", "stale")
    if reading.node is None:
        return Condition("stale", "wait")
    gpus = reading.node.gpus
    worst = max((gpu_condition(gpu, gpus) for gpu in gpus), key=lambda each: SEVERITY[each.style], default=OK)
    if reading.node.stall is not None and SEVERITY[worst.style] < SEVERITY["bad"]:
        return Condition("bad", "stall")
    if worst is OK and reading.node.transport_note:
        return FALLBACK
    return worst


def state_words(gpu: Gpu, node_words: frozenset[str], around: Sequence[Gpu] = ()) -> frozenset[str]:
    """What a filter may ask for, with the words of the GPU's node: see `tui.widgets.filter.STATE_WORDS`."""
    words = set(node_words)
    words.discard("ok")
    condition = gpu_condition(gpu, around)
    if condition is OK and not words:
        words.add("ok")
    busy = gpu.utilization.gpu_percent
    for word, holds in (
        ("lost", gpu.lost),
        ("hot", is_hot(gpu)),
        ("mig", gpu.mig.enabled is True),
        ("idle", busy == 0),
        ("busy", busy is not None and busy >= 50),
    ):
        if holds:
            words.add(word)
    return frozenset(words)


def node_state_words(reading: NodeReading) -> frozenset[str]:
    """stale or down for a node that cannot be read; ok for one without trouble of its own or its GPUs."""
    if reading.node is not None and reading.node.stall is not None:
        return frozenset({"stale"})
    if reading.state is NodeState.LIVE:
        return frozenset({"ok"}) if node_condition(reading) in (OK, FALLBACK) else frozenset()
    return frozenset({str(reading.state.value)})


FOUND = {"critical": Condition("bad", "triage"), "warning": Condition("warn", "triage")}
"""What an open finding makes of a row that shows nothing of it: what is wrong stands in the triage."""


def worse(own: Condition, found: Condition | None) -> Condition:
    """`found` only where it is graver than what the row itself shows; that its values are old is said all the same."""
    if found is None or SEVERITY[found.style] <= SEVERITY[own.style]:
        return own
    return Condition(found.style, own.word) if own.style == "stale" else found
