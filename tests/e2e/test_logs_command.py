"""`gpudeck logs` against a real API server: what goes where, and how it ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.kubelet import FakeKubelet
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
GPUDECK = str(Path(sys.executable).with_name("gpudeck"))
WAIT = 60.0


@pytest.fixture
async def kubelet(kube: Admin, kube_server: KubeApiserver) -> AsyncIterator[FakeKubelet]:
    """A node whose driver crashes."""
    made = FakeKubelet(kube_server)
    async with made.serving():
        driver = objects.operand("driver", "dgx01", nvidia_driver_ctr=objects.crashing("exit 1"))
        made.log(driver["metadata"]["name"], "nvidia-driver-ctr").say(*(f"line {number}" for number in range(3000)))
        await kube.create(
            objects.cluster_policy(), objects.daemon_set("driver"), made.on(objects.node("dgx01")), driver
        )
        yield made


async def started(kubeconfig: Path, *arguments: str) -> asyncio.subprocess.Process:
    config = kubeconfig.with_suffix(".toml")
    config.write_text(f'[site.prod]\nplatform = "kubernetes"\nkubeconfig = "{kubeconfig}"\n')
    return await asyncio.create_subprocess_exec(
        *(GPUDECK, "--config", str(config), "logs", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
        cwd="/",
    )


async def test_an_operand_is_printed_line_by_line(kubelet: FakeKubelet, kube_server: KubeApiserver) -> None:
    process = await started(kube_server.kubeconfig(), "driver", "--node", "dgx01", "--tail", "3", "--timestamps")
    async with asyncio.timeout(WAIT):
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    lines = out.decode().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["line 2997", "line 2998", "line 2999"]


async def test_a_reader_that_leaves_is_no_error(kubelet: FakeKubelet, kube_server: KubeApiserver) -> None:
    process = await started(kube_server.kubeconfig(), "driver", "--tail", "-1")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(WAIT):
        assert await process.stdout.readline() == b"line 0\n"
        process.stdout._transport.close()  # type: ignore[attr-defined]
        err = await process.stderr.read()
        await process.wait()
    assert (process.returncode, err) == (0, b"")


async def test_a_name_that_nothing_has_says_what_may_be_named(kubelet: FakeKubelet, kube_server: KubeApiserver) -> None:
    process = await started(kube_server.kubeconfig(), "no-such-thing")
    async with asyncio.timeout(WAIT):
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert b"no operand, pod or container is called 'no-such-thing'" in err
    assert b"NAMESPACE/POD" in err
