"""What a large cluster costs: 500 GPU nodes and 5,000 pods on a real kube-apiserver.

It fills the server and reads it twice while 50 pods change each second: by the backend alone in a process of its own,
which tells how long its event loop is held up, and by the console in a terminal.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import copy
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.kubernetes.backend import Kubernetes
from tests.bench.terminal import Terminal, gpudeck
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context
from tests.kube.server import KubeApiserver

NODES = 500
PODS = 5000
EVENTS_A_SECOND = 50
EVENT_SECONDS = 10
SCREEN_SECONDS = 10.0
KEYS = 80
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
    """Changes pods at a steady rate until it is cancelled: workloads, each fifth time a driver that fails or mends."""
    admin = Admin(server.kubeconfig())
    number, began = 0, time.monotonic()
    try:
        while True:
            number += 1
            if number % 5 == 0:
                await _turn_driver(admin, number // 5)
            else:
                pod = objects.pod(f"work-{number % 1000:05}", namespace=f"team-{number % 1000 % 20:02}")
                await admin.patch(pod, {"metadata": {"labels": {"beat": str(number)}}})
            await asyncio.sleep(max(0.0, began + number / EVENTS_A_SECOND - time.monotonic()))
    finally:
        await admin.close()


async def _turn_driver(admin: Admin, number: int) -> None:
    node = f"dgx{number // 2 % 20 + 1:03}"
    crashing = objects.crashing("Could not resolve Linux kernel version")
    driver = objects.operand("driver", node, nvidia_driver_ctr=crashing if number % 2 else objects.running())
    await admin.patch(driver, {"status": driver["status"]}, "status")


@contextlib.contextmanager
def stirred(server: KubeApiserver) -> Iterator[None]:
    """`stir` in a thread of its own: who measures reads a terminal meanwhile."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stirring = asyncio.run_coroutine_threadsafe(stir(server), loop)
    try:
        yield
    finally:
        stirring.cancel()
        with contextlib.suppress(asyncio.CancelledError, concurrent.futures.CancelledError):
            stirring.result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def measure(server: KubeApiserver) -> Raw:
    """What the reader takes, without a console."""
    command = [sys.executable, "-m", "tests.bench.kube", "--read", str(server.kubeconfig())]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    stirring = asyncio.create_task(stir(server))
    figures: Raw = json.loads(await process.stdout.readline())
    stirring.cancel()
    await process.wait()
    return figures


@dataclass(frozen=True, slots=True)
class ScreenCost:
    """The console with its stack screen in a terminal of 160x50."""

    first_seconds: float
    """From the key that opens the stack to the nodes and the waterfall of the first of them."""
    cpu_percent: float
    """While pods change."""
    still_percent: float
    """While nothing does."""
    rss_mebibytes: float
    keys: tuple[float, ...]
    """Milliseconds to paint, while pods change."""
    bytes_a_second: float


def screen(server: KubeApiserver) -> ScreenCost:
    config = server.directory / "site.toml"
    config.write_text(f'[site.large]\nplatform = "kubernetes"\nkubeconfig = "{server.kubeconfig()}"\n')
    terminal = Terminal(gpudeck("--config", str(config)), columns=160, rows=50)
    try:
        terminal.wait_for(b"large", 20)
        terminal.watch(3.0)
        began = time.monotonic()
        terminal.press(b"3")
        terminal.wait_for(b"THE STACK, IN THE ORDER IT COMES UP", 60)
        first = time.monotonic() - began
        terminal.watch(3.0)
        still = _share(terminal, SCREEN_SECONDS)[0]
        with stirred(server):
            terminal.watch(2.0)
            share, written = _share(terminal, SCREEN_SECONDS)
            keys = []
            for number in range(KEYS):
                keys.append(1000 * terminal.key_to_paint(b"\x1b[B" if number % 40 < 30 else b"\x1b[A"))
                terminal.watch(0.1)
        return ScreenCost(first, share, still, terminal.rss_bytes() / 2**20, tuple(keys), written)
    finally:
        terminal.close()


def _share(terminal: Terminal, seconds: float) -> tuple[float, float]:
    """Percent of a core, and bytes a second."""
    cpu, written, began = terminal.cpu_seconds(), terminal.bytes_read, time.monotonic()
    terminal.watch(seconds)
    taken = time.monotonic() - began
    return 100 * (terminal.cpu_seconds() - cpu) / taken, (terminal.bytes_read - written) / taken


@contextlib.contextmanager
def large_server() -> Iterator[KubeApiserver]:
    """Filled. Raises what pytest skips with where there is no kube-apiserver."""
    with tempfile.TemporaryDirectory(prefix="gpudeck-bench-") as directory:
        server = KubeApiserver(Path(directory))
        try:
            server.start()
            asyncio.run(fill(server))
            yield server
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--read", type=Path)
    arguments = parser.parse_args()
    if arguments.read is not None:
        print(json.dumps(asyncio.run(read(arguments.read))), flush=True)
        return
    with large_server() as server:
        for name, value in asyncio.run(measure(server)).items():
            print(f"{name:<28} {value:>10.1f}")
        print(screen(server))


if __name__ == "__main__":
    main()
