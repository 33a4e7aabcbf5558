"""How a wish is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.nodes.mig.catalogue import board_named, boards
from backends.nodes.mig.wish import Wish, WishError, configurations, parse, resolve

A100 = board_named("A100-80GB")


@pytest.mark.parametrize(
    ("text", "said", "counts"),
    [
        ("3g.40gb,3g.40gb", "3g.40gb + 3g.40gb", {"3g.40gb": 2}),
        ("4x 1g.10gb + 1x 3g.40gb", "4x 1g.10gb + 3g.40gb", {"1g.10gb": 4, "3g.40gb": 1}),
        ("7x1g.10gb", "7x 1g.10gb", {"1g.10gb": 7}),
        ("1g.10gb x 4", "4x 1g.10gb", {"1g.10gb": 4}),
        ("3g.40gbx2", "2x 3g.40gb", {"3g.40gb": 2}),
        ("2×2g.20gb and 1g.10gb", "2x 2g.20gb + 1g.10gb", {"2g.20gb": 2, "1g.10gb": 1}),
        ("1g.10gb+me+2g.20gb", "1g.10gb+me + 2g.20gb", {"1g.10gb+me": 1, "2g.20gb": 1}),
        ("1g.10gb.me", "1g.10gb+me", {"1g.10gb+me": 1}),
        ("nvidia.com/mig-1g.10gb.me; MIG 3g.40gb", "1g.10gb+me + 3g.40gb", {"1g.10gb+me": 1, "3g.40gb": 1}),
        ("9,19", "9 + 19", {"3g.40gb": 1, "1g.10gb": 1}),
        ("2x9", "2x 9", {"3g.40gb": 2}),
        ("  3G.40GB  ", "3g.40gb", {"3g.40gb": 1}),
        ("all-balanced", "all-balanced", {"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1}),
        ("all-1g.10gb.me", "all-1g.10gb.me", {"1g.10gb+me": 1}),
        ("all-1g.10gb+me", "all-1g.10gb.me", {"1g.10gb+me": 1}),
        ("all-enabled", "all-enabled", {}),
    ],
)
def test_wishes_are_read_as_people_write_them(text: str, said: str, counts: dict[str, int]) -> None:
    wish = parse(text)
    assert str(wish) == said
    resolved = resolve(A100, wish)
    assert resolved.enabled
    assert not resolved.foreign
    assert {each.profile.name: count for each, count in resolved.counts.items()} == counts


def test_places_gpus_and_adding() -> None:
    wish = parse("9:4, 1g.10gb:0 on GPU 2")
    assert [(each.name, each.start) for each in wish.asked] == [("9", 4), ("1g.10gb", 0)]
    assert wish.gpu_index == 2
    assert not wish.adds
    shown = parse("3g.40gb@0:4, 2g.20gb@4 1g.10gb:6")
    assert [(each.name, each.start) for each in shown.asked] == [("3g.40gb", 0), ("2g.20gb", 4), ("1g.10gb", 6)]
    assert str(shown) == "3g.40gb:0 + 2g.20gb:4 + 1g.10gb:6"
    with pytest.raises(WishError, match=r"2g\.20gb takes 2 units of the .*, not 4") as caught:
        resolve(A100, parse("2g.20gb@0:4"))
    assert "2g.20gb:0" in caught.value.hint
    added = parse("+ 2x 1g.10gb + 1g.10gb+me")
    assert added.adds
    assert str(added) == "+2x 1g.10gb + 1g.10gb+me"
    assert parse("all-disabled on gpu3") == Wish(config="all-disabled", gpu_index=3)
    assert not resolve(A100, parse("all-disabled")).enabled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("banana", "cannot be read at 'banana'"),
        ("3g.40gb,", "cannot be read"),
        ("3g.40gb,,3g.40gb", "cannot be read"),
        ("1g.10gb+", "cannot be read"),
        ("1g.10gb+foo", "cannot be read"),
        ("0x 1g.10gb", "asks for none"),
        ("3g.40gb@", "cannot be read at '@'"),
        ("3g.40gb@0:", "cannot be read at ':'"),
        ("1c.3g.40gb", "is a compute instance"),
        ("3g.40gb " * 100, "too long"),
        ("[@click=app.quit]x[/]", "cannot be read"),
        ("\x1b[31m3g.40gb", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_with_an_example(text: str, said: str) -> None:
    with pytest.raises(WishError, match=said) as caught:
        parse(text)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert caught.value.message.isprintable()


@given(st.text(alphabet="0123456789xgb.+,:me-al *×c", max_size=40))
def test_any_text_is_a_wish_or_an_error_and_a_wish_reads_its_own_words(text: str) -> None:
    try:
        wish = parse(text)
    except WishError:
        return
    assert parse(str(wish)) == Wish(wish.asked, wish.config, wish.adds)


def test_a_million_instances_are_not_built() -> None:
    with pytest.raises(WishError):
        parse("99999x 1g.10gb")
    assert resolve(A100, parse("9999x 1g.10gb")).counts


# Configurations

CONFIGURATIONS = {
    # mig-parted 0.15.0, deployments/systemd/config-default.yaml: the counts its configurations have
    "A100-40GB": {"all-1g.5gb": 7, "all-1g.5gb.me": 1, "all-1g.10gb": 4, "all-2g.10gb": 3, "all-3g.20gb": 2},
    "A100-80GB": {"all-1g.10gb": 7, "all-1g.10gb.me": 1, "all-1g.20gb": 4, "all-3g.40gb": 2, "all-7g.80gb": 1},
    "H100-94GB": {"all-1g.12gb": 7, "all-1g.24gb": 4, "all-2g.24gb": 3, "all-3g.47gb": 2, "all-7g.94gb": 1},
    "H200-141GB": {"all-1g.18gb": 7, "all-1g.18gb.me": 1, "all-1g.35gb": 4, "all-3g.71gb": 2},
    "GB300": {"all-1g.35gb": 7, "all-1g.70gb": 4, "all-3g.139gb": 2, "all-7g.278gb": 1},
    "GB200-186GB": {"all-3g.95gb": 2, "all-4g.95gb": 1, "all-7g.189gb": 1, "all-3g.93gb": 2},
    "A30-24GB": {"all-1g.6gb": 4, "all-2g.12gb": 2, "all-2g.12gb.me": 1, "all-4g.24gb": 1},
    "RTX-PRO-6000-96GB": {
        "all-1g.24gb.gfx": 4,
        "all-1g.24gb.me.all": 1,
        "all-1g.24gb-me": 4,
        "all-2g.48gb-me": 2,
        "all-4g.96gb.gfx": 1,
    },
}


@pytest.mark.parametrize("key", CONFIGURATIONS)
def test_configurations_have_the_counts_of_mig_parted(key: str) -> None:
    for name, count in CONFIGURATIONS[key].items():
        resolved = resolve(board_named(key), parse(name))
        assert not resolved.foreign, name
        assert list(resolved.counts.values()) == [count], name


@pytest.mark.parametrize(
    ("key", "balanced"),
    [
        ("B200-180GB", {"1g.23gb": 2, "2g.45gb": 1, "3g.90gb": 1}),
        ("H100-96GB", {"1g.12gb": 2, "2g.24gb": 1, "3g.48gb": 1}),
        ("A30-24GB", {"1g.6gb": 2, "2g.12gb": 1}),
        ("RTX-PRO-6000-96GB", {"1g.24gb": 2, "2g.48gb": 1}),
    ],
)
def test_balanced_is_what_mig_parted_calls_so(key: str, balanced: dict[str, int]) -> None:
    found = configurations(board_named(key))["all-balanced"]
    assert found is not None
    assert {profile.name: count for profile, count in found.items()} == balanced


def test_every_board_has_a_name_for_each_profile() -> None:
    for board in boards():
        named = configurations(board)
        assert {"all-disabled", "all-enabled"} <= set(named)
        assert all(f"all-{profile.name.replace('+', '.')}" in named for profile in board.profiles)


def test_a_configuration_nobody_knows_is_an_error_with_the_names() -> None:
    with pytest.raises(WishError, match="no configuration of the A100-80GB is called 'all-balancd'") as caught:
        resolve(A100, parse("all-balancd"))
    assert "did you mean all-balanced" in caught.value.hint
    with pytest.raises(WishError, match="custom"):
        resolve(A100, parse("custom"))


def test_a_configuration_of_another_board_keeps_its_count() -> None:
    (asked,) = resolve(A100, parse("all-1g.5gb")).foreign
    assert (asked.name, asked.count) == ("1g.5gb", 7)
