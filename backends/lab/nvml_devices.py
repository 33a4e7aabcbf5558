"""The rest of the simulated NVML: MIG, NVLink and fabric, processes, affinity, vGPU licence, field values, events."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pynvml

from backends.lab.dynamics import Sample
from backends.lab.equipment import EQUIPMENT, Slot, ancestor, cpu_mask
from backends.lab.hardware import SimGpu, SimMig, devices
from backends.lab.nvml_core import NOT_MIG, EventSet, Handle, SimNvml, device, either, fail, need, system

_FLIT, _DATA, _REPLAY, _RECOVERY = (
    pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT,
    pynvml.NVML_NVLINK_ERROR_DL_CRC_DATA,
    pynvml.NVML_NVLINK_ERROR_DL_REPLAY,
    pynvml.NVML_NVLINK_ERROR_DL_RECOVERY,
)
_ERROR_SHARE = {_FLIT: 4, _DATA: 1, _REPLAY: 2, _RECOVERY: 1}
"""How many errors of each kind a failing link counts, in units of `GpuFaults.link_errors`."""


# --- MIG -----------------------------------------------------------------------------------------------------------


@device("nvmlDeviceGetMigDeviceHandleByIndex")
def _mig_handle(nvml: SimNvml, gpu: SimGpu, index: int) -> Handle:
    need(gpu.board.mig)
    handles = nvml.mig_handles(gpu)
    if not 0 <= index < len(handles):
        fail(pynvml.NVML_ERROR_NOT_FOUND)
    return handles[index]


def _mig_of(handle: Handle) -> SimMig:
    if handle.mig is None:
        fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
    return handle.mig


@either("nvmlDeviceIsMigDeviceHandle")
def _is_mig(_nvml: SimNvml, handle: Handle) -> int:
    return int(handle.mig is not None)


@either("nvmlDeviceGetDeviceHandleFromMigDeviceHandle")
def _parent(nvml: SimNvml, handle: Handle) -> Handle:
    _mig_of(handle)
    return nvml.handles[handle.gpu.index]


@either("nvmlDeviceGetGpuInstanceId")
def _gi(_nvml: SimNvml, handle: Handle) -> int:
    return _mig_of(handle).gi


@either("nvmlDeviceGetComputeInstanceId")
def _ci(_nvml: SimNvml, handle: Handle) -> int:
    _mig_of(handle)
    return 0


@either("nvmlDeviceGetAttributes", "nvmlDeviceGetAttributes_v2")
def _attributes(_nvml: SimNvml, handle: Handle) -> SimpleNamespace:
    profile = _mig_of(handle).profile
    return SimpleNamespace(
        multiprocessorCount=profile.multiprocessors,
        sharedCopyEngineCount=profile.slices,
        sharedDecoderCount=profile.slices // 2,
        sharedEncoderCount=0,
        sharedJpegCount=0,
        sharedOfaCount=0,
        gpuInstanceSliceCount=profile.slices,
        computeInstanceSliceCount=profile.slices,
        memorySizeMB=profile.memory_mib,
    )


def _as_root(nvml: SimNvml, gpu: SimGpu) -> None:
    """nvml.h: GPU instances are listed for root only."""
    if not gpu.mig_on:
        fail(pynvml.NVML_ERROR_NOT_SUPPORTED)
    if not nvml.node.machine.privileged:
        fail(pynvml.NVML_ERROR_NO_PERMISSION)


@device("nvmlDeviceGetGpuInstanceById")
def _gpu_instance(nvml: SimNvml, gpu: SimGpu, gi: int) -> Handle:
    _as_root(nvml, gpu)
    found = [handle for handle in nvml.mig_handles(gpu) if _mig_of(handle).gi == gi]
    if not found:
        fail(pynvml.NVML_ERROR_NOT_FOUND)
    return found[0]


@device("nvmlDeviceGetGpuInstanceProfileInfo", "nvmlDeviceGetGpuInstanceProfileInfoV")
def _profile_info(_nvml: SimNvml, gpu: SimGpu, profile: int, _version: int = 2) -> SimpleNamespace:
    need(bool(gpu.mig))
    # Index of nvmlGpuInstanceProfile -> compute slices, for the profiles that the lab cuts.
    slices = {0: 1, 1: 2, 2: 3, 3: 4, 4: 7}.get(profile)
    found = next((mig.profile for mig in gpu.mig if mig.profile.slices == slices), None)
    if found is None:
        fail(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return SimpleNamespace(
        id=found.profile_id,
        sliceCount=found.slices,
        instanceCount=7 // found.slices,
        multiprocessorCount=found.multiprocessors,
        memorySizeMB=found.memory_mib,
        name=f"MIG {found.name}",
    )


@device("nvmlDeviceGetGpuInstances")
def _gpu_instances(nvml: SimNvml, gpu: SimGpu, profile_id: int, instances: Any, count: Any) -> int:
    _as_root(nvml, gpu)
    wanted = [mig for mig in devices(gpu) if mig.profile.profile_id == profile_id]
    for position, mig in enumerate(wanted):
        # The opaque pointer carries the position of the instance: it is never followed.
        token = 1 + gpu.index * 16 + devices(gpu).index(mig)
        instances[position] = ctypes.cast(ctypes.c_void_p(token), pynvml.c_nvmlGpuInstance_t)
    _target(count).value = len(wanted)
    return int(pynvml.NVML_SUCCESS)


@system("nvmlGpuInstanceGetInfo")
def _gpu_instance_info(nvml: SimNvml, instance: Any) -> SimpleNamespace:
    if isinstance(instance, Handle):
        handle = instance
    else:
        gpu_index, position = divmod((ctypes.cast(instance, ctypes.c_void_p).value or 1) - 1, 16)
        handle = nvml.mig_handles(nvml.node.gpus[gpu_index])[position]
    mig = _mig_of(handle)
    placement = SimpleNamespace(start=mig.start, size=mig.profile.size)
    return SimpleNamespace(
        device=nvml.handles[handle.gpu.index], id=mig.gi, profileId=mig.profile.profile_id, placement=placement
    )


def _target(reference: Any) -> Any:
    """What a ctypes `byref` or `pointer` refers to."""
    return reference.contents if hasattr(reference, "contents") else getattr(reference, "_obj", reference)


@device("nvmlDeviceGetRemappedRows")
def _remapped(nvml: SimNvml, gpu: SimGpu) -> tuple[int, int, int, int]:
    need(not gpu.board.virtual)
    faults = gpu.faults
    failed = faults.remap_failed_at is not None and faults.remap_failed_at <= nvml.clock.now()
    return (0, faults.remapped_uncorrectable, int(faults.remap_pending), int(failed))


# --- NVLink and the fabric -----------------------------------------------------------------------------------------


def _check_link(gpu: SimGpu, link: int) -> None:
    need(gpu.board.links > 0 and not gpu.mig_on)
    if not 0 <= link < gpu.board.links:
        fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)


@device("nvmlDeviceGetNvLinkState")
def _link_state(_nvml: SimNvml, gpu: SimGpu, link: int) -> int:
    _check_link(gpu, link)
    return int(link not in gpu.faults.links_down)


@device("nvmlDeviceGetNvLinkVersion")
def _link_version(_nvml: SimNvml, gpu: SimGpu, link: int) -> int:
    _check_link(gpu, link)
    return gpu.board.link_version


@device("nvmlDeviceGetNvLinkRemoteDeviceType")
def _link_remote_type(_nvml: SimNvml, gpu: SimGpu, link: int) -> int:
    _check_link(gpu, link)
    return int(pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH)


@device("nvmlDeviceGetNvLinkRemotePciInfo", "nvmlDeviceGetNvLinkRemotePciInfo_v2")
def _link_remote(nvml: SimNvml, gpu: SimGpu, link: int) -> SimpleNamespace:
    _check_link(gpu, link)
    buses = nvml.node.machine.switch_buses
    bus = buses[link % len(buses)]
    return SimpleNamespace(busId=f"00000000:{bus}:00.0", domain=0, bus=int(bus, 16), device=0)


@device("nvmlDeviceGetNvLinkErrorCounter")
def _link_errors(_nvml: SimNvml, gpu: SimGpu, link: int, counter: int) -> int:
    _check_link(gpu, link)
    need(counter in _ERROR_SHARE)
    return _link_count(gpu, link, counter)


def _link_count(gpu: SimGpu, link: int, counter: int) -> int:
    return gpu.faults.link_errors * _ERROR_SHARE[counter] if link in gpu.faults.links_down else 0


@device("nvmlDeviceGetGpuFabricInfoV")
def _fabric(_nvml: SimNvml, gpu: SimGpu, reference: Any) -> int:
    need(gpu.board.fabric)
    info = _target(reference)
    info.state, info.status, info.cliqueId = gpu.faults.fabric_state, 0, 0
    degraded = bool(gpu.faults.links_down)
    # Two bits of the mask tell whether the bandwidth is degraded: 1 yes, 2 no.
    info.healthMask = 1 if degraded else 2
    if hasattr(info, "healthSummary"):
        info.healthSummary = 3 if degraded else 1
    return int(pynvml.NVML_SUCCESS)


# --- processes, affinity, topology, licence ------------------------------------------------------------------------


@either("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v3")
def _compute_processes(nvml: SimNvml, handle: Handle) -> list[SimpleNamespace]:
    need(not handle.gpu.board.virtual)
    wanted = None if handle.mig is None else handle.mig.gi
    return [
        SimpleNamespace(
            pid=process.pid,
            usedGpuMemory=process.memory_bytes,
            gpuInstanceId=NOT_MIG if process.gi is None else process.gi,
            computeInstanceId=NOT_MIG if process.ci is None else process.ci,
        )
        for process in nvml.sample(handle.gpu).processes
        if wanted is None or process.gi == wanted
    ]


@either(
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)
def _no_processes(_nvml: SimNvml, handle: Handle) -> list[SimpleNamespace]:
    need(not handle.gpu.board.virtual)
    return []


def _slot(nvml: SimNvml, gpu: SimGpu) -> Slot:
    return EQUIPMENT[nvml.node.machine.prefix].gpus[gpu.index]


@device("nvmlDeviceGetCpuAffinity", "nvmlDeviceGetCpuAffinityWithinScope")
def _cpu_affinity(nvml: SimNvml, gpu: SimGpu, words: int, _scope: int = 0) -> list[int]:
    mask = cpu_mask(EQUIPMENT[nvml.node.machine.prefix].numa_cpus[_slot(nvml, gpu).numa or 0])
    return [(mask >> (64 * word)) & ((1 << 64) - 1) for word in range(words)]


@device("nvmlDeviceGetMemoryAffinity")
def _memory_affinity(nvml: SimNvml, gpu: SimGpu, words: int, _scope: int = 0) -> list[int]:
    return [1 << (_slot(nvml, gpu).numa or 0) if word == 0 else 0 for word in range(words)]


@device("nvmlDeviceGetTopologyCommonAncestor")
def _ancestor(nvml: SimNvml, gpu: SimGpu, other: Handle) -> int:
    need(not gpu.board.virtual)
    if other.gpu.faults.lost:
        fail(pynvml.NVML_ERROR_GPU_IS_LOST)
    return ancestor(_slot(nvml, gpu), _slot(nvml, other.gpu))


@device("nvmlDeviceGetGridLicensableFeatures", "nvmlDeviceGetGridLicensableFeatures_v4")
def _licence(nvml: SimNvml, gpu: SimGpu) -> SimpleNamespace:
    if not gpu.board.virtual:
        return SimpleNamespace(isGridLicenseSupported=0, licensableFeaturesCount=0, gridLicensableFeatures=[])
    expiry = SimpleNamespace(year=2027, month=3, day=31, hour=12, min=0, sec=0, status=3)
    feature = SimpleNamespace(
        featureCode=3,
        featureState=int(nvml.node.licensed),
        licenseInfo="",
        productName="NVIDIA Virtual Compute Server",
        featureEnabled=1,
        licenseExpiry=expiry,
    )
    return SimpleNamespace(isGridLicenseSupported=1, licensableFeaturesCount=1, gridLicensableFeatures=[feature])


# --- field values --------------------------------------------------------------------------------------------------


def _link_field(base: int, more: int, total: int, counter: int) -> dict[int, tuple[int, int | None]]:
    """Field id -> (error counter, link): links 0-5 from `base`, 6-11 from `more`; `total` is over all links."""
    fields: dict[int, tuple[int, int | None]] = {base + link: (counter, link) for link in range(6)}
    fields.update({more + link: (counter, 6 + link) for link in range(6)})
    fields[total] = (counter, None)
    return fields


_LINK_ERROR_FIELDS = {
    **_link_field(32, 96, 38, _FLIT),
    **_link_field(39, 102, 45, _DATA),
    **_link_field(46, 108, 52, _REPLAY),
    **_link_field(53, 114, 59, _RECOVERY),
}
_LINK_SPEED_FIELDS = {**{84 + link: link for link in range(6)}, **{132 + link: 6 + link for link in range(6)}}
_TLIMITS = {193: "shutdown", 194: "slowdown", 195: "memory", 196: "gpu"}


def _field(now: Sample, gpu: SimGpu, field: int, scope: int) -> int | None:
    """The value of a field, None where the board does not have it."""
    board, faults = gpu.board, gpu.faults
    if board.virtual:
        return None
    if field in _TLIMITS:
        limits = {"shutdown": board.hot_celsius - board.shutdown_celsius, "slowdown": -2, "memory": 0, "gpu": 0}
        return limits[_TLIMITS[field]] if board.relative_limits else None
    simple = {
        pynvml.NVML_FI_DEV_MEMORY_TEMP: now.memory_celsius if board.memory_sensor else None,
        pynvml.NVML_FI_DEV_POWER_AVERAGE: int(now.watts * 1000),
        pynvml.NVML_FI_DEV_POWER_INSTANT: int(now.watts * 1000),
        pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: faults.recovery_action,
    }
    if field in simple:
        return simple[field]
    if not board.links or gpu.mig_on:
        return None
    if field == pynvml.NVML_FI_DEV_NVLINK_LINK_COUNT:
        return board.links
    link = scope if field == pynvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON else _LINK_SPEED_FIELDS.get(field)
    if link is not None:
        return board.link_mbps if link < board.links and link not in faults.links_down else None
    counter = _LINK_ERROR_FIELDS.get(field)
    if counter is None:
        return None
    if counter[1] is None:
        return sum(_link_count(gpu, link, counter[0]) for link in range(board.links))
    return _link_count(gpu, counter[1], counter[0])


@device("nvmlDeviceGetFieldValues")
def _fields(nvml: SimNvml, gpu: SimGpu, wanted: Sequence[int | tuple[int, int]]) -> list[SimpleNamespace]:
    now = nvml.sample(gpu)
    answers = []
    for item in wanted:
        field, scope = item if isinstance(item, tuple | list) else (item, 0)
        value = _field(now, gpu, field, scope)
        code = pynvml.NVML_ERROR_NOT_SUPPORTED if value is None else pynvml.NVML_SUCCESS
        kind = pynvml.NVML_VALUE_TYPE_SIGNED_INT if field in _TLIMITS else pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
        number = value or 0
        union = SimpleNamespace(
            dVal=0.0, uiVal=number & 0xFFFFFFFF, siVal=number, ulVal=number, ullVal=number, sllVal=number
        )
        answers.append(
            SimpleNamespace(
                fieldId=field,
                scopeId=scope,
                timestamp=int(nvml.clock.now() * 1e6),
                latencyUsec=0,
                valueType=kind,
                nvmlReturn=code,
                value=union,
            )
        )
    return answers


# --- events --------------------------------------------------------------------------------------------------------


@system("nvmlEventSetCreate")
def _event_set(nvml: SimNvml) -> EventSet:
    # Only what happens from now on is an event.
    return EventSet({line.number for line in nvml.node.log})


@device("nvmlDeviceGetSupportedEventTypes")
def _event_types(_nvml: SimNvml, _gpu: SimGpu) -> int:
    return int(pynvml.nvmlEventTypeXidCriticalError | pynvml.nvmlEventTypeDoubleBitEccError)


@device("nvmlDeviceRegisterEvents")
def _register(nvml: SimNvml, gpu: SimGpu, _types: int, events: EventSet) -> None:
    events.gpus[gpu.index] = nvml.handles[gpu.index]


@system("nvmlEventSetWait", "nvmlEventSetWait_v2")
def _wait(nvml: SimNvml, events: EventSet, _milliseconds: int) -> SimpleNamespace:
    """The next event, or NVMLError_Timeout at once: it runs on the lab's event loop, which must not block."""
    now = nvml.clock.now()
    due = [line for line in nvml.node.log if line.number not in events.seen and line.at <= now]
    # A GPU that fell off the bus raises no NVML event; the kernel log alone tells.
    heard = (
        (line, events.gpus[line.gpu_index])
        for line in due
        if line.gpu_index is not None
        and line.gpu_index in events.gpus
        and not nvml.node.gpus[line.gpu_index].faults.lost
    )
    line, device = next(heard, (None, None))
    if line is None:
        fail(pynvml.NVML_ERROR_TIMEOUT)
    events.seen.add(line.number)
    return SimpleNamespace(
        device=device,
        eventType=pynvml.nvmlEventTypeXidCriticalError,
        eventData=line.code,
        gpuInstanceId=NOT_MIG,
        computeInstanceId=NOT_MIG,
    )
