"""Everything known about one GPU, as sections of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import CLOCK_EVENT_REASONS, Event, Gpu, Link
from screens.cells import REASON_WORDS
from screens.condition import is_hot
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Section
from tui.widgets.spark import meter

LABEL_WIDTH = 15
METER_WIDTH = 16
EVENTS_SHOWN = 20

REASON_TEXTS: dict[str, str] = {
    "gpu_idle": "idle: nothing runs",
    "applications_clocks_setting": "held at the application clocks setting",
    "sw_power_cap": "at the software power limit",
    "hw_slowdown": "HARDWARE SLOWDOWN",
    "sync_boost": "kept in step with its sync boost group",
    "sw_thermal_slowdown": "software thermal slowdown",
    "hw_thermal_slowdown": "HARDWARE THERMAL SLOWDOWN",
    "hw_power_brake_slowdown": "POWER BRAKE: the system asks for less",
    "display_clock_setting": "held at the display clock setting",
}
assert set(REASON_TEXTS) == set(CLOCK_EVENT_REASONS.values())


def line(label: str, value: str | None, style: str = "", unit: str = "") -> Line:
    """`label value unit`; None and n/a are dim, and carry no unit."""
    head = Cell(fit(label, LABEL_WIDTH) + " ", "dim")
    if value is None or value == NOT_MEASURED:
        return head, Cell(NOT_MEASURED, "dim")
    return head, Cell(f"{value} {unit}" if unit else value, style)


def gpu_sections(gpu: Gpu, glyphs: Glyphs) -> list[Section]:
    """All values of a GPU in groups."""
    return [
        _identity(gpu),
        _memory(gpu, glyphs),
        _utilization(gpu, glyphs),
        _power(gpu),
        _temperature(gpu),
        _clocks(gpu),
        _errors(gpu),
        _mig(gpu),
        _processes(gpu),
        _pcie(gpu),
        _links(gpu, glyphs),
        _fabric(gpu),
        _modes(gpu),
        Section("UNREAD", tuple((Cell(fault, "warn"),) for fault in gpu.unread)),
    ]


def events_section(events: Sequence[Event], glyphs: Glyphs) -> Section:
    """The newest events first."""
    lines = []
    for event in list(events)[::-1][:EVENTS_SHOWN]:
        where = "" if event.gpu_index is None else f"GPU {event.gpu_index} "
        code = "" if event.code is None else f"{event.kind} {event.code} "
        style = "" if event.kind == "connected" else "warn"
        lines.append(
            (Cell(f"{units.moment(event.at)} ", "dim"), Cell(f"{glyphs.of(style)} {where}{code}{event.text}", style))
        )
    return Section("EVENTS OF THIS NODE", tuple(lines) or ((Cell("none since the console started", "dim"),),))


def _identity(gpu: Gpu) -> Section:
    head: tuple[Line, ...] = ()
    if gpu.lost:
        reason = gpu.lost_reason or "no reason given"
        head = ((Cell(f"LOST: {reason}. The values below are its last ones.", "bad"),),)
    return Section(
        f"GPU {gpu.index}",
        (
            *head,
            line("model", gpu.name),
            line("UUID", gpu.uuid),
            line("serial", gpu.serial),
            line("board part", gpu.board_part_number),
            line("PCI bus id", gpu.pci_bus_id),
            line("PCI device", gpu.pci_device_id),
            line("minor number", units.number(gpu.minor_number)),
            line("architecture", gpu.architecture),
            line("VBIOS", gpu.vbios),
            line("GSP firmware", gpu.gsp_firmware),
            line("NUMA node", units.number(gpu.numa_node)),
            line("CPU affinity", gpu.cpu_affinity),
        ),
    )


def _memory(gpu: Gpu, glyphs: Glyphs) -> Section:
    memory = gpu.memory
    used = line("used", units.pair(units.gib(memory.used_bytes), units.gib(memory.total_bytes)), unit="GiB")
    percent = memory.used_percent
    return Section(
        "MEMORY",
        (
            (*used, *_bar(percent, glyphs)),
            line("free", units.gib(memory.free_bytes), unit="GiB"),
            line("reserved", units.gib(memory.reserved_bytes), unit="GiB"),
            line(
                "BAR1 used",
                units.pair(units.gib(memory.bar1_used_bytes), units.gib(memory.bar1_total_bytes)),
                unit="GiB",
            ),
        ),
    )


def _bar(percent: float | None, glyphs: Glyphs) -> tuple[Cell, ...]:
    return () if percent is None else (Cell("  "), Cell(meter(percent, METER_WIDTH, glyphs.ascii), "accent"))


def _utilization(gpu: Gpu, glyphs: Glyphs) -> Section:
    busy = gpu.utilization
    values = (
        ("GPU", busy.gpu_percent),
        ("memory", busy.memory_percent),
        ("encoder", busy.encoder_percent),
        ("decoder", busy.decoder_percent),
    )
    lines = []
    for label, percent in values:
        text = units.number(percent)
        lines.append((*line(label, text if percent is None else f"{text:>3}", unit="%"), *_bar(percent, glyphs)))
    return Section("UTILISATION", tuple(lines))


def _power(gpu: Gpu) -> Section:
    power = gpu.power
    energy = None if power.energy_joules is None else power.energy_joules / 3.6e6
    return Section(
        "POWER",
        (
            line("draw", units.number(power.draw_watts, 1), unit="W"),
            line("limit", units.number(power.limit_watts), unit="W"),
            line("default limit", units.number(power.default_limit_watts), unit="W"),
            line(
                "limit range",
                units.pair(units.number(power.min_limit_watts), units.number(power.max_limit_watts)),
                unit="W",
            ),
            line("energy", units.number(energy, 1), unit="kWh since the driver was loaded"),
        ),
    )


def _temperature(gpu: Gpu) -> Section:
    heat = gpu.temperature
    rows = (
        ("GPU", heat.gpu_celsius, "°C"),
        ("memory", heat.memory_celsius, "°C"),
        ("slowdown at", heat.slowdown_celsius, "°C"),
        ("shutdown at", heat.shutdown_celsius, "°C"),
        ("GPU maximum", heat.gpu_max_celsius, "°C"),
        ("memory maximum", heat.memory_max_celsius, "°C"),
        ("headroom", heat.margin_celsius, "°C to T.Limit"),
        ("slowdown T.Lim", heat.slowdown_tlimit_celsius, "°C of headroom"),
        ("shutdown T.Lim", heat.shutdown_tlimit_celsius, "°C of headroom"),
    )
    hot = "warn" if is_hot(gpu) else ""
    return Section(
        "TEMPERATURE",
        tuple(line(label, units.number(value), hot if label == "GPU" else "", unit) for label, value, unit in rows),
    )


def _clocks(gpu: Gpu) -> Section:
    clocks = gpu.clocks
    rows = (
        ("graphics", clocks.graphics_mhz, clocks.max_graphics_mhz),
        ("SM", clocks.sm_mhz, clocks.max_sm_mhz),
        ("memory", clocks.memory_mhz, clocks.max_memory_mhz),
        ("video", clocks.video_mhz, clocks.max_video_mhz),
    )
    lines = [line(label, units.pair(units.number(now), units.number(best)), unit="MHz") for label, now, best in rows]
    reasons = clocks.event_reasons
    if reasons is None:
        lines.append(line("held back by", None))
    elif not reasons:
        lines.append(line("held back by", "nothing", "good"))
    for reason in reasons or ():
        short = REASON_WORDS.get(reason)
        style = "" if short is None or short.style == "dim" else short.style
        lines.append(line("held back by", REASON_TEXTS.get(reason, reason), style))
    return Section("CLOCKS (now/maximum)", tuple(lines))


def _errors(gpu: Gpu) -> Section:
    def counted(label: str, value: int | None, style: str) -> Line:
        return line(label, units.number(value), style if value else "")

    ecc, rows = gpu.ecc, gpu.remapped_rows
    pending = (
        ""
        if ecc.pending is None or ecc.pending == ecc.enabled
        else f", {units.yes_no(ecc.pending, 'on', 'off')} at reset"
    )
    mode = None if ecc.enabled is None else units.yes_no(ecc.enabled, "on", "off") + pending
    return Section(
        "ECC AND ROW REMAPPING",
        (
            line("ECC", mode, "warn" if pending or ecc.enabled is False else ""),
            counted("uncorrected", ecc.volatile.uncorrected, "bad"),
            counted("corrected", ecc.volatile.corrected, "warn"),
            counted("life, uncorr.", ecc.aggregate.uncorrected, "warn"),
            counted("life, corrected", ecc.aggregate.corrected, ""),
            counted("remaps, uncorr.", rows.uncorrected, "warn"),
            counted("remaps, corr.", rows.corrected, ""),
            line("remap pending", units.yes_no(rows.pending, "yes: reset the GPU"), "warn" if rows.pending else ""),
            line("remap failed", units.yes_no(rows.failed, "YES: no spare rows"), "bad" if rows.failed else ""),
            line("driver asks for", gpu.recovery_action, "" if gpu.recovery_action == "none" else "warn"),
        ),
    )


def _mig(gpu: Gpu) -> Section:
    mig = gpu.mig
    mode = units.yes_no(mig.enabled, "on", "off")
    if mig.pending is not None and mig.pending != mig.enabled:
        mode += f", {units.yes_no(mig.pending, 'on', 'off')} after the next reset"
    lines = [line("MIG", mode), line("at most", units.number(mig.max_instances), unit="instances")]
    for each in mig.instances:
        place = "n/a" if each.placement is None else f"{each.placement[0]}+{each.placement[1]}"
        memory = units.pair(units.gib(each.memory.used_bytes), units.gib(each.memory.total_bytes))
        ids = f"gi {units.number(each.gi)} ci {units.number(each.ci)}"
        text = f"{ids}  at {place}  {memory} GiB  {units.number(each.multiprocessors)} SMs"
        lines.append((Cell(fit(each.profile or NOT_MEASURED, LABEL_WIDTH) + " ", "accent"), Cell(text)))
        lines.append((Cell(" " * (LABEL_WIDTH + 1)), Cell(each.uuid or NOT_MEASURED, "dim")))
    return Section("MIG", tuple(lines))


def _processes(gpu: Gpu) -> Section:
    if gpu.processes is None:
        return Section("PROCESSES", (line("processes", None),))
    lines: list[Line] = [(Cell("    PID USER           GiB KIND     MIG   COMMAND", "dim"),)] if gpu.processes else []
    for each in sorted(gpu.processes, key=lambda process: -(process.memory_bytes or 0)):
        instance = "" if each.gi is None else f"{each.gi}/{units.number(each.ci)}"
        head = f"{each.pid:>7} {fit(each.user or NOT_MEASURED, 10)} {units.gib(each.memory_bytes):>7}"
        text = f"{head} {fit(each.kind or NOT_MEASURED, 8)} {fit(instance, 5)} {each.command or NOT_MEASURED}"
        lines.append((Cell(text),))
    if gpu.processes_omitted:
        lines.append((Cell(f"and {gpu.processes_omitted} more, not read", "warn"),))
    return Section("PROCESSES", tuple(lines) or ((Cell("none", "dim"),),))


def _pcie(gpu: Gpu) -> Section:
    pcie = gpu.pcie
    narrow = pcie.width is not None and pcie.max_width is not None and pcie.width < pcie.max_width
    return Section(
        "PCIE (now/maximum)",
        (
            line("generation", units.pair(units.number(pcie.generation), units.number(pcie.max_generation))),
            line("lanes", units.pair(units.number(pcie.width), units.number(pcie.max_width)), "warn" if narrow else ""),
            line("replays", units.number(pcie.replay_count)),
        ),
    )


def _links(gpu: Gpu, glyphs: Glyphs) -> Section:
    if gpu.links is None:
        return Section("NVLINK", (line("links", None),))
    if not gpu.links:
        return Section("NVLINK", ((Cell("none", "dim"),),))
    head = (Cell("LINK STATE   MB/s REMOTE                   CRC DATA REPLAY RECOVERY", "dim"),)
    return Section("NVLINK", (head, *(_link(link, glyphs) for link in gpu.links)))


def _link(link: Link, glyphs: Glyphs) -> Line:
    style = "bad" if link.active is False else ("warn" if link.errors else "")
    state = units.yes_no(link.active, "up", f"{glyphs.bad} down")
    remote = " ".join(part for part in (link.remote_kind, link.remote_pci_bus_id) if part) or NOT_MEASURED
    errors = [
        units.count(count)
        for count in (link.crc_flit_errors, link.crc_data_errors, link.replay_errors, link.recovery_errors)
    ]
    text = f"{link.index:>4} {fit(state, 6)} {units.number(link.speed_mbytes_per_second):>5} {fit(remote, 24)}"
    return (Cell(f"{text} {errors[0]:>4} {errors[1]:>4} {errors[2]:>6} {errors[3]:>8}", style),)


def _fabric(gpu: Gpu) -> Section:
    fabric = gpu.fabric
    return Section(
        "FABRIC",
        (
            line("state", fabric.state),
            line("status", units.number(fabric.status), "bad" if fabric.status else ""),
            line("health", fabric.health, "" if fabric.health in (None, "healthy") else "bad"),
            line("clique", units.number(fabric.clique_id)),
            line("cluster", fabric.cluster_uuid),
        ),
    )


def _modes(gpu: Gpu) -> Section:
    vgpu = gpu.vgpu
    state = None if gpu.performance_state is None else f"P{gpu.performance_state}"
    return Section(
        "MODES",
        (
            line("persistence", units.yes_no(gpu.persistence, "on", "off")),
            line("compute mode", gpu.compute_mode),
            line("performance", state),
            line("virtualisation", vgpu.mode),
            line(
                "vGPU licence",
                units.yes_no(vgpu.licensed, "licensed", "NOT LICENSED"),
                "bad" if vgpu.licensed is False else "",
            ),
            line("product", vgpu.license_product),
            line("expires", vgpu.license_expiry),
        ),
    )
