"""A probe in a few lines, for tests of the lab alone: the shape that the lab expects, nothing more."""

SOURCE = b"""
PROTOCOL = 1


class Probe(object):
    def __init__(self, nvml, host, emit, options):
        self.nvml, self.host, self.emit, self.options = nvml, host, emit, options
        self.events = None
        self.handles = {}

    def gpu(self, index):
        nvml = self.nvml
        values = {"index": index, "lost": False, "pci_bus_id": self.host.driver_gpus()[index]}
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError_GpuIsLost:
            values["lost"] = True
            return values
        asked = {
            "name": nvml.nvmlDeviceGetName,
            "watts": lambda h: nvml.nvmlDeviceGetPowerUsage(h) / 1000.0,
            "celsius": lambda h: nvml.nvmlDeviceGetTemperature(h, 0),
            "mhz": lambda h: nvml.nvmlDeviceGetClockInfo(h, 1),
            "reasons": nvml.nvmlDeviceGetCurrentClocksEventReasons,
            "uncorrected": lambda h: nvml.nvmlDeviceGetTotalEccErrors(h, 1, 0),
            "remapped": nvml.nvmlDeviceGetRemappedRows,
            "width": nvml.nvmlDeviceGetCurrPcieLinkWidth,
            "links": lambda h: [nvml.nvmlDeviceGetNvLinkState(h, link) for link in range(12)],
        }
        for name, ask in asked.items():
            try:
                values[name] = ask(handle)
            except nvml.NVMLError:
                values[name] = None
        return values

    def gpus(self):
        return [self.gpu(index) for index in range(self.nvml.nvmlDeviceGetCount())]

    def start(self):
        if self.options["protocol"] != PROTOCOL:
            self.emit({"t": "fatal", "code": "version-mismatch", "text": "another protocol", "hint": ""})
            return False
        self.nvml.nvmlInit()
        self.emit({"t": "hello", "protocol": PROTOCOL, "python": "3.11", "pid": 1, "uid": 0})
        self.emit({"t": "state", "at": self.host.now(), "node": self.host.identity(), "gpus": self.gpus()})
        self.host.kernel.start(self.tell_kernel)
        return True

    def beat(self):
        gpus = {str(gpu["index"]): gpu for gpu in self.gpus()}
        self.emit({"t": "delta", "at": self.host.now(), "node": self.host.load(), "gpus": gpus})

    def tell_kernel(self, event):
        self.emit(dict(event, t="event", source="kernel"))

    def poll_events(self, milliseconds):
        pass

    def stop(self):
        pass
"""
