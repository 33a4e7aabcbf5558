"""A backend of another party, installed beside gpudeck: found, listed, configured and used without touching gpudeck."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STRANGER = Path(__file__).parents[1] / "stranger"
GPUDECK = str(Path(sys.executable).with_name("gpudeck"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stranger's package is installed."""
    target = tmp_path_factory.mktemp("plugin")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(target), str(STRANGER)], check=True, capture_output=True)
    return target


def gpudeck(path: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        [GPUDECK, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment, cwd="/"
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        '[site.lab]\nplatform = "static"\nnodes = [{ name = "n1", address = "127.0.0.1:1" }]\n'
        '[site.lab.settings]\ndriver = "580.95.05"\n'
    )
    return path


def test_it_is_listed_with_what_it_can_do(installed: Path) -> None:
    listed = json.loads(gpudeck(installed, "backends", "--json").stdout)
    found = {each["name"]: each for each in listed["platforms"]}
    assert found["static"]["summary"] == "a stack that is written down"
    assert found["static"]["capabilities"] == ["stack"]
    assert {"kubernetes", "openshift"} <= found.keys()


def test_a_site_can_be_configured_with_it(installed: Path, config: Path) -> None:
    done = gpudeck(installed, "--config", str(config), "stack", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["platform"], document["health"]) == ("static", "ready")
    assert document["nodes"][0]["driver_version"] == "580.95.05"


def test_its_own_settings_are_checked_by_itself(installed: Path, config: Path) -> None:
    config.write_text(config.read_text().replace('driver = "580.95.05"', ""))
    done = gpudeck(installed, "--config", str(config), "stack")
    assert (done.returncode, done.stdout) == (2, "")
    assert "wants to know the driver" in done.stderr


def test_without_it_the_site_s_configuration_is_wrong(config: Path) -> None:
    done = gpudeck(None, "--config", str(config), "stack")
    assert done.returncode == 2
    assert "'static' is not one of docker, kubernetes, openshift" in done.stderr
