"""A plan as JSON values: the schema `gpudeck/mig-plan/1`. What is not known is null, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.geometry import Placement, Room, Stranded, Wanted
from backends.nodes.mig.plan import MigParted, Plan
from backends.nodes.mig.target import GpuInstance, Target

SCHEMA = "gpudeck/mig-plan/1"


def document(plan: Plan) -> dict[str, Any]:
    """The whole plan."""
    target = plan.target
    return {
        "schema": SCHEMA,
        **_body(plan),
        "reason": plan.reason,
        "nearest": [{"why": each.why, **_body(each.plan)} for each in plan.nearest],
        "gpu": _gpu(target),
        "before": {
            "mig": target.enabled,
            "pending": target.pending,
            "instances": [_instance(each) for each in target.instances],
        },
        "profiles": [] if target.board is None else _profiles(target.board),
    }


def _body(plan: Plan) -> dict[str, Any]:
    """What a possible layout consists of; also of each of the nearest ones."""
    board = plan.target.board
    return {
        "possible": plan.possible,
        "wish": plan.wish,
        "mig": plan.enabled if plan.possible else None,
        "placements": _placements(plan),
        "keeps": [_instance(each) for each in plan.keeps],
        "destroys": [_instance(each) for each in plan.destroys],
        "stranded": _stranded(plan.stranded) if plan.room is not None else None,
        "free": None if plan.room is None or board is None or not plan.enabled else _free(board, plan.room),
        "commands": list(plan.commands),
        "steps": [asdict(each) for each in plan.steps],
        "costs": [asdict(each) for each in plan.costs],
        "blockers": [asdict(each) for each in plan.blockers],
        "notes": list(plan.notes),
        "mig_parted": None if plan.mig_parted is None else _mig_parted(plan.mig_parted),
    }


def _mig_parted(made: MigParted) -> dict[str, Any]:
    return {**asdict(made), "label": list(made.label)}


def _gpu(target: Target) -> dict[str, Any]:
    return {
        "node": target.node,
        "index": target.index,
        "name": target.name,
        "board": None if target.board is None else target.board.key,
        "confidence": None if target.board is None else target.board.confidence,
        "driver": target.driver,
    }


def _profiles(board: Board) -> list[dict[str, Any]]:
    return [
        {
            "profile": each.name,
            "id": each.id,
            "max_instances": each.max_instances,
            "compute_slices": each.compute_slices,
            "starts": list(each.starts),
            "size": each.size or None,
            "multiprocessors": each.multiprocessors,
            "memory_mib": each.memory_mib,
        }
        for each in board.profiles
    ]


def _placements(plan: Plan) -> list[dict[str, Any]]:
    """Everything that stands afterwards; of what stays at a place that was not read, start and size are null."""
    if plan.after is None:
        return [*({**_instance(each), "kept": True} for each in plan.keeps), *map(_added, plan.adds)]
    kept = {each.placement: each.gi for each in plan.keeps}
    return [
        {
            **_placement(each),
            "kept": each not in plan.creates,
            "gi": None if each in plan.creates else kept.get((each.start, each.size)),
        }
        for each in plan.after
    ]


def _added(each: Wanted) -> dict[str, Any]:
    """A new instance whose place is the driver's choice, unless it was asked for."""
    if each.start is not None:
        return {**_placement(Placement(each.profile, each.start)), "kept": False, "gi": None}
    unplaced = {"start": None, "size": each.profile.size, "placement": None}
    return {"profile": each.profile.name, "id": each.profile.id, **unplaced, "kept": False, "gi": None}


def _placement(each: Placement) -> dict[str, Any]:
    return {
        "profile": each.profile.name,
        "id": each.profile.id,
        "start": each.start,
        "size": each.size,
        "placement": each.label,
    }


def _instance(each: GpuInstance) -> dict[str, Any]:
    start, size = each.placement or (None, None)
    return {
        "profile": each.profile,
        "gi": each.gi,
        "start": start,
        "size": size,
        "placement": None if start is None else f"{start}:{size}",
        "processes": None if each.processes is None else len(each.processes),
    }


def _stranded(stranded: Stranded) -> dict[str, Any]:
    return {
        "compute_slices": stranded.compute_slices,
        "memory_slices": stranded.memory_slices,
        "reasons": list(stranded.reasons),
        "text": "; ".join(stranded.reasons),
    }


def _free(board: Board, left: Room) -> dict[str, Any]:
    units: Sequence[int] = left.free_units
    return {
        "compute_slices": len(left.free_slices),
        "memory_slices": len(units) * board.memory_slices / board.units,
        "fits": {profile.name: count for profile, count in left.fits},
        "fragmented": left.is_fragmented,
        "no_place_for": [profile.name for profile in left.scattered],
    }
