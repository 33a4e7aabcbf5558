"""`make gpu-check`: what the probe says of this machine's GPUs, beside what `nvidia-smi -q -x` and `topo -m` say.

Exit status: 0 when both agree or there is no NVIDIA driver, 1 when a value that does not move differs or when either
could not be read. Values that move between two readings are held to the tolerance that the table states.
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backends.contract import GpudeckError, ProbeCut
from backends.domain import Gpu, Node, clean, short_bus_id
from backends.nodes import bootstrap, smi_fallback, wire
from backends.nodes.local import LocalTransport
from backends.nodes.smi_fallback import OUTPUT_LIMIT
from backends.nodes.topology import matrix, parse
from backends.nodes.transport import Channel

NAME = "local"
TOPOLOGY_COMMAND = "nvidia-smi topo -m"
SKIPPED = "skipped: no NVIDIA driver here"
DRIVER = Path("/proc/driver/nvidia/version")
OK, DIFFERS, ONLY_ONE = "ok", "differs", "only one"
MIB = 1 << 20
OPTIONS: Mapping[str, object] = MappingProxyType(
    {"protocol": bootstrap.PROTOCOL, "fast_seconds": 1.0, "slow_seconds": 10.0, "once": False}
)
LINE_SECONDS = 60.0
"""The first NVML call may initialise every GPU of a machine without persistence mode."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field of both readings."""

    field: str
    probe: Any
    smi: Any
    verdict: str
    note: str = ""
    """The tolerance, in words."""
    volatile: bool = False

    @property
    def failed(self) -> bool:
        return self.verdict == DIFFERS and not self.volatile


@dataclass(frozen=True, slots=True)
class Field:
    """A field both readings can give, and how close they must be."""

    name: str
    """Dotted attribute path below Gpu or Node."""
    tolerance: float = 0.0
    """Absolute, in the field's unit."""
    share: float = 0.0
    """Of the larger value; the wider of the two tolerances holds."""
    volatile: bool = False
    """Moves by itself between the two readings: a difference is shown and is no failure."""
    normal: Callable[[Any], Any] | None = None
    """Applied to both values, where the two write one thing in two ways."""
    unit: str = ""

    @property
    def note(self) -> str:
        scale = {"MiB": MIB}.get(self.unit, 1)
        parts = [f"±{self.tolerance / scale:g} {self.unit}".strip()] if self.tolerance else []
        parts += [f"±{self.share * 100:g} %"] if self.share else []
        return " or ".join(parts) + (", moves" if parts and self.volatile else "moves" if self.volatile else "")


def _moving(*names: str, by: float = 0.0, share: float = 0.0, unit: str = "") -> tuple[Field, ...]:
    return tuple(Field(name, by, share, volatile=True, unit=unit) for name in names)


def _rounded(*names: str, by: float, unit: str) -> tuple[Field, ...]:
    """Steady values that nvidia-smi prints rounded."""
    return tuple(Field(name, by, unit=unit) for name in names)


def _exact(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name) for name in names)


def _pids(processes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(sorted(process.pid for process in processes))


def _instances(instances: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    # By text: a part that was not measured is None, which has no order.
    return tuple(sorted(((each.gi, each.ci, each.multiprocessors) for each in instances), key=str))


GPU_FIELDS: tuple[Field, ...] = (
    *_exact("index", "lost", "name", "uuid", "serial", "board_part_number"),
    Field("pci_bus_id", normal=short_bus_id),
    *_exact(
        "pci_device_id", "minor_number", "architecture", "vbios", "gsp_firmware", "persistence", "compute_mode",
        "recovery_action",
    ),
    *_moving("performance_state"),
    *_rounded("memory.total_bytes", "memory.bar1_total_bytes", by=MIB, unit="MiB"),
    *_moving("memory.reserved_bytes", by=16 * MIB, unit="MiB"),
    *_moving("memory.used_bytes", "memory.free_bytes", "memory.bar1_used_bytes", by=64 * MIB, share=0.02, unit="MiB"),
    *_moving("utilization.gpu_percent", "utilization.memory_percent", by=15, unit="points"),
    *_moving("utilization.encoder_percent", "utilization.decoder_percent", by=15, unit="points"),
    # The two may average over different times: NVML's draw is a mean of a second on most boards since Ampere.
    *_moving("power.draw_watts", by=10, share=0.05, unit="W"),
    *_rounded(
        "power.limit_watts", "power.default_limit_watts", "power.min_limit_watts", "power.max_limit_watts",
        by=0.01, unit="W",
    ),
    *_moving("temperature.gpu_celsius", "temperature.memory_celsius", "temperature.margin_celsius", by=3, unit="°C"),
    *_exact(
        "temperature.shutdown_celsius", "temperature.slowdown_celsius", "temperature.gpu_max_celsius",
        "temperature.memory_max_celsius", "temperature.shutdown_tlimit_celsius", "temperature.slowdown_tlimit_celsius",
    ),
    *_moving(
        "clocks.graphics_mhz", "clocks.sm_mhz", "clocks.memory_mhz", "clocks.video_mhz", by=60, share=0.05, unit="MHz"
    ),
    *_exact("clocks.max_graphics_mhz", "clocks.max_sm_mhz", "clocks.max_memory_mhz", "clocks.max_video_mhz"),
    Field("clocks.event_reasons", volatile=True, normal=lambda reasons: tuple(sorted(reasons))),
    *_exact(
        "ecc.enabled", "ecc.pending", "ecc.volatile.corrected", "ecc.volatile.uncorrected", "ecc.aggregate.corrected",
        "ecc.aggregate.uncorrected", "remapped_rows.corrected", "remapped_rows.uncorrected", "remapped_rows.pending",
        "remapped_rows.failed", "retired_pages.single_bit", "retired_pages.double_bit", "retired_pages.pending",
    ),
    # An idle link goes down to a lower generation, and the query itself wakes it.
    *_moving("pcie.generation"),
    *_exact("pcie.width", "pcie.max_generation", "pcie.max_width"),
    *_moving("pcie.replay_count"),
    *_exact("fabric.state", "fabric.health", "fabric.clique_id"),
    Field("fabric.cluster_uuid", normal=lambda text: text.replace("-", "").lower()),
    *_exact("mig.enabled", "mig.pending"),
    Field("mig.instances", normal=_instances),
    *_exact("vgpu.mode", "vgpu.licensed", "vgpu.license_product"),
    Field("processes", volatile=True, normal=_pids),
)  # fmt: skip
NODE_FIELDS = _exact("driver", "cuda")


def compare(probe_gpu: Gpu, smi_gpu: Gpu) -> list[Row]:
    """The rows of one GPU in the order of `GPU_FIELDS`; a field that neither measured has none."""
    return _rows(GPU_FIELDS, probe_gpu, smi_gpu)


def compare_nodes(probe: Node, nvidia_smi: Node) -> list[tuple[str, list[Row]]]:
    """(heading, rows) of the node and of each slot that either of them lists."""
    parts = [("node", _rows(NODE_FIELDS, probe, nvidia_smi))]
    left, right = _slots(probe), _slots(nvidia_smi)
    for slot in sorted({*left, *right}):
        ours, theirs = left.get(slot), right.get(slot)
        if ours is not None and theirs is not None:
            rows = compare(ours, theirs)
        else:
            rows = [Row("listed", ours is not None, theirs is not None, DIFFERS)]
        parts.append((f"GPU {slot} {clean((ours or theirs or Gpu()).name or '')}".rstrip(), rows))
    return parts


def compare_topology(probe: Node, said: str) -> list[Row]:
    """One row per device and per affinity of a GPU; `said` is what `nvidia-smi topo -m` printed."""
    ours = matrix(probe)
    try:
        theirs = parse(said)
    except ValueError:
        return [Row("topology", " ".join(ours.labels), None, ONLY_ONE)]
    rows = [_same("NICs", ours.nics, theirs.nics)]
    for position, label in enumerate(ours.labels):
        if label not in theirs.labels:
            rows.append(Row(label, True, False, DIFFERS))
            continue
        at = theirs.labels.index(label)
        rows.append(_same(label, _words(ours.cells[position]), _words(theirs.cells[at])))
        rows.append(_same(f"{label} CPU affinity", ours.cpu_affinity[position], theirs.cpu_affinity[at]))
        rows.append(_same(f"{label} NUMA affinity", ours.numa_affinity[position], theirs.numa_affinity[at]))
    return [row for row in rows if (row.probe, row.smi) != (None, None)]


def _words(cells: Sequence[str | None]) -> str:
    return " ".join(cell or "n/a" for cell in cells)


def _same(field: str, ours: Any, theirs: Any) -> Row:
    return Row(field, ours, theirs, _verdict(Field(field), ours, theirs))


def _slots(node: Node) -> dict[str, Gpu]:
    return {short_bus_id(gpu.pci_bus_id) if gpu.pci_bus_id else f"#{gpu.index}": gpu for gpu in node.gpus}


def _rows(fields: Sequence[Field], probe: Any, nvidia_smi: Any) -> list[Row]:
    rows = []
    for field in fields:
        read = operator.attrgetter(field.name)
        ours, theirs = (
            value if value is None or field.normal is None else field.normal(value)
            for value in (read(probe), read(nvidia_smi))
        )
        if ours is None and theirs is None:
            continue
        rows.append(Row(field.name, ours, theirs, _verdict(field, ours, theirs), field.note, field.volatile))
    return rows


def _verdict(field: Field, ours: Any, theirs: Any) -> str:
    if ours is None or theirs is None:
        return ONLY_ONE
    if field.tolerance or field.share:
        close = abs(ours - theirs) <= max(field.tolerance, field.share * max(abs(ours), abs(theirs)))
    else:
        close = ours == theirs
    return OK if close else DIFFERS


def cpu_seconds(pid: int) -> float:
    """CPU a process has used so far with all its threads."""
    return sum(_task_seconds(task) for task in Path(f"/proc/{pid}/task").iterdir())


def main_thread_seconds(pid: int) -> float:
    """CPU the first thread of a process has used so far: in the probe the one that samples."""
    return _task_seconds(Path(f"/proc/{pid}/task/{pid}"))


def _task_seconds(task: Path) -> float:
    """From the scheduler's nanoseconds where the kernel counts them, else from clock ticks."""
    try:
        spent = int((task / "schedstat").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        spent = 0
    if spent:
        return spent / 1e9
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class NotThere(Exception):
    """No NVIDIA driver, or no GPU, on this machine."""


class RunningProbe:
    """The real probe on this machine, started and read as the console does it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.pid = 0
        self.node = Node()

    async def greet(self) -> None:
        """Up to the first full state; raises NotThere without a driver, GpudeckError for every other refusal."""
        await self._channel.send(bootstrap.payload(OPTIONS))
        while not self.node.gpus and not self.node.name:
            await self.step()

    async def beat(self) -> Node:
        """The node after the next sample."""
        while await self.step() not in ("delta", "state"):
            pass
        return self.node

    async def step(self) -> str:
        """Takes in one message; returns its kind."""
        async with asyncio.timeout(LINE_SECONDS):
            line = await self._channel.readline(wire.LINE_LIMIT)
        if not line:
            raise ProbeCut(f"the probe ended: {await self._channel.stderr_tail()}", "")
        message = wire.parse_line(line)
        kind: str = message["t"]
        if kind == "hello":
            self.pid = int(message["pid"])
        elif kind == "fatal":
            if message.get("code") == "nvml-missing" and not DRIVER.exists():
                raise NotThere
            raise wire.fatal(message)
        elif kind == "state":
            self.node = wire.state(message, NAME, 0.0)
        elif kind == "delta":
            self.node = wire.apply_delta(self.node, message)
        return kind


@asynccontextmanager
async def running_probe() -> AsyncIterator[RunningProbe]:
    """A probe that has told its first state; it ends with the block."""
    transport = LocalTransport()
    channel = await transport.open(bootstrap.BOOT_COMMAND)
    probe = RunningProbe(channel)
    try:
        await probe.greet()
        yield probe
    finally:
        await channel.close()
        await transport.close()


async def read_topology() -> str:
    """What `nvidia-smi topo -m` prints on this machine."""
    transport = LocalTransport()
    done = await transport.run(TOPOLOGY_COMMAND, timeout=LINE_SECONDS, limit=OUTPUT_LIMIT)
    return done.stdout.decode("utf-8", "replace")


async def read_smi() -> Node:
    """This machine by nvidia-smi; raises GpudeckError."""
    return await smi_fallback.read(LocalTransport(), name=NAME)


def table(parts: Sequence[tuple[str, list[Row]]]) -> Iterator[str]:
    """The lines of the report."""
    for heading, rows in parts:
        yield ""
        yield heading
        yield f"  {'field':<36} {'probe':<40} {'nvidia-smi':<40} {'':<8} tolerance"
        for row in rows:
            values = f"{_shown(row.probe):<40} {_shown(row.smi):<40}"
            yield f"  {row.field:<36} {values} {row.verdict:<8} {row.note}".rstrip()


def _shown(value: Any) -> str:
    return "n/a" if value is None else clean(str(value), 40)


async def cost(beats: int, measure: Callable[[int], float] = cpu_seconds) -> float:
    """CPU seconds of a probe of its own over so many beats, the slow ones that fall into them included."""
    async with running_probe() as probe:
        # After one beat every thread runs that is going to.
        await probe.beat()
        before = measure(probe.pid)
        for _ in range(beats):
            await probe.beat()
        return measure(probe.pid) - before


async def check(beats: int) -> int:
    """Prints the comparison and the probe's cost over `beats` fast beats; returns the exit status."""
    try:
        async with running_probe() as probe:
            node = await probe.beat()
            if not node.gpus:
                raise NotThere
            parts = compare_nodes(node, await read_smi())
            parts.append(("topology", compare_topology(node, await read_topology())))
        print(*table(parts), sep="\n")
        spent = await cost(beats)
    except NotThere:
        print(SKIPPED)
        return 0
    except (GpudeckError, TimeoutError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 1
    rows = [row for _, listed in parts for row in listed]
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (OK, DIFFERS, ONLY_ONE)}
    failed = sum(row.failed for row in rows)
    print(f"\n{len(node.gpus)} GPUs: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()), end="")
    print(f"; {failed} of the differences in values that do not move")
    if beats:
        print(f"probe: {1000 * spent / beats:.1f} ms of CPU per sample of all GPUs, over {beats} beats at 1 s")
    return 1 if failed else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("--beats", type=int, default=10, help="fast beats over which the probe's CPU is measured")
    sys.exit(asyncio.run(check(parser.parse_args().beats)))


if __name__ == "__main__":
    main()
