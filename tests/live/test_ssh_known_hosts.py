"""Whose host key is trusted, against a real OpenSSH sshd: as strictly as OpenSSH, from the files it reads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.contract import HostKeyChanged, HostKeyRevoked, HostKeyUnknown, Unreachable
from tests.sshd import Reach, Sshd, fingerprint, sign

pytestmark = [pytest.mark.real("sshd"), pytest.mark.xdist_group("sshd")]


def without_files(sshd: Sshd, tmp_path: Path, *lines: str) -> Path:
    """The configuration with `lines` instead of those that name known-hosts files."""
    config = sshd.write_config(tmp_path / "config", "node")
    kept = [line for line in config.read_text().splitlines() if "KnownHosts" not in line]
    config.write_text("\n".join([*kept, *(f"  {line}" for line in lines)]) + "\n")
    return config


async def is_trusted(reach: Reach, config: Path) -> bool:
    done = await reach(config).run("echo in", timeout=10, limit=100)
    return done.stdout == b"in\n"


@pytest.mark.parametrize("name", ["known_hosts", "known_hosts2", "ssh_known_hosts", "ssh_known_hosts2"])
async def test_every_default_file_is_read(
    sshd: Sshd, reach: Reach, tmp_path: Path, nobodys_machine: Path, name: str
) -> None:
    directory = tmp_path / "etc" if name.startswith("ssh_") else nobodys_machine / ".ssh"
    config = without_files(sshd, tmp_path)
    with pytest.raises(HostKeyUnknown) as caught:
        await reach(config).open("true")
    assert sshd.fingerprint() in caught.value.message
    directory.mkdir()
    (directory / name).write_text(sshd.known_hosts_line())
    assert await is_trusted(reach, config)


async def test_the_systems_configuration_and_known_hosts_are_read_without_an_own_one(
    sshd: Sshd, reach: Reach, tmp_path: Path
) -> None:
    system = tmp_path / "etc"
    system.mkdir()
    (system / "ssh_known_hosts").write_text(sshd.known_hosts_line())
    without_files(sshd, tmp_path).rename(system / "ssh_config")
    done = await reach(None).run("echo in", timeout=10, limit=100)
    assert done.stdout == b"in\n"


async def test_files_that_are_missing_are_ignored(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text(sshd.known_hosts_line())
    gone = [f"GlobalKnownHostsFile {tmp_path / 'gone'}", f"UserKnownHostsFile {tmp_path / 'none-here'}"]
    with pytest.raises(HostKeyUnknown) as caught:
        await reach(without_files(sshd, tmp_path, *gone)).open("true")
    assert sshd.fingerprint() in caught.value.message
    assert await is_trusted(reach, without_files(sshd, tmp_path, gone[0], f"UserKnownHostsFile {tmp_path}/gone {good}"))
    assert await is_trusted(reach, without_files(sshd, tmp_path, f"GlobalKnownHostsFile {good}", gone[1]))


async def test_a_file_that_cannot_be_read_is_named(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    lines = [f"UserKnownHostsFile {tmp_path / 'folder'}", "GlobalKnownHostsFile none"]
    with pytest.raises(HostKeyUnknown, match="folder: Is a directory"):
        await reach(without_files(sshd, tmp_path, *lines)).open("true")


@pytest.mark.parametrize("name", ["none", "/dev/null"])
async def test_where_no_known_hosts_are_kept_the_hint_does_not_go_in_a_circle(
    sshd: Sshd, reach: Reach, tmp_path: Path, name: str
) -> None:
    with pytest.raises(HostKeyUnknown) as caught:
        await reach(without_files(sshd, tmp_path, f"UserKnownHostsFile {name}", "StrictHostKeyChecking no")).open(
            "true"
        )
    assert "give UserKnownHostsFile a file in the SSH configuration, which keeps none" in caught.value.hint


async def test_where_ssh_itself_would_only_refuse_the_hint_makes_it_ask(
    sshd: Sshd, reach: Reach, tmp_path: Path
) -> None:
    config = without_files(sshd, tmp_path, f"UserKnownHostsFile {tmp_path / 'hosts'}", "StrictHostKeyChecking yes")
    with pytest.raises(HostKeyUnknown) as caught:
        await reach(config).open("true")
    assert caught.value.hint.endswith(f"then: ssh -o StrictHostKeyChecking=ask -F {config} node")
    # A person answers; here ssh is told beforehand.
    command = caught.value.hint.partition("then: ")[2].replace("=ask", "=accept-new -o BatchMode=yes")
    subprocess.run(f"{command} true", shell=True, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    assert await is_trusted(reach, config)


async def test_lines_that_cannot_be_used_stop_nothing(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    lines = (
        b"host\xe9 ssh-ed25519 AAAA\ngarbage\n|1|broken ssh-ed25519 AAAA\n@odd x ssh-ed25519 AAAA\nold 1024 35 123\n"
    )
    (tmp_path / "hosts").write_bytes(lines + sshd.known_hosts_line().encode())
    assert await is_trusted(reach, without_files(sshd, tmp_path, f"UserKnownHostsFile {tmp_path / 'hosts'}"))


async def test_hashed_names_are_read(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    config = sshd.write_config(tmp_path / "config", "node")
    subprocess.run(["ssh-keygen", "-H", "-f", str(tmp_path / "config.known_hosts")], check=True, capture_output=True)
    assert await is_trusted(reach, config)


async def test_a_key_under_the_plain_name_holds_at_another_port(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    plain = sshd.known_hosts_line().replace(f"[127.0.0.1]:{sshd.port}", "127.0.0.1")
    assert await is_trusted(reach, sshd.write_config(tmp_path / "config", "node", known_hosts=plain))


async def test_a_key_under_the_port_forbids_another_under_the_plain_name(
    sshd: Sshd, reach: Reach, tmp_path: Path
) -> None:
    Sshd.make_key(tmp_path / "old")
    plain = sshd.known_hosts_line().replace(f"[127.0.0.1]:{sshd.port}", "127.0.0.1")
    known = sshd.known_hosts_line(tmp_path / "old") + plain
    with pytest.raises(HostKeyChanged):
        await reach(sshd.write_config(tmp_path / "config", "node", known_hosts=known)).open("true")


async def test_an_alias_is_looked_up_in_place_of_the_name(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    known = sshd.known_hosts_line()
    config = sshd.write_config(tmp_path / "config", "node", known_hosts=known, extra="  HostKeyAlias GPU7\n")
    with pytest.raises(HostKeyUnknown):
        await reach(config).open("true")
    (tmp_path / "config.known_hosts").write_text(known.replace(f"[127.0.0.1]:{sshd.port}", "gpu7"))
    assert await is_trusted(reach, config)


async def test_a_changed_key_is_told_with_the_file_it_is_in(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    Sshd.make_key(tmp_path / "old")
    second = tmp_path / "second hosts"
    second.write_text(sshd.known_hosts_line(tmp_path / "old"))
    lines = [f'UserKnownHostsFile {tmp_path / "gone"} "{second}"']
    with pytest.raises(HostKeyChanged) as caught:
        await reach(without_files(sshd, tmp_path, *lines)).open("true")
    remove = caught.value.hint.partition("Then: ")[2]
    subprocess.run(remove, shell=True, check=True, capture_output=True)
    assert second.read_text() == ""


@pytest.mark.parametrize("names", ["*", "[127.0.0.1]:{port}", "127.0.0.1"])
async def test_a_revoked_key_is_refused_as_revoked_although_it_is_on_file(
    sshd: Sshd, reach: Reach, tmp_path: Path, names: str
) -> None:
    key = " ".join(Path(f"{sshd.host_key}.pub").read_text().split()[:2])
    for trusted in (f"[127.0.0.1]:{sshd.port} {key}\n", f"127.0.0.1 {key}\n", ""):
        known = f"{trusted}@revoked {names.format(port=sshd.port)} {key}\n"
        with pytest.raises(HostKeyRevoked) as caught:
            await reach(sshd.write_config(tmp_path / "config", "node", known_hosts=known)).open("true")
        assert "REVOKED" in caught.value.message
        assert sshd.fingerprint() in caught.value.message
        assert str(tmp_path / "config.known_hosts") in caught.value.message


class TestHostCertificate:
    """A server that shows a certificate for its host key."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Path:
        Sshd.make_key(tmp_path / "authority")
        return tmp_path / "authority"

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Sshd]:
        directory = tmp_path / "certified"
        server = Sshd(directory, options=[f"HostCertificate {directory / 'host_key-cert.pub'}"])
        yield server
        server.stop()

    @staticmethod
    def trust(authority: Path) -> str:
        return f"@cert-authority * {Path(f'{authority}.pub').read_text()}"

    async def test_of_an_authority_on_file_is_trusted(
        self, server: Sshd, reach: Reach, tmp_path: Path, authority: Path
    ) -> None:
        sign(authority, server.host_key, "-h", "-n", "127.0.0.1")
        config = server.start().write_config(tmp_path / "config", "node", known_hosts=self.trust(authority))
        assert await is_trusted(reach, config)

    async def test_without_anything_on_file_is_unknown_with_the_fingerprint_of_the_host_key(
        self, server: Sshd, reach: Reach, tmp_path: Path, authority: Path
    ) -> None:
        sign(authority, server.host_key, "-h", "-n", "127.0.0.1")
        config = server.start().write_config(tmp_path / "config", "node", known_hosts="")
        for lines in ("", "  HostKeyAlgorithms +ssh-rsa\n"):
            config.write_text(config.read_text() + lines)
            with pytest.raises(HostKeyUnknown) as caught:
                await reach(config).open("true")
            assert server.fingerprint() in caught.value.message
            assert f"then: ssh -F {config} node" in caught.value.hint

    async def test_of_another_authority_comes_down_to_the_plain_key(
        self, server: Sshd, reach: Reach, tmp_path: Path, authority: Path
    ) -> None:
        Sshd.make_key(tmp_path / "other")
        sign(authority, server.host_key, "-h", "-n", "127.0.0.1")
        known = self.trust(tmp_path / "other")
        config = server.start().write_config(tmp_path / "config", "node", known_hosts=known)
        with pytest.raises(HostKeyUnknown) as caught:
            await reach(config).open("true")
        assert server.fingerprint() in caught.value.message
        assert fingerprint(authority) in caught.value.message
        (tmp_path / "config.known_hosts").write_text(known + server.known_hosts_line())
        assert await is_trusted(reach, config)

    @pytest.mark.parametrize(
        ("options", "told"),
        [(["-n", "elsewhere"], "principal mismatch"), (["-n", "127.0.0.1", "-V", "20200101:20200102"], "expired")],
    )
    async def test_that_does_not_hold_is_refused(
        self, server: Sshd, reach: Reach, tmp_path: Path, authority: Path, options: list[str], told: str
    ) -> None:
        sign(authority, server.host_key, "-h", *options)
        config = server.start().write_config(tmp_path / "config", "node", known_hosts=self.trust(authority))
        with pytest.raises(Unreachable, match=told):
            await reach(config).open("true")

    async def test_of_a_revoked_authority_is_refused_as_revoked(
        self, server: Sshd, reach: Reach, tmp_path: Path, authority: Path
    ) -> None:
        sign(authority, server.host_key, "-h", "-n", "127.0.0.1")
        known = self.trust(authority) + self.trust(authority).replace("@cert-authority", "@revoked")
        config = server.start().write_config(tmp_path / "config", "node", known_hosts=known)
        with pytest.raises(HostKeyRevoked) as caught:
            await reach(config).open("true")
        assert fingerprint(authority) in caught.value.message


async def test_a_server_with_several_keys_shows_the_one_on_file(reach: Reach, tmp_path: Path) -> None:
    directory = tmp_path / "two"
    server = Sshd(directory, options=[f"HostKey {directory / 'second'}"])
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(directory / "second")], check=True, capture_output=True
    )
    server.start()
    try:
        known = server.known_hosts_line(directory / "second")
        assert await is_trusted(reach, server.write_config(tmp_path / "config", "node", known_hosts=known))
    finally:
        server.stop()
