"""Which GPU Operator goes with which Kubernetes and OpenShift, by NVIDIA's platform support pages."""

from __future__ import annotations

import re
from collections.abc import Mapping

from backends.domain import Support

Release = tuple[int, int]
Range = tuple[Release, Release]

KUBERNETES: Mapping[Release, Range] = {(26, 7): ((1, 32), (1, 36))}
"""GPU Operator -> the oldest and the newest Kubernetes, on the operating systems with the widest support."""
OPENSHIFT: Mapping[Release, Range] = {
    (24, 9): ((4, 12), (4, 17)),
    (25, 3): ((4, 14), (4, 19)),
    (25, 10): ((4, 14), (4, 20)),
    (26, 3): ((4, 14), (4, 21)),
    (26, 7): ((4, 18), (4, 22)),
}
"""GPU Operator -> the oldest and the newest OpenShift, by the certified bundles."""
_RELEASE = re.compile(r"v?(\d+)\.(\d+)")


def supported(
    operator: str | None, *, kubernetes: str | None = None, openshift: str | None = None
) -> tuple[Support, ...]:
    """What the tables say; nothing for versions that they do not know. OpenShift's own table goes first."""
    release = _release(operator)
    if release is None:
        return ()
    name, version, table = ("OpenShift", openshift, OPENSHIFT) if openshift else ("Kubernetes", kubernetes, KUBERNETES)
    running, window = _release(version), table.get(release)
    if running is None or window is None:
        return ()
    oldest, newest = window
    return (
        Support(
            what=f"GPU Operator {release[0]}.{release[1]} on {name} {running[0]}.{running[1]}",
            supported=oldest <= running <= newest,
            wanted=f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}",
        ),
    )


def _release(version: str | None) -> Release | None:
    match = _RELEASE.match(version or "")
    return None if match is None else (int(match[1]), int(match[2]))
