"""Who may do what at the lab's API: bearer tokens and role profiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

READ = frozenset({"get", "list", "watch"})
PUBLISHED = "openshift-config-managed"
"""Where OpenShift publishes by what the routers' certificates are verified, for all who are logged in."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question of RBAC."""

    verb: str
    group: str
    resource: str
    """With its subresource, `pods/log`."""
    namespace: str | None
    """None at the cluster scope."""


@dataclass(frozen=True, slots=True)
class User:
    name: str
    token: str
    may: Callable[[Ask], bool]


def administrator(_ask: Ask) -> bool:
    return True


def viewer(ask: Ask) -> bool:
    """Reads everything, logs too; changes nothing."""
    return ask.verb in READ


def namespaced(*namespaces: str) -> Callable[[Ask], bool]:
    """Everything inside `namespaces`; outside and of the cluster nothing but what is published for all."""
    published = Ask("get", "", "configmaps", PUBLISHED)
    return lambda ask: ask.namespace in namespaces or ask == published


def nobody(_ask: Ask) -> bool:
    return False


PROFILES: dict[str, Callable[[Ask], bool]] = {
    "admin": administrator,
    "viewer": viewer,
    "team-search": namespaced("team-search"),
    "nobody": nobody,
}
"""User name -> what it may do. The token of a user is its name behind the lab's secret."""
