"""What can be done to a node through its platform: the choices before a change is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from screens.menu import Entry, MenuScreen
from screens.stack_rows import PHASES
from tui.widgets.glyphs import Glyphs

if TYPE_CHECKING:
    from textual.app import App

    from backends.changes.platform_actions import PlatformAction, Wish
    from backends.domain import Stack, StackNode

ANOTHER = "another"
WORDS: dict[str, str] = {
    "restart": "restart operand",
    "mig": "MIG layout",
    "drain-force": "drain by force",
    "upgrade-start": "upgrade driver",
    "upgrade-pause": "pause upgrades",
    "upgrade-resume": "resume upgrades",
}
"""Of an action in the list; another one is its own word."""
FIXED_LAYOUTS = (
    ("all-disabled", "MIG off on every GPU"),
    ("all-balanced", "instances of three sizes on every GPU"),
)


async def ask(
    app: App[Any], stack: Stack, node: StackNode, offered: Sequence[PlatformAction], now: float
) -> Wish | None:
    """What a person wants done to `node`, as it is `now`; None when they left. Runs in a worker."""
    from backends.changes.platform_actions import ACTIONS, Wish

    chosen = await app.push_screen_wait(MenuScreen(f"Actions on {node.name}", entries(offered, node, now)))
    if chosen is None:
        return None
    argument: str | None = ""
    if ACTIONS[chosen].takes == "operand":
        signs = cast(Glyphs, app.glyphs)  # type: ignore[attr-defined]
        title = f"Restart which operand of {node.name}?"
        argument = await app.push_screen_wait(MenuScreen(title, operand_entries(stack, node, signs), "STATE"))
    elif ACTIONS[chosen].takes == "layout":
        argument = await _layout(app, node, now)
    return None if argument is None else Wish(chosen, node.name, argument)


def entries(offered: Sequence[PlatformAction], node: StackNode, now: float) -> list[Entry]:
    return [
        Entry(action.id, WORDS.get(action.id, action.id), action.help, action.not_now(node, now)) for action in offered
    ]


def operand_entries(stack: Stack, node: StackNode, glyphs: Glyphs) -> list[Entry]:
    """Each operand with its state and what its restart does besides."""
    from backends.changes.side_effects import SIDE_EFFECTS

    found = []
    for operand in stack.operands:
        state = node.get(operand.key)
        if state is None:
            continue
        style, word = PHASES[state.phase]
        effect = SIDE_EFFECTS.get(operand.key)
        text = f"{glyphs.of(style)} {word}" if style != "dim" else word
        not_now = None if state.pod is not None else "it has no pod here"
        found.append(Entry(operand.key, operand.key, f"{text:<8} {effect[0] if effect else ''}".rstrip(), not_now))
    return found


async def _layout(app: App[Any], node: StackNode, now: float) -> str | None:
    mig = node.mig
    asked = None if mig is None else mig.requested
    ended = mig is not None and mig.broken(now)
    shown = [
        Entry(name, name, text, "it is asked for already" if name == asked and not ended else None)
        for name, text in (*FIXED_LAYOUTS, *_layouts_of(node.capacity.product))
    ]
    shown.append(Entry(ANOTHER, "another name", "one of the MIG manager's own configuration"))
    title = f"MIG layout of {node.name}, now {asked or 'none'}"
    chosen = await app.push_screen_wait(MenuScreen(title, shown, "ON EVERY GPU OF THE NODE"))
    if chosen != ANOTHER:
        return chosen
    from screens.ask import AskScreen

    question = "As it stands in the MIG manager's configuration:"
    answer: str | None = await app.push_screen_wait(AskScreen(title, question, "Look at it", limit=63))
    return answer


def _layouts_of(product: str | None) -> list[tuple[str, str]]:
    """`all-3g.40gb` and its like for a board as GPU feature discovery names it; empty for one that is not known."""
    from backends.contract import ConfigError
    from backends.nodes.mig.catalogue import board_for

    try:
        board = board_for(None if product is None else product.replace("-", " "))
    except ConfigError:
        return []
    return [
        (f"all-{profile.name}", f"{profile.max_instances} x {profile.name} on every GPU")
        for profile in board.profiles
        if profile.is_plain
    ]
