"""Which GPU Operator goes with which Kubernetes and OpenShift.

Kubernetes is by NVIDIA's page "Platform Support" of the GPU Operator, bare metal and virtual machines, on the operating
system with the widest range, as the page last said for each release: gpu-operator/platform-support.rst of
github.com/NVIDIA/cloud-native-docs at the tags gpu-operator-v23.9.2-7, -v24.3.0-14, -v24.6.2-7, -v24.9.2-15, -v25.3.5,
-v25.10-45, -v26.3-32 and -v26.7-1. The first page of a release may end one Kubernetes earlier: 1.35 came with v25.10.1,
1.36 during v26.3.

OpenShift is what the certified bundles are made for, widened at its newer end to what those pages name later; before
24.9 it is the pages alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from backends.domain import Support

Release = tuple[int, int]
Range = tuple[Release, Release]

KUBERNETES: Mapping[Release, Range] = {
    (23, 9): ((1, 22), (1, 29)),
    (24, 3): ((1, 22), (1, 30)),
    (24, 6): ((1, 23), (1, 30)),
    (24, 9): ((1, 24), (1, 31)),
    (25, 3): ((1, 29), (1, 33)),
    (25, 10): ((1, 30), (1, 35)),
    (26, 3): ((1, 32), (1, 36)),
    (26, 7): ((1, 32), (1, 36)),
}
"""GPU Operator -> the oldest and the newest Kubernetes."""
OPENSHIFT: Mapping[Release, Range] = {
    (23, 9): ((4, 12), (4, 15)),
    (24, 3): ((4, 12), (4, 16)),
    (24, 6): ((4, 12), (4, 17)),
    (24, 9): ((4, 12), (4, 17)),
    (25, 3): ((4, 14), (4, 19)),
    (25, 10): ((4, 14), (4, 21)),
    (26, 3): ((4, 14), (4, 22)),
    (26, 7): ((4, 18), (4, 22)),
}
"""GPU Operator -> the oldest and the newest OpenShift."""
_RELEASE = re.compile(r"v?(\d+)\.(\d+)")


def supported(
    operator: str | None, *, kubernetes: str | None = None, openshift: str | None = None
) -> tuple[Support, ...]:
    """What the tables say; nothing where a version is not told. OpenShift's own table goes first."""
    name, version, table = ("OpenShift", openshift, OPENSHIFT) if openshift else ("Kubernetes", kubernetes, KUBERNETES)
    release, running = _release(operator), _release(version)
    if release is None or running is None:
        return ()
    what = f"GPU Operator {release[0]}.{release[1]} on {name} {running[0]}.{running[1]}"
    window = table.get(release)
    if window is None:
        return (Support(what, None, ""),)
    oldest, newest = window
    wanted = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
    return (Support(what, oldest <= running <= newest, wanted),)


def _release(version: str | None) -> Release | None:
    match = _RELEASE.match(version or "")
    return None if match is None else (int(match[1]), int(match[2]))
