"""Secrets in the words of strangers: command lines of processes, labels of pods and containers."""

from __future__ import annotations

from typing import Any

import pytest

from backends.docker.containers import workload
from backends.domain import Node
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
