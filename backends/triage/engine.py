"""The triage of a site: rules over what changed, then time, grouping and acknowledgements.

A node is judged again when its values, its state or its events changed, and by the timed rules every `TIMED_SECONDS`:
an unchanged node costs nothing. The work comes in steps, so that the caller can let others run in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial

from backends.domain import (
    Check,
    Event,
    Finding,
    Fleet,
    NodeReading,
    NodeSpec,
    SiteSpec,
    Triage,
    UnfinishedChange,
)
from backends.triage import own
from backends.triage.acknowledgements import Acknowledgements
from backends.triage.alike import Group
from backends.triage.entry import Entry, Looked, recall, sourced
from backends.triage.grouping import group
from backends.triage.heard import Heard
from backends.triage.impact import Impacts
from backends.triage.inventory import Exchange, Inventory
from backends.triage.memory import NodeMemory
from backends.triage.past import Past
from backends.triage.rule import NodeJudge, Rule
from backends.triage.rules import RULES, rule_of, unfinished
from backends.triage.rules.connection import by_time
from backends.triage.site_rules import SiteRules
from backends.triage.state import NodeView, Peer, PeerClass, PlatformState, SiteState, add_peers, is_current
from backends.triage.tracker import Tracker

TIMED_SECONDS = 5.0
"""Rules that depend on the time look at a node again after so long."""
COUNTED_SECONDS = 30.0
"""How often the subjects of the checks are counted anew on a node that changes."""
FIRST_SECONDS = TIMED_SECONDS + 1.0
"""So long a node counts as read for the first time."""


class Triager:
    """Runs on one event loop; `run` or `steps` is called again and again with what the site knows now."""

    def __init__(
        self,
        spec: SiteSpec,
        acknowledgements: Acknowledgements | None = None,
        rules: Sequence[Rule] = RULES,
        inventory: Inventory | None = None,
    ) -> None:
        self.spec = spec
        self.acknowledgements = acknowledgements or Acknowledgements(spec.name)
        self.inventory = inventory or Inventory(spec.name)
        self._rules = tuple(rules)
        self._plain = tuple(rule for rule in rules if rule.judge is not None and not rule.timed)
        self._timed = tuple(rule for rule in rules if rule.judge is not None and rule.timed)
        self._site = SiteRules(rules)
        self._specs = {node.name: node for node in spec.nodes}
        self._entries: dict[str, Entry] = {}
        self._events: tuple[Event, ...] = ()
        self._changes = 0
        self._unfinished: tuple[UnfinishedChange, ...] | None = None
        self._broken: dict[tuple[str, str | None], Finding] = {}
        """(rule, node) that failed when it last ran; the node None where the rule compares nodes."""
        self._totals = [0] * len(self._rules)
        self._platform = Heard()
        self._tracker = Tracker(self._rule_of)
        self._past = Past(self._rule_of, self._tracker.is_active, self.acknowledgements.note_over)
        self._impacts = Impacts()
        self._checks: tuple[Check, ...] = ()
        self._last = Triage()

    @property
    def unfinished(self) -> tuple[UnfinishedChange, ...] | None:
        """What `SiteState.unfinished` is; whoever reads the journals sets it."""
        return self._unfinished

    @unfinished.setter
    def unfinished(self, changes: tuple[UnfinishedChange, ...] | None) -> None:
        if changes != self._unfinished:
            self._unfinished = changes
            self._site.hurry(unfinished.LEFT_OPEN, unfinished.RUNNING)

    def run(
        self,
        fleet: Fleet,
        events: tuple[Event, ...],
        now: float,
        *,
        platform: PlatformState | None = None,
        at_once: bool = False,
    ) -> Triage:
        """The triage at `now`, seconds since the epoch. `at_once`: of this one reading, nothing is waited for."""
        steps = self.steps(fleet, events, now, platform=platform, at_once=at_once)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                triage: Triage = done.value
                return triage

    def steps(
        self,
        fleet: Fleet,
        events: tuple[Event, ...],
        now: float,
        *,
        platform: PlatformState | None = None,
        at_once: bool = False,
        look_again: bool = False,
    ) -> Generator[None, None, Triage]:
        """The same in steps of a few hundred microseconds. `look_again` runs the slow rules too, due or not.

        `platform` is None on a site without one.
        """
        self._take_events(events)
        fresh = self._platform.take(platform, now)
        for place, reading in enumerate(fleet.nodes):
            entry = self._entries.get(reading.name)
            if entry is None:
                spec = self._specs.get(reading.name) or NodeSpec(reading.name)
                entry = self._entries[reading.name] = Entry(spec, NodeMemory(now, self.inventory.of(reading.name)))
                entry.events = tuple(event for event in events if event.node == reading.name)
            was_first = entry.first_at is None
            if self._judge_node(entry, reading, now, place, again=look_again):
                fresh = fresh or (was_first and entry.first_at is not None)
                yield
        yield from self._judge_site(fleet, now, again=fresh or look_again or at_once)
        return self._conclude(fleet, now, at_once)

    # --- rules -------------------------------------------------------------------------------------------------------

    def _take_events(self, events: tuple[Event, ...]) -> None:
        """Events by node; a node's tuple stays the same object while nothing was added to it."""
        if events is self._events:
            return
        self._events = events
        by_node: defaultdict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_node[event.node].append(event)
        for name, entry in self._entries.items():
            mine = by_node.get(name, [])
            if len(mine) != len(entry.events) or any(
                new is not old for new, old in zip(mine, entry.events, strict=True)
            ):
                entry.events = tuple(mine)

    def _judge_node(self, entry: Entry, reading: NodeReading, now: float, place: int, *, again: bool) -> bool:
        """Whether there was anything to do."""
        entry.reading = reading
        entry.is_current = current = is_current(reading, now, self.spec.fast_seconds)
        if current and reading.node is not entry.observed:
            entry.note_boards(self.inventory)
        entry.current_at = reading.at if current else entry.current_at
        looked = Looked(reading.node, reading.state, reading.problem, current, entry.events)
        # The nodes take turns with their timed rules.
        bucket = int((now + place * 0.037 * TIMED_SECONDS) // TIMED_SECONDS)
        same = looked.is_same(entry.looked_at)
        if same and bucket == entry.bucket and not again:
            return False
        if current and reading.node is not None and reading.node is not entry.observed:
            entry.observed = reading.node
            entry.memory.observe(reading.node, now)
            entry.note_boards(self.inventory)
            entry.first_at = now if entry.first_at is None else entry.first_at
        view = self._view(entry, reading, now)
        if not same:
            entry.looked_at = looked
            self._changes += 1
            entry.plain = self._findings(self._plain, view)
        entry.bucket = bucket
        entry.timed = self._findings(self._timed, view)
        if (not same and now - entry.counted_at >= COUNTED_SECONDS + place % COUNTED_SECONDS) or not entry.counts:
            self._count(entry, view, now)
        return True

    def _view(self, entry: Entry, reading: NodeReading, now: float) -> NodeView:
        node = reading.node if entry.is_current else None
        gpus = () if node is None else node.gpus
        if any(gpu.lost for gpu in gpus):
            gpus = tuple(gpu for gpu in gpus if not gpu.lost)
        return NodeView(
            entry.spec, self.spec, reading, node, gpus, entry.events, now, entry.memory, self.unfinished is not None
        )

    def _findings(self, rules: Sequence[Rule], view: NodeView) -> list[Finding]:
        found: list[Finding] = []
        for rule in rules:
            judge: NodeJudge | None = rule.judge
            try:
                if judge is not None:
                    found.extend(judge(view))
            except Exception as error:  # noqa: BLE001 - a rule that fails costs its own findings and no other's
                self._note_result(rule, error, view.name, view.now)
            else:
                self._note_result(rule, None, view.name, view.now)
        return found

    def _judge_site(self, fleet: Fleet, now: float, *, again: bool) -> Generator[None, None, None]:
        due = self._site.all if again else self._site.due(now, self._seen)
        if not due:
            return
        views: list[NodeView] = []
        peers: defaultdict[PeerClass, list[Peer]] = defaultdict(list)
        for reading in fleet.nodes:
            views.append(self._view(self._entries[reading.name], reading, now))
            add_peers(peers, views[-1])
            yield
        state = SiteState(self.spec, tuple(views), now, peers, self._platform.state, self.unfinished)
        told = partial(self._note_result, node=None, now=now)
        yield from self._site.run(due, state, self._seen, again=again, told=told)

    @property
    def _seen(self) -> int:
        """How many changes of nodes and of the platform there were."""
        return self._changes + self._platform.changes

    def _note_result(self, rule: Rule, error: Exception | None, node: str | None, now: float) -> None:
        """A failure is told until the rule succeeds again on what it failed on; what it found there is held so long."""
        if error is None:
            self._broken.pop((rule.id, node), None)
        else:
            self._broken[rule.id, node] = own.broken(rule, error, now)

    def _count(self, entry: Entry, view: NodeView, now: float) -> None:
        counts = tuple(rule.subjects(view) for rule in self._rules)
        for position, (new, old) in enumerate(zip(counts, entry.counts or (0,) * len(counts), strict=True)):
            self._totals[position] += new - old
        entry.counts = counts
        # A node that does not answer yet is counted as soon as it does.
        entry.counted_at = now if entry.is_current else float("-inf")

    # --- from findings to the triage ---------------------------------------------------------------------------------

    def _conclude(self, fleet: Fleet, now: float, at_once: bool) -> Triage:
        standing = self._tracker.update(
            (self._platform.holding(self._sourced(each)) for each in self._all_findings(now)),
            now,
            is_first=self._is_first(now),
            is_held=self._is_held,
            looked_at=lambda found: self._site.looked_at(self._rule_of(found), now, self._seen),
            at_once=at_once,
        )
        # What followed from a cause that is over is not told on its own while it fades.
        standing = [each for each in standing if each.gone_at is None or each.id in self._past.causes]
        held = {each.id for each in standing if self._is_held(each)}
        groups = group(
            standing,
            self._rule_of,
            held=held,
            gpus_of={reading.name: len(reading.node.gpus) for reading in fleet.nodes if reading.node is not None},
            nodes=len(fleet.nodes),
            told=self._past.names,
        )
        told_now = {each.finding.id: (self._worded(each, held), each.causes) for each in groups}
        self._past.note(told_now, now)
        for each in groups:
            self._impacts.note(told_now[each.finding.id][0], each.nodes, now)
        self._impacts.keep(told_now)
        shown = sorted((self._marked(each) for each, _ in told_now.values()), key=self._impacts.place)
        self._last = self._triage(tuple(shown), fleet, now)
        return self._last

    def _all_findings(self, now: float) -> Iterable[Finding]:
        for entry in self._entries.values():
            yield from entry.plain
            yield from entry.timed
        yield from self._site.findings()
        yield from {each.id: each for each in self._broken.values()}.values()
        for keeper, told in ((self.acknowledgements, own.kept), (self.inventory, own.inventory)):
            if keeper.warning is not None:
                yield told(keeper.warning, keeper.file, now)

    def _sourced(self, found: Finding) -> Finding:
        return sourced(found, self._entries.get(found.subject.node or ""))

    def _is_first(self, now: float) -> Callable[[Finding], bool]:
        def is_first(found: Finding) -> bool:
            about_platform = self._rule_of(found).about_platform is not None
            if about_platform and self._platform.seconds(now) <= FIRST_SECONDS:
                return True
            node = found.subject.node
            if about_platform and node is None:
                return False
            entry = None if node is None else self._entries.get(node)
            first_at = None if entry is None else entry.first_at
            return first_at is None or now - first_at <= FIRST_SECONDS

        return is_first

    def _is_held(self, finding: Finding) -> bool:
        """Nobody can tell now: the node does not answer, or the GPU or the platform does not, or the rule fails."""
        rule = self._rule_of(finding)
        if self._broken and ((rule.id, finding.subject.node) in self._broken or (rule.id, None) in self._broken):
            return True
        if rule.about_platform is not None and not self._platform.answers(rule.about_platform):
            return True
        entry = self._entries.get(finding.subject.node or "")
        if entry is not None and entry.reading and rule.no_better and rule.no_better(entry.reading):
            return True
        if entry is None or not rule.about_values:
            return False
        if not entry.is_current:
            return True
        if finding.subject.gpu_key is None or finding.rule == "gpu-lost" or entry.reading is None:
            return False
        gpus = () if entry.reading.node is None else entry.reading.node.gpus
        return any(gpu.lost and gpu.key == finding.subject.gpu_key for gpu in gpus)

    def _worded(self, told: Group, held: set[str]) -> Finding:
        finding = by_time(self._platform.named(self._dated(told, held)))
        return finding if finding.gone_at is None else self._past.at_worst(finding)

    def _dated(self, told: Group, held: set[str]) -> Finding:
        """With the time of the last look, where nobody can look now. An XID lasts, but whether it was dealt with is
        seen on its node."""
        rule, entry = self._rule_of(told.finding), self._entries.get(told.finding.subject.node or "")
        if not (told.causes <= held or (rule.dated and rule.judge is not None)):
            return told.finding
        if rule.about_platform is not None:
            last_look = self._platform.answered_at(rule.about_platform)
        else:
            last_look = None if entry is None or entry.is_current else entry.current_at
        return replace(told.finding, unseen_since=last_look)

    def _marked(self, told: Finding) -> Finding:
        """With what was before, and what somebody said of it."""
        told = self._past.with_earlier(told)
        said = self.acknowledgements.of(told, dated=self._rule_of(told).dated)
        return told if said is None else replace(told, acknowledged=said)

    def _triage(self, shown: tuple[Finding, ...], fleet: Fleet, now: float) -> Triage:
        current = [entry.reading for entry in self._entries.values() if entry.is_current and entry.reading is not None]
        recovered = tuple(unfinished.closed(each, self.unfinished or ()) for each in self._past.recovered(now))
        # A site without a platform has none that could be looked at: nothing to tell, not even that there was nothing.
        checks = tuple(
            Check(rule.id, rule.title, self._site.counts.get(rule.id, total))
            for rule, total in zip(self._rules, self._totals, strict=True)
            if rule.site_subjects is None or self._platform.state is not None
        )
        self._checks = self._checks if checks == self._checks else checks
        return Triage(
            findings=self._last.findings if shown == self._last.findings else shown,
            recovered=self._last.recovered if recovered == self._last.recovered else recovered,
            checks=self._checks,
            nodes_seen=len(current),
            nodes_total=len(fleet.nodes),
            just_seen=self._tracker.just_seen,
            oldest_reading_at=min((reading.at for reading in current if reading.at is not None), default=None),
        )

    def take_inventory(self, found: Exchange, now: float) -> None:
        """What the file of the inventory holds."""
        self._changes += recall(self._entries, self.inventory, found, now)

    def note_inventory(self) -> None:
        """The last time that this process tells what each node has shown."""
        for entry in self._entries.values():
            entry.note_boards(self.inventory, at_end=True)

    def find(self, identity: str) -> Finding | None:
        """The finding of that id as it was last told."""
        return next((each for each in self._last.findings if each.id == identity), None)

    def acknowledge(self, identity: str, who: str, why: str, at: float) -> Triage | None:
        """The triage with that finding acknowledged; None when there is no such finding."""
        told = self.find(identity)
        if told is None:
            return None
        said = self.acknowledgements.add(told, who, why, at)
        return self._replaced(replace(told, acknowledged=said))

    def unacknowledge(self, identity: str) -> Triage | None:
        """The triage with that finding open again; None when it was not acknowledged."""
        told = self.find(identity)
        if not self.acknowledgements.remove(identity) or told is None:
            return None
        return self._replaced(replace(told, acknowledged=None))

    def _replaced(self, changed: Finding) -> Triage:
        findings = [changed if each.id == changed.id else each for each in self._last.findings]
        self._last = replace(self._last, findings=tuple(sorted(findings, key=self._impacts.place)))
        return self._last

    @staticmethod
    def _rule_of(told: Finding) -> Rule:
        return own.OWN.get(told.rule) or rule_of(told)
