"""Who has seen what, and why it may stay."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest

from backends.domain import Finding, Severity
from backends.triage import acknowledgements
from backends.triage.acknowledgements import FILE_NAME, KEPT, LINES_BEFORE_REWRITE, OVER_SECONDS, Acknowledgements
from tests.triage.makers import NOW, told

FOUND = told("pcie-width", gpu_index=2, magnitude=None)


def lines(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / FILE_NAME).read_text().splitlines()]


def acknowledged(directory: Path, *findings: Finding, site: str = "prod", why: str = "") -> Acknowledgements:
    """Alice has acknowledged `findings`, and that is written."""
    kept = Acknowledgements(site, directory)
    for finding in findings:
        kept.add(finding, "alice", why, NOW)
    kept.refresh()
    return kept


def test_an_acknowledgement_outlives_the_process_with_who_and_why(tmp_path: Path) -> None:
    acknowledged(tmp_path / "state", FOUND, why="riser ordered")
    said = Acknowledgements("prod", tmp_path / "state").of(FOUND)
    assert said is not None
    assert (said.who, said.why, said.at) == ("alice", "riser ordered", NOW)
    assert (tmp_path / "state" / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_it_holds_on_its_site_only(tmp_path: Path) -> None:
    acknowledged(tmp_path, FOUND)
    assert Acknowledgements("test", tmp_path).of(FOUND) is None


def test_taking_it_back_outlives_the_process_too(tmp_path: Path) -> None:
    first = acknowledged(tmp_path, FOUND)
    assert first.remove(FOUND.id)
    assert not first.remove(FOUND.id)
    first.refresh()
    assert Acknowledgements("prod", tmp_path).of(FOUND) is None


def test_two_consoles_do_not_undo_each_other(tmp_path: Path) -> None:
    one, two = Acknowledgements("prod", tmp_path), Acknowledgements("prod", tmp_path)
    other = told("hw-thermal", gpu_index=1)
    one.add(FOUND, "alice", "", NOW)
    two.add(other, "bob", "", NOW)
    for each in (one, two, one):
        assert each.refresh()
    assert one.of(other) is not None
    assert two.of(FOUND) is not None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"severity": Severity.WARNING}, {"severity": Severity.CRITICAL}),
        ({"magnitude": 1.0}, {"magnitude": 2.0}),
        ({"magnitude": None}, {"magnitude": 2.0}),
    ],
)
def test_what_got_worse_is_open_again_for_good(before: dict[str, object], after: dict[str, object]) -> None:
    kept = Acknowledgements("prod")
    kept.add(dataclasses.replace(FOUND, **before), "alice", "", NOW)  # type: ignore[arg-type]
    assert kept.of(dataclasses.replace(FOUND, **before)) is not None  # type: ignore[arg-type]
    assert kept.of(dataclasses.replace(FOUND, **after)) is None  # type: ignore[arg-type]
    assert kept.of(dataclasses.replace(FOUND, **before)) is None  # type: ignore[arg-type]


def test_what_got_better_stays_acknowledged() -> None:
    kept = Acknowledgements("prod")
    kept.add(dataclasses.replace(FOUND, severity=Severity.CRITICAL, magnitude=3.0), "alice", "", NOW)
    assert kept.of(dataclasses.replace(FOUND, severity=Severity.WARNING, magnitude=1.0)) is not None


def test_what_began_after_the_acknowledgement_is_another_where_its_evidence_tells_when() -> None:
    kept = Acknowledgements("prod")
    kept.add(told("xid-31", gpu_index=1, since=NOW - 60), "alice", "", NOW)
    assert kept.of(told("xid-31", gpu_index=1, since=NOW - 60), dated=True) is not None
    assert kept.of(told("xid-31", gpu_index=1, since=NOW + 60), dated=False) is not None
    assert kept.of(told("xid-31", gpu_index=1, since=NOW + 60), dated=True) is None


@pytest.mark.parametrize(
    "broken",
    [
        b"\x00\xff\xfe not json\n",
        b'{"site": "prod"}\n',
        b"[1, 2]\n",
        b'{"site": 1, "id": 2, "who": "a", "why": "b", "at": 1, "severity": "warning"}\n',
        b'{"site": "prod", "id": "x", "who": "a", "why": "b", "at": NaN, "severity": "warning"}\n',
        b'{"site": "prod", "id": "x", "who": "a", "why": "b", "at": 1%s, "severity": "warning"}\n' % (b"0" * 309),
        b'{"site": "prod", "id": "x", "who": "a", "why": "b", "at": 1e300, "severity": "warning"}\n',
        b'{"site": "prod", "id": "x", "who": "a", "why": "b", "at": 1, "severity": "dreadful"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_broken_line_costs_itself_and_is_told(tmp_path: Path, broken: bytes) -> None:
    acknowledged(tmp_path, FOUND)
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(broken)
    kept = Acknowledgements("prod", tmp_path)
    assert kept.of(FOUND) is not None
    assert kept.warning is not None
    assert "1 of 2 lines" in kept.warning


def test_a_file_that_cannot_be_written_costs_the_memory_only(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    kept = Acknowledgements("prod", tmp_path / "state")
    kept.add(FOUND, "alice", "", NOW)
    kept.refresh()
    assert kept.of(FOUND) is not None
    assert "cannot be written" in (kept.warning or "")
    (tmp_path / "state").unlink()
    kept.refresh()
    assert kept.warning is None
    assert len(lines(tmp_path / "state")) == 1


def test_hostile_words_are_made_inert(tmp_path: Path) -> None:
    kept = Acknowledgements("prod", tmp_path)
    said = kept.add(FOUND, "\x1b[31malice\x07", "x" * 10_000 + "\n[@click=quit]", NOW)
    kept.refresh()
    assert said.who == "alice"
    assert len(said.why) == 200
    assert len(lines(tmp_path)) == 1


def test_the_file_is_bounded(tmp_path: Path) -> None:
    kept = Acknowledgements("prod", tmp_path)
    for number in range(LINES_BEFORE_REWRITE + 2):
        kept.add(told("hw-thermal", f"n{number}", 0), "alice", "", NOW + number)
    kept.refresh()
    again = Acknowledgements("prod", tmp_path)
    assert len(lines(tmp_path)) == KEPT
    assert again.of(told("hw-thermal", f"n{LINES_BEFORE_REWRITE + 1}", 0)) is not None
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_it_holds_for_a_day_after_its_finding_recovered(tmp_path: Path) -> None:
    kept = Acknowledgements("prod", tmp_path)
    kept.add(FOUND, "alice", "rebuilt until Friday", NOW)
    kept.note_over(FOUND.id, NOW + 3600)
    kept.refresh()
    back = dataclasses.replace(FOUND, since=NOW + 3610)
    assert kept.of(back) is not None
    again = Acknowledgements("prod", tmp_path)
    assert again.of(back) is not None
    assert again.of(dataclasses.replace(back, severity=Severity.CRITICAL)) is None
    assert kept.of(dataclasses.replace(FOUND, since=NOW + 3600 + OVER_SECONDS + 1)) is None


def test_what_comes_and_goes_every_minute_is_written_down_now_and_then(tmp_path: Path) -> None:
    kept = Acknowledgements("prod", tmp_path)
    kept.add(FOUND, "alice", "", NOW)
    for minute in range(180):
        kept.note_over(FOUND.id, NOW + 60 * minute)
        kept.refresh()
    assert len(lines(tmp_path)) == 3
    kept.note_over("another", NOW)
    kept.refresh()
    assert len(lines(tmp_path)) == 3


def test_what_is_said_while_a_thread_writes_and_reads_is_kept(tmp_path: Path) -> None:
    one, two = Acknowledgements("prod", tmp_path), Acknowledgements("prod", tmp_path)
    first, other, third = (told("hw-thermal", gpu_index=index) for index in (1, 2, 3))
    one.add(first, "alice", "", NOW)
    two.add(other, "bob", "", NOW)
    two.refresh()
    look = one.exchange(one.pending)
    one.add(FOUND, "alice", "", NOW)
    assert one.remove(first.id)
    two.add(third, "bob", "", NOW)
    two.refresh()
    assert one.take(look)
    assert [one.of(each) is not None for each in (FOUND, first, other, third)] == [True, False, True, False]
    assert one.refresh()
    assert [one.of(each) is not None for each in (FOUND, first, other, third)] == [True, False, True, True]
    again = Acknowledgements("prod", tmp_path)
    assert [again.of(each) is not None for each in (FOUND, first, other, third)] == [True, False, True, True]


def test_nothing_but_the_exchange_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = acknowledged(tmp_path, FOUND)

    def forbidden(*_arguments: object, **_keywords: object) -> None:
        raise AssertionError("the file was touched")

    for name in ("stat", "open", "mkdir"):
        monkeypatch.setattr(Path, name, forbidden)
    monkeypatch.setattr(os, "open", forbidden)
    kept.add(told("hw-thermal", gpu_index=1), "alice", "", NOW)
    kept.note_over(FOUND.id, NOW + 10)
    assert kept.remove(FOUND.id)
    assert kept.of(told("hw-thermal", gpu_index=1, severity=Severity.CRITICAL)) is None


def test_a_file_that_is_too_long_is_told_and_not_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledged(tmp_path, FOUND)
    before = (tmp_path / FILE_NAME).read_bytes() * 2
    (tmp_path / FILE_NAME).write_bytes(before)
    monkeypatch.setattr(acknowledgements, "SIZE_LIMIT", len(before) // 2)
    monkeypatch.setattr(acknowledgements, "LINES_BEFORE_REWRITE", 0)
    assert "the newest, is left out" in (Acknowledgements("prod", tmp_path).warning or "")
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_file_that_may_be_read_again_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledged(tmp_path, FOUND)

    def refused(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refused)
    kept = Acknowledgements("prod", tmp_path)
    assert "Permission denied" in (kept.warning or "")
    monkeypatch.undo()
    kept.refresh()
    assert kept.warning is None
    assert kept.of(FOUND) is not None
