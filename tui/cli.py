"""The command line. stdout belongs to output, stderr to messages.

Exit codes: 0 done, 1 it failed, 2 wrong usage or configuration, 3 nothing could be reached, 130 interrupted. Nothing
here imports Textual or an SDK before a command needs it: --help, --version and snapshot stay quick.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from backends.contract import ConfigError, GpudeckError
from tui.theme_names import THEME_NAMES

OPEN_FILES = 65_536
ANSWER_SECONDS = 20.0
"""As long `gpudeck check` waits for every node to answer."""
WATCH_SECONDS = 6.0
"""As long it looks then; the drills look as long."""


Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    _allow_open_files()
    try:
        return _command(arguments)(arguments)
    except GpudeckError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; closing stdout quietly keeps Python from complaining at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _allow_open_files() -> None:
    """As many as this user may have: a node, a watch and a log are one each, and shells begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _complain(error: GpudeckError) -> int:
    if os.environ.get("GPUDECK_DEBUG"):
        raise error
    print(f"gpudeck: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _command(arguments: argparse.Namespace) -> Command:
    """The function of the chosen command, imported only now."""
    import importlib

    module, function = _COMMANDS[arguments.command]
    return getattr(importlib.import_module(f"tui.commands.{module}"), function)  # type: ignore[no-any-return]


_COMMANDS: dict[str | None, tuple[str, str]] = {
    None: ("console", "console"),
    "demo": ("console", "demo"),
    "lab": ("lab", "lab"),
    "snapshot": ("snapshot", "snapshot"),
    "mig": ("mig", "mig"),
    "check": ("check", "check"),
    "stack": ("stack", "stack"),
    "logs": ("logs", "logs"),
    "inventory": ("inventory", "inventory"),
    "changes": ("changes", "changes"),
    "backends": ("backends", "backends"),
    "completion": ("completion", "completion"),
}


def parser() -> Parser:
    """The whole command line; the completion scripts are made from it."""
    top = Parser(
        prog="gpudeck",
        description="Terminal operations console for on-premises NVIDIA GPU sites.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 nothing reached, 130 interrupted.",
    )
    top.add_argument("--version", action=_Version, help="print the version and exit")
    top.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: ~/.config/gpudeck/config.toml)"
    )
    top.add_argument("--site", metavar="NAME", help="the site to open (default: the first in the configuration)")
    top.add_argument("--read-only", action="store_true", help="allow no change for the life of this process")
    top.add_argument("--theme", type=_theme, metavar="NAME", help=f"colours: {', '.join(THEME_NAMES)}")
    top.add_argument("--ascii", action="store_true", help="glyphs from ASCII only")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    for name, (text, describe) in _PARSERS.items():
        commands.add_parser(name, help=text, describe=describe)
    return top


def _theme(name: str) -> str:
    if name not in THEME_NAMES:
        raise argparse.ArgumentTypeError(f"no theme is called {name!r}; there are: {', '.join(THEME_NAMES)}")
    return name


def _tail(text: str) -> int:
    if not re.fullmatch(r"-1|[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines, nor -1 for all")
    return int(text)


class Parser(argparse.ArgumentParser):
    """One whose arguments are described once it is asked about them: the console pays for those of no other command."""

    def __init__(self, *, describe: Callable[[Parser], None] | None = None, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._describe = describe

    def described(self) -> Self:
        """With its arguments."""
        describe, self._describe = self._describe, None
        if describe is not None:
            describe(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super(Parser, self.described()).parse_known_args(args, namespace)


def _demo(demo: Parser) -> None:
    _lab_arguments(demo)
    demo.add_argument("--theme", type=_theme, metavar="NAME", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    demo.add_argument("--ascii", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _lab(lab: Parser) -> None:
    lab.add_argument("--out", type=Path, metavar="DIR", help="where site.toml, keys and the control socket go")
    _lab_arguments(lab)
    lab.add_argument("--hostile", action="store_true", help="names and commands full of escape sequences and markup")
    lab.add_argument("--changing", type=int, default=100, metavar="PERCENT", help="share of nodes whose values move")
    control = lab.add_subparsers(dest="lab_command", metavar="[ctl]")
    ctl = control.add_parser("ctl", help="switch scenarios of a running lab")
    ctl.add_argument("--out", type=Path, metavar="DIR", required=True, help="the directory of the running lab")
    ctl.add_argument("op", choices=("on", "off", "list"))
    ctl.add_argument("scenario_name", nargs="?", metavar="SCENARIO")


def _snapshot(snapshot: Parser) -> None:
    snapshot.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/snapshot/1"')
    snapshot.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS", help="longest wait (default: 20)")
    _site_arguments(snapshot)


_STACK_VERBS: tuple[tuple[str, str, tuple[tuple[str, dict[str, object]], ...]], ...] = (
    ("restart", "delete an operand's pod on a node: another one comes up", (("argument", {"metavar": "OPERAND"}),)),
    ("cordon", "keep new pods off a node", ()),
    ("uncordon", "let new pods on a node again", ()),
    (
        "drain",
        "cordon a node and evict its pods, as PodDisruptionBudgets allow",
        (("--force", {"action": "store_true", "help": "also pods that come back nowhere or lose emptyDir data"}),),
    ),
    ("mig", "ask the MIG manager for a layout of all GPUs of a node", (("argument", {"metavar": "LAYOUT"}),)),
    (
        "upgrade",
        "start the driver upgrade of a node, or leave the node out of upgrades",
        (("phase", {"choices": ("start", "pause", "resume")}),),
    ),
)
"""What `gpudeck stack` changes: word, help, what the word takes."""


def _stack(stack: Parser) -> None:
    stack.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/stack/1"')
    stack.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="longest wait (default: 30)")
    _site_arguments(stack)
    verbs = stack.add_subparsers(dest="stack_command", metavar=f"[{'|'.join(name for name, _, _ in _STACK_VERBS)}]")
    for name, text, own in _STACK_VERBS:
        verb = verbs.add_parser(
            name,
            help=text,
            epilog="Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the platform cannot be reached.",
        )
        for argument, options in own:
            verb.add_argument(argument, **options)  # type: ignore[arg-type]
        verb.add_argument("--node", required=True, metavar="NAME", help="as the platform calls it")
        verb.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help='a document with "schema": "gpudeck/changes/1"',
        )
        verb.add_argument("--timeout", type=float, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        change_arguments(verb)
        _site_arguments(verb)


def _backends(backends: Parser) -> None:
    backends.add_argument("--json", action="store_true")


def _completion(completion: Parser) -> None:
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _logs(logs: Parser) -> None:
    logs.add_argument("name", metavar="NAME", help="an operand (driver, toolkit, ...), POD, NAMESPACE/POD or CONTAINER")
    logs.add_argument("--node", metavar="NODE", help="where it runs; needed for an operand of several nodes")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, through cuts and restarts")
    logs.add_argument("-p", "--previous", action="store_true", help="of the container's former run")
    logs.add_argument(
        "-c",
        "--container",
        action="append",
        metavar="NAME",
        help="of a pod; may be repeated (default: what is not well)",
    )
    logs.add_argument("--timestamps", action="store_true", help="the time before each line")
    logs.add_argument(
        "--tail", type=_tail, default=1000, metavar="N", help="the last N lines; -1 for all (default: 1000)"
    )
    logs.add_argument("--since", type=int, metavar="SECONDS", help="only what is younger")
    _site_arguments(logs)


def _check(check: Parser) -> None:
    check.epilog = (
        "Exit codes: 0 all well, or notes alone, 1 a warning or worse that nobody acknowledged, or something not "
        "judged, 2 usage, 3 nothing can be reached."
    )
    check.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/check/1"')
    check.add_argument(
        "--timeout",
        type=float,
        default=ANSWER_SECONDS,
        metavar="SECONDS",
        help=f"longest wait (default: {ANSWER_SECONDS:g})",
    )
    check.add_argument(
        "--watch-seconds",
        type=float,
        default=WATCH_SECONDS,
        metavar="SECONDS",
        help="how long to look after all have answered: what lasts is told, what flickers is not "
        f"(default: {WATCH_SECONDS:g})",
    )
    _site_arguments(check)


def _inventory(inventory: Parser) -> None:
    inventory.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/inventory/1"')
    _site_arguments(inventory)
    kinds = inventory.add_subparsers(dest="inventory_command", metavar="[list|forget]")
    for name, text in (
        ("list", "which GPUs each node has shown, and since when it shows fewer (what it does without a word)"),
        ("forget", "hold a node against what it shows from now on: GPUs were taken out on purpose"),
    ):
        kind = kinds.add_parser(name, help=text)
        _site_arguments(kind)
        if name == "forget":
            kind.add_argument("node", metavar="NODE")
        else:
            kind.add_argument("--json", action="store_true", default=argparse.SUPPRESS)


def _changes(changes: Parser) -> None:
    changes.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/changes/1"')
    _site_arguments(changes)
    kinds = changes.add_subparsers(dest="changes_command", metavar="[list|show|resume|undo|abandon]")
    for name, text in (
        ("list", "every change and its state (what it does without a word)"),
        ("show", "one change in full"),
        ("resume", "go on with a change; a step in doubt is looked at first"),
        ("undo", "take back what a change has done, the last step first"),
        ("abandon", "close a change without touching anything"),
    ):
        kind = kinds.add_parser(name, help=text)
        kind.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
        _site_arguments(kind)
        if name != "list":
            kind.add_argument("id", metavar="ID")
        if name not in ("list", "show"):
            change_arguments(kind)


def change_arguments(command: argparse.ArgumentParser) -> None:
    """What every command has that changes something."""
    command.add_argument("--yes", action="store_true", help="do it; without, nothing is changed")
    command.add_argument(
        "--confirm", metavar="NAME", help="the target's name, as the dry run tells it; needed for what ends workloads"
    )
    command.add_argument("--dry-run", action="store_true", help="only tell what would be done, and whom it hits")
    command.add_argument("--reason", metavar="TEXT", help="why, for the journal and the audit log")


def _lab_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--nodes", type=int, default=12, metavar="N", help="simulated nodes (default: 12)")
    command.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="a scripted fault, may be repeated; 'list' shows them",
    )
    command.add_argument(
        "--platform",
        choices=("docker", "kubernetes", "openshift"),
        help="what the simulated nodes run (default: what the scenarios need)",
    )
    command.add_argument("--seed", type=int, default=7, metavar="N", help="the same seed, the same site")


def _mig(mig: Parser) -> None:
    verbs = mig.add_subparsers(dest="mig_command", metavar="VERB", required=True)
    plan = verbs.add_parser(
        "plan",
        help="say whether a layout is possible and how it is made; changes nothing",
        epilog="Exit codes: 0 possible, 1 not possible, 2 usage, 3 the node cannot be read.",
    )
    subject = plan.add_mutually_exclusive_group(required=True)
    subject.add_argument("--node", metavar="NAME", help="a node of the site; the plan starts from what is there")
    subject.add_argument("--gpu-model", metavar="NAME", help='any GPU of a model, as "NVIDIA A100-SXM4-80GB" or H200')
    plan.add_argument("--gpu", type=int, metavar="INDEX", help="the GPU's number on its node")
    plan.add_argument(
        "--want",
        required=True,
        metavar="WISH",
        help="3g.40gb,3g.40gb or '4x 1g.10gb + 1x 3g.40gb' or all-balanced; 3g.40gb:4 (or 3g.40gb@4:4) is one at its "
        "place, and a + in front adds to what is there",
    )
    plan.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/mig-plan/1"')
    plan.add_argument("--timeout", type=float, default=20.0, metavar="SECONDS", help="longest wait (default: 20)")
    _site_arguments(plan)
    apply = verbs.add_parser(
        "apply",
        help="make a layout on a node, by nvidia-smi over SSH; it can be undone",
        epilog="Exit codes: 0 done, 1 not possible or failed, 2 usage, 3 the node cannot be read.",
    )
    apply.add_argument("--node", required=True, metavar="NAME", help="a node of the site")
    apply.add_argument("--gpu", type=int, required=True, metavar="INDEX", help="the GPU's number on its node")
    apply.add_argument("--want", required=True, metavar="WISH", help="as for plan")
    apply.add_argument("--json", action="store_true", help='a document with "schema": "gpudeck/changes/1"')
    change_arguments(apply)
    _site_arguments(apply)


def _site_arguments(command: argparse.ArgumentParser) -> None:
    """Also accepted behind the command's name."""
    command.add_argument("--config", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    command.add_argument("--site", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


_PARSERS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "demo": ("start a simulated site on this machine and open the console on it", _demo),
    "lab": ("run the simulated site alone, for any tool to look at", _lab),
    "snapshot": ("one reading of everything", _snapshot),
    "mig": ("MIG layouts: which are possible, and the way there", _mig),
    "check": ("what is wrong, why and what to do; 1 for a warning or worse", _check),
    "inventory": ("which GPUs each node has shown; forgets those that were taken out on purpose", _inventory),
    "changes": ("what was changed, what was cut off, and how to end it", _changes),
    "stack": ("the GPU stack of the site's platform, what blocks it, and changes to it", _stack),
    "logs": ("the log of an operand, a pod or a container", _logs),
    "backends": ("installed platform backends and how nodes are read", _backends),
    "completion": ("print a completion script", _completion),
}
"""Command -> its line in the help, and what describes its arguments; in the order of the help."""


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **keywords: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_arguments: object) -> None:
        from importlib.metadata import version

        print(f"gpudeck {version('gpudeck')}")
        parser.exit()


def settings_path(arguments: argparse.Namespace) -> Path | None:
    """The configuration to read: the one named, else the user's if there is one; None without either."""
    if arguments.config is not None:
        return Path(arguments.config)
    from tui.paths import config_file

    default = config_file()
    return default if default.is_file() else None


def check_scenarios(names: Sequence[str], platform: str | None = None) -> tuple[str, ...] | None:
    """The scenarios to run; None after 'list' was asked for and printed. Raises ConfigError for an unknown one.

    With `platform` the list holds what can be played there.
    """
    from backends.lab.scenarios import SCENARIOS

    if "list" in names:
        for scenario in SCENARIOS.values():
            if not scenario.platforms or platform is None or platform in scenario.platforms:
                where = f" (on {scenario.platform})" if scenario.platform and platform is None else ""
                print(f"{scenario.name:<24} {scenario.summary}{where}")
        return None
    for name in names:
        if name not in SCENARIOS:
            raise ConfigError(f"no scenario is called {name!r}", f"there are: {', '.join(SCENARIOS)}")
    return tuple(names)


if __name__ == "__main__":
    sys.exit(main())
