"""`gpudeck mig plan --node` against a running lab: only SSH between the two."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_acceptance import GPUDECK, run

MONITORING = {"nvidia-persistenced", "nvidia-dcgm", "nvsm"}
"""What keeps the GPUs of the lab's DGX H100 open."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    out = tmp_path_factory.mktemp("lab")
    process = subprocess.Popen(
        [GPUDECK, "lab", "--out", str(out), "--nodes", "5"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().endswith("site.toml")
    yield str(out / "site.toml")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    process.stdout.close()


def planned(site: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = run("--config", site, "mig", "plan", *arguments, "--json")
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def snapshot_gpu(site: str, node: str, index: int) -> dict[str, Any]:
    done = run("--config", site, "snapshot", "--json")
    (found,) = [each for each in json.loads(done.stdout)["nodes"] if each["name"] == node]
    gpu: dict[str, Any] = found["gpus"][index]
    return gpu


def test_the_plan_starts_from_what_the_node_says(site: str) -> None:
    before = snapshot_gpu(site, "dgx-a100-01", 1)
    code, document = planned(site, "--node", "dgx-a100-01", "--gpu", "1", "--want", "4x 1g.10gb + 1x 3g.40gb")
    assert code == 0
    assert [each["gi"] for each in document["before"]["instances"]] == [
        each["gi"] for each in before["mig"]["instances"]
    ]
    assert [each["placement"] for each in document["keeps"]] == ["4:4"]
    assert [each["placement"] for each in document["destroys"]] == ["0:4"]
    assert {each["placement"] for each in document["placements"]} == {"0:1", "1:1", "2:1", "3:1", "4:4"}
    assert not any("-mig" in command for command in document["commands"]), "MIG is on there"
    assert all(
        each["gi"] == document["destroys"][0]["gi"] for each in document["blockers"] if each["kind"] == "process"
    )


def test_a_gpu_with_mig_off_says_who_sits_on_it(site: str) -> None:
    sitting = {each["pid"] for each in snapshot_gpu(site, "dgx-h100-01", 0)["processes"]}
    code, document = planned(site, "--node", "dgx-h100-01", "--gpu", "0", "--want", "all-balanced")
    assert code == 0
    assert {each["pid"] for each in document["blockers"] if each["kind"] == "process"} == sitting
    assert {each["service"] for each in document["blockers"] if each["kind"] == "monitoring"} == MONITORING
    stopped, switched = document["commands"][:2]
    assert stopped.startswith("systemctl stop ")
    assert set(stopped.split()[2:]) == MONITORING
    assert document["commands"][-1] == stopped.replace("stop", "start")
    bus_id = snapshot_gpu(site, "dgx-h100-01", 0)["pci_bus_id"]
    assert switched == f"nvidia-smi -i {bus_id} -mig 1"
    assert "mode-not-persistent" in {each["code"] for each in document["costs"]}


def test_a_gpu_without_mig_is_exit_1_with_the_reason(site: str) -> None:
    code, document = planned(site, "--node", "l40s-01", "--gpu", "0", "--want", "3g.40gb")
    assert code == 1
    assert document["reason"] == "NVIDIA L40S has no MIG"
    assert document["commands"] == []


def test_a_gpu_that_is_not_there_is_usage(site: str) -> None:
    done = run("--config", site, "mig", "plan", "--node", "dgx-a100-01", "--gpu", "9", "--want", "3g.40gb")
    assert done.returncode == 2
    assert done.stderr == "gpudeck: dgx-a100-01 has no GPU 9\nhint: --gpu INDEX names one of 0, 1, 2, 3, 4, 5, 6, 7\n"
    done = run("--config", site, "mig", "plan", "--node", "dgx-a100-01", "--want", "3g.40gb")
    assert "which GPU of dgx-a100-01?" in done.stderr
    code, _ = planned(site, "--node", "vm-01", "--want", "3g.40gb")
    assert code == 1, "the only GPU need not be named"
