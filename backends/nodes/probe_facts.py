"""Slow facts about the machine around the GPUs, and where its devices sit on PCIe.

Sent to the node beside the probe; Python 3.6 or later, standard library only. The field names are those of
`backends.domain.host`.

A dead disk holds statvfs and a dead NIC its files in /sys, perhaps for ever. The facts are therefore read step by step
in a thread of their own; a step that does not come back is named and left out, and costs no other step anything.
"""

import os
import re
import subprocess
import threading
import time

from backends.nodes.probe_containers import cdi_kinds, runtimes
from backends.nodes.probe_disks import block_device, block_kind, is_remote, local_mounts, mounts
from backends.nodes.probe_tree import Tree, measured, whole

BEAT_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
"""After this time a step is taken for hung."""
COMMAND_SECONDS = 4.0
SCAN_SECONDS = 300.0
"""How often all processes are looked through for a service that systemd does not know."""
TEXT_LIMIT = 256
FILE_LIMIT = 1 << 20
RDMA_DEVICES = 64
PORTS = 8
UNREAD = 20

SERVICES = (
    ("nvidia-fabricmanager", ("nvidia-fabricmanager.service",), "nv-fabricmanage"),
    ("nvidia-persistenced", ("nvidia-persistenced.service",), "nvidia-persiste"),
    ("nvidia-dcgm", ("nvidia-dcgm.service", "dcgm.service"), "nv-hostengine"),
    ("nvidia-mig-manager", ("nvidia-mig-manager.service",), None),
    ("nvidia-imex", ("nvidia-imex.service",), "nvidia-imex"),
    ("nvidia-gridd", ("nvidia-gridd.service",), "nvidia-gridd"),
    ("nvsm", ("nvsm.service",), None),
)
"""Name, its systemd units (the first that is installed counts), and the process as /proc/PID/comm cuts its name."""
ABSENT = (None, "missing", "inactive", "failed")
ACTIVE_STATES = frozenset(("active", "inactive", "failed", "activating", "deactivating", "reloading", "maintenance"))

PEERMEM = frozenset(("nvidia_peermem", "nv_peer_mem"))
"""The kernel module, and the one it took the place of."""
DMA_BUF_KERNEL = (5, 12)

PCI_DEVICE = re.compile(r"^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")
PCI_ROOT = re.compile(r"^pci[0-9a-f]{4,}:[0-9a-f]{2}$")
SWITCHDEV_PORT = re.compile(r"^(c\d+)?pf\d+(vf|sf)\d+")
"""A network device that stands for a virtual function, not for the port."""


def pci_name(bus_id):
    """00000000:1B:00.0 as NVML writes it, 0000:1b:00.0 as /sys does; None for what is no bus id."""
    domain, _, rest = bus_id.lower().partition(":")
    try:
        name = "%04x:%s" % (int(domain, 16), rest)
    except ValueError:
        return None
    return name if PCI_DEVICE.match(name) else None


# RDMA


def rdma_ports(tree, device):
    """Each port of an RDMA device as its files in /sys tell it (sysfs-class-infiniband)."""
    base = "/sys/class/infiniband/" + device
    bus_id, found = pci_of(tree, device), []
    for port in tree.ordered(base + "/ports")[:PORTS]:
        number = whole(port)
        if number is None:
            continue
        files = {name: tree.text("%s/ports/%s/%s" % (base, port, name)) for name in
                 ("state", "phys_state", "rate", "link_layer")}  # fmt: skip
        found.append(
            measured(
                device=device,
                port=number,
                state=after_number(files["state"]),
                physical_state=after_number(files["phys_state"]),
                rate_gbps=leading_number(files["rate"]),
                link_layer=(files["link_layer"] or "").lower() or None,
                netdev=netdev(tree, base, number),
                pci_bus_id=bus_id,
                numa_node=numa_node(tree, bus_id),
            )
        )
    return found


def after_number(words):
    """ "4: ACTIVE" -> active"""
    return (words or "").partition(":")[2].strip().lower() or None


def leading_number(words):
    """ "400 Gb/sec (4X NDR)" -> 400.0"""
    match = re.match(r"\d{1,9}(\.\d{1,6})?", words or "")
    return float(match.group(0)) if match else None


def netdev(tree, base, port):
    """The network device of a port: the one with its dev_port, none of those that stand for virtual functions."""
    for name in tree.ordered(base + "/device/net"):
        at = "%s/device/net/%s/" % (base, name)
        if SWITCHDEV_PORT.match(tree.text(at + "phys_port_name") or ""):
            continue
        if whole(tree.text(at + "dev_port")) == port - 1:
            return name
    return None


def pci_of(tree, device):
    """The bus id of an RDMA device; None for one in software (rxe, siw)."""
    path = tree.resolved("/sys/class/infiniband/" + device + "/device")
    name = os.path.basename(path or "")
    return name if PCI_DEVICE.match(name) else None


def numa_node(tree, bus_id):
    """None where the firmware names no node (-1)."""
    node = whole(tree.text("/sys/bus/pci/devices/%s/numa_node" % bus_id)) if bus_id else None
    return node if node is not None and node >= 0 else None


# Services, modules


def run_command(words):
    """What a command prints; None when it fails or takes too long."""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                              timeout=COMMAND_SECONDS)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:FILE_LIMIT].decode("utf-8", "replace") if done.returncode == 0 else None


def unit_states(said, units):
    """The states in the output of `systemctl show -p LoadState -p ActiveState` of `units`; {} when it is of others."""
    blocks = [block for block in re.split(r"\n\s*\n", said.strip()) if block]
    if len(blocks) != len(units):
        return {}
    states = {}
    for unit, block in zip(units, blocks):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        state = "missing" if values.get("LoadState") == "not-found" else values.get("ActiveState")
        if state == "missing" or state in ACTIVE_STATES:
            states[unit] = state
    return states


def kernel_modules(tree):
    """open or proprietary, by the first line of /proc/driver/nvidia/version."""
    line = (tree.text("/proc/driver/nvidia/version") or "").partition("\n")[0]
    if "Open Kernel Module" in line:
        return "open"
    return "proprietary" if "Kernel Module" in line else None


def peermem(tree):
    modules = tree.text("/proc/modules", FILE_LIMIT)
    if modules is None:
        return None
    return any(line.partition(" ")[0] in PEERMEM for line in modules.splitlines())


def dma_buf(tree):
    """Open kernel module and Linux 5.12 or later; the GPU must be a Turing or later, as the open module wants it."""
    flavour = kernel_modules(tree)
    release = re.match(r"(\d{1,4})\.(\d{1,4})", tree.text("/proc/sys/kernel/osrelease") or "")
    if flavour is None or release is None:
        return None
    return flavour == "open" and (int(release.group(1)), int(release.group(2))) >= DMA_BUF_KERNEL


# Reading them


class Round(object):
    """One reading of all facts in one thread; `facts` is whole when `over` is set."""

    def __init__(self, stuck, read):
        self.stuck = stuck
        self.unread = []
        self.current = None
        self.began = 0.0
        self.facts = None
        self.abandoned = False
        self.over = threading.Event()
        thread = threading.Thread(target=self.run, args=(read,))
        thread.daemon = True
        thread.start()

    def run(self, read):
        try:
            facts = read(self)
            facts["unread"] = self.unread[:UNREAD]
            self.facts = facts
        except Exception as error:
            self.facts = {"unread": [told(error)]}
        finally:
            self.over.set()

    def step(self, name, read, otherwise=None):
        """What `read` returns; `otherwise` where it fails, or where it has not come back since an earlier round."""
        if name in self.stuck or self.abandoned:
            self.unread.append("%s: does not answer" % name)
            return otherwise
        self.began, self.current = time.monotonic(), name
        try:
            return read()
        except Exception as error:
            self.unread.append("%s: %s" % (name, told(error)))
            return otherwise
        finally:
            self.current = None

    def hanging(self):
        """The step that has not come back for too long, else None."""
        name = self.current
        return name if name is not None and time.monotonic() - self.began > PATIENCE_SECONDS else None


def told(error):
    return ("%s: %s" % (type(error).__name__, error))[:100]


class Facts(object):
    """The last whole reading, and a new one every `BEAT_SECONDS`."""

    def __init__(self, root="/", statvfs=os.statvfs, run=run_command):
        self.tree = Tree(root)
        self.statvfs = statvfs
        self.run = run
        self.last = None
        self.due = 0.0
        self.stuck = {}
        self.pids = {}
        self.scan_due = 0.0
        self.round = None

    def latest(self, patience=0.0):
        """The facts as they were read last, None before the first time; never waits longer than `patience` seconds."""
        now = time.monotonic()
        if self.round is None and now >= self.due:
            self.begin(now)
        going = self.round
        if going is None:
            return self.last
        if going.over.wait(patience) if patience else going.over.is_set():
            self.last, self.round = going.facts, None
            return self.last
        hung = going.hanging()
        if hung is not None:
            going.abandoned = True
            self.stuck[hung] = going
            self.begin(now)
        return self.last

    def begin(self, now):
        self.stuck = {name: hung for name, hung in self.stuck.items() if not hung.over.is_set()}
        self.due = now + BEAT_SECONDS
        self.round = Round(frozenset(self.stuck), self.read)

    def read(self, going):
        """All facts; runs in the round's thread."""
        tree = self.tree
        return {
            "disks": self.disks(going),
            "rdma": self.rdma(going),
            "services": going.step("services", self.services),
            "runtimes": going.step("container runtimes", lambda: runtimes(tree)),
            "cdi": going.step("CDI", lambda: cdi_kinds(tree)),
            "kernel_modules": going.step("kernel modules", lambda: kernel_modules(tree)),
            "peermem": going.step("peermem", lambda: peermem(tree)),
            "dma_buf": going.step("DMA-BUF", lambda: dma_buf(tree)),
        }

    def disks(self, going):
        text = going.step("mountinfo", lambda: self.tree.text("/proc/self/mountinfo", FILE_LIMIT))
        if text is None:
            return None
        found = []
        for mount in local_mounts(mounts(text)):
            name = "disk " + mount["mount"][:TEXT_LIMIT]
            block = going.step("block device of " + name, lambda mount=mount: self.block(mount), {})
            if block is None:
                continue
            room = going.step(name, lambda mount=mount: self.room(mount), {})
            if room is not None:
                found.append(dict(block, mount=mount["mount"][:TEXT_LIMIT], read_only=mount["read_only"], **room))
        return found

    def block(self, mount):
        """Device and kind; None for a device at the other end of a network."""
        path = block_device(self.tree, mount)
        device = mount["source"]
        if path is None:
            return {"device": device[:TEXT_LIMIT]}
        if is_remote(self.tree, path):
            return None
        if device == "/dev/root":
            device = "/dev/" + os.path.basename(path)
        return measured(device=device[:TEXT_LIMIT], kind=block_kind(self.tree, path))

    def room(self, mount):
        """Sizes of a mounted file system; None for one that is mounted on a file, as containers have them."""
        path = self.tree.root + mount["mount"]
        size = self.statvfs(path)
        if not os.path.isdir(path):
            return None
        unit = size.f_frsize or size.f_bsize
        return {"total_bytes": size.f_blocks * unit, "free_bytes": size.f_bavail * unit}

    def rdma(self, going):
        if self.tree.resolved("/sys/class") is None:
            return None
        found = []
        for device in self.tree.ordered("/sys/class/infiniband")[:RDMA_DEVICES]:
            ports = going.step("rdma " + device, lambda device=device: rdma_ports(self.tree, device))
            found.extend([{"device": device}] if ports is None else ports)
        return found

    def services(self):
        """By systemd; and by the process, which may run in a container that systemd knows nothing of."""
        units = [unit for _, listed, _ in SERVICES for unit in listed]
        states = {}
        if self.tree.resolved("/run/systemd/system") is not None:
            command = ["systemctl", "show", "--no-pager", "-p", "LoadState", "-p", "ActiveState"]
            states = unit_states(self.run(command + units) or "", units)
        state_of = {}
        for name, listed, _ in SERVICES:
            known = [states[unit] for unit in listed if unit in states]
            state_of[name] = next((state for state in known if state != "missing"), known[0] if known else None)
        absent = {comm: name for name, _, comm in SERVICES if comm and state_of[name] in ABSENT}
        for name in self.running(absent):
            state_of[name] = "active"
        return [measured(name=name, state=state_of[name]) for name, _, _ in SERVICES]

    def running(self, wanted):
        """Which of the services in {comm: name} have a process."""
        found = {name for name, pid in self.pids.items() if wanted.get(self.tree.text("/proc/%s/comm" % pid)) == name}
        self.pids = {name: self.pids[name] for name in found}
        now = time.monotonic()
        if now < self.scan_due or len(found) == len(wanted):
            return found
        self.scan_due = now + SCAN_SECONDS
        for pid in self.tree.names("/proc"):
            name = wanted.get(self.tree.text("/proc/%s/comm" % pid)) if whole(pid) is not None else None
            if name is not None:
                self.pids[name] = pid
        return set(self.pids)

    # Where devices sit

    def place(self, bus_id):
        """(names from the PCI root down to the device, NUMA node) of a bus id as /sys tells; the names () if not."""
        name = pci_name(bus_id or "")
        if name is None:
            return (), None
        parts = (self.tree.resolved("/sys/bus/pci/devices/" + name) or "").split("/")
        roots = [position for position, part in enumerate(parts) if PCI_ROOT.match(part)]
        return tuple(parts[roots[-1] :]) if roots else (), numa_node(self.tree, name)

    def nics(self):
        """(name, bus id) of each RDMA device that sits on PCI, in natural order as nvidia-smi numbers them."""
        names = self.tree.ordered("/sys/class/infiniband")[:RDMA_DEVICES]
        listed = [(name, pci_of(self.tree, name)) for name in names]
        return [(name, bus_id) for name, bus_id in listed if bus_id is not None]

    def numa_count(self):
        """NUMA nodes of the machine; 1 where the kernel knows none."""
        names = self.tree.names("/sys/devices/system/node")
        return sum(1 for name in names if re.match(r"^node\d+$", name)) or 1
