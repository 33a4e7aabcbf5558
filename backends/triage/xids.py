"""NVIDIA's XID catalogue: what a code means, and what NVIDIA says to do.

The table is `xids.json` beside this file; it is read when the first XID is judged. The action is NVIDIA's, the severity
is gpudeck's own. What the driver itself asks for (XID 154, or field 230 of NVML) outranks the table.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import dataclass, replace
from functools import cache

from backends.domain import Severity

CATALOGUE = "NVIDIA XID catalogue"
RECOVERY_CHANGED = 154
FELL_OFF = 79
UNKNOWN_MEANING = "not in the catalogue that this version of gpudeck holds"

TRIAGE_ORDER: tuple[int, ...] = (
    79, 95, 48, 64, 140, 119, 120, 62, 143, 46, 54, 110, 136, 155, 156, 158, 74, 149, 150, 144, 145, 146, 147, 148,
    63, 92, 94, 171, 172, 109, 167, 168, 169, 8, 32, 69, 13, 31, 137, 43, 154, 45,
)  # fmt: skip
"""Of several XIDs at about the same time, the one that comes first here is told; the others follow from it."""


@dataclass(frozen=True, slots=True)
class Xid:
    """One row of the catalogue."""

    code: int
    meaning: str
    severity: Severity
    mnemonic: str | None = None
    action: str | None = None
    """NVIDIA's bucket for the immediate action, RESET_GPU; None where the catalogue gives none."""
    action_text: str | None = None
    """The bucket in words."""
    scope: str | None = None
    """app: the workload's own fault; sympathetic: follows from another; gpu, node, link, vgpu, driver."""
    note: str | None = None

    @property
    def is_app_fault(self) -> bool:
        return self.scope in ("app", "sympathetic") and self.severity is Severity.INFO

    @property
    def hits_one_process(self) -> bool:
        """It ends the work that met it and touches no other on the GPU."""
        return self.scope in ("app", "sympathetic") or self.action == "RESTART_APP"


@dataclass(frozen=True, slots=True)
class _Decode:
    """What one combination of unit, interrupt information and error status of XID 144 to 150 (NVLink 5) stands for."""

    code: int
    units: tuple[str, ...]
    masks: tuple[re.Pattern[str], ...]
    error_status: int
    action: str
    fatal: bool


class _Catalogue:
    def __init__(self) -> None:
        raw = json.loads(importlib.resources.files("backends.triage").joinpath("xids.json").read_text("utf-8"))
        self.actions: dict[str, str] = raw["actions"]
        self.xids = {row[0]: self._xid(*row) for row in raw["xids"]}
        self.nvlink5 = [self._decode(*row) for row in raw["nvlink5"]]

    def _xid(
        self,
        code: int,
        mnemonic: str,
        meaning: str,
        action: str,
        _investigate: str,
        severity: str,
        scope: str | None,
        note: str | None,
    ) -> Xid:
        return Xid(
            code, meaning, Severity(severity), mnemonic, action or None, self.actions.get(action), scope, note or None
        )

    @staticmethod
    def _decode(code: int, unit: str, first: str, second: str, status: str, action: str, severity: str) -> _Decode:
        masks = tuple(re.compile(mask.replace("-", "[01]")) for mask in (first, second))
        fatal = "Non-fatal" not in severity
        return _Decode(code, tuple(unit.split("/")), masks, int(status, 16), action, fatal)


@cache
def _catalogue() -> _Catalogue:
    return _Catalogue()


def lookup(code: int, text: str = "") -> Xid:
    """The catalogue's row of `code`, made exact by the kernel's `text` where that tells more (XID 144 to 150, 154)."""
    xid = _catalogue().xids.get(code)
    if xid is None:
        return Xid(code, UNKNOWN_MEANING, Severity.WARNING)
    if xid.action == "WORKFLOW_NVLINK5_ERR":
        return _decoded(xid, text)
    return xid


def action_text(action: str) -> str | None:
    """NVIDIA's words for an action bucket."""
    return _catalogue().actions.get(action)


_PREFIX = re.compile(r"^.*?\bXid \([^)]*\): \d+,?\s*")


def message(line: str) -> str:
    """What an XID line says behind its code; `line` may be the whole line or that part alone."""
    return _PREFIX.sub("", line, count=1)


_NVLINK5_LINE = re.compile(
    r"(?P<unit>[A-Z][A-Z0-9_]+)\s+(?P<word>Non-?fatal|Fatal)\b"
    r".*?\((?P<info>0x[0-9a-f]{1,8})[ ,]+(?P<status>0x[0-9a-f]{1,8})",
    re.IGNORECASE,
)


def _decoded(xid: Xid, text: str) -> Xid:
    """By the bits where they agree on one action; else by the driver's word, fatal or not; else the plain row."""
    match = _NVLINK5_LINE.search(text)
    if match is None:
        return xid
    bits, status, unit = f"{int(match['info'], 16):032b}", int(match["status"], 16), match["unit"].upper()
    verdicts = {
        (row.action, row.fatal)
        for row in _catalogue().nvlink5
        if row.code == xid.code
        and row.error_status == status
        and any(unit.startswith(name) or name.startswith(unit) for name in row.units)
        and any(mask.fullmatch(bits) for mask in row.masks)
    }
    if len(verdicts) == 1:
        action, fatal = verdicts.pop()
    else:
        fatal = match["word"].lower() == "fatal"
        action = "RESET_GPU" if fatal else "IGNORE"
    severity = Severity.CRITICAL if action == "RESET_GPU" else Severity.WARNING if fatal else Severity.INFO
    return replace(xid, severity=severity, action=action, action_text=action_text(action))


_RECOVERY_LINE = re.compile(r"recovery action changed from (?:0x[0-9a-f]+ )?\([^)]*\) to (0x[0-9a-f]+)", re.IGNORECASE)
_RECOVERY_CODES = {
    0: "none", 1: "gpu_reset", 2: "node_reboot", 3: "drain_p2p", 4: "drain_and_reset", 5: "recover_imex_domain",
    6: "bus_reset", 7: "system_reboot",
}  # fmt: skip


def recovery_action(text: str) -> str | None:
    """The new action of an XID 154 line, in the words of `Gpu.recovery_action`; None where the line names none known.

    The words of nvml.h's NVML_GPU_RECOVERY_ACTION_*.
    """
    match = _RECOVERY_LINE.search(text)
    return None if match is None else _RECOVERY_CODES.get(int(match[1], 16))
