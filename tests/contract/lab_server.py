"""The lab's Kubernetes API in the place of a real one: empty, with a user who may do all and one who may nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from backends.feed import SystemClock
from backends.lab.kube.access import User, administrator, nobody
from backends.lab.kube.kinds import KUBERNETES, OPENSHIFT, Kind
from backends.lab.kube.logs import LogBook
from backends.lab.kube.server import KubeApi
from backends.lab.kube.store import Store
from tests.kube.server import token, write_kubeconfig


class LabKube:
    """What the worlds need of a server."""

    def __init__(self, directory: Path, kinds: tuple[Kind, ...], others: tuple[User, ...] = ()) -> None:
        self.directory = directory
        clock = SystemClock()
        self.logs = LogBook()
        users = (User("admin", token("admin"), administrator), User("nobody", token("nobody"), nobody))
        self._api = KubeApi(Store(clock), kinds, (*users, *others), self.logs, clock)

    def kubeconfig(self, user: str = "admin") -> Path:
        path = self.directory / f"kubeconfig-{user}"
        write_kubeconfig(path, {"server": self._api.url}, {"token": token(user)})
        return path

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[LabKube]:
        await self._api.start()
        try:
            yield self
        finally:
            await self._api.close()


KINDS = {"kubernetes": KUBERNETES, "openshift": (*KUBERNETES, *OPENSHIFT)}
