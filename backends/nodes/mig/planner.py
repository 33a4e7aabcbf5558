"""From what stands on a GPU to what is asked for: `plan`. Pure; nothing is applied here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from backends.nodes.mig import refusal
from backends.nodes.mig.catalogue import Profile
from backends.nodes.mig.consequences import Change, blockers, costs
from backends.nodes.mig.geometry import Stranded, Wanted, can_arrange, counted, describe, room, stranded
from backends.nodes.mig.plan import Near, Plan
from backends.nodes.mig.refusal import MOST_NEAR, Suggestion
from backends.nodes.mig.steps import mig_parted, steps
from backends.nodes.mig.target import Target
from backends.nodes.mig.ways import Way, anew, beside
from backends.nodes.mig.wish import Asked, Resolved, Wish, resolve

ADDS_NOTE = "a wish is the whole layout: what it does not name goes; to add to what is there write +"


def plan(target: Target, wish: Wish, near: bool = True) -> Plan:
    """How `target` becomes what `wish` says, or why it cannot, with the nearest layouts that are possible.

    Raises `WishError` for a configuration that nobody knows. `near` is off for the plans of those nearest layouts.
    """
    hindered = refusal.hindrance(target)
    if hindered is not None or target.board is None:
        return Plan(target, str(wish), possible=False, reason=hindered)
    board, resolved = target.board, resolve(target.board, wish)
    text = _text(wish, resolved)
    if resolved.counts and not board.has_placements:
        query = f"ask the board itself: nvidia-smi mig -i {target.index} -lgip, and -lgipp for the places"
        return Plan(target, text, possible=False, reason=f"{board.note} {query}")
    if resolved.foreign:
        reason = refusal.why_foreign(board, resolved.foreign)
        known = [each.profile for each, count in resolved.counts.items() for _ in range(min(count, board.units))]
        suggestions = refusal.near_foreign(board, known, resolved.foreign) if board.has_placements else ()
        return _refused(target, text, reason, suggestions if near else ())
    stays = _standing_profiles(target) if wish.adds else []
    if stays is None:
        return Plan(target, text, possible=False, reason=refusal.why_unknown(target))
    if any(count > each.profile.max_instances for each, count in resolved.counts.items()):
        return _does_not_fit(target, text, resolved, stays, near)
    wanted = (*resolved.wanted, *(Wanted(each) for each in stays))
    if not can_arrange(board, wanted):
        return _does_not_fit(target, text, resolved, stays, near)
    if stays:
        return _beside(target, wish, text, resolved, near)
    made = _possible(target, text, wish.config, resolved.enabled, anew(target, wanted))
    noted = made.destroys and wish.config is None
    return replace(made, notes=(ADDS_NOTE, *made.notes)) if noted else made


def _text(wish: Wish, resolved: Resolved) -> str:
    if wish.config is not None or resolved.foreign:
        return str(wish)
    named = counted({each.words: count for each, count in resolved.counts.items()})
    return f"+{named}" if wish.adds else named


def _standing_profiles(target: Target) -> list[Profile] | None:
    """Of what stands, for a wish that adds to it; None where one of them is not in the table."""
    assert target.board is not None, "asked for only with a board"
    found = [target.board.profile(each.profile or "") for each in target.standing]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def _beside(target: Target, wish: Wish, text: str, resolved: Resolved, near: bool) -> Plan:
    """The plan of a wish that adds to what stands. It never takes anything away; near as for `_does_not_fit`."""
    way = beside(target, resolved.wanted)
    if isinstance(way, Way):
        return _possible(target, text, wish.config, resolved.enabled, way)
    reason = f"what is there stays for a +: {way}"
    if not near or target.layout is None:
        return Plan(target, text, possible=False, reason=reason)
    standing = tuple(Asked(each.profile or "", start=None) for each in target.standing)
    others = (
        ("the same at other places", Wish(tuple(replace(each, start=None) for each in wish.asked), adds=True)),
        ("as a whole layout, in which what is there may move", Wish((*standing, *wish.asked))),
    )
    plans = [Near(why, plan(target, other, near=False)) for why, other in others]
    possible = tuple(each for each in plans if each.plan.possible)
    return Plan(target, text, possible=False, reason=reason, nearest=possible)


def _possible(target: Target, text: str, config: str | None, enabled: bool, way: Way) -> Plan:
    assert target.board is not None, "asked for only with a board"
    board, after = target.board, way.after
    notes = [] if way.note is None else [way.note]
    destroys = tuple(each for each in target.standing if each not in way.keeps)
    change = Change(target, enabled, destroys, way.created, way.adds)
    left = None if after is None else room(board, after)
    lost = Stranded() if left is None or not enabled else stranded(board, left)
    better = refusal.uses_more(board, [each.profile for each in after or ()]) if lost.compute_slices else None
    if better is not None:
        notes.append(f"{describe(better)} would compute with {sum(each.compute_slices for each in better)} slices")
    return Plan(
        target,
        text,
        possible=True,
        enabled=enabled,
        keeps=way.keeps,
        destroys=destroys,
        creates=way.created,
        adds=way.adds,
        after=after,
        room=left,
        stranded=lost,
        steps=steps(change, tuple(each for each in after or () if each not in way.created), way.keeps),
        costs=costs(change),
        blockers=blockers(change),
        notes=(*notes, *_notes(target, change)),
        mig_parted=mig_parted(change, _profiles_after(way), config),
    )


def _profiles_after(way: Way) -> list[str | None]:
    """The profiles of everything that stands afterwards, by place where the places are known."""
    if way.after is not None:
        return [each.profile.name for each in way.after]
    return [*(each.profile for each in way.keeps), *(each.profile.name for each in way.adds)]


def _notes(target: Target, change: Change) -> list[str]:
    board, said = target.board, refusal.prerequisites(target) if change.enabled else []
    assert board is not None, "asked for only with a board"
    if change.anything and target.node is None:
        said.append("for a GPU with MIG off and nothing on it; with --node the plan starts from what is there")
    if change.makes and not (board.ids_verified and board.confidence == "high"):
        said.append(f"{board.note} Compare with: nvidia-smi mig -i {target.index} -lgipp")
    if change.may_be_hidden:
        said.append("a GPU instance without a compute instance is not listed by NVML, and in the way: -lgi shows it")
    return said


def _does_not_fit(target: Target, text: str, resolved: Resolved, stays: list[Profile], near: bool) -> Plan:
    """Refused, with what is near: nothing for a wish that adds where the places are not known.

    Every other layout would take away all that runs there.
    """
    assert target.board is not None, "asked for only with a board"
    board, counts = target.board, dict(resolved.counts)
    for profile in stays:
        counts[Wanted(profile)] = counts.get(Wanted(profile), 0) + 1
    beside = f"beside what is there ({describe(stays)}): " if stays else ""
    reason = refusal.why_not(board, counts, beside)
    if not near or (stays and target.layout is None):
        return Plan(target, text, possible=False, reason=reason)
    asked = dict.fromkeys(board.profiles, 0)
    for each, count in counts.items():
        asked[each.profile] += count
    suggestions: list[Suggestion] = []
    few = all(count <= profile.max_instances for profile, count in asked.items())
    everything = tuple(profile for profile, count in asked.items() for _ in range(count)) if few else ()
    if everything and can_arrange(board, [Wanted(each) for each in everything]):
        suggestions.append(Suggestion("the same at other places", everything))
    else:
        must = [each.profile for each in resolved.wanted] if stays and few else ()
        suggestions += refusal.near_set(board, {each: count for each, count in asked.items() if count}, must)
    return _refused(target, text, reason, suggestions)


def _refused(target: Target, text: str, reason: str, suggestions: Iterable[Suggestion]) -> Plan:
    found: dict[tuple[str, ...], Near] = {}
    for why, profiles in suggestions:
        key = tuple(sorted(each.name for each in profiles))
        if key not in found and len(found) < MOST_NEAR:
            wanted = tuple(Wanted(each) for each in profiles)
            found[key] = Near(why, _possible(target, describe(profiles), None, True, anew(target, wanted)))
    return Plan(target, text, possible=False, reason=reason, nearest=tuple(found.values()))
