"""`gpudeck lab --scenario S` in one process, `gpudeck check` in another: it names the cause first, for every S."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.drills.expected import EXPECTED, ON_PLATFORMS

GPUDECK = str(Path(sys.executable).with_name("gpudeck"))
AT_ONCE = 3
"""Labs at a time: most of the time of a check is spent watching."""
FIELDS = ("id", "rule", "severity", "subject", "claim", "since", "evidence", "steps", "advice_source", "hits")


async def checked(scenario: str, directory: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a check of a lab that plays `scenario`."""
    out = directory / scenario
    lab = await asyncio.create_subprocess_exec(
        *(GPUDECK, "lab", "--out", str(out), "--scenario", scenario),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert lab.stdout is not None
        assert (await lab.stdout.readline()).strip().endswith(b"site.toml")
        check = await asyncio.create_subprocess_exec(
            *(GPUDECK, "--config", str(out / "site.toml"), "check", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**os.environ, "HOME": str(directory)},
        )
        said, complaints = await asyncio.wait_for(check.communicate(), 120)
        assert said, complaints.decode()
        return check.returncode or 0, json.loads(said)
    finally:
        lab.send_signal(signal.SIGTERM)
        await asyncio.wait_for(lab.wait(), 30)


@pytest.mark.timeout(600)
async def test_check_names_the_cause_first_for_every_scenario(tmp_path: Path) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    wrong: dict[str, object] = {}

    async def play(scenario: str) -> None:
        async with turns:
            code, document = await checked(scenario, tmp_path)
        expected = {**EXPECTED, **ON_PLATFORMS}.get(scenario)
        assert document["schema"] == "gpudeck/check/1"
        assert all(field in finding for finding in document["findings"] for field in FIELDS)
        told = [
            (each["rule"], each["severity"], each["subject"]["node"], each["subject"]["gpu_index"], each["claim"])
            for each in document["findings"]
        ]
        if expected is None:
            if told or code != 0:
                wrong[scenario] = (code, told)
        elif not (
            told
            and told[0][:4] == expected[:4]
            and expected.words in told[0][4]
            and code == (0 if expected.severity == "info" else 1)
        ):
            wrong[scenario] = (code, told)

    async with asyncio.TaskGroup() as group:
        for scenario in ("quiet", *EXPECTED, *ON_PLATFORMS):
            group.create_task(play(scenario))
    assert wrong == {}


def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GPUDECK, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "HOME": str(home)},
        cwd="/",
    )


def test_nothing_reachable_is_exit_3_and_still_says_why(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[site.gone]\nnodes = [{ name = "gone", address = "127.0.0.1:1" }]\n')
    done = run("--config", str(config), "check", "--watch-seconds", "0", home=tmp_path)
    assert done.returncode == 3
    assert "gone" in done.stdout
    assert "cannot be reached" in done.stdout
    assert "ssh -v" in done.stdout
