"""A world is a platform that a backend under test finds: set up, changed and looked at without that backend."""

from __future__ import annotations

from typing import Protocol

from backends.contract import Backend
from backends.domain import Stack


class World(Protocol):
    """What the contract suite needs of a platform. Names: `NODE` has the stack, `POD` uses a GPU on it."""

    node: str
    """A GPU node whose stack is well."""
    namespace: str
    pod: str
    """Of `namespace`; has GPUs on `node`, belongs to `owner`."""
    owner: tuple[str, str]
    """Kind and name of what a person deployed."""
    container_id: str
    gpus: int
    """How many `pod` has."""
    tells_nodes_itself: bool
    """The stack is told although the platform's API does not answer or refuses."""
    blocking_operand: str
    """Which operand `break_stack` breaks."""
    blocking_message: str

    def open(self) -> Backend:
        """A backend with all rights."""
        ...

    def open_for_nobody(self) -> Backend:
        """A backend whose user may do nothing."""
        ...

    def open_nowhere(self) -> Backend:
        """A backend whose platform does not answer."""
        ...

    def is_whole(self, stack: Stack) -> bool:
        """Everything that the platform tells of the node and of itself is there: a first value need not wait for it."""
        ...

    async def break_stack(self) -> None: ...

    async def mend_stack(self) -> None: ...

    async def end_pod(self) -> None:
        """The pod is gone."""
        ...

    async def is_schedulable(self) -> bool: ...

    async def mig_layout(self) -> str | None: ...
