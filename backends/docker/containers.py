"""What the engine says of a container, as a `Workload`. Pure; keys are those of the Engine API's inspect document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backends.domain import clean
from backends.domain.redact import label_value
from backends.domain.workload import Container, GpuRequest, Owner, Workload

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
USER_LABELS = ("gpudeck.user", "user", "owner")
"""Labels in which sites name the person; the first that is there. `maintainer` names who built the image."""
LABELS_KEPT = 32
PHASES: dict[str, str] = {
    "created": "Pending",
    "restarting": "Pending",
    "running": "Running",
    "paused": "Running",
    "stopping": "Running",
    "removing": "Succeeded",
    "dead": "Failed",
}
"""State.Status -> phase; `exited` is told by its exit code. Podman's `stopping` has its processes still."""
ENDED = {"exited": "terminated", "dead": "terminated", "stopped": "terminated"}
"""State.Status -> state of the container. Podman's `stopped` has ended; soon it is cleaned up or starts again."""
_NODE = re.compile(r"/dev/nvidia\d+")
"""The device node of a GPU; the others (nvidiactl, nvidia-uvm, nvidia-caps) come with every one."""
NOTHING = frozenset({"", "none", "void"})
"""NVIDIA_VISIBLE_DEVICES that gives no GPU."""


def workload(inspected: Mapping[str, Any], node: str, pod: str | None = None) -> Workload:
    """One container of `node`, in Podman's `pod`. What the engine leaves out or says in another shape is None."""
    config, state = _table(inspected, "Config"), _table(inspected, "State")
    labels = _labels(_table(config, "Labels"))
    status = str(state.get("Status") or "unknown")
    exit_code = state.get("ExitCode")
    requests = gpu_requests(inspected)
    name = clean(str(inspected.get("Name") or "").removeprefix("/"), 128)
    identity = str(inspected.get("Id") or "")
    reason = _reason(state, status, exit_code)
    container = Container(
        name=name,
        id=identity or None,
        image=clean(str(config.get("Image") or ""), 256) or None,
        state=ENDED.get(status, status),
        reason=reason,
        restarts=_count(inspected.get("RestartCount")),
        gpus=requests,
    )
    return Workload(
        platform="docker",
        name=name,
        uid=identity,
        namespace=labels.get(PROJECT),
        node=node,
        phase=PHASES.get(status, "Failed" if exit_code else "Succeeded"),
        reason=reason,
        message=clean(str(state.get("Error") or ""), 256) or None,
        owners=tuple(Owner(kind, name) for kind, name in (("pod", pod), ("compose", labels.get(SERVICE))) if name),
        user=next((labels[key] for key in USER_LABELS if labels.get(key)), None),
        labels=tuple(sorted(labels.items())[:LABELS_KEPT]),
        gpus=requests,
        containers=(container,),
        created_at=moment(inspected.get("Created")),
        started_at=moment(state.get("StartedAt")),
    )


def _labels(raw: Mapping[str, Any]) -> dict[str, str]:
    """The first labels by name and those that are asked for. The rest is not looked at: an image has any number."""
    keys = {clean(str(key), 128): str(key) for key in raw}
    kept = {*sorted(keys)[:LABELS_KEPT], *(key for key in (PROJECT, SERVICE, *USER_LABELS) if key in keys)}
    return {key: label_value(keys[key], str(raw[keys[key]])) for key in kept}


def gpu_requests(inspected: Mapping[str, Any]) -> tuple[GpuRequest, ...]:
    """How a container asked for GPUs: `--gpus`, a CDI device, the environment of the NVIDIA runtime, or device nodes.

    Each way counts only where none before it was used: `--gpus` sets the environment too. Podman tells a CDI device
    as the device nodes that it became.
    """
    host, config = _table(inspected, "HostConfig"), _table(inspected, "Config")
    found = tuple(request for entry in _list(host, "DeviceRequests") if (request := _device_request(entry)) is not None)
    return found or _by_environment(host, config) or _by_nodes(host)


def _by_environment(host: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[GpuRequest, ...]:
    environment = dict(str(entry).partition("=")[::2] for entry in _list(config, "Env"))
    visible = environment.get("NVIDIA_VISIBLE_DEVICES")
    if visible is None or visible in NOTHING or "nvidia" not in str(host.get("Runtime") or ""):
        return ()
    if visible == "all":
        return (GpuRequest("environment"),)
    devices = tuple(clean(device, 64) for device in visible.split(",") if device)
    return (GpuRequest("environment", len(devices), devices),)


def _by_nodes(host: Mapping[str, Any]) -> tuple[GpuRequest, ...]:
    paths = [str(entry.get("PathOnHost")) for entry in _list(host, "Devices") if isinstance(entry, Mapping)]
    nodes = tuple(sorted({path for path in paths if _NODE.fullmatch(path)}))
    return (GpuRequest("device", len(nodes), nodes),) if nodes else ()


def _device_request(entry: Any) -> GpuRequest | None:
    if not isinstance(entry, Mapping):
        return None
    driver = str(entry.get("Driver") or "")
    devices = tuple(clean(str(device), 128) for device in _list(entry, "DeviceIDs"))
    if driver == "cdi":
        wanted = tuple(device for device in devices if "nvidia.com/gpu" in device)
        every = any(device.endswith("=all") for device in wanted)
        return GpuRequest("cdi", None if every else len(wanted), wanted) if wanted else None
    able = [word for words in _list(entry, "Capabilities") if isinstance(words, list) for word in words]
    if "gpu" not in able and driver != "nvidia":
        return None
    if devices:
        return GpuRequest("device-request", len(devices), devices)
    count = entry.get("Count")
    return GpuRequest("device-request", None if count in (-1, None) else _count(count))


def _reason(state: Mapping[str, Any], status: str, exit_code: Any) -> str | None:
    if state.get("OOMKilled"):
        return "OOMKilled"
    if status in ENDED and isinstance(exit_code, int):
        return "Completed" if exit_code == 0 else f"Error (exit {exit_code})"
    return status if status in ("paused", "restarting", "created", "stopping") else None


def moment(text: Any) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None for Docker's zero time and for what is no time."""
    if not isinstance(text, str) or text.startswith("0001-"):
        return None
    head, dot, rest = text.partition(".")
    if dot:  # nanoseconds; Python reads microseconds
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{head}.{digits[:6]:0<6}{rest[len(digits) :]}"
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
