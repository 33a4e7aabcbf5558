"""Whose work is on a GPU, as cells and words. Pure.

Three things look alike and are not: nobody (`on the host` or nothing), not told (n/a), and not permitted (n/a, said
once beside the list).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from backends.domain import plural
from backends.ownership import owner_words, owners
from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED

if TYPE_CHECKING:
    from backends.domain import Gpu, GpuProcess, NotPermitted, Problem, Unread, Workload
    from backends.feed import Topic
    from backends.ownership import Ownership
    from backends.site import Site
    from tui.widgets.glyphs import Glyphs

UNKNOWN = Cell(NOT_MEASURED, "dim")
HOST = Cell("on the host", "dim")
STRANGE = Cell("unknown container", "warn")
REFUSED_TOLD = 1
ROUTES_TOLD = 2
GIVEN_TOLD = 8


def topics_of(site: Site) -> tuple[Topic[Ownership], ...]:
    """What a screen that tells whose work it is has to watch: nothing on a site without a platform."""
    return (site.ownership,) if has_platform(site) else ()


def has_platform(site: Site | None) -> bool:
    return site is not None and site.spec.platform is not None


def ownership_of(site: Site | None) -> Ownership | None:
    """The last that was told; None before, and on a site without a platform."""
    return site.ownership.reading.value if site is not None and has_platform(site) else None


def label(workload: Workload) -> str:
    """`team-search/triton-search`: what a person deployed where that is known, else the pod or container itself."""
    owner = workload.owner
    name = workload.name if owner is None else owner.name
    return name if workload.namespace is None else f"{workload.namespace}/{name}"


def given(ownership: Ownership, node: str) -> str:
    """What the platform gave GPUs of the node, as a sentence; empty where nothing is known to run there."""
    held = [each.title for each in ownership.holders(node)]
    if not held:
        return ""
    more = f" and {len(held) - GIVEN_TOLD} more" if len(held) > GIVEN_TOLD else ""
    return inert(f"Its GPUs were given to {', '.join(held[:GIVEN_TOLD])}{more}.")


def of_process(process: GpuProcess, ownership: Ownership | None) -> Workload | None:
    return None if ownership is None else ownership.of(process)


def gpu_cell(gpu: Gpu, node: str, ownership: Ownership | None) -> Cell:
    """Who is on the GPU of the node: the one with the most memory, and how many more."""
    if ownership is None or gpu.processes is None:
        return UNKNOWN
    found = list(owners(ownership.on_gpu(gpu)).values())
    if found:
        more = f" +{len(found) - 1}" if len(found) > 1 else ""
        return Cell(label(found[0]) + more)
    if not gpu.processes:
        return Cell("")
    return _nobody(gpu.processes, node, ownership)


def _nobody(processes: Collection[GpuProcess], node: str, ownership: Ownership) -> Cell:
    """Processes that belong to nobody the platform knows; one without a user told nothing of where it runs."""
    inside = any(process.container_id is not None for process in processes)
    told = inside or any(process.user is not None for process in processes)
    if not told or ownership.refused_on(node) or (inside and not ownership.complete_on(node)):
        return UNKNOWN
    return STRANGE if inside else HOST


def node_cell(gpus: Iterable[Gpu], ownership: Ownership | None) -> Cell:
    """The owners on a node's GPUs: the one there is, or how many."""
    listed = list(gpus)
    if ownership is None or all(gpu.processes is None for gpu in listed):
        return UNKNOWN
    found = list(owners(ownership.on_gpus(listed)).values())
    if len(found) == 1:
        return Cell(label(found[0]))
    return Cell(f"{len(found)} owners" if found else "")


def process_cells(process: GpuProcess, node: str, ownership: Ownership | None) -> tuple[Cell, Cell]:
    """The workload of a process of the node, and its owner."""
    workload = of_process(process, ownership)
    if workload is None:
        unknown = UNKNOWN if ownership is None else _nobody((process,), node, ownership)
        return unknown, Cell("") if unknown is not UNKNOWN else UNKNOWN
    return Cell(workload.title), Cell(owner_words(workload) or "none", "" if workload.owner else "dim")


def line(workload: Workload) -> list[Cell]:
    """`team-search/triton-search-8b41a  Deployment triton-search  of ksato`"""
    cells = [Cell(workload.title, "accent")]
    if words := owner_words(workload):
        cells.append(Cell(words))
    if workload.user:
        cells.append(Cell(f"of {workload.user}", "dim"))
    return cells


def routes(workload: Workload) -> list[Cell]:
    """Under which names it is reached from outside, and which of them lead nowhere."""
    told = [Cell(each.words, "warn" if each.problem else "accent") for each in workload.routes[:ROUTES_TOLD]]
    left = len(workload.routes) - len(told)
    return [*told, *([Cell(f"and {plural(left, 'more route')}", "dim")] if left else [])]


def missing(ownership: Ownership | None, problem: Problem | None, platform: str | None, glyphs: Glyphs) -> list[Cell]:
    """Why not every workload is told: the platform does not answer, may not be read or is read in part."""
    if platform is None:
        return []
    if problem is not None:
        return [Cell(f"{glyphs.stale} workloads: {problem.message}", "stale")]
    if ownership is None:
        return [Cell("workloads: asking", "dim")]
    refused: tuple[NotPermitted, ...] = ownership.workloads.not_permitted
    unread: tuple[Unread, ...] = ownership.workloads.unread
    if refused:
        more = f" and {len(refused) - REFUSED_TOLD} more" if len(refused) > REFUSED_TOLD else ""
        return [Cell(f"{glyphs.warn} not permitted: {refused[0].permission}{more}", "warn")]
    if unread:
        more = f" and {len(unread) - REFUSED_TOLD} more" if len(unread) > REFUSED_TOLD else ""
        return [Cell(f"{glyphs.warn} {unread[0].why}{more}", "warn")]
    return []


def words(workloads: Iterable[Workload]) -> str:
    """What words of a filter look for."""
    return " ".join(f"{each.title} {owner_words(each)} {each.user or ''}" for each in workloads)
