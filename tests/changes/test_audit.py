"""The audit log: appended, private, complete over rotations and processes, and without secrets."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends.changes.audit as audit_module
from backends.changes.actor import Actor
from backends.changes.audit import LINE_LIMIT, AuditLog
from backends.contract import JournalFailed
from backends.domain.redact import HIDDEN, first_secret, redact, redacted
from tests.changes.steps import NOW, FileStep, change_of, open_desk
from tests.tui.fleets import HOSTILE

ACTOR = Actor("alice", 1000, "head01", "alice", None, "/dev/pts/3", "192.0.2.7")


def lines_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(directory.glob("audit*")) for line in path.read_text().splitlines()]


def test_a_line_says_who_when_where_what_and_how_it_ended(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, ACTOR)
    log.append("step", NOW, site="prod", outcome="verified", what="nvidia-smi mig -i 3 -dci", reason="INC-1")
    (line,) = lines_of(tmp_path)
    assert line["who"] == ACTOR.to_json()
    assert (line["time"], line["at"]) == ("2023-11-14T22:13:20.000+00:00", NOW)
    assert (line["site"], line["event"], line["outcome"]) == ("prod", "step", "verified")
    assert line["pid"] == os.getpid()
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_it_only_grows_and_a_cut_line_stays_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, ACTOR)
    log.append("a", NOW, site="prod", outcome="1")
    with log.path.open("ab") as opened:
        opened.write(b'{"half')
    before = log.path.read_bytes()
    log.append("b", NOW, site="prod", outcome="2")
    assert log.path.read_bytes().startswith(before + b"\n{")
    assert [line["event"] for line in log.tail(10)] == ["a", "b"]


def _writer(directory: str, name: str, count: int) -> None:
    log = AuditLog(Path(directory), ACTOR, rotate_bytes=3000)
    for number in range(count):
        log.append(name, NOW, site="prod", outcome=str(number))


def test_rotation_and_several_processes_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_writer, args=(str(tmp_path), name, 60)) for name in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    lines = lines_of(tmp_path)
    assert sorted((line["event"], int(line["outcome"])) for line in lines) == [
        (name, number) for name in "xyz" for number in range(60)
    ]
    sizes = [path.stat().st_size for path in tmp_path.glob("audit*")]
    assert len(sizes) > 5
    assert max(sizes) < 3000 + 1000


def test_a_log_that_may_not_be_renamed_goes_on_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_self: Path, _target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")  # as with chattr +a

    monkeypatch.setattr(Path, "rename", forbidden)
    log = AuditLog(tmp_path, ACTOR, rotate_bytes=10)
    for number in range(3):
        log.append("a", NOW, site="prod", outcome=str(number))
    assert len(lines_of(tmp_path)) == 3


def test_a_link_or_a_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "audit.jsonl").symlink_to(victim)
    with pytest.raises(JournalFailed, match="cannot be written"):
        AuditLog(tmp_path, ACTOR).append("a", NOW, site="prod", outcome="x")
    assert victim.read_text() == "precious"
    (tmp_path / "other").mkdir()
    os.mkfifo(tmp_path / "other" / "audit.jsonl")
    with pytest.raises(JournalFailed, match="not a plain file"):
        AuditLog(tmp_path / "other", ACTOR).append("a", NOW, site="prod", outcome="x")


async def test_without_the_log_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk(tmp_path / "state")

    def full(_descriptor: int, _payload: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(audit_module, "write_all", full)
    with pytest.raises(JournalFailed, match="No space left"):
        await desk.run(change_of(FileStep(str(tmp_path / "a"))))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "state" / "changes" / f"{change_of().id}.journal").exists()
    monkeypatch.undo()
    await desk.close()


def test_lines_are_bounded_and_hostile_text_stays_data(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, ACTOR)
    log.append("a", NOW, site="prod", outcome="x", what=HOSTILE[5] * 1000, more=[HOSTILE[5]] * 40)
    log.append("b", NOW, site="prod", outcome="x", what="\x1b[31m\n{\n" + HOSTILE[2])
    raw = log.path.read_bytes().splitlines()
    assert len(raw) == 2
    assert all(len(line) <= LINE_LIMIT for line in raw)
    assert raw[1].isascii()
    assert b"\x1b" not in raw[1]


# Secrets

SECRETS = (
    ("curl --password {} https://x", "curl --password [redacted] https://x"),
    ("NGC_API_KEY={} docker run x", "NGC_API_KEY=[redacted] docker run x"),
    ("export HF_TOKEN='{}' && run", "export HF_TOKEN=[redacted] && run"),
    ("--registry-token={} --verbose", "--registry-token=[redacted] --verbose"),
    ('{{"clientSecret": "{}", "a": 1}}', '{{"clientSecret": [redacted], "a": 1}}'),
    ("Authorization: Bearer {}", "Authorization: [redacted]"),
    ("authorization: Basic {}", "authorization: [redacted]"),
    ("Authorization: Token {}", "Authorization: [redacted]"),
    ("Proxy-Authorization: ApiKey {}", "Proxy-Authorization: [redacted]"),
    ('curl -H "Authorization: Token {}" https://x', 'curl -H "Authorization: [redacted]" https://x'),
    ("-H 'Authorization: Custom a={}, b={}' https://x", "-H 'Authorization: [redacted]' https://x"),
    ('authorization: Digest username="joe", response="{}"', "authorization: [redacted]"),
    ('{{"Authorization": "Token {}", "a": 1}}', '{{"Authorization": [redacted], "a": 1}}'),
    ("run --secret-key {} --verbose", "run --secret-key [redacted] --verbose"),
    ("SECRET_KEY={} run", "SECRET_KEY=[redacted] run"),
    ("encryption_key: {}", "encryption_key: [redacted]"),
    ("WANDB_KEY={} COMET_KEY={} run", "WANDB_KEY=[redacted] COMET_KEY=[redacted] run"),
    ("env A=PASSWORD={} run", "env A=PASSWORD=[redacted] run"),
    ('run --password "{} and a line that was cut', "run --password [redacted]"),
    ("curl -u joe:{} https://x", "curl -u joe:[redacted] https://x"),
    ("/usr/bin/curl -sku 'joe:{}' https://x", "/usr/bin/curl -sku 'joe:[redacted]' https://x"),
    ("curl --proxy-user=joe:{} https://x", "curl --proxy-user=joe:[redacted] https://x"),
    ("sshpass -p {} ssh -p 22 root@dgx01", "sshpass -p [redacted] ssh -p 22 root@dgx01"),
    ("ipmitool -H bmc1 -U admin -P {} power status", "ipmitool -H bmc1 -U admin -P [redacted] power status"),
    ("docker login nvcr.io -u $oauthtoken -p {}", "docker login nvcr.io -u $oauthtoken -p [redacted]"),
    ("run --mirror-https://robot:{}@nvcr.io", "run --mirror-https://robot:[redacted]@nvcr.io"),
    ("git clone https://{}@git.example/a.git", "git clone https://[redacted]@git.example/a.git"),
    ("git clone https://{}:x-oauth-basic@git.example/a", "git clone https://[redacted]@git.example/a"),
    ("401 for bearer {} at /v2", "401 for bearer [redacted] at /v2"),
    ("https://robot:{}@nvcr.io/v2/", "https://robot:[redacted]@nvcr.io/v2/"),
    ("passwd = {}", "passwd = [redacted]"),
    ("aws_secret_access_key: {}", "aws_secret_access_key: [redacted]"),
)
VALUES = st.text(alphabet="abcdefghijkmnpqrstuvwxyzABCDEF0123456789+/_.~", min_size=9, max_size=60).filter(
    lambda text: text[0].isalnum()
)


@pytest.mark.parametrize(("template", "wanted"), SECRETS)
@given(secret=VALUES)
def test_a_secret_is_taken_out_and_the_rest_stays(template: str, wanted: str, secret: str) -> None:
    secret = secret.replace("/", "_") if "://" in template else secret  # a URL has it percent-encoded
    line = template.format(secret, secret)
    assert redact(line) == wanted.format()
    assert redact(wanted.format()) == wanted.format()
    assert first_secret({"argv": line.split(" ")}) is not None


@pytest.mark.parametrize(
    "secret",
    [
        "nvapi-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "glpat-abcdefghij0123456789",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEF",
        "xoxb-123456789012-abcdef",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\nBBBB\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\ncut off",
    ],
)
def test_keys_that_tell_themselves_are_taken_out_anywhere(secret: str) -> None:
    assert redact(f"it said: {secret}") == f"it said: {HIDDEN}"
    assert first_secret(["x", {"a": secret}]) == "[1].a"


@pytest.mark.parametrize(
    "text",
    [
        "nvidia-smi mig -i 3 -cgi 9:0,9:4 -C",
        "kubectl create secret generic pull --from-file=.dockerconfigjson",
        "--token-file /var/run/secrets/token",
        'PATCH nodes/dgx07 {"metadata": {"labels": {"nvidia.com/mig.config": "all-3g.40gb"}}}',
        "https://grafana.example/d/abc?x=1",
        "max_tokens=4096 tokenizer=llama compass: north",
        "user@host:port",
        "vllm serve --tokenizer /models/llama --max-tokens 100 --num-tokens=5 num_tokens=5",
        "kubelet --key-file /etc/x --tls-private-key-file=/etc/y --api-server=10.0.0.1 --authorization-mode=RBAC",
        "--pass-through 1 PRIMARY_KEY=id topologyKey: zone key=value KEY=value",
        "ssh -p 22 -u login root@login-node ssh://git@host/a docker run -p 80:80 -u app:app",
        "docker run -u 1000:1000 curl -p https://host.example/x?mail=joe@example.com",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
    assert first_secret({"a": [text, {"key": text}]}) is None


def test_values_of_secret_keys_are_hidden_whole(tmp_path: Path) -> None:
    value = {"apiKey": "a b c", "nested": [{"password": "x"}, "token=y"], "key": "kept", "empty_token": ""}
    assert redacted(value) == {
        "apiKey": HIDDEN,
        "nested": [{"password": HIDDEN}, f"token={HIDDEN}"],
        "key": "kept",
        "empty_token": "",
    }
    assert first_secret({"env": {"NGC_API_KEY": "abc"}}) == "env.NGC_API_KEY"
    AuditLog(tmp_path, ACTOR).append("a", NOW, site="prod", outcome="x", env={"PGPASSWORD": "hunter2"})
    assert "hunter2" not in (tmp_path / "audit.jsonl").read_text()


@given(st.text(max_size=300))
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize("text", ["a-" * 20_000, "password" * 5_000, "x" * 60_000, '"' * 30_000, "://" * 20_000])
def test_long_lines_cost_no_minutes(text: str) -> None:
    before = time.process_time()
    redact(text)
    assert time.process_time() - before < 5
