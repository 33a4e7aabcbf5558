"""A simulated NVML: the pynvml functions that the probe calls, answered from the simulated hardware.

`SimNvml` stands where the probe expects the module `pynvml`. What each function returns has the shape of
nvidia-ml-py 13; what a platform cannot tell raises the error that the real library raises there (nvml.h's support
notes, and captures of `nvidia-smi -q` on the same boards). Constants, structures and exceptions are pynvml's own. A
function that pynvml has and the simulation has not raises NVMLError_FunctionNotFound, as an older driver would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pynvml

from backends.feed import Clock
from backends.lab.boards import MIB
from backends.lab.dynamics import Meter, Sample
from backends.lab.hardware import SimGpu, SimMig, SimNode, devices

NOT_MIG = 0xFFFFFFFF
"""GPU instance id of a process outside MIG."""

PURE_HELPERS = frozenset({"nvmlStructToFriendlyObject", "nvmlFriendlyObjectToStruct", "nvmlExceptionClass"})

FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""pynvml name -> implementation; its first argument is the SimNvml."""


class Handle:
    """nvmlDevice_t of a GPU or, with `mig`, of a MIG device."""

    __slots__ = ("gpu", "mig")

    def __init__(self, gpu: SimGpu, mig: SimMig | None = None) -> None:
        self.gpu = gpu
        self.mig = mig


class EventSet:
    __slots__ = ("gpus", "seen")

    def __init__(self, seen: set[int]) -> None:
        self.gpus: dict[int, Handle] = {}
        self.seen = seen


class SimNvml:
    """The module `pynvml` of one simulated node."""

    def __init__(self, node: SimNode, meter: Meter, clock: Clock) -> None:
        self.node = node
        self.clock = clock
        self.meter = meter
        self.handles = [Handle(gpu) for gpu in node.gpus]
        self._mig_handles: dict[int, tuple[tuple[SimMig, ...], list[Handle]]] = {}

    def __getattr__(self, name: str) -> Any:
        function = FUNCTIONS.get(name)
        if function is not None:
            value: Any = functools.partial(function, self)
        else:
            value = getattr(pynvml, name)
            if callable(value) and name.startswith("nvml") and not isinstance(value, type | int):
                value = value if name in PURE_HELPERS else missing
        self.__dict__[name] = value
        return value

    def mig_handles(self, gpu: SimGpu) -> list[Handle]:
        """The MIG devices of a GPU as it is cut up now; the same objects while it is not changed."""
        known = self._mig_handles.get(gpu.index)
        if known is None or known[0] is not gpu.mig:
            known = self._mig_handles[gpu.index] = (gpu.mig, [Handle(gpu, mig) for mig in devices(gpu)])
        return known[1]

    def sample(self, gpu: SimGpu) -> Sample:
        return self.meter.read(gpu, self.clock.now())


def missing(*_arguments: object, **_keywords: object) -> NoReturn:
    fail(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


def fail(code: int) -> NoReturn:
    raise pynvml.NVMLError(code)  # type: ignore[no-untyped-call]


def unsupported() -> NoReturn:
    fail(pynvml.NVML_ERROR_NOT_SUPPORTED)


def need(supported: bool) -> None:
    if not supported:
        unsupported()


def system(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function that takes no device."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            FUNCTIONS[name] = function
        return function

    return register


def either(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function of a device handle, GPU or MIG; a lost GPU raises before it is called."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(nvml: SimNvml, handle: object, *arguments: Any, **keywords: Any) -> Any:
            if not isinstance(handle, Handle):
                fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
            if handle.gpu.faults.lost:
                fail(pynvml.NVML_ERROR_GPU_IS_LOST)
            return function(nvml, handle, *arguments, **keywords)

        for name in names:
            FUNCTIONS[name] = call
        return function

    return register


def device(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function of a GPU's handle; the implementation gets the `SimGpu`. A MIG handle is refused."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(nvml: SimNvml, handle: object, *arguments: Any, **keywords: Any) -> Any:
            if not isinstance(handle, Handle) or handle.mig is not None:
                fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
            if handle.gpu.faults.lost:
                fail(pynvml.NVML_ERROR_GPU_IS_LOST)
            return function(nvml, handle.gpu, *arguments, **keywords)

        for name in names:
            FUNCTIONS[name] = call
        return function

    return register


def _sensors(gpu: SimGpu) -> bool:
    return not gpu.board.virtual


def _undivided(gpu: SimGpu) -> bool:
    return not gpu.mig_on


def _always(_gpu: SimGpu) -> bool:
    return True


def _mig_modes(gpu: SimGpu) -> list[int]:
    """[now, after the next reset]"""
    return [int(gpu.mig_on), int(gpu.mig_wanted)]


Supported = Callable[[SimGpu], bool]

FACTS: dict[str, tuple[Supported, Callable[[SimGpu], Any]]] = {
    "nvmlDeviceGetIndex": (_always, lambda gpu: gpu.index),
    "nvmlDeviceGetMinorNumber": (_always, lambda gpu: gpu.index),
    "nvmlDeviceGetSerial": (_sensors, lambda gpu: gpu.serial),
    "nvmlDeviceGetBoardPartNumber": (_sensors, lambda gpu: gpu.board.part_number),
    "nvmlDeviceGetVbiosVersion": (_always, lambda gpu: gpu.faults.vbios or gpu.board.vbios),
    "nvmlDeviceGetInforomImageVersion": (_sensors, lambda gpu: gpu.board.inforom),
    "nvmlDeviceGetArchitecture": (_always, lambda gpu: gpu.board.architecture),
    "nvmlDeviceGetModuleId": (_sensors, lambda gpu: gpu.index + 1),
    "nvmlDeviceGetPersistenceMode": (_always, lambda gpu: int(gpu.faults.persistence)),
    "nvmlDeviceGetComputeMode": (_always, lambda _gpu: 0),
    "nvmlDeviceGetPerformanceState": (_always, lambda _gpu: 0),
    "nvmlDeviceGetVirtualizationMode": (_always, lambda gpu: 2 if gpu.board.virtual else 0),
    "nvmlDeviceGetEnforcedPowerLimit": (_sensors, lambda gpu: gpu.board.limit_watts * 1000),
    "nvmlDeviceGetPowerManagementLimit": (_sensors, lambda gpu: gpu.board.limit_watts * 1000),
    "nvmlDeviceGetPowerManagementDefaultLimit": (_sensors, lambda gpu: gpu.board.limit_watts * 1000),
    "nvmlDeviceGetPowerManagementLimitConstraints": (
        _sensors,
        lambda gpu: [gpu.board.min_limit_watts * 1000, gpu.board.limit_watts * 1000],
    ),
    "nvmlDeviceGetCurrPcieLinkGeneration": (_sensors, lambda gpu: gpu.board.pcie_generation),
    "nvmlDeviceGetMaxPcieLinkGeneration": (_sensors, lambda gpu: gpu.board.pcie_generation),
    "nvmlDeviceGetCurrPcieLinkWidth": (_sensors, lambda gpu: gpu.faults.pcie_width or 16),
    "nvmlDeviceGetMaxPcieLinkWidth": (_sensors, lambda _gpu: 16),
    "nvmlDeviceGetPcieReplayCounter": (_sensors, lambda gpu: gpu.faults.pcie_replays),
    "nvmlDeviceGetEccMode": (_sensors, lambda _gpu: [1, 1]),
    "nvmlDeviceGetMigMode": (lambda gpu: gpu.board.mig, _mig_modes),
    "nvmlDeviceGetMaxMigDeviceCount": (_always, lambda gpu: 7 if gpu.board.mig else 0),
}
"""Functions of a GPU alone: where they are supported, and what they return."""

READINGS: dict[str, tuple[Supported, Callable[[Sample], Any]]] = {
    "nvmlDeviceGetUtilizationRates": (
        _undivided,
        lambda now: SimpleNamespace(gpu=now.utilization_percent, memory=now.memory_percent),
    ),
    "nvmlDeviceGetEncoderUtilization": (_undivided, lambda _now: [0, 167000]),
    "nvmlDeviceGetDecoderUtilization": (_undivided, lambda _now: [0, 167000]),
    "nvmlDeviceGetPowerUsage": (_sensors, lambda now: int(now.watts * 1000)),
    "nvmlDeviceGetTotalEnergyConsumption": (_sensors, lambda now: int(now.energy_joules * 1000)),
    "nvmlDeviceGetCurrentClocksEventReasons": (_sensors, lambda now: now.reasons),
    "nvmlDeviceGetCurrentClocksThrottleReasons": (_sensors, lambda now: now.reasons),
}
"""Functions of what a GPU does now."""


def _fact(supported: Supported, value: Callable[[SimGpu], Any]) -> Callable[[SimNvml, SimGpu], Any]:
    def read(_nvml: SimNvml, gpu: SimGpu) -> Any:
        if not supported(gpu):
            unsupported()
        return value(gpu)

    return read


def _reading(supported: Supported, value: Callable[[Sample], Any]) -> Callable[[SimNvml, SimGpu], Any]:
    def read(nvml: SimNvml, gpu: SimGpu) -> Any:
        if not supported(gpu):
            unsupported()
        return value(nvml.sample(gpu))

    return read


for _name, _row in FACTS.items():
    device(_name)(_fact(*_row))
for _name, _reading_row in READINGS.items():
    device(_name)(_reading(*_reading_row))


@system("nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown", "nvmlEventSetFree")
def _accept(_nvml: SimNvml, *_arguments: object) -> None:
    return None


@system("nvmlSystemGetDriverVersion")
def _driver(nvml: SimNvml) -> str:
    return nvml.node.driver_version


@system("nvmlSystemGetNVMLVersion")
def _nvml_version(nvml: SimNvml) -> str:
    cuda = nvml.node.machine.cuda // 1000
    return f"{cuda}.{nvml.node.driver_version}"


@system("nvmlSystemGetCudaDriverVersion", "nvmlSystemGetCudaDriverVersion_v2")
def _cuda(nvml: SimNvml) -> int:
    return nvml.node.machine.cuda


@system("nvmlSystemGetProcessName")
def _process_name(nvml: SimNvml, pid: int) -> str:
    found = nvml.meter.process(pid, nvml.clock.now())
    if found is None:
        fail(pynvml.NVML_ERROR_NOT_FOUND)
    return found[1].command.split(" ", 1)[0]


@system("nvmlDeviceGetCount", "nvmlDeviceGetCount_v2")
def _count(nvml: SimNvml) -> int:
    return len(nvml.handles)


@system("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByIndex_v2")
def _by_index(nvml: SimNvml, index: int) -> Handle:
    if not 0 <= index < len(nvml.handles):
        fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
    return _alive(nvml.handles[index])


@system("nvmlDeviceGetHandleByUUID")
def _by_uuid(nvml: SimNvml, uuid: str) -> Handle:
    return _find(nvml, lambda gpu: gpu.uuid == uuid)


@system("nvmlDeviceGetHandleByPciBusId", "nvmlDeviceGetHandleByPciBusId_v2")
def _by_bus(nvml: SimNvml, bus_id: str) -> Handle:
    # NVML takes four or eight digits of domain, in either case.
    wanted = bus_id.upper().rjust(16, "0")
    return _find(nvml, lambda gpu: gpu.pci_bus_id == wanted)


def _find(nvml: SimNvml, matches: Callable[[SimGpu], bool]) -> Handle:
    for handle in nvml.handles:
        if matches(handle.gpu):
            return _alive(handle)
    fail(pynvml.NVML_ERROR_NOT_FOUND)


def _alive(handle: Handle) -> Handle:
    if handle.gpu.faults.lost:
        fail(pynvml.NVML_ERROR_GPU_IS_LOST)
    return handle


@either("nvmlDeviceGetName")
def _gpu_name(_nvml: SimNvml, handle: Handle) -> str:
    return handle.gpu.name if handle.mig is None else f"{handle.gpu.name} MIG {handle.mig.profile.name}"


@either("nvmlDeviceGetUUID")
def _gpu_uuid(_nvml: SimNvml, handle: Handle) -> str:
    return handle.gpu.uuid if handle.mig is None else handle.mig.uuid


@device("nvmlDeviceGetPciInfo", "nvmlDeviceGetPciInfo_v3")
def _pci(_nvml: SimNvml, gpu: SimGpu) -> SimpleNamespace:
    return SimpleNamespace(
        busId=gpu.pci_bus_id,
        busIdLegacy=gpu.pci_bus_id[4:],
        domain=0,
        bus=gpu.pci_bus,
        device=0,
        pciDeviceId=gpu.board.pci_device_id,
        pciSubSystemId=gpu.board.pci_subsystem_id,
    )


@device("nvmlDeviceGetGspFirmwareVersion")
def _gsp(nvml: SimNvml, gpu: SimGpu) -> str:
    need(not gpu.board.virtual)
    return nvml.node.driver_version


@either("nvmlDeviceGetMemoryInfo")
def _memory(nvml: SimNvml, handle: Handle, version: int | None = None) -> SimpleNamespace:
    board, now = handle.gpu.board, nvml.sample(handle.gpu)
    if handle.mig is None:
        total, reserved, used = board.memory_mib * MIB, board.reserved_mib * MIB, now.used_bytes
    else:
        gi = handle.mig.gi
        total, reserved = handle.mig.profile.memory_mib * MIB, 0
        used = 12 * MIB + sum(process.memory_bytes for process in now.processes if process.gi == gi)
    free = total - reserved - used
    if version is None:
        # Version 1 counts what the driver keeps for itself as used.
        return SimpleNamespace(total=total, free=free, used=used + reserved)
    return SimpleNamespace(version=version, total=total, reserved=reserved, free=free, used=used)


@device("nvmlDeviceGetBAR1MemoryInfo")
def _bar1(_nvml: SimNvml, gpu: SimGpu) -> SimpleNamespace:
    need(not gpu.board.virtual)
    total, used = gpu.board.bar1_mib * MIB, 3 * MIB
    return SimpleNamespace(bar1Total=total, bar1Free=total - used, bar1Used=used)


@device("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV")
def _celsius(nvml: SimNvml, gpu: SimGpu, sensor: int, _version: int | None = None) -> int:
    need(not gpu.board.virtual)
    if sensor != pynvml.NVML_TEMPERATURE_GPU:
        fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
    return nvml.sample(gpu).celsius


@device("nvmlDeviceGetTemperatureThreshold")
def _threshold(_nvml: SimNvml, gpu: SimGpu, threshold: int) -> int:
    board = gpu.board
    need(not board.virtual and not board.relative_limits)
    limits = {
        pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN: board.shutdown_celsius,
        pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: board.hot_celsius,
        pynvml.NVML_TEMPERATURE_THRESHOLD_MEM_MAX: board.memory_max_celsius,
        pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX: board.hot_celsius - 4,
    }
    need(threshold in limits)
    return limits[threshold]


@device("nvmlDeviceGetMarginTemperature")
def _margin(nvml: SimNvml, gpu: SimGpu) -> int:
    need(gpu.board.relative_limits and not gpu.board.virtual)
    return gpu.board.hot_celsius - nvml.sample(gpu).celsius


@device("nvmlDeviceGetClockInfo")
def _clock_now(nvml: SimNvml, gpu: SimGpu, kind: int) -> int:
    need(not gpu.board.virtual)
    now = nvml.sample(gpu)
    return _of_kind((now.mhz, now.mhz, gpu.board.memory_mhz, now.video_mhz), kind)


@device("nvmlDeviceGetMaxClockInfo")
def _clock_max(_nvml: SimNvml, gpu: SimGpu, kind: int) -> int:
    board = gpu.board
    need(not board.virtual)
    return _of_kind((board.max_mhz, board.max_mhz, board.memory_mhz, board.max_video_mhz), kind)


def _of_kind(clocks: tuple[int, int, int, int], kind: int) -> int:
    """`clocks` in the order of nvmlClockType_t: graphics, SM, memory, video."""
    if not 0 <= kind < len(clocks):
        fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
    return clocks[kind]


@device("nvmlDeviceGetTotalEccErrors")
def _ecc(nvml: SimNvml, gpu: SimGpu, error: int, _counter: int) -> int:
    need(not gpu.board.virtual)
    return gpu.faults.ecc_uncorrected if error else gpu.faults.corrected_at(nvml.clock.now())
