"""Why clocks are not higher, in words for the one who is on call.

What a bit means is in nvml.h (NVML_CLOCKS_EVENT_REASON_*); what to make of it is gpudeck's reading.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.domain import CLOCK_EVENT_REASONS, Gpu
from tui.widgets import units


@dataclass(frozen=True, slots=True)
class Reason:
    title: str
    style: str
    meaning: str
    action: str = ""
    """What to do about it, of the GPU `{index}`; empty where there is nothing to do."""


REASONS: dict[str, Reason] = {
    "hw_thermal_slowdown": Reason(
        "Hardware thermal slowdown",
        "bad",
        "The board is too hot and has cut its clocks to half or less by itself.",
        "Urgent: look at fans, inlet air and the neighbours; move the work if it keeps rising.",
    ),
    "hw_power_brake_slowdown": Reason(
        "Power brake",
        "bad",
        "A signal from outside the board, a power supply or the chassis, makes it cut its clocks.",
        "Urgent: look at the power supplies, the feed and the chassis' power cap.",
    ),
    "hw_slowdown": Reason(
        "Hardware slowdown",
        "bad",
        "The board has cut its clocks to half or less: too hot, too much current, or told from outside.",
        "Urgent: thermal slowdown or power brake beside it say which; without them look at power and cables.",
    ),
    "sw_thermal_slowdown": Reason(
        "Software thermal slowdown",
        "warn",
        "The driver lowers the clocks to keep GPU or memory under the highest operating temperature.",
        "Today: the cooling has no margin left; compare with the other GPUs of the node.",
    ),
    "sw_power_cap": Reason(
        "Software power cap",
        "",
        "The board draws what its power limit allows: normal under full load.",
    ),
    "sync_boost": Reason(
        "Sync boost",
        "",
        "Kept in step with the slowest GPU of its sync boost group.",
        "If that is a surprise: look for the slow one in the group.",
    ),
    "applications_clocks_setting": Reason(
        "Applications clocks",
        "",
        "Somebody has set applications clocks, and the GPU keeps to them.",
        "If nobody wants them: nvidia-smi -rac -i {index} takes them off.",
    ),
    "display_clock_setting": Reason("Display clocks", "", "Kept at the clocks that a display needs."),
    "gpu_idle": Reason("Idle", "", "Nothing runs, and the clocks rest."),
}
"""Most serious first."""
assert set(REASONS) == set(CLOCK_EVENT_REASONS.values())


def reasons_of(gpu: Gpu) -> list[Reason]:
    """The reasons that hold now, most serious first; one this console does not know by its name alone."""
    names = gpu.clocks.event_reasons or ()
    known = [reason for name, reason in REASONS.items() if name in names]
    return known + [
        Reason(name, "", "This console does not know this reason.") for name in names if name not in REASONS
    ]


def power_cap_note(gpu: Gpu) -> str:
    """Whether the limit that the board runs into was lowered; empty where it was not."""
    power = gpu.power
    if "sw_power_cap" not in (gpu.clocks.event_reasons or ()):
        return ""
    if power.limit_watts is None or power.default_limit_watts is None or power.limit_watts >= power.default_limit_watts:
        return ""
    lowered, default = units.number(power.limit_watts), units.number(power.default_limit_watts)
    return f"The limit was lowered to {lowered} W; the board's default is {default} W."
