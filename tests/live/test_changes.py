"""Changes over a real OpenSSH sshd: a command with its check and undo, and a connection that dies in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from backends.changes.change import Target
from backends.changes.command import Check, CommandStep
from backends.changes.desk import ChangeDesk
from backends.changes.record import Effect, Status
from backends.domain import NodeSpec, SiteSpec, SshSpec
from backends.site import Site
from tests.changes.steps import change_of
from tests.sshd import Sshd

pytestmark = [pytest.mark.real("sshd"), pytest.mark.xdist_group("sshd")]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd").start()
    yield server
    server.stop()


@pytest.fixture
async def desk(sshd: Sshd, tmp_path: Path) -> AsyncIterator[ChangeDesk]:
    config = sshd.write_config(tmp_path / "config", "node")
    site = Site(SiteSpec("prod", nodes=(NodeSpec("node"),), ssh=SshSpec(config_file=config)))
    opened = ChangeDesk(site.spec, site, tmp_path / "state")
    await opened.open_window(10, "INC-1")
    yield opened
    await opened.close()
    await site.close()


def there(path: Path) -> Check:
    return Check(("test", "-e", str(path)))


def gone(path: Path) -> Check:
    return Check(("test", "-e", str(path)), statuses=(1,))


async def test_a_command_is_run_checked_and_undone_on_a_real_node(desk: ChangeDesk, tmp_path: Path) -> None:
    path = tmp_path / 'it\'s "quoted" $HOME'
    step = CommandStep("node", ("touch", str(path)), there(path), ("rm", str(path)), gone(path))
    record = await desk.run(change_of(step, targets=(Target("node", "node"),)))
    assert record.status is Status.DONE, record
    assert path.exists()
    assert (await desk.undo(record.id)).status is Status.UNDONE
    assert not path.exists()


async def test_a_connection_that_dies_in_the_middle_leaves_an_unknown_effect(
    desk: ChangeDesk, sshd: Sshd, tmp_path: Path
) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    slow = CommandStep(
        "node",
        ("sh", "-c", f"touch {begun}; sleep 60; touch {done}"),
        there(done),
        ("rm", "-f", str(begun)),
        gone(begun),
    )
    running = desk.launch(desk.run(change_of(slow, targets=(Target("node", "node"),))))
    async with asyncio.timeout(20):
        while not begun.exists():
            await asyncio.sleep(0.02)
    sshd.stop()
    async with asyncio.timeout(60):
        record = await running
    assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.UNKNOWN), record
    assert record.offers == ("resume", "undo", "abandon")
    sshd.start()
    assert (await desk.undo(record.id)).status is Status.UNDONE
    assert not begun.exists()


async def test_a_node_that_is_down_was_not_touched(desk: ChangeDesk, sshd: Sshd, tmp_path: Path) -> None:
    sshd.stop()
    step = CommandStep("node", ("touch", str(tmp_path / "a")), there(tmp_path / "a"))
    record = await desk.run(change_of(step, targets=(Target("node", "node"),)))
    assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE)
    assert "refused the connection" in record.why
    sshd.start()
    assert (await desk.resume(record.id)).status is Status.DONE
