"""What NVML answers, as values of JSON; None stays None.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

TEXT_LIMIT = 400
NO_INSTANCE = 0xFFFFFFFF


def text(value):
    """Old bindings give bytes, new ones str."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value[:TEXT_LIMIT] if value else None


def instance(value, name):
    """An id of a MIG instance; None outside MIG, and from bindings that have no such field."""
    number = getattr(value, name, NO_INSTANCE)
    return None if number == NO_INSTANCE else number


def milli(value):
    return None if value is None else value / 1000.0


def flag(value):
    return None if value is None else bool(value)


def length(value):
    return None if value is None else len(value)


def pair(value, position):
    return None if value is None else value[position]


def cpu_list(words):
    """[0b1011] -> "0-1,3": the CPUs of an affinity mask of 64-bit words."""
    cpus = [i * 64 + bit for i, word in enumerate(words) for bit in range(64) if word >> bit & 1]
    ranges = []
    for cpu in cpus:
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in ranges) or None
