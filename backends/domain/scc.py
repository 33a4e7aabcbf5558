"""Pods that OpenShift's SecurityContextConstraints (SCCs) refuse: only their controller tells of them."""

from __future__ import annotations

from dataclasses import dataclass

from backends.domain.workload import GpuRequest, Owner


@dataclass(frozen=True, slots=True)
class SccClause:
    """What one SCC does not admit of a pod."""

    why: str
    """Privileged containers are not allowed; hostPath volumes are not allowed to be used."""
    scc: str | None = None
    """restricted-v2; None where the server does not name it."""
    field: str | None = None
    """Of the pod: .containers[0].privileged, spec.volumes[2]."""

    @property
    def words(self) -> str:
        """`restricted-v2: .containers[0].privileged: Privileged containers are not allowed`"""
        return ": ".join(part for part in (self.scc, self.field, self.why) if part)


@dataclass(frozen=True, slots=True)
class SccRefusal:
    """A controller that can make no pod, because no SCC admits it."""

    kind: str
    """ReplicaSet, StatefulSet, Job, DaemonSet, ReplicationController."""
    namespace: str
    name: str
    clauses: tuple[SccClause, ...] = ()
    """What the SCCs object to that its service account may use; empty where it may use none."""
    unusable: tuple[str, ...] = ()
    """SCCs that its service account may not use, by name."""
    owner: Owner | None = None
    """What a person deployed: the Deployment of a ReplicaSet; None where nothing owns it, or it may not be read."""
    service_account: str | None = None
    """None: the controller may not be read, and neither are the fields below."""
    gpus: tuple[GpuRequest, ...] | None = None
    """What each of its pods asks for."""
    claims: bool = False
    """They ask for devices by resource claims."""
    wanted: int | None = None
    """How many pods it is to have."""
    missing: int | None = None
    """How many of them it has not."""
    operand: str | None = None
    """Key of the operand whose DaemonSet it is; None for any other."""
    since: float | None = None
    """When it was refused first, seconds since the epoch."""
    at: float | None = None
    """When it was refused last."""
    count: int = 1
    """How often its event tells so."""

    @property
    def told(self) -> Owner:
        """The owner where it is known, else itself: the name that people know."""
        return self.owner or Owner(self.kind, self.name)

    @property
    def title(self) -> str:
        """`Deployment team-search/llama`"""
        return f"{self.told.kind} {self.namespace}/{self.told.name}"

    @property
    def words(self) -> str:
        """`why` with the SCC and the field that it is about."""
        return self.clauses[0].words if self.clauses else self.why

    @property
    def why(self) -> str:
        """The first objection; where there is none, that there is no SCC to object."""
        return self.clauses[0].why if self.clauses else "its service account may use no SCC that admits it"
