"""What to do next: places in the console, and commands for the operator's hand."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from backends.domain import Gpu, MigInstance, NextStep, SiteSpec
from backends.fabric import is_switched, service_state
from backends.resets import OF_ALL, Reset, instances_lost, loses_mode, reset_of
from backends.triage.state import NodeView

PAGES: dict[str, str] = {
    "charts": "curves",
    "topology": "links",
    "processes": "processes",
    "mig": "MIG layout",
    "host": "host",
}
"""Id of a page of the node's screen -> what it shows."""
WITH_DRAIN = frozenset({"kubernetes", "openshift"})
"""Platforms on which a node is emptied by `gpudeck stack drain`, which the console can do too."""
RESTART_APP = "restart the application that was hit"
OF_OPERATOR = WITH_DRAIN
"""Platforms on which the GPU Operator may run the driver of a node, and its MIG Manager divides the GPUs."""


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


def reset_gpu(view: NodeView, gpu: Gpu) -> tuple[NextStep, ...]:
    """The reset of one GPU, or of all of the node where it cannot be reset alone; and what is to be made again."""
    reset = reset_of(gpu, view.last)
    what = "reset them together" if reset.together else "reset it"
    said = f"on {view.name}, with {_idle(reset)} idle: {what}"
    return (command(said, reset.command), *_layouts_again(view, (gpu, *reset.others)))


def _idle(reset: Reset) -> str:
    return "all its GPUs" if reset.together else f"GPU {reset.gpu.index}"


def reset_all(view: NodeView) -> NextStep:
    """The reset of all GPUs of the node and of its switches."""
    return command(f"on {view.name}, with all its GPUs idle: reset them and the switches", OF_ALL)


def reboot(view: NodeView) -> tuple[NextStep, ...]:
    """The reboot of the node, and what is to be made again."""
    gpus = () if view.last is None else view.last.gpus
    return (command(f"reboot {view.name}", "systemctl reboot"), *_layouts_again(view, gpus, rebooted=True))


def _layouts_again(view: NodeView, gpus: Iterable[Gpu], *, rebooted: bool = False) -> Iterator[NextStep]:
    """GPU instances end with a reset and with a reboot (MIG user guide); MIG Manager makes them only as it starts."""
    cut = [gpu for gpu in gpus if instances_lost(gpu)]
    if not cut:
        return
    what = "MIG mode and layout" if rebooted and any(map(loses_mode, cut)) else "MIG layout"
    ends = f"it ends the {what} of {', '.join(f'GPU {gpu.index} ({_layout(gpu)})' for gpu in cut)}"
    if view.site.platform in OF_OPERATOR and rebooted:
        yield advice(f"{ends}, which MIG Manager makes again as it starts: see that it has")
    elif view.site.platform in OF_OPERATOR:
        again = view.site.command("stack", "restart", "mig-manager", "--node", view.name)
        yield command(f"{ends}, which MIG Manager makes again when it is started anew", again)
    else:
        yield command(f"{ends}, to be made again", "; ".join(_made_again(view, cut)))


def _layout(gpu: Gpu) -> str:
    """4g.40gb + 2x 1g.10gb"""
    counts = Counter(_profile(each) or "n/a" for each in instances_lost(gpu))
    return " + ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items())


def _made_again(view: NodeView, gpus: Iterable[Gpu]) -> Iterator[str]:
    """A command for each GPU whose profiles were told."""
    for gpu in gpus:
        spots = [(_profile(each), each.placement) for each in instances_lost(gpu)]
        wish = ",".join(name if place is None else f"{name}:{place[0]}" for name, place in spots if name is not None)
        if all(name is not None for name, _ in spots):
            yield view.site.command("mig", "apply", "--node", view.name, "--gpu", str(gpu.index), "--want", wish)


def _profile(instance: MigInstance) -> str | None:
    """Of the GPU instance, also where its compute instance is a part of it: 3g.40gb of 1c.3g.40gb."""
    return None if instance.profile is None else re.sub(r"^\d+c\.", "", instance.profile)


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


def recovery(view: NodeView, gpu: Gpu, action: str) -> tuple[NextStep, ...]:
    """What `action` of the driver comes to; of one that nobody knows yet, what it says."""
    known = _RECOVERY.get(action)
    if known is not None:
        return tuple(known(view, gpu))
    return (advice(f"on {view.name}: the driver asks for {action}"), bug_report(view))


def _reset(view: NodeView, gpu: Gpu) -> Iterator[NextStep]:
    yield drain(view)
    yield from reset_gpu(view, gpu)


def _reboot(view: NodeView, gpu: Gpu | None) -> Iterator[NextStep]:
    yield drain(view)
    yield from reboot(view)


def _bus_reset(view: NodeView, gpu: Gpu) -> Iterator[NextStep]:
    reset = reset_of(gpu, view.last)
    yield drain(view)
    yield command(f"on {view.name}, with {_idle(reset)} idle: reset the bus", reset.bus_command)
    yield advice("does nvidia-smi know no such reset, or does the platform not allow it? then reboot the node")
    yield from reboot(view)


def _drain_p2p(view: NodeView, gpu: Gpu) -> Iterator[NextStep]:
    yield advice(f"stop the jobs that reach GPU {gpu.index} of {view.name} from other GPUs, over NVLink or PCIe")
    yield open_gpu(view, gpu, "processes")
    yield drain(view)
    yield advice("look again then: the driver asks for nothing more, or for a reset")


def _recover_imex(view: NodeView, gpu: Gpu) -> Iterator[NextStep]:
    yield advice("stop the jobs that share memory over NVLink with other nodes of its IMEX domain")
    yield command(
        f"on {view.name}: which nodes of the domain are ready", "nvidia-imex-ctl -N; systemctl status nvidia-imex"
    )
    if view.site.platform in OF_OPERATOR:
        yield in_cluster(view.site, "the compute domains, whose pods may run IMEX", "get computedomains -A")
    yield command("on each node that is not: start IMEX again", "systemctl restart nvidia-imex")
    yield bug_report(view)


_RECOVERY: dict[str, Callable[[NodeView, Gpu], Iterator[NextStep]]] = {
    "gpu_reset": _reset,
    "drain_and_reset": _reset,
    "node_reboot": _reboot,
    "system_reboot": _reboot,
    "bus_reset": _bus_reset,
    "drain_p2p": _drain_p2p,
    "recover_imex_domain": _recover_imex,
}
"""`Gpu.recovery_action` -> what it comes to (nvml.h, NVML_GPU_RECOVERY_ACTION_*; nvidia-smi(1), `-r bus`)."""


def by_catalogue(view: NodeView, gpu: Gpu | None, action: str | None) -> tuple[NextStep, ...]:
    """The commands for an action bucket of the XID catalogue; none for one that says it all in words."""
    steps_of = _CATALOGUE.get(action)
    return () if steps_of is None else tuple(steps_of(view, gpu))


def _reset_known(view: NodeView, gpu: Gpu | None) -> Iterable[NextStep]:
    return () if gpu is None else _reset(view, gpu)


def _mechanics(view: NodeView, gpu: Gpu | None) -> Iterable[NextStep]:
    return (drain(view), advice(f"check the power cables and the seating of the GPU in {view.name}"))


def _killed(view: NodeView, gpu: Gpu | None) -> Iterable[NextStep]:
    """Of a lone XID 45; who killed the process is asked for by the catalogue's words."""
    if not _is_switched(view):
        return ()
    again = advice("nobody killed it, and it returns? drain the node, then restart Fabric Manager")
    return (fabric_manager(view), again)


_CATALOGUE: dict[str | None, Callable[[NodeView, Gpu | None], Iterable[NextStep]]] = {
    "RESET_GPU": _reset_known,
    "WORKFLOW_XID_48": _reset_known,
    "WORKFLOW_NVLINK_ERR": _reset_known,
    "CHECK_UVM": _reset_known,
    "RESTART_BM": _reboot,
    "RESTART_VM": _reboot,
    "RESTART_FM": lambda view, gpu: (fabric_manager(view),),
    "WORKFLOW_XID_45": _killed,
    "CHECK_MECHANICALS": _mechanics,
    "UPDATE_SWFW": lambda view, gpu: (advice("update driver and firmware to a pair that NVIDIA supports"),),
    "RESTART_APP": lambda view, gpu: (advice(RESTART_APP),),
    "WORKFLOW_XID_13": lambda view, gpu: (advice(RESTART_APP),),
    "WORKFLOW_XID_31": lambda view, gpu: (advice(RESTART_APP),),
    "CONTACT_SUPPORT": lambda view, gpu: (bug_report(view),),
    None: lambda view, gpu: (bug_report(view),),
}
"""Action bucket of the XID catalogue, None: it names none -> what it comes to."""


def fabric_manager(view: NodeView) -> NextStep:
    """What Fabric Manager says, where it runs: as a unit of the node, or in the driver's pod of the GPU Operator."""
    state = service_state(view.last)
    if _runs_in_a_pod(view):
        what = f"read what the driver's pod on {view.name}, where Fabric Manager runs, says"
        return command(what, view.site.command("logs", "driver", "--node", view.name))
    look = "systemctl status nvidia-fabricmanager; tail -n 50 /var/log/fabricmanager.log"
    return command(f"on {view.name}: {_FABRIC_MANAGER.get(state, 'see whether Fabric Manager runs')}", look)


_FABRIC_MANAGER: dict[str | None, str] = {
    "active": "Fabric Manager runs: read its log",
    "activating": "Fabric Manager starts: read its log",
    "failed": "see why Fabric Manager does not run",
    "inactive": "see why Fabric Manager does not run",
    "missing": "see whether Fabric Manager is installed: systemd knows no such unit",
}
"""State of the service (`Service.state`) -> what to look for."""


def restart_fabric_manager(view: NodeView) -> NextStep:
    if _runs_in_a_pod(view):
        what = f"make the driver's pod on {view.name} anew, and Fabric Manager in it"
        return command(what, view.site.command("stack", "restart", "driver", "--node", view.name))
    return command(f"on {view.name}: start it again", "systemctl restart nvidia-fabricmanager")


def _is_switched(view: NodeView) -> bool:
    gpus = () if view.last is None else view.last.gpus
    return is_switched(gpus, was_switched=view.memory.was_switched) is True


def _runs_in_a_pod(view: NodeView) -> bool:
    return view.site.platform in OF_OPERATOR and service_state(view.last) in (None, "missing")
