"""A node read by nvidia-smi: all GPUs at once, or one by one where one of them keeps it from telling the others."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable

from backends.contract import GpudeckError, NoDriver
from backends.domain import Gpu, Node, short_bus_id
from backends.nodes import smi, wire
from backends.nodes.smi_answer import OFF_THE_BUS, SLOT, WORDS_BYTES, Answer, Unreachable, taken_apart, unreachable
from backends.nodes.smi_document import root_of
from backends.nodes.transport import Transport

LIST_COMMAND = "ls /proc/driver/nvidia/gpus"
"""The GPUs of the kernel's driver by PCI address, those that fell off the bus too."""
RUN_SECONDS = 30.0
OUTPUT_LIMIT = 16 << 20
GPUS_MOST = 32


async def read(transport: Transport, *, name: str, before: tuple[Gpu, ...] = ()) -> Node:
    """The node by nvidia-smi; `transport_note` is what it warns of, None where it does not.

    A GPU that it names as unreachable is lost, with its values from `before`. Raises NoDriver where no GPU is told,
    ProbeFailed for XML that is broken.
    """
    answer = await _run(transport, smi.COMMAND)
    if answer.document is not None:
        node, named = await asyncio.to_thread(_parsed, answer.document, name)
        return dataclasses.replace(
            node,
            gpus=with_lost(node.gpus, (*answer.unreachable, *named), before),
            transport_note=answer.remark or None,
        )
    if answer.unreachable or answer.status == OFF_THE_BUS:
        return await _one_by_one(transport, answer, name, before)
    raise _refused(answer)


async def _run(transport: Transport, command: str) -> Answer:
    return taken_apart(await transport.run(command, timeout=RUN_SECONDS, limit=OUTPUT_LIMIT))


def _refused(answer: Answer) -> NoDriver:
    refusal = answer.refusal
    return NoDriver(
        "nvidia-smi failed" + (f": {refusal}" if refusal else ""),
        "install the NVIDIA driver on the node, or take the node out of the site",
    )


def _parsed(document: bytes, name: str) -> tuple[Node, tuple[Unreachable, ...]]:
    """The node, and the GPUs that are named as unreachable between the others."""
    root = root_of(document)
    between = "\n".join(text for text in (root.text, *(child.tail for child in root)) if text)
    return smi.node_of(root, name=name), unreachable(between[:WORDS_BYTES])


async def _one_by_one(transport: Transport, whole: Answer, name: str, before: tuple[Gpu, ...]) -> Node:
    """Each GPU that the kernel's driver lists, asked for by its slot; those already named are not asked again."""
    lost = list(whole.unreachable)
    slots = await _slots(transport)
    skipped = {short_bus_id(each.slot) for each in lost if each.slot}
    skipped |= {short_bus_id(slots[each.index]) for each in lost if each.index is not None and each.index < len(slots)}
    nodes: list[Node] = []
    silent: list[Gpu] = []
    for slot in slots:
        if short_bus_id(slot) in skipped:
            continue
        try:
            answer = await _run(transport, f"{smi.COMMAND} -i {slot}")
            if answer.document is not None:
                node, _ = await asyncio.to_thread(_parsed, answer.document, name)
                nodes.append(node)
                continue
            said = answer.refusal or "nothing"
            if answer.unreachable or answer.status == OFF_THE_BUS:
                reason = answer.unreachable[0].reason if answer.unreachable else said
                lost.append(Unreachable(None, slot, reason))
                continue
        except GpudeckError as error:
            said = error.message
        silent.append(Gpu(pci_bus_id=slot, unread=(f"nvidia-smi: {said}",)))
    if not nodes and not any(each.slot or each.index is not None for each in lost):
        raise _refused(whole)
    first = nodes[0] if nodes else Node(name=name, transport="nvidia-smi")
    told = in_bus_order([*(gpu for node in nodes for gpu in node.gpus), *silent])
    return dataclasses.replace(first, gpus=with_lost(told, lost, before))


async def _slots(transport: Transport) -> list[str]:
    """PCI addresses in order; empty where the driver's list cannot be read."""
    done = await transport.run(LIST_COMMAND, timeout=RUN_SECONDS, limit=1 << 16)
    found = {full_slot(slot) for slot in SLOT.findall(done.stdout.decode("ascii", "replace"))}
    return sorted(found)[:GPUS_MOST]


def full_slot(slot: str) -> str:
    """0000:9b:00.0 as NVML writes it: 00000000:9B:00.0."""
    return slot.upper().rjust(len("00000000:00:00.0"), "0")


def in_bus_order(gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """`gpus` with the index that NVML gives them: their place in the order of PCI addresses."""
    ordered = sorted(gpus, key=lambda gpu: short_bus_id(gpu.pci_bus_id or ""))
    return tuple(dataclasses.replace(gpu, index=index) for index, gpu in enumerate(ordered))


def with_lost(gpus: tuple[Gpu, ...], lost: Iterable[Unreachable], before: tuple[Gpu, ...] = ()) -> tuple[Gpu, ...]:
    """`gpus` and those that nvidia-smi reaches no more, at the place where they were."""
    for each in lost:
        slot = None if each.slot is None else short_bus_id(each.slot)
        gone = {"lost": True, "lost_reason": f"nvidia-smi: {each.reason}"}
        told = [gpu for gpu in gpus if slot is not None and short_bus_id(gpu.pci_bus_id or "") == slot]
        if told:
            gpus = tuple(wire.merge(gpu, gone) if gpu in told else gpu for gpu in gpus)
            continue
        was = [gpu for gpu in before if _is(gpu, each, slot)]
        blank = Gpu(index=each.index or 0, pci_bus_id=None if each.slot is None else full_slot(each.slot))
        missing = wire.merge(was[0] if was else blank, gone)
        if missing.pci_bus_id is not None:
            gpus = in_bus_order((*gpus, missing))
        else:
            place = len(gpus) if each.index is None else each.index
            gpus = tuple(
                dataclasses.replace(gpu, index=index)
                for index, gpu in enumerate((*gpus[:place], missing, *gpus[place:]))
            )
    return wire.distinct(gpus)


def _is(gpu: Gpu, lost: Unreachable, slot: str | None) -> bool:
    if slot is not None:
        return gpu.pci_bus_id is not None and short_bus_id(gpu.pci_bus_id) == slot
    return lost.index == gpu.index
