"""The values of a GPU: tables of a field and its reader, by how often it is read.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

from backends.nodes.probe_links import read_fabric, read_links
from backends.nodes.probe_mig import read_mig
from backends.nodes.probe_nvml import cpu_list, flag, length, milli, pair, text
from backends.nodes.probe_processes import read_processes
from backends.nodes.probe_tree import measured
from backends.nodes.probe_vgpu import read_vgpu

CLOCK_EVENT_REASONS = (
    (0x1, "gpu_idle"),
    (0x2, "applications_clocks_setting"),
    (0x4, "sw_power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
)
ARCHITECTURES = {
    2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere", 8: "Ada Lovelace", 9: "Hopper",
    10: "Blackwell",
}  # fmt: skip
COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
RECOVERY_ACTIONS = {
    0: "none", 1: "gpu_reset", 2: "node_reboot", 3: "drain_p2p", 4: "drain_and_reset", 5: "recover_imex_domain",
    6: "bus_reset", 7: "system_reboot",
}  # fmt: skip
FIELD_SHUTDOWN_TLIMIT = 193
FIELD_SLOWDOWN_TLIMIT = 194
FIELD_MEMORY_TEMPERATURE = 82
FIELD_RECOVERY_ACTION = 230


def read_memory(gpu):
    version = getattr(gpu.nvml, "nvmlMemory_v2", None)
    info = gpu.call("nvmlDeviceGetMemoryInfo", version) if version is not None else None
    if info is None:
        info = gpu.call("nvmlDeviceGetMemoryInfo")
    if info is None:
        return {}
    return measured(
        total_bytes=info.total,
        used_bytes=info.used,
        free_bytes=info.free,
        reserved_bytes=getattr(info, "reserved", None),
    )


def read_bar1(gpu):
    info = gpu.call("nvmlDeviceGetBAR1MemoryInfo")
    return {} if info is None else measured(bar1_total_bytes=info.bar1Total, bar1_used_bytes=info.bar1Used)


def read_utilization(gpu):
    rates = gpu.call("nvmlDeviceGetUtilizationRates")
    return measured(
        gpu_percent=None if rates is None else rates.gpu,
        memory_percent=None if rates is None else rates.memory,
        encoder_percent=pair(gpu.call("nvmlDeviceGetEncoderUtilization"), 0),
        decoder_percent=pair(gpu.call("nvmlDeviceGetDecoderUtilization"), 0),
    )


def read_power(gpu):
    return measured(draw_watts=milli(gpu.call("nvmlDeviceGetPowerUsage")))


def read_power_limits(gpu):
    constraints = gpu.call("nvmlDeviceGetPowerManagementLimitConstraints")
    return measured(
        limit_watts=milli(gpu.call("nvmlDeviceGetEnforcedPowerLimit")),
        default_limit_watts=milli(gpu.call("nvmlDeviceGetPowerManagementDefaultLimit")),
        min_limit_watts=milli(pair(constraints, 0)),
        max_limit_watts=milli(pair(constraints, 1)),
        energy_joules=milli(gpu.call("nvmlDeviceGetTotalEnergyConsumption")),
    )


def read_temperature(gpu):
    celsius = gpu.call("nvmlDeviceGetTemperatureV", 0)
    if celsius is None:
        celsius = gpu.call("nvmlDeviceGetTemperature", 0)
    memory = gpu.field(FIELD_MEMORY_TEMPERATURE)
    return measured(
        gpu_celsius=celsius,
        # Boards without the sensor answer 0.
        memory_celsius=memory or None,
        margin_celsius=gpu.call("nvmlDeviceGetMarginTemperature"),
    )


def read_thresholds(gpu):
    return measured(
        shutdown_celsius=gpu.call("nvmlDeviceGetTemperatureThreshold", 0),
        slowdown_celsius=gpu.call("nvmlDeviceGetTemperatureThreshold", 1),
        memory_max_celsius=gpu.call("nvmlDeviceGetTemperatureThreshold", 2),
        gpu_max_celsius=gpu.call("nvmlDeviceGetTemperatureThreshold", 3),
        shutdown_tlimit_celsius=gpu.field(FIELD_SHUTDOWN_TLIMIT),
        slowdown_tlimit_celsius=gpu.field(FIELD_SLOWDOWN_TLIMIT),
    )


def read_clocks(gpu):
    bits = gpu.call("nvmlDeviceGetCurrentClocksEventReasons")
    if bits is None:
        bits = gpu.call("nvmlDeviceGetCurrentClocksThrottleReasons")
    return measured(
        graphics_mhz=gpu.call("nvmlDeviceGetClockInfo", 0),
        sm_mhz=gpu.call("nvmlDeviceGetClockInfo", 1),
        memory_mhz=gpu.call("nvmlDeviceGetClockInfo", 2),
        video_mhz=gpu.call("nvmlDeviceGetClockInfo", 3),
        event_reasons=None if bits is None else [name for bit, name in CLOCK_EVENT_REASONS if bits & bit],
    )


def read_max_clocks(gpu):
    return measured(
        max_graphics_mhz=gpu.call("nvmlDeviceGetMaxClockInfo", 0),
        max_sm_mhz=gpu.call("nvmlDeviceGetMaxClockInfo", 1),
        max_memory_mhz=gpu.call("nvmlDeviceGetMaxClockInfo", 2),
        max_video_mhz=gpu.call("nvmlDeviceGetMaxClockInfo", 3),
    )


def read_performance_state(gpu):
    state = gpu.call("nvmlDeviceGetPerformanceState")
    return None if state is None or not 0 <= state <= 15 else state


def read_ecc(gpu):
    mode = gpu.call("nvmlDeviceGetEccMode")
    counts = [[gpu.call("nvmlDeviceGetTotalEccErrors", kind, span) for kind in (0, 1)] for span in (0, 1)]
    return measured(
        enabled=flag(pair(mode, 0)),
        pending=flag(pair(mode, 1)),
        volatile=measured(corrected=counts[0][0], uncorrected=counts[0][1]),
        aggregate=measured(corrected=counts[1][0], uncorrected=counts[1][1]),
    )


def read_remapped_rows(gpu):
    rows = gpu.call("nvmlDeviceGetRemappedRows")
    if rows is None:
        return {}
    return {"corrected": rows[0], "uncorrected": rows[1], "pending": bool(rows[2]), "failed": bool(rows[3])}


def read_retired_pages(gpu):
    """Boards before Ampere; those since answer that they know no such thing."""
    return measured(
        single_bit=length(gpu.call("nvmlDeviceGetRetiredPages", 0)),
        double_bit=length(gpu.call("nvmlDeviceGetRetiredPages", 1)),
        pending=flag(gpu.call("nvmlDeviceGetRetiredPagesPendingStatus")),
    )


def read_pcie(gpu):
    return measured(
        generation=gpu.call("nvmlDeviceGetCurrPcieLinkGeneration"),
        width=gpu.call("nvmlDeviceGetCurrPcieLinkWidth"),
        max_generation=gpu.call("nvmlDeviceGetMaxPcieLinkGeneration"),
        max_width=gpu.call("nvmlDeviceGetMaxPcieLinkWidth"),
        replay_count=gpu.call("nvmlDeviceGetPcieReplayCounter"),
    )


def read_affinity(gpu):
    words = gpu.call("nvmlDeviceGetCpuAffinity", ((gpu.host.identity().get("cpu_count") or 64) + 63) // 64)
    return None if words is None else cpu_list(words)


def read_numa(gpu):
    """The NUMA node next to the GPU, by /sys, else by NVML where it names a single one."""
    node = gpu.host.place(gpu.value.get("pci_bus_id"))[1]
    if node is not None:
        return node
    words = gpu.call("nvmlDeviceGetMemoryAffinity", 1, 0)
    nodes = cpu_list(words) if words is not None else None
    return int(nodes) if nodes is not None and nodes.isdigit() else None


def read_recovery(gpu):
    return RECOVERY_ACTIONS.get(gpu.field(FIELD_RECOVERY_ACTION))


def pci(gpu):
    return gpu.call("nvmlDeviceGetPciInfo")


STATIC = (
    ("name", lambda gpu: text(gpu.call("nvmlDeviceGetName"))),
    ("uuid", lambda gpu: text(gpu.call("nvmlDeviceGetUUID"))),
    ("serial", lambda gpu: text(gpu.call("nvmlDeviceGetSerial"))),
    ("board_part_number", lambda gpu: text(gpu.call("nvmlDeviceGetBoardPartNumber"))),
    ("pci_bus_id", lambda gpu: text(getattr(pci(gpu), "busId", None))),
    ("pci_device_id", lambda gpu: "0x%08X" % pci(gpu).pciDeviceId if pci(gpu) is not None else None),
    ("minor_number", lambda gpu: gpu.call("nvmlDeviceGetMinorNumber")),
    ("architecture", lambda gpu: ARCHITECTURES.get(gpu.call("nvmlDeviceGetArchitecture"))),
    ("vbios", lambda gpu: text(gpu.call("nvmlDeviceGetVbiosVersion"))),
    ("gsp_firmware", lambda gpu: text(gpu.call("nvmlDeviceGetGspFirmwareVersion"))),
    ("numa_node", read_numa),
    ("cpu_affinity", read_affinity),
)
SLOW = (
    ("persistence", lambda gpu: flag(gpu.call("nvmlDeviceGetPersistenceMode"))),
    ("compute_mode", lambda gpu: COMPUTE_MODES.get(gpu.call("nvmlDeviceGetComputeMode"))),
    ("recovery_action", read_recovery),
    ("memory", read_bar1),
    ("power", read_power_limits),
    ("temperature", read_thresholds),
    ("clocks", read_max_clocks),
    ("ecc", read_ecc),
    ("remapped_rows", read_remapped_rows),
    ("retired_pages", read_retired_pages),
    ("pcie", read_pcie),
    ("links", read_links),
    ("fabric", read_fabric),
    ("mig", read_mig),
    ("vgpu", read_vgpu),
)
FAST = (
    ("memory", read_memory),
    ("utilization", read_utilization),
    ("power", read_power),
    ("temperature", read_temperature),
    ("clocks", read_clocks),
    ("performance_state", read_performance_state),
    ("processes", read_processes),
)
