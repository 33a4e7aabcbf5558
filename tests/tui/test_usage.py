"""What a container uses of its node, below the list of processes: measured while it is looked at, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from backends.contract import Gone, GpudeckError
from backends.domain import ContainerUsage, Fleet, GpuProcess, LogSource
from screens.node import NodeScreen
from screens.node_pages.processes import USAGE, ProcessesPage
from screens.usage_rows import usage_lines
from tests.scripted_logs import Scripted
from tests.tui.consoles import Opened, build, opened, spec_of
from tests.tui.fleets import GIB, NOW, h100, reading
from tests.workloads import container_id, owned, pod
from tui.widgets.glyphs import UNICODE
from tui.widgets.line import StyledLine

USED = ContainerUsage(
    at=NOW,
    cpu_percent=250.4,
    cpus=128,
    memory_bytes=12 * GIB,
    memory_limit_bytes=64 * GIB,
    pids=42,
    received_bytes=3 * GIB,
    sent_bytes=GIB,
    read_bytes=5 * GIB,
    written_bytes=2 * GIB,
)


def said(value: ContainerUsage | None, problem: str | None = None) -> list[str]:
    return ["".join(cell.text for cell in cells) for cells in usage_lines(value, problem, UNICODE)]


def test_both_lines_name_their_units() -> None:
    assert said(USED) == [
        "CPU 250 % on 128 CPUs  memory 12.0 of 64.0 GiB  pids 42",
        "net in 3.0 out 1.0 GiB  disk read 5.0 written 2.0 GiB",
    ]
    assert max(map(len, said(USED))) <= 55, "in a terminal of 80 columns the page has no more"


def test_what_the_engine_does_not_tell_is_n_a() -> None:
    assert said(ContainerUsage(at=NOW)) == ["CPU n/a on n/a CPUs  memory n/a  pids n/a", "net n/a  disk n/a"]
    podman = ContainerUsage(at=NOW, memory_bytes=GIB, memory_with_cache=True, memory_limit_bytes=2 * GIB)
    assert "memory 1.0 of 2.0 GiB with cache" in said(podman)[0]


@pytest.mark.parametrize(("pids", "memory", "styles"), [(42, 12, ["", ""]), (461, 58, ["warn", "warn"])])
def test_a_container_near_its_limits_is_marked(pids: int, memory: int, styles: list[str]) -> None:
    held, _ = usage_lines(
        ContainerUsage(at=NOW, pids=pids, pids_limit=512, memory_bytes=memory * GIB, memory_limit_bytes=64 * GIB),
        None,
        UNICODE,
    )
    assert [cell.style for cell in held[1:]] == styles
    assert held[2].text == f"pids {pids} of 512"


def test_not_yet_not_running_and_not_read_are_told_apart() -> None:
    assert said(None)[0] == "use of the node: asking"
    assert said(ContainerUsage())[0] == "it does not run: it uses nothing"
    assert said(USED, "dgx01 gave no answer")[0].endswith("use of the node n/a: dgx01 gave no answer")


class Measuring(Scripted):
    """Measures what a test says; an error is raised."""

    def __init__(self) -> None:
        super().__init__()
        self.used: asyncio.Queue[ContainerUsage | Exception] = asyncio.Queue()
        self.measured: list[LogSource] = []
        self.reading = 0

    async def usage(self, source: LogSource) -> AsyncIterator[ContainerUsage]:
        self.measured.append(source)
        self.reading += 1
        try:
            while True:
                value = await self.used.get()
                if isinstance(value, Exception):
                    raise value
                yield value
        finally:
            self.reading -= 1


class Platform:
    def __init__(self, backend: Any) -> None:
        self._backend = backend

    async def backend(self) -> Any:
        return self._backend


def process(pid: int, inside: str | None, gib: int) -> GpuProcess:
    identity = None if inside is None else container_id(inside)
    return GpuProcess(pid, "compute", "root", "python", gib * GIB, started_at=NOW - 900, container_id=identity)


PROCESSES = (process(1, "a", 30), process(2, "b", 20), process(3, None, 10))
FLEET = Fleet((reading("dgx01", replace(h100(0), processes=PROCESSES)),))
OWNED = owned(*(pod(name, platform="docker", namespace=None, owner=None) for name in ("a", "b")))
A, B = LogSource("a", node="dgx01"), LogSource("b", node="dgx01")


class OnProcesses:
    def __init__(self, on: Opened) -> None:
        self.on = on

    @property
    def lines(self) -> list[str]:
        page = self.on.screen.query_one(ProcessesPage)
        return [line.text for name in USAGE if (line := page.query_one(f"#{name}", StyledLine)).display]

    async def open(self, backend: Any) -> None:
        on = self.on
        on.site.platform = Platform(backend)
        on.site.ownership.publish(OWNED, NOW)
        await on.press("enter")
        await on.until(lambda: isinstance(on.screen, NodeScreen), "the node screen")
        await on.press("p", "enter")
        page = cast(ProcessesPage, on.screen.query_one(ProcessesPage))
        await on.until(lambda: page.grid.has_focus, "the list of processes")

    async def wait_for(self, backend: Measuring, *measured: LogSource) -> None:
        await self.on.site.clock.advance(1.0)
        await self.on.until(lambda: backend.measured == [*measured], f"{measured} measured")


def console() -> Any:
    return build(spec_of(FLEET, platform="docker"), values={"lab": FLEET})


async def test_the_chosen_container_is_measured_until_another_one_is_or_the_page_is_left() -> None:
    backend = Measuring()
    async with opened(console()) as on:
        page = OnProcesses(on)
        await page.open(backend)
        await page.wait_for(backend, A)
        backend.used.put_nowait(USED)
        await on.until(lambda: page.lines == said(USED), "the use")
        await on.press("down")
        await page.wait_for(backend, A, B)
        assert backend.reading == 1
        assert page.lines == ["use of the node: asking", ""]
        await on.press("down")
        await on.until(lambda: not backend.reading, "the end of the measuring")
        assert page.lines == [], "a process outside of containers"
        await on.press("up")
        await page.wait_for(backend, A, B, B)
        await on.press("v")
        await on.until(lambda: not backend.reading, "the end: another page is in sight")
        await on.press("p")
        await page.wait_for(backend, A, B, B, B)
        await on.press("e")
        await on.until(lambda: not backend.reading, "the end: another screen covers it")


async def test_a_failure_is_told_and_tried_again_and_an_end_is_not() -> None:
    backend = Measuring()
    async with opened(console()) as on:
        page = OnProcesses(on)
        await page.open(backend)
        await page.wait_for(backend, A)
        backend.used.put_nowait(GpudeckError("dgx01 gave no answer", ""))
        await on.until(lambda: "dgx01 gave no answer" in "".join(page.lines), "the failure")
        await page.wait_for(backend, A, A)
        backend.used.put_nowait(USED)
        await on.until(lambda: page.lines == said(USED), "the use")
        backend.used.put_nowait(Gone("no such container", ""))
        await on.until(lambda: "no such container" in "".join(page.lines), "the end")
        await on.site.clock.advance(60.0)
        assert backend.measured == [A, A]


async def test_a_platform_that_does_not_measure_has_no_line() -> None:
    async with opened(console()) as on:
        page = OnProcesses(on)
        await page.open(Scripted())
        await on.site.clock.advance(1.0)
        await on.pilot.pause()
        assert page.lines == []
