"""What OpenShift tells of itself and of the operators that OLM installs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterRelease:
    """config.openshift.io/v1 ClusterVersion `version`."""

    version: str | None = None
    """The newest that was installed completely."""
    desired: str | None = None
    available: bool | None = None
    progressing: bool | None = None
    """An upgrade is under way."""
    failing: bool | None = None
    message: str | None = None
    """Of the condition that is not as it should be."""

    @property
    def unwell(self) -> bool:
        return self.failing is True or self.available is False

    @property
    def words(self) -> str | None:
        """`upgrading to 4.20.5: 120 of 902 done`, `failing: ...`; None while nothing of that kind is told."""
        moves = self.desired is not None and self.desired != self.version
        states = (
            ("not available", self.available is False),
            ("failing", self.failing is True),
            (f"upgrading to {self.desired}" if moves else "being rolled out", self.progressing is True),
        )
        said = ", ".join(word for word, holds in states if holds)
        return f"{said}: {self.message}" if said and self.message else said or None


@dataclass(frozen=True, slots=True)
class OlmOperator:
    """A Subscription of operators.coreos.com with the install plan and the ClusterServiceVersion it leads to."""

    package: str
    """gpu-operator-certified, nfd."""
    namespace: str
    subscription: str
    channel: str | None = None
    approval: str | None = None
    """Automatic or Manual."""
    state: str | None = None
    """AtLatestKnown, UpgradePending, UpgradeAvailable, UpgradeFailed."""
    installed_csv: str | None = None
    current_csv: str | None = None
    csv_phase: str | None = None
    """Succeeded, Installing, Failed, ...; None while there is no such CSV."""
    csv_reason: str | None = None
    csv_message: str | None = None
    install_plan: str | None = None
    install_plan_phase: str | None = None
    """RequiresApproval, Installing, Complete, Failed."""
    message: str | None = None
    """Of a condition that tells of trouble: CatalogSourcesUnhealthy, ResolutionFailed, ..."""

    @property
    def waits_for_approval(self) -> bool:
        return self.install_plan_phase == "RequiresApproval"

    @property
    def healthy(self) -> bool:
        """The installed version runs; a newer one that waits for its approval is no fault."""
        installed = self.csv_phase == "Succeeded"
        return installed and self.message is None and self.install_plan_phase != "Failed"


@dataclass(frozen=True, slots=True)
class Route:
    """route.openshift.io/v1: a name of a service that is reachable from outside."""

    namespace: str
    name: str
    host: str
    service: str | None = None
    tls: bool = False
    admitted: bool | None = None
    """The router serves it; None while no router has said."""
