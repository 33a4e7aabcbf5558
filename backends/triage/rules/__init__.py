"""The registry of rules.

To add a rule: a function in a module here that takes a `NodeView` (or a `SiteState`, to compare nodes) and yields
findings made with `backends.triage.rule.finding`, and one line below. It looks at `view.gpus` and `view.node`, which
hold current values only, takes `None` for *not measured* and never for a fault, and compares with peers where what is
right depends on how the machine was built. What it explains, or what explains it, is a line in
`backends.triage.grouping.EXPLAINS`.
"""

from __future__ import annotations

from backends.domain import Finding, MismatchKind, Severity
from backends.triage import radar
from backends.triage.rule import Rule, current_nodes, every_node, gpus_where, nothing
from backends.triage.rules import (
    allocation,
    clocks,
    connection,
    drift,
    fabric,
    guest,
    host,
    lost,
    memory_errors,
    modes,
    monitoring,
    nvlink,
    nvswitch,
    pcie,
    platform,
    recovery,
    release,
    scc,
    stack,
    stack_changes,
    unfinished,
    usage,
    xid,
)

_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def _same(text: str) -> str:
    """`text` for the GPUs of a node."""
    return "{count} of {total} GPUs " + text


RULES: tuple[Rule, ...] = (
    # The node and the way to it.
    Rule("node-unreachable", "connections", (_C,), every_node, connection.unreachable, across=connection.across,
         about_values=False, counts_gaps=True, raise_seconds=8.0, clear_seconds=5.0),
    Rule("node-access", "SSH keys and host keys", (_W,), every_node, connection.access, across=connection.across,
         about_values=False, no_better=connection.is_unreachable, counts_gaps=True, raise_seconds=8.0,
         clear_seconds=5.0),
    Rule("node-unreadable", "probes", (_C, _W), every_node, connection.unreadable, across=connection.across,
         about_values=False, no_better=connection.is_unreachable, counts_gaps=True, raise_seconds=8.0,
         clear_seconds=5.0),
    Rule("node-waiting", "nodes that have not answered yet", (_W,), every_node, connection.waiting, timed=True,
         across=lambda _finding: "{count} of {total} nodes have not answered yet", about_values=False,
         raise_seconds=connection.WAITING_SECONDS, first_seconds=connection.WAITING_SECONDS, clear_seconds=5.0),
    Rule("nvml-stall", "NVML calls that hang", (_C, _W), every_node, connection.stalled, about_values=False,
         clear_seconds=5.0, raise_seconds=0.0, first_seconds=0.0),
    Rule("node-slow", "late readings", (_W, _I), every_node, connection.slow, timed=True, about_values=False,
         across=connection.silent_across, no_better=connection.is_cut, clear_seconds=5.0, raise_seconds=5.0),
    Rule("node-flapping", "connections that come and go", (_W,), every_node, connection.flapping, timed=True,
         about_values=False, raise_seconds=0.0, first_seconds=0.0),
    Rule("fallback-transport", "how nodes are read", (_I,), current_nodes, connection.fallback,
         across=lambda _finding: "{count} of {total} nodes are read by nvidia-smi only"),
    Rule("clock-skew", "clocks of the nodes", (_W,), current_nodes, judge_site=connection.clock_skew,
         first_seconds=4.0),
    # The GPU and the driver.
    Rule("gpu-lost", "lost GPUs", (_C, _W), lambda view: 0 if view.node is None else len(view.node.gpus),
         lost.gpu_lost, timed=True, raise_seconds=0.0, first_seconds=0.0, together=_same("are lost")),
    Rule("xid", "XIDs", (_C, _W, _I), xid.xid_subjects, xid.told, timed=True, about_values=False, dated=True,
         raise_seconds=0.0, first_seconds=0.0, together=_same("have {claim}")),
    Rule("kernel-log", "kernel logs", (_I,), connection.open_logs, connection.closed_log,
         across=lambda _finding: "the kernel log is closed on {count} of {total} nodes: past XIDs are unseen"),
    Rule("recovery-action", "what the driver asks for", (_C, _W), gpus_where(recovery.tells_action),
         recovery.wanted, together=_same("need recovery, says the driver")),
    Rule("ecc-uncorrected", "ECC errors", (_C, _W), gpus_where(lambda gpu: gpu.ecc.volatile.uncorrected is not None),
         memory_errors.ecc_uncorrected, timed=True, together=_same("have uncorrectable memory errors (ECC)")),
    Rule("row-remap-failed", "row remapping", (_C,), gpus_where(lambda gpu: gpu.remapped_rows.failed is not None),
         memory_errors.row_remap_failed),
    Rule("row-remap-pending", "row remaps that wait", (_W,),
         gpus_where(lambda gpu: gpu.remapped_rows.pending is not None), memory_errors.row_remap_pending,
         together=_same("wait for a reset to replace failed memory rows")),
    Rule("page-retirement-pending", "pages to be retired", (_W,),
         gpus_where(lambda gpu: gpu.retired_pages.pending is not None), memory_errors.page_retirement_pending,
         together=_same("wait for a reset to retire failed pages of memory")),
    Rule("hw-thermal", "hardware thermal slowdown", (_C, _W), gpus_where(clocks.has_reasons), clocks.hw_thermal,
         clear_seconds=60.0, together=_same("are slowed down by their hardware because they are too hot")),
    Rule("sw-thermal", "driver's thermal slowdown", (_C, _W, _I), gpus_where(clocks.has_reasons), clocks.sw_thermal,
         raise_seconds=clocks.SW_THERMAL_SECONDS, first_seconds=clocks.SW_THERMAL_SECONDS, clear_seconds=60.0,
         together=_same("are slowed down by the driver to stay within their temperature limit")),
    Rule("power-brake", "power brake", (_C, _W), gpus_where(clocks.has_reasons), clocks.power_brake,
         clear_seconds=60.0, together=_same("are slowed down by the power brake of their machine")),
    Rule("hw-slowdown", "other hardware slowdown", (_C, _W, _I), gpus_where(clocks.has_reasons), clocks.hw_other,
         raise_seconds=5.0, clear_seconds=60.0, together=_same("are slowed down by their hardware")),
    Rule("power-limit", "power limits", (_I,), gpus_where(clocks.has_power_limits), clocks.limited,
         across=lambda _finding: "GPUs of {count} of {total} nodes may draw less than their board's default"),
    Rule("pcie-width", "PCIe width", (_W, _I), gpus_where(pcie.has_width), judge_site=pcie.narrow, timed=True,
         together=_same("run narrow PCIe links")),
    Rule("pcie-generation", "PCIe generation under load", (_W, _I), gpus_where(pcie.has_generation),
         judge_site=pcie.slow_generation, timed=True, raise_seconds=30.0, first_seconds=4.0,
         together=_same("run slow PCIe links")),
    Rule("pcie-replays", "PCIe replays", (_W,), gpus_where(pcie.has_replays), pcie.replays, timed=True,
         clear_seconds=120.0, together=_same("repeat packets on their PCIe links")),
    Rule("nvlink-down", "NVLinks", (_C,), gpus_where(nvlink.has_links), nvlink.links_down,
         together=_same("have NVLinks that are down")),
    Rule("nvlink-errors", "NVLink errors", (_W,), gpus_where(nvlink.counts_errors), nvlink.link_errors, timed=True,
         clear_seconds=120.0, together=_same("count NVLink errors")),
    Rule("fabric-not-ready", "NVSwitch fabric", (_C,), gpus_where(fabric.in_fabric), fabric.not_ready, timed=True,
         raise_seconds=5.0),
    Rule("fabric-unhealthy", "health of the fabric", (_C, _W), gpus_where(fabric.tells_health), fabric.unhealthy,
         raise_seconds=5.0, together=_same("are not healthy in the NVSwitch fabric")),
    Rule("fabric-manager", "Fabric Manager", (_C, _W), fabric.has_service, fabric.manager_down, raise_seconds=15.0),
    Rule("sxid", "NVSwitch errors (SXIDs)", (_C, _W, _I), nvswitch.switched, nvswitch.told, timed=True,
         about_values=False, dated=True, raise_seconds=0.0, first_seconds=0.0),
    # Modes and use.
    Rule("mig-pending", "MIG mode", (_I,), gpus_where(modes.has_mig), modes.mig_pending,
         together=_same("wait for a reset to change their MIG mode")),
    Rule("mig-stuck", "MIG changes that hang", (_W,), gpus_where(modes.has_mig), modes.mig_stuck, tells_duration=True,
         raise_seconds=modes.STUCK_SECONDS, first_seconds=modes.STUCK_SECONDS,
         together=_same("have waited long for a reset to change their MIG mode")),
    Rule("ecc-pending", "ECC mode", (_I,), gpus_where(modes.has_ecc_mode), modes.ecc_pending,
         together=_same("wait for a reset to change their ECC mode")),
    Rule("persistence", "persistence mode", (_W, _I), gpus_where(modes.wants_persistence), modes.persistence,
         across=lambda _finding: "persistence mode is off on {count} of {total} nodes"),
    Rule("compute-prohibited", "compute mode", (_I,), gpus_where(modes.has_compute_mode), modes.prohibited,
         together=_same("are closed to compute work")),
    Rule("memory-held", "memory without a process", (_W, _I), gpus_where(usage.tells_processes), usage.memory_held,
         raise_seconds=15.0, first_seconds=5.0, together=_same("have memory held by no live process")),
    Rule("idle-with-memory", "idle GPUs with memory allocated", (_I,), gpus_where(usage.tells_idle),
         usage.idle_with_memory, tells_duration=True, raise_seconds=usage.IDLE_SECONDS,
         first_seconds=usage.IDLE_SECONDS, together=_same("have been idle for over an hour with memory allocated")),
    Rule("vgpu-unlicensed", "vGPU licences", (_W,), gpus_where(guest.needs_licence), guest.unlicensed, timed=True),
    # The machine.
    Rule("disk-full", "scratch disks", (_C, _W), host.disk_count, host.disks),
    Rule("disk-read-only", "disks that can be written", (_W,), host.writable_count, host.read_only),
    Rule("rdma-port", "RDMA ports", (_W,), host.port_count, judge_site=host.rdma_ports, raise_seconds=20.0,
         first_seconds=4.0),
    # The platform, its GPU stack, and what it gave out.
    Rule("platform-unreachable", "the platform", (_W,), nothing, judge_site=platform.unreachable, about_values=False,
         site_subjects=platform.platform_subjects, timed=True, raise_seconds=8.0, clear_seconds=5.0),
    Rule("platform-access", "its credentials", (_W,), nothing, judge_site=platform.access, about_values=False,
         site_subjects=platform.platform_subjects, timed=True, clear_seconds=5.0),
    Rule("platform-not-permitted", "what may be read of it", (_W, _I), nothing, judge_site=platform.not_permitted,
         about_values=False, about_platform="stack", site_subjects=platform.platform_subjects),
    Rule("operand", "operands of the GPU stack", (_C, _W, _I), nothing, judge_site=stack.operands, about_values=False,
         about_platform="stack", site_subjects=stack.node_subjects(lambda node: bool(node.operands)), timed=True,
         raise_seconds=10.0, across=stack.across, across_nodes=2, across_share=0.0),
    Rule("platform-node", "nodes of the platform", (_C,), nothing, judge_site=stack.not_ready, about_values=False,
         about_platform="stack", site_subjects=stack.node_subjects(lambda node: node.ready is not None),
         across=lambda _finding: "{count} of {total} nodes are not Ready for the platform"),
    Rule("gpu-allocatable", "allocatable GPUs", (_W,), nothing, judge_site=stack.allocatable, about_values=False,
         about_platform="stack", site_subjects=stack.node_subjects(lambda node: bool(node.capacity.resources)),
         raise_seconds=15.0),
    Rule("mig-manager", "MIG manager", (_W,), nothing, judge_site=stack_changes.mig_manager, about_values=False,
         about_platform="stack", site_subjects=stack.node_subjects(lambda node: node.mig is not None), timed=True),
    Rule("driver-upgrade", "driver upgrades", (_W,), nothing, judge_site=stack_changes.upgrades, about_values=False,
         about_platform="stack", site_subjects=stack.node_subjects(lambda node: node.upgrade is not None), timed=True),
    Rule("nfd", "node feature discovery", (_C, _W), nothing, judge_site=platform.unlabelled, about_values=False,
         about_platform="stack", site_subjects=platform.labelled_subjects, raise_seconds=15.0),
    Rule("operator-component", "the operator's own pods", (_W,), nothing, judge_site=platform.components,
         about_values=False, about_platform="stack", site_subjects=platform.component_subjects, raise_seconds=60.0),
    Rule("operator-policy", "the operator's verdict", (_W,), nothing, judge_site=platform.policy, about_values=False,
         about_platform="stack", site_subjects=platform.policy_subjects, timed=True, raise_seconds=120.0),
    Rule("olm", "operators of OLM", (_W, _I), nothing, judge_site=platform.olm, about_values=False,
         about_platform="stack", site_subjects=platform.operator_subjects),
    Rule("cluster-release", "OpenShift's release", (_C, _W), nothing, judge_site=release.release, about_values=False,
         about_platform="stack", site_subjects=release.subjects, raise_seconds=15.0),
    Rule("scc-refused", "pods refused by OpenShift's SCCs", (_C, _W, _I), nothing, judge_site=scc.refused,
         about_values=False, about_platform="stack", site_subjects=scc.subjects, raise_seconds=10.0),
    Rule("monitoring", "what the cluster's monitoring says", (_C, _W, _I), nothing, judge_site=monitoring.told,
         timed=True, about_values=False, about_platform="monitoring", site_subjects=monitoring.subjects,
         clear_seconds=60.0, across=stack.across, across_nodes=2, across_share=0.0),
    *(
        Rule(allocation.KINDS[kind].rule, title, severities, nothing, judge_site=allocation.judge(kind), timed=True,
             about_platform="workloads", site_subjects=allocation.judged, raise_seconds=seconds, first_seconds=4.0,
             together=together)
        for kind, title, severities, seconds, together in (
            (MismatchKind.IDLE, "GPUs held and not used", (_I,), 600.0, None),
            (MismatchKind.UNALLOCATED, "GPUs used and not given", (_W, _I), 30.0,
             _same("are used by workloads that were given none")),
            (MismatchKind.TWICE, "GPUs used twice", (_W,), 30.0, _same("are used by two workloads that do not share")),
            (MismatchKind.ORPHAN, "orphaned processes", (_W, _I), 30.0,
             _same("are used from containers that the platform does not know")),
            (MismatchKind.HOST, "processes outside of containers", (_W,), 30.0,
             _same("are used from outside of any container")),
        )
    ),
    # What gpudeck itself has begun.
    Rule("change-running", "running changes", (_I,), unfinished.tells_changes, judge_site=unfinished.running,
         timed=True, recovers=False, about_values=False, raise_seconds=0.0, first_seconds=0.0, clear_seconds=0.0),
    Rule("change-unfinished", "unfinished changes", (_W, _I), unfinished.tells_changes,
         judge_site=unfinished.left_open, timed=True, about_values=False, dated=True, raise_seconds=0.0,
         first_seconds=0.0, clear_seconds=0.0),
    # Against the peers.
    Rule("driver-drift", "driver versions", (_I,), current_nodes, judge_site=drift.driver, first_seconds=4.0),
    Rule("vbios-drift", "VBIOS versions", (_I,), drift.gpu_count, judge_site=drift.vbios, first_seconds=4.0),
    Rule("gpu-missing", "missing GPUs", (_C, _W), drift.gpu_count, judge_site=drift.gpu_missing, first_seconds=4.0),
    Rule("nvlink-node", "NVLinks of whole nodes", (_C,), gpus_where(nvlink.has_links), judge_site=drift.node_links,
         raise_seconds=20.0, first_seconds=4.0),
    Rule("ecc-off", "ECC against peers", (_W,), gpus_where(modes.has_ecc_mode), judge_site=radar.ecc_off,
         raise_seconds=20.0, first_seconds=4.0, together=_same("run without ECC, their peers with it")),
    Rule("radar-straggler", "clocks within a job", (_W,), gpus_where(clocks.has_reasons), radar.stragglers,
         raise_seconds=60.0, first_seconds=60.0, clear_seconds=60.0),
    Rule("radar-ecc", "corrected ECC errors", (_W,), gpus_where(lambda gpu: gpu.ecc.volatile.corrected is not None),
         judge_site=radar.ecc_slope, timed=True, clear_seconds=300.0),
    *(
        Rule(metric.rule, f"{metric.label} against peers", (metric.severity,), radar.counts(metric),
             judge_site=radar.judge(metric), raise_seconds=metric.raise_seconds, first_seconds=metric.first_seconds,
             clear_seconds=60.0)
        for metric in radar.METRICS
    ),
    *(
        Rule(counter.rule, f"{counter.label} against peers", (_I,), radar.counts_of(counter),
             judge_site=radar.judge_count(counter), first_seconds=4.0)
        for counter in radar.COUNTERS
    ),
)  # fmt: skip
"""All rules; an all-clear names them in this order."""

_BY_ID = {rule.id: rule for rule in RULES}


def rule_of(finding: Finding) -> Rule:
    """The line of the registry a finding comes from; `xid-79` comes from `xid`."""
    name = finding.rule
    while name not in _BY_ID:
        name, dash, _ = name.rpartition("-")
        if not dash:
            raise KeyError(finding.rule)
    return _BY_ID[name]
