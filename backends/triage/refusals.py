"""What a finding says of pods that OpenShift's SCCs refuse: evidence, likely cause, next steps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.domain import Evidence, NextStep, OperandPhase, OperandState, SccRefusal, Stack, plural
from backends.triage import steps
from backends.triage.causes import Cause, holding
from backends.triage.words import listed

CLAUSES_TOLD = 4
UNUSABLE_TOLD = 6
SOURCE = "OpenShift"


CAUSES: tuple[Cause, ...] = (
    Cause(
        ("Privileged containers",),
        "likely it asks for a privileged container, as a manifest for another cluster does: a GPU needs none",
        "take `privileged: true` out of the pod",
    ),
    Cause(
        ("hostPath",),
        "likely it mounts a directory of the node, which no SCC of its service account allows",
        "give it a PersistentVolumeClaim in place of the hostPath",
    ),
    Cause(
        ("Host network", "Host ports", "Host PID", "Host IPC"),
        "likely it asks for the network, the processes or the shared memory of the node",
        "take what it shares with the host out of the pod; shared memory is an emptyDir of medium Memory on /dev/shm",
    ),
    Cause(
        ("capability", "privilege escalation", "Allowing privilege"),
        "likely it asks for capabilities or for privilege escalation that no SCC of its service account allows",
        "take them out of its securityContext",
    ),
    Cause(
        ("must be in the ranges", "is not an allowed group", "runAsNonRoot", "must not be root"),
        "likely its manifest names a user or a group, and each project gives pods ids of its own range",
        "leave runAsUser, runAsGroup and fsGroup out of the pod",
    ),
)
"""The first that holds is told, and the steps of all."""
NO_SCC = "likely its service account may use no SCC at all: a role or a role binding was taken away"
OTHER = "likely it asks for more than the SCCs of its service account allow"
OF_STACK = (
    "likely an SCC of the stack was changed or taken away, or the role that lets its service account use it: the"
    " operator makes both"
)


def of_operand(stack: Stack | None, operand: OperandState) -> SccRefusal | None:
    """Why an operand has no pod, where SCCs are why."""
    if stack is None or operand.phase is not OperandPhase.MISSING or operand.daemon_set is None:
        return None
    of = ("DaemonSet", operand.namespace, operand.daemon_set)
    return next((each for each in stack.refused if (each.kind, each.namespace, each.name) == of), None)


def cause(refusal: SccRefusal) -> str:
    if refusal.operand is not None:
        return OF_STACK
    known = _known(refusal)
    return known[0].text if known else (OTHER if refusal.clauses else NO_SCC)


def _known(refusal: SccRefusal) -> list[Cause]:
    return list(holding(CAUSES, (clause.why for clause in refusal.clauses)))


def evidence(refusal: SccRefusal) -> Iterator[Evidence]:
    """How many pods are missing, what each SCC objects to, which may not be used."""
    itself = f"{refusal.kind} {refusal.namespace}/{refusal.name}"
    times = f", refused {plural(refusal.count, 'time')}" if refusal.count > 1 else ""
    if refusal.missing is None or refusal.wanted is None:
        yield Evidence(f"{itself} may not be read: whether it asks for GPUs is not known{times}", refusal.at, "events")
    else:
        asks = ", ".join(f"{each.count} {each.resource}" for each in refusal.gpus or ())
        each_asks = f", each asks for {asks}" if asks else ""
        present = refusal.wanted - refusal.missing
        yield Evidence(
            f"{itself}: {present} of {plural(refusal.wanted, 'pod')}{each_asks}{times}", refusal.at, "events"
        )
    for clause in refusal.clauses[:CLAUSES_TOLD]:
        yield Evidence(clause.words, None, "SCC")
    if refusal.unusable:
        account = f"service account {refusal.service_account}" if refusal.service_account else "its service account"
        yield Evidence(f"{account} may not use {listed(refusal.unusable, UNUSABLE_TOLD)}", None, "SCC")


def next_steps(refusal: SccRefusal) -> Iterator[NextStep]:
    space, name, kind = (shlex.quote(each) for each in (refusal.namespace, refusal.name, refusal.kind.lower()))
    yield steps.command("see its events in full", f"oc -n {space} describe {kind} {name}")
    account = shlex.quote(refusal.service_account or "default")
    if refusal.service_account is not None:
        yield steps.command(
            "see which SCC would admit its pods",
            f"oc -n {space} get {kind} {name} -o yaml | oc -n {space} adm policy scc-subject-review -z {account} -f -",
        )
    if refusal.operand is not None:
        yield steps.command("see which SCCs there are", "oc get scc")
        return
    for known in _known(refusal):
        yield steps.advice(known.step)
    yield steps.advice(
        "where it must run as it is, let the cluster's administrator give a service account of its own an SCC that"
        f" admits it, no wider than it needs: oc adm policy add-scc-to-user SCC -z ACCOUNT -n {space}"
    )
