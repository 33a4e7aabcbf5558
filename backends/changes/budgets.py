"""What a PodDisruptionBudget has against an eviction, in words. Pure."""

from __future__ import annotations

import re

_REFUSED = re.compile(r"The disruption budget (\S+) needs (\d+) healthy pods? and has (\d+)(?: currently)?\.?")
"""The API server's sentence: pkg/registry/core/pod/storage/eviction.go of Kubernetes."""


def refusal(message: str) -> str:
    """`the disruption budget web needs 1 healthy pod and has 1`; another sentence as the server has it."""
    match = _REFUSED.fullmatch(message)
    if match is None:
        return message.removesuffix(".")
    name, wanted, there = match.groups()
    return f"the disruption budget {name} needs {wanted} healthy {'pod' if wanted == '1' else 'pods'} and has {there}"


def hold(message: str, asked_seconds: float, left_seconds: float) -> str:
    """`held by budget web (needs 1 healthy, has 1): asked again for 3 min, 2:10 left`"""
    match = _REFUSED.fullmatch(message)
    held = f"held ({refusal(message)})"
    if match is not None:
        name, wanted, there = match.groups()
        held = f"held by budget {name} (needs {wanted} healthy, has {there})"
    left = max(0, int(left_seconds))
    return f"{held}: asked again for {span(asked_seconds)}, {left // 60}:{left % 60:02d} left"


def span(seconds: float) -> str:
    """`3 min`, `45 s`"""
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
