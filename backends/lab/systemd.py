"""`systemctl` of a simulated node, as far as a change needs it: stop, start, is-active."""

from __future__ import annotations

import shlex

from backends.lab.equipment import EQUIPMENT
from backends.lab.hardware import SimNode

NOT_LOADED, NOT_ACTIVE, DENIED = 5, 3, 1


def state_of(node: SimNode, unit: str) -> str:
    """active, inactive, failed, or missing."""
    state = EQUIPMENT[node.machine.prefix].services.get(unit, "missing")
    if state != "active":
        return state
    if unit in node.host_faults.services_down:
        return "failed"
    return "inactive" if unit in node.stopped else state


def systemctl(node: SimNode, line: str) -> tuple[int, str, str]:
    """Exit status, output, errors."""
    words = [word for word in shlex.split(line) if word not in ("sudo", "-n")]
    verb, units = (words[1] if len(words) > 1 else ""), [word.removesuffix(".service") for word in words[2:]]
    if verb == "is-active" and units:
        states = [state_of(node, unit).replace("missing", "inactive") for unit in units]
        return (0 if "active" in states else NOT_ACTIVE), "".join(f"{state}\n" for state in states), ""
    if verb not in ("stop", "start") or not units:
        return 1, "", f"Unknown command verb '{verb}'.\n"
    if not node.machine.privileged:
        return DENIED, "", f"Failed to {verb} {units[0]}.service: Access denied\n"
    for unit in units:
        if state_of(node, unit) == "missing":
            return NOT_LOADED, "", f"Failed to {verb} {unit}.service: Unit {unit}.service not loaded.\n"
        (node.stopped.add if verb == "stop" else node.stopped.discard)(unit)
    return 0, "", ""
