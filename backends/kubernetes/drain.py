"""What a drain of a node would do: pods, their owners, and the budgets that protect them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backends.contract import Gone, NotAllowed
from backends.domain import DrainPlan, DrainPod, NotPermitted, Owner
from backends.domain.drain import BEING_DELETED
from backends.kubernetes.api import Api
from backends.kubernetes.fields import entries, labels_of, maps, table, whole, word
from backends.kubernetes.keeping import pod_of
from backends.kubernetes.objects import LeanPod, OwnerRef
from backends.kubernetes.owners import Owners
from backends.kubernetes.resources import DISRUPTION_BUDGETS, PODS
from backends.kubernetes.watching import PAGE
from backends.kubernetes.workloads import requests_of


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget."""

    namespace: str
    name: str
    selector: Mapping[str, Any] | None
    """None selects nothing."""
    allowed: int
    """How many pods may go now."""
    needs: int = 0
    """Healthy pods."""
    has: int = 0


async def plan_drain(api: Api, owners: Owners, node: str) -> DrainPlan:
    """Reads the node's pods and the budgets of their namespaces. Raises `GpudeckError`."""
    pods = [pod_of(raw) for raw in await _all(api, PODS.path(), {"fieldSelector": f"spec.nodeName={node}"})]
    await owners.look_up((pod.namespace, pod.owner) for pod in pods if pod.owner is not None)
    budgets, denied = await _budgets(api, sorted({pod.namespace for pod in pods}))
    plan = plan_of(node, pods, budgets, owners.chain)
    return dataclasses.replace(plan, budgets_known=not denied, not_permitted=tuple(denied))


def plan_of(
    node: str,
    pods: Iterable[LeanPod],
    budgets: Iterable[Budget],
    chain: Callable[[OwnerRef | None], tuple[Owner, ...]],
) -> DrainPlan:
    """The rules of `kubectl drain --ignore-daemonsets`, looked at beforehand."""
    listed = list(budgets)
    evicts: list[DrainPod] = []
    forced: list[DrainPod] = []
    left: list[DrainPod] = []
    for pod in sorted(pods, key=lambda each: (each.namespace, each.name)):
        owners = chain(pod.owner)
        owner = owners[-1] if owners else None
        drained = DrainPod(
            pod.namespace,
            pod.name,
            owner,
            requests_of(pod.gpus),
            pod.user,
            uid=pod.uid,
            grace_seconds=pod.grace_seconds,
        )
        stays_because, force_because = stays(pod), needs_force(pod)
        if stays_because is not None:
            left.append(dataclasses.replace(drained, reason=stays_because))
        elif force_because is not None:
            forced.append(dataclasses.replace(drained, reason=force_because))
        else:
            holding = [budget for budget in listed if budget.allowed < 1 and covers(budget, pod)]
            holding.sort(key=lambda budget: budget.name)
            healthy = tuple((budget.needs, budget.has) for budget in holding)
            evicts.append(
                dataclasses.replace(drained, budgets=tuple(budget.name for budget in holding), healthy=healthy)
            )
    held = tuple(pod for pod in evicts if pod.budgets)
    return DrainPlan(node, tuple(evicts), held, tuple(forced), tuple(left))


def stays(pod: LeanPod) -> str | None:
    """Why a drain does not touch the pod; None when it does."""
    if pod.mirror:
        return "mirror pod"
    if pod.ended:
        return "ended"
    if pod.deleted_at is not None:
        return BEING_DELETED
    return "DaemonSet" if pod.owner is not None and pod.owner.kind == "DaemonSet" else None


def needs_force(pod: LeanPod) -> str | None:
    """Why a drain leaves the pod unless it is told to take it too (kubectl's --force, --delete-emptydir-data)."""
    if pod.owner is None:
        return "no controller: nothing makes it anew"
    return "emptyDir: its data would be lost" if pod.empty_dir else None


def covers(budget: Budget, pod: LeanPod) -> bool:
    """Whether the budget's label selector matches the pod (policy/v1: an empty selector matches every pod)."""
    if budget.namespace != pod.namespace or budget.selector is None:
        return False
    wanted = labels_of(table(budget.selector, "matchLabels"))
    if any(pod.labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_matches(expression, pod.labels) for expression in entries(budget.selector, "matchExpressions"))


def _matches(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(word(expression, "key"))
    values = expression.get("values") or ()
    match word(expression, "operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return True  # an operator that is not known protects rather than not


async def policy_version(api: Api) -> str:
    """v1 where the server has it, else v1beta1. Raises `GpudeckError`."""
    newest, oldest = DISRUPTION_BUDGETS
    return newest.version if await api.exists(newest) else oldest.version


async def _budgets(api: Api, namespaces: list[str]) -> tuple[list[Budget], list[NotPermitted]]:
    version = await policy_version(api)
    resource = next(each for each in DISRUPTION_BUDGETS if each.version == version)
    budgets: list[Budget] = []
    denied: list[NotPermitted] = []
    for namespace in namespaces:
        try:
            listed = await _all(api, resource.path(namespace))
        except NotAllowed:
            what = f"the PodDisruptionBudgets of {namespace}"
            denied.append(NotPermitted(what, resource.permission("list", namespace)))
        except Gone:
            continue
        else:
            budgets += [budget_of(raw, empty_matches=version == "v1") for raw in listed]
    return budgets, denied


def budget_of(raw: Mapping[str, Any], *, empty_matches: bool) -> Budget:
    """In v1beta1 an empty selector matches no pod, in v1 every one."""
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    selector = spec.get("selector") if isinstance(spec.get("selector"), dict) else None
    if not selector and not empty_matches:
        selector = None
    counts = (whole(status.get(key)) for key in ("disruptionsAllowed", "desiredHealthy", "currentHealthy"))
    return Budget(word(metadata, "namespace"), word(metadata, "name"), selector, *counts)


async def _all(api: Api, path: str, query: Mapping[str, str | int] | None = None) -> list[Mapping[str, Any]]:
    items: list[Mapping[str, Any]] = []
    following: str | None = None
    while True:
        page = {**(query or {}), "limit": PAGE, **({"continue": following} if following else {})}
        listing = await api.get(path, page)
        items += entries(listing, "items")
        following = table(listing, "metadata").get("continue")
        if not following:
            return items
