"""The command lines a newcomer types: the lab in one process, the snapshot in another, only SSH between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GPUDECK = str(Path(sys.executable).with_name("gpudeck"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("lab")
    process = subprocess.Popen(
        [GPUDECK, "lab", "--out", str(out), "--nodes", "12", "--scenario", "gpu-lost"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().endswith("site.toml")
    yield out
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    process.stdout.close()


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GPUDECK, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, **environ},
        cwd="/",
    )


def snapshot(lab: Path) -> dict[str, Any]:
    done = run("--config", str(lab / "site.toml"), "snapshot", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_snapshot_shows_the_lost_gpu_with_its_xid(lab: Path) -> None:
    document = snapshot(lab)
    assert document["schema"] == "gpudeck/snapshot/1"
    assert len(document["nodes"]) == 12
    assert all(node["reachable"] and node["transport"] == "nvml" for node in document["nodes"])
    lost = [(node["name"], gpu) for node in document["nodes"] for gpu in node["gpus"] if gpu["lost"]]
    assert len(lost) == 1
    name, gpu = lost[0]
    assert 79 in gpu["xids"]
    assert any(event["kind"] == "xid" and event["code"] == 79 and event["node"] == name for event in document["events"])


def test_no_null_where_the_lab_gives_a_value(lab: Path) -> None:
    document = snapshot(lab)
    h100 = [
        gpu for node in document["nodes"] for gpu in node["gpus"] if "H100" in (gpu["name"] or "") and not gpu["lost"]
    ]
    assert h100
    for gpu in h100:
        for field in ("uuid", "serial", "utilization_percent", "power_watts", "temperature_celsius", "pci_bus_id"):
            assert gpu[field] is not None, field
        assert gpu["memory"]["used_bytes"] is not None
        assert gpu["ecc"]["volatile"]["uncorrected"] is not None
        assert gpu["remapped_rows"]["pending"] is not None
        assert gpu["pcie"]["width"] is not None
        assert len(gpu["links"]) == 18
    mig = [gpu for node in document["nodes"] for gpu in node["gpus"] if gpu["mig"]["enabled"]]
    assert mig
    instances = [instance for gpu in mig for instance in gpu["mig"]["instances"]]
    assert instances
    for instance in instances:
        assert None not in (instance["profile"], instance["gi"], instance["uuid"], instance["placement"])


def test_no_null_in_host_topology_and_processes_where_the_lab_gives_a_value(lab: Path) -> None:
    document = snapshot(lab)
    for node in document["nodes"]:
        host, topology = node["host"], node["topology"]
        assert host["disks"], node["name"]
        assert None not in (host["kernel_modules"], host["peermem"], host["dma_buf"])
        assert all(None not in disk.values() for disk in host["disks"])
        assert all(None not in port.values() for port in host["rdma"])
        assert all(service["state"] for service in host["services"])
        assert all(runtime["socket"] for runtime in host["runtimes"])
        count = len(topology["gpus"]) + len(topology["nics"])
        assert count >= len(node["gpus"])
        assert [len(row) for row in topology["levels"]] == [count] * count
        assert all(None not in row for row in topology["levels"])
        assert all(gpu["numa_node"] is not None and gpu["cpu_affinity"] for gpu in node["gpus"] if not gpu["lost"])
    processes = [process for node in document["nodes"] for gpu in node["gpus"] for process in gpu["processes"] or ()]
    assert all(process["user"] and process["command"] and process["started_at"] for process in processes)
    assert any(process["container_id"] for process in processes)


def test_a_snapshot_of_a_hundred_nodes_stays_within_a_few_megabytes(lab: Path) -> None:
    document = snapshot(lab)
    size = len(json.dumps(document["nodes"]))
    of_host = sum(len(json.dumps([node["host"], node["topology"]])) for node in document["nodes"])
    assert size / len(document["nodes"]) < 80_000
    assert of_host < size / 4, "the machine around the GPUs is the smaller part"


def test_a_scenario_is_switched_on_and_off_at_a_running_lab(lab: Path) -> None:
    assert run("lab", "ctl", "--out", str(lab), "on", "node-unreachable").returncode == 0
    document = snapshot(lab)
    dead = [node for node in document["nodes"] if not node["reachable"]]
    assert len(dead) == 1
    assert dead[0]["error"]["hint"]
    assert run("lab", "ctl", "--out", str(lab), "off", "node-unreachable").returncode == 0
    assert all(node["reachable"] for node in snapshot(lab)["nodes"])


def test_the_plain_snapshot_is_a_table_without_colour(lab: Path) -> None:
    done = run("--config", str(lab / "site.toml"), "snapshot")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "lost" in done.stdout


def test_ctl_without_a_lab_says_what_to_do(tmp_path: Path) -> None:
    done = run("lab", "ctl", "--out", str(tmp_path), "list")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "hint:" in done.stderr


def test_unreachable_everywhere_is_exit_3(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[site.gone]\nnodes = [{ name = "gone", address = "127.0.0.1:1" }]\n')
    done = run("--config", str(config), "snapshot", "--json", HOME=str(tmp_path))
    assert done.returncode == 3
    (node,) = json.loads(done.stdout)["nodes"]
    assert (node["reachable"], node["error"]["code"]) == (False, "unreachable")
