"""Why something makes no sense on a node as it is now, seconds since the epoch: the words behind the node's name, None
where it does."""

from __future__ import annotations

from backends.domain import OperandPhase, StackNode


def nothing_runs(node: StackNode, _now: float) -> str | None:
    if any(each.pod for each in node.operands):
        return None
    hidden = next((each.reason for each in node.operands if each.phase is OperandPhase.UNKNOWN), None)
    return "has no pod of the stack" if hidden is None else f"has no pod of the stack that is seen; {hidden}"


def cordoned_already(node: StackNode, _now: float) -> str | None:
    return None if node.schedulable else "is cordoned already"


def not_cordoned(node: StackNode, _now: float) -> str | None:
    return "is not cordoned" if node.schedulable else None


def no_mig_manager(node: StackNode, now: float) -> str | None:
    manager = node.get("mig-manager")
    if manager is None or (manager.pod is None and manager.phase is not OperandPhase.UNKNOWN):
        return "has no MIG manager: a layout that is asked for would not be made"
    if node.mig is None or node.mig.state not in ("pending", "rebooting") or node.mig.stuck(now):
        return None
    return f"is being given the layout {node.mig.requested}"


def upgrade_under_way(node: StackNode, _now: float) -> str | None:
    if node.get("driver") is None:
        return "has no driver of the operator"
    running = node.upgrade is not None and node.upgrade.running
    return f"is being upgraded: {node.upgrade.step}" if running and node.upgrade is not None else None


def paused_already(node: StackNode, _now: float) -> str | None:
    return "is left out of driver upgrades already" if node.upgrade is not None and node.upgrade.skipped else None


def not_paused(node: StackNode, _now: float) -> str | None:
    return None if node.upgrade is not None and node.upgrade.skipped else "is not left out of driver upgrades"
