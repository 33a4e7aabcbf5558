"""The page of the host: every fact in its place, n/a for what was not read, what needs attention stands out."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from backends.domain import ContainerRuntime, Disk, Host, Node, RdmaPort, Service, Stall, clean
from backends.lab.hardware import SimNode
from screens.host_sections import host_sections
from tests.simulated import NOW, simulated
from tests.tui.fleets import HOSTILE
from tests.tui.node_pages import live, never, on_page, stale
from tests.tui.sheets import lines_of
from tui.widgets.columns import Cell
from tui.widgets.glyphs import ASCII, UNICODE, Glyphs
from tui.widgets.sheet import Section, arrange

TB = 10**12
DGX = simulated("dgx-h100-01")


def lines(node: Node, width: int = 100, glyphs: Glyphs = UNICODE) -> list[str]:
    sections = host_sections(node, NOW, glyphs)
    return ["".join(cell.text for cell in line).rstrip() for line in arrange(sections, width)]


def line(node: Node, start: str) -> str:
    """The line whose first words are `start`, without its indent."""
    (found,) = [each.strip() for each in lines(node) if each.strip().startswith(start)]
    return found


def styles(node: Node, start: str) -> set[str]:
    """The styles in the line that says `start`."""
    found: list[tuple[Cell, ...]] = [
        each
        for section in host_sections(node, NOW, UNICODE)
        for each in lines_of(section)
        if "".join(cell.text for cell in each).strip().startswith(start)
    ]
    return {cell.style for cell in found[0]}


def section(node: Node, title: str) -> Section:
    return next(each for each in host_sections(node, NOW, UNICODE) if each.title == title)


def test_a_dgx_in_full() -> None:
    assert line(DGX, "system") == "system          DGX OS 7.1 (Ubuntu 24.04)"
    assert line(DGX, "kernel module") == "kernel module   open"
    assert line(DGX, "nvidia_peermem") == "nvidia_peermem  loaded"
    assert line(DGX, "DMA-BUF") == "DMA-BUF         possible"
    assert line(DGX, "driver") == "driver          590.48.01"
    assert line(DGX, "docker") == "docker          /run/docker.sock"
    assert line(DGX, "nvidia-fabricmanager") == "nvidia-fabricmanager   ✓ active"
    assert line(DGX, "mlx5_0").split() == ["mlx5_0", "✓", "active", "400", "IB", "0", "ibp24s0"]
    assert line(DGX, "/raid").split()[:2] == ["/raid", "raid"]
    assert line(DGX, "memory used").count("GiB") == 1
    assert line(DGX, "up").endswith("h")


def test_every_field_of_the_node_and_its_host_has_its_place() -> None:
    """A new field of the domain must be shown, or named here with the reason."""
    import screens.host_sections as module

    source = module.__loader__.get_source(module.__name__)  # type: ignore[union-attr]
    # The crumbs, the list at the left, the page of links; the time is for triage, which tells what it waits for.
    elsewhere = {"name", "gpus", "topology", "slow_read_at"}
    for each in fields(Node):
        assert each.name in elsewhere or f"node.{each.name}" in source, each.name
    for kind, word in (
        (Host, "host"),
        (Disk, "disk"),
        (RdmaPort, "port"),
        (Service, "service"),
        (ContainerRuntime, "each"),
    ):
        for each in fields(kind):
            place = f"{word}.{each.name}"
            assert each.name == "pci_bus_id" or place in source, place  # the bus id names what the device's name does


def test_a_host_that_nobody_could_read_is_all_na() -> None:
    said = lines(Node())
    assert all(each.endswith("n/a") for each in said if each.startswith("  "))


def test_what_is_not_there_is_none_and_not_na() -> None:
    node = replace(DGX, host=Host(disks=(), rdma=(), services=(), runtimes=()))
    for title in ("DISKS", "RDMA", "SERVICES", "CONTAINER RUNTIMES"):
        assert [[cell.text for cell in each] for each in lines_of(section(node, title))] == [["none"]]


def with_disk(**changes: object) -> Node:
    disk = Disk("/raid", "/dev/md1", "raid", 30 * TB, 15 * TB, False)
    return replace(DGX, host=replace(DGX.host, disks=(replace(disk, **changes),)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("free", "words", "style"),
    [(15 * TB, "50% ████", ""), (2 * TB, "7% ▲ low ███", "warn"), (TB // 10, "0% ✖ full ███", "bad")],
)
def test_a_disk_that_is_nearly_full_says_so(free: int, words: str, style: str) -> None:
    node = with_disk(free_bytes=free)
    assert words in line(node, "/raid")
    assert style in styles(node, "/raid")


def test_a_disk_that_went_read_only_says_so() -> None:
    assert "✖ read-only" in line(with_disk(read_only=True), "/raid")


def test_a_disk_that_does_not_answer_has_no_figures_and_the_probe_says_why() -> None:
    node = with_disk(total_bytes=None, free_bytes=None, kind=None)
    node = replace(node, host=replace(node.host, unread=("disk /raid: does not answer",)))
    assert line(node, "/raid").split() == ["/raid", "n/a", "n/a", "n/a", "n/a", "/dev/md1"]
    assert styles(node, "disk /raid: does not answer") == {"warn"}


def test_services_and_ports_in_trouble_stand_out() -> None:
    def prepare(machine: SimNode) -> None:
        machine.host_faults.services_down = frozenset({"nvidia-fabricmanager"})
        machine.host_faults.ports_down = frozenset({"mlx5_3"})

    node = simulated("dgx-h100-01", prepare)
    assert line(node, "nvidia-fabricmanager").endswith("✖ failed")
    assert "bad" in styles(node, "nvidia-fabricmanager")
    assert "▲ down" in line(node, "mlx5_3")
    assert line(node, "mlx5_3").endswith("polling")


def test_services_that_cannot_be_told_are_na_and_those_not_installed_are_together() -> None:
    node = replace(DGX, host=Host(services=(Service("nvsm", None), Service("a", "missing"), Service("b", "missing"))))
    said = [each.strip() for each in lines(node)]
    assert "nvsm                   n/a" in said
    at = said.index("not installed          a")
    assert said[at + 1] == "b"


def test_what_is_wrong_with_reading_is_said() -> None:
    node = replace(DGX, stall=Stall(3, "nvmlDeviceGetPowerUsage", 12.0), transport_note="no python3 on the node")
    assert line(node, "nvmlDeviceGetPowerUsage") == "nvmlDeviceGetPowerUsage on GPU 3 hangs for 12 s"
    assert line(node, "no python3") == "no python3 on the node"


def test_a_second_port_is_told_apart() -> None:
    ports = (RdmaPort("mlx5_0", 1, "active"), RdmaPort("mlx5_0", 2, "init"))
    node = replace(DGX, host=Host(rdma=ports))
    assert line(node, "mlx5_0/2").split()[:3] == ["mlx5_0/2", "▲", "init"]


def test_columns_line_up() -> None:
    said = lines(DGX)
    rdma = [each for each in said if each.strip().startswith("mlx5_")]
    assert len({each.index(" active") for each in rdma}) == 1
    assert len({each.index("p") for each in rdma if "ibp" in each}) == 1
    disks = [each for each in said if "raid" in each and "/dev/" in each]
    assert len({each.index("%") for each in disks}) == 1


def test_what_cdi_can_give_containers_is_told_where_there_is_any() -> None:
    runtimes = (ContainerRuntime("podman", "/run/podman/podman.sock"),)
    node = replace(DGX, host=Host(runtimes=runtimes, cdi=("nvidia.com/gpu", "vendor.com/nic")))
    assert line(node, "CDI devices").split()[-2:] == ["nvidia.com/gpu,", "vendor.com/nic"]
    assert "CDI" not in "".join(lines(replace(DGX, host=Host(runtimes=runtimes, cdi=()))))


def test_hostile_names_stay_in_their_columns() -> None:
    for text in HOSTILE:
        said = clean(text)
        host = Host(
            disks=(Disk(said, said, said, 5, 1),),
            rdma=(RdmaPort(said, 1, said, said, 1.0, said, said),),
            services=(Service(said, said),),
            runtimes=(ContainerRuntime(said, said),),
            cdi=(said,),
            unread=(said,),
        )
        assert all(each.isprintable() for each in lines(Node(host=host, os=said), 140))


def test_in_ascii_there_is_nothing_else() -> None:
    assert all(each.isascii() for each in lines(DGX, glyphs=ASCII))


# The page


async def test_the_page_at_both_sizes() -> None:
    async with on_page("o", live(DGX)) as page:
        assert "DGX OS 7.1 (Ubuntu 24.04)" in page.console.text
        await page.console.press("enter", "G")
        assert "EVENTS OF THIS NODE" in page.console.text
        await page.console.pilot.resize_terminal(200, 50)
        await page.console.pilot.pause()
        for words in ("SYSTEM", "DISKS", "RDMA", "SERVICES", "CONTAINER RUNTIMES", "PROBE", "EVENTS OF THIS NODE"):
            assert words in page.console.text, words


async def test_a_node_that_was_never_read_and_one_that_is_stale() -> None:
    async with on_page("o", never()) as page:
        assert "No value was read yet." in page.console.text
    async with on_page("o", stale(DGX)) as page:
        assert "stale: 4 m old" in page.console.text
