"""`gpudeck inventory`, and who fills it: a site that ends, the console's or that of one `gpudeck check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backends.domain import SiteSpec
from backends.feed import ManualClock
from backends.site import Site
from backends.triage.boards import Board, Boards
from backends.triage.inventory import FILE_NAME, Inventory
from tests.scripted import ScriptedTransports
from tests.unit.test_site import SPEC, channel
from tui.cli import main

AT = 1_765_000_000.0


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments that name a configuration with the site prod; what is kept lies in `tmp_path`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = tmp_path / "config.toml"
    file.write_text('[site.prod]\nnodes = ["n1", "n2"]\n')
    return ["--config", str(file)]


def keep(directory: Path) -> None:
    inventory = Inventory("prod", directory)
    inventory.note("n1", Boards((Board("GPU-1", "0000:1b:00"), Board("GPU-2", None)), AT, AT + 60))
    inventory.take(inventory.exchange(inventory.pending))


def test_it_lists_what_each_node_has_shown(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "gpudeck")
    assert main([*config, "inventory"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "prod: 1 node seen before"
    assert said[1].startswith("n1   2 GPUs, last seen all 2025-12-")
    assert "; fewer since 2025-12-" in said[1]
    assert main([*config, "inventory", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "gpudeck/inventory/1"
    assert told["nodes"] == [
        {
            "node": "n1",
            "gpus": [{"key": "GPU-1", "pci_bus_id": "0000:1b:00"}, {"key": "GPU-2", "pci_bus_id": None}],
            "at": AT,
            "fewer_at": AT + 60,
        }
    ]


def test_of_a_demo_site_nothing_is_kept_and_that_is_said(
    tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[site.prod]\nnodes = ["n1"]\ndemo = true\n')
    assert main([*config, "inventory"]) == 0
    assert "prod is a demo site: what its nodes have shown is not kept" in capsys.readouterr().err


def test_it_forgets_a_node_once(tmp_path: Path, config: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path / "gpudeck")
    assert main([*config, "inventory", "forget", "n1"]) == 0
    assert "n1: forgotten" in capsys.readouterr().out
    assert main([*config, "inventory", "forget", "n1"]) == 1
    assert "nothing was known of n1 in prod" in capsys.readouterr().err
    assert main([*config, "inventory"]) == 0
    assert capsys.readouterr().out == "prod: 0 nodes seen before\n"


async def observed(spec: SiteSpec, state: Path) -> None:
    """What `gpudeck check` does."""
    transports = ScriptedTransports(spec)
    for node in spec.nodes:
        transports.of[node.name].channels.append(channel())
    site = Site(spec, clock=ManualClock(), transport_factory=lambda _spec: transports, state_dir=state)
    await site.observe(5.0, 0)
    await site.close()


async def test_one_check_leaves_behind_what_it_saw(tmp_path: Path) -> None:
    await observed(SPEC, tmp_path)
    assert set(Inventory(SPEC.name, tmp_path).nodes) == {node.name for node in SPEC.nodes}


async def test_a_demo_leaves_nothing(tmp_path: Path) -> None:
    await observed(SiteSpec("demo", nodes=SPEC.nodes, demo=True), tmp_path)
    assert not (tmp_path / FILE_NAME).exists()
