"""The values of a GPU: what each state says, in which words, with which limit beside it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from backends.domain import (
    CLOCK_EVENT_REASONS,
    Clocks,
    Ecc,
    EccCounts,
    Event,
    Fabric,
    Fleet,
    Gpu,
    Link,
    Memory,
    NodeState,
    Pcie,
    Power,
    RemappedRows,
    RetiredPages,
    Service,
    Subject,
    Temperature,
    Utilization,
    Vgpu,
    clean,
)
from backends.feed.gpu_history import GpuHistory
from screens.gpu_values import gpu_sections
from screens.gpu_values.clock_reasons import REASONS
from screens.gpu_values.state import RECOVERY
from screens.node_pages.view import NodeView
from tests.tui.consoles import ScriptedSite, build_on, settled
from tests.tui.findings import ACKED, HOT
from tests.tui.fleets import GIB, HOSTILE, NOW, h100, hanging, mig_gpu, reading
from tests.tui.test_charts_page import hot, remember, stale
from tests.tui.test_snapshots import LARGE, SIZES, SMALL, SnapCompare
from tui.widgets.columns import Cell
from tui.widgets.glyphs import ASCII, UNICODE, Glyphs
from tui.widgets.sheet import Prose, Section, arrange

WIDTH = 54
"""Of the page on a terminal of 80 columns."""


def xid(code: int, text: str = "said the driver", ago: float = 60.0, gpu: int = 0) -> Event:
    return Event(NOW - ago, "dgx01", "xid", text, gpu_index=gpu, code=code, source="kernel")


def said(
    gpu: Gpu, *events: Event, history: GpuHistory | None = None, glyphs: Glyphs = UNICODE, width: int = WIDTH
) -> str:
    view = NodeView(reading("dgx01", gpu), gpu, NOW, events, (), history, glyphs)
    return text_of(gpu_sections(view, gpu), width)


def text_of(sections: list[Section], width: int = WIDTH) -> str:
    return "\n".join("".join(cell.text for cell in line).rstrip() for line in arrange(sections, width))


def sentence(text: str) -> str:
    """The page as running text: where it is folded does not matter."""
    return " ".join(text.split())


def titles(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(" ")]


# Order and shape


def test_what_an_on_call_needs_comes_first() -> None:
    found = titles(said(hot(fabric=Fabric("completed", 0), persistence=True)))
    assert found[0] == "GPU 0  H100 80GB HBM3"
    assert found[1:6] == ["UTILISATION", "POWER", "TEMPERATURE", "CLOCKS", "MEMORY"]
    for first, second in (("MEMORY", "MEMORY ERRORS (ECC)"), ("NVLINK", "PCIE"), ("PROCESSES", "IDENTITY")):
        assert found.index(first) < found.index(second)
    assert found[-2:] == ["IDENTITY", "MODES"]


@pytest.mark.parametrize("width", [40, WIDTH, 112, 177])
def test_no_line_is_wider_than_the_page(width: int) -> None:
    gpu = hot(ecc=Ecc(True, True, EccCounts(17, 2)), recovery_action="drain_and_reset", unread=("x: y" * 20,))
    sections = gpu_sections(NodeView(reading("dgx01", gpu), gpu, NOW, (xid(94, "word " * 60),)), gpu)
    for section in sections:
        for line in section.lines:
            if isinstance(line, Prose):
                assert line.text.strip()
    folded = [line for line in arrange(sections, width) if any(cell.text.strip().startswith("word") for cell in line)]
    assert folded
    for line in folded:
        assert sum(cell_len(cell.text) for cell in line) <= width


def test_figures_stand_in_line_with_their_unit_and_limit() -> None:
    text = said(hot(power=Power(612.4, 700.0, 700.0, 200.0, 700.0, 5.3e8)))
    lines = text.splitlines()
    draw = next(line for line in lines if line.startswith("  draw"))
    limit = next(line for line in lines if line.startswith("  limit"))
    assert draw.index("W ") == limit.index("W ")
    assert "612.4 W   of 700 limit" in draw
    assert "settable 200 to 700" in limit
    assert "147.2 kWh since the driver started" in text


def test_a_short_history_stands_beside_what_is_kept() -> None:
    history = GpuHistory()
    for second in range(300):
        history.record_node("dgx01", reading("dgx01", hot(300 - second)).node, NOW - 300 + second)  # type: ignore[arg-type]
    lines = said(hot(), history=history).splitlines()
    ends = max(len(line) for line in lines if line.startswith("  draw"))
    drawn = [line for line in lines if len(line) == ends and line[-1] in "▁▂▃▄▅▆▇█"]
    assert [line.split()[0] for line in drawn] == ["GPU", "draw", "GPU", "memory", "SM", "used"]
    assert ends <= WIDTH
    plain = said(hot(), history=history, glyphs=ASCII)
    assert "°" not in plain
    assert sum(len(line) == ends and line[-1] in "_.-=+*%#" for line in plain.splitlines()) == 6


def test_nothing_kept_draws_nothing() -> None:
    assert not any(sign in said(hot(), history=GpuHistory()) for sign in "▁▂▃")


# States


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (h100(0), "✓ ok: no value is out of bounds."),
        (replace(h100(0), lost=True, lost_reason="NVML: GPU is lost"), "✖ LOST: NVML: GPU is lost. The values below"),
        (replace(h100(0), remapped_rows=RemappedRows(0, 1, True, False)), "▲ remap: a row remap waits for a reset."),
        (replace(h100(0), retired_pages=RetiredPages(0, 1, True)), "▲ remap: a page of memory waits for a reset"),
        (replace(h100(0), remapped_rows=RemappedRows(0, 1, False, True)), "✖ remap: a row could not be remapped."),
        (replace(h100(0), temperature=Temperature(93, slowdown_celsius=92)), "▲ hot: it is at its temperature limit."),
        (
            replace(h100(0), clocks=Clocks(event_reasons=("sw_thermal_slowdown",))),
            "▲ hot: its clocks are held down by heat.",
        ),
        (replace(h100(0), pcie=Pcie(5, 4, 5, 16, 0)), "▲ pcie: it runs with fewer PCIe lanes than it could."),
    ],
)
def test_the_state_is_a_sentence(gpu: Gpu, words: str) -> None:
    assert words in sentence(said(gpu))


def test_a_stale_node_says_how_old_its_values_are() -> None:
    each = stale(hot())
    text = text_of(gpu_sections(NodeView(each, hot(), NOW), hot()))
    assert "◌ stale: the node does not answer; these values are 4 m old." in sentence(text)
    assert each.state is NodeState.STALE


def test_values_from_before_a_call_that_hangs_are_not_told_as_current() -> None:
    text = sentence(text_of(gpu_sections(NodeView(hanging(hot()), hot(), NOW), hot())))
    assert "◌ stale: NVML hangs in nvmlDeviceGetPowerUsage of GPU 3; these values are 4 m old." in text
    assert "ok" not in text


def test_last_values_look_stale_and_what_happened_does_not() -> None:
    lost = hot(lost=True)
    for each, gpu in ((stale(hot()), hot()), (hanging(hot()), hot()), (reading("dgx01", lost), lost)):
        sections = gpu_sections(NodeView(each, gpu, NOW, (xid(79),)), gpu)
        for section in sections[1:]:
            styles = {cell.style for line in arrange([section], WIDTH)[1:] for cell in line if cell.text.strip()}
            lasting = section.title in ("EVENTS OF THIS GPU", "IDENTITY")
            assert (styles <= {"dim", "stale"}) != lasting, section.title


@pytest.mark.parametrize("action", RECOVERY)
def test_what_the_driver_asks_for_is_said_in_words(action: str) -> None:
    text = sentence(said(replace(h100(3), recovery_action=action)))
    if action == "none":
        assert "driver asks nothing" in text
        return
    assert "The driver asks for" in text
    assert action not in text
    if "reset" in action and "bus" not in action:
        assert "nvidia-smi --gpu-reset -i GPU-dgx01-3" in text


def test_a_gpu_that_was_lost_before_it_was_read_has_no_last_values() -> None:
    never = Gpu(index=3, uuid="GPU-x", lost=True, lost_reason="NVML: GPU is lost")
    text = sentence(said(never))
    assert "LOST: NVML: GPU is lost. No value of it is known." in text
    assert "last ones" not in text


def test_a_gpu_that_shows_nothing_of_what_was_found_is_not_called_ok() -> None:
    gpu = h100(0)
    each = reading("dgx01", gpu)
    found = replace(HOT, subject=Subject("dgx01", gpu.key, 0))
    text = sentence(text_of(gpu_sections(NodeView(each, gpu, NOW, findings=(found,)), gpu)))
    assert "▲ triage: no value is out of bounds; what was found stands above." in text
    acknowledged = replace(ACKED, subject=found.subject)
    assert "✓ ok" in text_of(gpu_sections(NodeView(each, gpu, NOW, findings=(acknowledged,)), gpu))


def advised(gpu: Gpu) -> list[str]:
    """The commands on its page that change something."""
    return re.findall(r"nvidia-smi (?:-e 1|-rac|--gpu-reset)[^.,]*", sentence(said(gpu)))


def test_advice_acts_on_this_gpu_alone() -> None:
    trouble = replace(
        h100(3),
        ecc=Ecc(False, False),
        clocks=Clocks(event_reasons=("applications_clocks_setting",)),
        remapped_rows=RemappedRows(0, 1, True, False),
        recovery_action="gpu_reset",
    )
    pages = replace(h100(3), remapped_rows=RemappedRows(), retired_pages=RetiredPages(2, 1, True))
    found = [*advised(trouble), *advised(pages)]
    assert len(found) == 5
    named = re.compile(r"-i (3|GPU-dgx01-3)\b")
    assert all(named.search(command) for command in found), found


def test_gpus_that_are_reset_together_are_not_advised_to_be_reset_alone() -> None:
    gpu = replace(h100(3), architecture="Ampere", recovery_action="gpu_reset", remapped_rows=RemappedRows(0, 1, True))
    assert gpu.links
    assert all(link.remote_kind == "switch" for link in gpu.links)
    each = reading("dgx01", gpu, h100(4))
    assert each.node is not None
    host = replace(each.node.host, services=(Service("nvidia-fabricmanager", "failed"),))
    each = replace(each, node=replace(each.node, host=host))
    text = sentence(text_of(gpu_sections(NodeView(each, gpu, NOW), gpu)))
    assert not re.findall(r"--gpu-reset -i", text)
    assert "nvidia-smi --gpu-reset, of all GPUs of the node together" in text


def test_a_recovery_action_of_a_newer_driver_is_shown_as_it_is() -> None:
    assert "The driver asks for code_42." in said(replace(h100(0), recovery_action="code_42"))


@pytest.mark.parametrize("action", [*RECOVERY, "code_42"])
def test_what_the_driver_asked_for_before_is_not_told_as_what_it_asks_for(action: str) -> None:
    gpu = replace(h100(3), recovery_action=action)
    lost, hung = replace(gpu, lost=True, lost_reason="NVML: GPU is lost"), hanging(gpu)
    for each, of in ((reading("dgx01", lost), lost), (stale(gpu), gpu), (hung, gpu)):
        section = gpu_sections(NodeView(each, of, NOW), of)[0]
        text = sentence(text_of([section]))
        assert "asks" not in text
        assert ("The driver last asked for" in text) == (action != "none")
        asked = [line for line in section.lines if isinstance(line, Prose) and "asked for" in line.text]
        assert all(line.style == "stale" for line in asked)


# Clocks


@pytest.mark.parametrize("name", CLOCK_EVENT_REASONS.values())
def test_each_reason_says_what_it_means(name: str) -> None:
    text = sentence(said(replace(h100(0), clocks=Clocks(event_reasons=(name,)))))
    reason = REASONS[name]
    assert f"{reason.title} {reason.meaning}" in text
    assert reason.action.format(index=0) in text
    assert (f"{UNICODE.of(reason.style)} {reason.title}" in text) == bool(reason.style)


def test_urgent_reasons_come_first_and_none_is_said_too() -> None:
    both = said(replace(h100(0), clocks=Clocks(event_reasons=("gpu_idle", "hw_thermal_slowdown"))))
    assert both.index("Hardware thermal") < both.index("Idle")
    assert "held back by  nothing" in said(replace(h100(0), clocks=Clocks(sm_mhz=1980, event_reasons=())))
    assert "newer_reason" in said(replace(h100(0), clocks=Clocks(event_reasons=("newer_reason",))))


def test_a_power_cap_under_a_lowered_limit_says_so() -> None:
    capped = replace(h100(0), clocks=Clocks(event_reasons=("sw_power_cap",)))
    assert "lowered" not in said(replace(capped, power=Power(700.0, 700.0, 700.0)))
    assert "lowered to 500 W; the board's default is 700 W" in sentence(
        said(replace(capped, power=Power(500.0, 500.0, 700.0)))
    )


# Temperatures


def test_headroom_and_temperature_are_never_held_against_each_other() -> None:
    absolute = said(replace(h100(0), temperature=Temperature(71, 80, 88, 92, 85, 95)))
    assert "71 °C  slowdown at 88" in absolute
    assert "T.Limit" not in absolute
    relative = said(replace(h100(0), temperature=Temperature(71, None, None, None, None, None, 16, -2, -8)))
    heat = relative[relative.index("TEMPERATURE") : relative.index("CLOCKS")]
    assert "16 °C  left to T.Limit" in heat
    assert "-2 °C  of headroom" in heat
    assert "slowdown at" in heat
    assert next(line for line in heat.splitlines() if line.startswith("  GPU")).strip().endswith("71 °C")


# Memory errors


def test_uncorrected_errors_say_what_was_hit_and_what_to_do() -> None:
    gpu = replace(h100(0), ecc=Ecc(True, True, EccCounts(17, 2), EccCounts(40, 2)))
    contained = sentence(said(gpu, xid(94), xid(63, ago=30)))
    assert "could not be repaired" in contained
    assert "contained: only the process that used that memory was stopped" in contained
    assert "a row was marked to be replaced" in contained
    assert "No XID says" not in contained
    assert "uncontained: what else runs here may be wrong too" in sentence(said(gpu, xid(95)))
    assert "No XID says whether it was contained (94) or not (95)" in sentence(said(gpu, xid(94, gpu=1), xid(13)))
    assert "NVIDIA XID catalogue" in contained


def test_corrected_errors_are_no_alarm() -> None:
    text = sentence(said(replace(h100(0), ecc=Ecc(True, True, EccCounts(17, 0)))))
    assert "▲ Corrected errors were repaired on the spot: no result is wrong." in text
    assert "uncorrected memory errors" not in text


def test_ecc_counters_stand_under_their_titles() -> None:
    lines = said(replace(h100(0), ecc=Ecc(True, True, EccCounts(17, 2), EccCounts(140, 3)))).splitlines()
    head = next(index for index, line in enumerate(lines) if "uncorrected  corrected" in line)
    ends = [lines[head].index("uncorrected") + 11, lines[head].rindex("corrected") + 9]
    for row, figures in ((lines[head + 1], ("2", "17")), (lines[head + 2], ("3", "140"))):
        assert row[ends[0] - 1] == figures[0]
        assert row[ends[1] - len(figures[1]) : ends[1]] == figures[1]


def test_ecc_off_and_a_pending_change_are_said() -> None:
    text = sentence(said(replace(h100(0), ecc=Ecc(False, True))))
    assert "off, on after the next reset" in text
    assert "memory errors go unseen" in text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (RemappedRows(0, 1, True, False), "▲ A row waits to be replaced, which happens at the next reset"),
        (RemappedRows(0, 9, False, True), "NVIDIA asks for an RMA check"),
        (RemappedRows(1, 0, False, False), "Spare rows have taken their place: nothing to do."),
    ],
)
def test_row_remaps_say_what_they_mean(rows: RemappedRows, words: str) -> None:
    assert words in sentence(said(replace(h100(0), remapped_rows=rows)))


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (RetiredPages(2, 1, True), "▲ A page waits to be retired, which happens at the next reset"),
        (RetiredPages(2, 1, False), "Retired pages are no longer used: nothing to do."),
        (RetiredPages(0, 0, False), "PAGE RETIREMENT"),
    ],
)
def test_boards_before_ampere_tell_of_pages(pages: RetiredPages, words: str) -> None:
    gpu = replace(h100(0), remapped_rows=RemappedRows(), retired_pages=pages)
    assert words in sentence(said(gpu))
    assert "ROW REMAPPING" not in sentence(said(gpu))


def test_a_counter_that_rose_says_when() -> None:
    history = GpuHistory()
    for ago, count in ((300, 0), (200, 0), (100, 5)):
        gpu = hot(0, ecc=Ecc(True, True, EccCounts(count, 0)), pcie=Pcie(5, 16, 5, 16, count))
        history.record_node("dgx01", reading("dgx01", gpu).node, NOW - ago)  # type: ignore[arg-type]
    text = said(hot(0, ecc=Ecc(True, True, EccCounts(5, 0))), history=history)
    assert "▲ ECC corrected +5 at 2023-11-14 22:11:40" in text
    assert "▲ PCIe replays +5 at 2023-11-14 22:11:40" in text


def test_events_of_this_gpu_carry_their_code_and_whole_text() -> None:
    text = said(h100(0), xid(79, "GPU has fallen off the bus. " * 4), xid(31, gpu=1))
    assert "✖ XID 79" in text
    assert sentence(text).count("GPU has fallen off the bus.") == 4
    assert "XID 31" not in text


def test_a_run_of_one_xid_is_told_once_and_hides_no_other() -> None:
    storm = [xid(45, f"pid='<unknown>', name=<unknown>, Ch {ago}", ago=ago) for ago in range(40, 0, -1)]
    text = said(h100(0), xid(79, ago=60), *storm[:30], xid(48, ago=9.5), *storm[31:])
    assert text.count("XID 45") == 2
    assert "30 times: Preemptive cleanup: Ch 11" in sentence(text)
    assert text.index("XID 48") < text.index("XID 79")
    apart = said(h100(0), replace(xid(31), pid=1), replace(xid(31, ago=50), pid=2))
    assert apart.count("XID 31") == 2, "two processes"


def test_events_of_this_gpu_are_as_grave_as_they_are_and_keep_their_count() -> None:
    back = Event(NOW - 30, "dgx01", "gpu_back", "answers again", gpu_index=0, source="nvml")
    text = said(h100(0), replace(xid(43, "pid=7, name=python, Ch 8"), count=500), back)
    assert "● XID 43" in text
    assert "500 times: GPU stopped processing: Ch 8" in sentence(text)
    assert "✓ gpu back" in text


# Links


def test_links_are_summed_up_before_the_table() -> None:
    links = tuple(Link(n, n != 7, 4, 26562, "switch", None, 0, 3 if n == 2 else 0, 0, 1) for n in range(18))
    text = said(replace(h100(0), links=links))
    assert "up            17 of 18" in text
    assert "✖ down: 7." in text
    assert "errors        CRC data 3, recovery 18" in text
    assert "452 GB/s each way" in text
    assert len([line for line in text.splitlines() if " up     26562" in line]) == 17


def test_links_without_errors_or_without_any_counter() -> None:
    assert "errors        none counted" in said(h100(0))
    silent = tuple(Link(n, True) for n in range(4))
    assert "errors        n/a" in said(replace(h100(0), links=silent)) or "n/a:" in said(replace(h100(0), links=silent))
    alone = tuple(Link(n, False) for n in range(4))
    assert "No link is up" in sentence(said(replace(h100(0), links=alone)))


def test_a_fabric_that_is_not_ready_says_what_waits_for_it() -> None:
    assert "CUDA does not start here" in sentence(said(replace(h100(0), fabric=Fabric("in_progress"))))


def test_fewer_lanes_are_told_and_an_idle_generation_is_no_alarm() -> None:
    assert "reseat it" in sentence(said(replace(h100(0), pcie=Pcie(5, 4, 5, 16, 0))))
    idle = sentence(said(replace(h100(0), pcie=Pcie(1, 16, 5, 16, 0))))
    assert "An idle GPU may lower the generation" in idle
    assert "reseat" not in idle


# What cannot be measured


def test_mig_says_what_it_hides_and_only_that() -> None:
    gpu = replace(mig_gpu(0, "3g.20gb"), power=Power(212.0, 400.0))
    text = sentence(said(gpu))
    assert "MIG is on. Cannot be measured then: utilisation, NVLink." in text
    assert "UTILISATION" not in text
    assert "212.0 W" in text
    rest = text[text.index("NOT MEASURED") :]
    assert "temperature" in rest
    assert "utilisation" not in rest


def test_a_vgpu_guest_is_no_wall_of_na() -> None:
    guest = Gpu(
        name="NVIDIA A40-8Q",
        uuid="GPU-v",
        memory=Memory(8 * GIB, GIB, 7 * GIB),
        utilization=Utilization(12, 3),
        vgpu=Vgpu("vgpu", False, "NVIDIA RTX Virtual Workstation"),
    )
    text = said(guest)
    assert "A vGPU guest. Cannot be measured here: power, temperature, clocks" in sentence(text)
    assert text.count("n/a") <= 6
    assert "NOT LICENSED" in text
    assert "look at the licence server" in sentence(text)
    assert text.index("VGPU LICENCE") < text.index("IDENTITY")


def test_a_node_read_by_nvidia_smi_says_that_it_tells_less() -> None:
    each = reading("dgx01", h100(0))
    assert each.node is not None
    each = replace(each, node=replace(each.node, transport="nvidia-smi"))
    assert "tells less than NVML" in text_of(gpu_sections(NodeView(each, h100(0), NOW), h100(0)))


def test_persistence_and_compute_mode_warn() -> None:
    text = sentence(said(replace(h100(0), persistence=False, compute_mode="prohibited")))
    assert "the next start is slow" in text
    assert "unloads its modules too, MIG is lost from Hopper on" in text
    assert "PROHIBITED: no CUDA work can start" in text


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_stays_text(evil: str) -> None:
    gpu = replace(
        h100(0), name=clean(evil), recovery_action=clean(evil), unread=(clean(evil),), compute_mode=clean(evil)
    )
    view = NodeView(reading("n", gpu), gpu, NOW, (xid(79, clean(evil)),))
    for line in arrange(gpu_sections(view, gpu), WIDTH):
        assert all(isinstance(cell, Cell) for cell in line)
        assert "\x1b" not in "".join(cell.text for cell in line)


def test_braces_in_a_recovery_action_are_harmless() -> None:
    assert "{index} {0}" in said(replace(h100(0), recovery_action="{index} {0}"))


# Looks


STATES: dict[str, tuple[Gpu, tuple[Event, ...]]] = {
    "trouble": (
        hot(
            0,
            clocks=Clocks(1410, 1410, 2619, 1400, 1980, 1980, 2619, 1665, ("hw_slowdown", "hw_thermal_slowdown")),
            ecc=Ecc(True, True, EccCounts(17, 2), EccCounts(40, 2)),
            remapped_rows=RemappedRows(0, 1, True, False),
            recovery_action="drain_and_reset",
        ),
        (xid(94, "pid=41277, name=python, Contained: HBM (0x2,0x1)"),),
    ),
    "mig": (replace(mig_gpu(0, "3g.20gb", "2g.10gb"), power=Power(212.0, 400.0)), ()),
    "vgpu": (
        Gpu(
            name="NVIDIA A40-8Q",
            uuid="GPU-v",
            memory=Memory(8 * GIB, GIB, 7 * GIB),
            utilization=Utilization(12, 3),
            vgpu=Vgpu("vgpu", False, "NVIDIA RTX Virtual Workstation"),
        ),
        (),
    ),
}


def valued(state: str, *keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        site = cast(ScriptedSite, pilot.app.site)  # type: ignore[attr-defined]
        gpu, events = STATES[state]
        if state == "trouble":
            remember(site, lambda ago: replace(hot(ago), clocks=gpu.clocks), 300)
        site.events.publish(events, NOW)
        await pilot.press("enter", *keys)
        await pilot.pause()

    return run


@SIZES
def test_values(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    app = build_on(Fleet((reading("dgx01", STATES["trouble"][0]),)))
    assert snap_compare(app, terminal_size=size, run_before=valued("trouble"))


@pytest.mark.parametrize("state", ["mig", "vgpu"])
def test_values_states(snap_compare: SnapCompare, state: str) -> None:
    app = build_on(Fleet((reading("dgx01", STATES[state][0]),)))
    assert snap_compare(app, terminal_size=SMALL, run_before=valued(state))


def test_values_further_down(snap_compare: SnapCompare) -> None:
    app = build_on(Fleet((reading("dgx01", STATES["trouble"][0]),)))
    run = valued("trouble", "enter", *["j"] * 38)
    assert snap_compare(app, terminal_size=SMALL, run_before=run)


def test_values_ascii(snap_compare: SnapCompare) -> None:
    app = build_on(Fleet((reading("dgx01", STATES["trouble"][0]),)), ascii_only=True)
    assert snap_compare(app, terminal_size=LARGE, run_before=valued("trouble"))
