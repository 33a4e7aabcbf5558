"""What the probe reads of a machine besides NVML: the kernel log, processes, load.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

import json
import os
import platform
import re
import resource
import socket
import subprocess
import time

from backends.nodes.probe_tree import Tree, decimal, measured, whole

TEXT_LIMIT = 400
XID_BACKLOG = 100
JOURNAL_SECONDS = 10.0
PROCESSES_KNOWN = 4096

XID_LINE = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)(?: GPU-I:\d+)?\): (\d+),?\s*(.*)")
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
        self.kernel_log = None
        self.kmsg = None
        self.cursor = None
        self.backlog = []
        self.journal_due = 0.0
        self.names = {}
        self.users = {}
        self.boot_at = self.read_boot()
        self.ticks = os.sysconf("SC_CLK_TCK")
        self.open_kernel_log()

    def now(self):
        return time.time()

    def cpu_seconds(self):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def read_boot(self):
        for line in self.tree.lines("/proc/stat"):
            if line.startswith("btime "):
                return decimal(line, 1)
        return None

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
        """User, command, start and container of a process; None when it is gone or hidden by a PID namespace."""
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
        found = measured(
            user=self.owner(pid),
            command=self.command(pid) or stat.partition("(")[2].rpartition(")")[0] or None,
            started_at=None if self.boot_at is None else self.boot_at + started / float(self.ticks),
            container_id=container_of(self.tree.lines("/proc/%d/cgroup" % pid)),
        )
        self.names[pid] = (started, found)
        return found

    def command(self, pid):
        try:
            with open(self.tree.root + "/proc/%d/cmdline" % pid, "rb") as opened:
                return opened.read(TEXT_LIMIT).replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except (IOError, OSError):
            return None

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

    def open_kernel_log(self):
        try:
            self.kmsg = os.open(self.tree.root + "/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            self.kernel_log = "kmsg"
        except OSError:
            backlog = self.journal()
            if backlog is not None:
                self.kernel_log = "journal"
                self.backlog = backlog
                self.journal_due = time.time() + JOURNAL_SECONDS

    def kernel_xids(self):
        """XIDs since the last call, the first time those still in the log; bounded."""
        if self.kernel_log == "kmsg":
            return self.kmsg_xids()[-XID_BACKLOG:]
        if self.kernel_log != "journal":
            return []
        found, self.backlog = self.backlog, []
        if time.time() >= self.journal_due:
            self.journal_due = time.time() + JOURNAL_SECONDS
            found = found + (self.journal() or [])
        return found[-XID_BACKLOG:]

    def kmsg_xids(self):
        found = []
        while True:
            try:
                record = os.read(self.kmsg, 8192)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno == 32:  # EPIPE: records were overwritten, the next read goes on
                    continue
                return found
            if not record:
                return found
            head, _, said = record.decode("utf-8", "replace").partition(";")
            xid = parse_xid(said, self.kmsg_time(head))
            if xid is not None:
                found.append(xid)

    def kmsg_time(self, head):
        """ "4,1234,5678901,-" counts microseconds on the boot clock; a suspend is not in it."""
        parts = head.split(",")
        since_boot = int(parts[2]) / 1e6 if len(parts) > 2 and parts[2].isdigit() else None
        if since_boot is None:
            return time.time()
        return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since_boot

    def journal(self):
        """XIDs of the kernel journal after the cursor; None when it may not be read."""
        command = ["journalctl", "-k", "-q", "-o", "json", "--no-pager", "-n", "2000"]
        if self.cursor:
            command.append("--after-cursor=" + self.cursor)
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5,
                                  stdin=subprocess.DEVNULL)  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        if done.returncode != 0 or (not done.stdout and not self.cursor):
            return None
        found = []
        for line in done.stdout.splitlines():
            try:
                entry = json.loads(line.decode("utf-8", "replace"))
                at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            except (ValueError, KeyError, TypeError):
                continue
            self.cursor = entry.get("__CURSOR") or self.cursor
            xid = parse_xid(str(entry.get("MESSAGE")), at)
            if xid is not None:
                found.append(xid)
        return found


def parse_xid(line, at):
    """{at, pci_bus_id, code, text} of an XID line of the NVIDIA kernel module, else None."""
    match = XID_LINE.search(line)
    if match is None:
        return None
    said = match.group(3).splitlines()
    return {"at": at, "pci_bus_id": match.group(1), "code": int(match.group(2)), "text": said[0] if said else ""}
