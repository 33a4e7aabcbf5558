"""`gpudeck backends`"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from backends import registry
from backends.contract import GpudeckError, capabilities
from backends.domain import clean

SUMMARY_LIMIT = 120
TRANSPORTS = (
    ("nvml", "the probe: NVML over SSH or a local process, Python 3.6+ on the node, nothing installed"),
    ("nvidia-smi", "the fallback: nvidia-smi -q -x at a slower beat, where the probe cannot run"),
)


def backends(arguments: argparse.Namespace) -> int:
    """Prints the installed platform backends and the ways a node is read."""
    platforms = [_describe(name) for name in registry.names()]
    unused = registry.unused()
    if arguments.json:
        document = {
            "schema": "gpudeck/backends/1",
            "platforms": platforms,
            "unused": [dataclasses.asdict(each) for each in unused],
            "transports": [{"name": name, "summary": summary} for name, summary in TRANSPORTS],
        }
        print(json.dumps(document, indent=1))
        return 0
    print("Platforms")
    for platform in platforms:
        print(f"  {platform['name']:<14} {platform['error'] or platform['summary']}")
        if platform["capabilities"]:
            print(f"  {'':<14} can: {', '.join(platform['capabilities'])}")
    if not platforms:
        print("  none installed: nodes are read directly")
    for each in unused:
        print(f"  not used: {each.name} of {each.distribution}: {each.why}")
    print("How a node is read")
    for name, summary in TRANSPORTS:
        print(f"  {name:<14} {summary}")
    return 0


def _describe(name: str) -> dict[str, Any]:
    try:
        backend = registry.load(name)
    except GpudeckError as error:
        return {"name": clean(name), "summary": None, "capabilities": [], "error": error.message}
    summary = clean(str(backend.summary), SUMMARY_LIMIT)
    return {"name": clean(name), "summary": summary, "capabilities": list(capabilities(backend)), "error": None}
