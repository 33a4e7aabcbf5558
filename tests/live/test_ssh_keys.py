"""Which keys are offered to a real OpenSSH sshd, and what is said where none was accepted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.contract import AuthRefused
from tests.sshd import Reach, Sshd, agent, sign

pytestmark = [pytest.mark.real("sshd"), pytest.mark.xdist_group("sshd")]


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    Sshd.make_key(tmp_path / "authority")
    return tmp_path / "authority"


@pytest.fixture
def with_agent(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with agent(tmp_path / "agent", sshd.user_key):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        yield


def config_of(sshd: Sshd, tmp_path: Path, *lines: str) -> Path:
    """The configuration with `lines` instead of IdentityFile and IdentitiesOnly."""
    config = sshd.write_config(tmp_path / "config", "node")
    kept = [line for line in config.read_text().splitlines() if "Identit" not in line]
    config.write_text("\n".join([*kept, *(f"  {line}" for line in lines)]) + "\n")
    return config


def lock(key: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-P", "", "-f", str(key)], check=True)


async def is_let_in(reach: Reach, config: Path) -> bool:
    done = await reach(config).run("echo in", timeout=10, limit=100)
    return done.stdout == b"in\n"


@pytest.mark.usefixtures("with_agent")
@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["IdentityFile {tmp}/gone"],
        ["IdentityFile {tmp}/only", "IdentitiesOnly yes"],
        ["IdentityFile {tmp}/only.pub", "IdentitiesOnly yes"],
        ["IdentityFile {tmp}/locked", "IdentitiesOnly yes"],
        ["IdentityFile none"],
    ],
)
async def test_a_key_in_the_agent_is_used(sshd: Sshd, reach: Reach, tmp_path: Path, lines: list[str]) -> None:
    shutil.copy(f"{sshd.user_key}.pub", tmp_path / "only.pub")
    shutil.copy(sshd.user_key, tmp_path / "locked")
    lock(tmp_path / "locked")
    assert await is_let_in(reach, config_of(sshd, tmp_path, *(line.format(tmp=tmp_path) for line in lines)))


async def test_the_agent_of_the_configuration_is_asked(sshd: Sshd, reach: Reach, tmp_path: Path) -> None:
    with agent(tmp_path / "agent", sshd.user_key):
        assert await is_let_in(reach, config_of(sshd, tmp_path, f"IdentityAgent {tmp_path / 'agent'}"))
        with pytest.raises(AuthRefused):
            await reach(config_of(sshd, tmp_path, "IdentityAgent none")).open("true")


@pytest.mark.usefixtures("with_agent")
async def test_only_the_keys_that_are_named_are_offered_where_so_configured(
    sshd: Sshd, reach: Reach, tmp_path: Path
) -> None:
    Sshd.make_key(tmp_path / "stranger")
    lines = [f"IdentityFile {tmp_path / 'stranger'}", "IdentitiesOnly yes"]
    with pytest.raises(AuthRefused):
        await reach(config_of(sshd, tmp_path, *lines)).open("true")
    assert await is_let_in(reach, config_of(sshd, tmp_path, lines[0]))


async def test_the_key_that_is_named_goes_before_the_others_of_the_agent(
    sshd: Sshd, reach: Reach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd hangs up after six keys (MaxAuthTries): an agent full of others must not use them up."""
    others = [tmp_path / f"other{number}" for number in range(7)]
    for other in others:
        Sshd.make_key(other)
    with agent(tmp_path / "agent", *others, sshd.user_key):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        assert await is_let_in(reach, config_of(sshd, tmp_path, f"IdentityFile {sshd.user_key}"))


async def test_files_that_are_missing_locked_or_no_keys_are_passed_over(
    sshd: Sshd, reach: Reach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "no-agent"))
    Sshd.make_key(tmp_path / "locked")
    lock(tmp_path / "locked")
    (tmp_path / "garbage").write_bytes(b"\xff not a key")
    bad = [f"IdentityFile {tmp_path / name}" for name in ("gone", "locked", "garbage")]
    with pytest.raises(AuthRefused) as caught:
        await reach(config_of(sshd, tmp_path, *bad)).open("true")
    assert "accepted none of the offered keys; passed over: " in caught.value.message
    for told in ("gone: no such file", "locked: locked by a passphrase", "garbage: invalid", "no-agent: no such file"):
        assert told in caught.value.message
    assert await is_let_in(reach, config_of(sshd, tmp_path, *bad, f"IdentityFile {sshd.user_key}"))


async def test_a_default_key_that_is_garbage_is_no_obstacle_to_the_next(
    sshd: Sshd, reach: Reach, tmp_path: Path, nobodys_machine: Path
) -> None:
    home = nobodys_machine / ".ssh"
    home.mkdir()
    (home / "id_rsa").write_text("garbage")
    shutil.copy(sshd.user_key, home / "id_ed25519")
    assert await is_let_in(reach, config_of(sshd, tmp_path))


@pytest.mark.parametrize("place", ["beside", "named", "agent"])
async def test_a_user_certificate_is_shown(
    reach: Reach, tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    key = tmp_path / "user"
    Sshd.make_key(key)
    sign(authority, key, "-n", os.environ.get("USER") or "root,nobody", "-V", "-1h:+1h")
    server = Sshd(tmp_path / "sshd", options=[f"TrustedUserCAKeys {authority}.pub", "AuthorizedPrincipalsFile none"])
    lines = [f"IdentityFile {key}"]
    if place == "named":
        shutil.move(f"{key}-cert.pub", tmp_path / "elsewhere.pub")
        lines.append(f"CertificateFile {tmp_path / 'elsewhere.pub'}")
    server.start()
    try:
        if place == "agent":
            with agent(tmp_path / "agent", key):
                monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
                key.unlink()
                assert await is_let_in(reach, config_of(server, tmp_path, *lines, "IdentitiesOnly yes"))
        else:
            assert await is_let_in(reach, config_of(server, tmp_path, *lines))
            missing = f"CertificateFile {tmp_path / 'gone-cert.pub'}"
            assert await is_let_in(reach, config_of(server, tmp_path, *lines, missing))
    finally:
        server.stop()
