"""The triage as a whole: what is judged again, what is held, what recovers, and that no value breaks it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.domain import (
    Ecc,
    EccCounts,
    Event,
    Finding,
    Fleet,
    Gpu,
    Node,
    NodeReading,
    NodeSpec,
    NodeState,
    Problem,
    RemappedRows,
    Severity,
    SiteSpec,
    Triage,
)
from backends.triage.acknowledgements import FILE_NAME, Acknowledgements
from backends.triage.engine import Triager
from backends.triage.rule import Rule, every_node
from backends.triage.rules import RULES, rule_of
from backends.triage.state import NodeView
from tests.triage.makers import NOW, failed, fleet, gpu, live, node, told, xid

SPEC = SiteSpec("site", nodes=(NodeSpec("n1"), NodeSpec("n2")))
BAD = Ecc(True, True, EccCounts(0, 2))


def rules(triage: Triage) -> list[str]:
    return [finding.rule for finding in triage.findings]


def lasting(triager: Triager, value: Fleet, start: float, seconds: int, events: tuple[Event, ...] = ()) -> Triage:
    """The triage after `value` has been so for `seconds`, read anew each second."""
    triage = Triage()
    for second in range(seconds + 1):
        now = start + second
        readings = tuple(
            dataclasses.replace(each, at=now) if each.state is NodeState.LIVE else each for each in value.nodes
        )
        triage = triager.run(Fleet(readings), events, now)
    return triage


def test_a_fault_is_told_with_what_was_checked_and_how_fresh() -> None:
    triage = lasting(Triager(SPEC), fleet(live(node(gpu(ecc=BAD))), failed("unreachable", name="n2")), NOW, 5)
    assert rules(triage) == ["node-unreachable", "ecc-uncorrected"]
    assert (triage.nodes_seen, triage.nodes_total, triage.oldest_reading_at) == (1, 2, NOW + 5)
    assert [check.rule for check in triage.checks] == [rule.id for rule in RULES if rule.site_subjects is None]
    assert {check.rule: check.subjects for check in triage.checks}["ecc-uncorrected"] == 1


def test_what_nvidia_smi_tells_is_not_said_to_be_nvml_s() -> None:
    smi = node(gpu(ecc=BAD), transport="nvidia-smi")
    triage = Triager(SPEC).run(fleet(live(smi)), (xid(48),), NOW, at_once=True)
    (told_by,) = [{line.source for line in each.evidence} for each in triage.findings if each.rule == "ecc-uncorrected"]
    assert told_by == {"nvidia-smi", "kernel log"}


def test_an_unchanged_node_is_not_judged_again() -> None:
    judged: list[NodeView] = []

    def judge(view: NodeView) -> list[Finding]:
        judged.append(view)
        return []

    counting = Rule("counting", "counting", (), every_node, judge)
    triager = Triager(SPEC, rules=[counting])
    value = node(gpu())
    for second in range(30):
        triager.run(fleet(live(value, NOW + second)), (), NOW + second)
    assert len(judged) == 1
    triager.run(fleet(live(dataclasses.replace(value, load_1m=1.0), NOW + 30)), (), NOW + 30)
    triager.run(fleet(live(dataclasses.replace(value, load_1m=1.0), NOW + 30)), (xid(31),), NOW + 31)
    assert len(judged) == 3


def test_findings_that_did_not_change_are_the_same_object() -> None:
    triager = Triager(SPEC)
    value = fleet(live(node(gpu(ecc=BAD))))
    first = lasting(triager, value, NOW, 5)
    second = lasting(triager, value, NOW + 6, 3)
    assert first.findings
    assert second.findings is first.findings


def test_values_of_a_node_that_went_away_are_held_and_judged_again_when_it_is_back() -> None:
    triager = Triager(SPEC)
    broken, sound = node(gpu(ecc=BAD)), node(gpu())
    assert rules(lasting(triager, fleet(live(broken)), NOW, 5)) == ["ecc-uncorrected"]
    stale = failed("unreachable", broken, at=NOW + 6)
    away = lasting(triager, fleet(stale), NOW + 6, 600)
    assert rules(away) == ["node-unreachable"]
    assert away.findings[0].folded == ("n1 gpu0: has 2 uncorrectable memory errors (ECC)",)
    assert away.recovered == ()
    back = lasting(triager, fleet(live(broken)), NOW + 700, 10)
    assert rules(back) == ["ecc-uncorrected"]
    assert back.findings[0].since == NOW
    assert [finding.rule for finding in back.recovered] == ["node-unreachable"]
    repaired = lasting(triager, fleet(live(sound)), NOW + 800, 30)
    assert repaired.findings == ()
    assert [finding.rule for finding in repaired.recovered] == ["ecc-uncorrected", "node-unreachable"]


def test_what_was_so_of_a_gpu_that_is_lost_now_is_folded_into_the_loss() -> None:
    triager = Triager(SPEC)
    lasting(triager, fleet(live(node(gpu(remapped_rows=RemappedRows(0, 1, True, False))))), NOW, 5)
    lost = gpu(remapped_rows=RemappedRows(0, 1, True, False), lost=True, lost_reason="NVML: GPU is lost")
    triage = lasting(triager, fleet(live(node(lost))), NOW + 6, 60)
    assert rules(triage) == ["gpu-lost"]
    assert triage.findings[0].folded == ("waits for a reset to replace a failed memory row",)


def test_a_cause_that_is_over_takes_what_followed_from_it_along() -> None:
    triager = Triager(SPEC)
    events = (xid(79, at=NOW), xid(45, at=NOW + 1), xid(45, 1, at=NOW + 1))
    lost = gpu(lost=True, lost_reason="NVML: GPU is lost")
    triage = lasting(triager, fleet(live(node(lost, gpu(1)))), NOW, 20, events)
    assert rules(triage) == ["gpu-lost"]
    rebooted = node(gpu(), gpu(1), boot_at=NOW + 60)
    triage = lasting(triager, fleet(live(rebooted)), NOW + 100, 60, events)
    assert triage.findings == ()
    assert [finding.rule for finding in triage.recovered] == ["gpu-lost"]


def test_two_runs_of_the_console_give_the_same_ids() -> None:
    value = fleet(live(node(gpu(ecc=BAD), gpu(1, persistence=False))), failed("auth-refused", name="n2"))
    once, again = (lasting(Triager(SPEC), value, NOW, 5) for _ in range(2))
    assert [finding.id for finding in once.findings] == [finding.id for finding in again.findings]


# --- acknowledgements ------------------------------------------------------------------------------------------------


def test_an_acknowledged_finding_says_so_and_is_not_the_worst(tmp_path: Path) -> None:
    value = fleet(live(node(gpu(ecc=BAD), gpu(1, remapped_rows=RemappedRows(0, 1, True, False)))))
    triager = Triager(SPEC, Acknowledgements("site", tmp_path))
    triage = lasting(triager, value, NOW, 5)
    name = next(finding.id for finding in triage.findings if finding.rule == "ecc-uncorrected")
    shown = triager.acknowledge(name, "alice", "reset on Monday", NOW + 6)
    assert shown is not None
    assert shown.count(Severity.WARNING) == 1
    triage = lasting(triager, value, NOW + 7, 3)
    assert triage.worst is not None
    assert triage.worst.rule == "row-remap-pending"
    triager.acknowledgements.refresh()
    restarted = lasting(Triager(SPEC, Acknowledgements("site", tmp_path)), value, NOW + 100, 5)
    (said,) = [finding.acknowledged for finding in restarted.findings if finding.id == name]
    assert said is not None
    assert said.why == "reset on Monday"
    assert triager.unacknowledge(name) is not None
    assert triager.acknowledge("no-such-finding", "alice", "", NOW) is None
    assert triager.unacknowledge("no-such-finding") is None


def test_an_acknowledged_finding_that_recovers_and_comes_back_is_open() -> None:
    triager = Triager(SPEC)
    bad, good = fleet(live(node(gpu(ecc=BAD)))), fleet(live(node(gpu())))
    name = lasting(triager, bad, NOW, 5).findings[0].id
    triager.acknowledge(name, "alice", "", NOW + 6)
    assert lasting(triager, good, NOW + 10, 40).findings == ()
    again = lasting(triager, bad, NOW + 100, 5)
    assert again.findings[0].id == name
    assert again.findings[0].acknowledged is None
    assert again.findings[0].since == NOW + 100
    assert again.recovered == ()


def test_an_acknowledged_finding_that_gets_worse_is_open() -> None:
    triager = Triager(SPEC)
    name = lasting(triager, fleet(live(node(gpu(ecc=BAD)))), NOW, 5).findings[0].id
    triager.acknowledge(name, "alice", "", NOW + 6)
    worse = fleet(live(node(gpu(ecc=Ecc(True, True, EccCounts(0, 5))))))
    (found,) = lasting(triager, worse, NOW + 10, 5).findings
    assert (found.id, found.acknowledged) == (name, None)


def test_a_broken_file_of_acknowledgements_is_a_note(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("nonsense\n")
    triage = lasting(Triager(SPEC, Acknowledgements("site", tmp_path)), fleet(live(node(gpu()))), NOW, 1)
    (found,) = triage.findings
    assert (found.rule, found.severity, found.subject.label) == ("acknowledgements", Severity.INFO, "site")


# --- robustness ------------------------------------------------------------------------------------------------------


def test_a_rule_that_fails_costs_its_own_findings_only_and_is_told() -> None:
    def broken(_view: NodeView) -> list[Finding]:
        raise ValueError("no such thing")

    triager = Triager(SPEC, rules=[Rule("broken", "broken things", (), every_node, broken), *RULES])
    triage = lasting(triager, fleet(live(node(gpu(ecc=BAD)))), NOW, 5)
    assert rules(triage) == ["ecc-uncorrected", "rule-failed"]
    assert "broken things" in triage.findings[1].claim


def test_a_rule_that_fails_holds_what_it_found_until_it_succeeds_again() -> None:
    fails = False

    def judge(view: NodeView) -> list[Finding]:
        if fails:
            raise ValueError("no such thing")
        return [told("moody", view.name)] if view.node is not None and view.node.load_1m else []

    moody = Rule("moody", "moody things", (), every_node, judge)
    triager = Triager(SPEC, rules=[moody, *RULES])
    triager._rule_of = lambda found: moody if found.rule == "moody" else Triager._rule_of(found)  # type: ignore[assignment, method-assign]
    triager._tracker._rule_of = triager._rule_of
    value = node(gpu(), load_1m=1.0)
    assert rules(lasting(triager, fleet(live(value)), NOW, 5)) == ["moody"]
    fails = True
    failing = lasting(triager, fleet(live(dataclasses.replace(value, load_1m=2.0))), NOW + 6, 60)
    assert sorted(rules(failing)) == ["moody", "rule-failed"]
    assert failing.recovered == ()
    fails = False
    after = lasting(triager, fleet(live(dataclasses.replace(value, load_1m=3.0))), NOW + 70, 30)
    assert rules(after) == ["moody"]
    assert [each.rule for each in after.recovered] == ["rule-failed"]


def test_an_acknowledged_node_that_answers_for_a_moment_stays_acknowledged() -> None:
    triager = Triager(SPEC)
    away = fleet(live(node(gpu())), failed("unreachable", name="n2", at=NOW - 60))
    name = lasting(triager, away, NOW, 5).findings[0].id
    triager.acknowledge(name, "alice", "rebuilt until Friday", NOW + 6)
    both = fleet(live(node(gpu())), live(node(gpu(node="n2"), name="n2")))
    assert lasting(triager, both, NOW + 10, 15).findings == ()
    gone = fleet(live(node(gpu())), failed("unreachable", node(gpu(node="n2"), name="n2"), name="n2", at=NOW + 26))
    again = lasting(triager, gone, NOW + 26, 20).findings
    assert [each.id for each in again] == [name]
    assert again[0].acknowledged is not None
    assert again[0].acknowledged.why == "rebuilt until Friday"


def test_an_acknowledged_fault_that_comes_back_worse_is_open() -> None:
    triager = Triager(SPEC)
    pending = node(gpu(remapped_rows=RemappedRows(0, 1, True, False)))
    name = lasting(triager, fleet(live(pending)), NOW, 5).findings[0].id
    triager.acknowledge(name, "alice", "", NOW + 6)
    lasting(triager, fleet(live(node(gpu()))), NOW + 10, 40)
    asked = node(gpu(remapped_rows=RemappedRows(0, 1, True, False), recovery_action="gpu_reset"))
    (again,) = lasting(triager, fleet(live(asked)), NOW + 100, 10).findings
    assert (again.id, again.severity, again.acknowledged) == (name, Severity.CRITICAL, None)


def test_a_node_that_has_not_answered_is_told_at_the_end_of_one_reading_and_after_a_minute() -> None:
    waits = fleet(live(node(gpu())), NodeReading("n2", NodeState.CONNECTING, None, None, None))
    once = Triager(SPEC).run(waits, (), NOW, at_once=True)
    assert [(each.rule, each.subject.node) for each in once.findings] == [("node-waiting", "n2")]
    watching = Triager(SPEC)
    assert lasting(watching, waits, NOW, 50).findings == ()
    assert rules(lasting(watching, waits, NOW + 51, 15)) == ["node-waiting"]


def test_acknowledgements_that_cannot_be_kept_are_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    triager = Triager(SPEC, Acknowledgements("site", tmp_path / "state"))
    bad = fleet(live(node(gpu(ecc=BAD))))
    triager.acknowledge(lasting(triager, bad, NOW, 5).findings[0].id, "alice", "", NOW + 5)
    triager.acknowledgements.refresh()
    after = lasting(triager, bad, NOW + 6, 1)
    assert rules(after) == ["acknowledgements", "ecc-uncorrected"]
    assert after.findings[0].claim.startswith("the acknowledgements cannot be written: "), "before anything is cut"
    assert str(tmp_path) in after.findings[0].evidence[0].text


def test_every_finding_belongs_to_a_line_of_the_registry() -> None:
    assert rule_of(told("xid-79")).id == "xid"
    assert rule_of(told("nvlink-down-peer")).id == "nvlink-down"
    with pytest.raises(KeyError):
        rule_of(told("unheard-of"))
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all((rule.judge is None) != (rule.judge_site is None) for rule in RULES)


WORDS: dict[str, tuple[str, ...]] = {
    "recovery_action": ("none", "gpu_reset", "odd"),
    "lost_reason": ("NVML: GPU is lost", "reset", ""),
    "name": ("NVIDIA H100 80GB HBM3", "NVIDIA A100", ""),
    "mode": ("none", "vgpu", "passthrough", "odd"),
    "state": ("completed", "not_started", "in_progress", "odd", "active", "down", "failed"),
    "health": ("healthy", "unhealthy", "odd"),
    "remote_kind": ("gpu", "switch", "odd"),
    "architecture": ("Ampere", "Hopper", ""),
    "compute_mode": ("default", "prohibited"),
    "transport": ("nvml", "nvidia-smi"),
    "driver": ("590.1", "580.2"),
    "vbios": ("1", "2"),
    "board_part_number": ("a",),
}


def anything(cls: type[Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a domain dataclass with each field measured or not, sensible or not."""
    hints = get_type_hints(cls)
    fields = {field.name: _of_hint(field.name, hints[field.name], depth) for field in dataclasses.fields(cls)}
    return st.builds(cls, **fields)


def _of_hint(name: str, hint: Any, depth: int) -> st.SearchStrategy[Any]:
    options = [part for part in get_args(hint) if part is not type(None)]
    if type(None) in get_args(hint):
        (inner,) = options
        return st.none() | _of_hint(name, inner, depth)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return anything(hint, depth + 1)
    if get_origin(hint) is tuple:
        if len(options) == 2 and options[1] is Ellipsis:
            if name == "event_reasons":
                reasons = ("gpu_idle", "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown")
                return st.lists(st.sampled_from(reasons), max_size=3, unique=True).map(tuple)
            return st.lists(_of_hint(name, options[0], depth + 1), max_size=2).map(tuple)
        return st.tuples(*(_of_hint(name, part, depth + 1) for part in options))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.sampled_from([0, 1, -1, 3, 16, 79, 2**40, 2**63]),
        float: st.sampled_from([0.0, 1.0, -5.0, 1e9, NOW - 60, NOW + 60]),
        str: st.sampled_from(WORDS.get(name, ("a", "", "x" * 300))),
    }
    return simple[hint]


def _readings() -> st.SearchStrategy[tuple[NodeReading, ...]]:
    gpus = st.lists(anything(Gpu), max_size=3).map(
        lambda found: tuple(dataclasses.replace(each, index=n, uuid=f"GPU-{n}") for n, each in enumerate(found))
    )
    nodes = st.builds(lambda value, its: dataclasses.replace(value, gpus=its), anything(Node), gpus)
    problems = st.none() | st.builds(
        Problem, st.sampled_from(["unreachable", "probe-cut", "odd"]), st.just("said"), st.just(""), st.just(NOW - 60)
    )
    one = st.builds(
        NodeReading,
        st.just("n"),
        st.sampled_from(list(NodeState)),
        st.none() | nodes,
        st.none() | st.sampled_from([NOW, NOW - 10, NOW - 1000]),
        problems,
    )
    return st.lists(one, max_size=6).map(
        lambda found: tuple(dataclasses.replace(each, name=f"n{number}") for number, each in enumerate(found))
    )


def _events() -> st.SearchStrategy[tuple[Event, ...]]:
    return st.lists(
        st.builds(
            Event,
            st.sampled_from([NOW - 5, NOW - 4000, NOW + 5, 0.0]),
            st.sampled_from(["n0", "n1", "elsewhere"]),
            st.sampled_from(["xid", "gpu_lost", "disconnected", "odd"]),
            st.sampled_from(["", "GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", "x"]),
            st.none() | st.integers(-1, 5),
            st.none() | st.sampled_from(["GPU-0", "GPU-1"]),
            st.none() | st.just("a"),
            st.none() | st.sampled_from([0, 13, 45, 48, 74, 79, 94, 119, 149, 154, 999, -1]),
            st.none() | st.just("kernel"),
        ),
        max_size=6,
    ).map(lambda found: tuple(sorted(found, key=lambda each: each.at)))


@settings(max_examples=60)
@given(readings=_readings(), more=_readings(), events=_events())
def test_no_value_breaks_a_rule(
    readings: tuple[NodeReading, ...], more: tuple[NodeReading, ...], events: tuple[Event, ...]
) -> None:
    triager = Triager(SPEC)
    for second, value in enumerate((readings, more, readings, more)):
        triage = triager.run(Fleet(value), events, NOW + 5.0 * second, at_once=second == 3)
        assert "rule-failed" not in rules(triage), [f.evidence for f in triage.findings if f.rule == "rule-failed"]
        for finding in triage.findings:
            assert finding.severity in rule_of(finding).severities or finding.folded
            assert finding.claim
            assert len(finding.claim) <= 160
        assert len({finding.id for finding in triage.findings}) == len(triage.findings)
