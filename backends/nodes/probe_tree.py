"""Reading the files of a node: what the parts of the probe share.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

import os
import re


def measured(**fields):
    return {name: value for name, value in fields.items() if value is not None}


def whole(words):
    """The integer that a file of /sys holds; None for anything else."""
    try:
        value = int(words)
    except (TypeError, ValueError):
        return None
    return value if abs(value) < 1 << 62 else None


def decimal(line, word):
    """The figure that is the so-many-th word of a line; None where there is none."""
    try:
        value = float(line.split()[word])
    except (IndexError, ValueError):
        return None
    return value if abs(value) < 1e15 else None


def natural(name):
    """Sorts mlx5_10 behind mlx5_9."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if position % 2 else part for position, part in enumerate(parts)]


class Tree(object):
    """The files of the machine, below `root`."""

    def __init__(self, root="/"):
        self.root = os.path.realpath(root).rstrip("/")

    def text(self, path, limit=4096):
        """The first bytes of a file without the blanks round them; None where it cannot be read."""
        try:
            with open(self.root + path, "rb") as opened:
                return opened.read(limit).decode("utf-8", "surrogateescape").strip()
        except (OSError, ValueError):
            return None

    def lines(self, path, limit=1 << 20):
        return (self.text(path, limit) or "").splitlines()

    def names(self, path):
        """What is in a directory, in no order; empty where it cannot be read."""
        try:
            return os.listdir(self.root + path)
        except (OSError, ValueError):
            return []

    def ordered(self, path):
        return sorted(self.names(path), key=natural)

    def resolved(self, path):
        """Where a link leads, as a path below `root`; None where nothing is there."""
        try:
            real = os.path.realpath(self.root + path)
            inside = real == self.root or real.startswith(self.root + "/")
            return real[len(self.root) :] if inside and os.path.exists(real) else None
        except (OSError, ValueError):
            return None
