"""The configuration, read by gpudeck and by the real `ssh -G`: both must come to the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from backends.nodes.ssh_config import Resolved, resolve

pytestmark = [pytest.mark.real("sshd")]

CONFIG = r"""
# A comment with a quote: don't
IdentityFile ~/.ssh/%r.key   # for everybody
Host dgx*,never dgx?? !dgx99
    HostName %h.example.com
    User = "bob builder"
    IdentityFile "/keys/a b"
    IdentityFile none
Host = h200-1
  User DOMAIN\bob
  Port=2222
  ProxyJump admin@bastion:22,ssh://inner:2200
  ProxyCommand nc %h %p
  UserKnownHostsFile "/keys/known hosts" /dev/null
  GlobalKnownHostsFile none
Match originalhost a100-* exec "test %n = a100-1"
  HostName a100.internal
Match host a100.internal,other user root
  Port 22022
  HostKeyAlias a100
Match !host a100.internal !originalhost h200-1,dgx*
  User rest
Host proxied
  ProxyCommand sh -c 'nc "%h" %p' # no comment
  IdentitiesOnly true
  Compression yes
  ServerAliveInterval 5m
  ConnectTimeout none
Match final host *.example.com
  Port 4444
Host *
  User root
  IdentityAgent SSH_AUTH_SOCK
  ForwardAgent yes
"""
KEYWORDS = ("identityfile", "userknownhostsfile", "globalknownhostsfile", "proxyjump", "proxycommand", "hostkeyalias")


def by_openssh(config: Path, destination: str) -> dict[str, list[str]]:
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), destination], capture_output=True, text=True, check=True, timeout=30
    )
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)
    return values


def told(resolved: Resolved, keyword: str) -> list[str]:
    words = resolved.values.get(keyword, [])
    if keyword in ("userknownhostsfile", "globalknownhostsfile"):
        return [" ".join(words)] if words else []
    # ssh writes a jump host without the scheme.
    return [word.replace("ssh://", "") for word in words]


@pytest.mark.parametrize(
    "destination", ["dgx01", "dgx99", "dgx1", "h200-1", "a100-1", "a100-2", "proxied", "plain", "bob@a100-1", "ALPHA"]
)
def test_gpudeck_and_openssh_come_to_the_same(tmp_path: Path, destination: str) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("OpenSSH's ssh is not installed: make testbed")
    config = tmp_path / "config"
    config.write_text(CONFIG)
    user, _, host = destination.rpartition("@")
    resolved = resolve(host, user=user or None, config_file=config)
    openssh = by_openssh(config, destination)
    assert [resolved.user] == openssh["user"]
    assert [resolved.host.lower()] == openssh["hostname"]
    assert [str(resolved.port)] == openssh["port"]
    for keyword in KEYWORDS:
        if keyword in resolved.values:
            assert told(resolved, keyword) == openssh.get(keyword, []), keyword
    for keyword in ("identitiesonly", "compression"):
        assert openssh[keyword] == ["yes" if resolved.yes(keyword, default=False) else "no"]
