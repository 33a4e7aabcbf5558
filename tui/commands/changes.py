"""`gpudeck changes`: what was changed, what was cut off, and how to bring it to an end."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backends.contract import ChangeRefused, ConfigError
from backends.domain import clean
from tui import cli

if TYPE_CHECKING:
    from pathlib import Path

    from backends.changes.change import BlastRadius, Change
    from backends.changes.desk import ChangeDesk
    from backends.changes.record import ChangeRecord, StepRecord
    from backends.changes.report import Listed
    from backends.domain import SiteSpec
    from backends.feed import Reading
    from backends.site import Site


def changes(arguments: argparse.Namespace) -> int:
    """Runs one of the commands below; 1 when a change did not come to the end that was asked for, 128 and the signal's
    number when one stopped it before that."""
    return _COMMANDS[arguments.changes_command or "list"](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from backends.changes import report

    directories = _directories(arguments)
    found, unreadable = report.listed_of(directories[0], directories[1:], arguments.site, time.time(), platform.node())
    if arguments.json:
        _print_json(report.document(found, unreadable, directories, time.time()))
    else:
        moments = [_moment(each) for each in found]
        print("\n".join(report.list_lines(found, unreadable, moments, _config_file(arguments), _names(arguments))))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from backends.changes import report

    listed = _listed(arguments, arguments.id)
    if arguments.json:
        _print_json({"schema": report.SCHEMA, "at": time.time(), "changes": [report.entry(listed)]})
    else:
        lines = report.change_lines(listed, _moment(listed), _config_file(arguments), _names(arguments))
        print("\n".join(lines))
    return 0


def _again(arguments: argparse.Namespace) -> int:
    """resume and undo"""
    from backends.changes.former import remaining, undoing
    from backends.changes.record import Status

    what = arguments.changes_command
    listed = _listed(arguments, arguments.id)
    spec = _site_of(arguments, listed.record)
    if what not in listed.offers:
        offers = ", ".join(listed.offers) or "nothing"
        raise ChangeRefused(f"{listed.record.id} is {listed.status}: {what} is not possible", f"possible: {offers}")
    wanted = {"resume": Status.DONE, "undo": Status.UNDONE}[what]
    shown = undoing(listed.record) if what == "undo" else remaining(listed.record)
    if arguments.reason:
        shown = replace(shown, reason=arguments.reason)

    async def again(desk: ChangeDesk, seen: BlastRadius) -> ChangeRecord:
        return await (desk.undo if what == "undo" else desk.resume)(listed.record.id, seen)

    return asyncio.run(change_site(arguments, spec, _given(shown), again, str(wanted)))


def _abandon(arguments: argparse.Namespace) -> int:
    listed = _listed(arguments, arguments.id)
    spec = _site_of(arguments, listed.record)
    reason = arguments.reason or _asked(f"Why is {listed.record.title!r} abandoned? ")
    if not reason:
        raise ConfigError("why is it abandoned? Give --reason TEXT", "it goes into the journal and the audit log")
    if arguments.dry_run:
        print(f"would abandon {listed.record.id}: {listed.record.summary}")
        return 0
    _need_yes(arguments)

    async def abandon() -> ChangeRecord:
        async with _desk(arguments, spec) as (_, desk):
            return await desk.abandon(listed.record.id, reason)

    return _tell(arguments, asyncio.run(abandon()), "abandoned")


Planned = Callable[["Site"], Awaitable["Change"]]
Done = Callable[["ChangeDesk", "BlastRadius"], Awaitable["ChangeRecord"]]


def _given(change: Change) -> Planned:
    async def plan(_site: Site) -> Change:
        return change

    return plan


async def change_site(
    arguments: argparse.Namespace, spec: SiteSpec, plan: Planned, run: Done | None, wanted: str
) -> int:
    """Shows what would be done; with --yes it is done. `run` is None for a new change."""
    from backends.changes.report import plan_document, plan_lines

    stops: list[int] = []
    async with _desk(arguments, spec, stops) as (site, desk):
        change = await plan(site)
        if run is not None:
            change = await desk.with_radius(change)  # a former change: the journal tells of another day
        found = await desk.preflight(change)
        if arguments.dry_run:
            if arguments.json:
                _print_json(plan_document(change, found, time.time()))
            else:
                print("\n".join(plan_lines(change, found)))
            return 1 if found.obstacles else 0
        refusal = desk.window.refusal() if arguments.read_only else None
        if refusal is not None:
            raise refusal
        _need_yes(arguments)
        if found.obstacles:
            await desk.refuse(change, found)
        _need_name(arguments, found.typed_name(change))
        for doubt in found.doubts:
            _print_error(f"warning: {doubt}")
        await desk.open_window(desk.window.most_minutes, change.reason)
        _print_error(f"{change.title} ({change.id})")
        desk.running.watch(_Progress())
        record = await (desk.run(change, found.radius) if run is None else run(desk, found.radius))
    told = _tell(arguments, record, wanted)
    return 128 + stops[0] if told and stops else told


@asynccontextmanager
async def _desk(
    arguments: argparse.Namespace, spec: SiteSpec, stops: list[int] | None = None
) -> AsyncIterator[tuple[Site, ChangeDesk]]:
    """A site and its desk; the first interrupt, or a lost terminal, stops before the next step, the second at once.

    `stops` gets the signals that asked for it.
    """
    from backends.changes.desk import ChangeDesk
    from backends.site import Site
    from tui.paths import state_dir

    site = Site(spec)
    desk = ChangeDesk(spec, site, state_dir(), read_only=arguments.read_only)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def asked(number: int) -> None:
        if stops is not None:
            stops.append(number)
        desk.stop(f"it was asked to stop ({signal.Signals(number).name})")
        _print_error("stopping before the next step, and waiting for no effect; once more to leave the step behind")
        assert task is not None
        loop.add_signal_handler(number, task.cancel)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, asked, number)
    try:
        yield site, desk
    finally:
        await desk.close()
        await site.close()
        for number in numbers:
            loop.remove_signal_handler(number)


class _Progress:
    """Tells each new state of a step, and what one that is being applied or undone says, on stderr."""

    def __init__(self) -> None:
        self._known: tuple[StepRecord, ...] | None = None
        self._told = ""

    def __call__(self, reading: Reading[ChangeRecord]) -> None:
        assert reading.value is not None
        steps = reading.value.steps
        before, self._known = self._known or steps, steps  # what was before is not told anew
        for number, (old, step) in enumerate(zip(before, steps, strict=True), 1):
            if step.state is not old.state or step.said != old.said:
                what = {"applying": step.describe, "undoing": step.undo_describe}.get(step.state, step.said)
                _print_error(f"step {number} of {len(steps)}, {step.state}" + (f": {what}" if what else ""))
        told, self._told = self._told, reading.value.progress
        acts = any(step.state in ("applying", "undoing") for step in steps)
        if acts and self._told and self._told != told:
            _print_error(f"  {self._told}")


def _tell(arguments: argparse.Namespace, record: ChangeRecord, wanted: str) -> int:
    from backends.changes import report

    listed = _listed(arguments, record.id)
    if arguments.json:
        _print_json({"schema": report.SCHEMA, "at": time.time(), "changes": [report.entry(listed)]})
    else:
        print("\n".join(report.change_lines(listed, _moment(listed), _config_file(arguments))))
    return 0 if str(record.status) == wanted else 1


def _asked(question: str) -> str:
    """What is typed on the terminal; empty without one."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _config_file(arguments: argparse.Namespace) -> Path | None:
    """What command lines have to name, as this one did; None: nothing."""
    return None if arguments.config is None else arguments.config.absolute()


def _need_yes(arguments: argparse.Namespace) -> None:
    if not arguments.yes:
        raise ConfigError("nothing was done: a change from the command line needs --yes", "look first with --dry-run")


def _need_name(arguments: argparse.Namespace, wanted: str | None) -> None:
    """What ends workloads takes the target's name besides --yes, as the console's dialog does."""
    if wanted is None or arguments.confirm == wanted:
        return
    said = "" if arguments.confirm is None else f", not {clean(arguments.confirm, 64)}"
    raise ConfigError(
        f"nothing was done: it ends workloads, and so it needs the name of {clean(wanted)}{said}",
        f"look with --dry-run whom it hits; then add --confirm {shlex.quote(clean(wanted))}",
    )


def _directories(arguments: argparse.Namespace) -> list[Path]:
    """Where the journals are, which need not be there: this login's own, and those that its sites share with a group.

    Settings that cannot be read are told, and keep nobody from his own changes.
    """
    from backends.changes.desk import changes_directory
    from tui.paths import state_path

    sites: tuple[SiteSpec, ...] = ()
    try:
        sites = _sites(arguments) or ()
    except ConfigError as error:
        _print_error(f"gpudeck: changes that are shared with others are not looked at: {error.message}")
    shared = [each.changes.directory for each in sites if each.changes.directory is not None]
    return list(dict.fromkeys((changes_directory(state_path()), *shared)))


def _sites(arguments: argparse.Namespace) -> tuple[SiteSpec, ...] | None:
    """Those that are configured; None without a configuration. Raises ConfigError."""
    from tui.config import load

    path = cli.settings_path(arguments)
    return None if path is None else load(path).sites


def _names(arguments: argparse.Namespace) -> frozenset[str] | None:
    """Of the sites that are configured; None without a configuration that can be read."""
    with suppress(ConfigError):
        sites = _sites(arguments)
        return None if sites is None else frozenset(each.name for each in sites)
    return None


def _listed(arguments: argparse.Namespace, change_id: str) -> Listed:
    from backends.changes.journal import path_of, read
    from backends.changes.lock import lock_path, look
    from backends.changes.report import Listed

    own, *shared = _directories(arguments)
    directory = next((each for each in shared if _is_there(path_of(each, change_id))), own)
    record = read(path_of(directory, change_id))
    return Listed(record, look(lock_path(directory, record.site), time.time(), platform.node()))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the directory is closed to this login
        return False


def _site_of(arguments: argparse.Namespace, record: ChangeRecord) -> SiteSpec:
    """The site of a former change. Raises ChangeRefused for one of before its changes were shared."""
    from backends.changes.desk import changes_directory
    from backends.changes.journal import path_of
    from tui.paths import state_path

    spec = site_named(arguments, record.site)
    directory = changes_directory(state_path(), spec)
    if not _is_there(path_of(directory, record.id)):
        said = f"{record.id} is not in {directory}, where {spec.name} keeps its changes"
        raise ChangeRefused(said, "end it with a configuration that has the changes_directory of when it was made")
    return spec


def site_named(arguments: argparse.Namespace, name: str | None) -> SiteSpec:
    path = cli.settings_path(arguments)
    if path is None:
        raise ConfigError("there is no configuration that tells how the nodes are reached", "name one with --config")
    from tui.config import load

    return load(path).site(name)


def _moment(listed: Listed) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(listed.record.begun_at))


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=1, allow_nan=False))


def _print_error(line: str) -> None:
    with suppress(OSError):  # a terminal that has gone must not end the change
        print(line, file=sys.stderr, flush=True)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "resume": _again,
    "undo": _again,
    "abandon": _abandon,
}
