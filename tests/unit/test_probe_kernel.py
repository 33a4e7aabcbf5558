"""The kernel log: its lines, its storms, its two sources, and that it is told whatever NVML does."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from backends.nodes import probe_kernel
from backends.nodes.probe import Probe
from backends.nodes.probe_facts import Facts
from backends.nodes.probe_host import Host
from backends.nodes.probe_kernel import Journal, KernelLog, Storms, parse_line, run_command
from tests.trees import Machine

SAMPLE = "NVRM: Xid (PCI:0000:9b:00): 119, pid=2024380, name=nvidia-smi, Timeout after 6s of waiting for RPC response"
MIG = "NVRM: Xid (PCI:0000:9b:00 GPU-I:05 GPU-CI:00): 13, pid=41277, name=python, Graphics SM Warp Exception"
SXID = "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up"
FELL = "NVRM: Xid (PCI:0000:9b:00): 79, GPU has fallen off the bus."
CHANNEL = "NVRM: Xid (PCI:0000:9b:00): 45, pid='<unknown>', name=<unknown>, Ch {:08x}"


def parsed(line: str, at: float = 5.0) -> dict[str, Any] | None:
    found: dict[str, Any] | None = parse_line(line, at)  # type: ignore[no-untyped-call]
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (SAMPLE, {"code": 119, "pci_bus_id": "0000:9b:00", "pid": 2024380, "process": "nvidia-smi"}),
        (MIG, {"code": 13, "pci_bus_id": "0000:9b:00", "gi": 5, "ci": 0, "pid": 41277, "process": "python"}),
        (
            "NVRM: Xid (PCI:0000:1b:00 GPU-I:05): 94, Contained",
            {"code": 94, "pci_bus_id": "0000:1b:00", "gi": 5, "ci": None, "pid": None, "text": "Contained"},
        ),
        ("NVRM: Xid (0000:1b:00): 79, GPU has fallen", {"code": 79, "pci_bus_id": "0000:1b:00"}),
        ("NVRM: Xid (PCI:0000:1b:00): 79", {"code": 79, "text": ""}),
        ("[Sun Feb 23 16:30:13 2025] " + SAMPLE, {"code": 119}),
        (CHANNEL.format(8), {"code": 45, "pid": None, "process": None}),
        (FELL + "\n SUBSYSTEM=pci", {"text": "GPU has fallen off the bus."}),
        (
            SXID,
            {
                "kind": "sxid",
                "code": 20034,
                "pci_bus_id": "0000:c1:00.0",
                "fatal": True,
                "link": 30,
                "text": "Link 30 LTSSM Fault Up",
            },
        ),
        (SXID.replace("Fatal", "Non-fatal"), {"kind": "sxid", "fatal": False, "link": 30}),
        (
            "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Data {0x00000000}",
            {"kind": "sxid", "fatal": None, "link": None, "text": "Data {0x00000000}"},
        ),
    ],
)
def test_lines_of_the_driver(line: str, expected: dict[str, Any]) -> None:
    found = parsed(line)
    assert found is not None
    assert {name: found.get(name) for name in expected} == expected
    assert (found["at"], found["kind"]) == (5.0, expected.get("kind", "xid"))


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: GPU at PCI:0000:9b:00: GPU-509665ad",
        "NVRM: Xid (PCI:0000:9b:00): soon, pid=1",
        "NVRM: Xid (PCI:0000:9b:00): 99999999999, pid=1",
        "nvidia-nvswitch3: open (major=510)",
        "",
    ],
)
def test_other_lines_are_no_events(line: str) -> None:
    assert parsed(line) is None


def test_the_lines_of_the_samples_are_all_read() -> None:
    log = Path(__file__).parents[1] / "data" / "xid" / "dmesg-with-xid-119.log"
    lines = [line for line in log.read_text().splitlines() if "Xid (" in line]
    found = [parsed(line) for line in lines]
    assert [event["code"] for event in found if event] == [119] * len(lines) != []
    assert {event["process"] for event in found if event} == {"nvidia-smi", "cache_mgr_main", "gpud"}


# --- storms ----------------------------------------------------------------------------------------------------------


def stormed(lines: Iterable[str]) -> list[dict[str, Any]]:
    storms: Any = Storms()  # type: ignore[no-untyped-call]
    for number, line in enumerate(lines):
        storms.add(parsed(line, float(number)))
    told: list[dict[str, Any]] = storms.take()
    return told


def test_a_storm_of_one_code_hides_no_other_and_is_counted() -> None:
    told = stormed([FELL, *(CHANNEL.format(channel) for channel in range(150)), SXID])
    assert [event["code"] for event in told] == [79, *[45] * 8, 20034]
    run = [event for event in told if event["code"] == 45]
    assert sum(event.get("count", 1) for event in run) == 150
    assert [(event.get("count"), event.get("first_at")) for event in run] == [
        *[(None, None)] * 4,
        (143, 5.0),
        *[(None, None)] * 3,
    ]
    assert (run[0]["at"], run[-1]["at"]) == (1.0, 150.0)


def test_storms_on_two_gpus_are_two() -> None:
    told = stormed(line for _ in range(50) for line in (FELL, FELL.replace("9b", "1b")))
    assert len(told) == 16
    assert {event["pci_bus_id"] for event in told} == {"0000:9b:00", "0000:1b:00"}


def test_a_hostile_log_of_endless_codes_is_bounded() -> None:
    assert len(stormed(f"NVRM: Xid (PCI:0000:9b:00): {code}, x" for code in range(5000))) == probe_kernel.KINDS_KEPT


# --- /dev/kmsg -------------------------------------------------------------------------------------------------------


class Ring:
    """A machine whose /dev/kmsg gives one record a read, as the kernel's does."""

    def __init__(self, machine: Machine) -> None:
        self.reader, self.writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
        machine.at("/dev").mkdir(parents=True)
        machine.at("/dev/kmsg").symlink_to(f"/proc/self/fd/{self.reader}")
        machine.file("/proc/sys/kernel/random/boot_id", "6a1f\n")
        self.root = str(machine.root)

    def write(self, sequence: int, line: str, stamp: int | None = None) -> None:
        os.write(self.writer, f"4,{sequence},{sequence * 1000 if stamp is None else stamp},-;{line}\n".encode())

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring(Machine(tmp_path / "root"))
    yield made
    made.close()


def no_journal(_words: list[str], keep: object = None) -> tuple[list[bytes], int, str]:
    return [], 1, ""


def opened(root: str, after: str | None = None, run: Any = no_journal) -> tuple[Any, list[dict[str, Any]]]:
    """A log that is read step by step, and what it has told."""
    told: list[dict[str, Any]] = []
    log: Any = KernelLog(root, run)  # type: ignore[no-untyped-call]
    log.tell = told.append
    log.open(after)
    return log, told


def test_the_kernels_buffer_is_read_from_its_beginning_and_then_on(ring: Ring) -> None:
    ring.write(0, "Linux version 6.8.0")
    ring.write(1, SAMPLE)
    log, told = opened(ring.root)
    log.step()
    ring.write(2, SXID)
    log.step()
    assert log.name == "kmsg"
    assert [event["code"] for event in told] == [119, 20034]
    assert abs(told[0]["at"] - (time.time() - time.clock_gettime(time.CLOCK_MONOTONIC))) < 1.0


def test_what_was_told_to_a_console_before_is_not_told_again(ring: Ring) -> None:
    ring.write(0, SAMPLE)
    log, told = opened(ring.root)
    log.step()
    mark = told[0]["mark"]
    assert mark == "kmsg 6a1f 0 0"
    for sequence, line in enumerate((SAMPLE, FELL)):
        ring.write(sequence, line)
    again, later = opened(ring.root, mark)
    again.step()
    assert [event["code"] for event in later] == [79]


@pytest.mark.parametrize("mark", ["kmsg 0000 5 5000", "kmsg", "journal s=1", "kmsg 6a1f x y", ""])
def test_a_mark_of_another_boot_means_nothing(ring: Ring, mark: str) -> None:
    ring.write(0, SAMPLE)
    log, told = opened(ring.root, mark)
    log.step()
    assert len(told) == 1


def test_what_a_chatty_kernel_has_overwritten_comes_from_the_journal(ring: Ring) -> None:
    journal = FakeJournal(entry(1, FELL, stamp=500), entry(2, SAMPLE, stamp=900_000))
    ring.write(900, SAMPLE)
    log, told = opened(ring.root, run=journal)
    log.step()
    assert [event["code"] for event in told] == [79, 119]
    assert told[0]["at"] < told[1]["at"]
    ring.write(901, SXID)
    log.step()
    assert len(told) == 3


def test_a_stretch_that_was_overwritten_meanwhile_comes_from_the_journal_too(ring: Ring) -> None:
    ring.write(0, SAMPLE)
    journal = FakeJournal(entry(1, SAMPLE, stamp=0), entry(2, FELL, stamp=40_000))
    log, told = opened(ring.root, run=journal)
    log.step()
    ring.write(77, SXID)
    log.step()
    assert [event["code"] for event in told] == [119, 79, 20034]


# --- the journal -----------------------------------------------------------------------------------------------------


def entry(number: int, line: str | list[int], stamp: int | None = None) -> dict[str, Any]:
    made = {
        "__CURSOR": f"s=1;i={number}",
        "__REALTIME_TIMESTAMP": str((1_700_000_000 + number) * 1_000_000),
        "__MONOTONIC_TIMESTAMP": str(number * 1_000_000),
        "MESSAGE": line,
    }
    return made if stamp is None else {**made, "_SOURCE_MONOTONIC_TIMESTAMP": str(stamp)}


class FakeJournal:
    """journalctl, as far as the probe uses it."""

    def __init__(self, *entries: dict[str, Any], patterns: bool = True) -> None:
        self.entries = list(entries)
        self.patterns = patterns
        self.asked: list[list[str]] = []

    def __call__(self, words: list[str], keep: Any = None) -> tuple[list[bytes], int, str]:
        self.asked.append(words)
        chosen = self.entries
        after = next((word.partition("=")[2] for word in words if word.startswith("--after-cursor=")), None)
        if after is not None:
            known = [each["__CURSOR"] for each in self.entries]
            if after not in known:
                return [], 1, "Failed to seek to cursor: Invalid argument"
            chosen = chosen[known.index(after) + 1 :]
        if "-g" in words:
            if not self.patterns:
                return [], 1, "Compiled without pattern matching support"
            chosen = [each for each in chosen if "Xid" in str(each["MESSAGE"])]
        if "-n" in words:
            chosen = chosen[-1:]
        if "-r" in words:
            chosen = chosen[::-1]
        lines = [json.dumps(each).encode() + b"\n" for each in chosen]
        if keep is not None:
            lines = [line for line in lines if keep.search(line) or line is lines[-1]]
        return lines, 0 if lines or "-g" not in words else 1, ""


def journal_of(fake: FakeJournal, after: str | None = None) -> Any:
    return Journal(after, fake)  # type: ignore[no-untyped-call]


def told_by(journal: Any) -> list[str]:
    return [said for _, _, said in journal.lines() if "Xid" in said]


@pytest.mark.parametrize("patterns", [True, False])
def test_a_chatty_kernel_hides_no_xid_in_the_journal(patterns: bool) -> None:
    chatter = [entry(number, "audit: something") for number in range(2, 5000)]
    fake = FakeJournal(entry(1, FELL), *chatter, patterns=patterns)
    journal = journal_of(fake)
    assert told_by(journal) == [FELL]
    assert told_by(journal) == []
    fake.entries += [entry(5000, "audit: more"), entry(5001, SAMPLE), entry(5002, "audit: and more")]
    assert told_by(journal) == [SAMPLE]
    assert told_by(journal) == []


def test_a_quiet_kernel_costs_one_short_question() -> None:
    fake = FakeJournal(entry(1, FELL))
    journal = journal_of(fake)
    told_by(journal)
    fake.asked.clear()
    told_by(journal)
    assert len(fake.asked) == 1
    assert fake.asked[0][-2:] == ["-n", "1"]


def test_a_mark_goes_on_where_the_last_console_stopped() -> None:
    fake = FakeJournal(entry(1, FELL), entry(2, "audit"))
    (mark, at, said) = next(journal_of(fake).lines())
    assert (mark, at, said) == ("journal s=1;i=1", 1_700_000_001.0, FELL)
    fake.entries.append(entry(3, SAMPLE))
    assert told_by(journal_of(fake, mark)) == [SAMPLE]


def test_a_mark_of_a_journal_that_is_gone_starts_anew() -> None:
    assert told_by(journal_of(FakeJournal(entry(1, FELL)), "journal s=9;i=9")) == [FELL]


def test_a_text_that_is_no_text_is_read(ring: Ring) -> None:
    hostile = SAMPLE.replace("nvidia-smi", "\x1b[31m")
    fake = FakeJournal(entry(1, list(hostile.encode())), patterns=False)
    assert told_by(journal_of(fake)) == [hostile]


def test_a_journal_that_may_not_be_read_is_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="may be read"):
        journal_of(FakeJournal())
    log, _ = opened(str(tmp_path))
    assert (log.name, log.source) == (None, None)


def test_a_command_is_bounded_in_bytes_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_kernel, "JOURNAL_BYTES", 1000)
    endless = [sys.executable, "-c", "while True: print('x' * 99, flush=True)"]
    said, status, _ = run_command(endless)  # type: ignore[no-untyped-call]
    assert (len(said), status) == (10, None)
    monkeypatch.setattr(probe_kernel, "COMMAND_SECONDS", 0.3)
    silent = [sys.executable, "-c", "import time; print('a', flush=True); time.sleep(99)"]
    assert run_command(silent)[:2] == ([b"a\n"], None)  # type: ignore[no-untyped-call]


def test_a_command_says_what_it_complains_of() -> None:
    script = "import sys; print('Xid 1'); print('no'); print('last'); sys.exit('bad option')"
    said, status, complaint = run_command([sys.executable, "-c", script], keep=probe_kernel.NAMED)  # type: ignore[no-untyped-call]
    assert (said, status, complaint) == ([b"Xid 1\n", b"last\n"], 1, "bad option\n")
    assert run_command(["/no/such/journalctl"])[1] == 127  # type: ignore[no-untyped-call]


# --- beside NVML -----------------------------------------------------------------------------------------------------


class HangingNvml:
    """NVML whose first call does not come back."""

    NVMLError: Any = pynvml.NVMLError

    def __init__(self) -> None:
        self.called, self.released = threading.Event(), threading.Event()

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        self.called.set()
        self.released.wait(30)
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)  # type: ignore[no-untyped-call]


def until(holds: Callable[[], bool], changed: threading.Condition) -> None:
    with changed:
        assert changed.wait_for(holds, 20)


def test_the_kernel_log_is_told_while_nvml_hangs(ring: Ring) -> None:
    said: list[dict[str, Any]] = []
    changed = threading.Condition()

    def emit(message: dict[str, Any]) -> None:
        with changed:
            said.append(message)
            changed.notify_all()

    nvml = HangingNvml()
    host: Any = Host(Facts(ring.root), ring.root)  # type: ignore[no-untyped-call]
    probe: Any = Probe(nvml, host, emit, {"protocol": 1})  # type: ignore[no-untyped-call]
    ring.write(0, SAMPLE)
    starting = threading.Thread(target=probe.start)
    starting.start()
    try:
        assert nvml.called.wait(20)
        until(lambda: len(said) == 2, changed)
        assert [(message["t"], message.get("code")) for message in said] == [("hello", None), ("event", 119)]
        ring.write(1, FELL)
        until(lambda: len(said) == 3, changed)
        assert said[2]["code"] == 79
        assert probe.hanging()[:2] == (None, "nvmlInit")
    finally:
        nvml.released.set()
        starting.join()


def test_a_log_that_breaks_is_a_log_that_is_not_read(ring: Ring) -> None:
    log: Any = KernelLog(ring.root, no_journal)  # type: ignore[no-untyped-call]

    def fails(_event: object) -> None:
        raise ValueError("no such thing")

    ring.write(0, SAMPLE)
    log.tell = fails
    log.follow(None)
    assert (log.name, log.first.is_set()) == (None, True)
