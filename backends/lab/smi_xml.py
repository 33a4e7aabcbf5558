"""`nvidia-smi -q -x` of a simulated node: the same hardware as the simulated NVML shows, as the XML of the real tool.

Tags and their order follow nvsmi_device_v12.dtd (drivers before 580) and nvsmi_device_v13.dtd. What a platform cannot
tell is "N/A", as in the real output.
"""

from __future__ import annotations

import time
from typing import TypeAlias
from xml.sax.saxutils import escape, quoteattr

from backends.lab.boards import MIB
from backends.lab.dynamics import Meter, Sample
from backends.lab.hardware import SimGpu, SimNode, devices

Element: TypeAlias = "tuple[str, str | int | list[Element]]"

NA = "N/A"
LOST = "GPU is lost"
_REASONS = (
    ("gpu_idle", 0x1),
    ("applications_clocks_setting", 0x2),
    ("sw_power_cap", 0x4),
    ("hw_slowdown", 0x8),
    ("hw_thermal_slowdown", 0x40),
    ("hw_power_brake_slowdown", 0x80),
    ("sync_boost", 0x10),
    ("sw_thermal_slowdown", 0x20),
    ("display_clocks_setting", 0x100),
)
_FABRIC_STATES = ("Not Supported", "Not Started", "In Progress", "Completed")
_RECOVERY = {0: "None", 1: "Reset", 2: "Reboot", 3: "Drain P2P", 4: "Drain and Reset"}


def render(node: SimNode, meter: Meter, at: float) -> str:
    """The document of `node` at the time `at`; what XML 1.0 forbids is in it only where a process is called so."""
    version = 13 if int(node.driver_version.split(".")[0]) >= 580 else 12
    cuda = f"{node.machine.cuda // 1000}.{node.machine.cuda % 1000 // 10}"
    lines = [
        '<?xml version="1.0" ?>',
        f'<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v{version}.dtd">',
        "<nvidia_smi_log>",
    ]
    head: list[Element] = [
        ("timestamp", time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(at))),
        ("driver_version", node.driver_version),
        ("cuda_version", cuda),
        ("attached_gpus", len(node.gpus)),
    ]
    _write(lines, head, 1)
    for gpu in node.gpus:
        lines.append(f"\t<gpu id={quoteattr(gpu.pci_bus_id)}>")
        body = _lost(gpu) if gpu.faults.lost else _gpu(node, gpu, meter.read(gpu, at), at, version)
        _write(lines, body, 2)
        lines.append("\t</gpu>")
    return "\n".join([*lines, "</nvidia_smi_log>", ""])


def _write(lines: list[str], elements: list[Element], depth: int) -> None:
    indent = "\t" * depth
    for tag, value in elements:
        if isinstance(value, list):
            lines.append(f"{indent}<{tag}>")
            _write(lines, value, depth + 1)
            lines.append(f"{indent}</{tag}>")
        else:
            text = str(value)
            if tag != "process_name":
                text = "".join(c for c in text if c >= " " and not "\ud800" <= c <= "\udfff")
            lines.append(f"{indent}<{tag}>{escape(text)}</{tag}>")


def _unit(value: float | None, unit: str) -> str:
    return NA if value is None else f"{value} {unit}"


def _mib(value: int | None) -> str:
    return NA if value is None else f"{value // MIB} MiB"


def _lost(gpu: SimGpu) -> list[Element]:
    return [("product_name", LOST), ("uuid", LOST), ("pci", [("pci_bus_id", gpu.pci_bus_id)])]


def _gpu(node: SimNode, gpu: SimGpu, now: Sample, at: float, version: int) -> list[Element]:
    return [
        *_identity(node, gpu),
        *_state(node, gpu, version),
        *_pci(gpu),
        ("fan_speed", NA),
        ("performance_state", "P0"),
        ("clocks_event_reasons", _reasons(gpu, now)),
        *_memory(gpu, now),
        ("compute_mode", "Default"),
        *_utilization(gpu, now),
        *_errors(gpu, at, version),
        ("temperature", _temperature(gpu, now)),
        ("gpu_power_readings", _power(gpu, now, version)),
        *_clocks(gpu, now),
        ("fabric", _fabric(gpu, version)),
        ("processes", _processes(gpu, now)),
    ]


def _identity(node: SimNode, gpu: SimGpu) -> list[Element]:
    board = gpu.board
    mode, pending = ((("Enabled" if on else "Disabled") if board.mig else NA) for on in (gpu.mig_on, gpu.mig_wanted))
    return [
        ("product_name", gpu.name),
        ("product_brand", "NVIDIA"),
        ("product_architecture", board.architecture_name),
        ("persistence_mode", "Enabled" if gpu.faults.persistence else "Disabled"),
        ("addressing_mode", "None"),
        ("mig_mode", [("current_mig", mode), ("pending_mig", pending)]),
        ("mig_devices", _mig_devices(gpu) if devices(gpu) else "None"),
        ("accounting_mode", "Disabled"),
        ("serial", NA if board.virtual else gpu.serial),
        ("uuid", gpu.uuid),
        ("minor_number", gpu.index),
        ("vbios_version", gpu.faults.vbios or board.vbios),
        ("multigpu_board", "No"),
        ("board_id", f"0x{gpu.pci_bus:x}00"),
        ("board_part_number", board.part_number or NA),
        ("gpu_part_number", board.gpu_part_number or NA),
        ("inforom_version", [("img_version", board.inforom or NA)]),
        ("gsp_firmware_version", NA if board.virtual else node.driver_version),
    ]


def _mig_devices(gpu: SimGpu) -> list[Element]:
    return [
        (
            "mig_device",
            [
                ("index", mig.position),
                ("gpu_instance_id", mig.gi),
                ("compute_instance_id", 0),
                ("device_attributes", [("shared", [("multiprocessor_count", mig.profile.multiprocessors)])]),
                ("ecc_error_count", [("volatile_count", [("sram_uncorrectable", 0)])]),
                (
                    "fb_memory_usage",
                    [
                        ("total", f"{mig.profile.memory_mib} MiB"),
                        ("reserved", "0 MiB"),
                        ("used", "12 MiB"),
                        ("free", f"{mig.profile.memory_mib - 12} MiB"),
                    ],
                ),
            ],
        )
        for mig in devices(gpu)
    ]


def _state(node: SimNode, gpu: SimGpu, version: int) -> list[Element]:
    virtual = gpu.board.virtual
    mode: list[Element] = [
        ("virtualization_mode", "VGPU" if virtual else "None"),
        ("host_vgpu_mode", NA),
    ]
    elements: list[Element] = [("gpu_virtualization_mode", mode)]
    if virtual:
        elements.append(
            (
                "vgpu_software_licensed_product",
                [
                    ("licensed_product_name", "NVIDIA Virtual Compute Server"),
                    (
                        "license_status",
                        "Licensed (Expiry: 2027-3-31 12:0:0 GMT)" if node.licensed else "Unlicensed (Restricted)",
                    ),
                ],
            )
        )
    if version == 13:
        elements.append(("gpu_recovery_action", _RECOVERY[gpu.faults.recovery_action]))
    else:
        drain = "Yes" if gpu.faults.recovery_action == 4 else "No"
        reset = "Yes" if gpu.faults.recovery_action == 1 else "No"
        elements.append(("gpu_reset_status", [("reset_required", reset), ("drain_and_reset_recommended", drain)]))
    return elements


def _pci(gpu: SimGpu) -> list[Element]:
    board, faults = gpu.board, gpu.faults
    generation: str | int = NA if board.virtual else board.pcie_generation
    width = NA if board.virtual else f"{faults.pcie_width or 16}x"
    return [
        (
            "pci",
            [
                ("pci_bus", f"{gpu.pci_bus:02X}"),
                ("pci_device", "00"),
                ("pci_domain", "0000"),
                ("pci_device_id", f"{board.pci_device_id:08X}"),
                ("pci_bus_id", gpu.pci_bus_id),
                ("pci_sub_system_id", f"{board.pci_subsystem_id:08X}"),
                (
                    "pci_gpu_link_info",
                    [
                        (
                            "pcie_gen",
                            [("max_link_gen", generation), ("current_link_gen", generation)],
                        ),
                        (
                            "link_widths",
                            [("max_link_width", NA if board.virtual else "16x"), ("current_link_width", width)],
                        ),
                    ],
                ),
                ("replay_counter", NA if board.virtual else faults.pcie_replays),
            ],
        )
    ]


def _reasons(gpu: SimGpu, now: Sample) -> list[Element]:
    if gpu.board.virtual:
        return [(f"clocks_event_reason_{name}", NA) for name, _ in _REASONS]
    return [(f"clocks_event_reason_{name}", "Active" if now.reasons & bit else "Not Active") for name, bit in _REASONS]


def _memory(gpu: SimGpu, now: Sample) -> list[Element]:
    board = gpu.board
    total, reserved = board.memory_mib * MIB, board.reserved_mib * MIB
    free = total - reserved - now.used_bytes
    bar1 = None if board.virtual else board.bar1_mib * MIB
    return [
        (
            "fb_memory_usage",
            [
                ("total", _mib(total)),
                ("reserved", _mib(reserved)),
                ("used", _mib(now.used_bytes)),
                ("free", _mib(free)),
            ],
        ),
        (
            "bar1_memory_usage",
            [
                ("total", _mib(bar1)),
                ("used", _mib(bar1 and 3 * MIB)),
                ("free", _mib(bar1 and bar1 - 3 * MIB)),
            ],
        ),
    ]


def _utilization(gpu: SimGpu, now: Sample) -> list[Element]:
    values = (now.utilization_percent, now.memory_percent, 0, 0)
    names = ("gpu_util", "memory_util", "encoder_util", "decoder_util")
    return [
        (
            "utilization",
            [(name, NA if gpu.mig_on else f"{value} %") for name, value in zip(names, values, strict=True)],
        )
    ]


def _errors(gpu: SimGpu, at: float, version: int) -> list[Element]:
    faults, virtual = gpu.faults, gpu.board.virtual
    sram = ("sram_uncorrectable_parity", "sram_uncorrectable_secded") if version == 13 else ("sram_uncorrectable",)
    counts: list[Element] = [
        ("sram_correctable", NA if virtual else 0),
        *((tag, NA if virtual else 0) for tag in sram),
        ("dram_correctable", NA if virtual else faults.corrected_at(at)),
        ("dram_uncorrectable", NA if virtual else faults.ecc_uncorrected),
    ]
    mode = NA if virtual else "Enabled"
    failed = faults.remap_failed_at is not None and faults.remap_failed_at <= at
    rows: list[Element] = [
        ("remapped_row_corr", 0),
        ("remapped_row_unc", faults.remapped_uncorrectable),
        ("remapped_row_pending", "Yes" if faults.remap_pending else "No"),
        ("remapped_row_failure", "Yes" if failed else "No"),
    ]
    return [
        ("ecc_mode", [("current_ecc", mode), ("pending_ecc", mode)]),
        ("ecc_errors", [("volatile", counts), ("aggregate", counts)]),
        ("remapped_rows", NA if virtual else rows),
    ]


def _temperature(gpu: SimGpu, now: Sample) -> list[Element]:
    board = gpu.board
    if board.virtual:
        return [(tag, NA) for tag in ("gpu_temp", "gpu_temp_tlimit", "gpu_target_temperature", "memory_temp")]
    memory = now.memory_celsius if board.memory_sensor else None
    memory_max = 0 if board.memory_sensor else None
    if board.relative_limits:
        limits: list[Element] = [
            ("gpu_temp_tlimit", f"{board.hot_celsius - now.celsius} C"),
            ("gpu_temp_max_tlimit_threshold", f"{board.hot_celsius - board.shutdown_celsius} C"),
            ("gpu_temp_slow_tlimit_threshold", "-2 C"),
            ("gpu_temp_max_gpu_tlimit_threshold", "0 C"),
        ]
        last: Element = ("gpu_temp_max_mem_tlimit_threshold", _unit(memory_max, "C"))
    else:
        limits = [
            ("gpu_temp_tlimit", NA),
            ("gpu_temp_max_threshold", f"{board.shutdown_celsius} C"),
            ("gpu_temp_slow_threshold", f"{board.hot_celsius} C"),
            ("gpu_temp_max_gpu_threshold", f"{board.hot_celsius - 4} C"),
        ]
        last = ("gpu_temp_max_mem_threshold", f"{board.memory_max_celsius} C")
    return [
        ("gpu_temp", f"{now.celsius} C"),
        *limits,
        ("gpu_target_temperature", NA),
        ("memory_temp", _unit(memory, "C")),
        last,
    ]


def _power(gpu: SimGpu, now: Sample, version: int) -> list[Element]:
    board = gpu.board

    def watts(value: float) -> str:
        return NA if board.virtual else f"{value:.2f} W"

    draw: list[Element] = [("power_draw", watts(now.watts))]
    if version == 13:
        draw = [("average_power_draw", watts(now.watts)), ("instant_power_draw", watts(now.watts))]
    return [
        ("power_state", "P0" if version == 12 else "Requested functionality has been deprecated"),
        *draw,
        ("current_power_limit", watts(board.limit_watts)),
        ("requested_power_limit", watts(board.limit_watts)),
        ("default_power_limit", watts(board.limit_watts)),
        ("min_power_limit", watts(board.min_limit_watts)),
        ("max_power_limit", watts(board.limit_watts)),
    ]


def _clocks(gpu: SimGpu, now: Sample) -> list[Element]:
    board = gpu.board
    names = ("graphics_clock", "sm_clock", "mem_clock", "video_clock")
    rows = (
        ("clocks", (now.mhz, now.mhz, board.memory_mhz, now.video_mhz)),
        ("max_clocks", (board.max_mhz, board.max_mhz, board.memory_mhz, board.max_video_mhz)),
    )
    return [
        (tag, [(name, NA if board.virtual else f"{v} MHz") for name, v in zip(names, values, strict=True)])
        for tag, values in rows
    ]


def _fabric(gpu: SimGpu, version: int) -> list[Element]:
    there = gpu.board.fabric
    elements: list[Element] = [
        ("state", _FABRIC_STATES[gpu.faults.fabric_state] if there else NA),
        ("status", "Success" if there else NA),
    ]
    if version == 13:
        summary = "Limited Capacity" if gpu.faults.links_down else "Healthy"
        degraded = "Degraded" if gpu.faults.links_down else "Full"
        elements += [
            ("cliqueId", 0 if there else NA),
            ("clusterUuid", "00000000-0000-0000-0000-000000000000" if there else NA),
            ("health", [("summary", summary if there else NA), ("bandwidth", degraded if there else NA)]),
        ]
    return elements


def _processes(gpu: SimGpu, now: Sample) -> list[Element]:
    return [
        (
            "process_info",
            [
                ("gpu_instance_id", NA if process.gi is None else process.gi),
                ("compute_instance_id", NA if process.ci is None else process.ci),
                ("pid", process.pid),
                ("type", "C"),
                ("process_name", process.command),
                ("used_memory", _mib(process.memory_bytes)),
            ],
        )
        for process in now.processes
        if not gpu.board.virtual
    ]
