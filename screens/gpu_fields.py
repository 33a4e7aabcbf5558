"""What a filter may ask a GPU for: a table, from which the filter, its completion and the help are made.

The last values of a lost GPU or a stale node count as they are shown; `!lost !stale` leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from screens.cells import process_count
from screens.condition import gpu_condition, link_errors, links_down, state_words
from screens.workload_fields import workload_fields
from tui.widgets.filter.fields import (
    BYTES,
    CELSIUS,
    MEGAHERTZ,
    PERCENT,
    WATTS,
    Field,
    FieldTable,
    Value,
)

if TYPE_CHECKING:
    from backends.domain import Gpu, GpuProcess
    from screens.gpu_items import GpuItem


def _gpu(value: Callable[[Gpu], Value]) -> Callable[[GpuItem], Value]:
    return lambda item: None if item.gpu is None else value(item.gpu)


def _state(item: GpuItem) -> frozenset[str]:
    gpu = item.gpu
    return (
        item.words
        if gpu is None
        else state_words(gpu, item.words, item.around) | {gpu_condition(gpu, item.around).word}
    )


def _of_processes(value: Callable[[GpuProcess], str | None]) -> Callable[[GpuItem], Value]:
    """What the processes tell; none of them on an idle GPU, None where no process tells it."""

    def get(item: GpuItem) -> Value:
        processes = item.gpu.processes if item.gpu is not None else None
        if processes is None:
            return None
        told = frozenset(each for process in processes if (each := value(process)) is not None)
        return told if told or not processes else None

    return get


def _users(item: GpuItem) -> Value:
    """Of the processes and of the workloads that they belong to: in a pod a process is often root's."""
    told = _of_processes(lambda each: each.user)(item)
    named = frozenset(each.user for each in item.workloads or () if each.user)
    return told | named if isinstance(told, frozenset) else named or told


def _remapped(gpu: Gpu) -> int | None:
    rows = gpu.remapped_rows
    known = [count for count in (rows.corrected, rows.uncorrected) if count is not None]
    return sum(known) if known else None


def _links_active(gpu: Gpu) -> int | None:
    told = [link.active for link in gpu.links or () if link.active is not None]
    return sum(told) if told or gpu.links == () else None


def _links_down(gpu: Gpu) -> int | None:
    return None if _links_active(gpu) is None else links_down(gpu)


def _profiles(gpu: Gpu) -> Value:
    return frozenset(each.profile for each in gpu.mig.instances if each.profile is not None)


GPU_FIELDS = FieldTable(
    (
        Field("node", "text", lambda item: item.node, "name of the node", "node~dgx-0"),
        Field("gpu", "number", _gpu(lambda gpu: gpu.index), "index on its node", "gpu=3", ("index",)),
        Field("model", "text", _gpu(lambda gpu: gpu.name), "name of the board", "model~h100"),
        Field("state", "text", _state, "word of the STATE column, or a state word", "state=ecc"),
        Field(
            "util",
            "number",
            _gpu(lambda gpu: gpu.utilization.gpu_percent),
            "share of the time it computes",
            "util>=50%",
            unit=PERCENT,
        ),
        Field(
            "mem",
            "number",
            _gpu(lambda gpu: gpu.memory.used_bytes),
            "memory in use",
            "mem>40g",
            ("memory",),
            unit=BYTES,
        ),
        Field(
            "mempct",
            "number",
            _gpu(lambda gpu: gpu.memory.used_percent),
            "memory in use, of all",
            "mempct>90",
            unit=PERCENT,
        ),
        Field(
            "memtotal", "number", _gpu(lambda gpu: gpu.memory.total_bytes), "memory in all", "memtotal>=80g", unit=BYTES
        ),
        Field("power", "number", _gpu(lambda gpu: gpu.power.draw_watts), "power drawn", "power>300w", unit=WATTS),
        Field(
            "limit",
            "number",
            _gpu(lambda gpu: gpu.power.limit_watts),
            "power limit in force",
            "limit<700",
            ("powerlimit",),
            unit=WATTS,
        ),
        Field(
            "temp",
            "number",
            _gpu(lambda gpu: gpu.temperature.gpu_celsius),
            "temperature of the GPU",
            "temp>85c",
            ("temperature",),
            unit=CELSIUS,
        ),
        Field(
            "memtemp",
            "number",
            _gpu(lambda gpu: gpu.temperature.memory_celsius),
            "temperature of its memory",
            "memtemp>95",
            unit=CELSIUS,
        ),
        Field("clock", "number", _gpu(lambda gpu: gpu.clocks.sm_mhz), "SM clock", "clock<1ghz", unit=MEGAHERTZ),
        Field(
            "reason",
            "text",
            _gpu(lambda gpu: gpu.clocks.event_reasons),
            "clock event reasons, in NVML's words",
            "reason~thermal",
            ("reasons",),
        ),
        Field(
            "ecc",
            "number",
            _gpu(lambda gpu: gpu.ecc.volatile.uncorrected),
            "uncorrected errors since the driver was loaded",
            "ecc>0",
        ),
        Field(
            "eccfixed",
            "number",
            _gpu(lambda gpu: gpu.ecc.volatile.corrected),
            "corrected errors since the driver was loaded",
            "eccfixed>100",
        ),
        Field("remap", "number", _gpu(_remapped), "remapped memory rows", "remap>0", ("remaps",)),
        Field(
            "remappending",
            "flag",
            _gpu(lambda gpu: gpu.remapped_rows.pending),
            "a remap waits for a reset",
            "remappending=yes",
        ),
        Field("xid", "number", lambda item: item.xids, "XIDs that the event log has of it", "xid=79"),
        Field("links", "number", _gpu(_links_active), "active NVLinks", "links<18", ("link", "nvlink")),
        Field("linksdown", "number", _gpu(_links_down), "NVLinks that are down", "linksdown>0"),
        Field("linkerrors", "number", _gpu(link_errors), "errors its NVLinks have counted", "linkerrors>0"),
        Field("pcie", "number", _gpu(lambda gpu: gpu.pcie.width), "PCIe lanes in use", "pcie<16", ("width",)),
        Field("pciegen", "number", _gpu(lambda gpu: gpu.pcie.generation), "PCIe generation in use", "pciegen<5"),
        Field("procs", "number", _gpu(process_count), "processes on it", "procs=0", ("processes",)),
        Field("user", "text", _users, "whose processes", "user=alice", ("users",)),
        *workload_fields(lambda item: item.workloads),
        Field(
            "container",
            "text",
            _of_processes(lambda each: each.container_id),
            "ids of the containers on it",
            "container~0123ab",
        ),
        Field(
            "command",
            "text",
            _of_processes(lambda each: each.command),
            "what its processes run",
            "command~train",
            ("cmd",),
        ),
        Field(
            "mig",
            "number",
            _gpu(lambda gpu: None if gpu.mig.enabled is None else len(gpu.mig.instances)),
            "MIG instances",
            "mig>0",
        ),
        Field("profile", "text", _gpu(_profiles), "profiles of its MIG instances", "profile=3g.40gb"),
        Field("driver", "version", lambda item: item.driver, "driver, as precise as it is written", "driver<580"),
        Field("cuda", "version", lambda item: item.cuda, "highest CUDA the driver supports", "cuda>=13"),
        Field("kernel", "version", lambda item: item.kernel, "kernel of the node", "kernel~6.8"),
        Field("vbios", "text", _gpu(lambda gpu: gpu.vbios), "version of its VBIOS", "vbios!=96.00.89"),
        Field(
            "transport",
            "text",
            lambda item: item.transport,
            "what reads the node",
            "transport=nvidia-smi",
            choices=("nvml", "nvidia-smi"),
        ),
        Field("uuid", "text", _gpu(lambda gpu: gpu.uuid), "UUID of the GPU", "uuid~8f3a"),
        Field("serial", "text", _gpu(lambda gpu: gpu.serial), "serial number of the board", "serial=1650"),
        Field("bus", "text", _gpu(lambda gpu: gpu.pci_bus_id), "PCI bus id", "bus~9b:00"),
    )
)
