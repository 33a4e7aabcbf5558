"""Backends by entry point: named without an import, loaded one at a time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import registry
from backends.contract import BackendMissing, GpudeckError
from tui.cli import main

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
        "raises = stranger_raises:X\nleaves = stranger_leaves:X\ndocker = stranger_toy:Toy\n"
    )
    (tmp_path / "stranger_raises.py").write_text("raise ValueError('no\\x1b[2J licence')\n")
    (tmp_path / "stranger_leaves.py").write_text("import sys\nsys.exit('bye')\n")
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


def test_gpudeck_s_own_names_are_nobody_else_s(stranger: Path) -> None:
    assert registry.load("docker").__module__ == "backends.docker.backend"
    (told,) = registry.unused()
    assert (told.name, told.distribution) == ("docker", "stranger 1.0")


def test_a_name_that_two_strangers_have_is_loaded_from_neither(stranger: Path) -> None:
    info = stranger / "other-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[gpudeck.backend]\ntoy = stranger_toy:Toy\n")
    with pytest.raises(GpudeckError, match=r"other 2\.0, stranger 1\.0"):
        registry.load("toy")


def test_the_list_of_backends_outlives_strangers(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stranger / "stranger_toy.py").write_text(GOOD.replace("a toy platform", "a \x1b[31mtoy\\nplatform"))
    assert main(["backends"]) == 0
    said = capsys.readouterr().out
    assert "ValueError: no licence" in said
    assert "a toy platform" in said
    assert "not used: docker of stranger 1.0" in said
    assert "\x1b" not in said
    assert main(["backends", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["platforms"]}
    assert found["docker"]["error"] is None
    assert "SystemExit: bye" in found["leaves"]["error"]


@pytest.mark.parametrize("name", ["broken", "false", "raises", "leaves"])
def test_one_that_cannot_be_loaded_says_why(stranger: Path, name: str) -> None:
    with pytest.raises(GpudeckError, match=r"cannot be loaded|is no backend"):
        registry.load(name)
