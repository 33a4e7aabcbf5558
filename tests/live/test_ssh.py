"""The SSH transport against a real OpenSSH sshd."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.contract import (
    AuthRefused,
    ConnectTimeout,
    GpudeckError,
    HostKeyChanged,
    HostKeyUnknown,
    ProbeFailed,
    Unreachable,
)
from backends.domain import NodeSpec, SshSpec
from backends.nodes import bootstrap
from backends.nodes.ssh import SshPool
from backends.nodes.ssh_dial import Dialler
from tests.sshd import Reach, Sshd, descendants

pytestmark = [pytest.mark.real("sshd"), pytest.mark.xdist_group("sshd")]


async def eventually(check: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            result = check()
            if await result if not isinstance(result, bool) else result:
                return
            await asyncio.sleep(0.05)


async def test_a_command_runs_and_its_streams_are_apart(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    done = await transport.run("echo out; echo err >&2; exit 3", timeout=10, limit=1000)
    assert (done.stdout, done.stderr, done.status) == (b"out\n", "err", 3)


async def test_lines_stream_both_ways_over_one_channel(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    channel = await transport.open("cat")
    for number in range(50):
        await channel.send(b"line %d\n" % number)
        assert await channel.readline(1000) == b"line %d\n" % number
    await channel.close()
    assert await channel.readline(1000) == b""


async def test_output_is_bounded(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    with pytest.raises(ProbeFailed, match="more than 1,000 bytes"):
        await transport.run("head -c 5000000 /dev/zero", timeout=10, limit=1000)
    channel = await transport.open("head -c 5000000 /dev/zero; sleep 60")
    with pytest.raises(ProbeFailed, match="line of more than"):
        await channel.readline(100_000)
    await channel.close()


async def test_a_command_that_takes_too_long_is_named(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    with pytest.raises(ProbeFailed, match="took more than"):
        await transport.run("sleep 30", timeout=0.3, limit=1000)


async def test_an_unknown_host_key_is_refused_with_its_fingerprint(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node", known_hosts=""))
    with pytest.raises(HostKeyUnknown) as caught:
        await transport.open("true")
    assert sshd.fingerprint() in caught.value.message
    assert f"then: ssh -F {tmp_path / 'config'} node" in caught.value.hint


async def test_a_changed_host_key_names_both_fingerprints(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    Sshd.make_key(tmp_path / "old_key")
    old = sshd.known_hosts_line(tmp_path / "old_key")
    transport = reach(sshd.write_config(tmp_path / "config", "node", known_hosts=old))
    with pytest.raises(HostKeyChanged) as caught:
        await transport.open("true")
    was = subprocess.run(
        ["ssh-keygen", "-lf", f"{tmp_path / 'old_key'}.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert sshd.fingerprint() in caught.value.message
    assert was in caught.value.message
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}'" in caught.value.hint


async def test_no_known_hosts_file_is_no_reason_to_trust(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    config.write_text(config.read_text().replace(str(tmp_path / "config.known_hosts"), "none"))
    with pytest.raises(HostKeyUnknown):
        await reach(config).open("true")


async def test_a_refused_key_is_named(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    Sshd.make_key(tmp_path / "stranger")
    config.write_text(config.read_text().replace(str(sshd.user_key), str(tmp_path / "stranger")))
    with pytest.raises(AuthRefused, match="none of the offered keys") as caught:
        await reach(config).open("true")
    assert "BatchMode" in caught.value.hint


async def test_a_locked_key_never_asks_for_its_passphrase(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-P", "", "-f", str(sshd.user_key)], check=True)
    with pytest.raises(AuthRefused):
        await reach(config).open("true")


async def test_nobody_listening_is_refused(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    sshd.stop()
    with pytest.raises(Unreachable, match="refused the connection"):
        await transport.open("true")


async def test_a_silent_listener_times_out(reach: Reach, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = tmp_path / "config"
        config.write_text("")
        transport = reach(config, NodeSpec("node", address=f"127.0.0.1:{silent.getsockname()[1]}"), 0.5)
        with pytest.raises(ConnectTimeout, match=r"within 0 s|within 1 s"):
            await transport.open("true")


async def test_a_killed_sshd_is_noticed_and_reconnected(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    channel = await transport.open("cat")
    sshd.stop()
    # EOF or an error, by how far sshd came while dying; never a hang.
    with contextlib.suppress(Unreachable):
        async with asyncio.timeout(10):
            assert await channel.readline(1000) == b""
    await channel.close()
    sshd.start()
    done = await transport.run("echo back", timeout=10, limit=1000)
    assert done.stdout == b"back\n"


async def test_a_stopped_sshd_is_noticed_by_the_keep_alive(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"), keepalive_seconds=0.2)
    channel = await transport.open("cat")
    assert sshd.pid is not None
    stopped = [sshd.pid, *descendants(sshd.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(Unreachable, match="keepalive"):
                await channel.readline(1000)
        await channel.close()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    done = await transport.run("echo back", timeout=10, limit=1000)
    assert done.stdout == b"back\n"


async def test_only_so_many_connections_are_being_made_at_a_time(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"node{number}" for number in range(6)]
    config = sshd.write_config(tmp_path / "config", *names)
    now, most, dial = 0, 0, Dialler.dial

    async def counted(dialler: Dialler, *arguments: Any, **more: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await dial(dialler, *arguments, **more)
        finally:
            now -= 1

    monkeypatch.setattr(Dialler, "dial", counted)
    pool = SshPool(SshSpec(config_file=config, parallel_connects=2), system=tmp_path)
    transports = [pool.transport(NodeSpec(name)) for name in names]
    done = await asyncio.gather(*(each.run("echo in", timeout=30, limit=100) for each in transports))
    await pool.close()
    assert ([each.stdout for each in done], most) == ([b"in\n"] * 6, 2)


async def test_a_jump_host_of_the_ssh_configuration_is_used(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    inner = Sshd(tmp_path / "inner").start()
    try:
        known = sshd.known_hosts_line() + inner.known_hosts_line()
        outer = sshd.write_config(tmp_path / "outer", "jump", known_hosts=known)
        config = inner.write_config(tmp_path / "config", "node", known_hosts=known, extra="  ProxyJump jump\n")
        config.write_text(config.read_text() + outer.read_text())
        done = await reach(config).run("echo $SSH_CONNECTION", timeout=10, limit=1000)
        assert done.stdout.split()[3] == str(inner.port).encode()
        # Without the hop the node is not reached: the connection really went through it.
        sshd.stop()
        with pytest.raises(Unreachable):
            await reach(config).open("true")
    finally:
        inner.stop()


async def test_a_list_of_jump_hosts_is_gone_through_in_order(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    """The first is named by a URL, as ssh_config(5) allows; the second is behind it, whatever its own entry says."""
    second, inner = Sshd(tmp_path / "second").start(), Sshd(tmp_path / "inner").start()
    try:
        known = "".join(server.known_hosts_line() for server in (sshd, second, inner))
        jumps = f"  ProxyJump ssh://{getpass.getuser()}@127.0.0.1:{sshd.port},second\n"
        config = inner.write_config(tmp_path / "config", "node", known_hosts=known, extra=jumps)
        behind = second.write_config(
            tmp_path / "behind", "second", known_hosts=known, extra="  ProxyJump nowhere.invalid\n"
        )
        first = sshd.write_config(tmp_path / "first", "127.0.0.1", known_hosts=known)
        everything = config.read_text() + behind.read_text() + first.read_text()
        config.write_text(everything)
        done = await reach(config).run("echo in", timeout=10, limit=1000)
        assert done.stdout == b"in\n"
        # sshd.log of each says who connected: the second saw only the first, by a forwarded connection.
        assert "Accepted publickey" in (second.directory / "sshd.log").read_text()
        sshd.stop()
        with pytest.raises(Unreachable):
            await reach(config).open("true")
    finally:
        inner.stop()
        second.stop()


async def test_a_proxy_command_runs_in_a_shell_and_may_talk(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    (tmp_path / "through.py").write_text(_THROUGH)
    config.write_text(config.read_text() + f"  ProxyCommand {sys.executable} {tmp_path / 'through.py'} %h $((%p))\n")
    done = await reach(config).run("echo in", timeout=10, limit=1000)
    assert done.stdout == b"in\n"


async def test_a_proxy_command_that_fails_is_named(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    config.write_text(config.read_text() + "  ProxyCommand /nonexistent/nc %h %p\n")
    with pytest.raises(Unreachable, match=r"ProxyCommand of node ended .* /nonexistent/nc %h %p"):
        await reach(config).open("true")


_THROUGH = """
import os, select, socket, sys

there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    ready, _, _ = select.select([0, there], [], [])
    print("hello", file=sys.stderr, flush=True)
    for end in ready:
        content = os.read(0, 65536) if end == 0 else there.recv(65536)
        if not content:
            sys.exit()
        if end == 0:
            there.sendall(content)
        else:
            os.write(1, content)
"""


async def test_a_jump_host_is_checked_as_strictly_as_the_node(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    inner = Sshd(tmp_path / "inner").start()
    try:
        outer = sshd.write_config(tmp_path / "outer", "jump", known_hosts="")
        config = inner.write_config(tmp_path / "config", "node", extra="  ProxyJump jump\n")
        for known_hosts in (str(tmp_path / "outer.known_hosts"), "none"):
            jump = outer.read_text().replace(str(tmp_path / "outer.known_hosts"), known_hosts)
            both = tmp_path / "both"
            both.write_text(config.read_text() + jump)
            with pytest.raises(HostKeyUnknown) as caught:
                await reach(both).open("true")
            assert sshd.fingerprint() in caught.value.message
            assert "jump" in caught.value.message
    finally:
        inner.stop()


async def test_more_readers_than_sessions_wait_their_turn(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    done = await asyncio.gather(*(transport.run(f"echo {n}", timeout=30, limit=100) for n in range(24)))
    assert sorted(int(each.stdout) for each in done) == list(range(24))


async def test_a_server_with_fewer_sessions_says_so(reach: Reach, tmp_path: Path) -> None:
    server = Sshd(tmp_path / "sshd", max_sessions=1).start()
    try:
        transport = reach(server.write_config(tmp_path / "config", "node"))
        first = await transport.open("cat")
        with pytest.raises(Unreachable) as caught:
            await transport.open("cat")
        assert "MaxSessions" in caught.value.hint
        await first.close()
    finally:
        server.stop()


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
async def test_the_boot_command_starts_what_it_is_sent(sshd: Sshd, reach: Reach, tmp_path: Path, shell: str) -> None:
    transport = reach(sshd.write_config(tmp_path / "config", "node"))
    source = b'import sys, json\nprint(json.dumps({"t": "hello", "name": __name__}))\nsys.stdin.read()\n'
    quoted = bootstrap.BOOT_COMMAND.replace("'", "'\\''")
    channel = await transport.open(f"{shell} -c '{quoted}'")
    await channel.send(bootstrap.payload({}, start_source=source, pynvml_source=b""))
    async with asyncio.timeout(20):
        assert await channel.readline(1000) == b'{"t": "hello", "name": "__gpudeck_probe__"}\n'
    await channel.close()


async def test_without_python_the_boot_command_says_so(tmp_path: Path) -> None:
    """Run by hand with an empty PATH and no interpreter at the other places."""
    if any(Path(place).exists() for place in ("/usr/local/bin/python3", "/usr/libexec/platform-python")):
        pytest.skip("this machine has a python3 at a fixed place")
    command = bootstrap.BOOT_COMMAND.replace("/usr/bin/python3", "/nonexistent/python3")
    done = subprocess.run(["/bin/sh", "-c", f"PATH=/nonexistent; {command.replace('sh -c', '/bin/sh -c', 1)}"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 127
    assert '"code":"no-python"' in done.stdout


_READER = """
import asyncio, sys
from pathlib import Path
from backends.domain import NodeSpec, SshSpec
from backends.nodes.ssh import SshPool

async def main():
    transport = SshPool(SshSpec(config_file=Path(sys.argv[1]))).transport(NodeSpec("node"))
    channel = await transport.open(sys.argv[2])
    print((await channel.readline(100)).decode().strip(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_runs_on_the_node_ends_when_the_console_is_killed(sshd: Sshd, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _READER, str(config), "echo $$; exec cat", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    remote = int(await process.stdout.readline())
    assert Path(f"/proc/{remote}").exists()
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await eventually(lambda: not Path(f"/proc/{remote}").exists())


async def test_a_name_that_does_not_resolve_is_named(reach: Reach, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    with pytest.raises(GpudeckError) as caught:
        await reach(config, "no-such-host.invalid", 5.0).open("true")
    assert "no-such-host.invalid" in caught.value.message
