"""What nvidia-smi printed around its XML, and what its exit status means: pure functions over a finished command.

One sick GPU changes both: a status other than 0 and a warning come with a complete document (NVIDIA/gpu-operator#20,
microsoft/pai#3756), or a GPU is named that is missing from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backends.domain import clean, short_bus_id
from backends.nodes.transport import Completed

WORDS_LIMIT = 200
WORDS_BYTES = 4000
"""Of what stands before, behind and between."""

MEANINGS = {
    2: "an argument or option is invalid",
    3: "the GPU cannot do that",
    4: "this user may not use the GPU",
    6: "what was asked for was not found",
    8: "the external power of a GPU is not properly attached",
    9: "the NVIDIA driver is not loaded",
    10: "the kernel found an interrupt problem with a GPU",
    12: "the NVML library was not found or does not load",
    13: "this version of NVML has no such function",
    14: "the infoROM of a GPU is corrupted",
    15: "a GPU fell off the bus or is not accessible",
    18: "library and kernel module of the driver differ",
    127: "nvidia-smi was not found",
    255: "an internal error of the driver",
}
"""Exit status: RETURN VALUE of nvidia-smi(1). 18 is NVML_ERROR_LIB_RM_VERSION_MISMATCH (nvml.h), 127 the shell's."""
OFF_THE_BUS = 15

_HEAD = re.compile(rb"<(?:\?xml|!DOCTYPE|nvidia_smi_log)\b")
_END = b"</nvidia_smi_log>"
_SLOT = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
SLOT = re.compile(_SLOT, re.IGNORECASE)
"""A GPU's PCI address as `-i` takes it."""
_WARNING = re.compile(r"WARNING: .{1,100}")
_UNREACHABLE = re.compile(
    rf"Unable to determine the device handle for GPU\s*(?:(?P<index>\d{{1,3}}):\s*)?(?:(?P<slot>{_SLOT}):\s*)?"
    r"(?P<why>[A-Za-z][A-Za-z ]{0,60}?)\s*(?=[.\n]|\s{2}|$|\s(?:Unable|WARNING)\b)",
    re.IGNORECASE,
)
"""Drivers differ: `GPU 0000:02:00.0: GPU is lost.  Reboot`, `GPU0000:07:00.0: Unknown Error`,
`GPU3: 0000:5F:00.0: Unknown Error`, `GPU2: Unknown Error`."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A GPU that nvidia-smi names as one it gets no handle of; `index` and `slot` are None where it does not say."""

    index: int | None
    slot: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished nvidia-smi, taken apart."""

    document: bytes | None
    """From the head of the XML to the end of its root; None without either."""
    words: str
    """What it said besides, cleaned."""
    unreachable: tuple[Unreachable, ...]
    status: int | None

    @property
    def refusal(self) -> str:
        """Why there is no document: its words, else what its status means; empty where neither says anything."""
        return f'"{self.words}"' if self.words else self._told_by_status

    @property
    def remark(self) -> str:
        """What is wrong besides unreachable GPUs where there is a document; empty where nothing is.

        A login shell may talk too: of the words only a warning counts.
        """
        warning = _WARNING.search(self.words)
        if warning is not None:
            return warning[0].strip()
        return "" if self.unreachable else self._told_by_status

    @property
    def _told_by_status(self) -> str:
        if not self.status:
            return ""
        meaning = MEANINGS.get(self.status)
        return f"exit status {self.status}" + (f", {meaning}" if meaning else "")


def taken_apart(done: Completed) -> Answer:
    """The parts of what `nvidia-smi -q -x` printed."""
    head = _HEAD.search(done.stdout)
    start = len(done.stdout) if head is None else head.start()
    end = done.stdout.rfind(_END, start)
    document, behind = None, b""
    if end >= 0:
        document, behind = done.stdout[start : end + len(_END)], done.stdout[end + len(_END) :]
    around = done.stdout[:start][-WORDS_BYTES:] + b"\n" + behind[:WORDS_BYTES]
    said = f"{around.decode('utf-8', 'replace').strip()}\n{done.stderr}".strip()
    return Answer(document, clean(said, WORDS_LIMIT), unreachable(said), done.status)


def unreachable(said: str) -> tuple[Unreachable, ...]:
    """The GPUs that `said` names as those without a handle, each once."""
    found: dict[tuple[str | None, str | None], Unreachable] = {}
    for match in _UNREACHABLE.finditer(said):
        index = None if match["index"] is None else int(match["index"])
        slot = match["slot"]
        key = (None, short_bus_id(slot)) if slot else (match["index"], None)
        found.setdefault(key, Unreachable(index, slot, match["why"]))
    return tuple(found.values())
