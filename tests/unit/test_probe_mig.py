"""How the probe names a MIG device where the driver does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from backends.nodes import probe_mig
from tests.unit.mig_table import rows

MIB = 1024**2
PROBE: Any = probe_mig
"""Untyped: it runs on any Python of a node."""
TOTALS = (
    ("A100-40GB", 40960),
    ("A100-40GB", 40536),
    ("A100-80GB", 81920),
    ("A100-80GB", 81251),
    ("H100-80GB", 81559),
    ("H200-141GB", 143771),
)
"""Board, and the MiB that nvidia-smi gives it; some change with the driver."""


def attributes(gi: int, ci: int, mib: int) -> SimpleNamespace:
    return SimpleNamespace(gpuInstanceSliceCount=gi, computeInstanceSliceCount=ci, memorySizeMB=mib)


@pytest.mark.parametrize(("key", "total"), TOTALS)
def test_a_profile_is_named_as_the_driver_names_it(key: str, total: int) -> None:
    told = {
        PROBE.mig_profile("NVIDIA A100", attributes(row["compute"], row["compute"], row["mib"]), total * MIB)
        for row in rows(key).values()
        if row.get("mib") is not None
    }
    assert told == {name for name, row in rows(key).items() if row.get("mib") is not None and "+" not in name}


def test_the_name_of_the_driver_is_better_than_any_sum() -> None:
    assert PROBE.mig_profile("NVIDIA H200 MIG 1g.18gb+me", attributes(1, 1, 16384), None) == "1g.18gb+me"


def test_a_part_of_a_gpu_instance_says_so() -> None:
    assert PROBE.mig_profile("NVIDIA A100", attributes(3, 1, 40192), 81920 * MIB) == "1c.3g.40gb"


@pytest.mark.parametrize("total", [None, 0])
def test_without_the_total_of_the_board_there_is_no_name(total: int | None) -> None:
    assert PROBE.mig_profile("NVIDIA A100", attributes(3, 3, 40192), total) is None
    assert PROBE.mig_profile("NVIDIA A100", None, 81920 * MIB) is None
