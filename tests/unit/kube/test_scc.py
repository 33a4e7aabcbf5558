"""The event of pods that SCCs refuse, and what becomes of its controller."""

from __future__ import annotations

from typing import Any

import pytest

from backends.domain import GpuRequest, Owner, SccClause
from backends.openshift.refusals import CONTROLLERS, controller_of, refused
from backends.openshift.scc import CLAUSES_KEPT, READ_LIMIT, UNUSABLE_KEPT, FailedCreate, failed_create_of, objections
from tests.kube import objects as kube
from tests.kube import openshift_objects as openshift

UNUSABLE = "Forbidden: not usable by user or serviceaccount"


def event(**more: Any) -> FailedCreate:
    return failed_create_of(openshift.failed_create(held("llama"), **more))


def held(name: str, **more: Any) -> dict[str, Any]:
    """A ReplicaSet as the server has it."""
    made = openshift.replica_set(name, "team-a", **more)
    return {**made, "metadata": {**made["metadata"], "uid": f"uid-{name}"}}


def test_each_objection_is_told_with_its_scc_and_field_and_the_others_are_names() -> None:
    clauses, unusable = objections(openshift.scc_message())
    assert [clause.words for clause in clauses] == [
        "restricted-v2: .containers[0].privileged: Privileged containers are not allowed",
        "restricted-v2: .containers[0].runAsUser: 0: must be in the ranges: [100068000, 100068999]",
    ]
    assert unusable == ("anyuid", "privileged")


def test_objections_without_an_scc_stand_for_themselves() -> None:
    clauses, unusable = objections(
        openshift.scc_message(
            f'provider "anyuid": {UNUSABLE}',
            'spec.volumes[0]: Invalid value: "hostPath": hostPath volumes are not allowed to be used',
            "provider restricted: .spec.securityContext.fsGroup: Invalid value: []int64{0, 5}: 0 is not a group",
            "pod.metadata.annotations[seccomp/app]: Forbidden: seccomp may not be set",
        )
    )
    assert clauses == (
        SccClause("hostPath volumes are not allowed to be used", None, "spec.volumes[0]"),
        SccClause("0 is not a group", "restricted", ".spec.securityContext.fsGroup"),
        SccClause("seccomp may not be set", None, "pod.metadata.annotations[seccomp/app]"),
    )
    assert unusable == ("anyuid",)


def test_old_releases_part_them_by_spaces() -> None:
    clauses, _ = objections(
        "unable to validate against any security context constraint: [provider restricted: "
        ".spec.securityContext.hostNetwork: Invalid value: true: Host network is not allowed to be used "
        "spec.containers[0].securityContext.privileged: Invalid value: true: Privileged containers are not allowed "
        'capabilities.add: Invalid value: "ALL": capability may not be added]'
    )
    assert [clause.why for clause in clauses] == [
        "Host network is not allowed to be used",
        "Privileged containers are not allowed",
        "ALL: capability may not be added",
    ]


def test_the_objection_after_fifty_others_is_read_and_a_message_that_was_cut_ends_well() -> None:
    names = [f'provider "scc-of-some-operator-{number}": {UNUSABLE}' for number in range(50)]
    objection = (
        "provider restricted-v2: .containers[0].privileged: Invalid value: true: Privileged containers are not allowed"
    )
    whole = openshift.scc_message(*names, objection)
    clauses, unusable = objections(whole)
    assert [clause.why for clause in clauses] == ["Privileged containers are not allowed"]
    assert len(unusable) == 50
    cut = openshift.scc_message(objection, *names)[:300] + ' provider "scc'
    assert [clause.why for clause in objections(cut)[0]] == ["Privileged containers are not allowed"]


@pytest.mark.parametrize("tail", ["", ": []", ": [", ":", ": [provider]", ": [, , ]"])
def test_a_message_that_lists_nothing_gives_nothing(tail: str) -> None:
    told = failed_create_of({"message": f"unable to validate against any security context constraint{tail}"})
    assert told.refused
    assert told.unusable == ()


def test_a_hostile_message_is_bounded_and_inert() -> None:
    evil = "\x1b]0;owned\x07[bold]x" + "\u202e"
    parts = [f"provider {evil}{number}: .containers[0].x: Invalid value: 1: {evil * 50}" for number in range(500)]
    run = " " * 4000 + "," * 4000
    clauses, unusable = objections(openshift.scc_message(*parts))
    told = failed_create_of(openshift.failed_create(held("x"), message=openshift.scc_message(run, *parts) + run * 100))
    assert len(clauses) <= CLAUSES_KEPT
    assert len(unusable) <= UNUSABLE_KEPT
    texts = [clause.words for clause in (*clauses, *told.clauses)]
    assert all("\x1b" not in text and "\u202e" not in text and len(text) < READ_LIMIT for text in texts)


@pytest.mark.parametrize("raw", [{}, {"message": 5, "involvedObject": []}, {"involvedObject": {"uid": None}}])
def test_an_odd_event_tells_of_nothing(raw: dict[str, Any]) -> None:
    told = failed_create_of(raw)
    assert (told.refused, told.controller.uid, told.clauses) == (False, "", ())


def test_the_newest_event_of_a_controller_decides() -> None:
    quota = 'pods "llama-7d9-" is forbidden: exceeded quota: gpus, requested: 1, used: 8, limited: 8'
    old, new = event(at=kube.NOW), event(at=kube.NOW + 60, message=quota)
    assert [each.at for each in refused([old])] == [kube.NOW]
    assert refused([new, old]) == [], "what stops it now is the quota"
    other = failed_create_of(openshift.failed_create(held("other"), at=kube.NOW + 5))
    assert [each.controller.name for each in refused([old, other])] == ["other", "llama"]


def test_what_is_kept_of_a_replica_set() -> None:
    owner = kube.controller("apps/v1", "Deployment", "llama")
    found = controller_of("ReplicaSet", held("llama-7d9", gpus=4, owner=owner, account="runner"))
    assert (found.owner, found.service_account) == (Owner("Deployment", "llama"), "runner")
    assert (found.gpus, found.wanted, found.missing) == ((GpuRequest("nvidia.com/gpu", 4),), 2, 2)
    assert controller_of("ReplicaSet", held("llama-7d9")).service_account == "default"


def test_a_daemon_set_of_the_operator_is_known_as_its_operand() -> None:
    raw = {**kube.daemon_set("driver"), "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 1}}
    found = controller_of("DaemonSet", raw)
    assert (found.operand, found.wanted, found.missing) == ("driver", 3, 2)


@pytest.mark.parametrize(
    ("kind", "spec", "status", "missing"),
    [
        ("ReplicaSet", {"replicas": 3}, {"replicas": 3}, 0),
        ("ReplicaSet", {"replicas": 0}, {}, 0),
        ("StatefulSet", {"replicas": 3}, {"replicas": 1}, 2),
        ("ReplicationController", {}, {}, 1),
        ("Job", {"parallelism": 4}, {"active": 1}, 3),
        ("Job", {"parallelism": 4, "completions": 4}, {"succeeded": 3}, 1),
        ("Job", {"parallelism": 4, "completions": 4}, {"succeeded": 4}, 0),
        ("Job", {"parallelism": 4}, {"conditions": [{"type": "Failed", "status": "True"}]}, 0),
        ("Job", {"parallelism": 4, "suspend": True}, {}, 0),
        ("DaemonSet", {}, {}, 0),
    ],
)
def test_how_many_pods_are_missing(kind: str, spec: dict[str, Any], status: dict[str, Any], missing: int) -> None:
    assert controller_of(kind, {"spec": spec, "status": status}).missing == missing
    assert kind in CONTROLLERS
