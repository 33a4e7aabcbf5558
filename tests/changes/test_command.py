"""A command on a node, with its check and its undo: real processes on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.changes.change import Target
from backends.changes.command import Check, CommandStep
from backends.changes.desk import ChangeDesk
from backends.changes.record import ChangeRecord, Effect, Status
from backends.changes.step import Step, step_from_json, step_json
from backends.contract import GpudeckError, StepFailed, Unreachable
from backends.domain import SiteSpec
from backends.feed import SystemClock
from backends.nodes.local import LocalTransport
from backends.nodes.transport import Completed
from tests.changes.steps import change_of


class Here:
    """Every node is this machine; `down` ones are not reached."""

    def __init__(self, *down: str) -> None:
        self.clock = SystemClock()
        self.spec = SiteSpec("lab")
        self.down = down

    def transport(self, node: str) -> Any:
        return Down() if node in self.down else LocalTransport()

    def client(self, name: str) -> Any:
        raise GpudeckError(f"no {name}")


class Down:
    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        raise Unreachable("dgx09 refused the connection", "is sshd running there?")


def touch(path: Path, **more: Any) -> CommandStep:
    values: dict[str, Any] = {
        "check_after": Check(("test", "-e", str(path))),
        "undo_argv": ("rm", str(path)),
        "undo_check": Check(("test", "-e", str(path)), statuses=(1,)),
        "verify_seconds": 0.0,
        **more,
    }
    return CommandStep("dgx01", ("touch", str(path)), **values)


async def ran(tmp_path: Path, *steps: Step, reach: Here | None = None) -> tuple[ChangeDesk, ChangeRecord]:
    desk = ChangeDesk(SiteSpec("prod"), reach or Here(), tmp_path / "state")
    await desk.open_window(5, "INC-1")
    return desk, await desk.run(change_of(*steps, targets=(Target("node", "dgx01"),)))


async def test_it_runs_is_checked_and_is_undone(tmp_path: Path) -> None:
    desk, record = await ran(tmp_path, touch(tmp_path / "it's here"))
    assert record.status is Status.DONE
    assert record.steps[0].describe == f"on dgx01: touch '{tmp_path}/it'\"'\"'s here'"
    assert (tmp_path / "it's here").exists()
    assert (await desk.undo(record.id)).status is Status.UNDONE
    assert not (tmp_path / "it's here").exists()
    await desk.close()


async def test_an_argument_is_never_a_shell_word(tmp_path: Path) -> None:
    _, record = await ran(tmp_path, CommandStep("dgx01", ("echo", f"; touch {tmp_path}/pwned", "$(id)", "`id`")))
    assert record.steps[0].said.startswith("no check") or f"; touch {tmp_path}/pwned $(id) `id`" in record.steps[0].said
    assert not (tmp_path / "pwned").exists()


async def test_a_node_that_is_not_reached_has_not_been_touched(tmp_path: Path) -> None:
    _, record = await ran(tmp_path, touch(tmp_path / "a"), reach=Here("dgx01"))
    assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE)
    assert record.why == "dgx09 refused the connection (is sshd running there?)"


async def test_a_command_that_fails_is_in_doubt_unless_things_are_as_before(tmp_path: Path) -> None:
    _, record = await ran(tmp_path, CommandStep("dgx01", ("false",)))
    assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.UNKNOWN)
    assert record.why == "false on dgx01 exited 1"
    broken = CommandStep("dgx01", ("rmdir", str(tmp_path / "none")), undo_argv=("true",), undo_check=Check(("true",)))
    desk, record = await ran(tmp_path / "second", broken)
    assert record.steps[0].effect is Effect.NONE
    assert "nothing was changed: true: exited 0" in record.why
    await desk.close()


async def test_an_output_that_is_not_as_expected_fails_the_step(tmp_path: Path) -> None:
    look = Check(("echo", "MIG mode: Disabled"), pattern="MIG mode: Enabled")
    _, record = await ran(tmp_path, touch(tmp_path / "a", check_after=look))
    assert record.status is Status.FAILED
    assert record.why == "not seen within 0 s: MIG mode: Disabled"


async def test_a_command_that_hangs_is_ended_and_in_doubt(tmp_path: Path) -> None:
    _, record = await ran(tmp_path, CommandStep("dgx01", ("sleep", "60"), apply_seconds=0.2))
    assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.UNKNOWN)
    assert "more than 0 s" in record.why


async def test_a_dry_run_tells_and_does_not(tmp_path: Path) -> None:
    step = touch(tmp_path / "a", dry_run=("echo", "would touch a"))
    assert (await step.preview(Here())).effects == ("would touch a",)
    broken = touch(tmp_path / "a", dry_run=("sh", "-c", "echo no room >&2; exit 3"))
    assert (await broken.preview(Here())).obstacles == ("the dry run exited 3: no room",)
    assert not (tmp_path / "a").exists()


async def test_whether_the_login_is_root_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = touch(tmp_path / "a", needs_root=True)
    for answer, granted in (("0", True), ("1000", False)):
        tool = tmp_path / "id"
        tool.write_text(f"#!/bin/sh\necho {answer}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        (permission,) = await step.permissions(Here())
        assert (permission.what, permission.granted) == ("root on dgx01", granted)
    (permission,) = await step.permissions(Here("dgx01"))
    assert (permission.granted, permission.why) == (None, "dgx09 refused the connection")
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho sudo: a password is required >&2; exit 1\n")
    sudo.chmod(0o755)
    by_sudo = CommandStep("dgx01", ("sudo", "-n", "true"), needs_root=True)
    (permission,) = await by_sudo.permissions(Here())
    assert (permission.granted, permission.why) == (False, "sudo: a password is required")


def test_it_goes_through_json_unchanged(tmp_path: Path) -> None:
    for step in (touch(tmp_path / "a"), CommandStep("n", ("true",)), touch(tmp_path / "b", repeatable=True)):
        assert step_from_json(json.loads(json.dumps(step_json(step)))) == step
    assert touch(tmp_path / "a").undo_note == ""
    assert CommandStep("n", ("true",)).undo() is None
    assert CommandStep("n", ("true",)).undo_note


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "teleport"},
        {"kind": "command"},
        {"kind": "command", "node": "a", "argv": "rm -rf /"},
        {"kind": "command", "node": "a", "argv": []},
        {"kind": "mig", "node": "a", "index": "x"},
        {"kind": "mig-layout", "layout": 5},
    ],
)
def test_a_document_that_is_no_step_is_an_error_in_words(document: dict[str, Any]) -> None:
    with pytest.raises(GpudeckError):
        step_from_json(document)


def test_a_step_of_another_package_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "stranger-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gpudeck.step]\nstranger = stranger:Wave\nbroken = nowhere:X\n")
    (tmp_path / "stranger.py").write_text(
        "from tests.changes.steps import GoneStep\nclass Wave(GoneStep):\n    kind = 'stranger'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    step = step_from_json({"kind": "stranger", "path": "/x"})
    assert type(step).__name__ == "Wave"
    with pytest.raises(GpudeckError, match="cannot be loaded"):
        step_from_json({"kind": "broken"})
    sys.modules.pop("stranger", None)


async def test_a_step_that_is_refused_says_so() -> None:
    with pytest.raises(StepFailed) as caught:
        raise StepFailed("no", untouched=True)
    assert caught.value.untouched
