"""The MIG page of the node screen on a real console: the map, what if, and how they look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from backends.domain import Fleet, Gpu, Mig, Node, NodeReading, NodeState, Problem, Vgpu
from screens.node import NodeScreen
from screens.node_pages.mig import MigPage
from tests.tui.consoles import Opened, ScriptedSite, build, build_on, opened, settled, spec_of
from tests.tui.fleets import HOSTILE, NOW
from tests.tui.test_snapshots import LARGE, SIZES, SMALL, SnapCompare, one_terminal
from tests.unit.migs import mig_gpu, node, plain_gpu, process
from tests.workloads import container_id, owned, pod
from tui.app import Console
from tui.widgets.grid import Grid
from tui.widgets.mig_map import MigMap

__all__ = ["one_terminal"]

WORK = (
    process(4242, 1, command="python train.py --model vit-huge"),
    process(51, 1, user="bob", command="tensorboard"),
    process(77, 3, user="svc-search", command="tritonserver --model-repository=/models"),
)
CUT = mig_gpu("3g.40gb:0", "2g.20gb:4", "1g.10gb:6", index=1, processes=WORK)


def dgx(*gpus: Gpu, **more: Any) -> Fleet:
    return Fleet((live(node(*gpus, **more)),))


def live(value: Node) -> NodeReading:
    return NodeReading("dgx01", NodeState.LIVE, value, NOW, None)


def whole() -> Fleet:
    """Eight GPUs, three of them cut."""
    others = (mig_gpu("1g.10gb:0", "1g.10gb:3", "1g.10gb:5", "1g.10gb:6", index=4), mig_gpu(index=6))
    gpus = sorted((*(plain_gpu(index) for index in (0, 2, 3, 5, 7)), CUT, *others), key=lambda gpu: gpu.index)
    return dgx(*gpus, services={"nvidia-dcgm": "active"})


FLEETS: dict[str, Fleet] = {
    "off": dgx(plain_gpu(0), plain_gpu(1)),
    "empty": dgx(mig_gpu()),
    "pending": dgx(replace(plain_gpu(), mig=Mig(False, True, 7)), CUT),
    "unread": dgx(mig_gpu("2g.20gb", "2g.20gb", "3g.40gb", processes=WORK), privileged=False),
    "deduced": dgx(mig_gpu("4g.40gb", "3g.40gb"), privileged=False),
    "vgpu": dgx(
        Gpu(name="NVIDIA L40S-24C", uuid="GPU-v", vgpu=Vgpu("vgpu", False)),
    ),
    "incapable": dgx(Gpu(name="NVIDIA L40S", uuid="GPU-l")),
    "lost": dgx(replace(plain_gpu(), lost=True, mig=Mig(None, None, None))),
    "no-gpus": dgx(),
    "stale": Fleet(
        (NodeReading("dgx01", NodeState.STALE, node(CUT), NOW - 240, Problem("unreachable", "gone", "look", NOW)),)
    ),
}


def a_console(value: Fleet, platform: str | None = None, **options: Any) -> Console:
    if platform is None:
        return build_on(value, **options)
    spec = spec_of(value, platform=platform)
    return build(spec, values={spec.name: value}, **options)


async def to_mig(console: Opened) -> MigPage:
    await console.press("enter")
    await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
    await console.press("m")
    await console.until(lambda: console.screen.query(MigPage), "the page")
    await console.pilot.pause()
    return cast(MigPage, console.screen.query_one(MigPage))


async def typed(console: Opened, text: str) -> None:
    await console.press("i")
    console.screen.query_one(Input).value = text
    await console.pilot.pause()


def said(console: Opened) -> str:
    """What the map says, in view or not."""
    return "\n".join(console.screen.query_one(MigMap).text_lines)


# The map


async def test_the_chosen_gpu_comes_first_and_the_others_follow() -> None:
    async with opened(a_console(whole())) as console:
        await to_mig(console)
        assert said(console).startswith("GPU 0  A100-SXM4-80GB  MIG off")
        await console.press("j")
        text = said(console)
        assert text.startswith("GPU 1  A100-SXM4-80GB\n  MIG on: 3g.40gb + 2g.20gb + 1g.10gb")
        assert "GPU 0 2 3 5 7  MIG off" in text
        assert "GPU 4  A100-SXM4-80GB  MIG on: 4x 1g.10gb" in text
        assert "GPU 6  A100-SXM4-80GB  ▲ MIG on, no instances" in text


async def test_who_sits_in_an_instance_is_named() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        text = said(console)
        for each in ("4242 alice 9.0 GiB python train.py", "51 bob 9.0 GiB tensorboard", "svc-search"):
            assert each in text


async def test_a_beat_with_the_same_values_repaints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(a_console(whole()), LARGE) as console:
        await to_mig(console)
        asked: list[Any] = []
        for widget in console.screen.query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *regions, **_: asked.append(regions))
        console.site.publish(whole())
        console.screen.show()
        assert asked == []


async def test_only_the_lines_that_changed_are_repainted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(a_console(dgx(CUT)), LARGE) as console:
        await to_mig(console)
        drawn = console.screen.query_one(MigMap)
        before = drawn.text_lines
        regions: list[Any] = []
        monkeypatch.setattr(drawn, "refresh", lambda *each, **_: regions.extend(each))
        busier = replace(CUT, processes=(*WORK, process(99, 7, command="new")))
        console.site.publish(dgx(busier))
        console.screen.show()
        changed = {number for number, line in enumerate(drawn.text_lines) if before[number : number + 1] != [line]}
        assert 0 < len(changed) < len(drawn.text_lines)
        assert {region.y for region in regions} == changed
        assert all(region.height == 1 for region in regions)


async def test_hostile_names_stay_text() -> None:
    evil = HOSTILE[0]
    gpu = replace(CUT, name=evil, processes=(process(1, 1, user=evil, command=evil),), pci_device_id="0x20B210DE")
    async with opened(a_console(dgx(gpu))) as console:
        await to_mig(console)
        assert "[@click=app.quit]press[/]" in said(console)
        assert console.app.is_running


# What if


async def test_a_wish_is_answered_while_it_is_typed() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        page = await to_mig(console)
        await console.press("i", *"3g.40gb,3g.40gb")
        text = said(console)
        assert text.startswith("✓ possible on GPU 1: 2x 3g.40gb")
        for each in ("BEFORE", "AFTER", "stays  3g.40gb 0:4", "1 compute slice is stranded", "pid 77 svc-search"):
            assert each in text
        assert page.commands[-3:] == (
            "nvidia-smi mig -i 1 -cgi 3g.40gb -C",
            "nvidia-smi mig -i 1 -lgi",
            "nvidia-smi -L",
        )
        await console.press("enter", "G")
        assert console.screen.query_one(MigMap).scroll_offset.y > 0, "enter gives the keys to what is read"


async def test_what_is_wrong_with_a_wish_is_said_in_place() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        await typed(console, "3g.40")
        assert said(console).startswith("✖ the wish cannot be read at '3g.40'")
        assert "GPU 1  A100-SXM4-80GB" in said(console), "the map stays"
        await typed(console, "all-balancd")
        assert "did you mean all-balanced or" in said(console)
        await typed(console, "7g.80gb on gpu 9")
        assert "the node has no GPU 9" in said(console)


async def test_tab_takes_what_is_nearest() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        await typed(console, "1g.5gb")
        assert "✖ not possible on GPU 1: 1g.5gb" in said(console)
        entry = console.screen.query_one(Input)
        taken = []
        for _ in range(4):
            await console.press("tab")
            taken.append(entry.value)
        assert taken == ["1g.10gb", "2x 3g.40gb", "4g.40gb + 3g.40gb", "1g.10gb"]
        assert "✓ possible on GPU 1: 1g.10gb" in said(console)


async def test_tab_completes_the_names_of_configurations() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        await console.press("i", *"all-b", "tab")
        assert console.screen.query_one(Input).value == "all-balanced"
        assert "✓ possible on GPU 1: all-balanced" in said(console)


async def test_a_new_wish_is_read_from_its_beginning() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        await typed(console, "3g.40gb,3g.40gb")
        await console.press("enter", "G")
        drawn = console.screen.query_one(MigMap)
        assert drawn.scroll_offset.y > 0
        await typed(console, "all-balanced")
        assert drawn.scroll_offset.y == 0


async def test_a_wish_may_name_another_gpu() -> None:
    async with opened(a_console(whole())) as console:
        await to_mig(console)
        await typed(console, "7g.80gb on gpu 4")
        assert "possible on GPU 4: 7g.80gb" in said(console)


async def test_escape_closes_what_if_first_and_the_screen_then() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        page = await to_mig(console)
        await typed(console, "3g.40gb")
        await console.press("escape")
        assert not page.is_asking
        assert page.commands == ()
        assert said(console).startswith("GPU 1")
        await console.press("i")
        assert console.screen.query_one(Input).value == "3g.40gb", "the wish is still there"
        await console.press("enter", "escape")
        assert not page.is_asking
        await console.press("escape")
        assert not isinstance(console.screen, NodeScreen)


async def test_letters_that_are_keys_elsewhere_are_letters_in_a_wish() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        await console.press("i", *"7g.80gb, m v o w y q")
        assert console.screen.query_one(Input).value == "7g.80gb, m v o w y q"
        assert console.app.is_running


async def test_the_keys_of_the_page_mean_nothing_on_others() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        page = await to_mig(console)
        await console.press("o", "i")
        assert not page.is_asking
        await console.press("m", "i")
        assert page.is_asking


async def test_commands_are_copied_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(a_console(dgx(CUT))) as console:
        page = await to_mig(console)
        copied: list[str] = []
        monkeypatch.setattr(console.app, "copy_to_clipboard", copied.append)
        await console.press("y")
        assert copied == []
        assert console.notices == ["No commands on this page."]
        await typed(console, "7x 1g.10gb")
        await console.press("enter", "y")
        assert copied == ["\n".join(page.commands) + "\n"]
        assert console.notices[-1] == f"{len(page.commands)} commands sent to the terminal's clipboard."


async def test_the_plan_follows_what_happens_on_the_node() -> None:
    async with opened(a_console(dgx(CUT))) as console:
        await to_mig(console)
        await typed(console, "3g.40gb,3g.40gb")
        assert "blocked now by 1" in said(console)
        free = replace(CUT, processes=WORK[:2])
        console.site.publish(dgx(free))
        console.screen.show()
        await console.pilot.pause()
        assert "blocked now" not in said(console)


async def test_a_plan_from_old_values_says_so() -> None:
    async with opened(a_console(FLEETS["stale"])) as console:
        await to_mig(console)
        await typed(console, "7g.80gb")
        assert "the node does not answer now" in said(console)


async def test_a_plan_never_moves_to_another_gpu_by_itself() -> None:
    async with opened(a_console(dgx(plain_gpu(0), CUT, plain_gpu(2)))) as console:
        page = await to_mig(console)
        await console.press("j")
        await typed(console, "7g.80gb")
        assert any("-i 1" in command for command in page.commands)
        console.site.publish(dgx(plain_gpu(0), plain_gpu(2)))
        console.screen.show()
        await console.pilot.pause()
        assert page.commands == ()
        assert "no longer listed" in said(console)
        assert [row.key for row in console.screen.query_one("#node-gpus", Grid).rows][-1] == CUT.key


async def test_a_cluster_is_drained() -> None:
    async with opened(a_console(dgx(CUT), platform="kubernetes")) as console:
        await to_mig(console)
        await typed(console, "7g.80gb")
        text = said(console)
        assert "kubectl drain dgx01 --ignore-daemonsets" in text
        assert "OR BY MIG MANAGER" in text


async def test_the_pods_that_have_to_go_are_named() -> None:
    held = process(9, 1, container_id=container_id("llama-0"))
    gpu = mig_gpu("3g.40gb:0", processes=(held,))
    async with opened(a_console(dgx(gpu), platform="kubernetes")) as console:
        console.site.ownership.publish(owned(pod("llama-0")), NOW)
        await to_mig(console)
        await typed(console, "7g.80gb")
        await console.until(lambda: "pod team-search/llama-0" in " ".join(said(console).split()), "the pod")


async def test_a_gpu_without_mig_is_refused_in_words() -> None:
    async with opened(a_console(FLEETS["incapable"])) as console:
        await to_mig(console)
        await typed(console, "3g.40gb")
        assert "NVIDIA L40S has no MIG" in said(console)


async def test_a_resize_moves_the_others_beside_the_chosen() -> None:
    async with opened(a_console(whole()), (80, 24)) as console:
        await to_mig(console)
        assert not any("GPU 0" in line and "GPU 1" in line for line in said(console).splitlines())
        await console.pilot.resize_terminal(200, 50)
        await console.pilot.pause()
        first = said(console).splitlines()[0]
        assert first.startswith("GPU 0")
        assert "GPU 1" in first


# How it looks


def page(*keys: str, wish: str | None = None) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Opens the page, presses `keys`, and types `wish`."""

    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        site = getattr(pilot.app, "site", None)
        assert isinstance(site, ScriptedSite)
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("m", *keys)
        await pilot.pause()
        assert pilot.app.screen.query(MigPage)
        if wish is not None:
            await pilot.press("i")
            entry = pilot.app.screen.query_one(Input)
            entry.cursor_blink = False
            entry.value = wish
            await pilot.pause()
            await pilot.press("enter")
        await pilot.pause()

    return run


@SIZES
def test_mig_page(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(a_console(whole()), terminal_size=size, run_before=page("j"))


@SIZES
def test_mig_page_what_if(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    run = page("j", wish="4x 1g.10gb + 1x 3g.40gb")
    assert snap_compare(a_console(whole(), platform="kubernetes"), terminal_size=size, run_before=run)


@SIZES
def test_mig_page_refusal(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(a_console(whole()), terminal_size=size, run_before=page("j", wish="1g.5gb"))


@pytest.mark.parametrize("state", FLEETS)
def test_mig_page_states(snap_compare: SnapCompare, state: str) -> None:
    assert snap_compare(a_console(FLEETS[state]), terminal_size=SMALL, run_before=page())


def test_mig_page_fragmented(snap_compare: SnapCompare) -> None:
    run = page("j", "j", "j", "j")
    assert snap_compare(a_console(whole()), terminal_size=SMALL, run_before=run)


def test_mig_page_error(snap_compare: SnapCompare) -> None:
    assert snap_compare(a_console(whole()), terminal_size=SMALL, run_before=page("j", wish="3g.40"))


def test_mig_page_ascii(snap_compare: SnapCompare) -> None:
    run = page("j", wish="3g.40gb,3g.40gb")
    assert snap_compare(a_console(whole(), ascii_only=True), terminal_size=SMALL, run_before=run)


def test_mig_page_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(a_console(whole(), theme=None), terminal_size=SMALL, run_before=page("j"))


@pytest.mark.parametrize("theme", ["light", "ansi-16"])
def test_mig_page_themes(snap_compare: SnapCompare, theme: str) -> None:
    assert snap_compare(a_console(whole(), theme=theme), terminal_size=SMALL, run_before=page("j"))
