"""`gpudeck demo`: what it keeps is its own, and goes with it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tui import cli
from tui.commands import console
from tui.config import Settings
from tui.paths import state_dir


def test_a_demo_keeps_its_state_apart_and_leaves_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    kept: list[Path] = []

    def opened(_arguments: argparse.Namespace, settings: Settings, _ending: object) -> int:
        assert settings.sites[0].demo
        (state_dir() / "acknowledgements.json").write_text("{}")
        kept.append(state_dir())
        return 0

    monkeypatch.setattr(console, "_need_terminal", lambda: None)
    monkeypatch.setattr(console, "_open", opened)
    assert console.demo(cli.parser().parse_args(["demo", "--nodes", "1"])) == 0
    assert not kept[0].is_relative_to(tmp_path)
    assert not kept[0].exists()
    assert not list(tmp_path.iterdir())
