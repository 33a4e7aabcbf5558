"""What a simulated GPU does at a given time: jobs come and go, power follows load, heat follows power.

`sample` is a pure function of the machine (its seed), its faults and the time: the same second always looks the same,
and a test can look at any second it likes. `Meter` remembers the last second of each GPU, because a probe asks a dozen
questions about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from backends.lab.boards import MIB, Board
from backends.lab.hardware import GpuFaults, SimGpu, SimNode, devices

TAU_SECONDS = 35.0
"""Time constant of the heat sink: the temperature covers 63 % of a step of power in this time."""
AMBIENT_CELSIUS = 27.0
BASE_BYTES = 4 * MIB
"""What the driver itself holds on an idle GPU."""

IDLE_BIT, POWER_CAP_BIT, SLOWDOWN_BIT, WARM_BIT, THERMAL_BIT, BRAKE_BIT = 0x1, 0x4, 0x8, 0x20, 0x40, 0x80

_MASK = (1 << 64) - 1

USERS = ("a.chen", "bmeyer", "svc-train", "ksato", "n.okafor", "lfernandez", "research")
TRAINING = (
    "python train.py --model llama-70b --config configs/pretrain_8k.yaml",
    "python -m torch.distributed.run --nproc_per_node=8 finetune.py --dataset support-tickets",
    "python train.py --model vit-huge --batch-size 512 --amp",
    "python pretrain_gpt.py --tensor-model-parallel-size 8 --seq-length 8192",
)
SERVING = (
    "tritonserver --model-repository=/models/search --http-port=8000",
    "tritonserver --model-repository=/models/speech --grpc-port=8001",
    "python -m vllm.entrypoints.openai.api_server --model mistral-large",
    "python serve.py --engine /engines/llama-8b-fp8",
)
INTRUDERS = {
    "pod": "python evaluate.py --suite nightly",
    "orphan": "python -m ipykernel_launcher -f kernel.json",
    "host": "python3 ./benchmark.py --all-gpus",
}
"""`GpuFaults.intruder` -> what runs there."""
HOSTILE_USERS = ("\x1b[2Jroot", "[@click=app.bell]x[/]", "\u202eresu", "\u7ba1\u7406\u8005\u7ba1\u7406\u8005")
HOSTILE_COMMANDS = (
    "\x1b]0;owned\x07\x1b[31;1mpython\x1b[0m\r\ntrain.py",
    "[@click=app.bell]x[/] [bold red]python[/] [/]",
    "python \u202eyp.niart\u202c \u200f\u0645\u0631\u062d\u0628\u0627",
    "x" * 10_000,
    "\u8a13\u7df4\U0001f525 \uff46\uff55\uff4c\uff4c\uff57\uff49\uff44\uff54\uff48 python\u0000\t\u0085train.py",
)


@dataclass(frozen=True, slots=True)
class SimProcess:
    pid: int
    user: str
    command: str
    memory_bytes: int
    started_at: float
    gi: int | None = None
    ci: int | None = None
    place: str = "pod"
    """`GpuFaults.intruder` of one that is there besides the GPU's own work."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What runs on a GPU in one window of its node's schedule."""

    kind: str
    """training, serving or idle."""
    level: float
    """Mean share of the power range in use."""
    swing: float
    """Serving load waves by this much around `level`."""
    wave: float
    """Radians per second."""
    phase: float
    starts_at: float
    """The job is there from this time to the end of the window."""
    share: float
    """Of the usable memory."""
    pid: int
    user: str
    command: str


@dataclass(frozen=True, slots=True)
class Sample:
    utilization_percent: int
    memory_percent: int
    watts: float
    celsius: int
    memory_celsius: int
    mhz: int
    video_mhz: int
    reasons: int
    used_bytes: int
    energy_joules: float
    processes: tuple[SimProcess, ...]


def mix(seed: int, number: int) -> int:
    """63 well-mixed bits of a seed and a counter (the finaliser of splitmix64)."""
    value = (seed + number * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (value ^ (value >> 31)) >> 1


def window_seconds(node: SimNode) -> int:
    return 600 + node.seed % 900


def segment(node: SimNode, gpu: SimGpu, window: int) -> Segment:
    """The work of `gpu` in the numbered window of its node."""
    length = window_seconds(node)
    shared, own = mix(node.seed, window), mix(gpu.seed, window)
    faults = gpu.faults
    # An idle GPU neither overheats nor shows what holds it back, so that one with such a fault always has work.
    hot = _is_held_back(faults)
    node_wide = len(node.gpus) == 8 and not gpu.mig_on and shared % 100 < 60
    kind = "training" if node_wide or hot else _own_kind(gpu, own)
    if faults.serves:
        kind, node_wide = "serving", False
    if faults.leaked_bytes or faults.held_idle:
        kind = "idle"
    if kind == "idle":
        return Segment("idle", 0.0, 0.0, 1.0, 0.0, window * float(length), 0.0, 0, "", "")
    source = shared if node_wide else own
    training = kind == "training"
    users, commands = _vocabulary(node, training)
    return Segment(
        kind=kind,
        level=0.94 + (own >> 8) % 100 / 2000 if training else 0.3 + (own >> 8) % 100 / 400,
        swing=0.0 if training else 0.22,
        wave=math.tau / (60 + (own >> 16) % 90),
        phase=(own >> 24) % 628 / 100,
        starts_at=window * float(length) + (0 if hot or faults.serves else 10 + (source >> 32) % 40),
        share=0.72 + (source >> 40) % 100 / 500 if training else 0.4 + (own >> 40) % 100 / 250,
        pid=3000 + (own >> 20) % 4_000_000,
        user=users[(source >> 12) % len(users)],
        command=commands[(source >> 44) % len(commands)],
    )


def _vocabulary(node: SimNode, training: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Users and commands of a node's jobs."""
    if node.hostile:
        return HOSTILE_USERS, HOSTILE_COMMANDS
    return USERS, TRAINING if training else SERVING


def _own_kind(gpu: SimGpu, own: int) -> str:
    dice = own % 100
    if gpu.mig_on or dice < 50:
        return "serving"
    return "training" if dice < 72 else "idle"


def sample(node: SimNode, gpu: SimGpu, at: float) -> Sample:
    """Everything that moves on `gpu` at the time `at` (seconds since the epoch)."""
    length = window_seconds(node)
    window = int(at // length)
    now, before = (_in_use(node, gpu, at, segment(node, gpu, each)) for each in (window, window - 1))
    return _sample(node, gpu, at, now, before)


def _in_use(node: SimNode, gpu: SimGpu, at: float, given: Segment) -> Segment:
    """Of a GPU that is cut up as much of the load as there are instances in use; idle where there is none."""
    if not gpu.mig_on or given.kind == "idle" or _is_held_back(gpu.faults):
        return given
    share = len(_processes(node, gpu, at, given)) / max(1, len(devices(gpu)))
    return replace(given, kind=given.kind if share else "idle", level=given.level * share, swing=given.swing * share)


def _is_held_back(faults: GpuFaults) -> bool:
    return faults.hot_since is not None or faults.warm or faults.braked


def _sample(node: SimNode, gpu: SimGpu, at: float, now: Segment, before: Segment) -> Sample:
    board = gpu.board
    running = now.kind != "idle" and at >= now.starts_at and _has_room(gpu, now)
    noise = (mix(gpu.seed ^ 0x5DEECE66D, int(at)) % 1000) / 1000
    load = 0.0
    if running:
        load = now.level + now.swing * math.sin(now.wave * at + now.phase) + (noise - 0.5) * 0.03
    checkpoint = running and now.kind == "training" and (at - now.starts_at) % 300 > 294
    if checkpoint:
        load *= 0.35
    heat = _heat(node, at, now, before, running)
    watts, mhz, reasons = _power(board, min(1.0, max(0.0, load)), running, noise, gpu.faults)
    celsius = _temperature(gpu, at, heat)
    processes = (*(_processes(node, gpu, at, now) if running else ()), *_intruders(node, gpu))
    mean_watts = board.idle_watts + 0.55 * (board.limit_watts - board.idle_watts)
    return Sample(
        utilization_percent=_utilization(now, load, noise, running, checkpoint),
        memory_percent=int(60 * load + 5 * noise) if running else 0,
        watts=watts,
        celsius=celsius,
        memory_celsius=celsius + (6 if running else 4),
        mhz=mhz,
        video_mhz=board.max_video_mhz if running else board.idle_video_mhz,
        reasons=reasons,
        used_bytes=BASE_BYTES + gpu.faults.leaked_bytes + sum(process.memory_bytes for process in processes),
        # The mean of the schedule: an exact integral of the past would cost more than all the rest.
        energy_joules=mean_watts * max(0.0, at - node.boot_at),
        processes=processes,
    )


def _has_room(gpu: SimGpu, now: Segment) -> bool:
    """Work that began before the GPU was cut up anew has ended with it."""
    if gpu.changed_at > now.starts_at:
        return False
    if gpu.closed_since is not None and now.starts_at >= gpu.closed_since:
        return False
    return not gpu.mig_on or any(mig.created_at <= now.starts_at for mig in devices(gpu))


def _utilization(now: Segment, load: float, noise: float, running: bool, checkpoint: bool) -> int:
    if not running:
        return 0
    if now.kind == "training":
        return int(4 + 8 * noise) if checkpoint else 95 + round(5 * noise)
    return max(1, min(100, round(130 * load)))


def _heat(node: SimNode, at: float, now: Segment, before: Segment, running: bool) -> float:
    """The load as the heat sink has felt it: a first-order lag over the two last windows, 0 to about 1."""
    start = at // window_seconds(node) * window_seconds(node)
    # A window lasts many time constants, so that the one before has settled at its level.
    idle_until = min(at, now.starts_at) if now.kind != "idle" else at
    heat = before.level * math.exp(-max(0.0, idle_until - start) / TAU_SECONDS)
    if running:
        heat = now.level + (heat - now.level) * math.exp(-(at - now.starts_at) / TAU_SECONDS)
        lag = now.wave * TAU_SECONDS
        heat += now.swing / math.sqrt(1 + lag * lag) * math.sin(now.wave * at + now.phase - math.atan(lag))
    return max(0.0, heat)


def _power(board: Board, load: float, running: bool, noise: float, faults: GpuFaults) -> tuple[float, int, int]:
    """Watts, graphics clock in MHz and the clock event reasons at a load from 0 to 1."""
    if not running:
        return round(board.idle_watts + 4 * noise, 2), board.idle_mhz, IDLE_BIT
    watts = board.idle_watts + (board.limit_watts - board.idle_watts) * load
    mhz, reasons = board.max_mhz, 0
    if load > 0.94:
        # At the power limit the driver gives up clock, in its steps of 15 MHz.
        mhz -= 15 * int(1 + (load - 0.94) * 150)
        reasons = POWER_CAP_BIT
    if faults.hot_since is not None or faults.braked:
        watts *= 0.5
        mhz = max(board.idle_mhz, int(board.max_mhz * 0.42) // 15 * 15)
        reasons = SLOWDOWN_BIT | (BRAKE_BIT if faults.braked else THERMAL_BIT)
    elif faults.warm:
        watts *= 0.8
        mhz = int(board.max_mhz * 0.8) // 15 * 15
        reasons = WARM_BIT
    if faults.slow_percent is not None:
        mhz = max(board.idle_mhz, board.max_mhz * faults.slow_percent // 1500 * 15)
    return round(min(watts, board.limit_watts - noise), 2), mhz, reasons


def _temperature(gpu: SimGpu, at: float, heat: float) -> int:
    board = gpu.board
    place = gpu.seed % 5 - 2
    celsius = AMBIENT_CELSIUS + place + (board.load_celsius - AMBIENT_CELSIUS) * heat
    if gpu.faults.hot_since is not None:
        target = board.hot_celsius + 2.0
        celsius += (target - celsius) * (1 - math.exp(-max(0.0, at - gpu.faults.hot_since) / 12.0))
    return round(celsius)


def _processes(node: SimNode, gpu: SimGpu, at: float, now: Segment) -> tuple[SimProcess, ...]:
    board = gpu.board
    if not gpu.mig_on:
        usable = (board.memory_mib - board.reserved_mib - 64) * MIB
        # A training job fills its memory over the first seconds.
        grown = min(1.0, 0.1 + (at - now.starts_at) / 30) if now.kind == "training" else 1.0
        memory = int(usable * now.share * grown) // MIB * MIB
        return (SimProcess(now.pid, now.user, now.command, memory, now.starts_at),)
    processes: list[SimProcess] = []
    users, commands = _vocabulary(node, training=False)
    for instance in devices(gpu):
        if instance.created_at > now.starts_at:
            continue
        own = mix(gpu.seed + instance.number + 1, int(now.starts_at))
        if own % 4 == 0 and not (_is_held_back(gpu.faults) and not processes):
            continue
        memory = int(instance.profile.memory_mib * (0.3 + (own >> 8) % 100 / 200)) * MIB
        user, command = users[(own >> 16) % len(users)], commands[(own >> 24) % len(commands)]
        pid = 3000 + (own >> 20) % 4_000_000
        processes.append(SimProcess(pid, user, command, memory, now.starts_at, instance.gi, 0))
    return tuple(processes)


def _intruders(node: SimNode, gpu: SimGpu) -> tuple[SimProcess, ...]:
    """What a scenario put on the GPU besides its own work; it has been there for an hour of its node's life."""
    place = gpu.faults.intruder
    if place is None:
        return ()
    pid = 4_100_000 + gpu.seed % 90_000
    return (SimProcess(pid, "research", INTRUDERS[place], 3 * 1024 * MIB, node.boot_at + 3600.0, place=place),)


_Faults = tuple[object, ...]


def _faults(gpu: SimGpu) -> _Faults:
    """Those that change what the GPU does, and how it is cut up."""
    faults = gpu.faults
    behaviour = (faults.hot_since, faults.warm, faults.braked, faults.serves, faults.slow_percent, faults.leaked_bytes)
    work = (faults.held_idle, faults.intruder)
    return (*behaviour, *work, gpu.mig_on, gpu.changed_at, gpu.closed_since, gpu.mig)


class Meter:
    """The samples of one node, each GPU's last second remembered."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self._last: dict[int, tuple[int, _Faults, Sample]] = {}
        self._segments: dict[int, tuple[int, _Faults, Segment, Segment]] = {}

    def read(self, gpu: SimGpu, at: float) -> Sample:
        """The sample of the whole second that `at` lies in."""
        second, faults = int(at), _faults(gpu)
        known = self._last.get(gpu.index)
        if known is not None and known[0] == second and known[1] == faults:
            return known[2]
        window = second // window_seconds(self.node)
        held = self._segments.get(gpu.index)
        if held is None or held[0] != window or held[1] != faults:
            now, before = segment(self.node, gpu, window), segment(self.node, gpu, window - 1)
            held = self._segments[gpu.index] = (window, faults, now, before)
        value = _sample(self.node, gpu, float(second), held[2], held[3])
        self._last[gpu.index] = (second, faults, value)
        return value

    def process(self, pid: int, at: float) -> tuple[int, SimProcess] | None:
        """The process with that number, with the index of the first GPU it is on; None when it has gone."""
        for gpu in self.node.gpus:
            for process in self.read(gpu, at).processes:
                if process.pid == pid:
                    return gpu.index, process
        return None
