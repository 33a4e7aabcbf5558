"""What state the GPU is in, in a sentence, what the driver asks for, and what cannot be known here."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Gpu, NodeReading
from screens.condition import HOT_REASONS, gpu_condition, worse
from screens.gpu_values.lines import reset_line, told, words
from screens.node_pages.view import NodeView
from screens.rows import found_of, row_key
from tui.widgets import units
from tui.widgets.sheet import Line, Prose, Section

RECOVERY: dict[str, tuple[str, str]] = {
    "none": ("", "nothing"),
    "gpu_reset": ("warn", "a reset of this GPU: drain its work, then {reset}"),
    "node_reboot": ("bad", "a reboot of the node: drain it first"),
    "drain_p2p": ("warn", "to end the work that reaches this GPU from its peers (NVLink, PCIe), then look again"),
    "drain_and_reset": ("warn", "its work drained, then a reset: {reset}"),
    "recover_imex_domain": ("bad", "its IMEX domain recovered: look at nvidia-imex on the nodes of the domain"),
    "bus_reset": ("bad", "a reset of its bus: drain the node first"),
    "system_reboot": ("bad", "a reboot of the whole system: drain it first"),
}
"""NVML field 230 (nvml.h, NVML_GPU_RECOVERY_ACTION_*): style and words. It outranks any table of XIDs."""

WORDS: dict[str, str] = {
    "ok": "no value is out of bounds",
    "lost": "it does not answer any more",
    "ecc": "uncorrected memory errors",
    "fabric": "the NVLink fabric calls it unhealthy",
    "link": "NVLinks are down",
    "slow": "the hardware slows it down",
    "pcie": "it runs with fewer PCIe lanes than it could",
    "mig": "a change of its MIG mode waits for a reset",
    "reset": "the driver asks for something",
    "triage": "no value is out of bounds; what was found stands above",
}
"""What a word of the STATE column says; `hot` and `remap` have two sentences."""

MIG_HIDES = frozenset({"utilisation", "NVLink"})
"""What NVML does not tell of a GPU in MIG mode (nvml.h)."""
MIG_WHY = "DCGM's profiling metrics tell the use of each instance."
GUEST_WHY = "The board's are told to the host alone."


def state(view: NodeView, gpu: Gpu, silent: Sequence[str], *, anything: bool) -> Section:
    """`silent` are the groups that say nothing and whose silence is explained here; `anything`: some group speaks."""
    around, signs = view.reading.node.gpus if view.reading.node else (), view.glyphs
    condition = worse(gpu_condition(gpu, around), found_of(view.findings).get(row_key(view.reading.name, gpu)))
    lines: list[Line | Prose] = []
    if gpu.lost:
        reason = gpu.lost_reason or "no reason given"
        known = "The values below are its last ones." if anything else "No value of it is known."
        lines.append(told(signs.bad, f"LOST: {reason}. {known}", "bad"))
    elif not view.reading.is_current:
        age = units.coarse_age(view.reading.age(view.now))
        lines.append(told(signs.stale, f"stale: {_why_old(view.reading)}; these values are {age} old.", "stale"))
    elif not anything:
        lines.append(told(signs.stale, "nothing was measured.", "stale"))
    else:
        lines.append(
            told(signs.of(condition.style), f"{condition.word}: {_sentence(gpu, condition.word)}.", condition.style)
        )
    if gpu.recovery_action is not None:
        lines += _asked(view, gpu, gpu.recovery_action)
    lines += [Prose(text, "dim") for text in _cannot_know(view, gpu, silent)]
    return Section(f"GPU {gpu.index}  {units.model(gpu.name)}", tuple(lines))


def _why_old(reading: NodeReading) -> str:
    stall = reading.node.stall if reading.node is not None else None
    return stall.told if stall is not None else "the node does not answer"


def _asked(view: NodeView, gpu: Gpu, action: str) -> list[Line | Prose]:
    """What the driver asks for; of a GPU whose values are old what it asked for last, and nothing where that was
    nothing: nobody knows whether it still asks for nothing."""
    style, template = RECOVERY.get(action, ("warn", ""))
    asked = template.format(reset=reset_line(view, gpu)) if template else action
    # A full stop behind a command would be copied with it.
    stop = "" if "{reset}" in template else "."
    if view.is_old(gpu):
        return [told(view.glyphs.stale, f"The driver last asked for {asked}{stop}", "stale")] if style else []
    if not style:
        return [words("driver asks", asked)]
    return [told(view.glyphs.of(style), f"The driver asks for {asked}{stop}", style)]


def _sentence(gpu: Gpu, word: str) -> str:
    if word == "remap":
        if gpu.retired_pages.pending:
            return "a page of memory waits for a reset to be retired"
        return "a row could not be remapped" if gpu.remapped_rows.failed else "a row remap waits for a reset"
    if word == "hot":
        slowed = HOT_REASONS.intersection(gpu.clocks.event_reasons or ())
        return "its clocks are held down by heat" if slowed else "it is at its temperature limit"
    return WORDS.get(word, word)


def explained(gpu: Gpu, group: str) -> bool:
    """Whether it is known why a group says nothing: then it is named in a sentence, and has no section."""
    return gpu.vgpu.mode == "vgpu" or (gpu.mig.enabled is True and group in MIG_HIDES)


def _cannot_know(view: NodeView, gpu: Gpu, silent: Sequence[str]) -> list[str]:
    found = []
    if silent and gpu.vgpu.mode == "vgpu":
        found.append(f"A vGPU guest. Cannot be measured here: {', '.join(silent)}. {GUEST_WHY}")
    elif silent:
        found.append(f"MIG is on. Cannot be measured then: {', '.join(silent)}. {MIG_WHY}")
    node = view.reading.node
    if node is not None and node.transport == "nvidia-smi":
        found.append("Read by nvidia-smi, which tells less than NVML and less often.")
    return found
