"""`gpudeck stack` and `gpudeck logs` against a running lab whose driver crashes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.test_acceptance import GPUDECK, run

NODE = "dgx-h100-01"
WHY = "Could not install the kernel headers: the driver cannot be built"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    out = tmp_path_factory.mktemp("lab")
    played = ("--platform", "kubernetes", "--nodes", "3", "--scenario", "operator-driver-build")
    process = subprocess.Popen(
        [GPUDECK, "lab", "--out", str(out), *played], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().endswith("site.toml")
    yield str(out / "site.toml")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    process.stdout.close()


def test_the_stack_names_the_operand_and_why(site: str) -> None:
    done = run("--config", site, "stack")
    assert done.returncode == 1
    assert f"  {NODE}: driver is failing, container nvidia-driver-ctr: CrashLoopBackOff" in done.stdout
    assert f"    log: {WHY}" in done.stdout


@pytest.mark.parametrize("previous", [(), ("-p",)])
def test_a_container_that_crashes_has_both_logs(site: str, previous: tuple[str, ...]) -> None:
    done = run("--config", site, "logs", "driver", "--node", NODE, *previous)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, WHY)
