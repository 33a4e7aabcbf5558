"""Nodes that are built alike and yet differ: driver, VBIOS, number of GPUs, NVLinks that are all down."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from backends.domain import Evidence, Finding, Gpu, NextStep, Severity, Subject, plural
from backends.triage import steps
from backends.triage.boards import Boards
from backends.triage.rule import GPUDECK, PART_NODES, finding, of_node, parts
from backends.triage.state import Machine, NodeView, SiteState, machine_of
from backends.triage.words import listed, ranges

MIN_PEERS = 3
"""Other nodes of the same kind: with fewer, nobody can say which of them is the odd one."""
USUAL_SHARE = 0.75
"""So many of the others must agree before one that differs is odd."""
MACHINE_SIZES = frozenset({1, 2, 4, 8, 10, 16})
"""Counts of GPUs that machines are built with; another count beside full peers is a GPU that is missing."""
PEERS = "gpudeck: peers"


def driver(state: SiteState) -> Iterator[Finding]:
    """The odd one out; where no version prevails, one note for the kind: likely an upgrade under way."""
    for kind, views in _kinds(state).items():
        versions = {view.name: view.node.driver for view in views if view.node and view.node.driver}
        counts = Counter(versions.values())
        if len(counts) < 2 or len(versions) <= MIN_PEERS:
            continue
        usual, count = counts.most_common(1)[0]
        if count < USUAL_SHARE * (len(versions) - 1):
            yield _mixed(state, kind, versions)
            continue
        for view in views:
            own = versions.get(view.name)
            if own is not None and own != usual:
                yield _odd_driver(view, own, usual, count)


def _odd_driver(view: NodeView, own: str, usual: str, count: int) -> Finding:
    return finding(
        "driver-drift",
        Severity.INFO,
        of_node(view),
        f"its driver {own} differs from its {plural(count, 'peer')} ({usual})",
        view.now,
        evidence=[
            Evidence(f"driver {own} here", None, "nvml"),
            Evidence(f"driver {usual} on {plural(count, 'node')} with the same GPUs", None, "peers"),
        ],
        cause="likely an upgrade that left it out, or that began with it",
        steps=[
            steps.command(f"on {view.name}: what is loaded", "cat /proc/driver/nvidia/version"),
            steps.open_node(view),
        ],
        source=PEERS,
    )


def _mixed(state: SiteState, kind: str, versions: dict[str, str]) -> Finding:
    by_version: defaultdict[str, list[str]] = defaultdict(list)
    for name, version in versions.items():
        by_version[version].append(name)
    return finding(
        "driver-drift",
        Severity.INFO,
        Subject(),
        f"{len(versions)} nodes with {kind} run {len(by_version)} driver versions",
        state.now,
        evidence=[
            Evidence(f"{version}: {listed(names, 8)}", None, "peers") for version, names in sorted(by_version.items())
        ],
        cause="likely an upgrade under way",
        source=PEERS,
        more=kind,
    )


def vbios(state: SiteState) -> Iterator[Finding | None]:
    """Of the same board by its part number: another part number has a VBIOS of its own by right."""
    boards: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    holders: dict[tuple[str, str, str], dict[str, tuple[NodeView, list[int]]]] = {}
    for some in parts(state.views, PART_NODES):
        yield None
        for view, gpu in [(each, gpu) for each in some for gpu in each.gpus]:
            if gpu.name is None or gpu.board_part_number is None or gpu.vbios is None or gpu.vgpu.is_guest:
                continue
            board = (gpu.name, gpu.board_part_number)
            boards[board][gpu.vbios] += 1
            nodes = holders.setdefault((*board, gpu.vbios), {})
            nodes.setdefault(view.name, (view, []))[1].append(gpu.index)
    for board, counts in boards.items():
        usual, count = counts.most_common(1)[0]
        total = counts.total()
        if len(counts) < 2 or total <= MIN_PEERS or count < USUAL_SHARE * (total - 1):
            continue
        for version in counts:
            if version != usual:
                for view, indices in holders[*board, version].values():
                    yield _odd_vbios(view, indices, version, usual, count)


def _odd_vbios(view: NodeView, indices: list[int], version: str, usual: str, count: int) -> Finding:
    return finding(
        "vbios-drift",
        Severity.INFO,
        of_node(view),
        f"the VBIOS of GPU {ranges(indices)} differs from {plural(count, 'peer')}",
        view.now,
        evidence=[
            Evidence(f"VBIOS {version} on GPU {ranges(indices)}", None, "nvml"),
            Evidence(f"VBIOS {usual} on {plural(count, 'GPU')} of the same part number", None, "peers"),
        ],
        cause="likely a board that was replaced",
        steps=[
            steps.command(
                f"on {view.name}: boards and their VBIOS",
                "nvidia-smi --query-gpu=index,serial,vbios_version --format=csv",
            ),
            steps.open_node(view),
        ],
        source=PEERS,
    )


def gpu_missing(state: SiteState) -> Iterator[Finding | None]:
    """A node that shows fewer GPUs than before, than its peers, or none at all beside a working driver."""
    models: defaultdict[str | None, Counter[int]] = defaultdict(Counter)
    machines: defaultdict[Machine, Counter[int]] = defaultdict(Counter)
    own: dict[str, Machine] = {}
    for some in parts(state.views, PART_NODES):
        yield None
        for view in some:
            machine = machine_of(view)
            if machine is not None:
                own[view.name] = machine
                models[machine.model][len(_listed(view))] += 1
                machines[machine][len(_listed(view))] += 1
    yield None
    for view in state.views:
        if view.node is None or view.node.driver is None:
            continue
        count, found = len(view.node.gpus), own.get(view.name)
        peers = None
        if found is not None and found.model is not None:
            # Half a machine is a machine too: such a count is held against machines of the same make only.
            if count not in MACHINE_SIZES:
                peers = _fewer(count, models[found.model])
            elif found.is_sure:
                peers = _fewer(count, machines[found])
        before = 0 if view.memory.boards is None else view.memory.boards.count
        if peers is not None or count < before or count == 0:
            # A machine without switches may have been built with fewer, for all that it was not seen with more.
            sure = count < before or count not in MACHINE_SIZES or view.memory.was_switched
            yield _missing(view, count, max(before, peers.usual if peers else 0), peers, sure=sure)


@dataclass(frozen=True, slots=True)
class _Peers:
    """Nodes that show more GPUs than one of them."""

    usual: int
    count: int
    """How many show so many."""
    others: int


def _fewer(own: int, nodes: Counter[int]) -> _Peers | None:
    """What is usual among `nodes` (GPUs -> how many show so many), the own one among them, where that is more."""
    usual, count = nodes.most_common(1)[0]
    others = nodes.total() - 1
    if own >= usual or others < MIN_PEERS or count < USUAL_SHARE * others or usual not in MACHINE_SIZES:
        return None
    return _Peers(usual, count, others)


def _missing(view: NodeView, count: int, wanted: int, peers: _Peers | None, *, sure: bool) -> Finding:
    known = view.memory.boards
    before = 0 if known is None else known.count
    shows = "no GPU, though its driver works" if count == 0 else plural(count, "GPU")
    evidence = [Evidence(f"NVML and the driver list {plural(count, 'GPU')}", None, "nvml")]
    claim = f"shows {shows}"
    since, on_purpose = view.now, list[NextStep]()
    if known is not None and count < before:
        claim += f"; it had {before}"
        since = known.fewer_at or view.now
        evidence += _vanished(view, known)
        forget = view.site.command("inventory", "forget", view.name)
        on_purpose.append(steps.command("were they taken out on purpose? then let gpudeck forget them", forget))
    elif peers is not None:
        claim += f", its {plural(peers.count, 'peer')} {peers.usual}"
    if peers is not None:
        evidence.append(
            Evidence(f"{peers.count} of {peers.others} other nodes of its make list {peers.usual}", None, "peers")
        )
    return finding(
        "gpu-missing",
        Severity.CRITICAL if sure else Severity.WARNING,
        of_node(view),
        claim,
        since,
        evidence=evidence,
        cause="likely a GPU that did not come up at boot"
        if count > 0
        else "likely they did not come up, or were given to virtual machines (vfio)",
        steps=[
            steps.command(f"on {view.name}: what PCIe sees, and which driver has it", "lspci -k -d 10de:"),
            steps.kernel_log(view),
            *on_purpose,
            steps.open_node(view),
        ],
        source=PEERS if peers is not None else GPUDECK,
        magnitude=float(wanted - count),
    )


def _vanished(view: NodeView, known: Boards) -> Iterator[Evidence]:
    """Between which readings they went, and which they are."""
    yield Evidence(f"the last reading with {known.count} GPUs", known.at, "nvml")
    if known.fewer_at is not None:
        yield Evidence("the first with fewer: missing since then at the latest", known.fewer_at, "nvml")
    gone = known.gone(view.node) if view.node is not None else ()
    if gone:
        names = listed((board.bus_id or "slot unknown") + f" ({board.key})" for board in gone)
        yield Evidence(f"no longer listed: {names}", None, "nvml")


def _listed(view: NodeView) -> tuple[Gpu, ...]:
    return () if view.node is None else view.node.gpus


def node_links(state: SiteState) -> Iterator[Finding]:
    """All NVLinks of a node down, while they are up on the nodes of the same kind."""
    for views in _kinds(state).values():
        linked = [(view, active) for view in views if (active := _any_link_active(view)) is not None]
        up = sum(active for _, active in linked)
        others = len(linked) - 1
        if others < MIN_PEERS or up < USUAL_SHARE * others:
            continue
        for view, active in linked:
            if not active:
                yield finding(
                    "nvlink-node",
                    Severity.CRITICAL,
                    of_node(view),
                    "all its NVLinks are down",
                    view.now,
                    evidence=[
                        Evidence("no link of any GPU is active", None, "nvml"),
                        Evidence(f"links are up on {up} of {others} nodes of the same kind", None, "peers"),
                    ],
                    cause="likely Fabric Manager did not start, or a switch or bridge is missing",
                    steps=[steps.fabric_manager(view), steps.drain(view), steps.open_node(view)],
                    source=PEERS,
                )


def _any_link_active(view: NodeView) -> bool | None:
    """None where no GPU tells of links."""
    told = False
    for gpu in view.gpus:
        for link in gpu.links or ():
            if link.active:
                return True
            told = told or link.active is False
    return False if told else None


def _kinds(state: SiteState) -> dict[str, list[NodeView]]:
    """Nodes with the same GPUs, under a name of the kind; a node without GPUs is of none."""
    kinds: defaultdict[str, list[NodeView]] = defaultdict(list)
    for view in state.views:
        kind = "" if view.node is None else _kind(tuple([gpu.name for gpu in view.node.gpus]))
        if kind:
            kinds[kind].append(view)
    return kinds


@lru_cache(maxsize=1024)
def _kind(names: tuple[str | None, ...]) -> str:
    """`4x NVIDIA A100, 4x NVIDIA H100`; empty where no GPU tells its name."""
    models = Counter(name for name in names if name)
    return ", ".join(f"{count}x {name}" for name, count in sorted(models.items()))


def gpu_count(view: NodeView) -> int:
    return len(view.gpus)
