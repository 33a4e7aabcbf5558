"""When a cluster is read, and when nothing of it can be read any more."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from backends.contract import GpudeckError, Unreachable
from backends.domain import KubernetesSpec, NotPermitted, Permission
from backends.feed import ManualClock, end
from backends.kubernetes.watching import Sync
from backends.kubernetes.watchset import OUTAGE_SECONDS, VERSION_RETRY_SECONDS, VERSION_SECONDS, WatchSet


async def test_an_outage_is_told_within_seconds_whatever_else_is_not_permitted() -> None:
    clock = ManualClock(1000.0)
    watches = WatchSet(cast(Any, object()), KubernetesSpec(), clock)
    watches.policies.denied = NotPermitted("the policies", Permission("list", "clusterpolicies"))
    watches.policies.state = Sync.NOT_PERMITTED
    watches.drivers.state = Sync.ABSENT
    rest = [watch for watch in watches.watches() if watch not in (watches.policies, watches.drivers)]
    for watch in rest[:-1]:
        watch._retry(Unreachable("connection refused", ""))
    await clock.advance(60)
    assert watches.outage() is None, "something is still read"
    rest[-1]._retry(Unreachable("connection refused", ""))
    assert watches.outage() is None, "it may be over at once"
    await clock.advance(OUTAGE_SECONDS)
    assert str(watches.outage()) == "connection refused"


class Versions:
    """The only answers are to `/version`, one after the other; everything else hangs."""

    namespace: str | None = None

    def __init__(self, *answers: str | GpudeckError) -> None:
        self.answers = list(answers)
        self.may_answer = asyncio.Event()

    async def get(self, path: str) -> dict[str, Any]:
        assert path == "/version"
        await self.may_answer.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, GpudeckError):
            raise answer
        return {"gitVersion": answer}


def all_but_the_version_is_read(watches: WatchSet) -> None:
    for watch in watches.watches():
        watch.state = Sync.ABSENT


async def test_the_first_value_waits_for_the_version_of_the_cluster() -> None:
    api = Versions("v1.31.2")
    clock = ManualClock(1000.0)
    watches = WatchSet(cast(Any, api), KubernetesSpec(), clock)
    all_but_the_version_is_read(watches)
    asking = asyncio.create_task(watches._read_version())
    await clock.advance(0)
    before = watches.settled
    api.may_answer.set()
    await clock.advance(0)
    assert (before, watches.settled, watches.version) == (False, True, "v1.31.2")
    await end([asking])


async def test_a_version_that_cannot_be_read_keeps_nobody_waiting_and_is_asked_again() -> None:
    clock = ManualClock(1000.0)
    api = Versions(Unreachable("connection refused", ""), "v1.31.2", Unreachable("connection refused", ""), "v1.32.0")
    api.may_answer.set()
    watches = WatchSet(cast(Any, api), KubernetesSpec(), clock)
    all_but_the_version_is_read(watches)
    asking = asyncio.create_task(watches._read_version())
    await clock.advance(0)
    assert (watches.settled, watches.version) == (True, None)
    seen: list[str | None] = []
    for seconds in (VERSION_RETRY_SECONDS, VERSION_SECONDS, VERSION_RETRY_SECONDS):
        await clock.advance(seconds)
        seen.append(watches.version)
    assert seen == ["v1.31.2", "v1.31.2", "v1.32.0"], "a version that was read stays until a newer one is"
    await end([asking])
