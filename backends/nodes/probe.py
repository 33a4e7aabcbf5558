"""The on-node probe: reads NVML and the machine around it, speaks newline-delimited JSON on stdout.

It is the last of the files that `backends.nodes.bootstrap` sends to the node as text, each after those it imports. They
run there under Python 3.6 or later with nothing but the standard library; nothing is installed. `probe_start` starts
them, `backends.nodes.wire` reads what they say. The field names are those of `backends.domain`. The probe ends when its
stdin ends: OpenSSH delivers no signals to root's processes. What it reads of a GPU is in the tables of `probe_values`,
what it reads besides NVML in `probe_host` and the modules that it imports.

One failing NVML call costs one field. A GPU that fell off the bus is reported as lost, with its last values.
"""

import os
import platform
import sys
import threading
import time

from backends.nodes.probe_facts import Facts
from backends.nodes.probe_host import Host
from backends.nodes.probe_lines import Output, fit
from backends.nodes.probe_nvml import TEXT_LIMIT, instance, text
from backends.nodes.probe_places import COMMON_ANCESTORS, pci_level, short_bus
from backends.nodes.probe_tree import measured
from backends.nodes.probe_values import FAST, SLOW, STATIC

PROTOCOL = 1
NOT_THERE = (2, 3, 6, 13, 25, 26)
"""NVML codes for "this board, driver or mode has no such value": invalid argument, not supported, not found, function
not found, argument version mismatch, deprecated."""
UNLISTED = "listed by the driver, not by NVML"
FIRST_FACTS_SECONDS = 2.0
FIRST_LOG_SECONDS = 3.0
TIMEOUT = 10
NO_EVENTS = (1, 2, 3, 13)  # uninitialized, invalid argument, not supported, function not found
LOST = {15: "NVML: GPU is lost", 16: "NVML: GPU requires reset"}
HOST_FILES = "a file of /proc or /sys"
"""What the probe waits for when it waits and NVML holds no call."""
EVENT_XID = 0x8
EVENT_DOUBLE_BIT = 0x2


class GpuLost(Exception):
    pass


def diff(old, new):
    """What must be merged into `old` to get `new`: nested dicts by key, the rest whole; None for what is gone."""
    changed = {}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = diff(before, value)
            if inner:
                changed[key] = inner
        elif value != before or type(value) is not type(before):
            changed[key] = value
    for key, before in old.items():
        if key not in new and before is not None:
            changed[key] = None
    return changed


class GpuReader(object):
    """One GPU: its handle, its last values, and the calls that are known to lead nowhere."""

    def __init__(self, nvml, host, index, handle, uid):
        self.nvml = nvml
        self.host = host
        self.index = index
        self.handle = handle
        self.privileged = uid == 0
        self.value = {"index": index, "lost": False}
        self.slow = {}
        self.dead = set()
        self.unread = {}
        self.current_call = None

    def call(self, name, *args, **keywords):
        """One NVML call on this GPU (or on `device=`); None when it has no value. Raises GpuLost."""
        device = keywords.get("device", self.handle)
        key = (name,) + tuple(arg if isinstance(arg, (int, tuple)) else None for arg in args)
        if device is not self.handle:
            key = None
        if key in self.dead:
            return None
        function = getattr(self.nvml, name, None)
        if function is None:
            return None
        self.current_call = name
        try:
            value = function(device, *args)
        except self.nvml.NVMLError as error:
            code = getattr(error, "value", None)
            if code in LOST:
                raise GpuLost(LOST[code]) from None
            if code in NOT_THERE:
                if key is not None:
                    self.dead.add(key)
            else:
                self.unread[name] = str(error)[:100]
            return None
        except Exception as error:
            # The bindings raise an error of their own where the driver lacks the version they want.
            if key is not None and type(error).__name__ == "NVMLLibraryMismatchError":
                self.dead.add(key)
            else:
                self.unread[name] = ("%s: %s" % (type(error).__name__, error))[:100]
            return None
        finally:
            self.current_call = None
        self.unread.pop(name, None)
        return value

    def field(self, field_id, scope=0):
        """nvmlDeviceGetFieldValues of one field; None unless the driver filled it."""
        values = self.call("nvmlDeviceGetFieldValues", ((field_id, scope),))
        if not values or values[0].nvmlReturn != 0:
            return None
        value, kind = values[0].value, values[0].valueType
        return {0: value.dVal, 1: value.uiVal, 2: value.ulVal, 3: value.ullVal, 4: value.sllVal, 5: value.siVal}.get(
            kind
        )

    def read(self, fields, into):
        """Each field on its own: an answer of an unexpected shape costs that field and no other."""
        for name, reader in fields:
            try:
                into[name] = reader(self)
            except GpuLost:
                raise
            except Exception as error:
                into[name] = None
                self.unread[name] = ("%s: %s" % (type(error).__name__, error))[:100]
            else:
                self.unread.pop(name, None)

    def note(self, name, trouble):
        """What could not be read besides NVML's own values; None when there is no trouble with it."""
        self.unread.pop(name, None)
        if trouble is not None:
            self.unread[name] = trouble[:100]

    def read_fast(self):
        self.read(FAST, self.value)

    def read_slow(self):
        self.dead.clear()
        self.read(SLOW, self.slow)

    def read_static(self):
        self.read(STATIC, self.value)

    def sample(self, slow):
        """The GPU's values now; a lost GPU keeps the last ones."""
        if self.handle is None:
            return self.merged()
        try:
            if slow or not self.slow:
                if "uuid" not in self.value or self.value["uuid"] is None:
                    self.read_static()
                self.read_slow()
            self.read_fast()
        except GpuLost as loss:
            self.lose(str(loss))
            return self.merged()
        self.value["lost"] = False
        self.value["lost_reason"] = None
        self.value["unread"] = sorted("%s: %s" % item for item in self.unread.items())[:20]
        return self.merged()

    def lose(self, reason):
        """Marks the GPU lost; its last values stay."""
        self.value["lost"] = True
        self.value["lost_reason"] = reason

    def merged(self):
        """Fast and slow halves of a group in one dict."""
        merged = dict(self.value)
        for name, value in self.slow.items():
            fast = merged.get(name)
            if isinstance(fast, dict) and isinstance(value, dict):
                value = dict(value, **fast)
            merged[name] = value
        return merged


class Probe(object):
    """Samples every GPU and emits messages; one thread calls `start` and `beat`, another may call `poll_events`."""

    def __init__(self, nvml, host, emit, options):
        self.nvml = nvml
        self.host = host
        self.emit = emit
        self.fast_seconds = float(options.get("fast_seconds", 1.0))
        self.slow_seconds = float(options.get("slow_seconds", 10.0))
        self.protocol = options.get("protocol")
        self.gpus = []
        self.node = {}
        self.sent_gpus = []
        self.sent_node = {}
        self.wired = None
        self.lost_told = set()
        self.events = None
        self.listen_again = False
        self.slow_due = 0.0
        self.started_at = host.monotonic()
        self.beat_began = None
        self.node_call = None
        self.kernel_after = options.get("kernel_after")

    def start(self):
        """Hello, the kernel log's XIDs whatever NVML does, NVML up, the full state. False after a fatal message."""
        if self.protocol != PROTOCOL:
            said = "the console speaks protocol %s, the probe %d" % (self.protocol, PROTOCOL)
            return self.give_up("version-mismatch", said, "")
        self.emit({"t": "hello", "protocol": PROTOCOL, "python": platform.python_version(), "pid": os.getpid(),
                   "uid": self.uid()})  # fmt: skip
        self.host.kernel.start(self.tell_kernel, self.kernel_after)
        self.beat_began, self.node_call = self.host.monotonic(), "nvmlInit"
        try:
            self.nvml.nvmlInit()
        except self.nvml.NVMLError as error:
            code, hint = INIT_FAILURES.get(getattr(error, "value", None), INIT_FAILURES[None])
            self.beat_began = None
            self.host.kernel.ready(FIRST_LOG_SECONDS)  # an XID may be why
            return self.give_up(code, "NVML does not start: %s" % error, hint)
        self.node = dict(self.host.identity())
        self.node.update(
            measured(
                driver=self.system("nvmlSystemGetDriverVersion"),
                nvml=self.system("nvmlSystemGetNVMLVersion"),
                cuda=self.cuda(),
            )
        )
        self.open_gpus()
        self.listen()
        self.beat_began = None
        self.host.kernel.ready(FIRST_LOG_SECONDS)  # what happened before is told before the state
        self.slow_due = 0.0
        self.beat()
        return True

    def uid(self):
        return 0 if self.host.identity().get("privileged") else os.getuid() or 1

    def give_up(self, code, said, hint):
        self.emit({"t": "fatal", "code": code, "text": said[:TEXT_LIMIT], "hint": hint})
        return False

    def system(self, name):
        try:
            return text(getattr(self.nvml, name)())
        except (self.nvml.NVMLError, AttributeError):
            return None

    def cuda(self):
        try:
            version = self.nvml.nvmlSystemGetCudaDriverVersion_v2()
        except (self.nvml.NVMLError, AttributeError):
            return None
        return "%d.%d" % (version // 1000, version % 1000 // 10)

    def open_gpus(self):
        """A reader per GPU NVML lists; a GPU whose handle fails, or that only the driver still lists, is lost."""
        self.node_call = "nvmlDeviceGetCount"
        try:
            count = self.nvml.nvmlDeviceGetCount()
        except self.nvml.NVMLError:
            count = 0
        known = [reader for reader in self.gpus if reader.value.get("uuid") or reader.value.get("pci_bus_id")]
        uid = 0 if self.node.get("privileged") else 1
        self.gpus = []
        for index in range(count):
            reader = GpuReader(self.nvml, self.host, index, None, uid)
            self.gpus.append(reader)  # before it is asked: a call that hangs is this GPU's
            reader.current_call = "nvmlDeviceGetHandleByIndex"
            try:
                reader.handle = self.nvml.nvmlDeviceGetHandleByIndex(index)
            except self.nvml.NVMLError as error:
                reader.lose("NVML: %s" % error)
            else:
                self.node_call = None
                reader.sample(True)
            reader.current_call = None
        self.node_call = None
        self.recall(known)
        self.add_unlisted(known, uid)

    def recall(self, known):
        """A lost GPU that says nothing of itself keeps what was read of the one at its place before."""
        seen = {reader.value["uuid"] for reader in self.gpus if reader.value.get("uuid")}
        for position, reader in enumerate(self.gpus):
            if not reader.value["lost"] or reader.value.get("uuid"):
                continue
            for before in known:
                if before.index == reader.index and before.value.get("uuid") not in seen:
                    before.handle = reader.handle
                    before.lose(reader.value["lost_reason"])
                    self.gpus[position] = before
                    seen.add(before.value.get("uuid"))

    def add_unlisted(self, known, uid):
        """GPUs the kernel driver lists and NVML does not: fallen off the bus."""
        slots = {short_bus(reader.value["pci_bus_id"]) for reader in self.gpus if reader.value.get("pci_bus_id")}
        missing = [bus for bus in self.host.driver_gpus() if short_bus(bus) not in slots]
        nameless = [reader for reader in self.gpus if not reader.value.get("pci_bus_id")]
        for bus in missing:
            if nameless:
                nameless.pop(0).value["pci_bus_id"] = bus
                continue
            was = [reader for reader in known if short_bus(reader.value.get("pci_bus_id") or "") == short_bus(bus)]
            reader = was[0] if was else GpuReader(self.nvml, self.host, len(self.gpus), None, uid)
            reader.handle = None
            reader.index = reader.value["index"] = len(self.gpus)
            reader.value["pci_bus_id"] = reader.value.get("pci_bus_id") or bus
            reader.lose(UNLISTED)
            self.gpus.append(reader)

    def listen(self):
        """Subscribes to XID and double-bit ECC events; a driver without them leaves the kernel log."""
        try:
            events = self.nvml.nvmlEventSetCreate()
        except (self.nvml.NVMLError, AttributeError):
            self.events = None
            return
        for reader in list(self.gpus):
            if reader.handle is None or reader.value.get("lost"):
                continue
            for kinds in (EVENT_XID | EVENT_DOUBLE_BIT, EVENT_XID):
                try:
                    self.nvml.nvmlDeviceRegisterEvents(reader.handle, kinds, events)
                    break
                except self.nvml.NVMLError:
                    continue
        self.events = events

    def beat(self):
        """One sample of all GPUs: a `delta`, or a `state` when the list of GPUs changed."""
        now = self.host.now()
        self.beat_began = began = self.host.monotonic()
        slow = began >= self.slow_due
        if slow:
            self.slow_due = began + self.slow_seconds
            if self.sent_gpus and self.count_changed():
                self.open_gpus()
                self.listen_again = True
        samples = [reader.sample(slow) for reader in self.gpus]
        if slow:
            self.read_topology()
        took = self.host.monotonic() - began
        self.beat_began = None
        if slow:
            self.node.update(self.host.load())
            self.node["boot_at"] = self.host.booted()
            self.node["probe"] = self.cost(took)
        facts = self.host.facts(0.0 if self.sent_node else FIRST_FACTS_SECONDS)
        if facts is not None:
            self.node["host"] = facts
        self.node["kernel_log"] = self.host.kernel.name
        self.tell(now, samples)
        self.tell_lost(now)

    def read_topology(self):
        """`topology` anew when there are other GPUs or RDMA devices than before."""
        gpus = [reader for reader in self.gpus if reader.value.get("pci_bus_id")]
        nics = self.host.nics()
        wired = ([(reader.value["pci_bus_id"], reader.handle is not None) for reader in gpus], nics)
        if wired == self.wired:
            return
        self.wired = wired
        nodes = self.host.numa_count()
        places = [self.host.place(reader.value["pci_bus_id"]) for reader in gpus]
        places += [self.host.place(bus) for _, bus in nics]
        levels = [["X"] * len(places) for _ in places]
        for row in range(len(places)):
            for column in range(row):
                level = self.common_ancestor(gpus[row], gpus[column]) if row < len(gpus) else None
                level = level or pci_level(places[row], places[column], nodes)
                levels[row][column] = levels[column][row] = level
        self.node["topology"] = {
            "gpus": [reader.value["pci_bus_id"] for reader in gpus],
            "nics": [name for name, _ in nics],
            "levels": levels,
        }

    def common_ancestor(self, gpu, other):
        """What NVML says of two GPUs; None where it says nothing, or one of them is lost."""
        if gpu.handle is None or other.handle is None:
            return None
        try:
            return COMMON_ANCESTORS.get(gpu.call("nvmlDeviceGetTopologyCommonAncestor", other.handle))
        except GpuLost:
            return None

    def count_changed(self):
        self.node_call = "nvmlDeviceGetCount"
        try:
            count = self.nvml.nvmlDeviceGetCount()
        except self.nvml.NVMLError:
            return False
        finally:
            self.node_call = None
        return count != sum(1 for reader in self.gpus if reader.value.get("lost_reason") != UNLISTED)

    def cost(self, took):
        used = self.host.cpu_seconds()
        alive = self.host.monotonic() - self.started_at
        percent = None if used is None or alive < 1.0 else round(100.0 * used / alive, 1)
        return measured(cpu_percent=percent, sample_milliseconds=round(took * 1000.0, 1))

    def tell(self, now, samples):
        samples = fit(samples)
        identities = [(sample.get("uuid"), sample.get("pci_bus_id")) for sample in samples]
        before = [(sample.get("uuid"), sample.get("pci_bus_id")) for sample in self.sent_gpus]
        if not self.sent_node or identities != before:
            self.emit({"t": "state", "at": now, "node": self.node, "gpus": samples})
        else:
            message = {"t": "delta", "at": now}
            node = diff(self.sent_node, self.node)
            gpus = {}
            for position, (old, new) in enumerate(zip(self.sent_gpus, samples)):
                changed = diff(old, new)
                if changed:
                    gpus[str(position)] = changed
            if node:
                message["node"] = node
            if gpus:
                message["gpus"] = gpus
            self.emit(message)
        self.sent_node = dict(self.node)
        self.sent_gpus = samples

    def tell_lost(self, now):
        for reader in self.gpus:
            if not reader.value.get("lost"):
                self.lost_told.discard(reader.index)
            elif reader.index not in self.lost_told:
                self.lost_told.add(reader.index)
                self.emit({"t": "event", "at": now, "kind": "gpu_lost", "gpu_index": reader.index,
                           "pci_bus_id": reader.value.get("pci_bus_id"), "code": None, "source": "nvml",
                           "text": reader.value.get("lost_reason") or "lost"})  # fmt: skip

    def tell_kernel(self, event):
        self.emit(dict(event, t="event", source="kernel"))

    def poll_events(self, milliseconds):
        """Waits up to `milliseconds` for NVML events and emits all that are there."""
        while self.events is not None:
            try:
                event = self.nvml.nvmlEventSetWait(self.events, milliseconds)
            except self.nvml.NVMLError as error:
                code = getattr(error, "value", None)
                if code in NO_EVENTS:
                    self.events = None  # this driver has no events after all
                elif code != TIMEOUT:
                    self.listen_again = True  # a lost GPU ends the wait of the whole set: the others go on in a new one
                break
            milliseconds = 0
            index, bus = self.slot_of(event.device)
            if event.eventType & EVENT_XID:
                self.emit({"t": "event", "at": self.host.now(), "kind": "xid", "gpu_index": index, "pci_bus_id": bus,
                           "code": int(event.eventData), "text": "reported by NVML", "source": "nvml",
                           "gi": instance(event, "gpuInstanceId"),
                           "ci": instance(event, "computeInstanceId")})  # fmt: skip
            elif event.eventType & EVENT_DOUBLE_BIT:
                self.emit({"t": "event", "at": self.host.now(), "kind": "ecc_double_bit", "gpu_index": index,
                           "pci_bus_id": bus, "code": None, "text": "uncorrectable ECC error",
                           "source": "nvml"})  # fmt: skip

    def listen_anew(self):
        """A new event set of the GPUs that are there now."""
        self.listen_again = False
        old, self.events = self.events, None
        try:
            if old is not None:
                self.nvml.nvmlEventSetFree(old)
        except (self.nvml.NVMLError, AttributeError):
            pass
        self.listen()

    def slot_of(self, device):
        try:
            index = self.nvml.nvmlDeviceGetIndex(device)
        except (self.nvml.NVMLError, AttributeError):
            return None, None
        for reader in self.gpus:
            if reader.index == index:
                return index, reader.value.get("pci_bus_id")
        return index, None

    def hanging(self):
        """(GPU index, call, seconds) of a sample that has not come back, else None."""
        began = self.beat_began
        if began is None:
            return None
        for reader in self.gpus:
            call = reader.current_call
            if call is not None:
                return reader.index, call, self.host.monotonic() - began
        return None, self.node_call or HOST_FILES, self.host.monotonic() - began

    def stop(self):
        try:
            if self.events is not None:
                self.nvml.nvmlEventSetFree(self.events)
            self.nvml.nvmlShutdown()
        except (self.nvml.NVMLError, AttributeError):
            return


INIT_FAILURES = {
    12: ("nvml-missing", "install the NVIDIA driver, or take the node out of the site"),
    9: ("nvml-missing", "load the driver: modprobe nvidia; look at dmesg"),
    4: ("nvml-failed", "this user may not open /dev/nvidiactl: look at its permissions"),
    18: ("driver-mismatch", "the library and the kernel module differ: reload the module or reboot the node"),
    None: ("nvml-failed", "run nvidia-smi on the node; look at dmesg"),
}


def in_background(target):
    thread = threading.Thread(target=target)
    thread.daemon = True
    thread.start()


def main(nvml, options):
    """Reads until stdin ends, or once: `nvml` are the bindings, `options` what the console sent."""
    stdin = sys.stdin.buffer
    facts = Facts()
    facts.latest()  # they are read while NVML starts
    emit = Output()
    probe = Probe(nvml, Host(facts), emit, options)

    def leave_with_stdin():
        while stdin.read(4096):
            continue
        os._exit(0)

    def watch():
        patience = max(3.0, 3 * probe.fast_seconds)
        while True:
            time.sleep(probe.fast_seconds)
            hanging = probe.hanging()
            if hanging is not None and hanging[2] > patience:
                emit({"t": "stall", "at": time.time(), "gpu_index": hanging[0], "call": hanging[1],
                      "seconds": round(hanging[2], 1)})  # fmt: skip

    def events():
        while probe.events is not None:
            probe.poll_events(1000)
            if probe.listen_again:
                time.sleep(1.0)  # a set that fails at once must not spin
                probe.listen_anew()

    in_background(leave_with_stdin)
    in_background(watch)
    # _exit: the thread that waits on stdin holds its lock, which the interpreter's own way out would wait for.
    if not probe.start():
        os._exit(1)
    if options.get("once"):
        os._exit(0)
    in_background(events)
    keep_beating(probe, time.monotonic, time.sleep)


def keep_beating(probe, monotonic, sleep):
    """Beats at the probe's pace for ever; one that took longer than that is not caught up with."""
    due = monotonic()
    while True:
        due = max(due + probe.fast_seconds, monotonic())
        sleep(max(0.0, due - monotonic()))
        probe.beat()
