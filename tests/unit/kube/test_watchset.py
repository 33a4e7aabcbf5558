"""When nothing of a cluster can be read any more."""

from __future__ import annotations

from typing import Any, cast

from backends.contract import Unreachable
from backends.domain import KubernetesSpec, NotPermitted, Permission
from backends.feed import ManualClock
from backends.kubernetes.watching import Sync
from backends.kubernetes.watchset import OUTAGE_SECONDS, WatchSet


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
