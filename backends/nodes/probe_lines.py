"""What the probe writes: one JSON object a line, never longer than the console reads.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

import json
import os
import sys
import threading

PROCESS_BYTES = 512 * 1024
"""Of a line, for the processes of all GPUs: anybody may start some, and name them. `wire.LINE_LIMIT` is twice that."""
NOTES = 20


def encoded(value):
    """JSON in UTF-8, whatever the locale. Half a surrogate, as from a file's name that is no UTF-8, is a `?`."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")


def within(text, limit):
    """As much of the beginning of `text` as takes so many bytes of a line: a control character takes six."""
    if len(encoded(text)) - 2 <= limit:
        return text
    taken = 0
    for position, character in enumerate(text):
        taken += len(encoded(character)) - 2
        if taken > limit:
            return text[:position]
    return text


def at_most(process):
    """Bytes that a process takes of a line, at the very most; found without encoding it."""
    return sum(40 + (6 * len(value) if isinstance(value, str) else 0) for value in process.values())


def fit(samples, limit=PROCESS_BYTES):
    """Samples of GPUs whose processes take at most so many bytes of a line.

    The longest command lines are left out first, then processes of the GPUs that have most of them. `unread` tells of
    the ones, `processes_omitted` counts the others.
    """
    listed = [sample.get("processes") or () for sample in samples]
    if sum(at_most(process) for processes in listed for process in processes) <= limit:
        return samples
    kept = [list(processes) for processes in listed]
    sizes = [[len(encoded(process)) + 1 for process in processes] for processes in kept]
    over = sum(map(sum, sizes)) - limit
    if over <= 0:
        return samples
    commands = [
        (len(encoded(process["command"])), gpu, position)
        for gpu, processes in enumerate(kept)
        for position, process in enumerate(processes)
        if process.get("command")
    ]
    nameless = [0] * len(samples)
    for _, gpu, position in sorted(commands, reverse=True):
        if over <= 0:
            break
        short = {name: value for name, value in kept[gpu][position].items() if name != "command"}
        size = len(encoded(short)) + 1
        over -= sizes[gpu][position] - size
        kept[gpu][position], sizes[gpu][position] = short, size
        nameless[gpu] += 1
    while over > 0:
        fullest = max(range(len(kept)), key=lambda gpu: len(kept[gpu]))
        kept[fullest].pop()
        over -= sizes[fullest].pop()
    return [shortened(*each) for each in zip(samples, kept, nameless)]


def shortened(sample, processes, nameless):
    omitted = len(sample.get("processes") or ()) - len(processes)
    if not omitted and not nameless:
        return sample
    fitted = dict(sample, processes=processes, processes_omitted=(sample.get("processes_omitted") or 0) + omitted)
    if nameless:
        note = "command lines: %d left out, they are too long together" % nameless
        fitted["unread"] = [note] + list(sample.get("unread") or ())[: NOTES - 1]
    return fitted


class Output(object):
    """Lines to stdout from several threads; a console that is gone ends the process."""

    def __init__(self):
        self.lock = threading.Lock()
        # With `python -u` sys.stdout may write a part of a line and leave it at that.
        self.stream = os.fdopen(sys.stdout.fileno(), "wb", closefd=False)

    def __call__(self, message):
        line = encoded(message) + b"\n"
        with self.lock:
            try:
                self.stream.write(line)
                self.stream.flush()
            except (IOError, OSError):
                os._exit(0)
