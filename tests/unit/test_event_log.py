"""What a site remembers of what happened: one storm hides nothing else, and nothing counts twice or half."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import Event
from backends.feed import event_log
from backends.feed.event_log import EventLog

T = 1_700_000_000.0
BUS = ("00000000:1B:00.0", "00000000:1C:00.0")


def xid(
    code: int, at: float = 0.0, gpu: int = 0, text: str = "said", source: str = "kernel", node: str = "n1"
) -> Event:
    return Event(T + at, node, "xid", text, gpu, f"GPU-{gpu}", BUS[gpu], code, source=source)


def logged(*events: Event) -> EventLog:
    log = EventLog()
    for event in events:
        log.add(event)
    return log


def counts(log: EventLog) -> dict[int | None, int]:
    found: dict[int | None, int] = {}
    for event in log.all():
        found[event.code] = found.get(event.code, 0) + event.count
    return found


def test_a_storm_on_one_gpu_pushes_out_no_xid_of_another() -> None:
    log = logged(xid(119, gpu=1), *(xid(31, 10 + number * 10, text=f"pid={number}") for number in range(220)))
    assert counts(log) == {119: 1, 31: 220}
    assert len(log.all()) == 1 + event_log.RUN_KEPT


def test_a_storm_pushes_out_no_other_xid_of_its_own_gpu() -> None:
    log = logged(xid(79), *(xid(45, 0.01 * number, text=f"Ch {number}") for number in range(1, 1500)))
    assert counts(log) == {79: 1, 45: 1499}


def test_a_run_keeps_its_first_and_its_last_and_says_since_when() -> None:
    log = logged(*(xid(31, 3.0 * number, text=f"pid={number}") for number in range(100)))
    run = log.all()
    assert (run[0].text, run[-1].text) == ("pid=0", "pid=99")
    assert (run[0].count, run[0].first_at) == (1, None)
    gaps = [(later.first_at or later.at) - earlier.at for earlier, later in pairwise(run)]
    assert max(gaps) == pytest.approx(3.0), "what stands for a run begins where the one before it ends"


def test_what_came_long_before_is_no_part_of_a_run() -> None:
    log = logged(*(xid(31, 1000.0 * number, text=f"pid={number}") for number in range(20)))
    assert [event.count for event in log.all()] == [1] * event_log.RUN_KEPT
    assert log.all()[-1].text == "pid=19"


def test_two_gpus_without_uuid_that_fall_off_together_are_two() -> None:
    both = [replace(xid(79, gpu=gpu, at=float(gpu)), gpu_uuid=None) for gpu in (0, 1)]
    assert len(logged(*both).all()) == 2
    assert len(logged(*(replace(event, pci_bus_id=None) for event in both)).all()) == 2


def test_two_processes_with_one_xid_are_two() -> None:
    log = logged(xid(31, text="pid=1, name=a"), xid(31, 3.0, text="pid=2, name=b"))
    assert len(log.all()) == 2


def test_the_instance_that_nvml_told_stays_where_the_kernels_line_has_none() -> None:
    nvml = replace(xid(31, text="reported by NVML", source="nvml"), gi=2, ci=0)
    (event,) = logged(nvml, xid(31, text="MMU Fault")).all()
    assert (event.text, event.gi, event.ci) == ("MMU Fault", 2, 0)


def test_an_xid_told_by_nvml_and_by_the_kernel_is_one_in_the_kernels_words() -> None:
    nvml = xid(31, 1.5, text="reported by NVML", source="nvml")
    kernel = replace(xid(31, text="pid=1, name=python, MMU Fault"), pid=1, process="python")
    for order in ([nvml, kernel], [kernel, nvml]):
        (event,) = logged(*order).all()
        assert (event.text, event.pid, event.source) == (kernel.text, 1, "kernel")


def test_two_xids_each_told_twice_are_two() -> None:
    told = [
        xid(31, 0.0, text="pid=1"),
        xid(31, 0.4, text="reported by NVML", source="nvml"),
        xid(31, 3.0, text="pid=2"),
        xid(31, 3.3, text="reported by NVML", source="nvml"),
    ]
    for order in (told, told[::-1], [*told[::2], *told[1::2]], [*told[1::2], *told[::2]]):
        assert counts(logged(*order)) == {31: 2}


def test_a_storm_told_by_both_is_counted_once() -> None:
    kernel = replace(xid(45, 2.0, text="Ch 99"), count=93, first_at=T)
    beginning = [xid(45, 0.0, text=f"Ch {number}") for number in range(4)]
    nvml = [xid(45, 0.02 * number, text="reported by NVML", source="nvml") for number in range(97)]
    assert counts(logged(*beginning, kernel, *nvml)) == {45: 97}


def test_the_two_sources_of_two_gpus_are_not_taken_for_one() -> None:
    log = logged(xid(79, gpu=0), xid(79, gpu=1, text="reported by NVML", source="nvml"))
    assert len(log.all()) == 2


def test_a_line_that_is_read_again_is_no_event() -> None:
    log = EventLog()
    assert log.add(xid(79))
    assert not log.add(xid(79, 0.002))
    assert log.add(xid(79, 6.0))


def test_an_event_of_a_gpu_that_was_not_listed_yet_is_named_later() -> None:
    early = replace(xid(119), gpu_index=None, gpu_uuid=None, pci_bus_id="0000:1b:00")
    log = logged(early)
    assert log.add(xid(119))
    (event,) = log.all()
    assert (event.gpu_index, event.gpu_uuid, event.pci_bus_id, event.count) == (0, "GPU-0", BUS[0], 1)
    assert not log.add(early)


def test_every_event_has_a_key_of_its_own() -> None:
    log = logged(xid(45, text="Ch 1"), xid(45, text="Ch 2"), xid(45, 1e-5, text="Ch 3"))
    assert len({event.key for event in log.all()}) == len(log.all())
    assert counts(log) == {45: 3}


def test_the_newest_of_a_device_and_code_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SITE_EVENTS_KEPT", 40)
    connected = [Event(T + number * 60, "n1", "connected", "read", source="console") for number in range(100)]
    log = logged(
        xid(119, -50), xid(64, -40, gpu=1), *connected, *(xid(31, 9.0 * number, node="n2") for number in range(99))
    )
    codes = counts(log)
    assert (codes[119], codes[64]) == (1, 1)
    assert len(log.all()) <= 42
    assert log.all()[-1].at == connected[-1].at


def test_a_node_that_invents_codes_costs_only_itself() -> None:
    flood = [xid(code, code * 0.01, text="x") for code in range(1000, 5000)]
    log = logged(xid(79), *flood, xid(79, node="n2"))
    assert len([event for event in log.all() if event.node == "n1"]) == event_log.NODE_KEYS_KEPT
    assert {event.node for event in log.all() if event.code == 79} == {"n1", "n2"}
    later = xid(79, event_log.STALE_SECONDS + 100, gpu=1)
    assert log.add(later)
    assert later in log.all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.floats(0, 500)), max_size=120))
def test_whatever_the_kernel_tells_is_counted_and_the_newest_is_there(told: list[tuple[int, int, float]]) -> None:
    events = [xid(31 + code, at, gpu, text=str(number)) for number, (code, gpu, at) in enumerate(told)]
    log = logged(*events)
    kept = log.all()
    assert list(kept) == sorted(kept, key=lambda event: event.at)
    for code, gpu in {(event.code, event.gpu_index) for event in events}:
        last = max(event.at for event in events if (event.code, event.gpu_index) == (code, gpu))
        assert any(event.at == pytest.approx(last, abs=0.002) for event in kept if event.code == code)
    assert sum(event.count for event in kept) <= len(events)
