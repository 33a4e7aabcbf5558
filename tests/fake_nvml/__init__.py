"""A fake NVIDIA driver library, compiled from fake.c, steered by a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


class FakeDriver:
    """`env` makes a process load the library; `set` and `unset` change what it answers, at once."""

    def __init__(self, directory: Path, *, without: tuple[str, ...] = ()) -> None:
        """`without`: symbols that are left out, as in an old driver."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler: make testbed")
        directory.mkdir(parents=True, exist_ok=True)
        self.library = directory / "libnvidia-ml.so.1"
        self._file = directory / "steering"
        self._lines: dict[str, str] = {}
        source = Path(__file__).with_name("fake.c")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", *[f"-DNO_{name}" for name in without],
             "-o", str(self.library), str(source)],
            check=True,
        )  # fmt: skip
        self._write()

    @property
    def env(self) -> Mapping[str, str]:
        return {"LD_LIBRARY_PATH": str(self.library.parent), "FAKE_NVML_FILE": str(self._file)}

    def set(self, key: str, value: int | str) -> None:
        self._lines[key] = str(value)
        self._write()

    def unset(self, key: str) -> None:
        self._lines.pop(key, None)
        self._write()

    def _write(self) -> None:
        # Replaced as a whole: the library never reads half a file.
        fresh = self._file.with_suffix(".new")
        fresh.write_text("".join(f"{key} {value}\n" for key, value in self._lines.items()))
        fresh.replace(self._file)
