"""The few fields that are kept of OpenShift's and OLM's objects, and what they mean together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.domain import ClusterRelease, Condition, OlmOperator
from backends.kubernetes.fields import MESSAGE_LIMIT, conditions_of, entries, maps, table, text, time_of, word
from backends.kubernetes.resources import Resource

CLUSTER_VERSIONS = Resource("clusterversions", "config.openshift.io", namespaced=False)
SUBSCRIPTIONS = Resource("subscriptions", "operators.coreos.com", "v1alpha1")
INSTALL_PLANS = Resource("installplans", "operators.coreos.com", "v1alpha1")
CLUSTER_SERVICE_VERSIONS = Resource("clusterserviceversions", "operators.coreos.com", "v1alpha1")
PACKAGES = frozenset({"gpu-operator-certified", "gpu-operator", "nfd", "nvidia-network-operator"})
"""What the GPU stack is installed from."""
TROUBLE = frozenset(
    {"CatalogSourcesUnhealthy", "ResolutionFailed", "BundleUnpackFailed", "InstallPlanFailed", "InstallPlanMissing"}
)
"""Conditions of a Subscription that are bad when they are true; InstallPlanPending is none."""
GPU_OPERATORS = ("gpu-operator-certified", "gpu-operator")


@dataclass(frozen=True, slots=True)
class Subscription:
    namespace: str
    name: str
    package: str
    channel: str | None
    approval: str | None
    state: str | None
    installed_csv: str | None
    current_csv: str | None
    install_plan: str | None
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class InstallPlan:
    namespace: str
    name: str
    phase: str | None
    conditions: tuple[Condition, ...]
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceVersion:
    """A ClusterServiceVersion."""

    namespace: str
    name: str
    phase: str | None
    reason: str | None
    message: str | None
    phase_at: float | None = None
    """When it came to its phase."""


def subscription_of(raw: Mapping[str, Any]) -> Subscription:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    plan = table(status, "installPlanRef") or table(status, "installplan")
    return Subscription(
        namespace=word(metadata, "namespace"),
        name=word(metadata, "name"),
        package=word(spec, "name"),
        channel=text(spec, "channel"),
        approval=text(spec, "installPlanApproval"),
        state=text(status, "state"),
        installed_csv=text(status, "installedCSV"),
        current_csv=text(status, "currentCSV"),
        install_plan=text(plan, "name"),
        conditions=conditions_of(status),
    )


def install_plan_of(raw: Mapping[str, Any]) -> InstallPlan:
    metadata, status = maps(raw, "metadata", "status")
    return InstallPlan(
        word(metadata, "namespace"),
        word(metadata, "name"),
        text(status, "phase"),
        conditions_of(status),
        time_of(metadata.get("creationTimestamp")),
    )


def service_version_of(raw: Mapping[str, Any]) -> ServiceVersion:
    metadata, status = maps(raw, "metadata", "status")
    return ServiceVersion(
        namespace=word(metadata, "namespace"),
        name=word(metadata, "name"),
        phase=text(status, "phase"),
        reason=text(status, "reason"),
        message=text(status, "message", MESSAGE_LIMIT),
        phase_at=time_of(status.get("lastTransitionTime")),
    )


def release_of(raw: Mapping[str, Any]) -> ClusterRelease:
    (status,) = maps(raw, "status")
    completed = (entry for entry in entries(status, "history") if entry.get("state") == "Completed")
    conditions = {condition.type: condition for condition in conditions_of(status)}

    def holds(kind: str) -> bool | None:
        condition = conditions.get(kind)
        return None if condition is None else {"True": True, "False": False}.get(condition.status)

    failing = conditions.get("Failing") or conditions.get("Degraded")
    telling = (
        failing if failing is not None and failing.status == "True" else None,
        conditions.get("Available") if holds("Available") is False else None,
        conditions.get("Progressing") if holds("Progressing") else None,
    )
    return ClusterRelease(
        version=next((text(entry, "version") for entry in completed), None),
        desired=text(table(status, "desired"), "version"),
        available=holds("Available"),
        progressing=holds("Progressing"),
        failing=None if failing is None else failing.status == "True",
        message=next((condition.message for condition in telling if condition is not None), None),
        since=next((condition.at for condition in telling if condition is not None), None),
    )


def operators_of(
    subscriptions: Iterable[Subscription],
    plans: Iterable[InstallPlan],
    versions: Iterable[ServiceVersion],
) -> tuple[OlmOperator, ...]:
    """Each Subscription of `PACKAGES` with its install plan and its ClusterServiceVersion, by package."""
    plans_by_name = {(plan.namespace, plan.name): plan for plan in plans}
    versions_by_name = {(version.namespace, version.name): version for version in versions}
    chosen = sorted((each for each in subscriptions if each.package in PACKAGES), key=lambda each: each.package)
    return tuple(
        _operator(
            each,
            plans_by_name.get((each.namespace, each.install_plan or "")),
            versions_by_name.get((each.namespace, each.installed_csv or each.current_csv or "")),
        )
        for each in chosen
    )


def _operator(subscription: Subscription, plan: InstallPlan | None, version: ServiceVersion | None) -> OlmOperator:
    bad = [each for each in subscription.conditions if each.type in TROUBLE and each.status == "True"]
    failed = [each for each in (plan.conditions if plan else ()) if each.status == "False" and each.message]
    trouble = next(iter((*bad, *failed)), None)
    told = None if trouble is None else f"{trouble.type}: {trouble.message or trouble.reason or 'no reason given'}"
    return OlmOperator(
        package=subscription.package,
        namespace=subscription.namespace,
        subscription=subscription.name,
        channel=subscription.channel,
        approval=subscription.approval,
        state=subscription.state,
        installed_csv=subscription.installed_csv,
        current_csv=subscription.current_csv,
        csv_phase=version.phase if version else None,
        csv_reason=version.reason if version else None,
        csv_message=version.message if version else None,
        install_plan=subscription.install_plan,
        install_plan_phase=plan.phase if plan else None,
        message=told,
        since=trouble.at if trouble is not None else (version.phase_at if version else None),
        install_plan_at=plan.created_at if plan else None,
    )


def operator_version(operators: Iterable[OlmOperator]) -> str | None:
    """The version in the name of the GPU Operator's installed CSV: gpu-operator-certified.v26.3.1 -> v26.3.1.

    OLM's pods carry no label with the version, and their images are named by digest.
    """
    names = (each.installed_csv or "" for each in operators if each.package in GPU_OPERATORS)
    return next((version for name in names if (version := name.partition(".")[2])), None)
