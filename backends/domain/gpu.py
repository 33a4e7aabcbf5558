"""One GPU and everything NVML says about it.

Every value is frozen. `None` means *not measured*: the board has no such sensor, the driver is too old, the caller has
no permission, or the GPU is lost. It never means zero. Units are in the names. The field names are also the names on
the wire between the probe and the console (see `backends.nodes.wire`) and in `gpudeck snapshot --json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Memory:
    """Frame buffer of a GPU or of a MIG instance (nvmlDeviceGetMemoryInfo v2: `used` excludes `reserved`)."""

    total_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    reserved_bytes: int | None = None
    bar1_total_bytes: int | None = None
    bar1_used_bytes: int | None = None

    @property
    def used_percent(self) -> float | None:
        if self.used_bytes is None or not self.total_bytes:
            return None
        return 100.0 * self.used_bytes / self.total_bytes


@dataclass(frozen=True, slots=True)
class Utilization:
    """Share of the last sample period in which an engine was busy (nvmlDeviceGetUtilizationRates); n/a under MIG."""

    gpu_percent: int | None = None
    memory_percent: int | None = None
    encoder_percent: int | None = None
    decoder_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """Board power. `limit_watts` is the enforced limit (nvmlDeviceGetEnforcedPowerLimit)."""

    draw_watts: float | None = None
    limit_watts: float | None = None
    default_limit_watts: float | None = None
    min_limit_watts: float | None = None
    max_limit_watts: float | None = None
    energy_joules: float | None = None
    """Since the driver was loaded (nvmlDeviceGetTotalEnergyConsumption); read on the slow beat."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """Temperatures and thresholds.

    `margin_celsius` and the `*_tlimit_celsius` fields are *relative* (T.Limit: degrees of headroom below the limit);
    the newest boards report only those. Never compare them with the absolute fields.
    """

    gpu_celsius: int | None = None
    memory_celsius: int | None = None
    slowdown_celsius: int | None = None
    shutdown_celsius: int | None = None
    gpu_max_celsius: int | None = None
    memory_max_celsius: int | None = None
    margin_celsius: int | None = None
    slowdown_tlimit_celsius: int | None = None
    shutdown_tlimit_celsius: int | None = None


@dataclass(frozen=True, slots=True)
class Clocks:
    """Clocks in MHz with their maxima, and why they are not higher."""

    graphics_mhz: int | None = None
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    video_mhz: int | None = None
    max_graphics_mhz: int | None = None
    max_sm_mhz: int | None = None
    max_memory_mhz: int | None = None
    max_video_mhz: int | None = None
    event_reasons: tuple[str, ...] | None = None
    """Names of the set bits of nvmlDeviceGetCurrentClocksEventReasons; see `CLOCK_EVENT_REASONS`."""


CLOCK_EVENT_REASONS: dict[int, str] = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bit of nvmlDeviceGetCurrentClocksEventReasons -> name (nvml.h, NVML_CLOCKS_EVENT_REASON_*)."""


@dataclass(frozen=True, slots=True)
class EccCounts:
    corrected: int | None = None
    uncorrected: int | None = None


@dataclass(frozen=True, slots=True)
class Ecc:
    """ECC mode and error totals: `volatile` since the driver was loaded, `aggregate` over the board's life."""

    enabled: bool | None = None
    pending: bool | None = None
    volatile: EccCounts = EccCounts()
    aggregate: EccCounts = EccCounts()


@dataclass(frozen=True, slots=True)
class RemappedRows:
    """Row remapping of Ampere and later (nvmlDeviceGetRemappedRows). `pending` wants a reset, `failed` an RMA check."""

    corrected: int | None = None
    uncorrected: int | None = None
    pending: bool | None = None
    failed: bool | None = None


@dataclass(frozen=True, slots=True)
class RetiredPages:
    """Pages of memory that are no longer used, before Ampere (nvmlDeviceGetRetiredPages): what row remapping is since.

    `pending` wants a reset.
    """

    single_bit: int | None = None
    """Retired after several corrected errors in one place."""
    double_bit: int | None = None
    """Retired after an uncorrectable error."""
    pending: bool | None = None


@dataclass(frozen=True, slots=True)
class Pcie:
    """The PCIe link as it runs now and at best. An idle GPU may lower `generation`; `width` should not shrink."""

    generation: int | None = None
    width: int | None = None
    max_generation: int | None = None
    max_width: int | None = None
    replay_count: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One NVLink of a GPU. Error fields are counters since the link came up."""

    index: int = 0
    active: bool | None = None
    version: int | None = None
    speed_mbytes_per_second: int | None = None
    remote_kind: str | None = None
    """gpu, switch, ibmnpu or unknown (nvmlDeviceGetNvLinkRemoteDeviceType)."""
    remote_pci_bus_id: str | None = None
    crc_flit_errors: int | None = None
    crc_data_errors: int | None = None
    replay_errors: int | None = None
    recovery_errors: int | None = None

    @property
    def errors(self) -> int | None:
        counted = [
            count
            for count in (
                self.crc_flit_errors,
                self.crc_data_errors,
                self.replay_errors,
                self.recovery_errors,
            )
            if count is not None
        ]
        return sum(counted) if counted else None


@dataclass(frozen=True, slots=True)
class Fabric:
    """NVSwitch fabric registration (nvmlDeviceGetGpuFabricInfoV; Hopper and later)."""

    state: str | None = None
    """not_supported, not_started, in_progress or completed."""
    status: int | None = None
    """NVML return code of the registration; 0 is success."""
    health: str | None = None
    """healthy, unhealthy, limited_capacity; None where the driver gives no summary."""
    clique_id: int | None = None
    cluster_uuid: str | None = None


@dataclass(frozen=True, slots=True)
class GpuLayout:
    """How one GPU of a node is to be divided."""

    index: int
    enabled: bool
    """MIG mode."""
    instances: tuple[tuple[str, int], ...] = ()
    """Profile and count, sorted."""
    pci_device_id: str | None = None
    """As `Gpu.pci_device_id`: layouts may be for some boards only."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One MIG device: a compute instance inside a GPU instance."""

    gi: int | None = None
    ci: int | None = None
    uuid: str | None = None
    profile: str | None = None
    """As nvidia-smi names it: 3g.40gb, or 1c.3g.40gb for a part of a GPU instance."""
    placement: tuple[int, int] | None = None
    """(start, size) of the GPU instance in placement units; readable by root only."""
    memory: Memory = Memory()
    """Of the GPU instance: compute instances of one GPU instance share it, so never add it up over them."""
    multiprocessors: int | None = None


@dataclass(frozen=True, slots=True)
class Mig:
    enabled: bool | None = None
    """None where the board has no MIG."""
    pending: bool | None = None
    """The mode after the next reset."""
    max_instances: int | None = None
    instances: tuple[MigInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuProcess:
    pid: int = 0
    kind: str | None = None
    """compute, graphics or mps."""
    user: str | None = None
    command: str | None = None
    memory_bytes: int | None = None
    gi: int | None = None
    ci: int | None = None
    started_at: float | None = None
    """Seconds since the epoch, by the node's clock."""
    container_id: str | None = None
    """The 64 hex digits of the container in the process's cgroup; None outside a container."""


@dataclass(frozen=True, slots=True)
class Vgpu:
    mode: str | None = None
    """none, passthrough, vgpu, host_vgpu or host_vsga (nvmlDeviceGetVirtualizationMode)."""
    licensed: bool | None = None
    """None where no licence is needed or none could be read."""
    license_product: str | None = None
    license_expiry: str | None = None

    @property
    def is_guest(self) -> bool:
        """We are inside of a virtual machine: what it sees of PCIe and the fabric is the hypervisor's making."""
        return self.mode in ("vgpu", "passthrough")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU, or one vGPU as its guest sees it."""

    index: int = 0
    """NVML index on its node: PCI bus order. Identity is `uuid`, never this."""
    lost: bool = False
    """The GPU fell off the bus or wants a reset before it answers; the other values are its last ones."""
    lost_reason: str | None = None
    name: str | None = None
    uuid: str | None = None
    serial: str | None = None
    board_part_number: str | None = None
    pci_bus_id: str | None = None
    pci_device_id: str | None = None
    """Device and vendor id as NVML packs them, 0x233010DE for an H100 SXM."""
    minor_number: int | None = None
    architecture: str | None = None
    vbios: str | None = None
    gsp_firmware: str | None = None
    performance_state: int | None = None
    persistence: bool | None = None
    compute_mode: str | None = None
    """default, exclusive_thread, prohibited or exclusive_process."""
    recovery_action: str | None = None
    """What the driver asks for (field 230): none, gpu_reset, node_reboot, drain_p2p, drain_and_reset, ..."""
    numa_node: int | None = None
    """Of the CPUs and the memory next to the GPU (/sys, else nvmlDeviceGetMemoryAffinity)."""
    cpu_affinity: str | None = None
    """CPU list, 0-31,64-95."""
    memory: Memory = Memory()
    utilization: Utilization = Utilization()
    power: Power = Power()
    temperature: Temperature = Temperature()
    clocks: Clocks = Clocks()
    ecc: Ecc = Ecc()
    remapped_rows: RemappedRows = RemappedRows()
    retired_pages: RetiredPages = RetiredPages()
    pcie: Pcie = Pcie()
    links: tuple[Link, ...] | None = None
    """None where the board has no NVLink or it cannot be asked (MIG on)."""
    fabric: Fabric = Fabric()
    mig: Mig = Mig()
    vgpu: Vgpu = Vgpu()
    processes: tuple[GpuProcess, ...] | None = None
    processes_omitted: int = 0
    """Processes beyond the probe's bound."""
    unread: tuple[str, ...] = field(default=())
    """Fields that failed for a reason worth knowing, as "field: NVML error"; NotSupported is not listed."""

    @property
    def key(self) -> str:
        """Identity that survives a move in the list: the UUID, or the bus id of a GPU that never told its own."""
        return self.uuid or self.pci_bus_id or f"gpu{self.index}"
