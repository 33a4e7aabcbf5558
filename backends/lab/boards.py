"""What the simulated boards and machines are: plain tables of facts.

The figures of a board come from `nvidia-smi -q` on the real one (A100-SXM4-80GB, H100 80GB HBM3, H200, L40S): memory
sizes, limits, clocks, thresholds, part numbers, firmware. The MIG profiles of the A100 80GB come from NVIDIA's MIG user
guide. Nothing here changes at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MigProfile:
    name: str
    slices: int
    """Compute slices of seven."""
    profile_id: int
    size: int
    """Placement units of eight."""
    multiprocessors: int
    memory_mib: int
    first_gi: int
    """The driver numbers GPU instances from here upwards, per profile."""


A100_80GB_PROFILES: dict[str, MigProfile] = {
    profile.name: profile
    for profile in (
        MigProfile("1g.10gb", 1, 19, 1, 14, 9856, 7),
        MigProfile("2g.20gb", 2, 14, 2, 28, 19968, 3),
        MigProfile("3g.40gb", 3, 9, 4, 42, 40192, 1),
        MigProfile("4g.40gb", 4, 5, 4, 56, 40192, 1),
        MigProfile("7g.80gb", 7, 0, 8, 98, 80384, 0),
    )
}

MIG_LAYOUTS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("3g.40gb", 0), ("2g.20gb", 4), ("1g.10gb", 6)),
    tuple(("1g.10gb", start) for start in range(7)),
    (("3g.40gb", 0), ("3g.40gb", 4)),
    (("4g.40gb", 0), ("2g.20gb", 4), ("1g.10gb", 6)),
)
"""(profile, placement start) of GPU instances that do not overlap."""


@dataclass(frozen=True, slots=True)
class Board:
    """One GPU model. A temperature limit is absolute on the A100 and relative (T.Limit) on later boards, never both."""

    name: str
    architecture: int
    """NVML_DEVICE_ARCH_*."""
    architecture_name: str
    part_number: str
    gpu_part_number: str
    vbios: str
    inforom: str
    pci_device_id: int
    pci_subsystem_id: int
    memory_mib: int
    reserved_mib: int
    bar1_mib: int
    multiprocessors: int
    pcie_generation: int
    limit_watts: int
    min_limit_watts: int
    idle_watts: int
    idle_mhz: int
    max_mhz: int
    memory_mhz: int
    idle_video_mhz: int
    max_video_mhz: int
    hot_celsius: int
    """GPU temperature at which the driver starts to slow the board down."""
    shutdown_celsius: int
    load_celsius: int
    """Steady GPU temperature at the power limit in a machine room at 24 °C."""
    relative_limits: bool
    """T.Limit: the driver tells the headroom and not the limit."""
    memory_sensor: bool = True
    memory_max_celsius: int = 95
    links: int = 0
    link_version: int = 0
    link_mbps: int = 0
    fabric: bool = False
    mig: bool = False
    virtual: bool = False
    """A vGPU as its guest sees it: few sensors."""


A100 = Board(
    name="NVIDIA A100-SXM4-80GB",
    architecture=7,
    architecture_name="Ampere",
    part_number="692-2G506-0212-002",
    gpu_part_number="20B2-895-A1",
    vbios="92.00.36.00.02",
    inforom="G506.0212.00.01",
    pci_device_id=0x20B210DE,
    pci_subsystem_id=0x147F10DE,
    memory_mib=81920,
    reserved_mib=869,
    bar1_mib=131072,
    multiprocessors=108,
    pcie_generation=4,
    limit_watts=400,
    min_limit_watts=100,
    idle_watts=62,
    idle_mhz=210,
    max_mhz=1410,
    memory_mhz=1593,
    idle_video_mhz=585,
    max_video_mhz=1290,
    hot_celsius=89,
    shutdown_celsius=92,
    load_celsius=66,
    relative_limits=False,
    links=12,
    link_version=3,
    link_mbps=25781,
    mig=True,
)
H100 = Board(
    name="NVIDIA H100 80GB HBM3",
    architecture=9,
    architecture_name="Hopper",
    part_number="692-2G520-0200-000",
    gpu_part_number="2330-885-A1",
    vbios="96.00.A5.00.01",
    inforom="G520.0200.00.05",
    pci_device_id=0x233010DE,
    pci_subsystem_id=0x16C110DE,
    memory_mib=81559,
    reserved_mib=479,
    bar1_mib=131072,
    multiprocessors=132,
    pcie_generation=5,
    limit_watts=700,
    min_limit_watts=200,
    idle_watts=70,
    idle_mhz=345,
    max_mhz=1980,
    memory_mhz=2619,
    idle_video_mhz=765,
    max_video_mhz=1545,
    hot_celsius=87,
    shutdown_celsius=95,
    load_celsius=71,
    relative_limits=True,
    links=18,
    link_version=4,
    link_mbps=26562,
    fabric=True,
    mig=True,
)
H200 = Board(
    name="NVIDIA H200",
    architecture=9,
    architecture_name="Hopper",
    part_number="695-2G520-0280-001",
    gpu_part_number="2335-895-A1",
    vbios="96.00.A5.00.03",
    inforom="G520.0280.02.02",
    pci_device_id=0x233510DE,
    pci_subsystem_id=0x18BE10DE,
    memory_mib=143771,
    reserved_mib=614,
    bar1_mib=262144,
    multiprocessors=132,
    pcie_generation=5,
    limit_watts=700,
    min_limit_watts=200,
    idle_watts=78,
    idle_mhz=345,
    max_mhz=1980,
    memory_mhz=3201,
    idle_video_mhz=765,
    max_video_mhz=1545,
    hot_celsius=87,
    shutdown_celsius=95,
    load_celsius=68,
    relative_limits=True,
    links=18,
    link_version=4,
    link_mbps=26562,
    fabric=True,
    mig=True,
)
L40S = Board(
    name="NVIDIA L40S",
    architecture=8,
    architecture_name="Ada Lovelace",
    part_number="900-2G133-0080-000",
    gpu_part_number="26B9-896-A1",
    vbios="95.02.66.00.02",
    inforom="G133.0242.00.03",
    pci_device_id=0x26B910DE,
    pci_subsystem_id=0x185110DE,
    memory_mib=46068,
    reserved_mib=609,
    bar1_mib=65536,
    multiprocessors=142,
    pcie_generation=4,
    limit_watts=350,
    min_limit_watts=100,
    idle_watts=34,
    idle_mhz=210,
    max_mhz=2520,
    memory_mhz=9001,
    idle_video_mhz=1185,
    max_video_mhz=1965,
    hot_celsius=88,
    shutdown_celsius=93,
    load_celsius=74,
    relative_limits=True,
    memory_sensor=False,
)
L40S_VGPU = Board(
    name="NVIDIA L40S-24C",
    architecture=8,
    architecture_name="Ada Lovelace",
    part_number="",
    gpu_part_number="",
    vbios="00.00.00.00.00",
    inforom="",
    pci_device_id=0x26B910DE,
    pci_subsystem_id=0x18CF10DE,
    memory_mib=24576,
    reserved_mib=1664,
    bar1_mib=256,
    multiprocessors=142,
    pcie_generation=4,
    limit_watts=350,
    min_limit_watts=100,
    idle_watts=34,
    idle_mhz=210,
    max_mhz=2520,
    memory_mhz=9001,
    idle_video_mhz=1185,
    max_video_mhz=1965,
    hot_celsius=88,
    shutdown_celsius=93,
    load_celsius=74,
    relative_limits=True,
    memory_sensor=False,
    virtual=True,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A server model: its board, where the GPUs sit, and the software on it."""

    prefix: str
    """Node names are this and a number."""
    board: Board
    gpu_buses: tuple[str, ...]
    """PCI bus numbers in NVML's order."""
    switch_buses: tuple[str, ...]
    """NVSwitches; link i of a GPU ends at switch i modulo their number."""
    driver: str
    cuda: int
    """As NVML packs it: 13010 is 13.1."""
    os: str
    kernel: str
    cpu_count: int
    memory_gib: int
    privileged: bool
    """The login is root; without it MIG placements cannot be read."""


MACHINES: dict[str, Machine] = {
    "dgx-a100": Machine(
        "dgx-a100",
        A100,
        ("07", "0F", "47", "4E", "87", "90", "B7", "BD"),
        ("C4", "C5", "C6", "C7", "C8", "C9"),
        "550.163.01",
        12040,
        "DGX OS 6.3 (Ubuntu 22.04)",
        "5.15.0-1063-nvidia",
        256,
        2015,
        True,
    ),
    "dgx-h100": Machine(
        "dgx-h100",
        H100,
        ("1B", "43", "52", "61", "9D", "C3", "D1", "DF"),
        ("07", "08", "09", "0A"),
        "590.48.01",
        13010,
        "DGX OS 7.1 (Ubuntu 24.04)",
        "6.8.0-1028-nvidia",
        224,
        2015,
        True,
    ),
    "hgx-h200": Machine(
        "hgx-h200",
        H200,
        ("0F", "2D", "44", "5B", "89", "A8", "C0", "D8"),
        ("03", "04", "05", "06"),
        "590.48.01",
        13010,
        "Ubuntu 22.04.5 LTS",
        "5.15.0-185-generic",
        192,
        2267,
        True,
    ),
    "l40s": Machine(
        "l40s",
        L40S,
        ("01", "25", "81", "A5"),
        (),
        "595.80",
        13020,
        "Red Hat Enterprise Linux 9.6",
        "5.14.0-570.12.1.el9_6.x86_64",
        64,
        503,
        False,
    ),
    "vm": Machine(
        "vm",
        L40S_VGPU,
        ("02",),
        (),
        "570.158.01",
        12080,
        "Ubuntu 22.04.5 LTS",
        "5.15.0-142-generic",
        16,
        125,
        False,
    ),
}

MIX: tuple[str, ...] = (
    "dgx-h100",
    "dgx-a100",
    "hgx-h200",
    "l40s",
    "vm",
    "dgx-h100",
    "dgx-h100",
    "dgx-a100",
    "dgx-h100",
    "hgx-h200",
    "dgx-h100",
    "dgx-h100",
)
"""The fleet takes its machines from here, round and round."""
