"""The page of links: the matrix at every size, what stands out, the drawing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from backends.domain import Fabric, Gpu, Host, Link, Node, RdmaPort, Service, Topology, clean
from backends.lab.hardware import SimNode
from backends.nodes.topology import matrix
from screens.fabric_section import fabric_section
from screens.link_sections import gpudirect_section, links_section, matrix_rows, verdict
from screens.node_pages.topology import TopologyPage
from screens.wiring import wiring_section
from tests.simulated import simulated
from tests.tui.fleets import HOSTILE
from tests.tui.node_pages import live, never, on_page, stale, with_gpu
from tests.tui.sheets import lines_of
from tui.widgets.glyphs import ASCII, UNICODE
from tui.widgets.link_matrix import LinkMatrix
from tui.widgets.sheet import Section, Sheet, arrange

DGX = simulated("dgx-h100-01")


def one_link_down(node: SimNode) -> None:
    node.gpus[4].faults.links_down = frozenset({7})
    node.gpus[4].faults.link_errors = 211


BROKEN = simulated("dgx-h100-01", one_link_down)


def text_of(*sections: Section, width: int = 54) -> str:
    return "\n".join("".join(cell.text for cell in line).rstrip() for line in arrange(sections, width))


def said(node: Node, *, stale: bool = False) -> str:
    return "  ".join(cell.text for cell in verdict(node, UNICODE, stale))


# What the page says


def test_a_sound_node_says_how_many_links_are_up() -> None:
    assert said(DGX) == "✓ 144/144 NVLinks up, no errors"


def test_a_link_that_is_down_comes_first_with_its_number() -> None:
    assert said(BROKEN) == "✖ GPU 4: link 7 down (17/18)  ▲ 1688 errors on GPU 4"


def failed_fabric(node: SimNode) -> None:
    node.host_faults = replace(node.host_faults, services_down=frozenset({"nvidia-fabricmanager"}))
    for each in node.gpus:
        each.faults.fabric_state = 1


NO_MANAGER = simulated("hgx-h200-02", failed_fabric)


def test_a_fabric_manager_that_failed_is_told_and_never_beside_an_all_clear() -> None:
    assert said(NO_MANAGER) == "✖ Fabric Manager failed  ✖ GPU 0-7 not in the fabric"
    text = text_of(fabric_section(NO_MANAGER, UNICODE))
    assert "Fabric Manager  ✖ failed" in text
    assert "GPU 0-7         ✖ not in the fabric" in text
    joined = replace(NO_MANAGER, gpus=tuple(replace(each, fabric=Fabric("completed", 0)) for each in NO_MANAGER.gpus))
    assert said(joined) == "✖ Fabric Manager failed", "links that are up are no all-clear"
    assert "✓" not in said(joined)


def test_a_sound_fabric_is_told_with_its_service() -> None:
    text = text_of(fabric_section(DGX, UNICODE))
    assert "Fabric Manager  ✓ active" in text
    assert "GPU 0-7         ✓ in the fabric" in text


def test_boards_that_differ_are_told_apart_the_worst_first() -> None:
    fabrics = [Fabric("completed", 0, "healthy")] * 4 + [
        Fabric("completed", 0, "unhealthy"),
        Fabric("in_progress"),
        Fabric("completed", 3),
        Fabric(None),
    ]
    node = replace(
        DGX,
        host=Host(services=()),
        gpus=tuple(replace(gpu, fabric=fabric) for gpu, fabric in zip(DGX.gpus, fabrics, strict=True)),
    )
    assert [line.strip() for line in text_of(fabric_section(node, UNICODE), width=90).splitlines()[1:]] == [
        "Fabric Manager  n/a: its service could not be asked",
        "GPU 4           ✖ in the fabric, unhealthy",
        "GPU 6           ✖ failed to join the fabric (NVML status 3)",
        "GPU 5           ▲ still joining the fabric",
        "GPU 0-3         ✓ in the fabric, healthy",
        "GPU 7           n/a: boards tell of it from Hopper on",
    ]


def test_a_machine_without_switches_says_nothing_of_a_fabric() -> None:
    plain = simulated("l40s-01")
    assert fabric_section(plain, UNICODE).lines == ()
    down = replace(plain, host=Host(services=(Service("nvidia-fabricmanager.service", "failed"),)))
    assert "Fabric Manager" not in said(down)


def test_a_lost_gpu_is_named_and_its_links_are_not_counted() -> None:
    def lose(node: SimNode) -> None:
        node.gpus[3].faults.lost = True

    lost = simulated("dgx-h100-01", lose)
    assert said(lost) == "✖ lost: GPU 3"
    assert "GPU3✖" in text_of(wiring_section(lost, UNICODE, False))


def test_without_nvlink_it_says_that_none_was_read() -> None:
    assert said(simulated("l40s-01")) == "● no NVLink was read"
    assert text_of(links_section(simulated("l40s-01"), UNICODE)) == "NVLINK\n  no link was read\n"


def test_gpus_with_mig_cannot_be_asked() -> None:
    a100 = simulated("dgx-a100-01")
    assert said(a100) == "✓ 72/72 NVLinks up, no errors  MIG: 2 n/a"
    assert "  1   MIG is on: cannot be asked" in text_of(links_section(a100, UNICODE))


def card(index: int, active: range, ends: dict[int, int] | None = None) -> Gpu:
    """A card of 12 links, those of `active` up; `ends` says to which card each leads."""
    ends = ends or {}
    links = tuple(
        Link(
            number,
            number in active,
            remote_kind="gpu" if number in ends else None,
            remote_pci_bus_id=f"00000000:{ends[number]:02X}:00.0" if number in ends else None,
            replay_errors=0,
        )
        for number in range(12)
    )
    return Gpu(index, name="card", uuid=f"GPU-{index}", pci_bus_id=f"00000000:{index:02X}:00.0", links=links)


def test_cards_without_a_bridge_and_with_one_are_well() -> None:
    bare = Node(gpus=tuple(card(index, range(0)) for index in range(4)))
    assert said(bare) == "● no NVLink is in use"
    assert "down" not in text_of(links_section(bare, UNICODE))
    bridged = Node(gpus=tuple(card(index, range(8, 12)) for index in range(4)))
    assert said(bridged) == "✓ 16/48 NVLinks up, the others unused, no errors"
    assert {cell.style for line in lines_of(links_section(bridged, UNICODE)) for cell in line} <= {"", "dim"}


def test_a_cube_mesh_has_thin_bonds_by_design_and_a_missed_link_stands_out() -> None:
    mesh = [card(0, range(3), {0: 1, 1: 1, 2: 2}), card(1, range(3), {0: 0, 1: 0, 2: 3})]
    mesh += [card(2, range(3), {0: 3, 1: 3, 2: 0}), card(3, range(3), {0: 2, 1: 2, 2: 1})]
    node = Node(gpus=tuple(mesh))
    styles = {cell.text: cell.style for row in matrix_rows(matrix(node), node, False) for cell in row.cells}
    assert (styles["NV2"], styles["NV1"]) == ("accent", "accent")
    broken = Node(gpus=(card(0, range(1, 3), {1: 1, 2: 2}), *mesh[1:]))
    rows = matrix_rows(matrix(broken), broken, False)
    assert {cell.style for cell in rows[0].cells if cell.text == "NV1"} == {"bad"}
    assert {cell.style for cell in rows[2].cells if cell.text == "NV2"} == {"accent"}


def test_links_that_told_nothing_are_not_called_well() -> None:
    links = tuple(Link(number, True if number else None) for number in range(4))
    assert said(Node(gpus=(Gpu(links=links),))) == "◌ 3/4 NVLinks up, errors n/a"


def test_old_values_say_that_they_are_old() -> None:
    assert said(DGX, stale=True) == "◌ last known:  ✓ 144/144 NVLinks up, no errors"
    assert {cell.style for cell in verdict(BROKEN, UNICODE, stale=True)} == {"stale"}
    rows = matrix_rows(matrix(DGX), DGX, stale=True)
    assert {cell.style for row in rows for cell in row.cells} == {"stale"}
    assert {cell.style for line in lines_of(wiring_section(DGX, UNICODE, True)) for cell in line} == {"stale"}


def test_every_gpu_has_its_figures_and_its_links_in_trouble() -> None:
    text = text_of(links_section(BROKEN, UNICODE), width=100)
    assert "    3   18/18   478.1       0       0       0       0" in text
    assert "    4   17/18   451.6     422     211     844     211" in text
    assert "✖ link 7 down  replay 422, recovery 211, CRC flit 844, CRC data 211" in text


def test_a_gpu_that_lost_its_fabric_is_not_a_page_of_links() -> None:
    def cut(node: SimNode) -> None:
        node.gpus[0].faults.links_down = frozenset(range(18))

    node = simulated("dgx-h100-01", cut)
    assert said(node) == "✖ GPU 0: all 18 links down"
    text = text_of(links_section(node, UNICODE))
    assert "and 12 more links" in text
    assert len(text.splitlines()) < 20


def test_the_nearest_nic_of_each_gpu_with_the_reason() -> None:
    text = text_of(gpudirect_section(DGX, UNICODE), width=100)
    assert "✓ possible by nvidia_peermem and DMA-BUF" in text
    assert "GPU7  mlx5_7     PXB  ✓ behind the same PCIe switches" in text

    def unplug(node: SimNode) -> None:
        node.host_faults.ports_down = frozenset({"mlx5_7"})

    text = text_of(gpudirect_section(simulated("dgx-h100-01", unplug), UNICODE), width=100)
    assert "NODE ▲ through the CPU, on one NUMA node; nearer, but down: mlx5_7" in text


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (Host(), "peermem and DMA-BUF n/a"),
        (Host(peermem=False, dma_buf=False), "▲ off: no nvidia_peermem, no DMA-BUF"),
        (Host(peermem=False, dma_buf=True), "✓ possible by DMA-BUF"),
    ],
)
def test_whether_the_machine_can_do_gpudirect(host: Host, words: str) -> None:
    text = text_of(gpudirect_section(Node(gpus=(Gpu(),), host=host), UNICODE))
    assert words in text
    assert "no RDMA device" in text


# The drawing


def test_the_drawing_has_a_box_per_numa_node_and_the_rail_of_the_switches() -> None:
    text = text_of(wiring_section(BROKEN, UNICODE, False), width=80)
    assert "NVSwitch ×4" in text
    assert "┌ NUMA 1 ─ CPUs 56-111,168-223 ───┐" in text
    assert "│   GPU0  ─PXB─ mlx5_0   400      │═18/18═╗" in text
    assert "│   GPU4  ─PXB─ mlx5_4   400      │═17/18═╣ ✖ 7 down" in text
    assert "│   GPU7  ─PXB─ mlx5_7   400      │═18/18═╝" in text
    assert text.count("│ SYS") == 1


def test_devices_that_share_a_switch_are_bracketed() -> None:
    lines = text_of(wiring_section(simulated("dgx-a100-01"), UNICODE, False)).splitlines()
    first = next(number for number, line in enumerate(lines) if "GPU2" in line)
    assert "┌ GPU2  ─PXB─ mlx5_2" in lines[first]
    assert "└ GPU3  ─PXB─ mlx5_3" in lines[first + 1]


def test_straight_links_name_the_peer() -> None:
    def bridged(index: int, other: int) -> Gpu:
        links = tuple(Link(n, True, remote_kind="gpu", remote_pci_bus_id=f"0000:0{other}:00.0") for n in range(4))
        return Gpu(index=index, uuid=f"G{index}", pci_bus_id=f"0000:0{index}:00.0", numa_node=0, links=links)

    text = text_of(wiring_section(Node(gpus=(bridged(0, 1), bridged(1, 0))), UNICODE, False))
    assert "│═ NV4 GPU1" in text
    assert "NVSwitch" not in text


def test_devices_without_a_numa_node_are_drawn_as_such() -> None:
    text = text_of(wiring_section(Node(gpus=(Gpu(uuid="a"), Gpu(index=1, uuid="b"))), UNICODE, False))
    assert "┌ NUMA node unknown ──" in text
    assert wiring_section(Node(), UNICODE, False).lines == ()


def test_a_port_that_is_down_says_so() -> None:
    def unplug(node: SimNode) -> None:
        node.host_faults.ports_down = frozenset({"mlx5_2"})

    text = text_of(wiring_section(simulated("dgx-h100-01", unplug), UNICODE, False))
    assert "mlx5_2   400 ▲down│" in text


def test_in_ascii_there_is_nothing_else() -> None:
    for node in (DGX, BROKEN, simulated("dgx-a100-01"), simulated("l40s-01")):
        sections = (wiring_section(node, ASCII, False), links_section(node, ASCII), gpudirect_section(node, ASCII))
        assert text_of(*sections, width=100).isascii()
        assert all(cell.text.isascii() for cell in verdict(node, ASCII, False))


def test_hostile_names_keep_the_drawing_in_line() -> None:
    for evil in HOSTILE:
        name = clean(evil)
        node = Node(
            gpus=(Gpu(uuid="a", pci_bus_id="0000:01:00.0", numa_node=0, cpu_affinity=name),),
            topology=Topology(("0000:01:00.0",), (name,), (("X", "PIX"), ("PIX", "X"))),
            host=Host(rdma=(RdmaPort(name, state=name, numa_node=0),)),
        )
        lines = text_of(wiring_section(node, UNICODE, False), width=100).splitlines()
        boxed = [line for line in lines if line[2:3] in ("┌", "│", "└")]
        assert {cell_len(line) for line in boxed} == {37}


# The page


def matrix_lines(page: Any) -> list[str]:
    return page.screen.query_one(LinkMatrix).text_lines  # type: ignore[no-any-return]


async def test_a_small_terminal_shows_the_whole_matrix_of_a_dgx_in_two_letters() -> None:
    async with on_page("x", live(DGX)) as page:
        assert matrix_lines(page)[1] == "G0 ·  18 18 18 18 18 18 18 PX ND ND ND SY SY SY SY ND"
        assert matrix_lines(page)[18] == "18 NV18  PX PXB  ND NODE  SY SYS"
        screen = page.console.lines
        for row in matrix_lines(page):
            assert any(row in line for line in screen), row


async def test_a_large_terminal_shows_words_names_and_affinity() -> None:
    async with on_page("x", live(DGX), (200, 50)) as page:
        lines = matrix_lines(page)
        assert lines[1].startswith("GPU0        ·    NV18 NV18 NV18 NV18 NV18 NV18 NV18 PXB  NODE NODE NODE SYS")
        assert lines[1].endswith("NUMA 0  CPUs 0-55,112-167  mlx5_0 PXB")
        assert lines[9].startswith("NIC0 mlx5_0 PXB")
        text = page.console.text
        assert "NVSwitch ×4" in text
        assert "GPU7  mlx5_7     PXB  ✓ behind the same PCIe switches" in text


async def test_the_matrix_on_the_screen_is_the_matrix_of_the_node() -> None:
    made = matrix(DGX)
    async with on_page("x", live(DGX), (200, 50)) as page:
        for label, cells, line in zip(made.labels, made.cells, matrix_lines(page)[1:], strict=False):
            words = line[12:].split()[: len(cells)]
            assert [word.replace("·", "X") for word in words] == list(cells), label


async def test_a_missing_link_is_marked_without_colour() -> None:
    async with on_page("x", live(BROKEN)) as page:
        assert matrix_lines(page)[1].startswith("G0 ·  18 18 18 17!18")
        assert page.line("links-verdict").startswith("✖ GPU 4: link 7 down")


async def test_the_state_of_the_fabric_is_on_the_page_and_follows_it() -> None:
    async with on_page("x", live(NO_MANAGER), (200, 50)) as page:
        assert page.line("links-verdict").startswith("✖ Fabric Manager failed")
        assert "Fabric Manager  ✖ failed" in page.console.text
        joined = tuple(replace(each, fabric=Fabric("completed", 0)) for each in NO_MANAGER.gpus)
        await page.publish(live(replace(NO_MANAGER, gpus=joined)))
        assert "GPU 0-7         ✓ in the fabric" in page.console.text


async def test_columns_that_do_not_fit_are_scrolled_beside_their_labels() -> None:
    async with on_page("x", live(simulated("dgx-a100-01"))) as page:
        assert "N11" not in matrix_lines(page)[0]
        assert matrix_lines(page)[-1].startswith("columns 1-17 of 20: H L")
        await page.console.press("enter", "L", "L", "L", "L", "L")
        assert matrix_lines(page)[0].split()[-3:] == ["N9", "10", "11"]
        assert matrix_lines(page)[20].startswith("N11 ")
        await page.console.press("H", "H", "H", "H")
        assert matrix_lines(page)[0].split()[0] == "G0"


async def test_the_page_scrolls_to_the_drawing_and_the_figures() -> None:
    async with on_page("x", live(BROKEN)) as page:
        assert "NVLINK" not in page.console.text
        await page.console.press("enter", "G")
        assert "GPUDIRECT RDMA" in page.console.text
        await page.console.press("g")
        assert "G0 ·" in page.console.text


async def test_the_chosen_gpu_is_marked_and_follows_the_list() -> None:
    async with on_page("x", live(DGX)) as page:
        links = page.screen.query_one(LinkMatrix)
        assert links._line(1)[0].style == "chosen"
        await page.console.press("j")
        assert [links._line(row)[0].style for row in (1, 2)] == ["head", "chosen"]


async def test_a_node_that_was_never_read_shows_nothing_and_one_without_gpus_no_matrix() -> None:
    async with on_page("x", never()) as page:
        assert page.line("links-verdict") == "No value was read yet."
    async with on_page("x", live(Node(name="cpu01"))) as page:
        assert page.line("links-verdict") == "The node reports no GPU."
        assert page.screen.query_one(LinkMatrix).display is False


async def test_another_size_draws_the_same_node_anew() -> None:
    async with on_page("x", live(DGX), (200, 50)) as page:
        await page.console.pilot.resize_terminal(80, 24)
        await page.console.pilot.pause()
        assert matrix_lines(page)[1].startswith("G0 ·  18")
        sheet = page.screen.query_one(TopologyPage).query_one(Sheet)
        assert sheet.size.height == len(sheet.text_lines)


async def test_the_same_links_are_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with on_page("x", live(DGX), (200, 50)) as page:
        asked: list[Any] = []
        for widget in page.screen.query_one(TopologyPage).query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *regions, **_: asked.append(regions))
        await page.publish(live(replace(DGX, load_1m=99.0, gpus=tuple(replace(gpu) for gpu in DGX.gpus))))
        assert asked == []
        monkeypatch.undo()
        repainted: list[Any] = []
        links = page.screen.query_one(LinkMatrix)
        monkeypatch.setattr(links, "refresh", lambda *regions, **_: repainted.extend(regions))
        down = tuple(replace(link, active=link.index != 2) for link in DGX.gpus[1].links or ())
        await page.publish(live(with_gpu(DGX, 1, links=down)))
        assert [region.y for region in repainted] == [1, 2, 3, 4, 5, 6, 7, 8], "the rows of the GPUs"


async def test_stale_links_are_told_as_such() -> None:
    async with on_page("x", stale(DGX)) as page:
        assert page.line("links-verdict").startswith("◌ last known:")


async def test_in_ascii_the_page_is_ascii() -> None:
    async with on_page("x", live(BROKEN), (200, 50), ascii_only=True) as page:
        assert all(line.isascii() for line in page.console.lines)
