"""A change is gone on with on the cluster and the machines it was begun on, whatever the site is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends.changes.desk import ChangeDesk
from backends.changes.journals import read_all
from backends.changes.places import Here, elsewhere, places_from_json, places_json, places_of
from backends.changes.record import ChangeRecord, Status
from backends.changes.step import KINDS, PLATFORM
from backends.changes.unfinished import UnfinishedChanges
from backends.contract import ChangeRefused, GpudeckError, Unreachable
from backends.domain import Identity, NodeSpec, SiteSpec
from backends.feed import ManualClock
from tests.changes.steps import NOW, SITE, FileStep, Nowhere, change_of

KINDS["test-placed"] = "tests.changes.test_places:PlacedStep"
LATER = "20231114T221321-bbbbbb"
EAST, WEST = Identity("https://east:6443", "1111"), Identity("https://west:6443", "2222")
DGX01 = NodeSpec("dgx01", "root@10.0.0.1")


@dataclass(frozen=True, slots=True)
class PlacedStep(FileStep):
    kind: ClassVar[str] = "test-placed"

    where: str = PLATFORM

    @property
    def place(self) -> str:
        return self.where


class Cluster(Nowhere):
    """A reach whose platform says who it is."""

    def __init__(self, who: Identity | GpudeckError) -> None:
        super().__init__()
        self.who = who

    def client(self, name: str) -> Any:
        return self

    async def backend(self) -> Any:
        return self

    async def identity(self) -> Identity:
        if isinstance(self.who, GpudeckError):
            raise self.who
        return self.who


async def desk_at(state: Path, who: Identity | GpudeckError = EAST, nodes: Sequence[NodeSpec] = (DGX01,)) -> ChangeDesk:
    desk = ChangeDesk(SiteSpec(SITE, nodes=tuple(nodes)), Cluster(who), state)
    await desk.open_window(30, "INC-1")
    return desk


async def left_failed(state: Path, files: Path, **placed: Any) -> ChangeRecord:
    """A change that came half way at the east."""
    desk = await desk_at(state)
    record = await desk.run(
        change_of(PlacedStep(str(files / "a"), **placed), PlacedStep(str(files / "b"), fails="refused", **placed))
    )
    assert record.status is Status.FAILED
    await desk.close()
    return record


@pytest.mark.parametrize("what", ["resume", "undo"])
async def test_another_cluster_under_the_same_name_is_left_alone(tmp_path: Path, what: str) -> None:
    record = await left_failed(tmp_path / "state", tmp_path)
    assert record.places == {PLATFORM: EAST}
    desk = await desk_at(tmp_path / "state", WEST)
    with pytest.raises(ChangeRefused) as caught:
        await getattr(desk, what)(record.id)
    assert (
        "https://east:6443 (uid 1111), and by this site's name it is https://west:6443 (uid 2222) now"
        in caught.value.message
    )
    assert "--config" in caught.value.message
    assert (tmp_path / "a").exists()
    assert read_all(tmp_path / "state" / "changes")[0] == [replace(record, progress="")]
    await desk.close()
    home = await desk_at(tmp_path / "state", Identity("https://another-way:6443", "1111"))
    assert (await home.undo(record.id)).status is Status.UNDONE
    await home.close()


@pytest.mark.parametrize(
    ("nodes", "refused"),
    [
        ([DGX01, NodeSpec("dgx02")], False),
        ([replace(DGX01, address="root@10.9.9.9")], True),
        ([replace(DGX01, address=None)], True),
        ([replace(DGX01, local=True)], True),
    ],
)
async def test_a_machine_is_known_by_its_address(tmp_path: Path, nodes: list[NodeSpec], refused: bool) -> None:
    record = await left_failed(tmp_path / "state", tmp_path, where="node dgx01")
    assert record.places == {"node dgx01": Identity("root@10.0.0.1")}
    desk = await desk_at(tmp_path / "state", Unreachable("no cluster answers"), nodes)
    if refused:
        with pytest.raises(ChangeRefused, match=r"node dgx01 was root@10\.0\.0\.1, and by this site's name it is "):
            await desk.undo(record.id)
    else:
        assert (await desk.undo(record.id)).status is Status.UNDONE  # and the cluster was not asked
    await desk.close()


async def test_what_another_cluster_left_unfinished_is_in_nobodys_way_here(tmp_path: Path) -> None:
    await left_failed(tmp_path / "state", tmp_path)
    change = change_of(PlacedStep(str(tmp_path / "c")), change_id=LATER)
    desk = await desk_at(tmp_path / "state", EAST)
    with pytest.raises(ChangeRefused, match="was left unfinished"):
        await desk.run(change)
    await desk.close()
    desk = await desk_at(tmp_path / "state", WEST)
    assert (await desk.run(change)).status is Status.DONE
    await desk.close()


async def unfinished_at(state: Path, who: Identity | GpudeckError, nodes: Sequence[NodeSpec] = (DGX01,)) -> list[str]:
    """What triage is told at a cluster."""
    changes = UnfinishedChanges(state / "changes", SiteSpec(SITE, nodes=tuple(nodes)), Cluster(who), "head01")
    return [change.id for change in await changes()]


async def test_lists_tell_what_was_made_elsewhere_and_triage_leaves_it_out(tmp_path: Path) -> None:
    record = await left_failed(tmp_path / "state", tmp_path)
    for who, own in ((EAST, True), (WEST, False), (Unreachable("no cluster answers"), True)):
        desk = await desk_at(tmp_path / "state", who)
        view = await desk.look()
        assert [each.id for each in view.left_open] == [record.id] * own
        assert view.offers(view.records[0]) == (("resume", "undo", "abandon") if own else ("abandon",))
        assert (record.id not in view.elsewhere) == own
        assert await unfinished_at(tmp_path / "state", who) == [record.id] * own
        await desk.close()


async def test_another_machine_of_that_name_is_known_without_asking(tmp_path: Path) -> None:
    record = await left_failed(tmp_path / "state", tmp_path, where="node dgx01")
    moved = [replace(DGX01, address="root@10.9.9.9")]
    nobody = Unreachable("no cluster answers")
    assert await unfinished_at(tmp_path / "state", nobody) == [record.id]
    assert await unfinished_at(tmp_path / "state", nobody, moved) == []


async def test_a_platform_is_asked_who_it_is_once_and_only_for_what_was_done_through_it() -> None:
    clock, asked = ManualClock(NOW), []

    class Counted(Cluster):
        async def identity(self) -> Identity:
            asked.append(self.who)
            return await Cluster.identity(self)

    reach = Counted(Unreachable("no cluster answers"))
    reach.clock = clock
    here = Here(SiteSpec(SITE), reach, "head01")
    assert (await here.known([{"node dgx01": EAST}]), asked) == ({}, [])
    for _ in range(3):
        assert await here.known([{PLATFORM: EAST}]) == {}
    assert len(asked) == 1
    reach.who = WEST
    await clock.advance(30)
    for _ in range(3):
        assert await here.known([{PLATFORM: EAST}]) == {PLATFORM: WEST}
    assert len(asked) == 2


async def test_a_cluster_that_cannot_say_who_it_is_is_not_changed(tmp_path: Path) -> None:
    desk = await desk_at(tmp_path / "state", Unreachable("the API server cannot be reached"))
    with pytest.raises(ChangeRefused, match="which platform this is cannot be told: the API server cannot be reached"):
        await desk.run(change_of(PlacedStep(str(tmp_path / "a"))))
    assert not (tmp_path / "a").exists()
    await desk.close()


async def test_a_journal_of_before_says_nothing_and_is_allowed(tmp_path: Path) -> None:
    record = await left_failed(tmp_path / "state", tmp_path)
    (path,) = (tmp_path / "state" / "changes").glob("*.journal")
    first, *rest = path.read_text().splitlines()
    head = json.loads(first)
    del head["places"]
    path.write_text("\n".join([json.dumps(head), *rest]) + "\n")
    desk = await desk_at(tmp_path / "state", WEST)
    assert (await desk.undo(record.id)).status is Status.UNDONE
    await desk.close()


async def test_this_machine_is_another_one_on_another_host() -> None:
    site, steps = SiteSpec("prod", nodes=(NodeSpec("gpu", local=True),)), [PlacedStep("/a", where="node gpu")]
    made = await places_of(steps, site, Nowhere(), "head01")
    assert elsewhere(made, await places_of(steps, site, Nowhere(), "head01")) is None
    assert elsewhere(made, await places_of(steps, site, Nowhere(), "head02")) is not None


def test_without_a_uid_the_address_tells() -> None:
    assert not Identity("https://a", "1").is_another(Identity("https://b", "1"))
    assert Identity("https://a", "1").is_another(Identity("https://a", "2"))
    assert not Identity("https://a", "1").is_another(Identity("https://a"))
    assert Identity("https://a").is_another(Identity("https://b", "1"))


def test_places_are_written_and_read_back() -> None:
    places = {PLATFORM: EAST, "node dgx01": Identity("dgx01")}
    assert places_from_json(json.loads(json.dumps(places_json(places)))) == places
    assert places_from_json(None) == {}


@pytest.mark.parametrize(
    "nonsense", [7, [], {"a": 1}, {"a": {}}, {"a": {"address": 1}}, {"a": {"address": "x", "uid": 1}}]
)
def test_places_of_another_shape_are_an_error(nonsense: object) -> None:
    with pytest.raises(GpudeckError):
        places_from_json(nonsense)
