"""What the console may do to pods and nodes of a platform: as it is told beforehand, and what is looked at after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from backends.domain.access import Permission
from backends.domain.stack import MigManagerState
from backends.domain.workload import Owner


class Verb(StrEnum):
    RESTART = "restart"
    """Delete a pod, so that its controller makes it anew."""
    EVICT = "evict"
    CORDON = "cordon"
    UNCORDON = "uncordon"
    MIG = "mig"
    UPGRADE_START = "upgrade-start"
    UPGRADE_PAUSE = "upgrade-pause"
    UPGRADE_RESUME = "upgrade-resume"
    UPGRADE_BACK = "upgrade-back"
    """Take back an upgrade that the operator has not begun."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do. The pod's fields belong to RESTART and EVICT, `layout` to MIG, `step` to UPGRADE_BACK."""

    verb: Verb
    node: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str | None = None
    """Only the pod with this uid is meant: a successor of the same name is left alone."""
    layout: str | None = None
    """None takes the wish for a layout away."""
    step: str = ""
    """The step that a driver upgrade goes back to; empty takes the label away."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request of the platform's API before it is sent."""

    text: str
    """Exactly what is sent: method, path, body."""
    needs: tuple[Permission, ...] = ()
    """The rights that it takes, with those that show whether it worked."""

    def to_json(self) -> dict[str, Any]:
        needs = [[each.verb, each.resource, each.namespace, each.name] for each in self.needs]
        return {"text": self.text, "needs": needs}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(str(document["text"]), tuple(Permission(*each) for each in document["needs"]))


@dataclass(frozen=True, slots=True)
class NodeControl:
    """What of a node can be changed, as it is now."""

    name: str
    schedulable: bool
    mig: MigManagerState | None = None
    upgrade_step: str = ""
    """Empty: no driver upgrade was ever begun."""
    upgrade_skipped: bool = False
    upgrades_itself: bool | None = None
    """The operator upgrades the driver of this node (its annotation nvidia.com/gpu-driver-upgrade-enabled).

    Then a driver pod that is restarted evicts nothing by itself. None: the node does not say.
    """


@dataclass(frozen=True, slots=True)
class PodControl:
    """A pod on a node, as far as restarts and drains need it."""

    namespace: str
    name: str
    uid: str
    controller: Owner | None
    """The nearest one, which makes the pod anew; None for a bare pod."""
    ready: bool
    going: bool
    """It was deleted and is not gone yet."""
    said: str
    """How it does, in a word or two: Running, Init:1/3, CrashLoopBackOff."""
    stays: str | None = None
    """Why a drain does not touch it."""
    needs_force: str | None = None
    """Why a drain leaves it unless it is told to take it too."""

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"
