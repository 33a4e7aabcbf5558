"""Every test runs without the developer's machine: no configuration, no SSH files, no colour or terminal settings."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "gpudeck", deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("gpudeck")

FORGOTTEN = ("NO_COLOR", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "KUBECONFIG", "COLORTERM", "GPUDECK_DEBUG")


@pytest.fixture(autouse=True)
def nobodys_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in FORGOTTEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    return home


NOT_PROMISED = "promises no "
"""In the reason of a skip: the server is there, and its kind of platform does not do what the test is about."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.FixtureRequest, None]:
    """In CI a test that needs a real server and is skipped has failed: the server was to be there."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    lacking = NOT_PROMISED in str(report.longrepr)
    if os.environ.get("CI") and report.skipped and item.get_closest_marker("real") and not lacking:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI although it needs a real server: {report.longrepr}"
