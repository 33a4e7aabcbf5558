"""The MIG layouts that the MIG manager has for a node: the entries of `mig-configs` in its ConfigMaps.

A ClusterPolicy names a ConfigMap of the site's own (`spec.migManager.config.name`). Without one the operator has its
`default-mig-parted-config`, and since 26.3 makes one more for each node whose driver can tell its profiles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backends.contract import Gone, GpudeckError
from backends.domain import GpuLayout, clean
from backends.kubernetes.api import Api
from backends.kubernetes.fields import entries, table, text, time_of, word
from backends.kubernetes.resources import CLUSTER_POLICIES, CONFIG_MAPS

STATIC = "default-mig-parted-config"
KEY = "config.yaml"
CONFIGS = "mig-configs"
NAMES_KEPT = 512


async def mig_layouts(api: Api, node: str, namespace: str | None, like: Sequence[GpuLayout] = ()) -> tuple[str, ...]:
    """Names, sorted; with `like` those of the layouts that make exactly that of the node's GPUs.

    `namespace` is the operator's where the site names it. Raises `GpudeckError`, `Gone` without any list.
    """
    told, own = _config_of(entries(await api.get(CLUSTER_POLICIES.path()), "items"))
    where = namespace or told
    if where is None:
        raise Gone("no ClusterPolicy says where the GPU Operator is")
    wanted = (own,) if own not in (None, STATIC) else (f"{node}-mig-config", STATIC)
    found: dict[str, Any] = {}
    missing: GpudeckError | None = None
    for name in filter(None, wanted):
        try:
            raw = await api.get(CONFIG_MAPS.path(where, name))
        except Gone as error:
            missing = error
            continue
        # In a thread: a long file takes longer than a frame. The first file is the one that counts.
        found = {**await asyncio.to_thread(layouts_in, raw), **found}
    if not found:
        raise missing or Gone(f"no ConfigMap in {where} holds {CONFIGS}")
    return tuple(sorted(name for name, layout in found.items() if not like or makes(layout, like)))


def _config_of(policies: Iterable[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """The operator's namespace and the name of the site's own ConfigMap, by the oldest ClusterPolicy: only it acts."""

    def age(policy: Mapping[str, Any]) -> tuple[float, str]:
        metadata = table(policy, "metadata")
        return time_of(metadata.get("creationTimestamp")) or 0.0, word(metadata, "name")

    policy: Mapping[str, Any] = next(iter(sorted(policies, key=age)), {})
    config = table(table(table(policy, "spec"), "migManager"), "config")
    return text(table(policy, "status"), "namespace"), text(config, "name")


def layouts_in(config_map: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> layout, as mig-parted's file has it; raises GpudeckError for one that cannot be read."""
    import yaml

    name = word(table(config_map, "metadata"), "name")
    written = table(config_map, "data").get(KEY)
    try:
        document = yaml.safe_load(written) if isinstance(written, str) else None
    except (yaml.YAMLError, RecursionError):
        document = None
    layouts = document.get(CONFIGS) if isinstance(document, dict) else None
    if not isinstance(layouts, dict):
        raise GpudeckError(f"the ConfigMap {name} holds no {CONFIGS} in {KEY}", "")
    return {clean(each): layouts[each] for each in list(layouts)[:NAMES_KEPT] if isinstance(each, str)}


def makes(layout: object, like: Sequence[GpuLayout]) -> bool:
    """Whether mig-parted makes exactly `like` of these GPUs; one that no part of the layout is about stays as it is."""
    made: dict[int, GpuLayout] = {}
    for part in layout if isinstance(layout, list) else ():
        for gpu in like if isinstance(part, dict) else ():
            if _is_about(part, gpu):
                made[gpu.index] = replace(gpu, enabled=part.get("mig-enabled") is True, instances=_instances(part))
    return all(made.get(gpu.index) == gpu for gpu in like)


def _is_about(part: Mapping[str, Any], gpu: GpuLayout) -> bool:
    """By `devices` ("all" or indices) and `device-filter` (one PCI id or several)."""
    devices, boards = part.get("devices"), part.get("device-filter")
    if devices != "all" and not (isinstance(devices, list) and gpu.index in devices):
        return False
    named = [boards] if isinstance(boards, str) else boards if isinstance(boards, list) else []
    return not named or (gpu.pci_device_id or "").lower() in {str(each).lower() for each in named}


def _instances(part: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    counts = part.get("mig-devices")
    pairs = counts.items() if isinstance(counts, dict) and part.get("mig-enabled") is True else ()
    return tuple(sorted((name, n) for name, n in pairs if isinstance(name, str) and isinstance(n, int) and n > 0))
