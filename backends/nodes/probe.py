"""The on-node probe: reads NVML and the machine around it, speaks newline-delimited JSON on stdout.

This file is sent to the node as text and runs there under Python 3.6 or later with nothing but the standard library;
nothing is installed. `backends.nodes.bootstrap` starts it, `backends.nodes.wire` reads what it says. The field names
are those of `backends.domain`. It ends when its stdin ends: OpenSSH delivers no signals to root's processes. What it
reads besides NVML is in the modules that are sent behind it, `probe_host` and those that it imports.

One failing NVML call costs one field. A GPU that fell off the bus is reported as lost, with its last values.
"""

import json
import os
import platform
import sys
import threading
import time
import types
import zlib

PROTOCOL = 1
PROCESSES_PER_GPU = 64
TEXT_LIMIT = 400

NOT_THERE = (2, 3, 6, 13, 25, 26)
"""NVML codes for "this board, driver or mode has no such value": invalid argument, not supported, not found, function
not found, argument version mismatch, deprecated."""
UNLISTED = "listed by the driver, not by NVML"
COMMON_ANCESTORS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""nvmlGpuTopologyLevel_t in the words of `nvidia-smi topo -m`. 0 are two GPUs of one board, behind its one switch."""
FIRST_FACTS_SECONDS = 2.0
FIRST_LOG_SECONDS = 3.0
BOOKED_SECONDS = 5.0
"""So long after an error its traces are in the slow values: the driver may tell of it first and book it then."""
ERROR_SPACING_SECONDS = 5.0
"""Between two slow readings for the sake of errors; twice as long each time, until there was none for a slow beat."""
TIMEOUT = 10
NO_EVENTS = (1, 2, 3, 13)  # uninitialized, invalid argument, not supported, function not found
LOST = {15: "NVML: GPU is lost", 16: "NVML: GPU requires reset"}

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
VIRTUALIZATION_MODES = {0: "none", 1: "passthrough", 2: "vgpu", 3: "host_vgpu", 4: "host_vsga"}
FABRIC_STATES = {0: "not_supported", 1: "not_started", 2: "in_progress", 3: "completed"}
FABRIC_HEALTH = {1: "healthy", 2: "unhealthy", 3: "limited_capacity"}
REMOTE_KINDS = {0: "gpu", 1: "ibmnpu", 2: "switch", 255: "unknown"}
RECOVERY_ACTIONS = {
    0: "none", 1: "gpu_reset", 2: "node_reboot", 3: "drain_p2p", 4: "drain_and_reset", 5: "recover_imex_domain",
    6: "bus_reset", 7: "system_reboot",
}  # fmt: skip
FIELD_LINK_SPEED = 90
FIELD_SHUTDOWN_TLIMIT = 193
FIELD_SLOWDOWN_TLIMIT = 194
FIELD_MEMORY_TEMPERATURE = 82
FIELD_RECOVERY_ACTION = 230
LINK_ERRORS = (("replay_errors", 0), ("recovery_errors", 1), ("crc_flit_errors", 2), ("crc_data_errors", 3))
PROCESS_LISTS = (
    ("compute", "nvmlDeviceGetComputeRunningProcesses"),
    ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"),
    ("mps", "nvmlDeviceGetMPSComputeRunningProcesses"),
)
NO_INSTANCE = 0xFFFFFFFF
HOST_FILES = "a file of /proc or /sys"
"""What the probe waits for when it waits and NVML holds no call."""
EVENT_XID = 0x8
EVENT_DOUBLE_BIT = 0x2


class GpuLost(Exception):
    pass


def instance(value, name):
    """An id of a MIG instance; None outside MIG, and from bindings that have no such field."""
    number = getattr(value, name, NO_INSTANCE)
    return None if number == NO_INSTANCE else number


def text(value):
    """Old bindings give bytes, new ones str."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value[:TEXT_LIMIT] if value else None


def cpu_list(words):
    """[0b1011] -> "0-1,3": the CPUs of an affinity mask of 64-bit words."""
    cpus = [i * 64 + bit for i, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    ranges = []
    for cpu in cpus:
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in ranges) or None


def short_bus(bus_id):
    """00000000:9B:00.0 and 0000:9b:00 -> 0000:9b:00"""
    domain, _, rest = bus_id.lower().partition(":")
    return domain[-4:] + ":" + rest.partition(".")[0]


def diff(old, new):
    """What must be merged into `old` to get `new`: nested dicts by key, the rest whole; None for what is gone."""
    changed = {}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = diff(before, value)
            if inner:
                changed[key] = inner
        elif value != before or type(value) is not type(before):
            changed[key] = value
    for key, before in old.items():
        if key not in new and before is not None:
            changed[key] = None
    return changed


class GpuReader(object):
    """One GPU: its handle, its last values, and the calls that are known to lead nowhere."""

    def __init__(self, nvml, host, index, handle, uid):
        self.nvml = nvml
        self.host = host
        self.index = index
        self.handle = handle
        self.privileged = uid == 0
        self.value = {"index": index, "lost": False}
        self.slow = {}
        self.dead = set()
        self.unread = {}
        self.current_call = None

    def call(self, name, *args, **keywords):
        """One NVML call on this GPU (or on `device=`); None when it has no value. Raises GpuLost."""
        device = keywords.get("device", self.handle)
        key = (name,) + tuple(arg if isinstance(arg, (int, tuple)) else None for arg in args)
        if device is not self.handle:
            key = None
        if key in self.dead:
            return None
        function = getattr(self.nvml, name, None)
        if function is None:
            return None
        self.current_call = name
        try:
            value = function(device, *args)
        except self.nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in LOST:
                raise GpuLost(LOST[code]) from None
            if code in NOT_THERE:
                if key is not None:
                    self.dead.add(key)
            else:
                self.unread[name] = str(error)[:100]
            return None
        except Exception as error:
            # The bindings raise an error of their own where the driver lacks the version they want.
            if key is not None and type(error).__name__ == "NVMLLibraryMismatchError":
                self.dead.add(key)
            else:
                self.unread[name] = ("%s: %s" % (type(error).__name__, error))[:100]
            return None
        finally:
            self.current_call = None
        self.unread.pop(name, None)
        return value

    def field(self, field_id, scope=0):
        """nvmlDeviceGetFieldValues of one field; None unless the driver filled it."""
        values = self.call("nvmlDeviceGetFieldValues", ((field_id, scope),))
        if not values or values[0].nvmlReturn != 0:
            return None
        value, kind = values[0].value, values[0].valueType
        return {0: value.dVal, 1: value.uiVal, 2: value.ulVal, 3: value.ullVal, 4: value.sllVal, 5: value.siVal}.get(
            kind
        )

    def read(self, fields, into):
        """Each field on its own: an answer of an unexpected shape costs that field and no other."""
        for name, reader in fields:
            try:
                into[name] = reader(self)
            except GpuLost:
                raise
            except Exception as error:
                into[name] = None
                self.unread[name] = ("%s: %s" % (type(error).__name__, error))[:100]
            else:
                self.unread.pop(name, None)

    def note(self, name, trouble):
        """What could not be read besides NVML's own values; None when there is no trouble with it."""
        self.unread.pop(name, None)
        if trouble is not None:
            self.unread[name] = trouble[:100]

    def read_fast(self):
        self.read(FAST, self.value)

    def read_slow(self):
        self.dead.clear()
        self.read(SLOW, self.slow)

    def read_static(self):
        self.read(STATIC, self.value)

    def sample(self, slow):
        """The GPU's values now; a lost GPU keeps the last ones."""
        if self.handle is None:
            return self.merged()
        try:
            if slow or not self.slow or self.value["lost"]:
                if "uuid" not in self.value or self.value["uuid"] is None:
                    self.read_static()
                self.read_slow()
            self.read_fast()
        except GpuLost as loss:
            self.lose(str(loss))
            return self.merged()
        self.value["lost"] = False
        self.value["lost_reason"] = None
        self.value["unread"] = sorted("%s: %s" % item for item in self.unread.items())[:20]
        return self.merged()

    def lose(self, reason):
        """Marks the GPU lost; its last values stay."""
        self.value["lost"] = True
        self.value["lost_reason"] = reason

    def merged(self):
        """Fast and slow halves of a group in one dict."""
        merged = dict(self.value)
        for name, value in self.slow.items():
            fast = merged.get(name)
            if isinstance(fast, dict) and isinstance(value, dict):
                value = dict(value, **fast)
            merged[name] = value
        return merged


def measured(**fields):
    return {name: value for name, value in fields.items() if value is not None}


def milli(value):
    return None if value is None else value / 1000.0


def flag(value):
    return None if value is None else bool(value)


def length(value):
    return None if value is None else len(value)


def pair(value, position):
    return None if value is None else value[position]


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


def read_processes(gpu):
    found = {}
    readable = False
    for kind, function in PROCESS_LISTS:
        processes = gpu.call(function)
        if processes is None:
            # Drivers before R510 have the second version only.
            processes = gpu.call(function + "_v2")
        readable = readable or processes is not None
        for process in processes or ():
            found.setdefault((process.pid, getattr(process, "gpuInstanceId", None)), (kind, process))
    if not readable:
        return None
    listed, held = [], []
    for _, (kind, process) in sorted(found.items(), key=lambda item: item[0][0])[:PROCESSES_PER_GPU]:
        entry = measured(
            pid=process.pid,
            kind=kind,
            memory_bytes=process.usedGpuMemory,
            gi=instance(process, "gpuInstanceId"),
            ci=instance(process, "computeInstanceId"),
        )
        entry.update(gpu.host.process(process.pid) or {})
        if entry.pop("held", False):
            held.append(process.pid)
        listed.append(entry)
    gpu.note("command lines", "not readable of processes %s" % ", ".join(map(str, held)) if held else None)
    gpu.value["processes_omitted"] = max(0, len(found) - PROCESSES_PER_GPU)
    return listed


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


def read_links(gpu):
    links = []
    for index in range(getattr(gpu.nvml, "NVML_NVLINK_MAX_LINKS", 18)):
        state = gpu.call("nvmlDeviceGetNvLinkState", index)
        if state is None:
            if ("nvmlDeviceGetNvLinkState", index) in gpu.dead or "nvmlDeviceGetNvLinkState" not in gpu.unread:
                break  # the board has no more links
            links.append({"index": index})  # it has this one, and could not be asked this time
            continue
        remote = gpu.call("nvmlDeviceGetNvLinkRemotePciInfo", index) if state else None
        link = measured(
            index=index,
            active=bool(state),
            version=gpu.call("nvmlDeviceGetNvLinkVersion", index),
            speed_mbytes_per_second=gpu.field(FIELD_LINK_SPEED, index) or None,
            remote_kind=REMOTE_KINDS.get(gpu.call("nvmlDeviceGetNvLinkRemoteDeviceType", index)),
            remote_pci_bus_id=None if remote is None else text(remote.busId),
        )
        for name, counter in LINK_ERRORS:
            link.update(measured(**{name: gpu.call("nvmlDeviceGetNvLinkErrorCounter", index, counter)}))
        links.append(link)
    return links or None


def read_fabric(gpu):
    maker = getattr(gpu.nvml, "c_nvmlGpuFabricInfo_v2_t", None)
    if maker is None:
        return {}
    import ctypes

    info = maker()
    if gpu.call("nvmlDeviceGetGpuFabricInfoV", ctypes.byref(info)) is None:
        return {}
    uuid = bytes(bytearray(int(byte) & 0xFF for byte in info.clusterUuid))
    return measured(
        state=FABRIC_STATES.get(info.state),
        status=info.status,
        health=FABRIC_HEALTH.get(getattr(info, "healthSummary", 0)),
        clique_id=info.cliqueId,
        cluster_uuid=uuid.hex() if any(bytearray(uuid)) else None,
    )


def read_mig(gpu):
    mode = gpu.call("nvmlDeviceGetMigMode")
    if mode is None:
        return {}
    mig = {"enabled": bool(mode[0]), "pending": bool(mode[1]), "instances": []}
    mig.update(measured(max_instances=gpu.call("nvmlDeviceGetMaxMigDeviceCount")))
    if not mode[0]:
        return mig
    board = gpu.call("nvmlDeviceGetMemoryInfo")
    for index in range(mig.get("max_instances") or 0):
        device = gpu.call("nvmlDeviceGetMigDeviceHandleByIndex", index)
        if device is None:
            continue  # a hole in the list, not its end
        mig["instances"].append(read_mig_device(gpu, device, None if board is None else board.total))
    return mig


def read_mig_device(gpu, device, board_bytes):
    gi = gpu.call("nvmlDeviceGetGpuInstanceId", device=device)
    attributes = gpu.call("nvmlDeviceGetAttributes_v2", device=device)
    memory = gpu.call("nvmlDeviceGetMemoryInfo", device=device)
    return measured(
        gi=gi,
        ci=gpu.call("nvmlDeviceGetComputeInstanceId", device=device),
        uuid=text(gpu.call("nvmlDeviceGetUUID", device=device)),
        profile=mig_profile(text(gpu.call("nvmlDeviceGetName", device=device)), attributes, board_bytes),
        placement=mig_placement(gpu, gi),
        memory={}
        if memory is None
        else {"total_bytes": memory.total, "used_bytes": memory.used, "free_bytes": memory.free},
        multiprocessors=None if attributes is None else attributes.multiprocessorCount,
    )


def mig_profile(name, attributes, board_bytes):
    """3g.40gb from the device's name; older drivers name only the board: then from its slices and its share of it.

    The figure is the share in whole eighths of the board's memory in whole GiB (NVIDIA go-nvlib, mig_profile.go), not
    the instance's memory, which is less. None where the board's memory is not told, as MIG mode keeps it from others
    than root (nvml.h).
    """
    if name and " MIG " in name:
        return name.rpartition(" MIG ")[2]
    if attributes is None or not board_bytes:
        return None
    gi, ci = attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount
    eighths = -(-attributes.memorySizeMB * 8 * 1024**2 // board_bytes)
    profile = "%dg.%dgb" % (gi, int(eighths * -(-board_bytes // 1024**3) / 8.0 + 0.5))
    return profile if ci == gi else "%dc.%s" % (ci, profile)


def mig_placement(gpu, gi):
    """Root only (nvml.h); so no other user even asks."""
    if gi is None or not gpu.privileged:
        return None
    instance = gpu.call("nvmlDeviceGetGpuInstanceById", gi)
    info = None if instance is None else gpu.call("nvmlGpuInstanceGetInfo", device=instance)
    return None if info is None else [info.placement.start, info.placement.size]


def read_vgpu(gpu):
    mode = VIRTUALIZATION_MODES.get(gpu.call("nvmlDeviceGetVirtualizationMode"))
    vgpu = measured(mode=mode)
    features = gpu.call("nvmlDeviceGetGridLicensableFeatures") if mode == "vgpu" else None
    if features is None or not features.isGridLicenseSupported:
        return vgpu
    listed = [features.gridLicensableFeatures[i] for i in range(features.licensableFeaturesCount)]
    licensed = [feature for feature in listed if feature.featureState]
    vgpu["licensed"] = bool(licensed)
    if licensed:
        vgpu.update(measured(license_product=text(licensed[0].productName), license_expiry=expiry(licensed[0])))
    return vgpu


def expiry(feature):
    end = getattr(feature, "licenseExpiry", None)
    if end is None or not end.year:
        return None
    return "%04d-%02d-%02d %02d:%02d" % (end.year, end.month, end.day, end.hour, end.min)


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


def pci_level(first, second, nodes):
    """How near two PCI devices are, by their places (`Host.place`) on a machine of so many NUMA nodes.

    The words are those of `nvidia-smi topo -m`, and so is their meaning in nvml.h: PIX a single PCIe switch between the
    two, PXB more than one and no host bridge, PHB the same host bridge, NODE other host bridges of one NUMA node, SYS
    another NUMA node. A switch is its upstream bridge and one downstream bridge per device: two devices are on one
    switch when at most a bridge of their own lies between each of them and the last bridge they share. None where /sys
    does not tell.
    """
    (path, node), (other_path, other_node) = first, second
    if not path or not other_path:
        return None
    shared = 0
    for mine, other in zip(path, other_path):
        if mine != other:
            break
        shared += 1
    if shared > 1:
        return "PIX" if max(len(path), len(other_path)) - shared <= 2 else "PXB"
    if shared == 1:
        return "PHB"
    if nodes == 1 or (node is not None and node == other_node):
        return "NODE"
    return None if node is None or other_node is None else "SYS"


class Probe(object):
    """Samples every GPU and emits messages; one thread calls `start` and `beat`, another may call `poll_events`."""

    def __init__(self, nvml, host, emit, options):
        self.nvml = nvml
        self.host = host
        self.emit = emit
        self.fast_seconds = float(options.get("fast_seconds", 1.0))
        self.slow_seconds = float(options.get("slow_seconds", 10.0))
        self.protocol = options.get("protocol")
        self.gpus = []
        self.node = {}
        self.sent_gpus = []
        self.sent_node = {}
        self.wired = None
        self.lost_told = set()
        self.events = None
        self.listen_again = False
        self.slow_due = 0.0
        self.slow_at = 0.0
        self.error_at = 0.0
        self.error_spacing = ERROR_SPACING_SECONDS
        self.started_at = host.now()
        self.beat_began = None
        self.node_call = None
        self.kernel_after = options.get("kernel_after")

    def start(self):
        """Hello, the kernel log's XIDs whatever NVML does, NVML up, the full state. False after a fatal message."""
        if self.protocol != PROTOCOL:
            said = "the console speaks protocol %s, the probe %d" % (self.protocol, PROTOCOL)
            return self.give_up("version-mismatch", said, "")
        self.emit({"t": "hello", "protocol": PROTOCOL, "python": platform.python_version(), "pid": os.getpid(),
                   "uid": self.uid()})  # fmt: skip
        self.host.kernel.start(self.tell_kernel, self.kernel_after)
        self.beat_began, self.node_call = time.time(), "nvmlInit"
        try:
            self.nvml.nvmlInit()
        except self.nvml.NVMLError as error:
            code, hint = INIT_FAILURES.get(getattr(error, "value", None), INIT_FAILURES[None])
            self.beat_began = None
            self.host.kernel.ready(FIRST_LOG_SECONDS)  # an XID may be why
            return self.give_up(code, "NVML does not start: %s" % error, hint)
        self.node = dict(self.host.identity())
        self.node.update(
            measured(
                driver=self.system("nvmlSystemGetDriverVersion"),
                nvml=self.system("nvmlSystemGetNVMLVersion"),
                cuda=self.cuda(),
            )
        )
        self.open_gpus()
        self.listen()
        self.beat_began = None
        self.host.kernel.ready(FIRST_LOG_SECONDS)  # what happened before is told before the state
        self.slow_due = 0.0
        self.beat()
        return True

    def uid(self):
        return 0 if self.host.identity().get("privileged") else os.getuid() or 1

    def give_up(self, code, said, hint):
        self.emit({"t": "fatal", "code": code, "text": said[:TEXT_LIMIT], "hint": hint})
        return False

    def system(self, name):
        try:
            return text(getattr(self.nvml, name)())
        except (self.nvml.NVMLError, AttributeError):
            return None

    def cuda(self):
        try:
            version = self.nvml.nvmlSystemGetCudaDriverVersion_v2()
        except (self.nvml.NVMLError, AttributeError):
            return None
        return "%d.%d" % (version // 1000, version % 1000 // 10)

    def open_gpus(self):
        """A reader per GPU NVML lists; a GPU whose handle fails, or that only the driver still lists, is lost."""
        self.node_call = "nvmlDeviceGetCount"
        try:
            count = self.nvml.nvmlDeviceGetCount()
        except self.nvml.NVMLError:
            count = 0
        known = [reader for reader in self.gpus if reader.value.get("uuid") or reader.value.get("pci_bus_id")]
        uid = 0 if self.node.get("privileged") else 1
        self.gpus = []
        for index in range(count):
            reader = GpuReader(self.nvml, self.host, index, None, uid)
            self.gpus.append(reader)  # before it is asked: a call that hangs is this GPU's
            reader.current_call = "nvmlDeviceGetHandleByIndex"
            try:
                reader.handle = self.nvml.nvmlDeviceGetHandleByIndex(index)
            except self.nvml.NVMLError as error:
                reader.lose("NVML: %s" % error)
            else:
                self.node_call = None
                reader.sample(True)
            reader.current_call = None
        self.node_call = None
        self.recall(known)
        self.add_unlisted(known, uid)

    def recall(self, known):
        """A lost GPU that says nothing of itself keeps what was read of the one at its place before."""
        seen = {reader.value["uuid"] for reader in self.gpus if reader.value.get("uuid")}
        for position, reader in enumerate(self.gpus):
            if not reader.value["lost"] or reader.value.get("uuid"):
                continue
            for before in known:
                if before.index == reader.index and before.value.get("uuid") not in seen:
                    before.handle = reader.handle
                    before.lose(reader.value["lost_reason"])
                    self.gpus[position] = before
                    seen.add(before.value.get("uuid"))

    def add_unlisted(self, known, uid):
        """GPUs the kernel driver lists and NVML does not: fallen off the bus."""
        slots = {short_bus(reader.value["pci_bus_id"]) for reader in self.gpus if reader.value.get("pci_bus_id")}
        missing = [bus for bus in self.host.driver_gpus() if short_bus(bus) not in slots]
        nameless = [reader for reader in self.gpus if not reader.value.get("pci_bus_id")]
        for bus in missing:
            if nameless:
                nameless.pop(0).value["pci_bus_id"] = bus
                continue
            was = [reader for reader in known if short_bus(reader.value.get("pci_bus_id") or "") == short_bus(bus)]
            reader = was[0] if was else GpuReader(self.nvml, self.host, len(self.gpus), None, uid)
            reader.handle = None
            reader.index = reader.value["index"] = len(self.gpus)
            reader.value["pci_bus_id"] = reader.value.get("pci_bus_id") or bus
            reader.lose(UNLISTED)
            self.gpus.append(reader)

    def listen(self):
        """Subscribes to XID and double-bit ECC events; a driver without them leaves the kernel log."""
        try:
            events = self.nvml.nvmlEventSetCreate()
        except (self.nvml.NVMLError, AttributeError):
            self.events = None
            return
        for reader in list(self.gpus):
            if reader.handle is None or reader.value.get("lost"):
                continue
            for kinds in (EVENT_XID | EVENT_DOUBLE_BIT, EVENT_XID):
                try:
                    self.nvml.nvmlDeviceRegisterEvents(reader.handle, kinds, events)
                    break
                except self.nvml.NVMLError:
                    continue
        self.events = events

    def beat(self):
        """One sample of all GPUs: a `delta`, or a `state` when the list of GPUs changed."""
        now = self.host.now()
        slow = self.is_slow(now)
        self.beat_began = time.time()
        if slow:
            self.slow_at, self.slow_due = now, now + self.slow_seconds
            if self.sent_gpus and self.count_changed():
                self.open_gpus()
                self.listen_again = True
        samples = [reader.sample(slow) for reader in self.gpus]
        if slow:
            self.read_topology()
        took = time.time() - self.beat_began
        self.beat_began = None
        if slow:
            self.node.update(self.host.load())
            self.node["boot_at"] = self.host.booted()
            self.node["slow_read_at"] = now
            self.node["probe"] = self.cost(took)
        facts = self.host.facts(0.0 if self.sent_node else FIRST_FACTS_SECONDS)
        if facts is not None:
            self.node["host"] = facts
        self.node["kernel_log"] = self.host.kernel.name
        self.tell(now, samples)
        self.tell_lost(now)

    def is_slow(self, now):
        """Whether the slow values are due: by their beat, or because an error came since they were read."""
        if now >= self.slow_due:
            self.error_spacing = ERROR_SPACING_SECONDS
            return True
        if self.slow_at >= self.error_at + BOOKED_SECONDS or now < self.slow_at + self.error_spacing:
            return False
        self.error_spacing *= 2
        return True

    def note_error(self, at=None):
        """What is read slowly may be another since `at`, by default now."""
        now = self.host.now()
        self.error_at = max(self.error_at, now if at is None else min(at, now))

    def read_topology(self):
        """`topology` anew when there are other GPUs or RDMA devices than before."""
        gpus = [reader for reader in self.gpus if reader.value.get("pci_bus_id")]
        nics = self.host.nics()
        wired = ([(reader.value["pci_bus_id"], reader.handle is not None) for reader in gpus], nics)
        if wired == self.wired:
            return
        self.wired = wired
        nodes = self.host.numa_count()
        places = [self.host.place(reader.value["pci_bus_id"]) for reader in gpus]
        places += [self.host.place(bus) for _, bus in nics]
        levels = [["X"] * len(places) for _ in places]
        for row in range(len(places)):
            for column in range(row):
                level = self.common_ancestor(gpus[row], gpus[column]) if row < len(gpus) else None
                level = level or pci_level(places[row], places[column], nodes)
                levels[row][column] = levels[column][row] = level
        self.node["topology"] = {
            "gpus": [reader.value["pci_bus_id"] for reader in gpus],
            "nics": [name for name, _ in nics],
            "levels": levels,
        }

    def common_ancestor(self, gpu, other):
        """What NVML says of two GPUs; None where it says nothing, or one of them is lost."""
        if gpu.handle is None or other.handle is None:
            return None
        try:
            return COMMON_ANCESTORS.get(gpu.call("nvmlDeviceGetTopologyCommonAncestor", other.handle))
        except GpuLost:
            return None

    def count_changed(self):
        self.node_call = "nvmlDeviceGetCount"
        try:
            count = self.nvml.nvmlDeviceGetCount()
        except self.nvml.NVMLError:
            return False
        finally:
            self.node_call = None
        return count != sum(1 for reader in self.gpus if reader.value.get("lost_reason") != UNLISTED)

    def cost(self, took):
        used = self.host.cpu_seconds()
        alive = self.host.now() - self.started_at
        percent = None if used is None or alive < 1.0 else round(100.0 * used / alive, 1)
        return measured(cpu_percent=percent, sample_milliseconds=round(took * 1000.0, 1))

    def tell(self, now, samples):
        identities = [(sample.get("uuid"), sample.get("pci_bus_id")) for sample in samples]
        before = [(sample.get("uuid"), sample.get("pci_bus_id")) for sample in self.sent_gpus]
        if not self.sent_node or identities != before:
            self.emit({"t": "state", "at": now, "node": self.node, "gpus": samples})
        else:
            message = {"t": "delta", "at": now}
            node = diff(self.sent_node, self.node)
            gpus = {}
            for position, (old, new) in enumerate(zip(self.sent_gpus, samples)):
                changed = diff(old, new)
                if changed:
                    gpus[str(position)] = changed
            if node:
                message["node"] = node
            if gpus:
                message["gpus"] = gpus
            self.emit(message)
        self.sent_node = dict(self.node)
        self.sent_gpus = samples

    def tell_lost(self, now):
        for reader in self.gpus:
            if not reader.value.get("lost"):
                self.lost_told.discard(reader.index)
            elif reader.index not in self.lost_told:
                self.lost_told.add(reader.index)
                self.emit({"t": "event", "at": now, "kind": "gpu_lost", "gpu_index": reader.index,
                           "pci_bus_id": reader.value.get("pci_bus_id"), "code": None, "source": "nvml",
                           "text": reader.value.get("lost_reason") or "lost"})  # fmt: skip

    def tell_kernel(self, event):
        self.note_error(event["at"])
        self.emit(dict(event, t="event", source="kernel"))

    def poll_events(self, milliseconds):
        """Waits up to `milliseconds` for NVML events and emits all that are there."""
        while self.events is not None:
            try:
                event = self.nvml.nvmlEventSetWait(self.events, milliseconds)
            except self.nvml.NVMLError as error:
                code = getattr(error, "value", None)
                if code in NO_EVENTS:
                    self.events = None  # this driver has no events after all
                elif code != TIMEOUT:
                    self.listen_again = True  # a lost GPU ends the wait of the whole set: the others go on in a new one
                break
            milliseconds = 0
            self.note_error()
            index, bus = self.slot_of(event.device)
            if event.eventType & EVENT_XID:
                self.emit({"t": "event", "at": self.host.now(), "kind": "xid", "gpu_index": index, "pci_bus_id": bus,
                           "code": int(event.eventData), "text": "reported by NVML", "source": "nvml",
                           "gi": instance(event, "gpuInstanceId"),
                           "ci": instance(event, "computeInstanceId")})  # fmt: skip
            elif event.eventType & EVENT_DOUBLE_BIT:
                self.emit({"t": "event", "at": self.host.now(), "kind": "ecc_double_bit", "gpu_index": index,
                           "pci_bus_id": bus, "code": None, "text": "uncorrectable ECC error",
                           "source": "nvml"})  # fmt: skip

    def listen_anew(self):
        """A new event set of the GPUs that are there now."""
        self.listen_again = False
        old, self.events = self.events, None
        try:
            if old is not None:
                self.nvml.nvmlEventSetFree(old)
        except (self.nvml.NVMLError, AttributeError):
            pass
        self.listen()

    def slot_of(self, device):
        try:
            index = self.nvml.nvmlDeviceGetIndex(device)
        except (self.nvml.NVMLError, AttributeError):
            return None, None
        for reader in self.gpus:
            if reader.index == index:
                return index, reader.value.get("pci_bus_id")
        return index, None

    def hanging(self):
        """(GPU index, call, seconds) of a sample that has not come back, else None."""
        began = self.beat_began
        if began is None:
            return None
        for reader in self.gpus:
            call = reader.current_call
            if call is not None:
                return reader.index, call, time.time() - began
        return None, self.node_call or HOST_FILES, time.time() - began

    def stop(self):
        try:
            if self.events is not None:
                self.nvml.nvmlEventSetFree(self.events)
            self.nvml.nvmlShutdown()
        except (self.nvml.NVMLError, AttributeError):
            return


INIT_FAILURES = {
    12: ("nvml-missing", "install the NVIDIA driver, or take the node out of the site"),
    9: ("nvml-missing", "load the driver: modprobe nvidia; look at dmesg"),
    4: ("nvml-failed", "this user may not open /dev/nvidiactl: look at its permissions"),
    18: ("driver-mismatch", "the library and the kernel module differ: reload the module or reboot the node"),
    None: ("nvml-failed", "run nvidia-smi on the node; look at dmesg"),
}


def read_section(stream):
    size = int(stream.readline())
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("the console went away")
    return content


def load(name, source):
    """A module from its source. Registered before it runs: pynvml looks itself up, others are imported by name."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
    return module


class Output(object):
    """Lines to stdout from several threads; a console that is gone ends the process."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, message):
        line = json.dumps(message, separators=(",", ":"), allow_nan=False)
        with self.lock:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except (IOError, OSError):
                os._exit(0)


def in_background(target):
    thread = threading.Thread(target=target)
    thread.daemon = True
    thread.start()


def main():
    stdin = sys.stdin.buffer
    options = json.loads(read_section(stdin).decode("utf-8"))
    nvml = load("pynvml", zlib.decompress(read_section(stdin)))
    for name, source in json.loads(zlib.decompress(read_section(stdin)).decode("utf-8")):
        load(name, source)
    from backends.nodes.probe_facts import Facts
    from backends.nodes.probe_host import Host

    facts = Facts()
    facts.latest()  # they are read while NVML starts
    emit = Output()
    probe = Probe(nvml, Host(facts), emit, options)

    def leave_with_stdin():
        while stdin.read(4096):
            continue
        os._exit(0)

    def watch():
        patience = max(3.0, 3 * probe.fast_seconds)
        while True:
            time.sleep(probe.fast_seconds)
            hanging = probe.hanging()
            if hanging is not None and hanging[2] > patience:
                emit({"t": "stall", "at": time.time(), "gpu_index": hanging[0], "call": hanging[1],
                      "seconds": round(hanging[2], 1)})  # fmt: skip

    def events():
        while probe.events is not None:
            probe.poll_events(1000)
            if probe.listen_again:
                time.sleep(1.0)  # a set that fails at once must not spin
                probe.listen_anew()

    in_background(leave_with_stdin)
    in_background(watch)
    # _exit: the thread that waits on stdin holds its lock, which the interpreter's own way out would wait for.
    if not probe.start():
        os._exit(1)
    if options.get("once"):
        os._exit(0)
    in_background(events)
    due = time.time()
    while True:
        due = max(due + probe.fast_seconds, time.time())
        time.sleep(max(0.0, due - time.time()))
        probe.beat()


if __name__ == "__gpudeck_probe__":
    main()
