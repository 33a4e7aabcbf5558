"""Scripted faults. A scenario is one function and one line in `SCENARIOS`.

A function puts faults on machines through its `Stage`, which notes how each is undone. Which machine: faults of boards
take the SXM machines in the order H100, H200, A100, faults of the connection the others first (H200, L40S, VM, A100,
H100). No two scenarios take the same GPU of a fleet of twelve; in a smaller one they meet.
"""

from __future__ import annotations

from collections.abc import Iterable

from backends.contract import GpudeckError
from backends.lab.platform_scenarios import PLATFORM_SCENARIOS
from backends.lab.stage import Scenario, Stage

_DRAIN_AND_RESET, _GPU_RESET = 4, 1
_NOT_STARTED = 1


def _quiet(_stage: Stage) -> None:
    """Nothing is wrong."""


def _node_unreachable(stage: Stage) -> None:
    stage.put(stage.connection(3 if len(stage.nodes) > 5 else 2), reachable=False)


def _ssh_auth(stage: Stage) -> None:
    stage.put(stage.connection(2 if len(stage.nodes) > 5 else 1), accepts_key=False)


def _probe_cut(stage: Stage) -> None:
    stage.put(stage.connection(1 if len(stage.nodes) > 5 else 3), cuts_probe=True)


def _no_python(stage: Stage) -> None:
    stage.put(stage.connection(0), has_python=False)


def _gpu_lost(stage: Stage) -> None:
    node, gpu = stage.board(0, 3)
    # The links of a lost GPU end at switches: nobody else's are down, and its own cannot be read any more.
    stage.put(gpu.faults, lost=True)
    stage.log(node, gpu, 79, "GPU has fallen off the bus.")
    for channel in range(14):
        text = f"pid='<unknown>', name=<unknown>, Ch {channel:08x}"
        stage.log(node, gpu, 45, text, after=0.05 * (channel + 1))


def _ecc(stage: Stage) -> None:
    node, gpu = stage.board(1, 2)
    stage.put(gpu.faults, ecc_uncorrected=2, ecc_corrected=17, recovery_action=_DRAIN_AND_RESET)
    stage.log(node, gpu, 48, "pid='<unknown>', name=<unknown>, DBE (double bit error) in partition 4, subpartition 1")
    stage.log(node, gpu, 94, "pid=41277, name=python, Contained: HBM (0x2,0x1)", after=0.1)
    stage.log(node, gpu, 154, "GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)", after=0.2)


def _row_remap(stage: Stage) -> None:
    node, gpu = stage.board(2, 5)
    stage.put(
        gpu.faults,
        remap_pending=True,
        remapped_uncorrectable=1,
        remap_failed_at=stage.now + 30,
        recovery_action=_GPU_RESET,
    )
    stage.log(node, gpu, 63, "Row Remapper: New row marked for remapping, reset gpu to activate.")
    stage.log(node, gpu, 64, "Row Remapper: Failed to record a row for remapping.", after=30)


def _thermal(stage: Stage) -> None:
    _, gpu = stage.board(3, 0)
    stage.put(gpu.faults, hot_since=stage.now - 60)


def _pcie_narrow(stage: Stage) -> None:
    _, gpu = stage.board(4, 6)
    stage.put(gpu.faults, pcie_width=4, pcie_replays=1893)


def _nvlink_down(stage: Stage) -> None:
    node, gpu = stage.board(5, 4)
    stage.put(gpu.faults, links_down=frozenset({7}), link_errors=211)
    stage.log(
        node, gpu, 74, "pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link 7(0x0, 0x0, 0x10000)"
    )


def _nvswitch_fatal(stage: Stage) -> None:
    node, gpu = stage.board(9, 5)
    stage.put(gpu.faults, links_down=frozenset({11}), link_errors=38)
    stage.switch_log(node, 3, 20034, "Fatal, Link 30 LTSSM Fault Up")
    stage.switch_log(node, 3, 20034, "Data {0x00000000, 0x00000000, 0x00000000}", after=0.01)
    fault = "NVLink: fatal error detected on link 11(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)"
    stage.log(node, gpu, 74, f"pid='<unknown>', name=<unknown>, {fault}", after=0.2)


def _power_brake(stage: Stage) -> None:
    node, _ = stage.board(6, 0)
    for gpu in node.gpus:
        stage.put(gpu.faults, braked=True)


def _warm(stage: Stage) -> None:
    _, gpu = stage.board(5, 1)
    stage.put(gpu.faults, warm=True)


def _slow_clock(stage: Stage) -> None:
    node, gpu = stage.board(2, 2)
    for each in node.gpus:
        stage.put(each.faults, serves=True)  # below the power limit, where all clocks are at their maximum
    stage.put(gpu.faults, slow_percent=55)


def _ecc_corrected(stage: Stage) -> None:
    _, gpu = stage.board(4, 1)
    stage.put(gpu.faults, ecc_corrected=4200, ecc_storm_since=stage.now)


def _gsp_timeout(stage: Stage) -> None:
    node, gpu = stage.board(4, 3)
    stage.put(gpu.faults, recovery_action=_GPU_RESET)
    for after, call in ((0.0, "103 (GSP_RM_ALLOC) (0x2081 0x4)"), (6.0, "10 (FREE) (0xa55a0210 0x0)")):
        text = f"pid=2024380, name=python, Timeout after 6s of waiting for RPC response from GPU{gpu.index} GSP!"
        stage.log(node, gpu, 119, f"{text} Expected function {call}.", after=after)
    stage.log(node, gpu, 154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", after=0.1)


def _app_fault(stage: Stage) -> None:
    node, gpu = stage.board(8, 3)
    fault = "MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f3e_1a000000. Fault is of type FAULT_PDE"
    stage.log(node, gpu, 31, f"pid=41277, name=python, Ch 00000008, intr 00000000. {fault} ACCESS_TYPE_VIRT_READ")
    stage.log(node, gpu, 43, "pid=41277, name=python, Ch 00000008", after=0.2)


def _memory_held(stage: Stage) -> None:
    node, gpu = stage.board(8, 6)
    # That nobody holds it is known only where the node shows the processes that it has: somebody's are always there.
    stage.put(node.gpus[(gpu.index + 1) % len(node.gpus)].faults, serves=True)
    stage.put(gpu.faults, leaked_bytes=41 << 30)


def _persistence_off(stage: Stage) -> None:
    node, _ = stage.board(9, 0)
    for gpu in node.gpus:
        stage.put(gpu.faults, persistence=False)


def _mig_pending(stage: Stage) -> None:
    _, gpu = stage.board(9, 2)
    stage.put(gpu.faults, mig_pending=True)


def _fabric(stage: Stage) -> None:
    fabrics = [node for node in stage.nodes if any(gpu.board.fabric for gpu in node.gpus)]
    if not fabrics:
        raise GpudeckError("the lab has no machine for this scenario", "Give the lab more nodes.")
    node = fabrics[-1]
    stage.put(node.host_faults, services_down=node.host_faults.services_down | {"nvidia-fabricmanager"})
    for gpu in node.gpus:
        stage.put(gpu.faults, fabric_state=_NOT_STARTED)


def _disk_full(stage: Stage) -> None:
    # So full that it is too little on the largest array too, 30 TB, and not yet full on the smallest disk.
    stage.put(stage.board(7, 0)[0].host_faults, scratch_used_percent=98.6)


def _rdma_down(stage: Stage) -> None:
    node = stage.machine("dgx-h100", slot=1, at_least=4)
    stage.put(node.host_faults, ports_down=node.host_faults.ports_down | {"mlx5_3"})


def _driver_drift(stage: Stage) -> None:
    stage.put(stage.machine("dgx-h100", slot=3, at_least=4), driver="580.95.05")


def _vbios_drift(stage: Stage) -> None:
    _, gpu = stage.board(1, 6)
    stage.put(gpu.faults, vbios="96.00.74.00.01")


def _clock_skew(stage: Stage) -> None:
    stage.put(stage.connection(4), clock_ahead_seconds=312.0)


def _stall(stage: Stage) -> None:
    stage.put(stage.connection(5), stalled=(3, "nvmlDeviceGetTotalEccErrors"))


def _vgpu_unlicensed(stage: Stage) -> None:
    stage.put(stage.machine("vm"), licensed=False)


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("quiet", "nothing is wrong", _quiet),
        Scenario("node-unreachable", "a node refuses connections", _node_unreachable),
        Scenario("ssh-auth", "a node refuses the SSH key", _ssh_auth),
        Scenario("gpu-lost", "a GPU fell off the bus: XID 79, then XID 45s", _gpu_lost),
        Scenario("ecc", "uncorrectable memory errors on a GPU: XID 48 and 94, then 154", _ecc),
        Scenario("row-remap", "a row remap is pending and fails after 30 s: XID 63 and 64", _row_remap),
        Scenario("thermal", "hardware thermal slowdown of a GPU: hot, clocks down", _thermal),
        Scenario("pcie-narrow", "a GPU runs at PCIe x4 of x16, with replays", _pcie_narrow),
        Scenario("nvlink-down", "an NVLink is down, with errors: XID 74", _nvlink_down),
        Scenario("nvswitch-fatal", "an NVSwitch reports a fatal error: SXID 20034, XID 74", _nvswitch_fatal),
        Scenario("probe-cut", "the probe on a node dies in the middle of a line, again and again", _probe_cut),
        Scenario("no-python", "a node without python3: only nvidia-smi can be used", _no_python),
        Scenario("power-brake", "the power brake slows all GPUs of a node", _power_brake),
        Scenario("warm", "software thermal slowdown of a GPU", _warm),
        Scenario("slow-clock", "a GPU at half the clock of its peers, for no reason given", _slow_clock),
        Scenario("ecc-corrected", "corrected memory errors on a GPU, more every second", _ecc_corrected),
        Scenario("gsp-timeout", "the firmware of a GPU does not answer: XID 119, then 154", _gsp_timeout),
        Scenario("app-fault", "an application reads a wrong address: XID 31, then 43", _app_fault),
        Scenario("memory-held", "memory of a GPU that no process holds", _memory_held),
        Scenario("persistence-off", "a node without persistence mode", _persistence_off),
        Scenario("mig-pending", "MIG was switched on and the GPU not reset", _mig_pending),
        Scenario("fabric", "Fabric Manager failed: no GPU of a node is in the NVSwitch fabric", _fabric),
        Scenario("disk-full", "the scratch disk of a node is nearly full", _disk_full),
        Scenario("rdma-down", "an RDMA port of a node is down", _rdma_down),
        Scenario("driver-drift", "a node with another driver than its peers", _driver_drift),
        Scenario("vbios-drift", "a GPU with another VBIOS than its peers", _vbios_drift),
        Scenario("clock-skew", "the clock of a node is five minutes ahead", _clock_skew),
        Scenario("stall", "an NVML call on a node does not come back", _stall),
        Scenario("vgpu-unlicensed", "a vGPU guest without a licence", _vgpu_unlicensed),
        *PLATFORM_SCENARIOS,
    )
}


def scenario(name: str) -> Scenario:
    """The scenario called `name`; raises GpudeckError with the list of names."""
    found = SCENARIOS.get(name)
    if found is None:
        raise GpudeckError(f"no scenario is called {name!r}", f"Scenarios: {', '.join(SCENARIOS)}.")
    return found


def platform_for(names: Iterable[str]) -> str | None:
    """The platform that scenarios need when none is named; the one that all of them can be played on, if there is one.

    Raises GpudeckError for an unknown name.
    """
    needed = [scenario(name).platforms for name in names if scenario(name).platforms]
    if not needed:
        return None
    common = [platform for platform in needed[0] if all(platform in each for each in needed)]
    return common[0] if common else needed[0][0]
