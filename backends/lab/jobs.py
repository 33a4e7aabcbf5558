"""The jobs of a simulated node: processes that belong together, in the container that runs them.

A training job that fills a node is one job with a process on each GPU; every other process is a job of its own. What
a node's host tells of a process (`container_of`) and what the platform tells of its containers (`jobs`) is one thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from backends.lab.dynamics import TRAINING, Meter, SimProcess
from backends.lab.hardware import SimNode, digest

TEAMS: dict[str, str] = {
    "a.chen": "team-vision",
    "bmeyer": "team-speech",
    "svc-train": "training",
    "ksato": "team-search",
    "n.okafor": "team-search",
    "lfernandez": "team-speech",
    "research": "research",
}
"""User -> namespace."""


@dataclass(frozen=True, slots=True)
class Job:
    node: str
    name: str
    """As its pod or container is called; unique on the site."""
    owner: str
    """Of the Job or Deployment."""
    namespace: str
    user: str
    command: str
    training: bool
    started_at: float
    gpus: tuple[int, ...]
    """Indexes of the whole GPUs it holds."""
    profile: str | None
    """Of its MIG instance, when it runs in one."""
    container_id: str
    instance: tuple[int, int] | None = None
    """GPU index and GPU instance of its MIG instance, when it runs in one."""
    asked: bool = True
    """Whether it was given the GPUs that it uses."""


_IN_CONTAINERS = ("tritonserver", "vllm", "serve.py")
_HOLDER = SimProcess(0, "n.okafor", "jupyter lab --ip=0.0.0.0", 0, 0.0)
"""Who holds a GPU that runs nothing: no process of it is on any."""


def jobs(node: SimNode, meter: Meter, at: float) -> tuple[Job, ...]:
    """What runs on `node` at `at` (seconds since the epoch)."""
    at = at if node.still_at is None else node.still_at
    groups: dict[tuple[object, ...], list[tuple[int, SimProcess]]] = {}
    for gpu in node.gpus:
        for process in meter.read(gpu, at).processes:
            if process.place == "pod":
                groups.setdefault(_key(gpu.index, process), []).append((gpu.index, process))
        if gpu.faults.held_idle:
            holder = replace(_HOLDER, started_at=node.boot_at + 3600.0)
            groups[_key(gpu.index, holder)] = [(gpu.index, holder)]
    return tuple(_job(node, members) for members in groups.values())


def container_of(node: SimNode, gpu: int, process: SimProcess) -> str | None:
    """The container that `process` on GPU number `gpu` runs in, the same every time; None for one on the host.

    Without a platform, what serves models runs in containers and so does a third of the training.
    """
    if process.place == "host":
        return None
    found = container_id(node, gpu, process)
    serves = any(word in process.command for word in _IN_CONTAINERS)
    return found if node.contained or serves or int(found[:2], 16) % 3 == 0 else None


def container_id(node: SimNode, gpu: int, process: SimProcess) -> str:
    """64 hex digits: those of the job that `process` on GPU number `gpu` belongs to."""
    return "".join(f"{digest(node.name, *_key(gpu, process), part):016x}" for part in range(4))


def _key(gpu: int, process: SimProcess) -> tuple[object, ...]:
    """What the processes of one job have in common."""
    if process.command in TRAINING and process.gi is None:
        return process.user, process.command, process.started_at
    return process.user, process.command, process.started_at, gpu, process.gi


def _job(node: SimNode, members: list[tuple[int, SimProcess]]) -> Job:
    gpu, first = members[0]
    training = first.command in TRAINING and first.gi is None
    seed = digest(node.name, *_key(gpu, first))
    owner = _owner(first.command, seed)
    profile = None
    if first.gi is not None:
        profile = next((mig.profile.name for mig in node.gpus[gpu].mig if mig.gi == first.gi), None)
    return Job(
        node=node.name,
        name=f"{owner}-{seed:016x}"[: len(owner) + 6],
        owner=owner,
        namespace=TEAMS.get(first.user, "default"),
        user=first.user,
        command=first.command,
        training=training,
        started_at=first.started_at,
        gpus=() if profile else tuple(index for index, _ in members),
        profile=profile,
        container_id=container_id(node, gpu, first),
        instance=None if first.gi is None else (gpu, first.gi),
        asked=not any(node.gpus[index].faults.unasked for index, _ in members),
    )


def take_off(node: SimNode, job: Job, at: float) -> None:
    """Ends the processes of a job, as when its pod was deleted; the GPUs are idle until the next window."""
    for index in job.gpus:
        node.gpus[index].changed_at = at
    if job.instance is not None:
        index, number = job.instance
        gpu = node.gpus[index]
        gpu.mig = tuple(replace(mig, created_at=at) if mig.gi == number else mig for mig in gpu.mig)


_OWNERS: tuple[tuple[str, str], ...] = (
    ("llama-70b", "pretrain-llama-70b"),
    ("finetune.py", "finetune-tickets"),
    ("vit-huge", "train-vit-huge"),
    ("pretrain_gpt", "pretrain-gpt"),
    ("/models/search", "triton-search"),
    ("/models/speech", "triton-speech"),
    ("mistral-large", "vllm-mistral-large"),
    ("llama-8b-fp8", "serve-llama-8b"),
    ("jupyter", "notebook"),
    ("evaluate.py", "evaluate-nightly"),
)
"""Part of a command -> the name of what owns its pods."""


def _owner(command: str, seed: int) -> str:
    base = next((name for part, name in _OWNERS if part in command), "job")
    return f"{base}-{seed % 90 + 10}" if base.startswith(("pretrain", "finetune", "train")) else base
