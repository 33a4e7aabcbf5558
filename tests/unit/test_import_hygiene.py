"""What must not be imported is not: looked at in a fresh process, because the static graph cannot see deferral."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("textual", "rich", "asyncssh", "kubernetes", "aiodocker", "tritonclient", "grpc", "pynvml", "pydantic")


def loaded_after(code: str) -> set[str]:
    """The heavy modules in sys.modules after `code`, which may end in SystemExit."""
    script = (
        "import sys, io, contextlib\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["backends"],
        ["completion", "bash"],
        ["lab", "--scenario", "list"],
        ["snapshot", "--help"],
        ["stack", "--help"],
        ["check", "--help"],
        ["changes"],
        ["changes", "--json"],
    ],
)
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_after(f"from tui.cli import main\nmain({arguments!r})") == set()


def test_the_snapshot_never_imports_textual_or_rich(tmp_path_factory: pytest.TempPathFactory) -> None:
    site = tmp_path_factory.mktemp("site") / "site.toml"
    site.write_text('[site.a]\nnodes = [{ name = "gone", address = "127.0.0.1:1" }]\n')
    code = f"from tui.cli import main\nmain(['--config', {str(site)!r}, 'snapshot', '--json'])"
    assert loaded_after(code) == {"asyncssh"}


def test_a_configuration_is_checked_without_textual(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_text(
        'theme = "dark"\n[keys]\n"app.help" = "f1"\n[filters]\nwarm = "temp>85"\n[site.a]\nnodes = ["local"]\n'
    )
    code = f"from pathlib import Path\nfrom tui.config import load\nload(Path({str(file)!r}))"
    assert loaded_after(code) <= {"rich"}, "Rich tells how wide a character is"


@pytest.mark.parametrize(
    "module",
    [
        "backends.registry",
        "backends.site",
        "backends.snapshot",
        "backends.check",
        "backends.discovery",
        "backends.changes.desk",
    ],
)
def test_backends_load_their_sdks_on_first_use(module: str) -> None:
    assert loaded_after(f"import {module}") == set()


@pytest.mark.parametrize(
    "module",
    ["tui.widgets.filter.parser", "tui.widgets.filter.completion", "tui.saved_filters"],
)
def test_the_language_of_the_filters_is_free_of_the_terminal(module: str) -> None:
    assert loaded_after(f"import {module}") == set()


def test_the_tables_of_fields_need_no_application() -> None:
    assert "textual" not in loaded_after("import screens.filter_tables")


def test_a_console_without_a_filter_loads_nothing_that_reads_one() -> None:
    code = "import sys, tui.app, screens.fleet\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    loaded = set(done.stdout.split())
    assert "tui.widgets.filter" in loaded
    assert not loaded & {"tui.widgets.filter.parser", "tui.widgets.filter.fields", "screens.gpu_fields"}
