"""The registry of actions: whole, without clashes, and what `[keys]` may say about it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from textual.binding import Binding

import screens
from backends.contract import ConfigError
from screens import MODES
from screens.fleet import FleetScreen
from tests.tui.consoles import Opened, build_on, opened
from tests.tui.fleets import fleet
from tui.action_ids import ACTION_IDS
from tui.actions import Action, bindings, keymap, keys_of
from tui.app import Console
from tui.console_actions import GLOBAL
from tui.live import LiveScreen
from tui.widgets.grid import Grid


def _live_screens() -> tuple[type[LiveScreen], ...]:
    for module in pkgutil.iter_modules(screens.__path__, "screens."):
        importlib.import_module(module.name)
    return tuple(each for each in LiveScreen.__subclasses__() if each.__module__.startswith("screens."))


LIVE = _live_screens()
OWNED: tuple[tuple[type, Action], ...] = (
    *((Console, action) for action in GLOBAL),
    *((screen, action) for screen in LIVE for action in screen.ACTIONS),
)
EVERY = tuple(action for _, action in OWNED)
MODE_KEYS = {mode.key: f"mode.{mode.id}" for mode in MODES}


def split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",")]


def grid_keys() -> set[str]:
    return {key for binding in Grid.BINDINGS if isinstance(binding, Binding) for key in split(binding.key)}


# The registry


def test_the_screens_are_found() -> None:
    assert FleetScreen in LIVE
    assert len(EVERY) > len(GLOBAL)


@pytest.mark.parametrize(("owner", "action"), OWNED, ids=[action.id for action in EVERY])
def test_an_action_has_a_method_and_words(owner: type, action: Action) -> None:
    name = f"action_{action.method.partition('(')[0]}"
    assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name}"
    assert action.id.partition(".")[0] == ("app" if owner is Console else owner.__name__.removesuffix("Screen").lower())
    assert action.label.strip()
    assert len(action.label) <= 14, "two words for a footer"
    assert action.help.strip()
    assert action.group.strip()


def test_ids_are_unique() -> None:
    ids = [action.id for action in EVERY]
    assert sorted(set(ids)) == sorted(ids)


SAME_IN_THE_LIST = {"node.further"}
"""Actions whose key the screen's list hands over to them."""


@pytest.mark.parametrize("screen", LIVE, ids=lambda screen: screen.__name__)
def test_no_key_means_two_things_on_a_screen(screen: type[LiveScreen]) -> None:
    taken = dict(MODE_KEYS)
    for action in (*GLOBAL, *screen.ACTIONS):
        for key in split(action.key):
            assert key not in taken, f"{key}: {taken[key]} and {action.id}"
            taken[key] = action.id
    other = {key for key, action_id in taken.items() if action_id not in SAME_IN_THE_LIST}
    assert not grid_keys() & other, "the grid has the focus and takes its keys first"


def test_bindings_carry_the_id_for_remapping() -> None:
    for action, binding in zip(GLOBAL, bindings(GLOBAL), strict=True):
        assert (binding.id, binding.key, binding.action) == (action.id, action.key, f"app.{action.method}")
    own = bindings(FleetScreen.ACTIONS)
    assert [binding.action for binding in own] == [action.method for action in FleetScreen.ACTIONS]


def test_keys_are_written_as_people_read_them() -> None:
    by_id = {action.id: action for action in GLOBAL}
    assert keys_of(by_id["app.help"], {}) == "?"
    assert keys_of(by_id["app.leave"], {}) == "q ctrl+c"
    assert keys_of(by_id["app.leave"], {"app.leave": "x, escape"}) == "x esc"


# [keys]


def test_every_action_may_be_remapped() -> None:
    from tui.remap import screen_actions

    known = {action.id for action in (*GLOBAL, *screen_actions())}
    assert known == {action.id for action in EVERY}
    assert known == ACTION_IDS
    build_on(fleet(), keys={action.id: f"f{at + 1}" for at, action in enumerate(EVERY)})


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown action 'fleet\.flatt'") as raised:
        keymap({"fleet.flatt": "x"}, EVERY)
    assert raised.value.hint == "did you mean fleet.flat?"
    with pytest.raises(ConfigError) as raised:
        keymap({"zzzzzzzzzzzz": "x"}, EVERY)
    assert "? help" in raised.value.hint
    with pytest.raises(ConfigError, match="unknown action"):
        build_on(fleet(), keys={"fleet.flatt": "x"})


def test_an_unknown_id_cannot_act_on_the_terminal() -> None:
    with pytest.raises(ConfigError) as raised:
        keymap({"\x1b]0;owned\x07" + "y" * 10_000: "x"}, EVERY)
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ({"fleet.flat": "r"}, ("fleet.flat", "fleet.reverse")),
        ({"fleet.flat": "x", "fleet.reverse": "x"}, ("fleet.flat", "fleet.reverse")),
        ({"fleet.flat": "x, r"}, ("fleet.flat", "fleet.reverse")),
        ({"fleet.flat": "t"}, ("fleet.flat", "app.next_theme")),
        ({"app.next_theme": "f"}, ("fleet.flat", "app.next_theme")),
        ({"app.next_theme": "q"}, ("app.leave", "app.next_theme")),
        ({"fleet.flat": "ctrl+c"}, ("fleet.flat", "app.leave")),
    ],
)
def test_two_actions_on_one_key_are_refused(keys: dict[str, str], names: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        keymap(keys, (*GLOBAL, *FleetScreen.ACTIONS))
    for name in names:
        assert name in raised.value.message


def test_two_screens_may_use_one_key_and_two_actions_may_swap() -> None:
    for keys in ({"fleet.flat": "f8", "node.next_gpu": "f8"}, {"fleet.flat": "r", "fleet.reverse": "f"}):
        assert keymap(keys, EVERY) == keys


def test_a_key_that_opens_a_mode_is_refused() -> None:
    with pytest.raises(ConfigError):
        build_on(fleet(), keys={"fleet.flat": MODES[0].key})


def test_a_key_of_the_grid_is_refused() -> None:
    with pytest.raises(ConfigError):
        build_on(fleet(), keys={"fleet.flat": "j"})


async def test_a_remapped_key_works_and_the_old_one_does_not() -> None:
    def flat(console: Opened) -> bool:
        return all(row.depth == 0 for row in console.screen.query_one(Grid).rows)

    async with opened(build_on(fleet(), keys={"fleet.flat": "x", "app.next_theme": "f9"})) as console:
        before = console.app.theme
        await console.press("f", "t")
        assert not flat(console)
        assert console.app.theme == before
        await console.press("x", "f9")
        assert flat(console)
        assert console.app.theme != before


async def test_without_keys_the_defaults_work() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("f")
        assert all(row.depth == 0 for row in console.screen.query_one(Grid).rows)
