"""What the lab's cluster makes of labels, cordons and deleted pods: the hardware follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backends.feed import ManualClock
from backends.lab.hardware import SimNode, fleet
from backends.lab.kube.cluster import KINDS, Cluster
from backends.lab.kube.operands import OperandFault
from tests.lab.client import busy_moment

NODE = "dgx-h100-01"
CONFIG, STATE = "nvidia.com/mig.config", "nvidia.com/mig.config.state"
UPGRADE = "nvidia.com/gpu-driver-upgrade-state"


class Site:
    def __init__(self) -> None:
        self.hardware = fleet(3, 7)
        self.clock = ManualClock(busy_moment(self.hardware))
        self.cluster = Cluster(self.hardware, self.clock)

    @property
    def machine(self) -> SimNode:
        return next(node for node in self.hardware if node.name == NODE)

    @property
    def node(self) -> Any:
        return self.cluster.store.get(KINDS["nodes"], None, NODE)

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.node["metadata"]["labels"]
        return labels

    @property
    def gpu_pods(self) -> list[tuple[str, str]]:
        pods = self.cluster.store.select(KINDS["pods"])
        named = [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in pods if self._is_job(each)]
        return sorted(named)

    def _is_job(self, pod: Any) -> bool:
        return bool(pod["spec"].get("nodeName") == NODE and pod["metadata"]["namespace"] != self.cluster.space)

    def operand_pod(self, app: str) -> Any:
        pods = self.cluster.store.select(KINDS["pods"], self.cluster.space)
        here = (each for each in pods if each["spec"]["nodeName"] == NODE)
        return next((each for each in here if each["metadata"]["labels"]["app"] == app), None)

    def edit(self, change: Callable[[Any], None]) -> None:
        self.cluster.store.update(KINDS["nodes"], None, NODE, change)

    def wish(self, layout: str) -> None:
        def label(node: Any) -> None:
            node["metadata"]["labels"][CONFIG] = layout
            node["metadata"]["labels"].pop(STATE, None)

        self.edit(label)

    async def until(self, holds: Callable[[], object], seconds: int = 60) -> None:
        for _ in range(seconds):
            if holds():
                return
            await self.clock.advance(1)
            self.cluster.tick()
        pytest.fail("it never came to that")

    def cordon(self, on: bool) -> None:
        self.edit(lambda node: node["spec"].update(unschedulable=True) if on else node["spec"].pop("unschedulable"))

    def delete_gpu_pods(self) -> None:
        for space, name in self.gpu_pods:
            self.cluster.store.delete(KINDS["pods"], space, name)

    def processes(self) -> int:
        meter = self.cluster._meters[NODE]
        return sum(len(meter.read(gpu, self.clock.now()).processes) for gpu in self.machine.gpus)


async def test_a_pod_that_is_deleted_takes_its_processes_with_it() -> None:
    site = Site()
    assert site.gpu_pods
    assert site.processes()
    site.cordon(True)
    site.delete_gpu_pods()
    assert site.processes() == 0
    await site.clock.advance(3600)  # a cordoned node gets no new work
    site.cluster.tick()
    assert site.gpu_pods == []
    site.cordon(False)
    await site.until(lambda: site.gpu_pods, 3600)


async def test_a_mig_label_cuts_the_gpus_and_pauses_their_clients_meanwhile() -> None:
    site = Site()
    site.cordon(True)
    site.delete_gpu_pods()
    site.wish("all-3g.40gb")
    await site.until(lambda: site.labels.get(STATE) == "pending")
    assert site.labels["nvidia.com/gpu.deploy.device-plugin"] == "paused-for-mig-change"
    await site.until(lambda: site.labels[STATE] == "success")
    assert {tuple(mig.profile.name for mig in gpu.mig) for gpu in site.machine.gpus} == {("3g.40gb", "3g.40gb")}
    await site.until(lambda: site.node["status"]["allocatable"].get("nvidia.com/mig-3g.40gb") == "16")
    assert site.node["status"]["allocatable"]["nvidia.com/gpu"] == "0"
    site.wish("all-disabled")
    await site.until(lambda: site.labels.get(STATE) == "success")
    assert not any(gpu.mig_on or gpu.mig for gpu in site.machine.gpus)
    await site.until(lambda: site.node["status"]["allocatable"].get("nvidia.com/gpu") == "8")
    assert site.node["status"]["allocatable"]["nvidia.com/mig-3g.40gb"] == "0"


async def test_a_held_gpu_and_an_unknown_layout_fail() -> None:
    site = Site()
    site.wish("all-3g.40gb")
    await site.until(lambda: site.labels.get(STATE) == "failed")
    assert not any(gpu.mig_on for gpu in site.machine.gpus)
    site.cordon(True)
    site.delete_gpu_pods()
    site.wish("all-9g.99gb")
    await site.until(lambda: site.labels.get(STATE) == "pending")
    await site.until(lambda: site.labels.get(STATE) == "failed")


async def test_a_driver_pod_that_is_restarted_ends_the_gpu_pods_and_comes_back() -> None:
    site = Site()
    site.cordon(True)
    before = site.operand_pod("nvidia-driver-daemonset")
    site.cluster.store.delete(KINDS["pods"], site.cluster.space, before["metadata"]["name"])
    assert site.gpu_pods == []

    def ready() -> bool:
        pod = site.operand_pod("nvidia-driver-daemonset")
        if pod is None or pod["metadata"]["uid"] == before["metadata"]["uid"]:
            return False
        return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])

    await site.until(ready)


async def test_a_driver_upgrade_goes_through_its_steps_and_a_skipped_node_stays() -> None:
    site = Site()
    seen: list[str] = []

    def start(node: Any) -> None:
        node["metadata"]["labels"][UPGRADE] = "upgrade-required"
        node["metadata"]["labels"]["nvidia.com/gpu-driver-upgrade.skip"] = "true"

    site.edit(start)
    for _ in range(10):
        await site.clock.advance(1)
        site.cluster.tick()
    assert site.labels[UPGRADE] == "upgrade-required"
    site.edit(lambda node: node["metadata"]["labels"].pop("nvidia.com/gpu-driver-upgrade.skip"))

    def done() -> bool:
        seen.append(site.labels[UPGRADE])
        return site.labels[UPGRADE] == "upgrade-done"

    await site.until(done, 120)
    steps = list(dict.fromkeys(seen))
    assert steps[:2] == ["upgrade-required", "cordon-required"]
    assert "pod-restart-required" in steps
    assert not site.node["spec"].get("unschedulable")


def test_budgets_are_counted() -> None:
    site = Site()
    for each in site.cluster.store.select(KINDS["poddisruptionbudgets"]):
        space, name = each["metadata"]["namespace"], each["metadata"]["name"]
        pods = [
            pod for pod in site.cluster.store.select(KINDS["pods"], space) if pod["metadata"]["labels"]["app"] == name
        ]
        allowed = 0 if name == "vllm-mistral-large" else max(0, len(pods) - 1)
        assert (each["status"]["currentHealthy"], each["status"]["disruptionsAllowed"]) == (len(pods), allowed)


async def test_a_pod_is_ready_since_then_and_not_since_it_was_made() -> None:
    site = Site()
    site.cluster.fail_operand(NODE, OperandFault("device-plugin", "nvidia-device-plugin", "CrashLoopBackOff", "no"))
    site.cluster.tick()

    def conditions() -> dict[str, tuple[str, str]]:
        told = site.operand_pod("nvidia-device-plugin-daemonset")["status"]["conditions"]
        return {each["type"]: (each["status"], each["lastTransitionTime"]) for each in told}

    made = site.operand_pod("nvidia-device-plugin-daemonset")["metadata"]["creationTimestamp"]
    assert conditions()["Ready"] == ("False", made)
    await site.clock.advance(90)
    site.cluster.mend_operand(NODE)
    await site.until(lambda: conditions()["Ready"][0] == "True")
    since = conditions()["Ready"][1]
    assert since > made
    assert conditions()["PodScheduled"] == ("True", made)
    await site.clock.advance(30)
    site.cluster.tick()
    assert conditions()["Ready"] == ("True", since)
