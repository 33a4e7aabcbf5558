"""`gpudeck stack` against a real API server: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.kubelet import FakeKubelet
from tests.kube.server import KubeApiserver, token, write_kubeconfig

pytestmark = pytest.mark.real("kube-apiserver")
GPUDECK = str(Path(sys.executable).with_name("gpudeck"))


@dataclass
class Done:
    code: int
    out: str
    err: str


async def stack(kubeconfig: Path, *arguments: str) -> Done:
    config = kubeconfig.with_suffix(".toml")
    config.write_text(f'[site.prod]\nplatform = "kubernetes"\nkubeconfig = "{kubeconfig}"\n')
    process = await asyncio.create_subprocess_exec(
        *(GPUDECK, "--config", str(config), "stack", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
        cwd="/",
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def test_a_good_stack_is_exit_0(kube: Admin, kube_server: KubeApiserver) -> None:
    await kube.create(*objects.good_cluster("dgx01"))
    done = await stack(kube_server.kubeconfig())
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert "GPU stack ready" in done.out


async def test_a_driver_build_that_fails_names_node_operand_and_log_line(
    kube: Admin, kube_server: KubeApiserver
) -> None:
    kubelet = FakeKubelet(kube_server)
    async with kubelet.serving():
        driver = objects.operand("driver", "dgx01", nvidia_driver_ctr=objects.crashing("exit 1"))
        kubelet.log(driver["metadata"]["name"], "nvidia-driver-ctr").say(
            "Installing Linux kernel headers...", "E: Unable to locate package linux-headers-5.15.0-102-generic"
        )
        await kube.create(
            objects.cluster_policy("notReady", "OperandNotReady", "states not ready: [state-driver]"),
            objects.daemon_set("driver"),
            kubelet.on(objects.node("dgx01")),
            driver,
        )
        done = await stack(kube_server.kubeconfig(), "--json")
    assert (done.code, done.err) == (1, "")
    document = json.loads(done.out)
    assert document["schema"] == "gpudeck/stack/1"
    (node,) = document["nodes"]
    assert node["name"] == "dgx01"
    assert node["blocker"]["operand"] == "driver"
    assert node["blocker"]["log_line"] == "E: Unable to locate package linux-headers-5.15.0-102-generic"
    assert document["policies"][0]["failing_states"] == ["state-driver"]


async def test_a_cluster_that_does_not_answer_is_exit_3(tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "config", {"server": "https://127.0.0.1:1"}, {"token": token("admin")})
    done = await stack(tmp_path / "config", "--json")
    assert (done.code, done.out) == (3, "")
    assert "cannot be reached" in done.err
    assert "hint:" in done.err


async def test_credentials_that_are_refused_are_exit_3_and_never_printed(kube_server: KubeApiserver) -> None:
    path = kube_server.directory / "kubeconfig-stale"
    write_kubeconfig(
        path, {"server": kube_server.url, "certificate-authority": str(kube_server.ca)}, {"token": "st4le"}
    )
    done = await stack(path)
    assert done.code == 3
    assert "does not accept the credentials" in done.err
    assert "st4le" not in done.out + done.err
