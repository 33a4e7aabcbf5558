"""An OpenSSH configuration, read as ssh_config(5) says."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from backends.contract import Unreachable
from backends.domain import NodeSpec, SshSpec
from backends.nodes.ssh import SshPool
from backends.nodes.ssh_config import Resolved, proxy_command, resolve
from backends.nodes.ssh_config_text import SshConfigError, expand, matches, words
from backends.nodes.ssh_dial import algorithms, host_key_algorithms
from backends.nodes.ssh_keys import agent_path
from backends.nodes.ssh_known_hosts import KnownHost, usable_line


def read(tmp_path: Path, text: str | bytes, destination: str = "node") -> Resolved:
    file = tmp_path / "config"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return resolve(destination, config_file=file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ('"a b" c # why', ["a b", "c"]),
        ("'a b'#c", ["a b#c"]),
        (r"DOMAIN\user", [r"DOMAIN\user"]),
        (r"a\ b \"c\"", ["a b", '"c"']),
        ('""', [""]),
    ],
)
def test_words_are_split_as_openssh_splits_them(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_quote_that_is_not_closed_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(SshConfigError, match=r"config line 2: a quote is not closed"):
        read(tmp_path, 'Host node\n  User "bob\n')


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("dgx01", ["dgx*"], True),
        ("dgx01", ["dgx*", "!dgx01"], False),
        ("dgx01", ["!dgx02"], False),
        ("a.b", ["a?b"], True),
        ("axb", ["a.b"], False),
        ("[n]", ["[n]"], True),
    ],
)
def test_patterns_know_stars_question_marks_and_negation(name: str, patterns: list[str], expected: bool) -> None:
    assert matches(name, patterns) is expected


def test_the_first_value_holds_and_identity_files_add_up(tmp_path: Path) -> None:
    text = "Host node\n  User one\n  IdentityFile /a\nHost *\n  User=two\n  Port = 2222\n  IdentityFile /b\n"
    resolved = read(tmp_path, text)
    assert (resolved.user, resolved.port) == ("one", 2222)
    assert resolved.paths("identityfile") == [Path("/a"), Path("/b")]


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("Host *\n  User file\n  Port 1\nMatch user cli\n  HostName a\n")
    resolved = resolve("node", user="cli", port=22, config_file=file)
    assert (resolved.user, resolved.port, resolved.host) == ("cli", 22, "a")


def test_the_users_configuration_comes_before_the_systems(nobodys_machine: Path, tmp_path: Path) -> None:
    (nobodys_machine / ".ssh").mkdir()
    (nobodys_machine / ".ssh/config").write_text("Host node\n  User mine\n")
    system = tmp_path / "etc"
    (system / "ssh_config.d").mkdir(parents=True)
    (system / "ssh_config").write_text("Include ssh_config.d/*.conf\nHost *\n  User theirs\n  Port 2222\n")
    (system / "ssh_config.d/20-b.conf").write_text("ProxyJump second\n")
    (system / "ssh_config.d/10-a.conf").write_text("ProxyJump first\n")
    resolved = resolve("node", system=system)
    assert (resolved.user, resolved.port, resolved.word("proxyjump")) == ("mine", 2222, "first")
    # As with ssh -F, a file that is named stands alone.
    own = resolve("node", config_file=nobodys_machine / ".ssh/config", system=system)
    assert (own.user, own.port) == ("mine", 22)


def test_without_any_file_the_name_is_the_host(tmp_path: Path) -> None:
    resolved = resolve("node", system=tmp_path)
    assert (resolved.host, resolved.port, resolved.user) == ("node", 22, getpass.getuser())


def test_a_named_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SshConfigError, match=r"gone cannot be read: No such file"):
        resolve("node", config_file=tmp_path / "gone")


def test_included_files_end_their_own_host_blocks_only(nobodys_machine: Path, tmp_path: Path) -> None:
    (nobodys_machine / ".ssh/conf.d").mkdir(parents=True)
    (nobodys_machine / ".ssh/conf.d/x").write_text("Host other\n  User wrong\n")
    (nobodys_machine / ".ssh/conf.d/.hidden").write_text("User hidden\n")
    resolved = read(tmp_path, "Host node\n  Include conf.d/*\n  User right\nHost other\n  Include conf.d/.hidden\n")
    assert resolved.user == "right"


@pytest.mark.parametrize(
    "line",
    [
        "ServerAliveInterval 5m",
        "ConnectTimeout none",
        "RekeyLimit 1G 1h",
        "ForwardAgent maybe",
        "Garbage",
        "LocalForward",
    ],
)
def test_what_gpudeck_has_no_use_for_cannot_be_wrong(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, f"Host node\n  {line}\n  User bob # why not\n").user == "bob"


def test_bytes_that_are_no_utf8_stop_nothing(tmp_path: Path) -> None:
    resolved = read(tmp_path, b"# caf\xe9\nHost node\n  User bob\n  IdentityFile /k\xe9\n")
    assert resolved.user == "bob"
    assert resolved.paths("identityfile") == [Path("/k\udce9")]


@pytest.mark.parametrize("port", ["ssh!", "0", "99999"])
def test_a_port_that_is_none_is_told(tmp_path: Path, port: str) -> None:
    with pytest.raises(SshConfigError, match="is no port"):
        read(tmp_path, f"Port {port}\n")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("all", True),
        ("host 10.*", True),
        ("host node", False),
        ("originalhost node,other", True),
        ("!originalhost node", False),
        ("originalhost node user bob", True),
        ("user alice", False),
        ("tagged gpu", True),
        ("exec true", True),
        ("exec false", False),
        ("!exec false", True),
        ("exec 'test %n = node -a %p = 22'", True),
        ("canonical", False),
        ("final", True),
        ("final originalhost node", True),
        ("host=10.0.0.7", True),
    ],
)
def test_match_blocks(tmp_path: Path, condition: str, holds: bool) -> None:
    text = f"Host node\n  HostName 10.0.0.7\n  User bob\n  Tag gpu\nMatch {condition}\n  HostKeyAlias matched\n"
    assert (read(tmp_path, text).word("hostkeyalias") == "matched") is holds


def test_a_command_of_match_runs_only_where_the_rest_held(tmp_path: Path) -> None:
    read(tmp_path, f"Match host other exec 'touch {tmp_path / 'ran'}'\n  User x\n")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("condition", ["localnetwork 10.0.0.0/8", "!localnetwork 10.0.0.0/8"])
def test_a_condition_gpudeck_cannot_judge_leaves_its_block_out_and_says_so(tmp_path: Path, condition: str) -> None:
    resolved = read(tmp_path, f"Match {condition}\n  User x\nMatch all\n  User y\n")
    assert resolved.user == "y"
    assert resolved.notes == (
        f"{tmp_path / 'config'} line 1: gpudeck knows no Match localnetwork, so that block is left out",
    )


def test_tokens_and_variables_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobodys_machine: Path
) -> None:
    monkeypatch.setenv("KEYS", "/keys")
    text = "Host node\n  HostName %h.example.com\n  User bob\n  IdentityFile ${KEYS}/%r@%h:%p\n"
    resolved = read(tmp_path, text + "  UserKnownHostsFile ~/kh.%k %d/100%%\n")
    assert resolved.host == "node.example.com"
    assert resolved.paths("identityfile") == [Path("/keys/bob@node.example.com:22")]
    assert resolved.paths("userknownhostsfile") == [nobodys_machine / "kh.node", nobodys_machine / "100%"]


@pytest.mark.parametrize("text", ["%!", "100%", "${GPUDECK_NOT_SET}"])
def test_what_stands_for_nothing_is_told(text: str) -> None:
    with pytest.raises(SshConfigError, match="stands for nothing"):
        expand(text, {"%": "%"})


def test_the_first_of_proxy_command_and_proxy_jump_holds(tmp_path: Path) -> None:
    resolved = read(tmp_path, "ProxyCommand none\nProxyJump bastion\n")
    assert (resolved.word("proxyjump"), proxy_command(resolved)) == (None, None)
    assert read(tmp_path, "ProxyJump bastion\nProxyCommand nc %h\n").word("proxycommand") is None


def test_a_proxy_command_keeps_its_quotes_and_runs_in_the_users_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/bash")
    resolved = read(tmp_path, "ProxyCommand  sh -c 'nc \"%h\" %p' # 2>/dev/null\n")
    command = proxy_command(resolved)
    assert command is not None
    assert command[:2] == ["/bin/bash", "-c"]
    assert command[2].endswith("exec sh -c 'nc \"node\" 22' # 2>/dev/null")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "/env"),
        ("IdentityAgent none", None),
        ("IdentityAgent SSH_AUTH_SOCK", "/env"),
        ("IdentityAgent $OTHER", "/other"),
        ("IdentityAgent ${OTHER}/x", "/other/x"),
        ("IdentityAgent /a/%r", f"/a/{getpass.getuser()}"),
    ],
)
def test_the_agent_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, expected: str | None
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/env")
    monkeypatch.setenv("OTHER", "/other")
    assert agent_path(read(tmp_path, f"{line}\n")) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("NODE,10.0.0.1 ssh-ed25519 AAAA me@there", "node,10.0.0.1 ssh-ed25519 AAAA"),
        ("@revoked * ssh-rsa AAAA", "@revoked * ssh-rsa AAAA"),
        ("|1|Ab=|Cd= ssh-rsa AAAA", "|1|Ab=|Cd= ssh-rsa AAAA"),
        ("node ssh-ed25519-cert-v01@openssh.com AAAA", None),
        ("node x509v3-ssh-rsa subject", None),
        ("node 1024 35 1234567", None),
        ("# comment of words", None),
        ("garbage line", None),
        ("", None),
    ],
)
def test_lines_of_known_hosts(line: str, expected: str | None) -> None:
    assert usable_line(line) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("dgx01", "dgx01"),
        ("admin@dgx01", "admin@dgx01"),
        ("admin@10.0.0.7:2222", "ssh://admin@10.0.0.7:2222"),
        ("[fd00::1]:22", "ssh://[fd00::1]:22"),
        ("fd00::1", "fd00::1"),
        ("ssh://bob@dgx01:22", "ssh://bob@dgx01:22"),
    ],
)
def test_a_destination_with_a_port_is_written_as_ssh_takes_it(address: str, expected: str) -> None:
    assert NodeSpec("n", address).ssh_destination == expected


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name -> canonical name: what the resolver knows."""
    known: dict[str, str] = {}

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, known[host], ("10.0.0.7", 22))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


class TestCanonicalNames:
    DOMAINS = "CanonicalizeHostname yes\nCanonicalDomains a.example b.example\n"

    def test_the_first_domain_that_knows_the_host_makes_its_name(self, tmp_path: Path, names: dict[str, str]) -> None:
        names["node.b.example"] = "node.b.example"
        resolved = read(tmp_path, f"{self.DOMAINS}Host *.b.example\n  User b\nMatch canonical\n  Port 2222\n")
        assert (resolved.host, resolved.user, resolved.port) == ("node.b.example", "b", 2222)

    @pytest.mark.parametrize(
        ("rule", "host"), [("*.a.example:*.c.example", "real.c.example"), ("*:*.d", "node.a.example")]
    )
    def test_an_alias_of_the_resolver_counts_where_it_may(
        self, tmp_path: Path, names: dict[str, str], rule: str, host: str
    ) -> None:
        names["node.a.example"] = "real.c.example"
        assert read(tmp_path, f"{self.DOMAINS}CanonicalizePermittedCNAMEs {rule}\n").host == host

    @pytest.mark.parametrize(
        "lines", ["ProxyJump bastion", "HostName x.y.z", "HostName 10.0.0.1", "CanonicalizeMaxDots 0"]
    )
    def test_some_names_stay_as_they_are(self, tmp_path: Path, names: dict[str, str], lines: str) -> None:
        names.update(dict.fromkeys(("no.de.a.example", "x.y.z.a.example", "10.0.0.1.a.example"), "other"))
        assert read(tmp_path, f"{lines}\n{self.DOMAINS}", "no.de").host in ("no.de", "x.y.z", "10.0.0.1")

    def test_a_host_in_none_of_the_domains_is_told_where_it_has_to_be_in_one(
        self, tmp_path: Path, names: dict[str, str]
    ) -> None:
        assert read(tmp_path, self.DOMAINS).host == "node"
        with pytest.raises(SshConfigError, match="node is found in none of CanonicalDomains"):
            read(tmp_path, f"{self.DOMAINS}CanonicalizeFallbackLocal no\n")


class TestAlgorithms:
    """Names that OpenSSH has and asyncssh has not, or that are no names at all."""

    def host_keys(self, tmp_path: Path, written: str, *, certificates: bool = False, keys: tuple[Any, ...] = ()) -> Any:
        resolved = read(tmp_path, f"HostKeyAlgorithms {written}\n" if written else "")
        return host_key_algorithms(asyncssh, resolved, KnownHost("node", keys), certificates=certificates)

    @pytest.mark.parametrize(
        ("written", "first", "without"),
        [
            ("", "ssh-ed25519", ""),
            ("rsa-sha2-256,made-up,ssh-ed25519-cert-v01@openssh.com", "rsa-sha2-256", "ssh-ed25519"),
            ("^rsa-sha2-256", "rsa-sha2-256", ""),
            ("+ssh-rsa", "ssh-ed25519", ""),
            ("-ssh-ed25519,ecdsa-*", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256"),
        ],
    )
    def test_plain_host_keys_are_asked_for(self, tmp_path: Path, written: str, first: str, without: str) -> None:
        wanted = self.host_keys(tmp_path, written)
        assert wanted[0] == first
        assert without not in wanted
        assert not any("-cert-" in name for name in wanted)
        assert ("ssh-rsa" in wanted) is (written == "+ssh-rsa")

    def test_the_kinds_on_file_are_asked_for_alone(self, tmp_path: Path) -> None:
        key = asyncssh.generate_private_key("ecdsa-sha2-nistp256").convert_to_public()
        assert self.host_keys(tmp_path, "+ssh-rsa", keys=(key,)) == ["ecdsa-sha2-nistp256"]
        assert self.host_keys(tmp_path, "", keys=(key,), certificates=True) == ()

    def test_ciphers_that_asyncssh_has_not_are_left_out(self, tmp_path: Path) -> None:
        text = "Ciphers aes128-ctr,made-up\nMACs +made-up\nKexAlgorithms ^made-up,curve25519-sha256\n"
        assert algorithms(asyncssh, read(tmp_path, text)) == {
            "encryption_algs": "aes128-ctr",
            "mac_algs": "default",
            "kex_algs": "^curve25519-sha256",
        }
        with pytest.raises(SshConfigError, match="none of the ciphers made-up"):
            algorithms(asyncssh, read(tmp_path, "Ciphers made-up\n"))


@pytest.mark.parametrize("destination", ["-oProxyCommand=x", "bob@-x", "a b@", "node:port"])
async def test_what_is_no_destination_is_told(tmp_path: Path, destination: str) -> None:
    pool = SshPool(SshSpec(config_file=tmp_path / "config"), system=tmp_path)
    with pytest.raises(Unreachable, match="is no SSH destination"):
        await pool.transport(NodeSpec("n", destination)).open("true")
