"""The exact commands of a change, in order. `sudo` stands before those that need root, unless the login is root."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from backends.nodes.mig import cluster
from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.consequences import Change, clients
from backends.nodes.mig.geometry import Layout, Placement
from backends.nodes.mig.plan import MigParted, Step
from backends.nodes.mig.solve import driver_ends_there
from backends.nodes.mig.target import GpuInstance, Target
from backends.nodes.mig.wish import attribute_config

LABEL_LIMIT = 63
LONG = 40
"""Characters of profile names in one command; numbers are shorter."""


def steps(change: Change, stays: Layout, keeps: Sequence[GpuInstance]) -> tuple[Step, ...]:
    """Everything to be done; empty where nothing changes."""
    return tuple(_steps(change, stays, keeps)) if change.anything else ()


def _steps(change: Change, stays: Layout, keeps: Sequence[GpuInstance]) -> Iterator[Step]:
    target = change.target
    drained = change.on_operator and change.disturbs and target.node is not None
    stopped = clients(change)
    if drained:
        yield from cluster.before(target)
    if stopped:
        said = "they keep the GPU open; DCGM may also run as dcgm.service or in a container"
        yield Step("stop-clients", _root(target, f"systemctl stop {_words(stopped)}"), said)
    if change.may_be_hidden and not target.instances:
        said = "must list nothing: what it lists has no compute instance, and goes by -dgi -gi and its GPU instance ID"
        yield Step("look", _root(target, f"nvidia-smi mig -i {target.address} -lgi"), said)
    # Instances go before the mode does: while one is there, MIG cannot be switched off.
    yield from _destroy(change, keeps)
    yield from _mode(change)
    if change.makes:
        assert target.board is not None, "a layout was made from a board"
        yield _create(change, target.board, stays)
        expected = ", ".join(
            [
                *(f"{each.profile.name} {each.label}" for each in sorted(change.creates, key=_start)),
                *(each.words for each in change.adds),
            ]
        )
        yield Step("verify", _root(target, f"nvidia-smi mig -i {target.address} -lgi"), f"must list {expected}")
        yield Step("verify", "nvidia-smi -L", "must list a MIG device for each")
    if stopped:
        yield Step("start-clients", _root(target, f"systemctl start {_words(stopped)}"), "monitoring goes on")
    if drained:
        yield from cluster.afterwards(target)


def _start(placement: Placement) -> int:
    return placement.start


def _destroy(change: Change, keeps: Sequence[GpuInstance]) -> Iterator[Step]:
    target, address = change.target, change.target.address
    if not change.destroys:
        return
    if not keeps:
        # Without -gi it also takes a GPU instance that has no compute instance, which NVML does not list.
        yield Step("destroy-ci", _root(target, f"nvidia-smi mig -i {address} -dci"), "all compute instances")
        yield Step("destroy-gi", _root(target, f"nvidia-smi mig -i {address} -dgi"), "all GPU instances")
        return
    for each in change.destroys:
        for kind, option, what in (
            ("destroy-ci", "-dci", "the compute instances of"),
            ("destroy-gi", "-dgi", "the GPU instance"),
        ):
            command = _root(target, f"nvidia-smi mig -i {address} {option} -gi {each.gi}")
            yield Step(kind, command, f"{what} {each.name}")


def _mode(change: Change) -> Iterator[Step]:
    target, address = change.target, change.target.address
    number, word = (1, "on") if change.enabled else (0, "off")
    if change.waits_for_reset:
        whole = ", and all GPUs of the node are reset" if target.reset_with else ""
        yield Step("reset", _root(target, target.reset_command), f"MIG is {word} after it{whole}")
    elif change.switches_mode or target.pending not in (None, change.enabled):
        said = f"MIG mode {word}" if change.switches_mode else "takes back the change that waits for a reset"
        yield Step(f"mode-{word}", _root(target, f"nvidia-smi -i {address} -mig {number}"), said)
    else:
        return
    wanted = "Enabled, Enabled" if change.enabled else "Disabled, Disabled"
    yield Step(
        "check-mode",
        f"nvidia-smi -i {address} --query-gpu=mig.mode.current,mig.mode.pending --format=csv,noheader",
        f"must answer {wanted}; if the two differ a client holds the GPU: stop it, then {target.reset_command}, or "
        "reboot",
    )


def _create(change: Change, board: Board, stays: Layout) -> Step:
    target, creates = change.target, change.creates
    if change.adds:
        entries, said = ",".join(each.words for each in change.adds), "each with its compute instance"
    elif driver_ends_there(board, stays, creates):
        entries, said = ",".join(each.profile.name for each in creates), "each with its compute instance"
        if len(entries) > LONG:
            entries = ",".join(_called(board, each) for each in creates)
    else:
        entries = ",".join(f"{_called(board, each)}:{each.start}" for each in creates)
        said = "at the places given, since the driver's own choice may lead elsewhere; each with its compute instance"
    return Step("create", _root(target, f"nvidia-smi mig -i {target.address} -cgi {entries} -C"), said)


def _called(board: Board, placement: Placement) -> str:
    """By number where the numbers are sure, else by name: nvidia-smi takes both."""
    profile = placement.profile
    return str(profile.id) if board.ids_verified and profile.id is not None else profile.name


def _root(target: Target, command: str) -> str:
    return command if target.privileged else f"sudo {command}"


def _words(names: Sequence[str]) -> str:
    return " ".join(shlex.quote(name) for name in names)


def mig_parted(change: Change, after: Sequence[str | None], config: str | None) -> MigParted | None:
    """The node's layout after the change as a mig-parted file, and how MIG Manager is told to apply it.

    `after` are the profiles of this GPU then. None where one of them was not told, or one of another GPU.

    `config` is the name of the configuration that was asked for: MIG Manager knows it, but applies it to every GPU of
    the node, so that it is used only where there is no other.
    """
    target = change.target
    if None in after or any(each.profile is None for _, _, instances in target.neighbours for each in instances):
        return None
    counts = Counter(each or "" for each in after)
    name = f"gpu{target.index}-" + ("-".join(f"{n}x{profile}" for profile, n in counts.items()) or "none")
    if not change.enabled:
        name = f"gpu{target.index}-disabled"
    if config is not None and not target.neighbours and target.node is not None:
        name = config
    name = attribute_config(name)[:LABEL_LIMIT].rstrip(".-")
    entries = [(target.index, change.enabled, counts)]
    entries += [
        (index, enabled, Counter(each.profile or "" for each in instances))
        for index, enabled, instances in target.neighbours
    ]
    lines = ["version: v1", "mig-configs:", f"  {name}:"]
    for index, enabled, listed in sorted(entries, key=lambda entry: entry[0]):
        lines += [f"  - devices: [{index}]", f"    mig-enabled: {str(enabled).lower()}"]
        wanted = ", ".join(f'"{profile}": {count}' for profile, count in listed.items())
        lines.append(f"    mig-devices: {{{wanted}}}")
    told = cluster.by_mig_manager(target, name) if target.on_operator and target.node is not None else ()
    return MigParted(name, "\n".join(lines) + "\n", told)
