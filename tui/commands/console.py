"""`gpudeck` and `gpudeck demo`: the console."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backends.contract import ConfigError, GpudeckError
from tui import cli
from tui.commands.ending import Ending

if TYPE_CHECKING:
    from tui.config import Settings

REMOTE_FPS, LOCAL_FPS = "15", "60"
"""The longest wait of a paint behind the one before it: data is drawn four times a second at most, keys at once."""


def console(arguments: argparse.Namespace) -> int:
    """Opens the console on the configured site, or on what is found without a configuration."""
    _need_terminal()
    from tui.config import Settings, load

    path = cli.settings_path(arguments)
    settings = Settings() if path is None else load(path)
    if arguments.config is not None or arguments.site is not None or settings.sites:
        settings.site(arguments.site)
    with Ending() as ending:
        return _open(arguments, settings, ending)


def demo(arguments: argparse.Namespace) -> int:
    """Starts a lab in a process of its own, opens the console on it, and ends both together."""
    scenarios = cli.check_scenarios(arguments.scenario, arguments.platform)
    if scenarios is None:
        return 0
    _need_terminal()
    if not 1 <= arguments.nodes <= 1024:
        raise ConfigError("--nodes must be between 1 and 1024", "")
    from tui.config import load

    options = ["--nodes", str(arguments.nodes), "--seed", str(arguments.seed)]
    for name in scenarios:
        options += ["--scenario", name]
    if arguments.platform is not None:
        options += ["--platform", arguments.platform]
    with Ending() as ending, _lab(options) as site_file:
        # What a demo acknowledges and changes is of its own site, and goes with it.
        os.environ["XDG_STATE_HOME"] = str(site_file.parent / "state")
        return _open(arguments, load(site_file), ending)


@contextlib.contextmanager
def _lab(options: list[str]) -> Iterator[Path]:
    """A lab in a temporary directory; it also ends when this process dies, because its stdin does."""
    from tui.commands.demo_files import PREFIX, remove_abandoned

    remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        # -P keeps a directory called tui where the user happens to stand from being imported.
        start = "import sys; from tui.commands.console import lab_child; sys.exit(lab_child(sys.argv[1:]))"
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", start, "lab", "--out", directory, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready = process.stdout.readline().strip()
            if not ready:
                raise GpudeckError("the lab did not start", "run: gpudeck lab --out DIR")
            yield Path(ready)
        finally:
            process.stdin.close()
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def lab_child(argv: list[str]) -> int:
    """`gpudeck lab` that ends with its stdin, so that a killed console leaves no lab behind."""
    import signal
    import threading

    def leave_with_stdin() -> None:
        while sys.stdin.read(1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=leave_with_stdin, daemon=True).start()
    return cli.main(argv)


def _need_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "the console needs a terminal", "without one: gpudeck snapshot, or gpudeck lab --out DIR for the demo site"
        )


def prepare() -> None:
    """Before Textual is imported: it reads these variables then; over SSH every byte is latency."""
    gc.disable()  # `Console` turns it on after the first paint: nothing that an import makes is garbage
    remote = "SSH_CONNECTION" in os.environ or "SSH_TTY" in os.environ
    os.environ.setdefault("TEXTUAL_FPS", REMOTE_FPS if remote else LOCAL_FPS)
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")


def _open(arguments: argparse.Namespace, settings: Settings, ending: Ending) -> int:
    prepare()
    from tui.app import Console

    app = Console(
        sites=settings.sites,
        settings=settings,
        site_name=arguments.site,
        read_only=arguments.read_only,
        theme=arguments.theme,
        ascii_only=arguments.ascii,
    )
    ending.run(lambda code: app.exit(return_code=code), app.run)
    return ending.exit_code or app.return_code or 0
