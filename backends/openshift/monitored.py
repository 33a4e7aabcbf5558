"""Asks the cluster's monitoring now and then, while somebody looks at the stack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backends.contract import Clock, GpudeckError, NotAllowed
from backends.domain import MetricsOff, Monitoring, NotPermitted, Stack
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.fields import entries, labels_of, table
from backends.kubernetes.resources import CLUSTER_POLICIES, NAMESPACES
from backends.openshift.gpu_metrics import Answers, missing, monitoring_of, questions
from backends.openshift.monitoring import NEEDS, ROLE, Querier

FRESH_SECONDS = 30.0
"""It is not asked more often: that is how often dcgm-exporter reads its figures, and how often OpenShift scrapes."""
MONITORED = "openshift.io/cluster-monitoring"
"""Label of a namespace: its ServiceMonitors are the cluster's. The GPU Operator sets it only where it is not set, and
only on nvidia-gpu-operator (controllers/state_manager.go)."""


class Monitored:
    """Remembers the last answer; asks again in the background, and then calls `changed`."""

    def __init__(self, api: Api, clock: Clock, changed: Callable[[], None]) -> None:
        self._api = api
        self._clock = clock
        self._changed = changed
        self._querier = Querier(api)
        self._asked_at: float | None = None
        self._answers: Answers | None = None
        self._off: MetricsOff | None = None
        self._problem: str | None = None
        self._denied = False
        self._asking: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why there is no answer."""
        waits = self._answers is None and self._asking is not None and not self._asking.done()
        return self._problem or ("it has not answered yet" if waits else None)

    def denied(self) -> tuple[NotPermitted, ...]:
        what = f"alerts and GPU metrics of the cluster's monitoring (ClusterRole {ROLE})"
        return (NotPermitted(what, NEEDS),) if self._denied else ()

    def told(self, stack: Stack) -> Monitoring | None:
        return None if self._answers is None else monitoring_of(self._answers, stack, self._off)

    async def close(self) -> None:
        if self._asking is not None and not self._asking.done():
            self._asked_at = None
        await end([self._asking])

    async def look(self, url: str | None, stack: Stack, *, wait: float = 0.0) -> None:
        """Asks at `url` where that was not done lately.

        `wait`: the first time that somebody looks. It takes up to so many seconds then, unless there was no answer the
        last time, and what is old is forgotten.
        """
        if url is None:
            self._answers, self._problem, self._denied, self._asked_at = None, None, False, None
            return
        now = self._clock.monotonic()
        due = self._asked_at is None or now - self._asked_at >= FRESH_SECONDS
        if due and (self._asking is None or self._asking.done()):
            self._asked_at = now
            self._answers = None if wait else self._answers
            self._asking = asyncio.create_task(self._ask(url, stack), name="ask the cluster's monitoring")
        if wait and self._asking is not None and self._problem is None:
            await asyncio.wait([self._asking], timeout=wait)

    async def _ask(self, url: str, stack: Stack) -> None:
        before = self._answers, self._off, self._problem
        try:
            answers = Answers(*await self._querier.ask(url, questions(stack.operator_namespace)))
        except GpudeckError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self._answers, self._problem = None, error.message + hint
            self._denied = isinstance(error, NotAllowed)
        else:
            if missing(stack, monitoring_of(answers, stack, None)):
                self._off = await self._why_off(stack)
            else:
                self._off = None
            self._answers, self._problem, self._denied = answers, None, False
        if (self._answers, self._off, self._problem) != before:
            self._changed()

    async def _why_off(self, stack: Stack) -> MetricsOff | None:
        """None where neither the namespace nor the ClusterPolicy says, or may be read."""
        if stack.operator_namespace is None:
            return None
        try:
            policies = entries(await self._api.get(CLUSTER_POLICIES.path()), "items")
            monitors = [
                table(table(table(each, "spec"), "dcgmExporter"), "serviceMonitor").get("enabled") for each in policies
            ]
            if monitors and not any(each is True for each in monitors):
                return MetricsOff.SERVICE_MONITOR
            space = await self._api.get(NAMESPACES.path(name=stack.operator_namespace))
        except GpudeckError:
            return None
        label = labels_of(table(table(space, "metadata"), "labels")).get(MONITORED)
        if label is None:
            return MetricsOff.UNLABELLED
        return None if label == "true" else MetricsOff.LABEL_FALSE
