"""Rules about nodes and about what they have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.domain import (
    Clocks,
    Disk,
    Ecc,
    EccCounts,
    Event,
    Gpu,
    GpuProcess,
    Memory,
    NodeReading,
    NodeSpec,
    NodeState,
    Pcie,
    Power,
    ProbeCost,
    RdmaPort,
    Severity,
    SiteSpec,
    SshSpec,
    Stall,
    Temperature,
)
from backends.domain.host import Host
from backends.triage.memory import NodeMemory
from backends.triage.rules import rule_of
from backends.triage.rules.connection import TROUBLES, WAITING_SECONDS, unreachable
from backends.triage.state import NodeView
from tests.triage.makers import (
    GIB,
    NOW,
    failed,
    findings,
    gpu,
    idle,
    links,
    live,
    node,
    only,
    state,
    view,
)

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


# --- the way to the node ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [*TROUBLES, "timeout", "internal", "something-new"])
@pytest.mark.parametrize("seen", [False, True])
def test_every_problem_is_one_finding_with_what_to_do(code: str, seen: bool) -> None:
    (found,) = findings(view(reading=failed(code, node(gpu()) if seen else None)))
    trouble = TROUBLES.get(code)
    assert found.rule == (trouble.rule if trouble else "node-unreadable")
    assert found.since == NOW - 60
    assert found.evidence[0].text == f"n1: {code}"
    assert any(step.text == "do something about it" for step in found.steps)
    assert bool(found.hits) is seen
    assert found.hits_known is (seen or found.rule == "node-access")


@pytest.mark.parametrize("reading", [NodeReading("n1", NodeState.CONNECTING, None, None, None)])
def test_a_node_that_is_still_connecting_is_told_once_it_has_taken_a_minute(reading: NodeReading) -> None:
    assert [found.rule for found in findings(view(reading=reading))] == ["node-waiting"]
    assert rule_of(only(view(reading=reading), "node-waiting")).raise_seconds == WAITING_SECONDS
    waited = only(view(reading=reading, memory=NodeMemory(asked_at=NOW - 75)), "node-waiting")
    assert (waited.claim, waited.since) == ("has not answered in 75 s: nothing of it was judged", NOW - 75)


def test_the_ssh_command_is_that_of_the_site() -> None:
    site = SiteSpec("site", ssh=SshSpec(config_file=Path("/etc/my site/ssh_config")))
    found = only(view(reading=failed("unreachable"), site=site), "node-unreachable")
    assert found.steps[0].target == "ssh -v -F '/etc/my site/ssh_config' n1 true"


def test_the_ssh_command_of_an_address_with_a_port_is_one_that_ssh_takes() -> None:
    spec = NodeSpec("n1", "admin@10.0.0.7:2222")
    found = only(dataclasses.replace(view(reading=failed("unreachable")), spec=spec), "node-unreachable")
    assert found.steps[0].target == "ssh -v ssh://admin@10.0.0.7:2222 true"


def test_a_revoked_host_key_is_no_mere_unknown_one() -> None:
    told = {code: findings(view(reading=failed(f"host-key-{code}"))) for code in ("unknown", "revoked")}
    severities = {code: found[0].severity for code, found in told.items()}
    assert severities == {"unknown": WARNING, "revoked": CRITICAL}


def test_a_call_that_hangs_is_told_of_its_gpu_and_grows_grave() -> None:
    for seconds, severity in ((5.0, WARNING), (45.0, CRITICAL)):
        hanging = node(gpu(0), gpu(1), stall=Stall(1, "nvmlDeviceGetEccMode", seconds))
        found = only(view(reading=live(hanging, NOW - seconds)), "nvml-stall")
        assert (found.severity, found.subject.gpu_index, found.hits_known) == (severity, 1, True)
    untold = node(gpu(0, processes=None), stall=Stall(0, "nvmlDeviceGetEccMode", 45.0))
    assert not only(view(reading=live(untold, NOW - 45)), "nvml-stall").hits_known


def test_late_readings_are_a_note_and_slow_samples_a_warning() -> None:
    assert only(view(reading=live(node(gpu()), NOW - 9)), "node-slow").severity is INFO
    assert findings(view(reading=live(node(gpu()), NOW - 4)), "node-slow") == []
    slow = node(gpu(), probe=ProbeCost(1.0, 8000.0))
    assert only(view(reading=live(slow)), "node-slow").severity is WARNING
    by_smi = node(gpu(), transport="nvidia-smi")
    assert findings(view(reading=live(by_smi, NOW - 25)), "node-slow") == []


def test_a_connection_that_breaks_again_and_again_is_a_warning_until_it_holds() -> None:
    lost = [Event(NOW - 10 - 60 * n, "n1", "disconnected", "the probe ended") for n in (4, 3, 2, 1, 0)]
    assert only(view(gpu(), events=lost), "node-flapping").severity is WARNING
    assert findings(view(gpu(), events=lost[:3]), "node-flapping") == []
    assert findings(view(gpu(), events=lost, now=NOW + 120), "node-flapping") == []


def test_a_node_read_by_nvidia_smi_is_a_note_that_says_why() -> None:
    found = only(view(gpu(), transport="nvidia-smi", transport_note="no usable python3"), "fallback-transport")
    assert (found.severity, found.evidence[0].text) == (INFO, "no usable python3")


def skewed(*skews: float | None) -> list[NodeView]:
    return [
        view(reading=live(node(gpu(node=f"n{number}"), name=f"n{number}", clock_skew_seconds=skew)))
        for number, skew in enumerate(skews)
    ]


@pytest.mark.parametrize(
    ("skews", "subjects"),
    [
        ((0.0, 0.0, 0.0, 0.0, 312.0), ["n4"]),
        ((0.0, 0.0, 0.0, 0.0, -31.0), ["n4"]),
        ((0.0, 2.0, -8.0, 0.6, -20.0), []),  # a busy console reads late, which looks like a clock behind
        ((40.0, 41.0, 40.5, 39.0, 40.0), ["site"]),
        ((40.0, 41.0, 40.5, 39.0, 340.0), ["site", "n4"]),
        ((40.0,), ["n0"]),
        ((None, None, None, None), []),
    ],
)
def test_clocks_that_are_off(skews: tuple[float | None, ...], subjects: list[str]) -> None:
    found = findings(state(*skewed(*skews)), "clock-skew")
    assert [finding.subject.label for finding in found] == subjects
    assert all(finding.severity is WARNING for finding in found)


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disk", "severity"),
    [
        (Disk("/raid", "/dev/md1", "raid", 3000 * GIB, 90 * GIB), WARNING),
        (Disk("/raid", "/dev/md1", "raid", 3000 * GIB, 9 * GIB), CRITICAL),
        (Disk("/raid", "/dev/md1", "raid", 3000 * GIB, 900 * GIB), None),
        (Disk("/raid", "/dev/md1", "raid", 30_000 * GIB, 1000 * GIB), None),  # 3 %, and more than anybody needs
        (Disk("/raid", "/dev/md1", "raid", 3000 * GIB, None), None),
        (Disk("/raid", "/dev/md1", "raid", 3000 * GIB, 0, read_only=True), None),
        (Disk("/boot/efi", "/dev/sda1", "disk", 20 * GIB, 0), None),
        (Disk("/mnt/usb", "/dev/sdb1", "disk", 8 * GIB, 0), None),
    ],
)
def test_scratch_space_that_runs_out(disk: Disk, severity: Severity | None) -> None:
    found = findings(view(gpu(), host=Host(disks=(disk,))), "disk-full")
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])


def test_two_full_disks_are_two_findings_and_their_names_are_quoted() -> None:
    disks = tuple(Disk(mount, "/dev/x", "nvme", 3000 * GIB, GIB) for mount in ("/raid", "/my data"))
    found = findings(view(gpu(), host=Host(disks=disks)), "disk-full")
    assert len({finding.id for finding in found}) == 2
    assert "du -xh --max-depth=2 '/my data' | sort -h" in [step.target for step in found[1].steps]


def with_ports(number: int, *states: str, physical: str = "polling") -> NodeView:
    ports = tuple(RdmaPort(f"mlx5_{n}", 1, state, physical, 400.0, "infiniband") for n, state in enumerate(states))
    return view(reading=live(node(gpu(node=f"n{number}"), name=f"n{number}", host=Host(rdma=ports))))


def test_a_port_that_is_down_here_and_active_elsewhere_is_missed() -> None:
    views = [with_ports(n, "active", "active") for n in range(4)]
    views.append(with_ports(4, "active", "down"))
    found = only(state(*views), "rdma-port")
    assert (found.subject.node, found.claim) == ("n4", "RDMA mlx5_1 port 1 is down")


def test_a_port_that_nobody_uses_is_not_missed() -> None:
    assert findings(state(*(with_ports(n, "active", "down") for n in range(5))), "rdma-port") == []
    assert findings(state(with_ports(0, "down")), "rdma-port") == []
    off = [with_ports(n, "active") for n in range(4)]
    assert findings(state(*off, with_ports(4, "down", physical="disabled")), "rdma-port") == []


def test_a_port_that_worked_before_is_missed_even_on_a_site_of_one() -> None:
    memory = NodeMemory()
    up = node(gpu(), host=Host(rdma=(RdmaPort("mlx5_0", 1, "active"),)))
    view(reading=live(up, NOW - 60), memory=memory, now=NOW - 60)
    down = node(gpu(), host=Host(rdma=(RdmaPort("mlx5_0", 1, "init", "linkup", 400.0, "infiniband"),)))
    found = only(state(view(reading=live(down), memory=memory)), "rdma-port")
    assert "subnet manager" in (found.cause or "")


# --- nodes built alike -----------------------------------------------------------------------------------------------


def alike(count: int, **odd: Any) -> list[NodeView]:
    """`count` nodes of 8 GPUs; the last one has `odd`."""
    nodes = [node(*(gpu(n, f"n{number}") for n in range(8)), name=f"n{number}") for number in range(count)]
    nodes[-1] = dataclasses.replace(nodes[-1], **odd)
    return [view(reading=live(each)) for each in nodes]


def test_the_one_node_with_another_driver_is_told() -> None:
    found = only(state(*alike(5, driver="580.1")), "driver-drift")
    assert (found.subject.node, found.severity) == ("n4", INFO)
    assert found.claim == "its driver 580.1 differs from its 4 peers (590.48.01)"


def test_drift_needs_enough_nodes_of_one_kind() -> None:
    assert findings(state(*alike(3, driver="580.1")), "driver-drift") == []
    other_boards = tuple(gpu(n, "n4", name="NVIDIA A100-SXM4-80GB") for n in range(8))
    assert findings(state(*alike(5, driver="580.1", gpus=other_boards)), "driver-drift") == []


def test_an_upgrade_under_way_is_one_note_of_the_site() -> None:
    views = alike(4) + [
        view(reading=live(node(*(gpu(n, f"m{m}") for n in range(8)), name=f"m{m}", driver="610.1"))) for m in range(4)
    ]
    found = only(state(*views), "driver-drift")
    assert found.subject.label == "site"
    assert "2 driver versions" in found.claim


def test_a_board_with_another_vbios_is_told_and_another_part_number_is_not() -> None:
    odd = tuple(gpu(n, "n4", vbios="96.00.74" if n == 2 else "96.00.A5.00.01") for n in range(8))
    found = only(state(*alike(5, gpus=odd)), "vbios-drift")
    assert found.claim == "the VBIOS of GPU 2 differs from 39 peers"
    other = tuple(gpu(n, "n4", vbios="96.00.74", board_part_number="other") for n in range(8))
    assert findings(state(*alike(5, gpus=other)), "vbios-drift") == []


@pytest.mark.parametrize("count", [8, 7, 4, 2, 1])
def test_a_node_that_shows_fewer_gpus_than_its_peers_misses_some(count: int) -> None:
    found = findings(state(*alike(5, gpus=tuple(gpu(n, "n4") for n in range(count)))), "gpu-missing")
    shows = "1 GPU" if count == 1 else f"{count} GPUs"
    assert [finding.claim for finding in found] == ([f"shows {shows}, its 4 peers 8"] if count < 8 else [])
    assert {finding.severity for finding in found} <= {Severity.CRITICAL}


def test_a_node_whose_links_are_all_down_while_its_peers_have_theirs() -> None:
    dark = tuple(gpu(n, "n4", links=links(12, down=range(12), remote=None)) for n in range(8))
    assert only(state(*alike(5, gpus=dark)), "nvlink-node").subject.node == "n4"
    assert findings(state(*alike(3, gpus=dark)), "nvlink-node") == []


# --- the radar -------------------------------------------------------------------------------------------------------


def among(count: int, make: Callable[..., Gpu] = gpu, **odd: Any) -> list[NodeView]:
    """Nodes of 8 GPUs with `count` GPUs in all; the last GPU has `odd`."""
    gpus = [make(n % 8, f"n{n // 8}") for n in range(count - 1)]
    last = count - 1
    gpus.append(make(last % 8, f"n{last // 8}", **odd))
    return [view(reading=live(node(*gpus[start : start + 8], name=f"n{start // 8}"))) for start in range(0, count, 8)]


def sm(mhz: int, *reasons: str) -> Clocks:
    return Clocks(mhz, mhz, 2619, 1500, 1980, 1980, 2619, 1545, reasons)


def test_a_clock_far_below_that_of_the_peers_is_a_warning_with_the_numbers() -> None:
    found = only(state(*among(24, clocks=sm(1200))), "radar-clock")
    assert (found.severity, found.subject.gpu_index) == (WARNING, 7)
    assert found.claim == "runs at 1200 MHz where its 23 peers run at 1980"
    assert "median 1980, from 1200 to 1980 MHz" in found.evidence[1].text


@pytest.mark.parametrize(
    "clocks",
    [
        sm(1800),  # within a fifth
        sm(345, "gpu_idle"),  # does something else
        sm(1200, "sw_power_cap"),
        sm(900, "hw_thermal_slowdown"),  # told by its own rule
        sm(1200, "applications_clocks_setting"),  # somebody wants it so
    ],
)
def test_a_clock_with_a_reason_is_no_outlier(clocks: Clocks) -> None:
    assert findings(state(*among(24, clocks=clocks)), "radar-clock") == []


def test_no_claim_is_made_with_too_few_peers() -> None:
    assert findings(state(*among(7, clocks=sm(1200))), "radar-clock") == []
    assert len(findings(state(*among(8, clocks=sm(1200))), "radar-clock")) == 1


def test_two_kinds_of_work_are_not_outliers_of_each_other() -> None:
    half = [
        view(reading=live(node(*(gpu(n, f"a{m}", clocks=sm(1100)) for n in range(8)), name=f"a{m}"))) for m in (0, 1)
    ]
    assert findings(state(*among(24), *half), "radar-clock") == []


def test_other_boards_are_no_peers() -> None:
    assert findings(state(*among(24, name="NVIDIA L40S", clocks=sm(1200))), "radar-clock") == []


def capped(index: int, node: str, **changes: Any) -> Gpu:
    return gpu(index, node, **{"clocks": sm(1700, "sw_power_cap"), **changes})


def test_heat_is_compared_at_full_power_only() -> None:
    hot = Temperature(gpu_celsius=84)
    assert only(state(*among(24, capped, temperature=hot)), "radar-temperature").severity is INFO
    assert findings(state(*among(24, temperature=hot)), "radar-temperature") == []
    assert findings(state(*among(24, capped, temperature=Temperature(gpu_celsius=72))), "radar-temperature") == []
    assert findings(state(*among(24, capped, temperature=Temperature(margin_celsius=3))), "radar-temperature") == []


def test_a_board_with_less_memory_or_a_lower_limit_than_its_peers() -> None:
    less = Memory(77 * GIB, 60 * GIB, 17 * GIB)
    assert only(state(*among(24, memory=less)), "radar-memory-size").severity is WARNING
    assert only(state(*among(24, power=Power(300.0, 400.0))), "radar-power-limit").severity is INFO


def test_memory_clocks_are_compared_under_load() -> None:
    slow = dataclasses.replace(sm(1980), memory_mhz=1593)
    assert only(state(*among(24, clocks=slow)), "radar-memory-clock").severity is WARNING
    assert findings(state(*among(24, idle, clocks=dataclasses.replace(slow, event_reasons=("gpu_idle",))))) == []


@pytest.mark.parametrize(
    ("rule", "changes", "since"),
    [
        ("radar-ecc-count", {"ecc": Ecc(True, True, EccCounts(4200, 0))}, "the driver was loaded"),
        ("radar-replays", {"pcie": Pcie(5, 16, 5, 16, 4200)}, "the driver was loaded"),
        (
            "radar-link-errors",
            {"links": tuple(dataclasses.replace(link, replay_errors=300) for link in links())},
            "the links came up",
        ),
    ],
)
def test_a_counter_far_above_that_of_the_peers_is_a_note(rule: str, changes: dict[str, Any], since: str) -> None:
    found = only(state(*among(24, **changes)), rule)
    assert found.severity is INFO
    assert found.evidence[0].text.endswith(f"since {since}")
    assert findings(state(*among(7, **changes)), rule) == []


def test_counters_that_are_high_everywhere_are_no_outliers() -> None:
    many = Ecc(True, True, EccCounts(4000, 0))
    views = [view(reading=live(node(*(gpu(n, f"n{m}", ecc=many) for n in range(8)), name=f"n{m}"))) for m in range(3)]
    assert findings(state(*views), "radar-ecc-count") == []


def test_corrected_errors_that_grow_much_faster_than_elsewhere_are_a_warning() -> None:
    memories = [NodeMemory() for _ in range(3)]
    for number, memory in enumerate(memories):
        before = node(*(gpu(n, f"n{number}") for n in range(8)), name=f"n{number}")
        memory.observe(before, NOW - 1200)
    views = []
    for number, memory in enumerate(memories):
        gpus = [gpu(n, f"n{number}") for n in range(8)]
        if number == 1:
            gpus[5] = dataclasses.replace(gpus[5], ecc=Ecc(True, True, EccCounts(700, 0)))
        views.append(view(reading=live(node(*gpus, name=f"n{number}")), memory=memory))
    found = only(state(*views), "radar-ecc")
    assert (found.severity, found.subject.label) == (WARNING, "n1 gpu5")
    assert "700 memory errors within 20 min" in found.claim


def test_ecc_off_on_one_board_of_many() -> None:
    assert only(state(*among(24, ecc=Ecc(False, False))), "ecc-off").severity is WARNING
    off = [
        view(reading=live(node(*(gpu(n, f"n{m}", ecc=Ecc(False, False)) for n in range(8)), name=f"n{m}")))
        for m in (0, 1)
    ]
    assert findings(state(*off), "ecc-off") == []


def test_the_one_gpu_that_holds_a_job_back() -> None:
    job = [capped(n, "n1", clocks=sm(1700, "sw_power_cap")) for n in range(8)]
    assert findings(view(*job), "radar-straggler") == []
    job[3] = capped(3, "n1", clocks=sm(1200, "sw_power_cap"))
    assert only(view(*job), "radar-straggler").subject.gpu_index == 3
    others = capped(3, "n1", clocks=sm(1200, "sw_power_cap"), processes=(GpuProcess(1, "compute", "bob", "other"),))
    job[3] = others
    assert findings(view(*job), "radar-straggler") == []


def test_the_screens_that_steps_lead_to_are_there() -> None:
    from backends.triage.steps import PAGES
    from screens.triage_jump import PAGE_IDS

    assert set(PAGES) <= PAGE_IDS


def test_what_is_told_of_this_machines_connection_is_not_called_ssh() -> None:
    here = dataclasses.replace(view(reading=failed("unreachable")), spec=NodeSpec("n1", local=True))
    sources = {line.source for found in unreachable(here) for line in found.evidence}
    assert sources == {"local"}
