"""`nvidia-smi -q -x`, the fallback for a node on which the probe cannot run.

One table maps each field to the XML paths that carried it in the DTD versions 10 to 13; the first that holds a value
wins. The result goes through `backends.nodes.wire`, so it is cleaned, bounded and typed like the probe's.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any

from backends.contract import NoDriver
from backends.domain import CLOCK_EVENT_REASONS, Gpu, Node
from backends.nodes import wire
from backends.nodes.smi_document import root_of

COMMAND = "nvidia-smi -q -x"

_ABSENT = re.compile(
    r"^\[?(n/?a|not supported|unknown( error)?|err!|error|none|insufficient permissions|gpu is lost|gpu requires reset"
    r"|requested functionality has been deprecated)\]?$",
    re.IGNORECASE,
)
_LOST = re.compile(r"gpu is lost|gpu requires reset", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MEBIBYTE = 1 << 20

Convert = Callable[[str], Any]


def _integer(text: str) -> int | None:
    match = _NUMBER.search(text)
    return int(float(match[0])) if match else None


def _decimal(text: str) -> float | None:
    match = _NUMBER.match(text)
    return float(match[0]) if match else None


def _bytes(text: str) -> int | None:
    value = _decimal(text)
    return None if value is None else int(value * _MEBIBYTE)


def _text(text: str) -> str:
    return text


def _flag(text: str) -> bool | None:
    return {"enabled": True, "disabled": False, "yes": True, "no": False, "active": True, "not active": False}.get(
        text.lower()
    )


def _word(text: str) -> str:
    return text.lower().replace(" ", "_").replace("-", "_")


def _recovery(text: str) -> str:
    """In NVML's words: nvidia-smi says Reset and Reboot for GPU reset and node reboot."""
    word = _word(text)
    return {"reset": "gpu_reset", "reboot": "node_reboot"}.get(word, word)


def _uuid(text: str) -> str | None:
    """As the probe writes it: hex without dashes; nothing for all zeros."""
    plain = text.replace("-", "").lower()
    return plain if plain.strip("0") else None


def _device_id(text: str) -> str:
    return f"0x{text.upper()}"


_VIRTUALIZATION = {
    "none": "none",
    "pass-through": "passthrough",
    "vgpu": "vgpu",
    "host vgpu": "host_vgpu",
    "host vsga": "host_vsga",
}


def _virtualization(text: str) -> str | None:
    return _VIRTUALIZATION.get(text.lower())


def _licensed(text: str) -> bool | None:
    # "Licensed (Expiry: 2027-1-1 0:0:0 GMT)" or "Unlicensed (Restricted)"
    if text.lower().startswith("licensed"):
        return True
    return False if text.lower().startswith("unlicensed") else None


_FIELDS: tuple[tuple[str, Convert, tuple[str, ...]], ...] = (
    ("name", _text, ("product_name",)),
    ("uuid", _text, ("uuid",)),
    ("serial", _text, ("serial",)),
    ("board_part_number", _text, ("board_part_number",)),
    ("minor_number", _integer, ("minor_number",)),
    ("architecture", _text, ("product_architecture",)),
    ("vbios", _text, ("vbios_version",)),
    ("gsp_firmware", _text, ("gsp_firmware_version",)),
    ("pci_device_id", _device_id, ("pci/pci_device_id",)),
    ("performance_state", _integer, ("performance_state",)),
    ("persistence", _flag, ("persistence_mode",)),
    ("compute_mode", _word, ("compute_mode",)),
    ("recovery_action", _recovery, ("gpu_recovery_action",)),
    ("memory.total_bytes", _bytes, ("fb_memory_usage/total",)),
    ("memory.reserved_bytes", _bytes, ("fb_memory_usage/reserved",)),
    ("memory.used_bytes", _bytes, ("fb_memory_usage/used",)),
    ("memory.free_bytes", _bytes, ("fb_memory_usage/free",)),
    ("memory.bar1_total_bytes", _bytes, ("bar1_memory_usage/total",)),
    ("memory.bar1_used_bytes", _bytes, ("bar1_memory_usage/used",)),
    ("utilization.gpu_percent", _integer, ("utilization/gpu_util",)),
    ("utilization.memory_percent", _integer, ("utilization/memory_util",)),
    ("utilization.encoder_percent", _integer, ("utilization/encoder_util",)),
    ("utilization.decoder_percent", _integer, ("utilization/decoder_util",)),
    (
        "power.draw_watts",
        _decimal,
        (
            "gpu_power_readings/instant_power_draw",
            "gpu_power_readings/power_draw",
            "gpu_power_readings/average_power_draw",
            "power_readings/power_draw",
        ),
    ),
    (
        "power.limit_watts",
        _decimal,
        ("gpu_power_readings/current_power_limit", "power_readings/enforced_power_limit", "power_readings/power_limit"),
    ),
    (
        "power.default_limit_watts",
        _decimal,
        ("gpu_power_readings/default_power_limit", "power_readings/default_power_limit"),
    ),
    ("power.min_limit_watts", _decimal, ("gpu_power_readings/min_power_limit", "power_readings/min_power_limit")),
    ("power.max_limit_watts", _decimal, ("gpu_power_readings/max_power_limit", "power_readings/max_power_limit")),
    ("temperature.gpu_celsius", _integer, ("temperature/gpu_temp",)),
    ("temperature.memory_celsius", _integer, ("temperature/memory_temp",)),
    ("temperature.shutdown_celsius", _integer, ("temperature/gpu_temp_max_threshold",)),
    ("temperature.slowdown_celsius", _integer, ("temperature/gpu_temp_slow_threshold",)),
    ("temperature.gpu_max_celsius", _integer, ("temperature/gpu_temp_max_gpu_threshold",)),
    ("temperature.memory_max_celsius", _integer, ("temperature/gpu_temp_max_mem_threshold",)),
    ("temperature.margin_celsius", _integer, ("temperature/gpu_temp_tlimit",)),
    ("temperature.shutdown_tlimit_celsius", _integer, ("temperature/gpu_temp_max_tlimit_threshold",)),
    ("temperature.slowdown_tlimit_celsius", _integer, ("temperature/gpu_temp_slow_tlimit_threshold",)),
    ("clocks.graphics_mhz", _integer, ("clocks/graphics_clock",)),
    ("clocks.sm_mhz", _integer, ("clocks/sm_clock",)),
    ("clocks.memory_mhz", _integer, ("clocks/mem_clock",)),
    ("clocks.video_mhz", _integer, ("clocks/video_clock",)),
    ("clocks.max_graphics_mhz", _integer, ("max_clocks/graphics_clock",)),
    ("clocks.max_sm_mhz", _integer, ("max_clocks/sm_clock",)),
    ("clocks.max_memory_mhz", _integer, ("max_clocks/mem_clock",)),
    ("clocks.max_video_mhz", _integer, ("max_clocks/video_clock",)),
    ("ecc.enabled", _flag, ("ecc_mode/current_ecc",)),
    ("ecc.pending", _flag, ("ecc_mode/pending_ecc",)),
    ("remapped_rows.corrected", _integer, ("remapped_rows/remapped_row_corr",)),
    ("remapped_rows.uncorrected", _integer, ("remapped_rows/remapped_row_unc",)),
    ("remapped_rows.pending", _flag, ("remapped_rows/remapped_row_pending",)),
    ("remapped_rows.failed", _flag, ("remapped_rows/remapped_row_failure",)),
    ("retired_pages.single_bit", _integer, ("retired_pages/multiple_single_bit_retirement/retired_count",)),
    ("retired_pages.double_bit", _integer, ("retired_pages/double_bit_retirement/retired_count",)),
    ("retired_pages.pending", _flag, ("retired_pages/pending_retirement", "retired_pages/pending_blacklist")),
    (
        "pcie.generation",
        _integer,
        (
            "pci/pci_gpu_link_info/pcie_gen/current_link_gen",
            "pci/pci_gpu_link_info/pcie_gen/device_current_link_gen",
        ),
    ),
    ("pcie.max_generation", _integer, ("pci/pci_gpu_link_info/pcie_gen/max_link_gen",)),
    ("pcie.width", _integer, ("pci/pci_gpu_link_info/link_widths/current_link_width",)),
    ("pcie.max_width", _integer, ("pci/pci_gpu_link_info/link_widths/max_link_width",)),
    ("pcie.replay_count", _integer, ("pci/replay_counter",)),
    ("fabric.state", _word, ("fabric/state",)),
    ("fabric.health", _word, ("fabric/health/summary",)),
    ("fabric.clique_id", _integer, ("fabric/cliqueId",)),
    ("fabric.cluster_uuid", _uuid, ("fabric/clusterUuid",)),
    ("mig.enabled", _flag, ("mig_mode/current_mig",)),
    ("mig.pending", _flag, ("mig_mode/pending_mig",)),
    ("vgpu.license_product", _text, ("vgpu_software_licensed_product/licensed_product_name",)),
    (
        "vgpu.licensed",
        _licensed,
        ("vgpu_software_licensed_product/license_status", "grid_licensed_product/license_status"),
    ),
)
_PROCESS_KINDS = {"C": "compute", "G": "graphics", "C+G": "compute", "M": "mps", "M+C": "mps"}


def parse(xml: bytes | str, *, name: str, at: float) -> Node:
    """The node `name` from the XML of `nvidia-smi -q -x`, read at `at` seconds since the epoch.

    Raises ProbeFailed for XML that is too large, declares entities or is broken, NoDriver when it lists no GPU at all.
    """
    return node_of(root_of(xml), name=name)


def node_of(root: ET.Element, *, name: str) -> Node:
    """The node of a document; raises NoDriver when it lists no GPU at all."""
    gpus = [_gpu(element, index) for index, element in enumerate(root.findall("gpu"))]
    if not gpus:
        raise NoDriver("nvidia-smi lists no GPU", "is a GPU in the node? look at lspci and dmesg there")
    return wire.merge(
        Node(name=name, transport="nvidia-smi", gpus=wire.distinct(wire.decode(Gpu, gpu) for gpu in gpus)),
        {
            "driver": _value(root, ("driver_version",), _text),
            "cuda": _value(root, ("cuda_version",), _text),
            "clock_skew_seconds": None,
        },
    )


def _raw(element: ET.Element, path: str) -> str | None:
    found = element.find(path)
    text = found.text.strip() if found is not None and found.text else ""
    return text or None


def _value(element: ET.Element, paths: tuple[str, ...], convert: Convert) -> Any:
    for path in paths:
        text = _raw(element, path)
        # "None" is a value of the virtualisation mode and the recovery action, handled apart.
        if text is not None and not _ABSENT.match(text):
            return convert(text)
    return None


def _gpu(element: ET.Element, index: int) -> dict[str, Any]:
    gpu: dict[str, Any] = {"index": index, "pci_bus_id": element.get("id"), "links": None}
    for field, convert, paths in _FIELDS:
        group, _, leaf = field.rpartition(".")
        target = gpu.setdefault(group, {}) if group else gpu
        target[leaf] = _value(element, paths, convert)
    if (_raw(element, "gpu_recovery_action") or "").lower() == "none":
        gpu["recovery_action"] = "none"
    gpu["vgpu"]["mode"] = _virtualization(_raw(element, "gpu_virtualization_mode/virtualization_mode") or "")
    gpu["ecc"]["volatile"] = _ecc(element.find("ecc_errors/volatile"))
    gpu["ecc"]["aggregate"] = _ecc(element.find("ecc_errors/aggregate"))
    gpu["clocks"]["event_reasons"] = _reasons(element)
    gpu["mig"]["instances"] = [_mig_device(device) for device in element.findall("mig_devices/mig_device")]
    gpu["processes"] = _processes(element)
    lost = next((found[0] for text in _values(element) if (found := _LOST.search(text))), None)
    if lost is not None:
        gpu["lost"], gpu["lost_reason"] = True, f"nvidia-smi: {lost}"
    return gpu


def _values(element: ET.Element) -> Iterator[str]:
    """The texts of a GPU but for its processes: they may be called anything."""
    for child in element:
        if child.tag != "processes":
            yield from child.itertext()


def _ecc(element: ET.Element | None) -> dict[str, int | None]:
    """Totals: DTD 11 and later count SRAM and DRAM apart, DTD 10 has single and double bit totals."""
    if element is None:
        return {}
    corrected = [_value(element, (tag,), _integer) for tag in ("sram_correctable", "dram_correctable")]
    uncorrected = [
        _value(element, (tag,), _integer)
        for tag in (
            "sram_uncorrectable",
            "sram_uncorrectable_parity",
            "sram_uncorrectable_secded",
            "dram_uncorrectable",
        )
    ]
    return {
        "corrected": _total(corrected, _value(element, ("single_bit/total",), _integer)),
        "uncorrected": _total(uncorrected, _value(element, ("double_bit/total",), _integer)),
    }


def _total(parts: list[int | None], old_total: int | None) -> int | None:
    counted = [part for part in parts if part is not None]
    return sum(counted) if counted else old_total


def _reasons(element: ET.Element) -> list[str] | None:
    for group, prefix in (
        ("clocks_event_reasons", "clocks_event_reason_"),
        ("clocks_throttle_reasons", "clocks_throttle_reason_"),
    ):
        found = element.find(group)
        if found is None or len(found) == 0:
            continue
        names = {name.replace("display_clock_", "display_clocks_"): name for name in CLOCK_EVENT_REASONS.values()}
        return [
            names[child.tag.removeprefix(prefix)]
            for child in found
            if (child.text or "").strip() == "Active" and child.tag.removeprefix(prefix) in names
        ]
    return None


def _mig_device(device: ET.Element) -> dict[str, Any]:
    """nvidia-smi's XML names neither profile, UUID nor placement: those stay n/a."""
    return {
        "gi": _value(device, ("gpu_instance_id",), _integer),
        "ci": _value(device, ("compute_instance_id",), _integer),
        "multiprocessors": _value(device, ("device_attributes/shared/multiprocessor_count",), _integer),
        "memory": {
            f"{part}_bytes": _value(device, (f"fb_memory_usage/{part}",), _bytes)
            for part in ("total", "used", "free", "reserved")
        },
    }


def _processes(element: ET.Element) -> list[dict[str, Any]] | None:
    processes = element.find("processes")
    if processes is None or _ABSENT.match((processes.text or "").strip()):
        return None
    return [
        {
            "pid": pid,
            "kind": _PROCESS_KINDS.get(_raw(each, "type") or ""),
            "command": _value(each, ("process_name",), _text),
            "memory_bytes": _value(each, ("used_memory",), _bytes),
            "gi": _value(each, ("gpu_instance_id",), _integer),
            "ci": _value(each, ("compute_instance_id",), _integer),
        }
        for each in processes.findall("process_info")
        if (pid := _value(each, ("pid",), _integer)) is not None
    ]
