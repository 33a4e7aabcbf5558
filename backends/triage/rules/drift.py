"""Nodes that are built alike and yet differ: driver, VBIOS, number of GPUs, NVLinks that are all down."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from backends.domain import Evidence, Finding, Severity, Subject
from backends.triage import steps
from backends.triage.rule import finding, of_node
from backends.triage.state import NodeView, SiteState, is_guest
from backends.triage.words import listed, plural, ranges

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


def vbios(state: SiteState) -> Iterator[Finding]:
    """Of the same board by its part number: another part number has a VBIOS of its own by right."""
    boards: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    holders: dict[tuple[str, str, str], dict[str, tuple[NodeView, list[int]]]] = {}
    for view in state.views:
        for gpu in view.gpus:
            if gpu.name is None or gpu.board_part_number is None or gpu.vbios is None or is_guest(gpu):
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


def gpu_missing(state: SiteState) -> Iterator[Finding]:
    """A node that shows fewer GPUs than its kind has, in a number that no machine is built with."""
    models: defaultdict[str, list[tuple[NodeView, int]]] = defaultdict(list)
    for view in state.views:
        names = set() if view.node is None else {gpu.name for gpu in view.node.gpus}
        if view.node is not None and len(names) == 1 and (name := names.pop()) is not None:
            models[name].append((view, len(view.node.gpus)))
    for name, nodes in models.items():
        usual, count = Counter(number for _, number in nodes).most_common(1)[0]
        others = len(nodes) - 1
        if others < MIN_PEERS or count < USUAL_SHARE * others or usual not in MACHINE_SIZES:
            continue
        for view, number in nodes:
            if number < usual and number not in MACHINE_SIZES:
                yield finding(
                    "gpu-missing",
                    Severity.CRITICAL,
                    of_node(view),
                    f"shows {number} GPUs, its {plural(count, 'peer')} {usual}",
                    view.now,
                    evidence=[
                        Evidence(f"NVML and the driver list {number} of {name}", None, "nvml"),
                        Evidence(f"{count} of {others} other nodes with that model list {usual}", None, "peers"),
                    ],
                    cause="likely a GPU that did not come up at boot",
                    steps=[
                        steps.command(f"on {view.name}: what PCIe sees", "lspci -d 10de:"),
                        steps.kernel_log(view),
                        steps.open_node(view),
                    ],
                    source=PEERS,
                    magnitude=float(usual - number),
                )


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
        models = Counter() if view.node is None else Counter(gpu.name for gpu in view.node.gpus if gpu.name)
        if models:
            kinds[", ".join(f"{count}x {name}" for name, count in sorted(models.items()))].append(view)
    return kinds


def gpu_count(view: NodeView) -> int:
    return len(view.gpus)
