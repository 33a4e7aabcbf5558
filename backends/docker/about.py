"""What an engine tells of itself: which one it is, and how its containers can have GPUs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.domain import clean

PODMAN = "Podman Engine"
"""Name of the first component in `/version` (containers/podman, pkg/api/handlers/compat/version.go)."""
LISTS_CDI = (1, 50)
"""From this API on an engine lists its CDI devices in `/info`, and leaves the key out when there are none."""


@dataclass(frozen=True, slots=True)
class About:
    name: str
    """docker or podman."""
    version: str | None = None
    nvidia_runtime: bool = False
    cdi: tuple[str, ...] | None = None
    """NVIDIA's CDI devices, as nvidia.com/gpu=0; None: the engine may have some, and does not tell."""


def about(info: Mapping[str, Any], version: Mapping[str, Any]) -> About:
    """Of the answers to `/info` and `/version`."""
    podman = is_podman(version)
    runtimes = info.get("Runtimes")
    return About(
        name="podman" if podman else "docker",
        version=clean(str(info.get("ServerVersion") or ""), 64) or None,
        nvidia_runtime=isinstance(runtimes, Mapping) and any("nvidia" in str(name) for name in runtimes),
        cdi=_cdi(info, podman=podman, api=_numbers(version.get("ApiVersion"))),
    )


def is_podman(version: Mapping[str, Any]) -> bool:
    """By the answer to `/version`."""
    components = version.get("Components")
    parts = components if isinstance(components, list) else []
    return any(isinstance(each, Mapping) and each.get("Name") == PODMAN for each in parts)


def _cdi(info: Mapping[str, Any], *, podman: bool, api: tuple[int, ...]) -> tuple[str, ...] | None:
    """Docker's list of directories is empty while CDI is off, and not there before 25; Podman always uses CDI."""
    listed = info.get("DiscoveredDevices")
    if isinstance(listed, list):
        names = (clean(str(each.get("ID") or ""), 128) for each in listed if isinstance(each, Mapping))
        return tuple(name for name in names if name.startswith("nvidia.com/gpu="))
    if podman:
        return None
    return () if not info.get("CDISpecDirs") or api >= LISTS_CDI else None


def _numbers(text: Any) -> tuple[int, ...]:
    """(1, 47) of 1.47; () for what is no version."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return () if found is None else (int(found[1]), int(found[2]))
