"""What a large cluster costs: 500 GPU nodes and 5,000 pods on a real kube-apiserver.

`python -m tests.bench.kube` fills the server, reads it in a process of its own, and prints the time to the first whole
stack, its memory, the longest time the event loop was held up, and the CPU time while 50 pods change each second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.kubernetes.backend import Kubernetes
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context
from tests.kube.server import KubeApiserver

NODES = 500
PODS = 5000
EVENTS_A_SECOND = 50
EVENT_SECONDS = 10
TICK = 0.005
Raw = dict[str, Any]


def large_cluster(nodes: int = NODES, pods: int = PODS) -> Iterator[Raw]:
    """Every operand on every node, and work up to `pods` pods; as large on the wire as real ones."""
    names = [f"dgx{number:03}" for number in range(1, nodes + 1)]
    yield from (objects.cluster_policy(), objects.operator_pod())
    yield from (objects.daemon_set(key) for key in objects.OPERANDS)
    left = pods - 1
    for name in names:
        yield _padded(objects.node(name))
        for pod in objects.operand_pods(name)[:left]:
            left -= 1
            yield _padded(pod)
    for number in range(left):
        pod = objects.pod(
            f"work-{number:05}",
            node=names[number % nodes],
            namespace=f"team-{number % 20:02}",
            gpus={"nvidia.com/gpu": 1},
            labels={"app": f"app-{number % 50}", "owner": f"user{number % 30}"},
        )
        yield _padded(pod)


def _padded(raw: Raw) -> Raw:
    """With the annotations that make real objects some kilobytes large."""
    padded = copy.deepcopy(raw)
    padded["metadata"].setdefault("annotations", {})["kubectl.kubernetes.io/last-applied-configuration"] = "x" * 3000
    return padded


async def fill(server: KubeApiserver) -> float:
    """Seconds that the server took for all objects."""
    admin = Admin(server.kubeconfig())
    await admin.install_crds()
    started = time.perf_counter()
    await admin.create(*large_cluster())
    seconds = time.perf_counter() - started
    await admin.close()
    return seconds


async def read(kubeconfig: Path) -> Raw:
    """The reader's figures."""
    lag = asyncio.create_task(_lag())
    backend = Kubernetes.open(context(kubeconfig))
    started = time.perf_counter()
    stacks, works = backend.stack(), backend.workloads()
    stack = await anext(stacks)
    first = time.perf_counter() - started
    workloads = await anext(works)
    figures: Raw = {
        "first_seconds": first,
        "workloads_seconds": time.perf_counter() - started,
        "nodes": len(stack.nodes),
        "workloads": len(workloads.items),
        "rss_mebibytes": _peak_mebibytes(),
    }
    print(json.dumps({"ready": True}), flush=True)
    cpu, began, values = time.process_time(), time.perf_counter(), 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EVENT_SECONDS):
            async for _ in stacks:
                values += 1
    seconds = time.perf_counter() - began
    figures |= {
        "busy_cpu_percent": 100 * (time.process_time() - cpu) / seconds,
        "busy_values": values,
        "busy_rss_mebibytes": _peak_mebibytes(),
    }
    lag.cancel()
    figures["longest_lag_milliseconds"] = 1000 * max(_lags, default=0.0)
    await works.aclose()  # type: ignore[attr-defined]
    await backend.close()
    return figures


def _peak_mebibytes() -> float:
    """Of this process alone: `ru_maxrss` starts with the parent's peak."""
    words = next(
        line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(words[1]) / 1024


_lags: list[float] = []


async def _lag() -> None:
    """How late the event loop runs a timer: what a key press would wait."""
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        _lags.append(time.perf_counter() - due)


async def stir(server: KubeApiserver) -> None:
    """Changes pods at a steady rate until it is cancelled."""
    admin = Admin(server.kubeconfig())
    number = 0
    try:
        while True:
            number += 1
            pod = objects.pod(f"work-{number % 1000:05}", namespace=f"team-{number % 1000 % 20:02}")
            await admin.patch(pod, {"metadata": {"labels": {"beat": str(number)}}})
            await asyncio.sleep(1 / EVENTS_A_SECOND)
    finally:
        await admin.close()


async def measure(server: KubeApiserver) -> Raw:
    command = [sys.executable, "-m", "tests.bench.kube", "--read", str(server.kubeconfig())]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    stirring = asyncio.create_task(stir(server))
    figures: Raw = json.loads(await process.stdout.readline())
    stirring.cancel()
    await process.wait()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--read", type=Path)
    arguments = parser.parse_args()
    if arguments.read is not None:
        print(json.dumps(asyncio.run(read(arguments.read))), flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="gpudeck-bench-") as directory:
        server = KubeApiserver(Path(directory))
        try:
            server.start()
            print(f"filled in {asyncio.run(fill(server)):.0f} s", flush=True)
            for name, value in asyncio.run(measure(server)).items():
                print(f"{name:<28} {value:>10.1f}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
