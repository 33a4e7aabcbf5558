"""nvidia-smi on a node with a sick GPU: the others keep their values, whatever it says and exits with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import GpudeckError, NoDriver, ProbeFailed
from backends.domain import Gpu, Node
from backends.nodes import smi, smi_fallback
from backends.nodes.local import LocalTransport
from backends.nodes.smi_answer import MEANINGS, taken_apart, unreachable
from backends.nodes.transport import Completed

A100 = (Path(__file__).parents[1] / "data" / "nvidia_smi" / "a100-sxm4-v12.xml").read_text()
GPU = re.compile(r"[ \t]*<gpu id=.*?</gpu>\s*", re.DOTALL)
INFOROM = "WARNING: infoROM is corrupted at gpu 0000:1B:00.0"
NO_HANDLE = "Unable to determine the device handle for GPU"
LOST = f"{NO_HANDLE} 0000:9B:00.0: GPU is lost.  Reboot the system to recover this GPU"


def document(*slots: str, between: str = "") -> str:
    """The answer of a machine with an A100 in each of `slots`."""
    (body,) = GPU.findall(A100)
    gpus = [
        re.sub(r"GPU-[0-9a-f-]+", f"GPU-{slot}", re.sub(r'id="[^"]+"', f'id="00000000:{slot}:00.0"', body, count=1))
        for slot in slots
    ]
    return GPU.sub(lambda _found: between.join(gpus), A100)


class Smi:
    """A node that answers each command as it is told, and remembers what it was asked."""

    def __init__(self, answers: dict[str, Completed | GpudeckError]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        self.asked.append(command)
        answer = self.answers.get(command, Completed(b"", "", 2))
        if isinstance(answer, GpudeckError):
            raise answer
        return answer


def said(stdout: str, status: int = 0, stderr: str = "") -> Completed:
    return Completed(stdout.encode(), stderr, status)


def listing(*slots: str) -> Completed:
    return said("".join(f"0000:{slot.lower()}:00.0\n" for slot in slots))


def alone(slot: str) -> str:
    return f"nvidia-smi -q -x -i 00000000:{slot}:00.0"


async def read(answers: dict[str, Completed | GpudeckError], before: tuple[Gpu, ...] = ()) -> Node:
    return await smi_fallback.read(Smi(answers), name="n", before=before)  # type: ignore[arg-type]


async def whole(answer: Completed, before: tuple[Gpu, ...] = ()) -> Node:
    return await read({smi.COMMAND: answer}, before)


@pytest.mark.parametrize(
    ("answer", "remark"),
    [
        (said(A100), None),
        (said(A100, 14), "exit status 14, the infoROM of a GPU is corrupted"),
        (said(A100, 77), "exit status 77"),
        (said(f"{A100}\n{INFOROM}\n", 14), INFOROM),
        (said(f"{INFOROM}\n{A100}"), INFOROM),
        (said(A100, 14, INFOROM), INFOROM),
        (said(f"Welcome to DGX OS\n{A100}\nBye\n"), None),
    ],
)
async def test_a_whole_document_is_read_whatever_is_around_it(answer: Completed, remark: str | None) -> None:
    node = await whole(answer)
    assert [gpu.name for gpu in node.gpus] == ["NVIDIA A100-SXM4-80GB"]
    assert node.gpus[0].power.draw_watts == 67.03
    assert node.transport_note == remark


@pytest.mark.parametrize(
    ("words", "index", "slot", "reason"),
    [
        (f"{NO_HANDLE} 0000:9B:00.0: GPU is lost.  Reboot the system", None, "0000:9B:00.0", "GPU is lost"),
        (f"{NO_HANDLE}0000:07:00.0: Unknown Error", None, "0000:07:00.0", "Unknown Error"),
        (f"{NO_HANDLE}3: 0000:5F:00.0: Unknown Error\n", 3, "0000:5F:00.0", "Unknown Error"),
        (f"{NO_HANDLE}2: Unknown Error", 2, None, "Unknown Error"),
        (f"{NO_HANDLE} 0000:01:00.0: Not Found\nbye", None, "0000:01:00.0", "Not Found"),
    ],
)
def test_a_gpu_without_a_handle_is_named(words: str, index: int | None, slot: str | None, reason: str) -> None:
    (found,) = unreachable(words)
    assert (found.index, found.slot, found.reason) == (index, slot, reason)
    assert unreachable(f"{words} {words}\n{words}") == (found,), "each once"


@pytest.mark.parametrize("where", ["stdout", "stderr", "before", "between"])
async def test_a_gpu_that_is_missing_from_the_document_is_lost_at_its_place(where: str) -> None:
    xml = document("1B", "43", "C3", between=f"{LOST}\n" if where == "between" else "")
    answers = {"stdout": said(f"{xml}{LOST}\n", 15), "stderr": said(xml, 0, LOST), "before": said(f"{LOST}\n{xml}")}
    node = await whole(answers.get(where, said(xml)))
    assert [(gpu.index, gpu.pci_bus_id, gpu.lost) for gpu in node.gpus] == [
        (0, "00000000:1B:00.0", False),
        (1, "00000000:43:00.0", False),
        (2, "00000000:9B:00.0", True),
        (3, "00000000:C3:00.0", False),
    ]
    assert node.gpus[2].lost_reason == "nvidia-smi: GPU is lost"
    assert node.gpus[3].power.draw_watts == 67.03
    assert node.transport_note is None, "the lost GPU says it"


async def test_a_lost_gpu_keeps_its_last_values() -> None:
    before = (await whole(said(document("1B", "9B")))).gpus
    node = await whole(said(document("1B"), 15, LOST), before)
    assert [(gpu.uuid, gpu.lost) for gpu in node.gpus] == [("GPU-1B", False), ("GPU-9B", True)]
    assert node.gpus[1].memory.total_bytes == before[1].memory.total_bytes


async def test_a_gpu_that_is_named_by_its_index_alone_is_lost_there() -> None:
    node = await whole(said(document("1B", "C3"), 15, f"{NO_HANDLE}1: Unknown Error"))
    assert [(gpu.index, gpu.uuid, gpu.lost) for gpu in node.gpus] == [
        (0, "GPU-1B", False),
        (1, None, True),
        (2, "GPU-C3", False),
    ]


async def test_with_no_document_each_gpu_is_asked_alone() -> None:
    answers: dict[str, Completed | GpudeckError] = {
        smi.COMMAND: said(f"{LOST}\n", 15),
        smi_fallback.LIST_COMMAND: listing("9B", "1B", "43", "C3"),
        alone("1B"): said(document("1B")),
        alone("43"): said(document("43"), 14),
        alone("C3"): said(document("C3")),
    }
    transport = Smi(answers)
    node = await smi_fallback.read(transport, name="n")  # type: ignore[arg-type]
    assert alone("9B") not in transport.asked, "a call on a lost GPU may hang"
    assert [(gpu.index, gpu.pci_bus_id, gpu.lost) for gpu in node.gpus] == [
        (0, "00000000:1B:00.0", False),
        (1, "00000000:43:00.0", False),
        (2, "00000000:9B:00.0", True),
        (3, "00000000:C3:00.0", False),
    ]
    assert [gpu.power.draw_watts for gpu in node.gpus] == [67.03, 67.03, None, 67.03]
    assert (node.name, node.driver) == ("n", "535.54.03")


async def test_a_lost_gpu_that_was_not_named_is_found_by_asking_it() -> None:
    node = await read(
        {
            smi.COMMAND: said("", 15),
            smi_fallback.LIST_COMMAND: listing("1B", "43", "9B"),
            alone("1B"): said(document("1B")),
            alone("43"): said("", 15),
            alone("9B"): said(f"{LOST}\n", 15),
        }
    )
    assert [(gpu.lost, gpu.lost_reason) for gpu in node.gpus] == [
        (False, None),
        (True, "nvidia-smi: exit status 15, a GPU fell off the bus or is not accessible"),
        (True, "nvidia-smi: GPU is lost"),
    ]


@pytest.mark.parametrize(
    ("answer", "unread"),
    [
        (ProbeFailed("the command took more than 30 s", ""), "nvidia-smi: the command took more than 30 s"),
        (said("", 4), "nvidia-smi: exit status 4, this user may not use the GPU"),
        (said("<nvidia_smi_log><gpu></nvidia_smi_log>"), None),
    ],
)
async def test_a_gpu_that_does_not_answer_costs_the_others_nothing(
    answer: Completed | GpudeckError, unread: str | None
) -> None:
    node = await read(
        {
            smi.COMMAND: said(f"{LOST}\n", 15),
            smi_fallback.LIST_COMMAND: listing("1B", "43", "9B"),
            alone("1B"): answer,
            alone("43"): said(document("43")),
        }
    )
    assert [(gpu.lost, gpu.power.draw_watts) for gpu in node.gpus] == [(False, None), (False, 67.03), (True, None)]
    if unread is not None:
        assert node.gpus[0].unread == (unread,)


async def test_the_only_gpu_of_a_machine_that_is_lost_is_told() -> None:
    node = await read({smi.COMMAND: said(f"{LOST}\n", 15)})
    assert [(gpu.pci_bus_id, gpu.lost) for gpu in node.gpus] == [("00000000:9B:00.0", True)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (said("", 127, "sh: 1: nvidia-smi: not found"), 'nvidia-smi failed: "sh: 1: nvidia-smi: not found"'),
        (said("", 9), "nvidia-smi failed: exit status 9, the NVIDIA driver is not loaded"),
        (said("", 15), "nvidia-smi failed: exit status 15, a GPU fell off the bus or is not accessible"),
        (said(A100[:4000], 255), "nvidia-smi failed: exit status 255, an internal error of the driver"),
        (said("", 0), "nvidia-smi failed"),
    ],
)
async def test_no_answer_is_told_in_words_and_never_in_xml(answer: Completed, message: str) -> None:
    with pytest.raises(NoDriver) as caught:
        await whole(answer)
    assert caught.value.message == message


async def test_a_list_of_gpus_cannot_smuggle_a_command() -> None:
    transport = Smi(
        {smi.COMMAND: said("", 15), smi_fallback.LIST_COMMAND: said("0000:1b:00.0;reboot\n$(reboot)\n-x\n")}
    )
    with pytest.raises(NoDriver):
        await smi_fallback.read(transport, name="n")  # type: ignore[arg-type]
    assert transport.asked == [smi.COMMAND, smi_fallback.LIST_COMMAND, alone("1B")]


async def test_it_works_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answer.xml").write_text(A100)
    script = tmp_path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\ncat {tmp_path}/answer.xml\necho '{INFOROM}'\nexit 14\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    node = await smi_fallback.read(LocalTransport(), name="n")
    assert (len(node.gpus), node.transport_note) == (1, INFOROM)


@given(st.binary(max_size=200), st.text(max_size=100), st.sampled_from([None, 0, 1, *MEANINGS]))
def test_any_answer_is_taken_apart(stdout: bytes, stderr: str, status: int | None) -> None:
    answer = taken_apart(Completed(stdout, stderr, status))
    assert len(answer.refusal) < 300
    assert "\x1b" not in answer.refusal + answer.remark
