"""The simulated cluster: its nodes, the GPU Operator at work on them, and the pods of the jobs.

`tick` moves everything on to a time; between two ticks nothing changes but what clients change. A client's changes have
consequences: a deleted operand pod is made anew and comes up in its order, a cordoned node stays cordoned, a MIG label
is worked off by the MIG manager, a driver upgrade label by the upgrade controller.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.feed import Clock
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimNode, digest
from backends.lab.jobs import TEAMS, Job, jobs, take_off
from backends.lab.kube import objects, openshift, scc, workloads
from backends.lab.kube.controllers import MIG_FAILURE_LOG, UPGRADE_STEPS, Effects, NodeControllers, Turn, layouts
from backends.lab.kube.kinds import KUBERNETES, OPENSHIFT
from backends.lab.kube.logs import Container, LogBook
from backends.lab.kube.operands import (
    BY_NAME,
    OPERANDS,
    ClusterFaults,
    Operand,
    OperandFault,
    OperandPod,
    dependents,
)
from backends.lab.kube.store import Change, Object, Store, rfc3339

OPERATOR_SPACE = {"kubernetes": "gpu-operator", "openshift": "nvidia-gpu-operator"}
POLICY_NAME = {"kubernetes": "cluster-policy", "openshift": "gpu-cluster-policy"}
SETTLED_SECONDS = 3 * 86400.0
"""How long the cluster has run when the lab starts."""
UPGRADE_STATE = "nvidia.com/gpu-driver-upgrade-state"
HELD_SECONDS = 2760.0
"""How long a driver upgrade that is stuck has been where it is."""
IMAGE = "registry.example/nvidia/gpu-operator-operand:v26.7.0"

KINDS = {kind.plural: kind for kind in (*KUBERNETES, *OPENSHIFT)}


class Cluster:
    def __init__(
        self,
        hardware: Sequence[SimNode],
        clock: Clock,
        platform: str = "kubernetes",
        faults: ClusterFaults | None = None,
    ) -> None:
        """`platform` is kubernetes or openshift."""
        self.platform = platform
        self.kinds = (*KUBERNETES, *OPENSHIFT) if platform == "openshift" else KUBERNETES
        self.space = OPERATOR_SPACE[platform]
        self.clock = clock
        self.store = Store(clock)
        self.logs = LogBook()
        self.faults = faults or ClusterFaults()
        self._hardware = {node.name: node for node in hardware}
        self._meters = {node.name: Meter(node) for node in hardware}
        self._pods: dict[str, dict[str, OperandPod]] = {name: {} for name in self._hardware}
        self._born = 0
        self._controllers = {
            name: NodeControllers(node, self._meters[name], self.faults) for name, node in self._hardware.items()
        }
        self._mig_before: str | None = None
        self._jobs: dict[tuple[str, str], Job] = {}
        """Those with a pod, by its namespace and name."""
        self._dropping = False
        self._build()
        for each in self.store.select(KINDS["nodes"]):
            self._node_changed(each)
        self.store.listen(self._changed)

    # Building

    def _build(self) -> None:
        now = self.clock.now()
        created = rfc3339(now - SETTLED_SECONDS)
        for name in ("default", "kube-system", self.space, *sorted(set(TEAMS.values()))):
            self.store.create(KINDS["namespaces"], objects.namespace(name))
        self.monitor(self.platform == "openshift")
        runtime = "cri-o://1.33.2" if self.platform == "openshift" else "containerd://1.7.28"
        for hardware in self._hardware.values():
            node = objects.node(hardware, strategy="mixed", created=created, runtime=runtime, version="v1.33.4")
            for operand in self._operands(hardware):
                node["metadata"]["labels"][f"nvidia.com/gpu.deploy.{operand.name}"] = "true"
            self.store.create(KINDS["nodes"], node)
            if named := layouts(hardware):
                config = objects.mig_config(f"{hardware.name}-mig-config", self.space, named)
                self.store.create(KINDS["configmaps"], config)
            for operand in self._operands(hardware):
                self._new_pod(hardware.name, operand, now - SETTLED_SECONDS, settled=True)
        for operand in OPERANDS:
            wanted = sum(operand.name in pods for pods in self._pods.values())
            self.store.create(
                KINDS["daemonsets"],
                objects.daemonset(operand, self.space, self._owner(operand), wanted, wanted, IMAGE),
            )
        self.store.create(
            KINDS["clusterpolicies"],
            objects.cluster_policy(
                POLICY_NAME[self.platform], created, ready=True, reason="Reconciled", message=_WELL, space=self.space
            ),
        )
        if self.platform == "openshift":
            for plural, each in openshift.cluster(self.space, created, waiting=self.faults.install_plan_waits):
                self.store.create(KINDS[plural], each)
        self.tick()

    def _operands(self, hardware: SimNode) -> tuple[Operand, ...]:
        return tuple(operand for operand in OPERANDS if hardware.machine.board.mig or not operand.needs_mig)

    def _owner(self, operand: Operand) -> str:
        return f"{digest('daemonset', operand.name):032x}"

    # Time

    def tick(self) -> None:
        """Everything as it is now."""
        now = self.clock.now()
        for name in self._hardware:
            self._tick_node(name, now)
        self._tick_daemonsets()
        self._tick_policy()
        self._tick_jobs(now)
        scc.retry(self.store, now)

    def _tick_node(self, name: str, now: float) -> None:
        pods = self._pods[name]
        wanted = self._operands(self._hardware[name])
        labels = self.store.get(KINDS["nodes"], None, name)["metadata"].get("labels", {})
        for operand in wanted:
            deployed = labels.get(f"nvidia.com/gpu.deploy.{operand.name}") == "true"
            if operand.name not in pods and deployed:
                self._new_pod(name, operand, now)
            elif operand.name in pods and not deployed:
                self._drop_pod(name, operand)
        ready = {operand: pod.ready for operand, pod in pods.items()}
        for operand in wanted:
            pod = pods.get(operand.name)
            if pod is not None:
                self._tick_pod(name, pod, now, ready)
                ready[operand.name] = pod.ready
        self._tick_labels(name, now, ready)

    def _tick_pod(self, node: str, pod: OperandPod, now: float, ready: dict[str, bool]) -> None:
        fault = self.faults.operands.get(node)
        mine = fault if fault is not None and fault.operand == pod.operand.name else None
        before = (pod.step, pod.ready, pod.fault)
        pod.advance(now, ready, mine)
        if (pod.step, pod.ready, pod.fault) == before:
            return

        def move(stored: Object) -> None:
            created, status = stored["metadata"]["creationTimestamp"], stored["status"]
            stored["status"] = objects.operand_status(pod, created, rfc3339(now), status)

        self.store.update(KINDS["pods"], self.space, self._pod_name(pod), move)
        if pod.ready and not before[1]:
            self._say(pod, pod.operand.containers[0], now, pod.operand.log)
        elif mine is not None and before[2] is None:
            self._say(pod, mine.container, now, mine.log)
            self._event(pod, now, mine.reason, mine.message)

    def _tick_labels(self, name: str, now: float, ready: dict[str, bool]) -> None:
        """What the device plugin, the MIG manager and the upgrade controller make of the node."""
        hardware = self._hardware[name]
        effects, turn = Effects(), self._turn(name)

        def apply(node: Object) -> None:
            nonlocal effects
            effects = self._controllers[name].tick(node, now, ready, turn)
            resources = objects.allocatable(hardware, plugin_ready=ready.get("device-plugin", False))
            whole = objects.capacity(hardware)
            for kind, counts in (("allocatable", resources), ("capacity", whole)):
                kept = {key: value for key, value in node["status"][kind].items() if not key.startswith("nvidia.com/")}
                # Advertised once, a resource stays: the kubelet tells 0 of what is no more.
                gone = dict.fromkeys((key for key in node["status"][kind] if key.startswith("nvidia.com/")), "0")
                node["status"][kind] = {**kept, **gone, **counts}

        self.store.update(KINDS["nodes"], None, name, apply)
        manager = self._pods[name].get("mig-manager")
        if effects.mig_log and manager is not None:
            self._say(manager, manager.operand.containers[0], now, effects.mig_log)
        if effects.delete_gpu_pods:
            self._delete_gpu_pods(name)
        if effects.restart_driver and "driver" in self._pods[name]:
            self._drop_pod(name, BY_NAME["driver"])

    def _turn(self, name: str) -> Turn:
        policy = self.store.get(KINDS["clusterpolicies"], None, POLICY_NAME[self.platform])
        upgrades = policy["spec"]["driver"]["upgradePolicy"]
        idle = {None, UPGRADE_STEPS[0], UPGRADE_STEPS[-1]}
        begun = [
            each
            for each in self.store.select(KINDS["nodes"])
            if each["metadata"]["name"] != name and each["metadata"]["labels"].get(UPGRADE_STATE) not in idle
        ]
        most = upgrades.get("maxParallelUpgrades", 1)
        return Turn(upgrades.get("autoUpgrade", False), most == 0 or len(begun) < most)

    def _tick_daemonsets(self) -> None:
        for operand in OPERANDS:
            own = [pods[operand.name] for pods in self._pods.values() if operand.name in pods]
            status = objects.daemonset_status(len(own), sum(pod.ready for pod in own))
            self.store.update(
                KINDS["daemonsets"],
                self.space,
                operand.daemonset,
                lambda each, s=status: each.update(status=s),  # type: ignore[misc]
            )

    def _tick_policy(self) -> None:
        failing = [
            operand.state
            for operand in OPERANDS
            if any(operand.name in pods and not pods[operand.name].ready for pods in self._pods.values())
        ]
        if self.faults.nfd_down:
            ready, reason, said = True, "NFDLabelsMissing", "No NFD labels found"
        elif failing:
            states = " ".join(failing)
            ready, reason = False, "OperandNotReady"
            said = f"ClusterPolicy is not ready; states not ready: [{states}]"
        else:
            ready, reason, said = True, "Reconciled", _WELL
        policy = self.store.get(KINDS["clusterpolicies"], None, POLICY_NAME[self.platform])
        now = policy["status"]["conditions"][0]
        told = next(each for each in policy["status"]["conditions"] if each["type"] == ("Ready" if ready else "Error"))
        if (policy["status"]["state"], told["reason"], told["message"]) == (
            "ready" if ready else "notReady",
            reason,
            said,
        ):
            return
        at = now["lastTransitionTime"] if policy["status"]["state"] == ("ready" if ready else "notReady") else ""
        status = objects.policy_status(
            at or self.store.timestamp(), ready=ready, reason=reason, message=said, space=self.space
        )
        self.store.update(
            KINDS["clusterpolicies"], None, POLICY_NAME[self.platform], lambda each: each.update(status=status)
        )

    def _tick_jobs(self, now: float) -> None:
        wanted = {
            (job.namespace, job.name): job
            for name, hardware in self._hardware.items()
            for job in jobs(hardware, self._meters[name], now)
        }
        present = {
            (each["metadata"]["namespace"], each["metadata"]["name"])
            for each in self.store.select(KINDS["pods"])
            if each["metadata"]["namespace"] != self.space
        }
        for space, name in present - wanted.keys():
            self._jobs.pop((space, name), None)
            self.store.delete(KINDS["pods"], space, name)
        for key in wanted.keys() - present:
            job = wanted[key]
            self._jobs[key] = job
            beside = (("deployments", workloads.deployment(job)), ("poddisruptionbudgets", workloads.budget(job)))
            way_in = openshift.served(job) if self.platform == "openshift" else ()
            for plural, each in (workloads.owner(job), *beside, *way_in):
                if each is not None and self.store.find(KINDS[plural], job.namespace, each["metadata"]["name"]) is None:
                    self.store.create(KINDS[plural], each)
            self.store.create(KINDS["pods"], workloads.pod(job))
            container = Container(job.namespace, job.name, "trainer" if job.training else "server")
            self.logs.write(container, job.started_at, f"+ {job.command}", "started")
        workloads.count_budgets(self.store, self._jobs.values())

    def _delete_gpu_pods(self, node: str) -> None:
        """As k8s-driver-manager and the upgrade controller do before the driver is unloaded."""
        for (space, name), job in list(self._jobs.items()):
            if job.node == node and self.store.find(KINDS["pods"], space, name) is not None:
                self.store.delete(KINDS["pods"], space, name)

    # What clients do

    def _changed(self, change: Change) -> None:
        if (change.kind.plural, change.what) == ("pods", "DELETED"):
            self._pod_deleted(change.object)
        elif (change.kind.plural, change.what) == ("nodes", "MODIFIED"):
            self._node_changed(change.object)

    def _pod_deleted(self, pod: Object) -> None:
        space, deleted = pod["metadata"].get("namespace", ""), pod["metadata"]["name"]
        self.logs.forget(space, deleted)
        job = self._jobs.pop((space, deleted), None)
        if job is not None:
            take_off(self._hardware[job.node], job, self.clock.now())
            workloads.count_budgets(self.store, self._jobs.values())
        for node, pods in self._pods.items():
            for name, each in list(pods.items()):
                if self._pod_name(each) == deleted:
                    del pods[name]  # its DaemonSet makes another one at the next tick
                    if name == "driver" and not self._dropping:
                        self._delete_gpu_pods(node)

    def _node_changed(self, node: Object) -> None:
        self._controllers[node["metadata"]["name"]].changed(node, self.clock.now())

    # Pods

    def _new_pod(self, node: str, operand: Operand, at: float, *, settled: bool = False) -> None:
        self._born += 1
        pod = OperandPod(operand, at, since=at, suffix=f"{digest(node, operand.name, self._born):016x}"[:5])
        if settled:
            pod.settle()
        self._pods[node][operand.name] = pod
        self.store.create(
            KINDS["pods"],
            objects.operand_pod(pod, node, self.space, self._owner(operand), rfc3339(at), IMAGE),
        )
        if settled:
            self._say(pod, operand.containers[0], at, operand.log)

    def _drop_pod(self, node: str, operand: Operand) -> None:
        self._dropping = True
        try:
            self.store.delete(KINDS["pods"], self.space, self._pod_name(self._pods[node][operand.name]))
        finally:
            self._dropping = False

    def _pod_name(self, pod: OperandPod) -> str:
        return f"{pod.operand.daemonset}-{pod.suffix}"

    def _say(self, pod: OperandPod, container: str, at: float, lines: Sequence[str]) -> None:
        self.logs.write(Container(self.space, self._pod_name(pod), container), at, *lines)

    def _event(self, pod: OperandPod, at: float, reason: str, said: str) -> None:
        about = self.store.get(KINDS["pods"], self.space, self._pod_name(pod))
        name = f"{self._pod_name(pod)}.{digest(reason, said, at):016x}"
        if self.store.find(KINDS["events"], self.space, name) is None:
            kind = "Warning"
            word = "BackOff" if reason == "CrashLoopBackOff" else (reason or "Unhealthy")
            self.store.create(
                KINDS["events"],
                objects.event(self.space, name, about, reason=word, said=said, kind=kind, at=rfc3339(at), count=4),
            )

    def ready_pod(self, node: str, operand: str) -> str | None:
        """Name of the operand's pod there, while it is Ready."""
        pod = self._pods[node].get(operand)
        return self._pod_name(pod) if pod is not None and pod.ready else None

    # What scenarios do

    def monitor(self, on: bool) -> None:
        """OpenShift: whether the cluster's Prometheus looks into the operator's namespace."""
        labels = {openshift.MONITORED: "true"} if on else {}
        self.store.update(KINDS["namespaces"], None, self.space, lambda each: each["metadata"].update(labels=labels))

    def fail_operand(self, node: str, fault: OperandFault) -> None:
        """An operand of `node` starts again, with those that wait for it, and gets no further."""
        self.faults.operands[node] = fault
        for name in dependents(fault.operand):
            if name in self._pods[node]:
                self._drop_pod(node, BY_NAME[name])

    def mend_operand(self, node: str) -> None:
        self.faults.operands.pop(node, None)

    def fail_mig(self, node: str | None) -> None:
        """The MIG manager of `node` cannot apply what is wanted; None lets it succeed again."""
        failed, self.faults.mig_failed = self.faults.mig_failed, node
        if node is not None:
            labels = self.store.get(KINDS["nodes"], None, node)["metadata"]["labels"]
            self._mig_before = labels.get("nvidia.com/mig.config")
            manager = self._pods[node].get("mig-manager")
            if manager is not None:
                lines = [line.format(layout=self.faults.mig_wanted) for line in MIG_FAILURE_LOG]
                self._say(manager, manager.operand.containers[0], self.clock.now(), lines)
        elif failed is not None:

            def relabel(each: Object) -> None:
                each["metadata"]["labels"]["nvidia.com/mig.config"] = self._mig_before or "all-disabled"
                each["metadata"]["labels"]["nvidia.com/mig.config.state"] = "success"

            self.store.update(KINDS["nodes"], None, failed, relabel)

    def hold_upgrade(self, node: str | None) -> None:
        """The driver upgrade of `node` waits for its drain; None lets it go on."""
        before, self.faults.upgrade_stuck = self.faults.upgrade_stuck, node
        if node is not None:

            def hold(each: Object) -> None:
                each["metadata"]["labels"][UPGRADE_STATE] = "drain-required"

            self.store.update(KINDS["nodes"], None, node, hold, at=self.clock.now() - HELD_SECONDS)
        if before is not None and node is None:

            def finish(each: Object) -> None:
                each["metadata"]["labels"][UPGRADE_STATE] = "upgrade-done"
                each["spec"].pop("unschedulable", None)

            self.store.update(KINDS["nodes"], None, before, finish)

    def stop_discovery(self, down: bool) -> None:
        """Without node feature discovery no node has GPU labels, and so no operand."""
        self.faults.nfd_down = down
        for name, hardware in self._hardware.items():
            own = {**objects.discovered(hardware), **objects.gpu_labels(hardware, "mixed")}
            own |= {f"nvidia.com/gpu.deploy.{operand.name}": "true" for operand in self._operands(hardware)}

            def relabel(each: Object, own: dict[str, str] = own) -> None:
                labels = each["metadata"]["labels"]
                for key in own:
                    labels.pop(key, None)
                if not down:
                    labels.update(own)

            self.store.update(KINDS["nodes"], None, name, relabel)

    def hold_install_plan(self, waiting: bool) -> None:
        """OpenShift: the newest version of the operator waits for somebody to approve its InstallPlan."""
        self.faults.install_plan_waits = waiting
        installed = openshift.PREVIOUS_CSV if waiting else openshift.CSV
        name = "gpu-operator-certified"
        told = openshift.subscription(name, self.space, openshift.CHANNEL, installed, openshift.CSV, waiting=waiting)
        plan = openshift.install_plan(self.space, openshift.CSV, approved=not waiting)
        kind, created = KINDS["clusterserviceversions"], rfc3339(self.clock.now() - SETTLED_SECONDS)
        for version in (openshift.CSV, openshift.PREVIOUS_CSV):
            present = self.store.find(kind, self.space, version) is not None
            if present and version != installed:
                self.store.delete(kind, self.space, version)
            elif not present and version == installed:
                self.store.create(kind, openshift.csv(version, self.space, created, "NVIDIA GPU Operator"))
        self.store.update(KINDS["subscriptions"], self.space, name, lambda each: each.update(status=told["status"]))
        self.store.update(
            KINDS["installplans"],
            self.space,
            plan["metadata"]["name"],
            lambda each: each.update(spec=plan["spec"], status=plan["status"]),
        )


_WELL = "All resources have been successfully reconciled"
