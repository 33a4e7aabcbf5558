"""SXids: what a switch reports, how grave it is, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.domain import Event, Fabric, Host, Service, Severity, SiteSpec
from backends.triage.grouping import group
from backends.triage.rules import nvswitch, rule_of
from tests.triage.makers import NOW, findings, gpu, only, told, view

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def sxid(
    code: int = 20034, fatal: bool | None = True, at: float = NOW - 10, link: int | None = 30, switch: int = 0
) -> Event:
    text = f"Link {link} LTSSM Fault Up" if link is not None else "Data {0x0}"
    return Event(
        at, "n1", "sxid", text, pci_bus_id=f"0000:c{switch}:00.0", code=code, source="kernel", fatal=fatal, link=link
    )


def test_a_fatal_one_is_critical_for_the_node_and_asks_for_a_reset_of_all() -> None:
    found = only(view(gpu(0), gpu(1), events=[sxid()]), "sxid")
    assert (found.rule, found.severity, found.subject.gpu_key) == ("sxid-fatal", CRITICAL, None)
    assert "SXID 20034" in found.claim
    assert any(line.text == "1 switch: 0000:c0:00" for line in found.evidence)
    assert any(step.target == "nvidia-smi --gpu-reset" for step in found.steps)
    assert found.hits, "the work on both GPUs"
    assert rule_of(found).id == "sxid"


@pytest.mark.parametrize(("code", "severity"), [(20034, WARNING), (10004, WARNING), (12028, INFO)])
def test_one_that_ended_nothing_is_less(code: int, severity: Severity) -> None:
    found = only(view(gpu(), events=[sxid(code, fatal=False)]), "sxid")
    assert (found.rule, found.severity) == ("sxid-nonfatal", severity)
    assert findings(view(gpu(), events=[sxid(code, fatal=False, at=NOW - 4000)]), "sxid") == []


def test_the_registers_of_a_fatal_one_belong_to_it() -> None:
    events = [sxid(at=NOW - 10), sxid(fatal=None, link=None, at=NOW - 9.9)]
    found = only(view(gpu(), events=events), "sxid")
    assert (found.rule, found.magnitude) == ("sxid-fatal", 2.0)


def test_a_boot_ends_it_and_so_does_a_day() -> None:
    assert findings(view(gpu(), events=[sxid()], boot_at=NOW - 5), "sxid") == []
    assert findings(view(gpu(), events=[sxid(at=NOW - 90_000)]), "sxid") == []
    assert only(view(gpu(), events=[sxid(at=NOW - 80_000)]), "sxid").severity is CRITICAL


def test_an_error_of_a_switch_explains_those_of_the_links() -> None:
    parts = [
        told("sxid-fatal", severity=CRITICAL),
        told("sxid-nonfatal"),
        told("xid-74", gpu_index=3),
        told("nvlink-down", gpu_index=3),
        told("nvlink-errors", gpu_index=4),
        told("fabric-unhealthy", gpu_index=3),
    ]
    (one,) = group(parts, rule_of, gpus_of={"n1": 8}, nodes=1)
    assert one.finding.rule == "sxid-fatal"
    assert len(one.finding.folded) == 5


@pytest.mark.parametrize("cause", ["gpu-lost", "xid-79"])
def test_a_gpu_that_fell_off_explains_what_the_switch_says_of_its_links(cause: str) -> None:
    (one,) = group(
        [told(cause, gpu_index=3, severity=CRITICAL), told("sxid-fatal", severity=CRITICAL, since=NOW - 9)],
        rule_of,
        gpus_of={"n1": 8},
        nodes=1,
    )
    assert one.finding.rule == cause


def test_machines_with_switches_whose_log_is_read_are_looked_at() -> None:
    assert nvswitch.switched(view(gpu(), kernel_log="kmsg")) == 1
    assert nvswitch.switched(view(gpu(), kernel_log=None)) == 0
    assert nvswitch.switched(view(gpu(links=None), kernel_log="kmsg")) == 0


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("active", "on n1: Fabric Manager runs: read its log"),
        ("activating", "on n1: Fabric Manager starts: read its log"),
        ("failed", "on n1: see why Fabric Manager does not run"),
        ("inactive", "on n1: see why Fabric Manager does not run"),
        ("missing", "on n1: see whether Fabric Manager is installed: systemd knows no such unit"),
        (None, "on n1: see whether Fabric Manager runs"),
    ],
)
def test_the_step_about_fabric_manager_agrees_with_its_state(state: str | None, said: str) -> None:
    host = Host(services=None if state is None else (Service("nvidia-fabricmanager", state),))
    seen = view(gpu(0), gpu(1), events=[sxid()], host=host)
    assert said in [step.text for step in only(seen, "sxid").steps]


@pytest.mark.parametrize("state", ["missing", "failed"])
def test_in_a_cluster_fabric_manager_may_run_in_the_drivers_pod(state: str) -> None:
    cluster, host = SiteSpec("site", platform="openshift"), Host(services=(Service("nvidia-fabricmanager", state),))
    unready = Fabric("not_started")
    found = only(view(gpu(0, fabric=unready), gpu(1, fabric=unready), host=host, site=cluster), "fabric-not-ready")
    typed = [step.target for step in found.steps]
    in_the_pod = state == "missing"
    assert ("gpudeck logs driver --node n1" in typed) is in_the_pod
    assert ("gpudeck stack restart driver --node n1" in typed) is in_the_pod
    assert ("systemctl restart nvidia-fabricmanager" in typed) is not in_the_pod


def test_the_commands_about_the_drivers_pod_name_the_configuration() -> None:
    cluster = SiteSpec("site", platform="openshift", config_file=Path("/srv/a.toml"))
    host, unready = Host(services=(Service("nvidia-fabricmanager", "missing"),)), Fabric("not_started")
    found = only(view(gpu(0, fabric=unready), gpu(1, fabric=unready), host=host, site=cluster), "fabric-not-ready")
    typed = [step.target for step in found.steps if step.target.startswith("gpudeck ")]
    assert "gpudeck logs driver --node n1 --config /srv/a.toml" in typed
    assert "gpudeck stack restart driver --node n1 --config /srv/a.toml" in typed
