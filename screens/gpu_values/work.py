"""What the GPU is divided into, and what runs on it."""

from __future__ import annotations

from backends.domain import Gpu
from screens.gpu_values.lines import LABEL_WIDTH, Group, words
from screens.node_pages.view import NodeView
from screens.workloads import line as workload_line
from screens.workloads import of_process, routes
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.sheet import Line, Section


def mig(_view: NodeView, gpu: Gpu) -> Group:
    divided = gpu.mig
    mode = units.yes_no(divided.enabled, "on", "off")
    if divided.pending is not None and divided.pending != divided.enabled:
        mode += f", {units.yes_no(divided.pending, 'on', 'off')} after the next reset"
    lines = [words("MIG", mode), words("instances", _instances(gpu))]
    for each in divided.instances:
        place = NOT_MEASURED if each.placement is None else f"{each.placement[0]}+{each.placement[1]}"
        memory = units.pair(units.gib(each.memory.used_bytes), units.gib(each.memory.total_bytes))
        ids = f"gi {units.number(each.gi)} ci {units.number(each.ci)}"
        text = f"{ids}  at {place}  {memory} GiB  {units.number(each.multiprocessors)} SMs"
        lines.append((Cell(fit(each.profile or NOT_MEASURED, LABEL_WIDTH) + " ", "accent"), Cell(text)))
        lines.append((Cell(" " * (LABEL_WIDTH + 1)), Cell(each.uuid or NOT_MEASURED, "dim")))
    known = divided.enabled is not None or divided.max_instances is not None
    return Group(Section("MIG", tuple(lines)), known, "MIG")


def _instances(gpu: Gpu) -> str | None:
    if gpu.mig.max_instances is None:
        return None
    return f"{len(gpu.mig.instances)} of at most {gpu.mig.max_instances}"


def processes(view: NodeView, gpu: Gpu) -> Group:
    if gpu.processes is None:
        return Group(Section("PROCESSES", (words("processes", None),)), measured=False, name="processes")
    lines: list[Line] = [(Cell("    PID USER           GiB KIND     MIG   COMMAND", "dim"),)] if gpu.processes else []
    for each in sorted(gpu.processes, key=lambda process: -(process.memory_bytes or 0)):
        instance = "" if each.gi is None else f"{each.gi}/{units.number(each.ci)}"
        head = f"{each.pid:>7} {fit(each.user or NOT_MEASURED, 10)} {units.gib(each.memory_bytes):>7}"
        text = f"{head} {fit(each.kind or NOT_MEASURED, 8)} {fit(instance, 5)} {each.command or NOT_MEASURED}"
        lines.append((Cell(text),))
        workload = of_process(each, view.ownership)
        if workload is not None:
            told = [cell for part in workload_line(workload) for cell in (part, Cell("  "))]
            lines.append((Cell(" " * 8), *told[:-1]))
            lines += [(Cell(" " * 8), route) for route in routes(workload)]
    if gpu.processes_omitted:
        lines.append((Cell(f"and {gpu.processes_omitted} more, not read", "warn"),))
    return Group(Section("PROCESSES", tuple(lines) or ((Cell("none", "dim"),),)))
