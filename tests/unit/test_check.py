"""`gpudeck check` as a document and as lines: built from a triage, no site needed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from backends.check import PlatformParts, document, exit_code, render
from backends.domain import (
    Acknowledgement,
    Check,
    Evidence,
    Finding,
    Fleet,
    GpuProcess,
    Hit,
    NextStep,
    NodeReading,
    NodeState,
    NotPermitted,
    Permission,
    Problem,
    Severity,
    SiteSpec,
    Stack,
    Triage,
    Unread,
    Workloads,
)
from backends.feed import Reading
from backends.snapshot import document as snapshot
from backends.snapshot import render as render_snapshot
from tests.triage.makers import NOW, failed, gpu, live, node, told
from tests.workloads import container_id, pod

FLEET = Fleet((live(node(gpu())), failed("unreachable", name="n2")))


def lost(**changes: Any) -> Finding:
    return dataclasses.replace(
        told("gpu-lost", "n1", 3, severity=Severity.CRITICAL, claim="has fallen off the bus (XID 79)", since=NOW - 60),
        evidence=(Evidence("XID 79: GPU has fallen off the bus.", NOW - 60, "kernel log"),),
        cause="likely its PCIe link",
        hits=tuple(Hit(f"alice: python (pid {n})", "alice", n) for n in range(6)),
        steps=(NextStep("command", "reboot n1", "systemctl reboot"), NextStep("screen", "look at it", "n1/GPU-n1-3")),
        folded=("XID 45",),
        **changes,
    )


def of(*findings: Finding, fleet: Fleet = FLEET, **more: Any) -> dict[str, Any]:
    triage = Triage(
        findings=findings,
        checks=(Check("gpu-lost", "lost GPUs", 8), Check("rdma-port", "RDMA ports", 0)),
        nodes_seen=1,
        nodes_total=2,
        oldest_reading_at=NOW - 2,
        **more,
    )
    return document(SiteSpec("prod", platform="kubernetes"), fleet, triage, NOW)


def test_the_document_is_json_with_every_field_of_a_finding() -> None:
    told_back = json.loads(json.dumps(of(lost()), allow_nan=False))
    assert told_back["schema"] == "gpudeck/check/1"
    assert (told_back["site"], told_back["nodes_seen"], told_back["nodes_total"]) == ("prod", 1, 2)
    (finding,) = told_back["findings"]
    assert set(finding) == {field.name for field in dataclasses.fields(Finding)}
    assert finding["severity"] == "critical"
    assert finding["subject"] == {"node": "n1", "gpu_key": "GPU-n1-3", "gpu_index": 3}
    assert told_back["checks"][0] == {"rule": "gpu-lost", "title": "lost GPUs", "subjects": 8}


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ((), 0),
        ((told("vbios-drift", severity=Severity.INFO),), 0),
        ((told("hw-thermal", gpu_index=0, severity=Severity.WARNING),), 1),
        ((lost(),), 1),
        ((lost(acknowledged=Acknowledgement("alice", "", NOW)),), 0),
        ((lost(acknowledged=Acknowledgement("alice", "", NOW)), told("hw-thermal", gpu_index=0)), 1),
    ],
)
def test_the_exit_code_says_whether_something_is_wrong_that_nobody_knows_of(
    findings: tuple[Finding, ...], code: int
) -> None:
    both = Fleet((live(node(gpu())), live(node(gpu(node="n2"), name="n2"))))
    assert exit_code(of(*findings, fleet=both)) == code


def test_no_node_that_answers_is_exit_3() -> None:
    dead = Fleet((failed("unreachable"),))
    assert exit_code(document(SiteSpec("prod"), dead, Triage(nodes_total=1), NOW)) == 3
    assert exit_code(document(SiteSpec("empty"), Fleet(), Triage(), NOW)) == 0


def test_the_lines_are_aligned_and_the_evidence_is_indented() -> None:
    text = render(of(lost(), told("driver-drift", "dgx-h100-04", severity=Severity.INFO, claim="its driver differs")))
    lines = text.splitlines()
    assert lines[0] == "prod: 1 of 2 nodes judged, oldest reading 2 s old"
    heads = [line for line in lines if line.startswith(("critical", "note"))]
    assert heads[0].index("has fallen") == heads[1].index("its driver")
    assert any(line.startswith(" " * 10 + "- ") and "GPU has fallen off the bus." in line for line in lines)
    assert "          > reboot n1: systemctl reboot" in lines
    assert "          - with it: XID 45" in lines
    assert sum("hits" in line for line in lines) == 5
    assert any(line.endswith("hits 2 more") for line in lines)
    assert "look at it" not in text
    assert "checked: lost GPUs (8)" in lines
    assert "nothing to judge: RDMA ports" in lines


def test_whom_a_finding_hits_is_told_as_not_known_where_nobody_can_tell() -> None:
    unknown = dataclasses.replace(lost(), hits=(), hits_known=False)
    told_back = of(unknown)
    assert (told_back["findings"][0]["hits"], told_back["findings"][0]["hits_known"]) == ((), False)
    assert "          hits not known: what ran there cannot be read any more" in render(told_back).splitlines()


def test_what_was_checked_is_folded() -> None:
    many = Triage(checks=tuple(Check(f"rule-{n}", f"a check of part {n}", 1) for n in range(40)), nodes_total=2)
    lines = render(document(SiteSpec("prod"), FLEET, many, NOW)).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("checked: "))
    assert max(map(len, lines)) <= 100
    assert all(line.startswith("  ") for line in lines[at + 1 :])


def test_an_all_clear_says_what_was_checked() -> None:
    assert "nothing is wrong" in render(of())
    recovered = dataclasses.replace(lost(), recovered_at=NOW - 5)
    assert "recovered n1 gpu3: has fallen off the bus (XID 79)" in render(of(recovered=(recovered,)))


def test_an_acknowledged_finding_says_by_whom_and_why() -> None:
    text = render(of(lost(acknowledged=Acknowledgement("alice", "RMA 1234", NOW - 10))))
    assert "acknowledged by alice" in text
    assert "RMA 1234" in text


def parts(stack_error: bool = False, denied: bool = False) -> PlatformParts:
    refused = (NotPermitted("pods of the cluster", Permission("list", "pods")),) if denied else ()
    workloads = Workloads((pod("llama-0", node="n1"),), refused)
    problem = Problem("unreachable", "the API server cannot be reached", "is it up?", NOW)
    stack: Reading[Stack] = Reading(error=problem) if stack_error else Reading(Stack("kubernetes"), NOW)
    return PlatformParts(stack, Reading(workloads, NOW))


def test_the_document_says_what_was_read_of_the_platform_and_what_could_not_be() -> None:
    site = SiteSpec("prod", platform="kubernetes")
    told_all = document(site, FLEET, Triage(), NOW, parts())["platform_parts"]
    assert told_all["stack"] == {"at": NOW, "count": 0, "error": None, "not_permitted": []}
    assert told_all["workloads"]["count"] == 1
    cut = document(site, FLEET, Triage(), NOW, parts(stack_error=True, denied=True))
    assert cut["platform_parts"]["stack"]["error"]["code"] == "unreachable"
    text = render(cut)
    assert "kubernetes: stack not read: the API server cannot be reached" in text
    assert "kubernetes: workloads: 1" in text
    assert text.count("not permitted: pods of the cluster (needs: list pods)") == 1
    assert document(SiteSpec("bare"), FLEET, Triage(), NOW)["platform_parts"] is None


def test_what_may_not_be_read_is_not_counted_as_none() -> None:
    site, refused = SiteSpec("prod", platform="kubernetes"), (NotPermitted("nodes", Permission("list", "nodes")),)
    nothing = PlatformParts(
        Reading(Stack("kubernetes", not_permitted=refused), NOW), Reading(Workloads((), refused), NOW)
    )
    told_back = document(site, FLEET, Triage(), NOW, nothing)
    assert [part["count"] for part in told_back["platform_parts"].values()] == [None, None]
    text = render(told_back)
    assert "kubernetes: nodes of the GPU stack: n/a, not permitted" in text
    assert "kubernetes: workloads: n/a, not permitted" in text


def test_a_site_of_a_platform_alone_is_unreachable_when_the_platform_is() -> None:
    site, nobody = SiteSpec("prod", platform="kubernetes"), Fleet()
    assert exit_code(document(site, nobody, Triage(), NOW, PlatformParts(Reading(), Reading()))) == 3
    assert exit_code(document(site, nobody, Triage(), NOW, parts())) == 0


def test_a_node_that_was_never_read_has_the_keys_of_the_others() -> None:
    document = json.loads(json.dumps(snapshot(SiteSpec("bare"), FLEET, (), NOW), allow_nan=False))
    read, unread = document["nodes"]
    assert list(unread) == list(read)
    assert list(unread["host"]) == list(read["host"])
    assert (unread["name"], unread["reachable"], unread["gpus"]) == ("n2", False, [])
    assert [unread[key] for key in ("transport", "driver", "cuda", "topology", "age_seconds")] == [None] * 5


def test_a_snapshot_has_the_stack_the_workloads_and_whose_each_process_is() -> None:
    inside = GpuProcess(7, "compute", "root", "python", container_id=container_id("llama-0"))
    fleet = Fleet((live(node(gpu(processes=(inside, GpuProcess(8, "compute", "jane", "top"))))),))
    told_back = snapshot(SiteSpec("prod", platform="kubernetes"), fleet, (), NOW, Triage(), parts())
    document = json.loads(json.dumps(told_back, allow_nan=False))
    assert document["schema"] == "gpudeck/snapshot/1"
    assert document["stack"]["schema"] == "gpudeck/stack/1"
    assert document["workloads"][0]["title"] == "team-search/llama-0"
    assert document["workloads"][0]["owners"][-1] == {"kind": "Deployment", "name": "llama-70b"}
    processes = document["nodes"][0]["gpus"][0]["processes"]
    assert [(each["pid"], each["workload"]) for each in processes] == [(7, "team-search/llama-0"), (8, None)]
    alone = snapshot(SiteSpec("bare"), fleet, (), NOW)
    assert (alone["stack"], alone["workloads"], alone["platform_parts"]) == (None, None, None)


def test_a_snapshot_calls_no_gpu_ok_of_which_triage_found_something() -> None:
    seen = Fleet((live(node(gpu(0), gpu(1))), live(node(gpu(0, "n2"), name="n2"))))
    hot = told("hw-thermal", "n1", 0, claim="is slowed down by its hardware")
    note = told("driver-drift", "n2", severity=Severity.INFO)
    disk = told("disk-full", "n2", severity=Severity.WARNING)

    def states(*findings: Finding) -> list[str]:
        table = render_snapshot(snapshot(SiteSpec("bare"), seen, (), NOW, Triage(findings)))
        return [line.rsplit("  ", 1)[1] for line in table.splitlines()[2:]]

    assert states(hot, note) == ["warning: is slowed down by its hardware", "ok", "ok"]
    assert states(disk) == ["ok", "ok", "findings of its node: gpudeck check"]


def test_a_node_that_has_not_answered_is_not_well() -> None:
    waiting = Fleet((live(node(gpu())), NodeReading("n2", NodeState.CONNECTING, None, None, None)))
    told_back = document(SiteSpec("prod"), waiting, Triage(nodes_seen=1, nodes_total=2), NOW)
    assert told_back["nodes_not_judged"] == [{"node": "n2", "state": "connecting", "known": False}]
    assert exit_code(told_back) == 1
    text = render(told_back)
    assert "1 of 2 nodes not judged: n2 (connecting)" in text
    assert "nothing is wrong on the 1 nodes that were judged" in text


def test_values_that_are_too_old_are_not_judged_and_not_well() -> None:
    old = Fleet((live(node(gpu())), live(node(gpu(), name="n2"), NOW - 120)))
    slow = told("node-slow", "n2", severity=Severity.INFO)
    assert exit_code(document(SiteSpec("prod"), old, Triage((slow,), nodes_seen=1, nodes_total=2), NOW)) == 1
    known = dataclasses.replace(told("node-waiting", "n2"), acknowledged=Acknowledgement("alice", "", NOW))
    assert exit_code(document(SiteSpec("prod"), old, Triage((known,), nodes_seen=1, nodes_total=2), NOW)) == 0


def seen(finding: Finding) -> Finding:
    return dataclasses.replace(finding, acknowledged=Acknowledgement("alice", "", NOW))


DOWN = "the container engine of n1 cannot be asked for containers: Connection refused"
DOCKER = SiteSpec("prod", platform="docker")
BOTH = Fleet((live(node(gpu())), live(node(gpu(node="n2"), name="n2"))))


def engine_down(*findings: Finding, fleet: Fleet = BOTH, unread: tuple[Unread, ...] = (Unread("n1", DOWN),)) -> Any:
    read = PlatformParts(Reading(Stack("docker"), NOW), Reading(Workloads(unread=unread), NOW))
    return document(DOCKER, fleet, Triage(findings, nodes_seen=2, nodes_total=2), NOW, read)


def test_an_engine_that_was_not_read_is_told_and_not_well() -> None:
    told_back = engine_down()
    assert told_back["platform_not_judged"] == [{"what": "workloads", "node": "n1", "why": DOWN, "known": False}]
    assert exit_code(told_back) == 1
    lines = render(told_back).splitlines()
    assert "docker: workloads: n/a, not read" in lines
    assert f"docker: workloads of n1 not read: {DOWN}" in lines
    assert "nothing is wrong in what was judged" in lines


def test_an_engine_that_was_not_read_is_known_by_its_finding() -> None:
    for node_name in ("n1", None):
        told_back = engine_down(seen(told("operand-engine", node_name)))
        assert told_back["platform_not_judged"][0]["known"]
        assert exit_code(told_back) == 0
    for other in (told("operand-toolkit", "n1"), told("operand-engine", "n2"), told("hw-thermal", "n1", 3)):
        assert exit_code(engine_down(seen(other))) == 1


def test_an_engine_behind_a_node_that_does_not_answer_is_told_once() -> None:
    silent = Fleet((failed("unreachable"), live(node(gpu(node="n2"), name="n2"))))
    told_back = engine_down(seen(told("node-unreachable", "n1")), fleet=silent)
    assert [each["known"] for each in told_back["platform_not_judged"]] == [True]
    assert exit_code(told_back) == 0
    assert "workloads of n1" not in render(told_back)


def test_containers_that_have_ended_are_nothing_that_lacks() -> None:
    told_back = engine_down(unread=(Unread("n1", "900 containers of n1 that are stopped are left out", running=False),))
    assert told_back["platform_not_judged"] == []
    assert exit_code(told_back) == 0


def test_of_many_engines_some_are_named() -> None:
    many = tuple(Unread(f"n{number:02}", f"n{number:02} is silent") for number in range(20))
    lines = render(engine_down(unread=many)).splitlines()
    assert sum(" not read: " in line for line in lines) == 8
    assert "docker: workloads of 12 more nodes not read" in lines


def test_a_platform_that_was_not_read_in_time_is_not_well() -> None:
    site = SiteSpec("prod", platform="kubernetes")
    late = document(site, BOTH, Triage(), NOW, PlatformParts(Reading(Stack("kubernetes"), NOW), Reading()))
    assert late["platform_not_judged"] == [
        {"what": "workloads", "node": None, "why": "not read in time", "known": False}
    ]
    assert exit_code(late) == 1
    cut = document(site, BOTH, Triage(), NOW, parts(stack_error=True))
    assert exit_code(cut) == 1
    known = Triage((seen(told("platform-unreachable", None)),))
    assert exit_code(document(site, BOTH, known, NOW, parts(stack_error=True))) == 0
