"""What a simulated node does with a command that comes over SSH.

The boot command gets what a real node would get: the probe's source from stdin. It is compiled and run here, in the
lab's process, with the simulated NVML and host in place of the real ones: the client talks to its own probe code.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from backends.feed import Clock, ManualClock
from backends.lab import smi_mig as smi
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimNode
from backends.lab.host import SimHost
from backends.lab.nvml import SimNvml
from backends.lab.smi_xml import render
from backends.lab.systemd import systemctl

if TYPE_CHECKING:
    from asyncssh import SSHServerProcess

SECTION_LIMIT = 4 * 1024 * 1024
"""Bytes of one section of the boot protocol, packed or unpacked."""
PROBE = "backends.nodes.probe"
"""The module among those sent that is run here: the ones it imports are the lab's own."""
_SOURCES_KEPT = 4
_XML_QUERY = re.compile(r"nvidia-smi\s+(-q\s+-x|-x\s+-q|-qx|-xq)\b")

NO_PYTHON = {
    "t": "fatal",
    "code": "no-python",
    "text": "no python3 found",
    "hint": "Install python3 (3.6 or newer) on the node.",
}


class Cut(Exception):
    """The scenario probe-cut killed this channel, or no-python took its interpreter away."""


class Node:
    """A simulated machine at work: hardware, its meter and the clock."""

    def __init__(self, hardware: SimNode, clock: Clock, phase: float, *, still: bool = False) -> None:
        self.hardware = hardware
        self.clock = clock
        self.jobs_clock: Clock = ManualClock(clock.now()) if still else clock
        """The time the machine's jobs live in; it does not pass on a node that stands still."""
        self.phase = phase
        """Share of the beat after which this node's probes send, 0 to 1: the nodes take turns."""
        self.meter = Meter(hardware)


class Output:
    """The probe's stdout: lines are collected while it works and sent with back-pressure afterwards."""

    def __init__(self, process: SSHServerProcess[bytes], node: Node) -> None:
        self._process = process
        self._node = node
        self._lines: list[bytes] = []

    def emit(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        self._lines.append(text.encode("ascii") + b"\n")

    async def flush(self, *, may_cut: bool = True) -> None:
        payload, self._lines = b"".join(self._lines), []
        hardware = self._node.hardware
        cut = may_cut and (hardware.cuts_probe or not hardware.has_python)
        self._process.stdout.write(payload[: len(payload) // 2] if hardware.cuts_probe and may_cut else payload)
        await self._process.stdout.drain()
        if cut:
            raise Cut


_sources: dict[str, dict[str, Any]] = {}


def load_probe(source: bytes) -> dict[str, Any]:
    """The namespace of a probe's source, run once per distinct source."""
    key = hashlib.sha256(source).hexdigest()
    namespace = _sources.get(key)
    if namespace is None:
        namespace = {"__name__": "gpudeck_lab_probe", "__file__": "<probe>"}
        exec(compile(source, "<probe>", "exec"), namespace)  # noqa: S102  (running the client's probe is the point)
        while len(_sources) >= _SOURCES_KEPT:
            _sources.pop(next(iter(_sources)))
        _sources[key] = namespace
    return namespace


async def read_section(stdin: Any) -> bytes:
    """One `<n>\\n` + n bytes section. Raises ValueError on a bad length, EOFError when stdin ends early."""
    line = await stdin.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    size = int(line)
    if not 0 <= size <= SECTION_LIMIT:
        raise ValueError(f"a section of {size} bytes")
    try:
        section: bytes = await stdin.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise EOFError from error
    return section


def unpack(packed: bytes) -> bytes:
    """Raises ValueError when it is not zlib or grows beyond the limit."""
    engine = zlib.decompressobj()
    try:
        source = engine.decompress(packed, SECTION_LIMIT)
    except zlib.error as error:
        raise ValueError("not zlib data") from error
    if not engine.eof:
        raise ValueError("the source is too long or cut off")
    return source


def probe_of(modules: bytes) -> bytes:
    """The probe among the modules sent, a JSON list of [name, source]. Raises ValueError where it is missing."""
    try:
        return str(dict(json.loads(modules))[PROBE]).encode()
    except (TypeError, KeyError) as error:
        raise ValueError(f"no {PROBE} among the modules") from error


async def boot(node: Node, process: SSHServerProcess[bytes]) -> int:
    """Runs the probe that arrives on stdin until stdin ends; returns the exit status."""
    output = Output(process, node)
    if not node.hardware.has_python:
        output.emit(NO_PYTHON)
        await output.flush(may_cut=False)
        return 127
    try:
        await read_section(process.stdin)
        options = json.loads(await read_section(process.stdin))
        await read_section(process.stdin)
        source = probe_of(unpack(await read_section(process.stdin)))
    except EOFError:
        return 0
    except ValueError as error:
        process.stderr.write(f"bootstrap: {error}\n".encode())
        return 1
    running = asyncio.create_task(_drive(node, source, options, output))
    watching = asyncio.create_task(_until_eof(process))
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        return running.result() if running.done() else 0
    finally:
        for task in (running, watching):
            task.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)


async def _until_eof(process: SSHServerProcess[bytes]) -> None:
    while await process.stdin.read(4096):
        pass


async def _drive(node: Node, source: bytes, options: dict[str, Any], output: Output) -> int:
    probe_module = load_probe(source)
    nvml = SimNvml(node.hardware, node.meter, node.jobs_clock)
    host = SimHost(node.hardware, node.meter, node.clock, node.jobs_clock)
    probe = probe_module["Probe"](nvml, host, output.emit, options)
    if node.hardware.stalled is not None:
        output.emit({"t": "hello", "protocol": options.get("protocol"), "python": "3.11.0", "pid": 1, "uid": 0})
        host.kernel.start(probe.tell_kernel, options.get("kernel_after"))
        await _hang(node, host, float(options.get("fast_seconds", 1.0)), output)
    started = probe.start()
    once = bool(options.get("once"))
    if started is not False and once:
        probe.poll_events(0)
    await output.flush(may_cut=once)
    if started is False:
        return 1
    try:
        if not once:
            await _beat(node, probe, host, float(options.get("fast_seconds", 1.0)), output)
    finally:
        probe.stop()
    return 0


async def _beat(node: Node, probe: Any, host: SimHost, seconds: float, output: Output) -> None:
    clock = node.clock
    due = clock.monotonic() + seconds * node.phase
    while True:
        await clock.sleep(max(0.0, due - clock.monotonic()))
        await _hang(node, host, seconds, output)
        host.kernel.step()
        probe.beat()
        probe.poll_events(0)
        await output.flush()
        # After a stall of the lab the beats start anew and do not catch up.
        due = max(due + seconds, clock.monotonic())


async def _hang(node: Node, host: SimHost, seconds: float, output: Output) -> None:
    """While an NVML call does not come back, the probe's other threads go on: here in their place and their words.

    On a real node the sampling thread is stuck in the call; the lab's one event loop must not be.
    """
    began = node.clock.monotonic()
    while (stalled := node.hardware.stalled) is not None:
        await node.clock.sleep(seconds)
        host.kernel.step()
        held = node.clock.monotonic() - began
        if held > max(3.0, 3 * seconds):
            index, call = stalled
            output.emit(
                {"t": "stall", "at": node.clock.now(), "gpu_index": index, "call": call, "seconds": round(held, 1)}
            )
            await output.flush()


async def query_xml(node: Node, process: SSHServerProcess[bytes]) -> int:
    """`nvidia-smi -q -x`."""
    process.stdout.write(render(node.hardware, node.meter, node.jobs_clock.now()).encode())
    await process.stdout.drain()
    return 0


async def smi_mig(node: Node, process: SSHServerProcess[bytes]) -> int:
    """The MIG commands and queries of nvidia-smi; the usage of it for any other option."""
    line = process.command or ""
    if smi.changes(line):
        await asyncio.sleep(smi.CHANGE_SECONDS)
    found = smi.answer(node, line)
    if found is None:
        return await smi_usage(node, process)
    status, text = found
    process.stdout.write(text.encode())
    await process.stdout.drain()
    return status


async def service(node: Node, process: SSHServerProcess[bytes]) -> int:
    """`systemctl stop|start|is-active`"""
    status, text, error = systemctl(node.hardware, process.command or "")
    process.stdout.write(text.encode())
    process.stderr.write(error.encode())
    return status


async def whoami(node: Node, process: SSHServerProcess[bytes]) -> int:
    """`id -u`"""
    process.stdout.write(b"0\n" if node.hardware.machine.privileged else b"1000\n")
    return 0


async def nothing(_node: Node, _process: SSHServerProcess[bytes]) -> int:
    """`true`"""
    return 0


async def smi_usage(_node: Node, process: SSHServerProcess[bytes]) -> int:
    process.stdout.write(b"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n")
    return 1


async def not_found(_node: Node, process: SSHServerProcess[bytes]) -> int:
    words = (process.command or "").split()
    process.stderr.write(f"sh: 1: {words[0] if words else 'login shell'}: not found\n".encode())
    return 127


Command = Callable[[Node, "SSHServerProcess[bytes]"], Awaitable[int]]

COMMANDS: tuple[tuple[Callable[[str], bool], Command], ...] = (
    (lambda line: "python3" in line, boot),
    (lambda line: _XML_QUERY.search(line) is not None, query_xml),
    (lambda line: line.split(None, 1)[:1] == ["nvidia-smi"], smi_mig),
    (lambda line: line.split(None, 1)[:1] == ["systemctl"], service),
    (lambda line: line == "id -u", whoami),
    (lambda line: line == "true", nothing),
    (lambda _line: True, not_found),
)
"""The first test that holds names the command."""


async def handle(node: Node, process: SSHServerProcess[bytes]) -> None:
    """Runs the command of one exec request and ends its channel."""
    import asyncssh

    line = process.command or ""
    command = next(run for test, run in COMMANDS if test(line))
    try:
        process.exit(await command(node, process))
    except Cut:
        process.exit_with_signal("KILL")
    except (asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived, OSError):
        # The client went away in the middle; there is nobody left to tell.
        process.close()
    except Exception as error:  # noqa: BLE001
        # The client's probe runs in this task: whatever it raises ends the channel as a traceback ends a real probe.
        process.stderr.write(f"{type(error).__name__}: {error}\n".encode())
        process.exit(1)
