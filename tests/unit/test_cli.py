"""The command line in its own process: output, messages, exit codes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from backends.domain import SiteSpec
from backends.lab.scenarios import SCENARIOS
from tui import cli
from tui.config import _SITE_KEYS

GPUDECK = str(Path(sys.executable).with_name("gpudeck"))
README = (Path(__file__).parents[2] / "README.md").read_text()


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GPUDECK, *arguments], capture_output=True, text=True, check=False, cwd="/", env={**os.environ, **(env or {})}
    )


def test_the_version_from_any_directory() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("gpudeck 0.")


def test_as_many_files_may_be_open_as_the_user_may_have() -> None:
    tell = "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    code = f"import resource, tui.cli as cli; cli.main(['completion', 'bash']); {tell}"
    script = f'ulimit -S -n 256; ulimit -H -n 2000; exec "$0" -c "{code}"'
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "(2000, 2000)", done.stderr


def test_scenarios_are_listed() -> None:
    asked = ("--scenario", "list")
    for arguments, platform in (
        (("lab", *asked), None),
        (("demo", *asked), None),
        (("lab", "--platform", "kubernetes", *asked), "kubernetes"),
    ):
        done = run(*arguments)
        assert done.returncode == 0
        wanted = [each.name for each in SCENARIOS.values() if platform in (None, *each.platforms) or not each.platforms]
        assert [line.split()[0] for line in done.stdout.splitlines()] == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "invalid choice"),
        (("--config", "/nonexistent.toml", "snapshot"), "cannot be read"),
        (("snapshot",), "no configuration and no NVIDIA driver"),
        (("snapshot", "--timeout", "-1"), "--timeout must be"),
        (("check",), "no configuration and no NVIDIA driver"),
        (("--theme", "nope", "check"), "no theme is called 'nope'"),
        (("logs", "driver", "--tail", "-5"), "'-5' is no number of lines"),
        (("check", "--timeout", "0"), "--timeout must be"),
        (("check", "--watch-seconds", "-1"), "--watch-seconds must be"),
        (("lab",), "needs --out"),
        (("lab", "--out", "/tmp/x", "--scenario", "meteor"), "no scenario is called 'meteor'"),
        (("lab", "--out", "/tmp/x", "--nodes", "0"), "--nodes must be"),
        (("lab", "ctl", "--out", "/tmp/x", "on"), "which scenario"),
        (("demo",), "needs a terminal"),
        ((), "needs a terminal"),
    ],
)
def test_wrong_usage_is_exit_2_with_words_and_no_traceback(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_shows_its_hint(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[site.a]\nnods = []\n")
    done = run("--config", str(tmp_path / "c.toml"), "snapshot")
    assert done.returncode == 2
    assert done.stderr == f"gpudeck: {tmp_path / 'c.toml'}:2: unknown key [site.a] nods\nhint: did you mean nodes?\n"
    assert "Traceback" in run("--config", str(tmp_path / "c.toml"), "snapshot", env={"GPUDECK_DEBUG": "1"}).stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{GPUDECK} completion bash | head -c 1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


def test_backends_says_what_there_is() -> None:
    done = run("backends")
    assert done.returncode == 0
    assert "can: stack, workloads, logs" in done.stdout
    assert "nvidia-smi" in done.stdout


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["gpudeck", "sn"], ["snapshot"]),
        (["gpudeck", "snapshot", "--j"], ["--json"]),
        (["gpudeck", "check", "--w"], ["--watch-seconds"]),
        (["gpudeck", "lab", "--scenario", "gpu"], ["gpu-lost"]),
        (["gpudeck", "lab", "ctl", "o"], ["on", "off"]),
    ],
)
def test_bash_completes(typed: list[str], expected: list[str]) -> None:
    words = " ".join(f"'{word}'" for word in typed)
    script = (
        f"source <({GPUDECK} completion bash); COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1}; "
        '_gpudeck; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "snapshot" in done.stdout


def test_a_check_says_which_findings_make_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for said in ("1 a warning or worse that nobody acknowledged, or something not judged", "notes alone"):
        assert said in told
        assert said in README


def test_the_readme_names_every_command_option_scenario_and_key() -> None:
    missing = [word for words in _documented() for word in words if word not in README]
    assert missing == []


@pytest.mark.parametrize(
    "words",
    [
        ("stack",),
        ("stack", "drain", "--node", "dgx 01"),
        ("stack", "mig", "all-1g.10gb", "--node", "dgx01"),
        ("stack", "restart", "driver", "--node", "dgx01"),
        ("stack", "upgrade", "resume", "--node", "dgx01"),
        ("inventory", "forget", "dgx01"),
        ("logs", "search/llama-70b-0"),
        ("snapshot",),
        ("changes", "undo", "20260101T000000.000-aaaa", "--yes"),
    ],
)
def test_a_command_that_is_told_is_taken_with_its_configuration_and_site(words: tuple[str, ...]) -> None:
    line = SiteSpec("lab b", config_file=Path("/srv/the sites.toml"), named=True).command(*words)
    program, *typed = shlex.split(line)
    arguments = cli.parser().parse_args(typed)
    assert (program, arguments.command) == ("gpudeck", words[0])
    assert (arguments.config, arguments.site) == (Path("/srv/the sites.toml"), "lab b")
    assert SiteSpec("first").command(*words) == shlex.join(("gpudeck", *words))


def _documented() -> list[list[str]]:
    from tui.commands.completion import _words

    hidden = {"--help", "list"}
    words = [[word for word in listed if word not in hidden] for _, listed in _words(cli.parser(), "")]
    return [*words, list(SCENARIOS), list(_SITE_KEYS)]
