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
    since: float | None = None
    """When that condition became so, seconds since the epoch."""

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
    since: float | None = None
    """When that condition became so, else when the CSV came to its phase; seconds since the epoch."""
    install_plan_at: float | None = None
    """When the install plan was made."""

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
    """route.openshift.io/v1: a name under which a service is reached from outside."""

    namespace: str
    name: str
    host: str
    path: str = ""
    services: tuple[str, ...] = ()
    """Names of the Services behind it, in its namespace."""
    termination: str | None = None
    """Where TLS ends: edge, passthrough, reencrypt; None without TLS."""
    admitted: bool | None = None
    """A router serves it; None while no router has said."""
    refusal: str | None = None
    """Why none serves it: `HostAlreadyClaimed: a route in another namespace holds ...`."""

    @property
    def url(self) -> str:
        return f"{'https' if self.termination else 'http'}://{self.host or 'n/a'}{self.path}"

    @property
    def problem(self) -> str | None:
        """Why nobody gets through by it; None where it is admitted."""
        if self.admitted:
            return None
        if self.admitted is None:
            return "no router has taken it up"
        return f"not admitted: {self.refusal or 'no reason given'}"

    @property
    def words(self) -> str:
        """`https://llama.apps.example.com (edge)`, `http://... not admitted: HostAlreadyClaimed: ...`"""
        problem = f" {self.problem}" if self.problem else ""
        return self.url + (f" ({self.termination})" if self.termination else "") + problem
