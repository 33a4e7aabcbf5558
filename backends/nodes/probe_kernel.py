"""What the probe reads of the kernel log: the XIDs of GPUs and the SXids of NVSwitches.

Sent to the node beside the probe; Python 3.6 or later, standard library only. The field names are those of
`backends.domain.Event`.

The log is read in a thread of its own, which tells what it finds by itself: when NVML hangs, as it does after the worst
XIDs, the log says why. What is told is bounded for each GPU and code, so that a storm of one hides no other.
"""

import json
import os
import re
import select
import subprocess
import threading
import time

from backends.nodes.probe_tree import Tree, measured

TEXT_LIMIT = 400
NAME_LIMIT = 64
ENDS_KEPT = 4
"""Of a storm so many lines from its beginning and so many from its end are told."""
KINDS_KEPT = 256
"""Kind, device and code together; a sound log has some ten of them."""
PAUSE_SECONDS = 0.5
"""Between two looks at a log that never ends."""
JOURNAL_SECONDS = 10.0
CLOSED_SECONDS = 60.0
"""How often a log that may not be read is tried again."""
COMMAND_SECONDS = 5.0
JOURNAL_BYTES = 8 << 20
"""The newest lines within so many bytes; a line is some hundred bytes, a storm of thousands fits."""
LINE_BYTES = 1 << 16
MARK_LIMIT = 512

XID_LINE = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)([^)]*)\): (\d{1,9})\b,?\s*(.*)")
"""In the parentheses the slot, `PCI:` before it or not; under MIG ` GPU-I:05` or ` GPU-I:05 GPU-CI:00` behind it."""
GPU_INSTANCE = re.compile(r"\bGPU-I:(\d{1,4})")
COMPUTE_INSTANCE = re.compile(r"\bGPU-CI:(\d{1,4})")
PID = re.compile(r"\bpid='?(\d{1,10})\b")
PROCESS = re.compile(r"\bname='?([^,']+)")
SXID_LINE = re.compile(
    r"nvidia-nvswitch\d+: SXid \(PCI:([0-9a-fA-F:.]+)\): (\d{1,9})\b,?\s*(?:(Fatal|Non-fatal),?\s*)?(.*)"
)
LINK = re.compile(r"\bLink (\d{1,3})\b")
FATAL = {"Fatal": True, "Non-fatal": False}

JOURNALCTL = ["journalctl", "-k", "-q", "-o", "json", "--no-pager"]
PATTERN = "NVRM: Xid|SXid"
NAMED = re.compile(b"Xid|88, ?105, ?100")
"""The same in a line of JSON, in which text may be a list of bytes."""
NO_PATTERNS = re.compile("pattern|option|unrecogni", re.IGNORECASE)
"""In what a journalctl without `-g`, or built without PCRE2, complains of."""


def parse_line(line, at):
    """The event of a line of the kernel log that was written at `at`; None for a line that is no XID and no SXid."""
    match = XID_LINE.search(line)
    if match is not None:
        bus, where, code, said = match.groups()
        process = (first(PROCESS, said) or "").strip()
        return measured(
            kind="xid",
            at=at,
            pci_bus_id=bus,
            code=int(code),
            text=said[:TEXT_LIMIT],
            gi=number(GPU_INSTANCE, where),
            ci=number(COMPUTE_INSTANCE, where),
            pid=number(PID, said),
            process=process[:NAME_LIMIT] if process and "<" not in process else None,
        )
    match = SXID_LINE.search(line)
    if match is None:
        return None
    bus, code, fatal, said = match.groups()
    return measured(
        kind="sxid",
        at=at,
        pci_bus_id=bus,
        code=int(code),
        text=said[:TEXT_LIMIT],
        fatal=FATAL.get(fatal),
        link=number(LINK, said),
    )


def first(pattern, words):
    match = pattern.search(words)
    return None if match is None else match.group(1)


def number(pattern, words):
    digits = first(pattern, words)
    return None if digits is None else int(digits)


class Storms(object):
    """Events in order, of each kind, device and code the first and the last ones.

    The one behind the gap stands for those that are left out: `count` of them and itself, since `first_at`.
    """

    def __init__(self):
        self.order = 0
        self.groups = {}

    def add(self, event):
        key = (event["kind"], event["pci_bus_id"].lower(), event["code"])
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= KINDS_KEPT:
                return
            group = self.groups[key] = ([], [], [])
        begin, end, left_out = group
        self.order += 1
        if len(begin) < ENDS_KEPT:
            begin.append((self.order, event))
            return
        end.append((self.order, event))
        if len(end) > ENDS_KEPT:
            _, dropped = end.pop(0)
            left_out[:] = [left_out[0] + 1, left_out[1]] if left_out else [1, dropped["at"]]

    def take(self):
        """What is to be told, in order."""
        told = []
        for begin, end, left_out in self.groups.values():
            if left_out:
                place, event = end[0]
                end[0] = (place, dict(event, count=left_out[0] + 1, first_at=left_out[1]))
            told.extend(begin + end)
        self.groups = {}
        return [event for _, event in sorted(told, key=lambda each: each[0])]


class Kmsg(object):
    """/dev/kmsg: the kernel's own buffer, for root and where dmesg is not restricted."""

    name = "kmsg"

    def __init__(self, tree, after=None):
        """`after` is the mark of a line that is known: reading goes on behind it. Raises OSError where it is closed."""
        self.opened = os.open(tree.root + "/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.boot = tree.text("/proc/sys/kernel/random/boot_id")
        self.known, self.stamp = -1, -1
        words = (after or "").split(" ")
        if len(words) == 4 and words[:2] == [self.name, self.boot] and words[2].isdigit() and words[3].isdigit():
            self.known, self.stamp = int(words[2]), int(words[3])
        self.newest = -1
        self.gap = None
        """(last one before, first one behind) of a stretch that the kernel has overwritten, in microseconds of the boot
        clock."""

    def lines(self):
        """(mark, time, text) of each line since the last call; the first time all that are still there."""
        while True:
            try:
                record = os.read(self.opened, 8192)
            except OSError as error:
                if error.errno == 32:  # EPIPE: records were overwritten, the next read goes on
                    continue
                return
            if not record:
                return
            head, _, said = record.decode("utf-8", "replace").partition(";")
            parts = head.split(",")
            if len(parts) < 3 or not parts[1].isdigit() or not parts[2].isdigit():
                continue
            sequence, stamp = int(parts[1]), int(parts[2])
            if sequence > max(self.newest, self.known) + 1:
                self.gap = (self.stamp if self.gap is None else self.gap[0], stamp)
            self.newest = sequence
            if sequence <= self.known:
                continue
            self.stamp = stamp
            mark = "%s %s %d %d" % (self.name, self.boot, sequence, stamp) if self.boot else None
            yield mark, clock_of(stamp), said

    def wait(self):
        """Until there is something to read, a few seconds at most."""
        poller = select.poll()
        poller.register(self.opened, select.POLLIN)
        poller.poll(int(JOURNAL_SECONDS * 1000))
        time.sleep(PAUSE_SECONDS)


def clock_of(stamp):
    """The time of a moment on the boot clock (microseconds), which a suspend is not in."""
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + stamp / 1e6


class Journal(object):
    """The kernel's lines in the journal of this boot, for members of its groups. Raises OSError where it is closed."""

    name = "journal"

    def __init__(self, after=None, run=None):
        self.run = run or run_command
        self.patterns = True
        """Whether this journalctl can look for words itself."""
        self.cursor = None
        if (after or "").startswith(self.name + " "):
            self.cursor = after[len(self.name) + 1 :]
        if self.newest() is None:
            raise OSError("no line of the journal may be read")

    def newest(self):
        """The last entry; None where none may be read."""
        said, _, _ = self.run(JOURNALCTL + ["-n", "1"])
        return entry_of(said[-1]) if said else None

    def lines(self):
        """(mark, time, text) of each XID line since the last call; the first time of this boot, as many as fit."""
        for entry in self.entries():
            yield "%s %s" % (self.name, entry["cursor"]), entry["at"], entry["text"]

    def entries(self):
        newest = self.newest()
        if newest is None or newest["cursor"] == self.cursor:
            return []
        found, is_cut = self.search(self.cursor)
        if found is None and self.cursor is not None:
            found, is_cut = self.search(None)  # the cursor is of a file that is gone
        if found is None:
            return []
        last = found[-1] if found else newest
        # Cut off while it read on from the cursor: the rest is for the next time.
        ends_here = self.cursor is not None and is_cut
        self.cursor = (last if ends_here or last["order"] > newest["order"] else newest)["cursor"]
        return found

    def search(self, cursor):
        """(entries behind the cursor, oldest first, whether there were more); (None, False) when journalctl fails.

        Without a cursor the newest are read first, so that they are not those that are cut off; with one that is no
        choice: journalctl would go on from it to older ones.
        """
        command = JOURNALCTL + (["-r"] if cursor is None else ["--after-cursor=" + cursor])
        if self.patterns:
            said, status, complaint = self.run(command + ["-g", PATTERN])
            if status not in (0, None) and not said and NO_PATTERNS.search(complaint):
                self.patterns = False
            elif status not in (0, None) and complaint:
                return None, False
            # Without a match the status is 1, and nothing is complained of.
        if not self.patterns:
            said, status, _ = self.run(command, keep=NAMED)
            if status not in (0, None):
                return None, False
        found = [entry for entry in map(entry_of, said) if entry is not None]
        return found[::-1] if cursor is None else found, status is None

    def wait(self):
        time.sleep(JOURNAL_SECONDS)


def entry_of(line):
    """{at, order, stamp, text, cursor} of a line of `journalctl -o json`; None for anything else.

    `order` and `stamp` are on the boot clock, in microseconds: when the journal and when the kernel took it down.
    """
    try:
        entry = json.loads(line.decode("utf-8", "replace"))
        text = entry.get("MESSAGE")
        if isinstance(text, list):  # bytes that are no text: a process may be called so
            text = bytes(bytearray(text)).decode("utf-8", "replace")
        order = int(entry["__MONOTONIC_TIMESTAMP"])
        return {
            "at": int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
            "order": order,
            "stamp": int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or order),
            "cursor": str(entry["__CURSOR"])[:MARK_LIMIT],
            "text": str(text),
        }
    except (AttributeError, ValueError, KeyError, TypeError):
        return None


def run_command(words, keep=None):
    """(lines on stdout, exit status, first words on stderr) of a command; of the lines the last and those with `keep`.

    It is ended past its time or its bytes; the status is None then, and what was read until then counts. A command that
    is not there is one that failed.
    """
    with open(os.devnull, "rb") as nothing:
        try:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=nothing)
        except OSError as error:
            return [], 127, str(error)
    cut = []
    clock = threading.Timer(COMMAND_SECONDS, lambda: (cut.append(True), process.kill()))
    clock.daemon = True
    clock.start()
    found, last, left, complaint = [], None, JOURNAL_BYTES, ""
    try:
        for line in iter(lambda: process.stdout.readline(LINE_BYTES), b""):
            left -= len(line)
            if left < 0:
                cut.append(True)
                process.kill()
                break
            if not line.endswith(b"\n"):
                continue
            last = line
            if keep is None or keep.search(line):
                found.append(line)
        if not cut:
            complaint = process.stderr.read(1024).decode("utf-8", "replace")
    finally:
        process.stdout.close()
        process.stderr.close()
        status = process.wait()
        clock.cancel()
    if last is not None and (not found or found[-1] is not last):
        found.append(last)
    return found, None if cut else status, complaint


class KernelLog(object):
    """The kernel log of this machine, told event by event."""

    def __init__(self, root="/", run=None):
        self.tree = Tree(root)
        self.run = run
        self.name = None
        """Which log is read: kmsg or journal; None while that is not known, and where none may be read."""
        self.first = threading.Event()
        self.source = None
        self.tell = None

    def start(self, tell, after=None):
        """Tells the events in a thread from now on: those still in the log, or those behind the mark `after`."""
        self.tell = tell
        thread = threading.Thread(target=self.follow, args=(after,))
        thread.daemon = True
        thread.start()

    def ready(self, patience):
        """Waits so many seconds for the first look at the log; says which log it is."""
        self.first.wait(patience)
        return self.name

    def follow(self, after):
        try:
            while True:
                if self.source is None:
                    self.open(after)
                if self.source is not None:
                    self.step()
                self.first.set()
                if self.source is not None:
                    self.source.wait()
                else:
                    time.sleep(CLOSED_SECONDS)
        except Exception:
            self.name = None  # what this log holds is not seen any more
        finally:
            self.first.set()

    def open(self, after):
        for opening in (lambda: Kmsg(self.tree, after), lambda: Journal(after, self.run)):
            try:
                self.source = opening()
            except OSError:
                continue
            self.name = self.source.name
            return

    def step(self):
        """Tells what was written since the last step."""
        storms = Storms()
        fresh = list(self.events(self.source.lines()))
        gap = getattr(self.source, "gap", None)
        if gap is not None:
            self.source.gap = None
            fresh = list(self.overwritten(*gap)) + fresh
        for event in fresh:
            storms.add(event)
        for event in storms.take():
            self.tell(event)

    def events(self, lines):
        for mark, at, said in lines:
            event = parse_line(said, at) if "Xid" in said else None
            if event is not None:
                yield dict(event, mark=mark) if mark else event

    def overwritten(self, after, before):
        """What the journal still knows of a stretch that the kernel's buffer has lost."""
        try:
            entries = Journal(None, self.run).entries()
        except OSError:
            return iter(())
        lost = (entry for entry in entries if after < entry["stamp"] < before)
        return self.events((None, clock_of(entry["stamp"]), entry["text"]) for entry in lost)
