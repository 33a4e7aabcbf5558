"""Secrets in the words of strangers: command lines of processes, labels of pods and containers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from backends.docker import containers
from backends.docker.containers import LABELS_KEPT, PROJECT, SERVICE, workload
from backends.domain import Node
from backends.domain import redact as redact_module
from backends.domain.redact import HIDDEN, label_value, shown
from backends.domain.text import NAME_LIMIT
from backends.kubernetes.keeping import pod_of
from backends.kubernetes.workloads import Builder
from backends.nodes import smi, wire
from tests.kube import objects as kube
from tests.unit.test_smi import SAMPLES

COMMAND = "vllm serve llama --api-key sk-live-123 --hf-token hf_abc --max-num-batched-tokens 8192"
SHOWN = f"vllm serve llama --api-key {HIDDEN} --hf-token {HIDDEN} --max-num-batched-tokens 8192"
BASIC_AUTH = "admin:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"
LABELS = {"traefik.http.middlewares.auth.basicauth.users": BASIC_AUTH, "registry-token": "abc", "tier": "prod"}


def commands(node: Node) -> list[str | None]:
    return [process.command for gpu in node.gpus for process in gpu.processes or ()]


def test_a_command_line_comes_off_the_wire_without_its_secrets() -> None:
    gpu: dict[str, Any] = {"index": 0, "processes": [{"pid": 7, "command": COMMAND}]}
    node = wire.state({"t": "state", "at": 1.0, "node": {}, "gpus": [gpu]}, "dgx01", 0.0)
    assert commands(node) == [SHOWN]
    later = [{"pid": 7, "command": "run --password=x"}]
    after = wire.apply_delta(node, {"t": "delta", "gpus": {"0": {"processes": later}}})
    assert commands(after) == [f"run --password={HIDDEN}"]


def test_a_command_line_that_nvidia_smi_tells_has_no_secrets_either() -> None:
    xml = (SAMPLES / "rtx-3080-v12.xml").read_text()
    name = xml.partition("<process_name>")[2].partition("</process_name>")[0]
    found = commands(smi.parse(xml.replace(name, COMMAND), name="n", at=0.0))
    assert SHOWN in found
    assert not any("sk-live" in str(command) for command in found)


@pytest.mark.parametrize("before", range(NAME_LIMIT - 40, NAME_LIMIT))
def test_a_secret_that_stands_where_a_text_is_cut_is_no_half_secret(before: int) -> None:
    assert "hf_abcdef" not in shown("x" * before + " hf_abcdefghijklmnopqrstuvwxyzABCDEF")


def test_control_characters_hide_no_secret() -> None:
    assert shown("run --api-\x1b[31mkey\x00 sk-live-123") == f"run --api-key {HIDDEN}"


def test_labels_of_a_container_have_no_secrets() -> None:
    raw = {"Id": "a" * 64, "Name": "/n", "State": {"Status": "running"}, "Config": {"Labels": LABELS}}
    assert dict(workload(raw, "dgx01").labels) == {
        "traefik.http.middlewares.auth.basicauth.users": HIDDEN,
        "registry-token": HIDDEN,
        "tier": "prod",
    }


def test_labels_of_a_pod_have_no_secrets() -> None:
    labels = {"registry.example.com/registry-token": "abc", "tier": "prod", "pull": "hf_abcdefghijklmnopqrstuvwxyzAB"}
    pods = [pod_of(kube.pod("a", node="dgx01", labels=labels))]
    (found,) = Builder("kubernetes").build(pods, frozenset({"dgx01"}), lambda _: ())
    assert dict(found.labels) == {"registry.example.com/registry-token": HIDDEN, "tier": "prod", "pull": HIDDEN}


@pytest.mark.parametrize("key", ["x" * 200 + ".api-key", "app.example.com/db_pass", "clientSecret", "DB_PASSWORD"])
def test_a_label_that_is_named_after_a_secret_has_none(key: str) -> None:
    assert label_value(key, "abc") == HIDDEN


@pytest.mark.parametrize("key", ["app", "max-tokens", "bypass", "compass", "tokenizer", "secretless.example.com/on"])
def test_other_labels_stay(key: str) -> None:
    assert label_value(key, "llama-70b") == "llama-70b"
    assert label_value("registry-token", "") == ""


@pytest.mark.parametrize("key", ["secret-key", "app.example.com/encryptionKey", "COMET_KEY", "Authorization"])
def test_a_label_that_is_named_after_a_key_has_none(key: str) -> None:
    assert label_value(key, "abc") == HIDDEN


def container(labels: dict[str, str]) -> dict[str, Any]:
    return {"Id": "a" * 64, "Name": "/n", "State": {"Status": "running"}, "Config": {"Labels": labels}}


def test_of_many_labels_only_those_that_are_kept_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def counted(key: str, value: str) -> str:
        looked_at.append(key)
        return label_value(key, value)

    monkeypatch.setattr(containers, "label_value", counted)
    many = {f"a{number:04}": "pass" + " a-a-a" * 300 for number in range(1000)}
    found = workload(container({**many, PROJECT: "train", SERVICE: "worker", "owner": "ada"}), "dgx01")
    assert [key for key, _ in found.labels] == sorted(many)[:LABELS_KEPT]
    assert (found.namespace, found.owners[0].name, found.user) == ("train", "worker", "ada")
    assert len(looked_at) == LABELS_KEPT + 3


@pytest.mark.parametrize("text", ["pass=" + "a-" * 1000 + "=", "token " + "a_" * 1000 + ":", "key: " + "a=" * 1000])
def test_a_name_is_looked_at_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    names_secret = redact_module.names_secret

    def counted(name: str) -> bool:
        looked_at.append(name)
        return names_secret(name)

    monkeypatch.setattr(redact_module, "names_secret", counted)
    redact_module.redact(text)
    assert sum(map(len, looked_at)) <= len(text)


def patterns() -> list[str]:
    rules = [*redact_module._RULES, *redact_module._FORMS, *(rule for _, rule in redact_module._OPTIONS)]
    return [pattern.pattern for pattern, _ in rules] + [
        each.pattern for each in vars(redact_module).values() if isinstance(each, re.Pattern)
    ]


def repeats(parsed: Any) -> Iterator[tuple[Any, int, Any]]:
    """(operation, most times, what is repeated) of every repetition, those inside of others too."""
    for operation, argument in parsed:
        if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT):
            yield operation, argument[1], argument[2]
        for inside in argument if isinstance(argument, list | tuple) else ():
            if isinstance(inside, _parser.SubPattern):
                yield from repeats(inside)
            elif isinstance(inside, list):
                for branch in inside:
                    yield from repeats(branch) if isinstance(branch, _parser.SubPattern) else ()


@pytest.mark.parametrize("pattern", patterns())
def test_no_pattern_tries_a_text_in_more_ways_than_one(pattern: str) -> None:
    """A repetition inside of one that gives back what it took costs a power of the length."""
    for operation, most, inside in repeats(_parser.parse(pattern)):
        if most > 1 and operation is not _constants.POSSESSIVE_REPEAT:
            assert not any(times > 1 for _, times, _ in repeats(inside))
        if operation is _constants.MIN_REPEAT:
            assert pattern.startswith("-----BEGIN"), "a key goes to its end, or to that of the text"
