"""`make bench`: what gpudeck costs, each figure beside its target or a baseline of the same run.

Nothing here is part of the test suite: a figure depends on the machine. Load goes to loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bench import connect, history, kube, logs, probe_cost, recorded, triage
from tests.bench.terminal import Terminal, gpudeck

NODES = 128
MANY_NODES = 1000
MANY_KEY_MILLISECONDS = 60.0
FIRST_PAINT_RATIO = 1.3
CPU_PERCENT = 35.0
RSS_MEBIBYTES = 150.0
KEY_MILLISECONDS = 50.0
TRIAGE_MILLISECONDS = 20.0
STEP_MILLISECONDS = 50.0
LOG_STEP_MILLISECONDS = 15.0
HEADER = b"gpudeck"


def row(what: str, value: str, target: str, good: bool | None) -> None:
    mark = {True: "ok", False: "MISSED", None: ""}[good]
    print(f"{what:<52} {value:>20}  {target:<26} {mark}", flush=True)


@contextlib.contextmanager
def running_lab(nodes: int, *, changing: int = 100) -> Iterator[Path]:
    """A lab in its own process; yields its site.toml."""
    with tempfile.TemporaryDirectory(prefix="gpudeck-bench-") as out:
        argv = gpudeck("lab", "--out", out, "--nodes", str(nodes), "--changing", str(changing))
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().decode().strip()
            if not ready:
                raise RuntimeError("the lab did not start")
            yield Path(out) / "site.toml"
        finally:
            process.terminate()
            process.wait(timeout=10)


def first_paint() -> None:
    """Start to first paint, against a bare Textual application, alternating so that both see the same machine."""
    bare: list[float] = []
    console: list[float] = []
    with running_lab(8) as site:
        for _ in range(9):
            for argv, text, times in (
                ([sys.executable, "-m", "tests.bench.bare"], b"bare application painted", bare),
                (gpudeck("--config", str(site)), HEADER, console),
            ):
                terminal = Terminal(argv)
                times.append(terminal.wait_for(text, 20))
                terminal.close()
    ratio = statistics.median(console) / statistics.median(bare)
    row("first paint, bare Textual (median)", f"{statistics.median(bare) * 1000:.0f} ms", "baseline", None)
    row("first paint, gpudeck (median)", f"{statistics.median(console) * 1000:.0f} ms", "", None)
    row("first paint, ratio", f"{ratio:.2f}", f"<= {FIRST_PAINT_RATIO}", ratio <= FIRST_PAINT_RATIO)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def load(changing: int, seconds: float, size: tuple[int, int] = (160, 50)) -> None:
    """CPU, memory, bytes and key latency of the console on a fleet of 128 nodes at 1 Hz."""
    columns, rows = size
    with running_lab(NODES, changing=changing) as site:
        terminal = Terminal(gpudeck("--config", str(site)), columns=columns, rows=rows)
        try:
            began = time.monotonic()
            live = terminal.wait_for(f"{NODES}/{NODES} nodes".encode(), 90)
            if changing == 100:
                row(f"connect all {NODES} nodes", f"{live:.1f} s", "", None)
            terminal.key_to_paint(b"2")  # the fleet draws every GPU; the home screen only what is wrong
            terminal.watch(10.0)
            cpu, began = terminal.cpu_seconds(), time.monotonic()
            written = terminal.watch(seconds)
            share = 100 * (terminal.cpu_seconds() - cpu) / (time.monotonic() - began)
            rss = terminal.rss_bytes() / 2**20
            name = f"{NODES} nodes, {changing} % changing, {columns}x{rows}"
            row(f"{name}: CPU of one core", f"{share:.1f} %", f"<= {CPU_PERCENT} %", share <= CPU_PERCENT)
            row(f"{name}: RSS", f"{rss:.0f} MiB", f"<= {RSS_MEBIBYTES} MB", rss * 1.048576 <= RSS_MEBIBYTES)
            expected = None if changing else written == 0
            row(f"{name}: bytes to the terminal", f"{written / seconds:,.0f} B/s", "0 when still", expected)
            if changing == 100:
                keys(terminal, KEY_MILLISECONDS)
        finally:
            terminal.close()


def many(changing: int) -> None:
    """A site of a thousand nodes, told from a recording: whether it can be walked through, and what it costs."""
    with tempfile.TemporaryDirectory(prefix="gpudeck-bench-") as directory:
        recording = Path(directory) / "recording.json"
        with running_lab(recorded.PROTOTYPES, changing=changing) as site:
            recorded.record(site, recording)
        terminal = Terminal([sys.executable, "-m", "tests.bench.recorded", str(recording), str(MANY_NODES)])
        try:
            live = terminal.wait_for(f"{MANY_NODES}/{MANY_NODES} nodes".encode(), 120)
            name = f"{MANY_NODES} nodes x 8 GPUs, {changing} % changing"
            row(f"{name}: start to all live, without SSH", f"{live:.1f} s", "", None)
            terminal.key_to_paint(b"2")
            terminal.watch(10.0)
            cpu, began = terminal.cpu_seconds(), time.monotonic()
            terminal.watch(15.0)
            share = 100 * (terminal.cpu_seconds() - cpu) / (time.monotonic() - began)
            row(f"{name}: CPU of one core", f"{share:.1f} %", "", None)
            row(f"{name}: RSS", f"{terminal.rss_bytes() / 2**20:.0f} MiB", "", None)
            keys(terminal, MANY_KEY_MILLISECONDS)
        finally:
            terminal.close()


def keys(terminal: Terminal, target: float) -> None:
    """From a key to the first painted byte, while the site's values change."""
    times = []
    for number in range(120):
        times.append(1000 * terminal.key_to_paint(b"\x1b[B" if number % 40 < 30 else b"\x1b[A"))
        terminal.watch(0.07)
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    row("key to paint under that load, p50", f"{p50:.1f} ms", "", None)
    row("key to paint under that load, p99", f"{p99:.1f} ms", f"<= {target} ms", p99 <= target)


def probe_cpu() -> None:
    """What a sample costs the node, on the fake driver."""
    cost = probe_cost.measure()
    name = f"sample of {probe_cost.GPUS} GPUs (fake driver)"
    row(f"{name}, 4 values by pynvml: CPU", f"{cost.minimal:.2f} ms", "baseline", None)
    row(f"{name}, the probe: CPU", f"{cost.probe:.2f} ms", "", None)
    row(f"{name}, ratio", f"{cost.ratio:.1f}", "", None)


def triages() -> None:
    """The rules over a whole site, once a second."""
    cost = triage.measure()
    name = f"triage of {triage.NODES}x{triage.GPUS} GPUs"
    target = f"<= {TRIAGE_MILLISECONDS:.0f} ms"
    row(f"{name}, all changed: CPU", f"{cost.all_changed:.1f} ms", target, cost.all_changed <= TRIAGE_MILLISECONDS)
    row(f"{name}, all changed, worst of {triage.TICKS}", f"{cost.worst:.1f} ms", "", None)
    row(f"{name}, a tenth changed: CPU", f"{cost.tenth_changed:.1f} ms", "", None)
    row(f"{name}, none changed: CPU", f"{cost.none_changed:.1f} ms", "", None)
    told = f"{name} and {triage.PODS} pods"
    row(f"{told}, all changed: CPU", f"{cost.with_platform:.1f} ms", "<= 20 ms", cost.with_platform <= 20.0)
    row(f"{told}, all changed, worst of {triage.TICKS}", f"{cost.with_platform_worst:.1f} ms", "", None)
    row(f"{told}, longest step", f"{cost.with_platform_step:.1f} ms", "", None)
    row(f"whose workload, {triage.PODS} pods: CPU", f"{cost.join:.1f} ms", "", None)
    longest = cost.longest_step
    row(f"{name}, longest step", f"{longest:.1f} ms", f"<= {STEP_MILLISECONDS:.0f} ms", longest <= STEP_MILLISECONDS)


def connecting() -> None:
    """From nothing to every node live."""
    with running_lab(connect.NODES) as site:
        times = connect.measure(site.parent)
    name = f"connect {connect.NODES} nodes"
    row(f"{name}, bare asyncssh and one exec each", f"{times.bare:.2f} s", "baseline", None)
    row(f"{name}, all live, the lab's probes included", f"{times.site:.2f} s", "", None)
    row(f"{name}, ratio", f"{times.ratio:.2f}", "", None)
    row(f"{name}, bare: CPU of the client", f"{times.bare_cpu:.2f} s", "baseline", None)
    row(f"{name}, all live: CPU of the console", f"{times.site_cpu:.2f} s", "", None)
    row(f"{name}, CPU ratio", f"{times.cpu_ratio:.2f}", "", None)


def histories() -> None:
    """What is kept of every GPU over time, at full length."""
    for nodes in (NODES, 1000):
        cost = history.measure(nodes)
        name = f"histories of {nodes} nodes x {history.GPUS_PER_NODE} GPUs"
        target = f"<= {cost.budget_mebibytes:.0f} MiB"
        row(f"{name}: memory", f"{cost.mebibytes:.0f} MiB", target, cost.mebibytes <= cost.budget_mebibytes)
        row(f"{name}: reach back", f"{cost.hours:.1f} h", "", None)
        row(f"{name}: CPU of one core at 1 Hz", f"{cost.cpu_percent:.1f} %", "", None)
        row(f"{name}: an hour for a chart", f"{cost.window_milliseconds:.2f} ms", "", None)


def fast_log() -> None:
    """A log of 100,000 lines a second on the screen."""
    cost = logs.measure()
    name = f"a log of {cost.lines_a_second:,.0f} lines/s"
    p50, p99 = percentile(list(cost.keys), 0.5), percentile(list(cost.keys), 0.99)
    row(f"{name}: CPU of one core", f"{cost.cpu_percent:.0f} %", "", None)
    row(f"{name}: RSS", f"{cost.rss_mebibytes:.0f} MiB", f"<= {RSS_MEBIBYTES} MB", cost.rss_mebibytes <= RSS_MEBIBYTES)
    row(f"{name}: bytes to the terminal", f"{cost.bytes_a_second:,.0f} B/s", "", None)
    for share in (0.5, 0.99):
        still = percentile(list(cost.still_keys), share)
        row(f"{name}: key to paint, none comes, p{share * 100:.0f}", f"{still:.1f} ms", "baseline", None)
    row(f"{name}: key to paint, p50", f"{p50:.1f} ms", "", None)
    row(f"{name}: key to paint, p99", f"{p99:.1f} ms", f"<= {KEY_MILLISECONDS} ms", p99 <= KEY_MILLISECONDS)
    longest = max(cost.longest_steps, default=0.0)
    good = longest <= LOG_STEP_MILLISECONDS
    row(f"{name}: event loop held up, CPU", f"{longest:.1f} ms", f"<= {LOG_STEP_MILLISECONDS} ms", good)
    row(f"{name}: lines left out and told", f"{cost.missing:,} of {cost.sent:,}", "", None)
    row(f"{name}: lines lost and not told", f"{cost.lost:,}", "0", cost.lost == 0)


def large_cluster() -> None:
    """500 nodes and 5,000 pods on a real kube-apiserver, 50 of them changing each second."""
    try:
        with kube.large_server() as server:
            backend, console = asyncio.run(kube.measure(server)), kube.screen(server)
    except pytest.skip.Exception as missing:
        print(f"not measured: {missing}")
        return
    name = f"{kube.NODES} nodes, {kube.PODS:,} pods"
    lag, rss = backend["longest_lag_milliseconds"], console.rss_mebibytes
    row(f"{name}: first stack, backend alone", f"{backend['first_seconds']:.1f} s", "", None)
    row(f"{name}: RSS, backend alone", f"{backend['busy_rss_mebibytes']:.0f} MiB", "", None)
    row(f"{name}: event loop held up, longest", f"{lag:.0f} ms", f"<= {STEP_MILLISECONDS} ms", lag <= STEP_MILLISECONDS)
    row(f"{name}: first full screen", f"{console.first_seconds:.1f} s", "", None)
    row(f"{name}: RSS of the console", f"{rss:.0f} MiB", f"<= {RSS_MEBIBYTES} MB", rss * 1.048576 <= RSS_MEBIBYTES)
    row(f"{name}: CPU, nothing changes", f"{console.still_percent:.1f} %", "", None)
    changing = f"{name}, {kube.EVENTS_A_SECOND} changes/s"
    row(
        f"{changing}: CPU of one core",
        f"{console.cpu_percent:.1f} %",
        f"<= {CPU_PERCENT} %",
        console.cpu_percent <= CPU_PERCENT,
    )
    row(f"{changing}: bytes to the terminal", f"{console.bytes_a_second:,.0f} B/s", "", None)
    p50, p99 = percentile(list(console.keys), 0.5), percentile(list(console.keys), 0.99)
    row(f"{changing}: key to paint, p50", f"{p50:.1f} ms", "", None)
    row(f"{changing}: key to paint, p99", f"{p99:.1f} ms", f"<= {KEY_MILLISECONDS} ms", p99 <= KEY_MILLISECONDS)


BENCHES: dict[str, Callable[[], None]] = {
    "first-paint": first_paint,
    "load-100": lambda: load(100, 20),
    "load-10": lambda: load(10, 20),
    "load-0": lambda: load(0, 20),
    "many-100": lambda: many(100),
    "many-10": lambda: many(10),
    "probe-cost": probe_cpu,
    "connect": connecting,
    "history": histories,
    "logs": fast_log,
    "kube": large_cluster,
    "triage": triages,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which to run; all when none is named")
    for name in parser.parse_args().names or BENCHES:
        BENCHES[name]()


if __name__ == "__main__":
    main()
