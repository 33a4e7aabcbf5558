"""Routes: what they say of themselves, and which pods they lead to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backends.domain import Route
from backends.openshift.routes import exposed, route_of, routes_to
from tests.kube import openshift_objects as openshift
from tests.workloads import pod

HOST = "llama.apps.example.com"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (openshift.route("llama", "team-a", HOST), f"https://{HOST} (reencrypt)"),
        (openshift.route("llama", "team-a", HOST, termination=None), f"http://{HOST}"),
        (
            openshift.route("llama", "team-a", HOST, admitted=False),
            f"https://{HOST} (reencrypt) not admitted: HostAlreadyClaimed: route other in team-b holds {HOST}",
        ),
        (
            openshift.route("llama", "team-a", HOST, admitted=None),
            f"https://{HOST} (reencrypt) no router has taken it up",
        ),
        ({}, "http://n/a no router has taken it up"),
    ],
)
def test_a_route_says_where_it_is_reached_and_whether_it_is_served(raw: dict[str, Any], words: str) -> None:
    assert route_of(raw).words == words


def test_one_router_that_serves_it_is_enough() -> None:
    raw = openshift.route("llama", "team-a", HOST, admitted=False)
    raw["status"]["ingress"] += openshift.route("llama", "team-a", HOST)["status"]["ingress"]
    assert route_of(raw).problem is None


def test_a_route_leads_to_the_pods_that_carry_the_labels_of_its_service() -> None:
    routes = [
        openshift.route("llama", "team-a", HOST),
        openshift.route("canary", "team-a", "canary.apps.example.com", to="other"),
        openshift.route("nowhere", "team-a", "nowhere.apps.example.com", to="gone"),
        openshift.route("bare", "team-a", "bare.apps.example.com", to="headless"),
    ]
    routes[1]["spec"]["alternateBackends"] = [{"kind": "Service", "name": "llama", "weight": 5}]
    services = [
        openshift.service("llama", "team-a", {"app": "llama", "tier": "gpu"}),
        openshift.service("other", "team-a", {"app": "other"}),
        openshift.service("headless", "team-a", {}),
    ]
    known = exposed(routes, services)
    labelled = dataclasses.replace(pod("llama-1"), labels=(("app", "llama"), ("tier", "gpu"), ("user", "ksato")))
    assert [each.name for each in routes_to(labelled, known)] == ["canary", "llama"]
    assert routes_to(dataclasses.replace(labelled, labels=(("app", "llama"),)), known) == ()


def test_what_a_route_says_is_inert_and_bounded() -> None:
    told = route_of(openshift.route("x", "team", "\x1b]0;owned\x07h" + "a" * 9000))
    assert "\x1b" not in told.words
    assert len(told.words) < 1000
    odd = {"spec": {"to": [], "tls": "x", "alternateBackends": "x"}, "status": {"ingress": 5}}
    assert route_of(odd) == Route("", "", "")
