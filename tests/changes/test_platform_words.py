"""What of the platform's changes is words and numbers: command lines as wishes, radii taken together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.changes.change import BlastRadius, Undetermined, together
from backends.changes.platform_actions import Wish, wish_of
from backends.changes.platform_step import radius_of_pods
from backends.changes.upgrade_steps import queue_said
from backends.domain import (
    Act,
    DrainPod,
    DriverUpgradeState,
    GpuRequest,
    Owner,
    PolicyState,
    Stack,
    StackHealth,
    StackNode,
    UpgradePolicy,
    Verb,
)
from backends.kubernetes import requests


@pytest.mark.parametrize(
    ("line", "wish"),
    [
        ("gpudeck stack drain --node n1", Wish("drain", "n1")),
        ("gpudeck stack drain --node n1 --force", Wish("drain-force", "n1")),
        ("gpudeck stack restart driver --node 'n 1'", Wish("restart", "n 1", "driver")),
        ("gpudeck stack restart --node n1 driver", Wish("restart", "n1", "driver")),
        ("gpudeck stack upgrade start --node n1", Wish("upgrade-start", "n1")),
        ("gpudeck stack mig all-1g.10gb --node n1", Wish("mig", "n1", "all-1g.10gb")),
        ("gpudeck stack mig all-1g.10gb --node n1 --config '/a b' --site s", Wish("mig", "n1", "all-1g.10gb")),
        ("gpudeck stack --site s drain --config f --force --node n1", Wish("drain-force", "n1")),
    ],
)
def test_a_command_line_is_a_wish(line: str, wish: Wish) -> None:
    assert wish_of(line) == wish


@pytest.mark.parametrize(
    "line",
    [
        "kubectl drain n1",
        "gpudeck stack",
        "gpudeck stack --node",
        "gpudeck stack drain",
        "gpudeck stack drain n1",
        "gpudeck stack restart --node n1",
        "gpudeck stack cordon driver --node n1",
        "gpudeck stack explode --node n1",
        "gpudeck stack upgrade --node n1",
        "gpudeck stack --node n1",
        "gpudeck stack drain --node 'n1",
    ],
)
def test_any_other_line_is_none(line: str) -> None:
    assert wish_of(line) is None


def pod(name: str, *gpus: GpuRequest) -> DrainPod:
    return DrainPod("team-a", name, Owner("Job", "train"), gpus, "alice", uid=name)


def test_gpus_are_counted_by_resource_and_mig_instances_apart_from_them() -> None:
    whole, cut = GpuRequest("nvidia.com/gpu", 4), GpuRequest("nvidia.com/mig-3g.40gb", 2)
    radius = radius_of_pods([pod("a", whole), pod("b", whole), pod("c", cut), pod("d")])
    assert (radius.gpus, radius.gpu_number) == (("8 x nvidia.com/gpu",), 8)
    assert (radius.instances, radius.instance_count) == (("2 x nvidia.com/mig-3g.40gb",), 2)
    assert radius.owners == ("Job team-a/train",)
    assert radius.beyond(9) == "it touches 10 GPUs and MIG instances; the limit of this site is 9"
    assert radius.beyond(10) is None
    lines = together([radius, BlastRadius()]).lines
    assert "8 GPUs: 8 x nvidia.com/gpu" in lines
    assert "2 MIG instances: 2 x nvidia.com/mig-3g.40gb" in lines
    more = replace(radius, instances=("3 x nvidia.com/mig-3g.40gb",), instance_count=3)
    assert more.more_than(radius) == ("3 MIG instances instead of 2",)


def test_what_ends_no_work_says_so_and_a_drain_of_nobody_does_not() -> None:
    spared, nobody = BlastRadius(spares_work=True), BlastRadius()
    assert together([spared, spared]).lines == ("what runs there is not touched",)
    assert together([spared, nobody]).lines == ("no workloads seen",)
    assert together([]).lines == ("no workloads seen",)
    assert together([spared, radius_of_pods([pod("a")])]).lines[0] == "1 pod: team-a/a"


names = st.lists(st.sampled_from("abcdef"), max_size=4, unique=True).map(tuple)


@given(st.lists(st.builds(BlastRadius, pods=names, gpus=names, processes=names), max_size=4))
def test_together_each_is_counted_once_and_none_is_lost(radii: list[BlastRadius]) -> None:
    whole = together(radii)
    assert set(whole.pods) == {name for each in radii for name in each.pods}
    assert len(set(whole.pods)) == len(whole.pods)
    assert whole.gpu_number == len({name for each in radii for name in each.gpus})
    assert whole.workloads >= max((each.workloads for each in radii), default=0)


@given(st.builds(BlastRadius, pods=names, gpus=names, processes=names), st.lists(st.sampled_from("abcxyz"), max_size=3))
def test_only_what_was_not_seen_before_is_news(before: BlastRadius, come: list[str]) -> None:
    after = replace(before, pods=tuple(dict.fromkeys((*before.pods, *come))))
    assert after.more_than(before) == tuple(f"pod {each}" for each in after.pods if each not in before.pods)
    assert before.more_than(after) == ()


def test_more_gpus_and_what_can_no_longer_be_told_are_news() -> None:
    known, unknown = (Undetermined("whom it hits", why, uncounted=True) for why in ("no answer", "no route"))
    few = BlastRadius(gpus=("2 x nvidia.com/gpu",), gpu_count=2)
    many = BlastRadius(gpus=("3 x nvidia.com/gpu",), gpu_count=3, undetermined=(unknown,), ends_work=True)
    assert many.more_than(few) == (
        "3 GPUs instead of 2", "not known: whom it hits (no route)", "whoever works there meanwhile",
    )  # fmt: skip
    assert many.more_than(replace(many, undetermined=(known,))) == ()


def test_what_one_step_could_not_find_out_stays_told() -> None:
    unknown = Undetermined("whom it hits now", "no answer", uncounted=True)
    whole = together([BlastRadius(pods=("a/b",)), BlastRadius(undetermined=(unknown,))])
    assert whole.undetermined == (unknown,)
    assert "cannot be told" in (whole.beyond(5) or "")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_request_with_a_body_of_options_says_in_it_that_it_is_a_dry_run(dry_run: bool) -> None:
    body, _ = requests.restart("team-a", "b", "u-1").sent(dry_run=dry_run)
    assert isinstance(body, Mapping)
    assert body.get("dryRun") == (["All"] if dry_run else None)
    body, _ = requests.evict("team-a", "b", "v1", "u-1").sent(dry_run=dry_run)
    assert isinstance(body, Mapping)
    assert body["deleteOptions"].get("dryRun") == (["All"] if dry_run else None)
    assert body["deleteOptions"]["preconditions"] == {"uid": "u-1"}
    _, query = requests.cordon("n1", True).sent(dry_run=dry_run)
    assert query.get("dryRun") == ("All" if dry_run else None)


@pytest.mark.parametrize(
    ("former", "change"),
    [("upgrade-done", {"op": "replace", "value": "upgrade-done"}), ("", {"op": "remove"})],
)
def test_an_upgrade_is_taken_back_only_while_the_server_still_has_its_first_step(
    former: str, change: dict[str, str]
) -> None:
    path = "/metadata/labels/nvidia.com~1gpu-driver-upgrade-state"
    request = requests.upgrade_back("n1", former)
    assert request.sent(dry_run=False)[0] == [
        {"op": "test", "path": path, "value": "upgrade-required"},
        {"path": path, **change},
    ]
    assert request.content_type == "application/json-patch+json"


def upgraded(name: str, step: str) -> StackNode:
    return StackNode(name, StackHealth.READY, upgrade=DriverUpgradeState(step))


@pytest.mark.parametrize(
    ("at_once", "steps", "said"),
    [
        (1, [], "the operator has not begun it, and upgrades no other node"),
        (1, ["upgrade-done", "upgrade-required"], "the operator has not begun it, and upgrades no other node"),
        (None, ["drain-required"], "queued: 1 upgrade of 1 is under way (b0)"),
        (2, ["drain-required", "upgrade-failed"], "queued: 2 upgrades of 2 are under way (b0, b1, failed)"),
        (3, ["drain-required"], "the operator has not begun it; 1 upgrade of 3 is under way (b0)"),
        (0, ["drain-required"], "the operator has not begun it; 1 upgrade is under way (b0)"),
    ],
)
def test_a_queue_names_the_upgrades_before_and_how_many_there_may_be(
    at_once: int | None, steps: list[str], said: str
) -> None:
    policy = PolicyState("ClusterPolicy", "p", "ready", upgrades=UpgradePolicy(True, False, at_once))
    nodes = [upgraded("a", "upgrade-required"), *(upgraded(f"b{at}", step) for at, step in enumerate(steps))]
    assert queue_said("a", Stack("kubernetes", nodes=tuple(nodes), policies=(policy,))) == said


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    act = Act(Verb.RESTART, "n1", "team-a", "../../nodes/n1", "u-1")
    assert "/pods/..%2F..%2Fnodes%2Fn1 " in requests.request_of(act, "v1").told.text
