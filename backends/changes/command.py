"""A fixed command on a node, over the transport the site reads it by: what it runs, what shows it worked, its undo."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Permission, Preview, Undetermined
from backends.changes.step import Ran, Reach, Step, Told, Verdict
from backends.contract import GpudeckError, StepFailed
from backends.domain import clean

OUTPUT_LIMIT = 256 * 1024
"""Bytes of a command's output."""
CONTACT_SECONDS = 15.0
LOOK_SECONDS = 20.0
SUDO = ("sudo", "-n")
"""Never asks for a password: it fails where the rule needs one."""


@dataclass(frozen=True, slots=True)
class Check:
    """A command that only looks, and what it must answer."""

    argv: tuple[str, ...]
    pattern: str | None = None
    """A regular expression that its output must contain; None: the exit status alone is looked at."""
    statuses: tuple[int, ...] = (0,)
    words: str | None = None
    """What it comes to, for a person: `must be stopped`. None: status and pattern are told."""

    def __post_init__(self) -> None:
        if self.pattern is not None:
            re.compile(self.pattern)

    def describe(self) -> str:
        if self.words is not None:
            return f"{shlex.join(self.argv)}: {self.words}"
        wanted = "exits 0" if self.statuses == (0,) else f"exits {' or '.join(map(str, self.statuses))}"
        return f"{shlex.join(self.argv)} {wanted}" + (f" and prints /{self.pattern}/" if self.pattern else "")

    def judge(self, ran: Ran) -> Verdict:
        if ran.status not in self.statuses:
            return Verdict(False if ran.status is not None else None, how_it_ended(ran))
        if self.pattern is None:
            return Verdict(True, f"{shlex.join(self.argv)}: {exit_words(ran)}")
        found = re.search(self.pattern, ran.stdout.decode("utf-8", "replace"))
        return Verdict(found is not None, clean(found[0] if found and found[0] else last_line(ran)) or "no output")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            argv_of(document["argv"]),
            document.get("pattern"),
            tuple(int(each) for each in document["statuses"]),
            document.get("words"),
        )


@dataclass(frozen=True, slots=True)
class CommandStep(Step):
    """Runs `argv` on `node`. With `undo_argv`, its undo runs that, and `undo_check` tells that things are as before."""

    kind: ClassVar[str] = "command"

    node: str
    argv: tuple[str, ...]
    check_after: Check | None = None
    undo_argv: tuple[str, ...] = ()
    undo_check: Check | None = None
    dry_run: tuple[str, ...] = ()
    """A command that tells what `argv` would do and does nothing."""
    needs_root: bool = False
    apply_seconds: float = 60.0
    verify_seconds: float = 30.0
    repeatable: bool = False

    def __post_init__(self) -> None:
        if not self.argv:
            raise ValueError("a command has at least one word")

    @property
    def place(self) -> str:
        return f"node {self.node}"

    @property
    def checked(self) -> bool:
        return self.check_after is not None

    @property
    def undo_note(self) -> str:
        return "" if self.undo_argv else "no command is known that takes it back"

    def describe(self) -> str:
        return f"on {self.node}: {shlex.join(self.argv)}"

    def verified_by(self) -> str:
        return "nothing: no check is known" if self.check_after is None else self.check_after.describe()

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        del reach
        lines = dict.fromkeys(f"{shlex.join(step.argv)} on {step.node}" for step in steps)
        return BlastRadius(
            undetermined=tuple(Undetermined(f"whom {line} hits", "a command does not tell") for line in lines)
        )

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [await root_permission(reach, self.node, sudo=is_sudo(self.argv))] if self.needs_root else []

    async def preview(self, reach: Reach) -> Preview:
        if not self.dry_run:
            return Preview()
        ran = await run(reach, self.node, self.dry_run, LOOK_SECONDS)
        lines = tuple(clean(line) for line in ran.stdout.decode("utf-8", "replace").splitlines()[:100])
        if ran.status != 0:
            return Preview(lines, obstacles=(f"the dry run {how_it_ended(ran)}",))
        return Preview(lines)

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.node, told)
        ran = await run(reach, self.node, self.argv, self.apply_seconds)
        if ran.status != 0:
            raise StepFailed(f"{self.argv[0]} on {self.node} {how_it_ended(ran)}")
        return last_line(ran) or "exit status 0"

    async def check(self, reach: Reach) -> Verdict:
        if self.check_after is None:
            return Verdict(None, "no check is known")
        return self.check_after.judge(await run(reach, self.node, self.check_after.argv, LOOK_SECONDS))

    def undo(self) -> Step | None:
        if not self.undo_argv:
            return None
        return CommandStep(
            self.node,
            self.undo_argv,
            self.undo_check,
            needs_root=self.needs_root,
            apply_seconds=self.apply_seconds,
            verify_seconds=self.verify_seconds,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        checks = {
            key: None if document[key] is None else Check.from_json(document[key])
            for key in ("check_after", "undo_check")
        }
        return cls(
            node=str(document["node"]),
            argv=argv_of(document["argv"]),
            undo_argv=argv_of(document["undo_argv"]),
            dry_run=argv_of(document["dry_run"]),
            needs_root=bool(document["needs_root"]),
            apply_seconds=float(document["apply_seconds"]),
            verify_seconds=float(document["verify_seconds"]),
            repeatable=bool(document["repeatable"]),
            **checks,
        )


def argv_of(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise ValueError("a command is a list of words")
    return tuple(value)


def is_sudo(argv: Sequence[str]) -> bool:
    return tuple(argv[: len(SUDO)]) == SUDO


async def run(reach: Reach, node: str, argv: Sequence[str], seconds: float) -> Ran:
    """Runs a command on a node; raises GpudeckError."""
    return await reach.transport(node).run(shlex.join(argv), timeout=seconds, limit=OUTPUT_LIMIT)


async def contact(reach: Reach, node: str, told: Told) -> None:
    """Makes sure that the node takes commands, so that a node that does not is a step that did nothing."""
    told(f"connecting to {node}")
    try:
        ran = await reach.transport(node).run("true", timeout=CONTACT_SECONDS, limit=OUTPUT_LIMIT)
    except GpudeckError as error:
        raise StepFailed(error.message, error.hint, untouched=True) from error
    if ran.status != 0:
        raise StepFailed(f"{node} runs no commands: true {how_it_ended(ran)}", "", untouched=True)
    told(f"running on {node}")


async def root_permission(reach: Reach, node: str, *, sudo: bool) -> Permission:
    """Whether the login may act as root on `node`: `id -u` says 0, by sudo where the command uses it."""
    what = f"root on {node}"
    argv = (*SUDO, "id", "-u") if sudo else ("id", "-u")
    try:
        ran = await run(reach, node, argv, LOOK_SECONDS)
    except GpudeckError as error:
        return Permission(what, None, error.message)
    answer = ran.stdout.decode("utf-8", "replace").strip()
    if ran.status == 0 and answer == "0":
        return Permission(what, True, f"{shlex.join(argv)} says 0")
    said = last_line(ran) if ran.status != 0 else f"the login is uid {clean(answer, 20)}"
    return Permission(what, None if ran.status is None else False, said)


def exit_words(ran: Ran) -> str:
    return "was ended by a signal or a lost connection" if ran.status is None else f"exited {ran.status}"


def how_it_ended(ran: Ran) -> str:
    """`exited 19: In use by another client`"""
    said = last_line(ran)
    return f"{exit_words(ran)}: {said}" if said else exit_words(ran)


def last_line(ran: Ran) -> str:
    """The last thing a command said: its errors, else its output."""
    lines = [line for line in ran.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    return ran.stderr or (clean(lines[-1]) if lines else "")
