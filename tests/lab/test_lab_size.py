"""What a small lab can play."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.contract import GpudeckError
from backends.lab.server import Lab, LabSpec


async def test_a_scenario_that_needs_more_machines_says_how_many(tmp_path: Path) -> None:
    with pytest.raises(GpudeckError, match="driver-drift cannot be played") as refused:
        async with Lab(LabSpec(out=tmp_path, nodes=2, scenarios=("driver-drift",))):
            pass
    needed = int(refused.value.hint.rpartition(" ")[2])
    async with Lab(LabSpec(out=tmp_path / "enough", nodes=needed, scenarios=("driver-drift",))) as lab:
        assert lab.scenarios_active == ("driver-drift",)
