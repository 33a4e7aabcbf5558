"""Backends by entry point: named without an import, loaded one at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import registry
from backends.contract import BackendMissing, GpudeckError

GOOD = """
class Toy:
    name = "toy"
    summary = "a toy platform"
    @classmethod
    def open(cls, context):
        return cls()
    async def probe(self):
        return "1.0"
    async def close(self):
        pass
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A third party's distribution with a good, a broken and a false backend."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gpudeck.backend]\ntoy = stranger_toy:Toy\nbroken = stranger_none:X\nfalse = stranger_toy:__doc__\n"
    )
    (tmp_path / "stranger_toy.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("stranger_toy", None)


def test_names_import_nothing(stranger: Path) -> None:
    assert {"toy", "broken", "false"} <= set(registry.names())
    assert "stranger_toy" not in sys.modules


def test_one_is_loaded(stranger: Path) -> None:
    assert registry.load("toy").summary == "a toy platform"


def test_an_unknown_name_lists_what_is_installed(stranger: Path) -> None:
    with pytest.raises(BackendMissing) as caught:
        registry.load("slurm")
    assert "toy" in caught.value.hint


@pytest.mark.parametrize("name", ["broken", "false"])
def test_one_that_cannot_be_loaded_says_why(stranger: Path, name: str) -> None:
    with pytest.raises(GpudeckError, match=r"cannot be loaded|is no backend"):
        registry.load(name)
