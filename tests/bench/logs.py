"""What a fast log costs: 100,000 lines a second from the lab's Kubernetes API into the console in a real terminal.

The lab runs in a process of its own with one change: the log that is followed is a flood of numbered lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.bench.steps import Watched
from tests.bench.terminal import Terminal

LINES_A_SECOND = 100_000
FLOOD_SECONDS = 25.0
BEAT_SECONDS = 0.01
KEYS = 60
KEY_PAUSE = 0.15
SETTLE_SECONDS = 3.0
SCENARIO = "operator-driver-slow"
LINE = "INFO worker-{} step @BEAT@-{:>4} loss=2.31447 lr=3.0e-05 tokens/s=18342 mem=71.2GiB grad_norm=0.8731\n"
_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
_COUNTS = re.compile(rb"([\d,]+) lines  .*?(?:([\d,]+) earlier lines dropped)(?:  ([\d,]+) missing)?")


@dataclass(frozen=True, slots=True)
class Cost:
    lines_a_second: float
    """As they were taken: a console that is too slow holds the writer up."""
    cpu_percent: float
    rss_mebibytes: float
    keys: tuple[float, ...]
    """Milliseconds from a key to the paint that it caused."""
    still_keys: tuple[float, ...]
    """The same once nothing comes any more: what the machine itself takes."""
    longest_steps: tuple[float, ...]
    """Milliseconds of CPU that the event loop was held up at once, the longest first, while lines came."""
    bytes_a_second: float
    sent: int
    shown: int
    """Lines that reached the console's store, those dropped from it included."""
    missing: int
    """Lines that the console says it left out."""

    @property
    def lost(self) -> int:
        """Lines that are neither here nor told as left out."""
        return self.sent - self.shown - self.missing


# The flood


async def serve(out: Path) -> None:
    """A lab whose pods write `LINES_A_SECOND`; prints the settings file, and what was sent once it is over."""
    from backends.lab.kube import server
    from backends.lab.server import Lab, LabSpec

    flooded = asyncio.Event()

    async def flood(_api: Any, request: web.Request, _target: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        if request.query.get("follow") != "true":
            await response.write(b"2026-11-25T08:31:17.000000000Z compiles\n")
            return response
        if not flooded.is_set():
            flooded.set()
            print(json.dumps(await _pour(response)), flush=True)
        await asyncio.Event().wait()
        return response

    server._SUBRESOURCES["log"] = flood
    async with Lab(LabSpec(out=out, nodes=2, scenarios=(SCENARIO,))) as lab:
        print(json.dumps({"site": str(lab.site_file)}), flush=True)
        await asyncio.Event().wait()


async def _pour(response: web.StreamResponse) -> dict[str, float]:
    number = int(LINES_A_SECOND * BEAT_SECONDS)
    template = "".join("@STAMP@ " + LINE.format(index % 8, index) for index in range(number))
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < FLOOD_SECONDS:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        await response.write(template.replace("@STAMP@", stamp).replace("@BEAT@", str(sent)).encode())
        sent += number
        await asyncio.sleep(max(0.0, began + sent / LINES_A_SECOND - time.monotonic()))
    return {"sent": sent, "seconds": time.monotonic() - began}


# The console


def measure() -> Cost:
    with tempfile.TemporaryDirectory(prefix="gpudeck-bench-") as out:
        command = [sys.executable, "-m", "tests.bench.logs", "--serve", out]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            site = json.loads(process.stdout.readline())["site"]
            watched = Watched(Path(out) / "steps.json")
            terminal = Terminal(watched.command("--config", site), columns=160, rows=50)
            try:
                return _watch(terminal, watched, process.stdout.readline)
            finally:
                terminal.close()
        finally:
            process.terminate()
            process.wait(timeout=10)


def _watch(terminal: Terminal, watched: Watched, told: Callable[[], str]) -> Cost:
    terminal.wait_for(b"2/2 nodes", 30)
    terminal.press(b"3")
    terminal.wait_for(b"WHAT BLOCKS", 30)
    terminal.press(b"l")
    terminal.wait_for(b"earlier lines dropped", 30)
    watched.told(terminal)  # what it took to open is no matter
    cpu, written, began = terminal.cpu_seconds(), terminal.bytes_read, time.monotonic()
    terminal.watch(4.0)
    seconds = time.monotonic() - began
    share, bytes_a_second = (
        100 * (terminal.cpu_seconds() - cpu) / seconds,
        (terminal.bytes_read - written) / seconds,
    )
    keys = _keys(terminal)
    _search(terminal)
    steps = tuple(milliseconds for milliseconds, _ in watched.told(terminal)["longest"])
    rss = terminal.rss_bytes() / 2**20
    flood = json.loads(_while_reading(terminal, told))
    terminal.watch(SETTLE_SECONDS)
    shown, missing = _counts(terminal.seen)
    rate, sent = flood["sent"] / flood["seconds"], int(flood["sent"])
    return Cost(rate, share, rss, keys, _keys(terminal), steps, bytes_a_second, sent, shown, missing)


def _keys(terminal: Terminal) -> tuple[float, ...]:
    """Milliseconds until a scrolled view says that it no longer follows."""
    times = []
    for _ in range(KEYS):
        times.append(1000 * terminal.key_to_text(b"k", b"below"))
        terminal.press(b"G")
        terminal.watch(KEY_PAUSE)
    return tuple(times)


def _search(terminal: Terminal) -> None:
    """Looks for what every line has, typed in one go, and ends that."""
    for keys, seconds in ((b"/", 0.3), (b"~st.p", 1.0), (b"\r", 0.5), (b"\x1b", 0.3), (b"G", 0.3)):
        terminal.press(keys)
        terminal.watch(seconds)


def _while_reading(terminal: Terminal, told: Callable[[], str]) -> str:
    """The next line of the flood; the terminal is read meanwhile, or the console would wait for it."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        line = pool.submit(told)
        while not line.done():
            terminal.watch(0.2)
        return line.result()


def _counts(seen: bytes) -> tuple[int, int]:
    """Lines that came and lines that are missing, as the screen said last."""
    found = _COUNTS.findall(_SEQUENCE.sub(b"", seen))
    kept, dropped, missing = (int(each.replace(b",", b"") or 0) for each in found[-1])
    return kept + dropped, missing


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", type=Path)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(serve(arguments.serve))
        return
    print(measure())


if __name__ == "__main__":
    main()
