"""`gpudeck` on a site of engines, on the command line: exit codes and hints."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

GPUDECK = str(Path(sys.executable).with_name("gpudeck"))
NOBODY_LISTENS = "tcp://127.0.0.1:1"


async def gpudeck(directory: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a command on a site of this machine, whose engine cannot be reached."""
    config = directory / "site.toml"
    config.write_text(f'[site.s]\nplatform = "docker"\nnodes = ["local"]\ndocker_url = "{NOBODY_LISTENS}"\n')
    process = await asyncio.create_subprocess_exec(
        *(GPUDECK, "--config", str(config), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(directory)},
        cwd="/",
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_engines_that_cannot_be_reached_are_exit_3_beside_what_the_nodes_say(tmp_path: Path) -> None:
    code, out, _ = await gpudeck(tmp_path, "stack")
    assert code == 3
    assert "GPU stack blocked" in out


async def test_a_container_that_is_not_found_is_told_without_pods_and_warnings(tmp_path: Path) -> None:
    code, out, err = await gpudeck(tmp_path, "logs", "triton")
    assert (code, out) == (3, "")
    assert "no container is called 'triton' where that could be looked for: the container engine of local" in err
    assert "POD" not in err
    assert "Warning" not in err


async def test_a_check_counts_no_containers_of_engines_that_were_not_read(tmp_path: Path) -> None:
    code, out, _ = await gpudeck(tmp_path, "check", "--watch-seconds", "0")
    assert code != 0
    assert "docker: workloads: n/a, not read" in out
