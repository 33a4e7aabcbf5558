"""What the probe reads of a machine besides NVML: processes, load, and through other modules the rest.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

import os
import platform
import re
import resource
import socket
import threading
import time

from backends.nodes.probe_kernel import KernelLog
from backends.nodes.probe_lines import within
from backends.nodes.probe_tree import Tree, decimal, measured, whole

COMMAND_BYTES = 400
"""Of a command line, read and as it is sent."""
PROCESSES_KNOWN = 4096
COMMAND_SECONDS = 0.25
"""A command line that takes longer is not waited for."""
HELD_MOST = 16
BOOT_JITTER_SECONDS = 2.0

CONTAINER = re.compile(r"(?<![0-9a-f])(conmon-)?([0-9a-f]{64})(?![0-9a-f])")


def container_of(lines):
    """The container's 64 hex digits in the lines of a /proc/PID/cgroup, the innermost one; None outside a container.

    Docker, containerd, CRI-O and Podman all end a cgroup's name with them, under systemd (`docker-ID.scope`,
    `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`) and without (`/docker/ID`, `/kubepods/.../ID`), in
    versions 1 and 2 of cgroups. The cgroup of the monitor beside a container (`crio-conmon-ID`) is none.
    """
    for line in lines:
        found = [digits for monitor, digits in CONTAINER.findall(line) if not monitor]
        if found:
            return found[-1]
    return None


class Host(object):
    """What is read of the machine besides NVML; `facts` reads the slow part, `root` is where its files are."""

    def __init__(self, facts, root="/"):
        self.tree = Tree(root)
        self.slow = facts
        self.kernel = KernelLog(root)
        self.names = {}
        self.commands = Commands(self.tree.root)
        self.users = {}
        self.boot_at = self.read_boot()
        self.ticks = os.sysconf("SC_CLK_TCK")

    def now(self):
        """By the node's clock, which may be set: what is told of it. What is waited for goes by `monotonic`."""
        return time.time()

    def monotonic(self):
        return time.monotonic()

    def cpu_seconds(self):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def read_boot(self):
        for line in self.tree.lines("/proc/stat"):
            if line.startswith("btime "):
                return decimal(line, 1)
        return None

    def booted(self):
        """When the node booted, by its clock as it is now: a clock that was set right moves it."""
        boot_at = self.read_boot()
        if boot_at is not None and (self.boot_at is None or abs(boot_at - self.boot_at) > BOOT_JITTER_SECONDS):
            self.boot_at = boot_at
        return self.boot_at

    def facts(self, patience=0.0):
        """Disks, RDMA, services and the like as they were read last; waits so many seconds for a first reading."""
        return self.slow.latest(patience)

    def place(self, bus_id):
        return self.slow.place(bus_id)

    def nics(self):
        return self.slow.nics()

    def numa_count(self):
        return self.slow.numa_count()

    def identity(self):
        name = ""
        for line in self.tree.lines("/etc/os-release"):
            if line.startswith("PRETTY_NAME="):
                name = line.partition("=")[2].strip().strip('"')
        return measured(
            hostname=socket.gethostname(),
            os=name or platform.system(),
            kernel=platform.release(),
            boot_at=self.boot_at,
            cpu_count=os.cpu_count(),
            memory_total_bytes=self.meminfo("MemTotal:"),
            privileged=os.geteuid() == 0,
        )

    def meminfo(self, key):
        for line in self.tree.lines("/proc/meminfo"):
            if line.startswith(key):
                kibibytes = decimal(line, 1)
                return None if kibibytes is None else int(kibibytes) * 1024
        return None

    def load(self):
        load = (self.tree.lines("/proc/loadavg") or [""])[0]
        return measured(load_1m=decimal(load, 0), memory_available_bytes=self.meminfo("MemAvailable:"))

    def process(self, pid):
        """User, command, start and container of a process; None when it is gone or hidden by a PID namespace.

        `held`: the kernel holds whoever asks for its command line; its short name stands there then.
        """
        stat = self.tree.text("/proc/%d/stat" % pid) or ""
        fields = stat.rpartition(")")[2].split()
        started = whole(fields[19]) if len(fields) > 19 else None
        if started is None:
            return None
        known = self.names.get(pid)
        if known is not None and known[0] == started:
            return known[1]
        if len(self.names) > PROCESSES_KNOWN:
            self.names.clear()
        command, held = self.commands.of(pid)
        found = measured(
            user=self.owner(pid),
            command=command or stat.partition("(")[2].rpartition(")")[0] or None,
            started_at=None if self.boot_at is None else self.boot_at + started / float(self.ticks),
            container_id=container_of(self.tree.lines("/proc/%d/cgroup" % pid)),
        )
        if held:
            return dict(found, held=True)
        self.names[pid] = (started, found)
        return found

    def owner(self, pid):
        try:
            uid = os.stat(self.tree.root + "/proc/%d" % pid).st_uid
        except OSError:
            return None
        if uid not in self.users:
            try:
                import pwd

                self.users[uid] = pwd.getpwuid(uid).pw_name
            except (ImportError, KeyError):
                self.users[uid] = str(uid)
        return self.users[uid]

    def driver_gpus(self):
        try:
            return sorted(os.listdir(self.tree.root + "/proc/driver/nvidia/gpus"))
        except OSError:
            return []


class Commands(object):
    """Command lines of processes, read in a thread.

    /proc/PID/cmdline is in the memory of the process: while that is locked, as it is for a process that hangs in the
    driver, the kernel holds the reader too, perhaps for ever.
    """

    def __init__(self, root):
        self.root = root
        self.held = {}

    def of(self, pid):
        """(command line, False); (None, True) while the kernel holds a reader of it."""
        reading = self.held.get(pid)
        if reading is None:
            if len(self.held) >= HELD_MOST:
                self.held = {held: each for held, each in self.held.items() if not each.over.is_set()}
            if len(self.held) >= HELD_MOST:
                return None, True
            reading = CommandReading("%s/proc/%d/cmdline" % (self.root, pid))
            reading.over.wait(COMMAND_SECONDS)
        if reading.over.is_set():
            self.held.pop(pid, None)
            return reading.command, False
        self.held[pid] = reading
        return None, True


class CommandReading(object):
    """One command line, read in a thread of its own; `command` is there when `over` is set."""

    def __init__(self, path):
        self.path = path
        self.command = None
        self.over = threading.Event()
        thread = threading.Thread(target=self.run)
        thread.daemon = True
        thread.start()

    def run(self):
        try:
            with open(self.path, "rb") as opened:
                said = opened.read(COMMAND_BYTES).replace(b"\0", b" ").decode("utf-8", "replace").strip()
                self.command = within(said, COMMAND_BYTES)
        except (IOError, OSError):
            self.command = None
        finally:
            self.over.set()
