"""A backend of another party, as small as one can be: its stack is what [site.NAME.settings] says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Self

from backends.contract import ConfigError, SiteContext
from backends.domain import Operand, OperandPhase, OperandState, Stack, StackHealth, StackNode


class Static:
    name: ClassVar[str] = "static"
    summary: ClassVar[str] = "a stack that is written down"

    def __init__(self, context: SiteContext) -> None:
        self._context = context
        self._driver = context.site.settings.get("driver")
        if not isinstance(self._driver, str):
            raise ConfigError("the backend static wants to know the driver", 'driver = "580.95.05"')

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        return cls(context)

    async def probe(self) -> str | None:
        return "1.0"

    async def close(self) -> None:
        pass

    async def stack(self) -> AsyncIterator[Stack]:
        state = OperandState("driver", OperandPhase.READY, version=self._driver)
        nodes = tuple(
            StackNode(node.name, StackHealth.READY, (state,), driver_version=self._driver)
            for node in self._context.site.nodes
        )
        yield Stack("static", "1.0", (Operand("driver", "driver"),), nodes)
        await asyncio.Event().wait()
