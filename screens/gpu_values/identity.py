"""Which board it is, and how it is set up."""

from __future__ import annotations

from backends.domain import Gpu
from screens.gpu_values.lines import Group, told, words
from screens.node_pages.view import NodeView
from tui.widgets import units
from tui.widgets.sheet import Line, Prose, Section

COMPUTE_MODES: dict[str, str] = {
    "default": "default: any number of processes",
    "exclusive_process": "exclusive process: one at a time",
    "exclusive_thread": "exclusive thread: one at a time",
    "prohibited": "PROHIBITED: no CUDA work can start",
}
VIRTUAL_MODES: dict[str, str] = {
    "none": "none: bare metal",
    "passthrough": "passed through to this machine",
    "vgpu": "vGPU guest",
    "host_vgpu": "host of vGPUs",
    "host_vsga": "host of shared graphics",
}


def identity(_view: NodeView, gpu: Gpu) -> Group:
    lines = (
        words("model", gpu.name),
        words("UUID", gpu.uuid),
        words("serial", gpu.serial),
        words("board part", gpu.board_part_number),
        words("PCI bus id", gpu.pci_bus_id),
        words("PCI device", gpu.pci_device_id),
        words("minor number", units.number(gpu.minor_number)),
        words("architecture", gpu.architecture),
        words("VBIOS", gpu.vbios),
        words("GSP firmware", gpu.gsp_firmware),
        words("NUMA node", units.number(gpu.numa_node)),
        words("CPU affinity", gpu.cpu_affinity),
    )
    known = (gpu.name, gpu.uuid, gpu.serial, gpu.pci_bus_id, gpu.architecture, gpu.vbios)
    return Group(Section("IDENTITY", lines), any(value is not None for value in known), "identity", lasting=True)


def modes(view: NodeView, gpu: Gpu) -> Group:
    lines: list[Line | Prose] = [
        words("persistence", units.yes_no(gpu.persistence, "on", "off"), "warn" if gpu.persistence is False else ""),
        words(
            "compute mode",
            COMPUTE_MODES.get(gpu.compute_mode or "", gpu.compute_mode),
            "warn" if gpu.compute_mode == "prohibited" else "",
        ),
        words("virtualised", VIRTUAL_MODES.get(gpu.vgpu.mode or "", gpu.vgpu.mode)),
    ]
    if gpu.persistence is False:
        said = (
            "Without a client the driver drops the GPU's state: the next start is slow. Where that unloads its modules"
        )
        said += " too, MIG is lost from Hopper on."
        lines.insert(1, told(view.glyphs.warn, said, "warn"))
    known = (gpu.persistence, gpu.compute_mode, gpu.vgpu.mode)
    return Group(Section("MODES", tuple(lines)), any(value is not None for value in known), "modes")


def licence(view: NodeView, gpu: Gpu) -> Group:
    """Of a vGPU; nothing on a board that needs none."""
    vgpu = gpu.vgpu
    if vgpu.licensed is None and vgpu.license_product is None and vgpu.mode != "vgpu":
        return Group(Section("VGPU LICENCE", ()))
    lines: list[Line | Prose] = [
        words(
            "licence", units.yes_no(vgpu.licensed, "licensed", "NOT LICENSED"), "bad" if vgpu.licensed is False else ""
        ),
        words("product", vgpu.license_product),
        words("expires", vgpu.license_expiry),
    ]
    if vgpu.licensed is False:
        said = "Without a licence the driver slows this vGPU down more and more: look at the licence server."
        lines.append(told(view.glyphs.bad, said, "bad"))
    return Group(Section("VGPU LICENCE", tuple(lines)))
