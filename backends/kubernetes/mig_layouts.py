"""The names of the MIG layouts that the MIG manager has for a node: the keys of `mig-configs` in its ConfigMaps.

A ClusterPolicy names a ConfigMap of the site's own (`spec.migManager.config.name`). Without one the operator has its
`default-mig-parted-config`, and since 26.3 makes one more for each node whose driver can tell its profiles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from backends.contract import Gone, GpudeckError
from backends.domain import clean
from backends.kubernetes.api import Api
from backends.kubernetes.fields import entries, table, text, time_of, word
from backends.kubernetes.resources import CLUSTER_POLICIES, CONFIG_MAPS

STATIC = "default-mig-parted-config"
KEY = "config.yaml"
CONFIGS = "mig-configs"
NAMES_KEPT = 512


async def mig_layouts(api: Api, node: str, namespace: str | None) -> tuple[str, ...]:
    """Sorted; `namespace` is the operator's where the site names it. Raises `GpudeckError`, `Gone` without any list."""
    told, own = _config_of(entries(await api.get(CLUSTER_POLICIES.path()), "items"))
    where = namespace or told
    if where is None:
        raise Gone("no ClusterPolicy says where the GPU Operator is")
    wanted = (own,) if own not in (None, STATIC) else (f"{node}-mig-config", STATIC)
    found: set[str] = set()
    missing: GpudeckError | None = None
    for name in filter(None, wanted):
        try:
            raw = await api.get(CONFIG_MAPS.path(where, name))
        except Gone as error:
            missing = error
            continue
        # In a thread: a long file takes longer than a frame.
        found |= await asyncio.to_thread(names_in, raw)
    if not found:
        raise missing or Gone(f"no ConfigMap in {where} holds {CONFIGS}")
    return tuple(sorted(found))


def _config_of(policies: Iterable[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """The operator's namespace and the name of the site's own ConfigMap, by the oldest ClusterPolicy: only it acts."""

    def age(policy: Mapping[str, Any]) -> tuple[float, str]:
        metadata = table(policy, "metadata")
        return time_of(metadata.get("creationTimestamp")) or 0.0, word(metadata, "name")

    policy: Mapping[str, Any] = next(iter(sorted(policies, key=age)), {})
    config = table(table(table(policy, "spec"), "migManager"), "config")
    return text(table(policy, "status"), "namespace"), text(config, "name")


def names_in(config_map: Mapping[str, Any]) -> set[str]:
    """The names of the layouts in a ConfigMap of mig-parted; raises GpudeckError for one that cannot be read."""
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
    return {clean(each) for each in list(layouts)[:NAMES_KEPT] if isinstance(each, str)}
