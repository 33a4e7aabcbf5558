"""Filters with a name: from the configuration, and from the console's own file."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import ConfigError, JournalFailed
from screens.filter_tables import TABLES, check_filter
from tui.config import load
from tui.paths import saved_filters_file
from tui.saved_filters import MOST_SAVED, SavedFilters, document_of, read_own, write_own
from tui.widgets.filter import FilterError, parse


def configured(tmp_path: Path, text: str) -> SavedFilters:
    path = tmp_path / "config.toml"
    path.write_text(text)
    settings = load(path)
    return SavedFilters(settings.filters, settings.places)


def saved(**own: str) -> SavedFilters:
    made = SavedFilters({"mine": "user=alice"}, {})
    made.take(own)
    return made


def own_file(text: str) -> Path:
    path = saved_filters_file()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


# The configuration


def test_the_configuration_names_filters(tmp_path: Path) -> None:
    filters = configured(tmp_path, '[filters]\nmine = "user=alice"\nhot-mine = "@mine temp>85"\nxids = "kind=xid"\n')
    assert filters.all == {"mine": "user=alice", "hot-mine": "@mine temp>85", "xids": "kind=xid"}
    assert str(parse("@hot-mine", TABLES[0], filters.all)) == "@hot-mine"


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ('[filters]\nok1 = "lost"\nwarm = "tmp>85"', 3, "filter warm, character 1 of 'tmp>85'", "did you mean temp?"),
        ('theme = "dark"\n[filters]\n"warm" = "lost &"', 3, "character 6 of 'lost &': something must follow &", ""),
        ('[filters]\ntheme = "(lost"\n', 2, "character 1 of '(lost': this ( is not closed", ""),
        ('[filters]\na = "@b"\nb = "@a"\n', 2, "is part of itself", ""),
        ('[filters]\na = "@bb"\nb = "lost"\n', 2, "no filter is saved as bb", ""),
        ('[filters]\n"Big Name" = "lost"\n', 2, "'Big Name' is no name for a filter", "a small letter"),
        ('[filters]\nhot = "temp>85"\n', 2, "hot is a word of the filters already", "choose another name"),
        ('[filters]\ntemp = "temp>85"\n', 2, "temp is a word of the filters already", "choose another name"),
        ("[filters]\nwarm = 3\n", 2, "the filter warm must be text", ""),
        ('\nfilters = { warm = "tmp>85" }\n', 2, "filter warm", "did you mean temp?"),
        ("filters = 3\n", 1, "filters must be a table of name = filter", ""),
        ('[filterz]\nwarm = "lost"\n', 1, "unknown key filterz", "did you mean filters?"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_place(tmp_path: Path, text: str, line: int, said: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, text)
    assert raised.value.message.startswith(f"{tmp_path / 'config.toml'}:{line}: ")
    assert said in raised.value.message
    assert hint in raised.value.hint


def test_hostile_filters_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    for text in ('"\\u001b]0;owned\\u0007" = "lost"', 'warm = "\\u001b[31m>3"', f'warm = "{"y" * 900}>3"'):
        with pytest.raises(ConfigError) as raised:
            configured(tmp_path, f"[filters]\n{text}\n")
        assert raised.value.message.isprintable()
        assert len(raised.value.message) < 400


# The console's own file


def test_what_is_saved_is_read_again_and_only_the_owner_may() -> None:
    assert read_own() == {}
    assert not saved_filters_file().parent.exists(), "reading makes nothing"
    write_own({"warm": 'temp>80 & node~"a b"', "xids": "kind=xid"})
    assert read_own() == {"warm": 'temp>80 & node~"a b"', "xids": "kind=xid"}
    assert stat.S_IMODE(saved_filters_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(saved_filters_file().parent.stat().st_mode) == 0o700
    write_own({})
    assert read_own() == {}
    assert [path.name for path in saved_filters_file().parent.iterdir()] == ["filters.toml"], "nothing is left behind"


def test_an_odd_state_directory_is_told_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(JournalFailed, match=f"{tmp_path}/file/gpudeck cannot be made: Not a directory") as told:
        write_own({"warm": "temp>80"})
    assert "set XDG_STATE_HOME" in told.value.hint


def test_a_write_that_fails_leaves_the_file_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    write_own({"warm": "temp>80"})

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(JournalFailed, match=r"filters\.toml cannot be written: No space"):
        write_own({"warm": "temp>90"})
    assert read_own() == {"warm": "temp>80"}
    assert [path.name for path in saved_filters_file().parent.iterdir()] == ["filters.toml"]


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), st.text()))
def test_any_text_survives_the_file(own: Mapping[str, str]) -> None:
    texts = {name: text.encode("utf-8", "replace").decode() for name, text in own.items()}
    assert tomllib.loads(document_of(texts)) == {"filters": texts}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[filters", "cannot be read"),
        ('[other]\na = "lost"\n', "holds something else"),
        ("filters = 3\n", "holds something else"),
        ("[filters]\nwarm = 3\n", ":2: warm must be text"),
        ('[filters]\n\nwarm = "tmp>3"\n', ":3: filter warm, character 1"),
        ('[filters]\n"no name" = "lost"\n', ":2: 'no name' is no name"),
    ],
)
def test_a_broken_file_is_told_with_its_place(text: str, said: str) -> None:
    path = own_file(text)
    with pytest.raises(ConfigError) as raised:
        read_own()
    assert str(path) in raised.value.message
    assert said in raised.value.message


def test_a_file_that_is_no_text_is_told() -> None:
    own_file("x").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_own()


# Saving and forgetting


def test_saving_adds_or_replaces() -> None:
    filters = saved(warm="temp>80")
    assert filters.changed("cold", "temp<30") == {"warm": "temp>80", "cold": "temp<30"}
    assert filters.changed("warm", "temp>81 @mine") == {"warm": "temp>81 @mine"}
    assert filters.changed("warm", None) == {}
    assert filters.own == {"warm": "temp>80"}, "nothing is changed before it is written"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine", "lost", "@mine is in the configuration"),
        ("mine", None, "@mine is in the configuration"),
        ("gone", None, "no filter is saved as gone"),
        ("Warm", "lost", "Warm is no name for a filter"),
        ("a b", "lost", "a b is no name"),
        ("", "lost", "is no name"),
        ("../x", "lost", "is no name"),
        ("lost", "lost", "lost is a word of the filters already"),
        ("kind", "lost", "kind is a word of the filters already"),
        ("warm", "@warm", "@warm is part of itself"),
        ("warm", "tmp>3", 'no field "tmp"'),
        ("base", "@user", "@user: "),
        ("base", None, "@warm needs it: no filter is saved as base"),
    ],
)
def test_what_cannot_be_saved_or_forgotten_says_why(name: str, text: str | None, said: str) -> None:
    filters = saved(base="temp>80", warm="@base lost", user2="lost")
    with pytest.raises(ConfigError) as raised:
        filters.changed(name, text)
    assert said.replace("@user: ", "no filter is saved as user") in f"{raised.value.message} {raised.value.hint}"


def test_the_number_of_saved_filters_is_bounded() -> None:
    filters = saved(**{f"f{number}": "lost" for number in range(MOST_SAVED)})
    with pytest.raises(ConfigError, match="are saved already"):
        filters.changed("one-more", "lost")
    filters.changed("f1", "stale")


def test_a_broken_file_is_never_written_over() -> None:
    filters = saved()
    filters.broken = "filters.toml:2: broken"
    with pytest.raises(ConfigError, match="broken"):
        filters.changed("warm", "lost")


def test_the_configuration_counts_before_the_own_file() -> None:
    assert saved(mine="user=bob").all["mine"] == "user=alice"


def test_a_filter_of_any_list_may_be_saved() -> None:
    check_filter("kind=xid", {})
    check_filter("temp>85", {})
    with pytest.raises(FilterError, match="no field"):
        check_filter("kind=xid temp>85", {})
