"""The planner on GPUs as nodes tell them: what stays, who blocks, what it costs, what is typed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.domain import Gpu, Mig, MigInstance, Vgpu
from backends.nodes.mig.catalogue import UnknownBoard
from backends.nodes.mig.document import document
from backends.nodes.mig.plan import Plan
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of, target_of_model
from backends.nodes.mig.wish import parse
from tests.unit.mig_table import PretendSmi, starts_text
from tests.unit.migs import A100, H100, mig_gpu, node, plain_gpu, process
from tests.workloads import container_id, owned, pod


def planned(gpu: Gpu, wish: str, platform: str | None = None, **more: Any) -> Plan:
    return plan(target_of(node(gpu, **more), gpu, platform), parse(wish))


def codes(made: Plan) -> set[str]:
    return {each.code for each in made.costs}


def kinds(made: Plan) -> list[str]:
    return [each.kind for each in made.steps]


# What stays


def test_an_instance_that_is_wanted_stays_where_it_is() -> None:
    made = planned(mig_gpu("3g.40gb:0", "2g.20gb:4", "1g.10gb:6"), "3g.40gb,3g.40gb")
    assert [each.name for each in made.keeps] == ["3g.40gb (gi 1)"]
    assert [each.name for each in made.destroys] == ["2g.20gb (gi 3)", "1g.10gb (gi 7)"]
    assert [each.label for each in made.creates] == ["4:4"]
    assert made.commands == (
        "nvidia-smi mig -i 0 -dci -gi 3",
        "nvidia-smi mig -i 0 -dgi -gi 3",
        "nvidia-smi mig -i 0 -dci -gi 7",
        "nvidia-smi mig -i 0 -dgi -gi 7",
        "nvidia-smi mig -i 0 -cgi 3g.40gb -C",
        "nvidia-smi mig -i 0 -lgi",
        "nvidia-smi -L",
    )


def test_of_equal_instances_the_busy_ones_stay() -> None:
    spots = [f"1g.10gb:{start}" for start in range(7)]
    made = planned(mig_gpu(*spots, processes=(process(1, 8), process(2, 10))), "1g.10gb,1g.10gb")
    assert [each.gi for each in made.keeps] == [8, 10]
    assert not made.blockers


def test_a_busy_instance_at_a_wrong_place_has_to_go() -> None:
    gpu = mig_gpu("3g.40gb:0", processes=(process(77, 1),))
    made = planned(gpu, "4x 1g.10gb + 1x 3g.40gb")
    assert made.keeps == ()
    assert [(each.kind, each.pid, each.user, each.gi) for each in made.blockers] == [("process", 77, "alice", 1)]
    assert made.blockers[0].text == "pid 77 alice python train.py in 3g.40gb (gi 1)"


def test_a_wish_with_a_plus_keeps_everything_or_says_what_is_in_the_way() -> None:
    gpu = mig_gpu("3g.40gb:0", "2g.20gb:4")
    made = planned(gpu, "+1g.10gb")
    assert made.possible
    assert (len(made.keeps), made.destroys, len(made.creates)) == (2, (), 1)
    assert made.wish == "+1g.10gb"
    refused = planned(mig_gpu("3g.40gb:0", "3g.40gb:4"), "+1g.10gb")
    assert (refused.reason or "").startswith("beside what is there (2x 3g.40gb):")
    first = refused.nearest[0]
    assert first.why == "without 3g.40gb", "what is asked for is in it"
    assert [each.name for each in first.plan.destroys] == ["3g.40gb (gi 1)"]
    assert [each.profile.name for each in first.plan.creates] == ["1g.10gb"]


def test_what_is_there_already_is_not_offered_as_near() -> None:
    refused = planned(mig_gpu("3g.40gb:0", "2g.20gb:4", "1g.10gb:6"), "+1g.10gb")
    assert not refused.possible
    assert refused.nearest
    assert all(near.plan.changes for near in refused.nearest), [near.why for near in refused.nearest]
    full = planned(mig_gpu(*(f"1g.10gb:{start}" for start in range(7))), "8x 1g.10gb")
    assert all(near.plan.changes for near in full.nearest)


def test_what_a_plan_shows_can_be_asked_for() -> None:
    refused = planned(mig_gpu("3g.40gb:0", "3g.40gb:4"), "+1g.10gb")
    for near in refused.nearest:
        shown = ",".join(f"{place.profile.name}@{place.label}" for place in near.plan.after or ())
        assert planned(mig_gpu("3g.40gb:0", "3g.40gb:4"), shown).after == near.plan.after


def test_compute_instances_are_parts_of_one_gpu_instance() -> None:
    parts = tuple(
        MigInstance(1, ci, f"MIG-{ci}", f"{size}c.3g.40gb", (0, 4), multiprocessors=14 * size)
        for ci, size in ((0, 1), (1, 2))
    )
    gpu = mig_gpu(processes=(process(5, 1, command="a"), process(6, 1, command="b")))
    gpu = replace(gpu, mig=replace(gpu.mig, instances=parts))
    target = target_of(node(gpu), gpu)
    (instance,) = target.instances
    assert (instance.profile, instance.cis, instance.multiprocessors) == ("3g.40gb", (0, 1), 42)
    assert [each.pid for each in plan(target, parse("4g.40gb")).blockers] == [5, 6]
    assert plan(target, parse("3g.40gb,3g.40gb")).destroys == ()


def test_commands_name_the_gpu_of_a_node_by_what_no_other_process_counts_anew() -> None:
    there = mig_gpu("3g.40gb:0", index=3, pci_bus_id="00000000:47:00.0")
    whole, waiting = planned(there, "7g.80gb"), replace(plain_gpu(3), pci_bus_id="00000000:47:00.0")
    typed = [*whole.commands, *planned(waiting, "3g.40gb").commands]
    named = [line for line in typed if line.startswith("nvidia-smi") and line != "nvidia-smi -L"]
    assert len(named) >= 6
    assert all("-i 00000000:47:00.0 " in line for line in named), named
    assert whole.mig_parted is not None
    assert "devices: [3]" in whole.mig_parted.config


def test_nothing_is_typed_where_nothing_changes() -> None:
    made = planned(mig_gpu("3g.40gb:0", "3g.40gb:4", processes=(process(1, 1),)), "2x 3g.40gb")
    assert made.possible
    assert not made.changes
    assert (made.commands, made.costs, made.blockers) == ((), (), ())


def test_an_instance_that_the_table_does_not_know_keeps_its_place_or_goes() -> None:
    odd = MigInstance(4, 0, "MIG-4", "3g.99gb", (0, 4))
    gpu = replace(mig_gpu(), mig=Mig(True, True, 7, (odd,)))
    made = planned(gpu, "3g.40gb")
    assert [each.name for each in made.destroys] == ["3g.99gb (gi 4)"]
    refused = planned(gpu, "+3g.40gb")
    assert not refused.possible
    assert "profile the table lacks" in (refused.reason or "")


# Places that could not be read


def test_without_root_everything_goes_unless_everything_stays() -> None:
    gpu = mig_gpu("2g.20gb", "2g.20gb", "3g.40gb")
    made = planned(gpu, "3g.40gb,3g.40gb", privileged=False)
    assert made.keeps == ()
    assert any("could not be read (root only)" in note for note in made.notes)
    assert made.commands[:2] == ("sudo nvidia-smi mig -i 0 -dci", "sudo nvidia-smi mig -i 0 -dgi")
    same = planned(gpu, "3g.40gb + 2x 2g.20gb", privileged=False)
    assert not same.changes
    assert same.after is None
    placements = document(same)["placements"]
    assert [each["start"] for each in placements] == [None, None, None], "not read is null"
    assert document(same)["stranded"] is None


def test_places_that_the_table_leaves_no_choice_about_are_known() -> None:
    made = planned(mig_gpu("4g.40gb", "3g.40gb"), "4g.40gb,2g.20gb", privileged=False)
    assert [each.name for each in made.keeps] == ["4g.40gb (gi 1)"]


# The mode


def test_switching_mig_on_is_blocked_by_everybody_on_the_gpu() -> None:
    gpu = plain_gpu(processes=(process(10), process(11, command="Xorg", kind="graphics", user="root")))
    made = planned(gpu, "3g.40gb,3g.40gb", services={"nvidia-dcgm": "active", "nvsm": "inactive"})
    assert [each.kind for each in made.blockers] == ["process", "display", "monitoring"]
    assert made.blockers[-1].service == "nvidia-dcgm"
    assert kinds(made) == ["stop-clients", "mode-on", "check-mode", "create", "verify", "verify", "start-clients"]
    assert made.commands[0] == "systemctl stop nvidia-dcgm"
    assert made.commands[1] == "nvidia-smi -i 0 -mig 1"
    assert made.commands[-1] == "systemctl start nvidia-dcgm"


def test_a_mig_manager_of_the_node_itself_is_named() -> None:
    there, missing = ({"nvidia-mig-manager": state} for state in ("inactive", "missing"))
    assert "mig-manager-service" in codes(planned(plain_gpu(), "3g.40gb", services=there))
    assert "mig-manager-service" not in codes(planned(plain_gpu(), "3g.40gb", services=missing))


def test_services_that_were_not_read_are_said_to_be_unknown() -> None:
    (unknown,) = planned(plain_gpu(), "3g.40gb").blockers
    assert unknown.kind == "unknown"
    assert planned(plain_gpu(), "3g.40gb").blocked_by == 0
    assert planned(plain_gpu(), "3g.40gb", services={}).blockers == ()


def test_processes_that_could_not_be_read_are_said_to_be_unknown() -> None:
    gpu = plain_gpu(processes=None)
    (unknown,) = planned(gpu, "3g.40gb", services={}).blockers
    assert (unknown.kind, unknown.pid) == ("unknown", None)
    omitted = planned(plain_gpu(processes=(process(1),), processes_omitted=40), "3g.40gb", services={}).blockers
    assert "and 40 more" in omitted[-1].text


def test_monitoring_that_holds_the_gpu_as_a_process_is_called_so() -> None:
    gpu = plain_gpu(processes=(process(9, command="nv-hostengine -n", user="root"),))
    assert planned(gpu, "3g.40gb", services={}).blockers[0].kind == "monitoring"


def test_a_process_of_which_the_instance_is_not_told_may_be_in_one_that_goes() -> None:
    gpu = mig_gpu("3g.40gb:0", "3g.40gb:4", processes=(process(3),))
    assert [each.pid for each in planned(gpu, "3g.40gb").blockers] == [3]
    assert planned(gpu, "3g.40gb,3g.40gb").blockers == ()


@pytest.mark.parametrize(
    ("model", "code", "never"), [(A100, "gpu-reset", "mode-not-persistent"), (H100, "mode-not-persistent", "gpu-reset")]
)
def test_ampere_resets_and_keeps_the_mode_later_boards_do_neither(model: str, code: str, never: str) -> None:
    made = planned(plain_gpu(model=model), "3g.40gb")
    assert code in codes(made)
    assert never not in codes(made)
    assert {"instances-not-persistent", "no-peer-access"} <= codes(made)
    there = codes(planned(mig_gpu(model=model), "3g.40gb"))
    assert not {"gpu-reset", "mode-not-persistent", "no-peer-access"} & there
    assert "instances-not-persistent" in there


def test_a_change_that_waits_for_a_reset_is_ended_by_it() -> None:
    gpu = replace(plain_gpu(), mig=Mig(enabled=False, pending=True, max_instances=7))
    made = planned(gpu, "3g.40gb")
    assert kinds(made)[:2] == ["reset", "check-mode"]
    assert made.commands[0] == "nvidia-smi --gpu-reset -i GPU-plain0"
    assert "gpu-reset" in codes(made)
    back = planned(gpu, "all-disabled")
    assert back.commands[0] == "nvidia-smi -i 0 -mig 0"
    assert back.steps[0].text == "takes back the change that waits for a reset"


def test_taking_a_pending_mode_back_makes_nothing_that_an_exporter_could_see() -> None:
    running = {"nvidia-dcgm": "active"}
    gpu = replace(plain_gpu(), mig=Mig(enabled=False, pending=True, max_instances=7))
    assert "exporter" not in codes(planned(gpu, "all-disabled", services=running))
    assert "exporter" in codes(planned(mig_gpu("3g.40gb:0"), "+3g.40gb", services=running))
    assert "exporter" in codes(planned(mig_gpu("3g.40gb:0"), "all-enabled", services=running))


def test_more_compute_is_told_only_of_the_same_memory() -> None:
    def told(wish: str) -> list[str]:
        return [note for note in planned(mig_gpu(), wish).notes if "would compute" in note]

    assert told("3g.40gb:0") == ["4g.40gb would compute with 4 slices"]
    assert told("3g.40gb,3g.40gb") == ["4g.40gb + 3g.40gb would compute with 7 slices"]
    assert told("3g.40gb") == []
    assert told("1g.20gb:0") == ["2g.20gb would compute with 2 slices"]


def test_mig_that_is_to_go_off_is_kept_on_by_a_wish() -> None:
    gpu = mig_gpu("3g.40gb:0")
    gpu = replace(gpu, mig=replace(gpu.mig, pending=False))
    made = planned(gpu, "3g.40gb")
    assert made.commands[0] == "nvidia-smi -i 0 -mig 1"
    assert made.destroys == ()


def test_switching_off_removes_the_instances_first() -> None:
    made = planned(mig_gpu("3g.40gb:0", "1g.10gb:4", index=0), "all-disabled", services={})
    assert kinds(made) == ["destroy-ci", "destroy-gi", "mode-off", "check-mode"]
    assert not made.enabled
    assert made.after == ()
    smi = PretendSmi("A100-80GB", mode=True, worlds={frozenset({("3g.40gb", 0, 1), ("1g.10gb", 4, 7)})})
    for command in made.commands:
        smi.run(command)
    assert not smi.mode
    assert planned(plain_gpu(), "all-disabled").commands == ()


def test_mig_without_an_instance_runs_nothing() -> None:
    made = planned(plain_gpu(), "all-enabled")
    assert made.possible
    assert made.enabled
    assert "no-cuda-device" in codes(made)
    assert "no-cuda-device" not in codes(planned(plain_gpu(), "3g.40gb"))


@pytest.mark.parametrize("wish", ["3g.40gb", "all-disabled"])
def test_where_nvml_lists_no_instance_a_hidden_one_is_looked_for_first(wish: str) -> None:
    made = planned(mig_gpu(), wish, services={})
    assert (made.steps[0].kind, made.commands[0]) == ("look", "nvidia-smi mig -i 0 -lgi")
    assert "must list nothing" in made.steps[0].text
    assert any("without a compute instance" in note for note in made.notes)


def test_a_step_that_takes_everything_takes_what_is_hidden_too() -> None:
    made = planned(mig_gpu("3g.40gb:0"), "all-disabled")
    assert "look" not in kinds(made)
    assert not any("without a compute instance" in note for note in made.notes)
    beside = planned(mig_gpu("3g.40gb:0"), "+3g.40gb")
    assert "look" not in kinds(beside)
    assert any("without a compute instance" in note for note in beside.notes)
    assert planned(mig_gpu(), "all-enabled").notes == ()
    waits = planned(replace(mig_gpu(), mig=Mig(True, False, 7)), "all-disabled", services={})
    assert kinds(waits) == ["reset", "check-mode"], "a reset takes it too"


def test_never_every_gpu_of_the_node() -> None:
    made = planned(plain_gpu(index=5), "3g.40gb,3g.40gb")
    assert all(
        " -i 5" in command for command in made.commands if command.startswith("nvidia-smi") and "-L" not in command
    )


# What forbids any change


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        (Gpu(name="NVIDIA L40S"), "NVIDIA L40S has no MIG"),
        (Gpu(name=A100), "tells no MIG mode"),
        (Gpu(name="NVIDIA L40S-24C", vgpu=Vgpu(mode="vgpu")), "vGPU as its guest sees it"),
        (mig_gpu(lost=True), "the GPU is lost"),
    ],
)
def test_some_gpus_cannot_be_changed_at_all(gpu: Gpu, said: str) -> None:
    made = planned(gpu, "3g.40gb")
    assert not made.possible
    assert said in (made.reason or "")
    assert (made.commands, made.nearest) == ((), ())
    assert document(made)["possible"] is False


def test_a_driver_that_is_too_old_is_named_with_what_it_takes() -> None:
    refused = planned(plain_gpu(model=H100), "3g.40gb", driver="470.256.02")
    assert "it takes 525.85.12" in (refused.reason or "")
    assert planned(plain_gpu(model=H100), "3g.40gb", driver="525.85.12").possible
    assert planned(plain_gpu(model=H100), "3g.40gb", driver=None).possible, "not known is not too old"
    assert planned(plain_gpu(model=H100), "3g.40gb", driver="r555-custom").possible


def test_a_model_that_takes_a_newer_driver_than_its_board_says_so() -> None:
    h20 = plain_gpu(model="NVIDIA H20")
    assert "on the NVIDIA H20: it takes 535.161.07" in (planned(h20, "3g.48gb", driver="535.104.05").reason or "")
    assert planned(h20, "3g.48gb", driver="535.161.07").possible
    sibling = plain_gpu(model="NVIDIA GH200 480GB")
    assert planned(sibling, "3g.48gb", driver="535.104.05").possible


@pytest.mark.parametrize(
    ("model", "needs"),
    [
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "displaymodeselector) and VBIOS 98.02.55.00.00"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "displaymodeselector) and VBIOS 98.02.6A.00.00"),
        ("NVIDIA GB300", "in a GB300 station driver 595.58.03"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", None),
    ],
)
def test_what_a_board_takes_beside_the_driver_is_always_told(model: str, needs: str | None) -> None:
    made = planned(plain_gpu(model=model), "all-balanced", driver="610.43.02")
    told = [note for note in made.notes if note.startswith("MIG takes")]
    assert len(told) == (needs is not None)
    assert all((needs or "") in note for note in told)
    assert planned(plain_gpu(model=model), "all-disabled", driver="610.43.02").notes == ()


def test_without_a_driver_its_oldest_version_is_told_and_a_name_for_several_models_tells_of_each() -> None:
    unnamed = replace(target_of_model("H20"), name="GPU of a board id")
    told = [note for note in plan(unnamed, parse("3g.48gb")).notes if note.startswith("MIG takes")]
    assert told == [
        "MIG takes driver 525.85.12 or newer on the GPU of a board id",
        "MIG takes driver 535.161.07 or newer on the H20",
    ]
    board = plan(target_of_model("RTX-PRO-6000-96GB"), parse("2g.48gb"))
    assert sum("displaymodeselector" in note for note in board.notes) == 2
    (only,) = [note for note in plan(target_of_model("H20"), parse("3g.48gb")).notes if note.startswith("MIG takes")]
    assert only == "MIG takes driver 535.161.07 or newer on the H20"


def test_a_board_with_mig_that_the_table_lacks_is_an_error() -> None:
    gpu = Gpu(name="NVIDIA X900", mig=Mig(enabled=False, pending=False))
    with pytest.raises(UnknownBoard, match="X900"):
        target_of(node(gpu), gpu)


def test_virtual_machines_and_compute_modes_cost() -> None:
    made = planned(plain_gpu(vgpu=Vgpu(mode="passthrough"), compute_mode="exclusive_process"), "3g.40gb")
    assert {"vm-reboot", "exclusive-process"} <= codes(made)


# Clusters


def test_a_node_of_a_cluster_is_drained_and_its_mig_manager_named() -> None:
    gpu = mig_gpu("3g.40gb:0", index=1)
    other = mig_gpu("7g.80gb:0", index=2)
    machine = node(plain_gpu(0), gpu, other)
    made = plan(target_of(machine, gpu, "kubernetes"), parse("1g.10gb"))
    assert [(step.kind, step.where) for step in made.steps] == [
        *((kind, "cluster") for kind in ("cordon", "drain", "pause-operands", "wait-operands")),
        *((kind, "node") for kind in ("destroy-ci", "destroy-gi", "create", "verify", "verify")),
        *((kind, "cluster") for kind in ("resume-operands", "uncordon")),
    ]
    assert made.commands == tuple(step.command for step in made.steps)
    assert made.script[:1] == ("# in the cluster",)
    assert [line for line in made.script if line.startswith("#")][1:] == ["# on dgx01", "# in the cluster"]
    assert [line for line in made.script if not line.startswith("#")] == list(made.commands)
    assert {"drain", "device-plugin", "mig-manager"} <= codes(made)
    assert made.mig_parted is not None
    assert made.mig_parted.config == (
        "version: v1\n"
        "mig-configs:\n"
        "  gpu1-1x1g.10gb:\n"
        "  - devices: [0]\n"
        "    mig-enabled: false\n"
        "    mig-devices: {}\n"
        "  - devices: [1]\n"
        "    mig-enabled: true\n"
        '    mig-devices: {"1g.10gb": 1}\n'
        "  - devices: [2]\n"
        "    mig-enabled: true\n"
        '    mig-devices: {"7g.80gb": 1}\n'
    )
    assert [step.command for step in made.mig_parted.steps] == [
        "kubectl cordon dgx01",
        "kubectl drain dgx01 --ignore-daemonsets",
        "kubectl label node dgx01 nvidia.com/mig.config=gpu1-1x1g.10gb --overwrite",
        "kubectl get node dgx01 -L nvidia.com/mig.config.state",
        "kubectl uncordon dgx01",
    ]
    written = document(made)["mig_parted"]
    assert written["label"] == [each["command"] for each in written["steps"]][2:4]


def test_what_a_drain_leaves_on_the_gpu_is_paused_as_mig_manager_does_it_and_comes_back() -> None:
    gpu = plain_gpu()
    for platform, tool in (("kubernetes", "kubectl"), ("openshift", "oc")):
        made = plan(target_of(node(gpu), gpu, platform), parse("3g.40gb"))
        commands = {step.kind: step.command for step in made.steps}
        names = "device-plugin gpu-feature-discovery dcgm-exporter dcgm nvsm client"
        label = f"{tool} label nodes --field-selector metadata.name=dgx01 -l nvidia.com/gpu.deploy.$each"
        assert commands["pause-operands"] == (
            f"for each in {names}; do {label}=true nvidia.com/gpu.deploy.$each=paused-for-mig-change --overwrite; done"
        )
        assert commands["resume-operands"] == (
            f"for each in {names}; do {label}=paused-for-mig-change nvidia.com/gpu.deploy.$each=true --overwrite; done"
        )
        assert commands["wait-operands"] == (
            f"{tool} wait pod -A --for=delete --timeout=300s --field-selector spec.nodeName=dgx01 "
            "-l 'app in (nvidia-device-plugin-daemonset,gpu-feature-discovery,nvidia-dcgm-exporter,nvidia-dcgm)'"
        )
        order = kinds(made)
        assert order.index("wait-operands") < order.index("mode-on") < order.index("resume-operands")


def test_only_adding_drains_nobody() -> None:
    gpu = mig_gpu("3g.40gb:0")
    made = plan(target_of(node(gpu), gpu, "openshift"), parse("+3g.40gb"))
    assert "cordon" not in kinds(made)
    assert "device-plugin" in codes(made)
    moved = plan(target_of(node(gpu), gpu, "openshift"), parse("7g.80gb"))
    assert moved.steps[0].command == "oc adm cordon dgx01"


def test_a_named_configuration_is_used_where_the_node_has_no_other_gpu() -> None:
    gpu = plain_gpu()
    alone = plan(target_of(node(gpu), gpu, "kubernetes"), parse("all-1g.10gb.me"))
    assert alone.mig_parted is not None
    assert alone.mig_parted.name == "all-1g.10gb.me"
    beside = plan(target_of(node(gpu, plain_gpu(1)), gpu, "kubernetes"), parse("all-1g.10gb.me"))
    assert beside.mig_parted is not None
    assert beside.mig_parted.name == "gpu0-1x1g.10gb.me", "the label would change every GPU of the node"


def test_a_node_name_is_quoted() -> None:
    gpu = mig_gpu("3g.40gb:0")
    made = plan(target_of(node(gpu, name="a b;rm"), gpu, "kubernetes"), parse("7g.80gb"))
    assert made.steps[0].command == "kubectl cordon 'a b;rm'"


def test_a_neighbour_whose_profile_is_not_told_gives_no_configuration() -> None:
    gpu = plain_gpu()
    other = replace(mig_gpu(index=1), mig=Mig(True, True, 7, (MigInstance(1, 0),)))
    assert plan(target_of(node(gpu, other), gpu), parse("3g.40gb")).mig_parted is None


# The document


def test_who_has_to_go_is_named_by_the_pod_where_the_platform_knows_it() -> None:
    ours, theirs = container_id("llama-0"), container_id("elsewhere")
    processes = (process(9, 1, container_id=ours), process(10, 1, container_id=theirs))
    gpu = mig_gpu("3g.40gb:0", processes=processes)
    known = owned(pod("llama-0"))
    made = plan(target_of(node(gpu), gpu, "kubernetes", known), parse("7g.80gb"))
    assert [each.text for each in made.blockers] == [
        "pid 9 alice python train.py in 3g.40gb (gi 1), pod team-search/llama-0 (Deployment llama-70b)",
        f"pid 10 alice python train.py in 3g.40gb (gi 1), container {theirs[:12]}",
    ]
    written = document(made)["blockers"]
    assert [each["workload"] for each in written] == ["team-search/llama-0", None]
    assert written[0]["owner"] == "Deployment llama-70b"
    off = plain_gpu(processes=processes)
    assert (
        "pod team-search/llama-0"
        in plan(target_of(node(off), off, "kubernetes", known), parse("7g.80gb")).blockers[0].text
    )


def test_the_document_says_everything() -> None:
    made = document(planned(mig_gpu("3g.40gb:0", "2g.20gb:4", processes=(process(9, 3),)), "3g.40gb,3g.40gb"))
    assert made["schema"] == "gpudeck/mig-plan/1"
    assert made["possible"] is True
    assert made["placements"] == [
        {"profile": "3g.40gb", "id": 9, "start": 0, "size": 4, "placement": "0:4", "kept": True, "gi": 1},
        {"profile": "3g.40gb", "id": 9, "start": 4, "size": 4, "placement": "4:4", "kept": False, "gi": None},
    ]
    assert made["stranded"]["compute_slices"] == 1
    assert "1 compute slice is stranded" in made["stranded"]["text"]
    assert [each["gi"] for each in made["keeps"]] == [1]
    assert made["destroys"] == [
        {"profile": "2g.20gb", "gi": 3, "start": 4, "size": 2, "placement": "4:2", "processes": 1}
    ]
    assert made["blockers"][0]["pid"] == 9
    assert starts_text(made["commands"][2]) == "3g.40gb"
    assert made["reason"] is None
    assert made["nearest"] == []
    assert made["gpu"]["board"] == "A100-80GB"
    assert [each["kind"] for each in made["steps"]][:2] == ["destroy-ci", "destroy-gi"]


def test_a_refusal_is_a_document_too() -> None:
    made = document(planned(mig_gpu("3g.40gb:0"), "8x 1g.10gb"))
    assert made["possible"] is False
    assert "at most 7" in made["reason"]
    assert made["placements"] == []
    assert made["nearest"][0]["possible"] is True
    assert made["nearest"][0]["commands"]
