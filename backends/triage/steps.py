"""What to do next: places in the console, and commands for the operator's hand."""

from __future__ import annotations

import shlex

from backends.domain import Gpu, NextStep, SiteSpec
from backends.triage.state import NodeView

PAGES: dict[str, str] = {
    "charts": "curves",
    "topology": "links",
    "processes": "processes",
    "mig": "MIG layout",
    "host": "host",
}
"""Id of a page of the node's screen -> what it shows."""
RESET_ALL_TOGETHER = "Ampere"
"""On boards of this architecture behind NVSwitches the GPUs of a node are reset together, never one alone."""

WITH_DRAIN = frozenset({"kubernetes", "openshift"})
"""Platforms on which a node is emptied by `gpudeck stack drain`, which the console can do too."""


def open_node(view: NodeView, page: str | None = None) -> NextStep:
    """The node, or a page of it by its id: host, topology, processes, mig, charts."""
    what = f"look at {view.name}" if page is None else f"look at the {PAGES[page]} of {view.name}"
    return NextStep("screen", what, view.name if page is None else f"{view.name}/{page}")


def open_gpu(view: NodeView, gpu: Gpu, page: str | None = None) -> NextStep:
    """The GPU, or a page of it by its id."""
    of = f"GPU {gpu.index} of {view.name}"
    target = f"{view.name}/{gpu.key}"
    if page is None:
        return NextStep("screen", f"look at {of}", target)
    return NextStep("screen", f"look at the {PAGES[page]} of {of}", f"{target}/{page}")


def open_stack() -> NextStep:
    return NextStep("screen", "look at the GPU stack", "stack")


def open_events() -> NextStep:
    return NextStep("screen", "look at the events of the site", "events")


def command(text: str, line: str) -> NextStep:
    return NextStep("command", text, line)


def in_cluster(site: SiteSpec, text: str, words: str) -> NextStep:
    """A command of the cluster's own tool: `get pods -A` of kubectl, on OpenShift of oc."""
    return command(text, f"{'oc' if site.platform == 'openshift' else 'kubectl'} {words}")


def advice(text: str) -> NextStep:
    """Something to do that is no command."""
    return NextStep("command", text)


def change(text: str, line: str) -> NextStep:
    """Something that the console can do: `line` is the same on the command line."""
    return NextStep("change", text, line)


def drain(view: NodeView) -> NextStep:
    """Empties the node, where there is a platform that can."""
    if view.site.platform not in WITH_DRAIN:
        return advice(f"let the work on {view.name} end, or stop it; start none there")
    return change(f"drain {view.name}", view.site.command("stack", "drain", "--node", view.name))


def reset_together(gpu: Gpu) -> bool:
    """Whether its board knows no reset but that of all GPUs of its node."""
    return gpu.architecture == RESET_ALL_TOGETHER and any(link.remote_kind == "switch" for link in gpu.links or ())


def reset_gpu(view: NodeView, gpu: Gpu) -> NextStep:
    """The reset of one GPU, or of all of the node where the board knows no other."""
    if reset_together(gpu):
        return command(f"on {view.name}, with all its GPUs idle: reset them together", "nvidia-smi --gpu-reset")
    return command(f"on {view.name}, with GPU {gpu.index} idle: reset it", f"nvidia-smi --gpu-reset -i {gpu.index}")


def reboot(view: NodeView) -> NextStep:
    return command(f"reboot {view.name}", "systemctl reboot")


def bug_report(view: NodeView) -> NextStep:
    return command(f"on {view.name}: collect what NVIDIA's support asks for", "nvidia-bug-report.sh")


def kernel_log(view: NodeView) -> NextStep:
    return command(f"on {view.name}: read the driver's lines in the kernel log", "journalctl -k -g 'NVRM|nvidia'")


def ssh(view: NodeView, options: str, command_line: str = "") -> str:
    """An ssh command line to the node as gpudeck reaches it."""
    words = ["ssh", options]
    if view.site.ssh.config_file is not None:
        words += ["-F", shlex.quote(str(view.site.ssh.config_file))]
    words += [shlex.quote(view.spec.ssh_destination), command_line]
    return " ".join(word for word in words if word)


RECOVERY_TEXTS: dict[str, str] = {
    "gpu_reset": "the driver asks for a reset of the GPU",
    "node_reboot": "the driver asks for a reboot of the node",
    "system_reboot": "the driver asks for a reboot of the whole system",
    "bus_reset": "the driver asks for a reset of the GPU's bus",
    "drain_p2p": "the driver asks to stop peer-to-peer traffic of the GPU",
    "drain_and_reset": "the driver asks to let work end on the GPU and to reset it then",
    "recover_imex_domain": "the driver asks to recover the IMEX domain",
}
"""`Gpu.recovery_action` in words (nvml.h, NVML_GPU_RECOVERY_ACTION_*)."""


def recovery(view: NodeView, gpu: Gpu, action: str) -> tuple[NextStep, ...]:
    """What `action` of the driver comes to."""
    if action in ("node_reboot", "system_reboot"):
        return (drain(view), reboot(view))
    if action in ("gpu_reset", "drain_and_reset"):
        return (drain(view), reset_gpu(view, gpu))
    return (advice(f"on {view.name}: {RECOVERY_TEXTS.get(action, f'the driver asks for {action}')}"),)


def by_catalogue(view: NodeView, gpu: Gpu | None, action: str | None) -> tuple[NextStep, ...]:
    """The commands for an action bucket of the XID catalogue."""
    match action:
        case "RESET_GPU" | "WORKFLOW_XID_48" | "WORKFLOW_NVLINK_ERR" | "CHECK_UVM" if gpu is not None:
            return (drain(view), reset_gpu(view, gpu))
        case "RESTART_BM" | "RESTART_VM":
            return (drain(view), reboot(view))
        case "RESTART_FM":
            return (fabric_manager(view),)
        case "CHECK_MECHANICALS":
            return (drain(view), advice(f"check the power cables and the seating of the GPU in {view.name}"))
        case "UPDATE_SWFW":
            return (advice("update driver and firmware to a pair that NVIDIA supports"),)
        case "RESTART_APP" | "WORKFLOW_XID_13" | "WORKFLOW_XID_31":
            return (advice("restart the application that was hit"),)
        case "CONTACT_SUPPORT" | None:
            return (bug_report(view),)
        case _:
            return ()


def fabric_manager(view: NodeView) -> NextStep:
    return command(
        f"on {view.name}: see why Fabric Manager does not run",
        "systemctl status nvidia-fabricmanager; tail -n 50 /var/log/fabricmanager.log",
    )
