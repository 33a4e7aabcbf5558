"""How a simulated GPU is cut up at run time: the driver's rules of placement, modes and use.

Where each profile may start, and its nvidia-smi id, are NVIDIA's MIG User Guide's. Where no start is asked for, this
driver takes the last free one: that is the order in which the guide's own examples come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backends.lab.boards import A100_80GB_PROFILES, Board, MigProfile
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimGpu, SimMig, mig_uuid

SLICES, UNITS = 7, 8
STARTS: dict[int, tuple[int, ...]] = {
    19: tuple(range(7)),
    15: (0, 2, 4, 6),
    14: (0, 2, 4),
    9: (0, 4),
    5: (0,),
    0: (0,),
}
"""nvidia-smi profile id -> where an instance may start."""
# Status of nvidia-smi: the NVML return code.
NO_PERMISSION, NOT_FOUND, INVALID, IN_USE, NO_ROOM = 4, 6, 2, 19, 23


def _profiles(*rows: tuple[str, int, int, int]) -> dict[str, MigProfile]:
    """(name, id, multiprocessors, MiB) -> the profiles; slices, sizes and numbering are the same on every board."""
    shape = {profile.profile_id: profile for profile in A100_80GB_PROFILES.values()}
    shape[15] = replace(shape[14], profile_id=15, slices=1)
    return {
        name: replace(shape[number], name=name, multiprocessors=sms, memory_mib=mib) for name, number, sms, mib in rows
    }


_BY_BOARD: tuple[tuple[str, dict[str, MigProfile]], ...] = (
    ("A100", {**A100_80GB_PROFILES, **_profiles(("1g.20gb", 15, 14, 19968))}),
    (
        "H100",
        _profiles(
            ("1g.10gb", 19, 16, 9984),
            ("1g.20gb", 15, 26, 20096),
            ("2g.20gb", 14, 32, 20096),
            ("3g.40gb", 9, 60, 40448),
            ("4g.40gb", 5, 64, 40448),
            ("7g.80gb", 0, 132, 80640),
        ),
    ),
    (
        "H200",
        _profiles(
            ("1g.18gb", 19, 16, 16384),
            ("1g.35gb", 15, 26, 33280),
            ("2g.35gb", 14, 32, 33280),
            ("3g.71gb", 9, 60, 71424),
            ("4g.71gb", 5, 64, 71424),
            ("7g.141gb", 0, 132, 142848),
        ),
    ),
)


class Refused(Exception):
    """What the driver answers instead of doing it."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


def profiles_of(board: Board) -> dict[str, MigProfile]:
    """By name; empty for a board without MIG."""
    return next((found for word, found in _BY_BOARD if word in board.name), {}) if board.mig else {}


def find_profile(board: Board, word: str) -> MigProfile:
    """By name or id; raises Refused."""
    for profile in profiles_of(board).values():
        if word in (profile.name, str(profile.profile_id)):
            return profile
    raise Refused(INVALID, f"Unable to find GPU instance profile {word}: Invalid Argument")


def set_mode(gpu: SimGpu, on: bool, meter: Meter, at: float) -> bool:
    """Asks for MIG mode; False while a client holds the GPU: then the mode is only pending."""
    gpu.faults.mig_pending = None
    if gpu.mig_on == on:
        return True
    if meter.read(gpu, at).processes:
        gpu.faults.mig_pending = on
        return False
    gpu.mig_on, gpu.mig, gpu.changed_at = on, (), at
    return True


def create(gpu: SimGpu, profile: MigProfile, start: int | None, at: float, *, compute: bool) -> SimMig:
    """A new GPU instance, by default with one compute instance that fills it; raises Refused."""
    used = {unit for mig in gpu.mig for unit in range(mig.start, mig.start + mig.profile.size)}
    free = [place for place in STARTS[profile.profile_id] if not used.intersection(range(place, place + profile.size))]
    slices = sum(mig.profile.slices for mig in gpu.mig) + profile.slices
    if not free or slices > SLICES or (start is not None and start not in free):
        raise Refused(
            NO_ROOM,
            f"Unable to create a GPU instance on GPU {gpu.index:2d} using profile {profile.profile_id}: "
            "Insufficient Resources",
        )
    taken = {mig.gi for mig in gpu.mig}
    number = next(number for number in range(profile.first_gi, 16) if number not in taken)
    gpu.mig_made += 1
    made = SimMig(
        position=0,
        profile=profile,
        gi=number,
        start=free[-1] if start is None else start,
        uuid=mig_uuid(gpu.seed, "made", gpu.mig_made),
        number=100 + gpu.mig_made,
        compute=compute,
        created_at=at,
    )
    _set(gpu, (*gpu.mig, made))
    return next(mig for mig in gpu.mig if mig.gi == number)


def set_compute(gpu: SimGpu, instance: SimMig, on: bool, meter: Meter, at: float) -> None:
    """Makes or destroys the compute instance of a GPU instance; raises Refused while work runs in it."""
    if not on and any(process.gi == instance.gi for process in meter.read(gpu, at).processes):
        raise Refused(
            IN_USE,
            f"Unable to destroy compute instance ID  0 from GPU {gpu.index:2d} GPU instance ID {instance.gi:2d}: "
            "In use by another client",
        )
    fresh = replace(instance, compute=on, created_at=at)
    _set(gpu, [fresh if mig.gi == instance.gi else mig for mig in gpu.mig])


def destroy(gpu: SimGpu, instance: SimMig) -> None:
    """Destroys a GPU instance; raises Refused while it holds a compute instance."""
    if instance.compute:
        raise Refused(
            IN_USE,
            f"Unable to destroy GPU instance ID {instance.gi:2d} from GPU {gpu.index:2d}: In use by another client",
        )
    _set(gpu, [mig for mig in gpu.mig if mig.gi != instance.gi])


def _set(gpu: SimGpu, instances: Sequence[SimMig]) -> None:
    """MIG devices are numbered anew, largest first, as NVML does."""
    ordered = sorted(instances, key=lambda mig: (-mig.profile.slices, mig.start))
    gpu.mig = tuple(replace(mig, position=position) for position, mig in enumerate(ordered))
