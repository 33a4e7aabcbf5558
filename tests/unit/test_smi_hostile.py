"""What processes are called is nobody's choice but their owner's: it costs no value and fakes none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import GpudeckError
from backends.domain import Node
from backends.nodes import smi
from backends.nodes.smi_answer import taken_apart
from backends.nodes.transport import Completed

SAMPLE = (Path(__file__).parents[1] / "data" / "nvidia_smi" / "rtx-3080-v12.xml").read_bytes()
NAME = re.compile(rb"(?<=<process_name>)[^<]*(?=</process_name>)")


def named(name: bytes) -> Node:
    """The sample with its first process called `name`, as nvidia-smi would print it."""
    done = Completed(NAME.sub(lambda _found: name, SAMPLE, count=1), "", 0)
    document = taken_apart(done).document
    assert document is not None
    return smi.parse(document, name="n", at=0.0)


PLAIN = named(b"python")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"./my GPU is lost tool", "./my GPU is lost tool"),
        (b"GPU requires reset", None),
        (b"a\x1b[31mb\x01", "ab"),
        (b"\x1b]0;owned\x07\x1b[31;1mpython\x1b[0m\r\ntrain.py", "python train.py"),
        (b"a\xffb\xed\xa0\x80", "ab"),
        (b"\xef\xbf\xbea", "a"),
        (b"a & b &nbsp; c", "a & b &nbsp; c"),
        (b"a &amp; b &lt;c&gt;", "a & b <c>"),
        (b"a &#0; &#x1b;[2J", "a &#0; &#x1b;[2J"),
        (b"a < b > c", "a < b > c"),
        (b"a <b>bold</b> </gpu>", "a <b>bold</b> </gpu>"),
        (b"</process_name>", "</process_name>"),
        (b"</process_name></process_info></processes></gpu></nvidia_smi_log>", None),
        (b"<process_name>", "<process_name>"),
        (b"<![CDATA[ x", "<![CDATA[ x"),
        (b"<!-- x", "<!-- x"),
        (b"<?xml version='1.0'?>", "<?xml version='1.0'?>"),
        (b"<!DOCTYPE x [", "<!DOCTYPE x ["),
        (b'<!ENTITY a "b">', '<!ENTITY a "b">'),
        (b"a\nb", "a b"),
        ("訓練 😀".encode(), "訓練 😀"),
    ],
)
def test_a_name_is_shown_as_it_is_and_changes_nothing_else(name: bytes, shown: str | None) -> None:
    (gpu,), (plain,) = named(name).gpus, PLAIN.gpus
    assert (gpu.lost, gpu.lost_reason) == (False, None)
    assert (gpu.uuid, gpu.power, gpu.memory) == (plain.uuid, plain.power, plain.memory)
    assert gpu.processes is not None
    assert plain.processes is not None
    assert gpu.processes[1:] == plain.processes[1:]
    assert gpu.processes[0].pid == plain.processes[0].pid
    if shown is not None:
        assert gpu.processes[0].command == shown


@pytest.mark.parametrize("tag", ["gpu_temp", "fan_speed", "gpu_util"])
@pytest.mark.parametrize("words", ["GPU is lost", "[GPU requires reset]"])
def test_a_value_that_says_so_is_a_lost_gpu(tag: str, words: str) -> None:
    xml = re.sub(f"<{tag}>[^<]*</{tag}>", f"<{tag}>{words}</{tag}>", SAMPLE.decode(), count=1)
    (gpu,) = smi.parse(xml, name="n", at=0.0).gpus
    assert gpu.lost
    assert gpu.lost_reason == f"nvidia-smi: {words.strip('[]')}"


@given(st.binary(max_size=80))
def test_any_name_leaves_the_other_values(name: bytes) -> None:
    (gpu,) = named(name).gpus
    assert not gpu.lost
    assert gpu.memory == PLAIN.gpus[0].memory
    assert gpu.processes is not None


@given(st.binary(max_size=120))
def test_any_bytes_parse_or_are_refused(inside: bytes) -> None:
    try:
        node = smi.parse(b"<nvidia_smi_log><gpu id='x'>" + inside + b"</gpu></nvidia_smi_log>", name="n", at=0.0)
    except GpudeckError:
        return
    assert len(node.gpus) >= 1


@pytest.mark.parametrize("piece", [b"<process_name>", b"<?xml", b"</process_name>  ", b"&", b"<nvidia_smi_log "])
def test_endless_pieces_of_a_document_are_refused_soon(piece: bytes) -> None:
    assert taken_apart(Completed(piece * 200_000, "", 0)).document is None
    with pytest.raises(GpudeckError):
        smi.parse(piece * 200_000, name="n", at=0.0)
