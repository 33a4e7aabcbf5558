"""The matrix of `nvidia-smi topo -m`: read from real output, and made from what was read of a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import Gpu, Host, Link, Node, RdmaPort, Topology
from backends.lab.hardware import SimNode
from backends.nodes import topology
from backends.nodes.topology import TopologyMatrix, matrix, nearest_nics, numa_nodes, parse
from tests.simulated import simulated

SAMPLES = Path(__file__).parents[1] / "data" / "topology"
SYNTHETIC = parse((SAMPLES / "topo-m-8xH100-9nic.SYNTHETIC.txt").read_text())


# nvidia-smi's output


@pytest.mark.parametrize(
    ("sample", "cpus"),
    [
        ("nvidia-h100-80gb-hbm3__590.48.01", "0-19"),
        ("nvidia-h200__590.48.01", "0-23"),
        ("nvidia-h200-mig__590.48.01", "0-23"),
        ("nvidia-l40s__595.80", "0-7"),
    ],
)
def test_real_captures(sample: str, cpus: str) -> None:
    found = parse((SAMPLES / f"{sample}.txt").read_text())
    assert found == TopologyMatrix(("GPU0",), (("X",),), (cpus,), ("0",), ())


def test_eight_gpus_and_nine_nics() -> None:
    assert len(SYNTHETIC.labels) == 17
    assert SYNTHETIC.gpu_count == 8
    assert SYNTHETIC.nics == tuple(f"mlx5_{number}" for number in range(9))
    assert SYNTHETIC.cell("GPU0", "NIC0") == "PXB"
    assert SYNTHETIC.cell("GPU7", "GPU0") == "NV18"
    assert (SYNTHETIC.cpu_affinity[4], SYNTHETIC.numa_affinity[4]) == ("56-111,168-223", "1")
    assert SYNTHETIC.cpu_affinity[8] is None


def test_older_drivers_name_the_columns_by_the_devices() -> None:
    text = "\tGPU0\tmlx5_0\tCPU Affinity\nGPU0\t X \tPIX\t0-7\nmlx5_0\tPIX\t X \t\n\nLegend:\n"
    found = parse(text)
    assert (found.labels, found.nics, found.cell("GPU0", "NIC0")) == (("GPU0", "NIC0"), ("mlx5_0",), "PIX")


@pytest.mark.parametrize(
    "text", ["", "No devices found", "\tGPU0\tGPU1\nGPU0\t X \tSYS\n", "\tGPU0\nGPU1\t X \n", "\tGPU0\nGPU0\n"]
)
def test_what_is_no_matrix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nvidia-smi topo -m"):
        parse(text)


@given(st.text(alphabet=st.sampled_from("\tGPU01NIC X\n\x1b[4m"), max_size=200))
def test_any_text_is_a_matrix_or_refused(text: str) -> None:
    try:
        found = parse("\tGPU0\tGPU1\n" + text)
    except ValueError:
        return
    assert len(found.cells) == len(found.labels) == len(found.cells[0])


# The matrix of a node


def test_the_labs_dgx_h100_has_exactly_the_matrix_of_the_sample() -> None:
    made = matrix(simulated("dgx-h100-01"))
    for label, ours, theirs in zip(SYNTHETIC.labels, made.cells, SYNTHETIC.cells, strict=True):
        assert ours == theirs, label
    assert made == SYNTHETIC


def test_the_labs_dgx_a100_is_as_its_user_guide_says() -> None:
    made = matrix(simulated("dgx-a100-01"))
    assert (made.cell("GPU0", "NIC0"), made.cell("GPU0", "NIC1"), made.cell("GPU0", "NIC2")) == ("PXB", "PXB", "SYS")
    assert made.cell("GPU2", "GPU3") == "NV12"
    assert made.cell("NIC4", "NIC5") == "PIX"
    assert (made.cpu_affinity[0], made.numa_affinity[:8:2]) == ("48-63,176-191", ("3", "1", "7", "5"))
    # With MIG on there is no NVLink to ask for, nor one to use.
    assert made.cell("GPU0", "GPU1") == "PXB"


def test_boards_without_nvlink_have_their_pcie_level() -> None:
    made = matrix(simulated("l40s-01"))
    assert (made.cell("GPU0", "GPU1"), made.cell("GPU0", "GPU2"), made.cell("GPU2", "NIC0")) == ("NODE", "SYS", "NODE")
    assert made.cell("NIC0", "NIC1") == "PIX"


def test_a_vgpu_guest_has_one_gpu_and_no_more() -> None:
    made = matrix(simulated("vm-01"))
    assert (made.labels, made.cells, made.numa_affinity) == (("GPU0",), (("X",),), ("0",))


def cut(gpu: int, *links: int) -> Callable[[SimNode], None]:
    def prepare(node: SimNode) -> None:
        node.gpus[gpu].faults.links_down = frozenset(links)

    return prepare


def test_a_link_that_is_down_is_missing_with_every_peer() -> None:
    made = matrix(simulated("dgx-h100-01", cut(4, 7)))
    assert {made.cell("GPU4", f"GPU{peer}") for peer in range(8) if peer != 4} == {"NV17"}
    assert made.cell("GPU0", "GPU1") == "NV18"
    assert made.cell("GPU4", "NIC4") == "PXB"


def test_a_gpu_whose_links_are_all_down_falls_back_to_pcie() -> None:
    made = matrix(simulated("dgx-h100-01", cut(4, *range(18))))
    assert (made.cell("GPU4", "GPU5"), made.cell("GPU4", "GPU0")) == ("NODE", "SYS")


def test_nothing_is_told_of_a_lost_gpu_but_where_it_sits() -> None:
    def lose(node: SimNode) -> None:
        node.gpus[3].faults.lost = True

    made = matrix(simulated("dgx-h100-01", lose))
    assert {made.cell("GPU3", f"GPU{peer}") for peer in range(8) if peer != 3} == {None}
    assert made.cell("GPU3", "NIC3") == "PXB"


def gpu(index: int, *links: Link, bus: str | None = None) -> Gpu:
    return Gpu(index=index, uuid=f"GPU-{index}", pci_bus_id=bus or f"00000000:{index + 1:02X}:00.0", links=links)


def to(bus: str | None, kind: str = "gpu", count: int = 1, active: bool = True) -> tuple[Link, ...]:
    return tuple(Link(number, active, remote_kind=kind, remote_pci_bus_id=bus) for number in range(count))


def test_straight_links_count_where_both_ends_tell_of_them() -> None:
    node = Node(gpus=(gpu(0, *to("0000:02:00.0", count=4)), gpu(1, *to("00000000:01:00.0", count=3)), gpu(2)))
    made = matrix(node)
    assert made.cell("GPU0", "GPU1") == "NV3"
    assert made.cell("GPU0", "GPU2") is None


def test_switches_without_a_name_are_one_fabric() -> None:
    node = Node(gpus=(gpu(0, *to(None, "switch", 18)), gpu(1, *to(None, "switch", 17))))
    assert matrix(node).cell("GPU0", "GPU1") == "NV17"
    assert topology.switch_count(node) is None
    assert topology.switch_count(simulated("dgx-h100-01")) == 4


def test_gpus_on_other_switches_are_not_connected() -> None:
    node = Node(gpus=(gpu(0, *to("0000:07:00.0", "switch")), gpu(1, *to("0000:08:00.0", "switch"))))
    assert matrix(node).cell("GPU0", "GPU1") is None


def test_without_a_topology_nothing_is_invented() -> None:
    assert matrix(Node()) == TopologyMatrix()
    assert matrix(Node(gpus=(gpu(0), gpu(1)))).cells == (("X", None), (None, "X"))


@pytest.mark.parametrize(
    "broken",
    [
        Topology(("00000000:01:00.0",), ("mlx5_0",), (("X",),)),
        Topology(("00000000:01:00.0",), ("mlx5_0",), (("X", "[red]NEAR"), ("X", "X"))),
        Topology((), ("mlx5_0",), ()),
        Topology(("other",), ("mlx5_0",), (("X", "PIX"), ("PIX", "X"))),
    ],
)
def test_a_topology_that_does_not_fit_gives_no_level(broken: Topology) -> None:
    made = matrix(Node(gpus=(gpu(0),), topology=broken))
    assert made.cell("GPU0", "NIC0") is None
    assert len(made.cells) == len(made.labels) == 2


# Links in figures


def test_the_links_of_a_gpu_in_figures() -> None:
    node = simulated("dgx-h100-01", cut(4, 7, 9))
    found = topology.gpu_links(node.gpus[4])
    assert found is not None
    assert (found.up, found.total, found.down, found.untold) == (16, 18, (7, 9), ())
    assert found.mbytes_per_second == 16 * 26562
    assert found.errors == 0
    assert topology.gpu_links(simulated("l40s-01").gpus[0]) is None


def test_links_that_could_not_be_asked_are_neither_up_nor_down() -> None:
    found = topology.gpu_links(gpu(0, Link(0, True, replay_errors=3), Link(1), Link(2, False)))
    assert found is not None
    assert (found.up, found.total, found.down, found.untold) == (1, 3, (2,), (1,))
    assert (found.replay_errors, found.crc_data_errors, found.errors) == (3, None, 3)
    assert found.mbytes_per_second is None


# The nearest NIC


def test_each_gpu_of_a_dgx_has_its_own_nic() -> None:
    choices = nearest_nics(simulated("dgx-h100-01"))
    assert [(each.gpu.index, each.nic, each.level, each.near) for each in choices] == [
        (index, f"mlx5_{index}", "PXB", True) for index in range(8)
    ]


def test_gpus_share_the_nics_that_are_as_near() -> None:
    choices = nearest_nics(simulated("dgx-a100-01"))
    assert [each.nic for each in choices] == [
        "mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3", "mlx5_6", "mlx5_7", "mlx5_8", "mlx5_9",
    ]  # fmt: skip


def test_a_nic_behind_the_cpu_is_not_near() -> None:
    choices = nearest_nics(simulated("l40s-01"))
    assert [(each.level, each.near) for each in choices] == [("SYS", False)] * 2 + [("NODE", False)] * 2


def test_the_next_nic_takes_over_from_one_that_is_down() -> None:
    def unplug(node: SimNode) -> None:
        node.host_faults.ports_down = frozenset({"mlx5_0"})

    first = nearest_nics(simulated("dgx-h100-01", unplug))[0]
    assert (first.level, first.near) == ("NODE", False)
    assert first.nic == "mlx5_8", "the others are near to a GPU of their own"
    assert first.reason.endswith("nearer, but down: mlx5_0")


def test_without_nics_or_levels_it_says_so() -> None:
    assert nearest_nics(Node(gpus=(gpu(0),)))[0].reason == "no RDMA device"
    blind = Node(gpus=(gpu(0),), topology=Topology(("00000000:01:00.0",), ("mlx5_0",), ()))
    assert (nearest_nics(blind)[0].nic, nearest_nics(blind)[0].near) == (None, None)
    dead = Node(
        gpus=(gpu(0),),
        host=Host(rdma=(RdmaPort("mlx5_0", state="down"),)),
        topology=Topology(("00000000:01:00.0",), ("mlx5_0",), (("X", "PIX"), ("PIX", "X"))),
    )
    assert nearest_nics(dead)[0].reason == "every RDMA device is down"
    lost = dataclasses.replace(dead, gpus=(dataclasses.replace(gpu(0), lost=True),))
    assert nearest_nics(lost)[0].reason == "the GPU is lost"


# Who sits where


def test_numa_nodes_hold_the_devices_by_their_switches() -> None:
    first, second = numa_nodes(simulated("dgx-h100-01"))
    assert (first.number, first.cpus, second.number) == (0, "0-55,112-167", 1)
    assert [([gpu.index for gpu in group.gpus], group.nics) for group in first.groups] == [
        ([0], ("mlx5_0",)),
        ([1], ("mlx5_1",)),
        ([2], ("mlx5_2",)),
        ([3], ("mlx5_3",)),
        ([], ("mlx5_8",)),
    ]


def test_a_pair_of_gpus_and_nics_shares_a_switch_on_the_dgx_a100() -> None:
    boxes = numa_nodes(simulated("dgx-a100-01"))
    assert [box.number for box in boxes] == [1, 2, 3, 5, 6, 7]
    (group,) = boxes[0].groups
    assert ([gpu.index for gpu in group.gpus], group.nics) == ([2, 3], ("mlx5_2", "mlx5_3"))


def test_devices_whose_numa_node_is_unknown_stand_apart() -> None:
    (box,) = numa_nodes(Node(gpus=(gpu(0), gpu(1))))
    assert (box.number, box.cpus, len(box.groups)) == (None, None, 2)


def test_a_very_large_node_is_bounded() -> None:
    many = tuple(gpu(index, *to(None, "switch", 18)) for index in range(500))
    names = tuple(f"mlx5_{number}" for number in range(500))
    node = Node(gpus=many, topology=Topology((), names, ()))
    assert len(matrix(node).labels) == 2 * topology.LABEL_LIMIT
    assert len(nearest_nics(node)) == topology.LABEL_LIMIT
    assert sum(len(box.groups) for box in numa_nodes(node)) == 2 * topology.LABEL_LIMIT
