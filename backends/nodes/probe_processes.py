"""Who works on a GPU.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

from backends.nodes.probe_nvml import instance
from backends.nodes.probe_tree import measured

PROCESSES_PER_GPU = 64
PROCESS_LISTS = (
    ("compute", "nvmlDeviceGetComputeRunningProcesses"),
    ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"),
    ("mps", "nvmlDeviceGetMPSComputeRunningProcesses"),
)


def read_processes(gpu):
    found = {}
    readable = False
    for kind, function in PROCESS_LISTS:
        processes = gpu.call(function)
        if processes is None:
            # Drivers before R510 have the second version only.
            processes = gpu.call(function + "_v2")
        readable = readable or processes is not None
        for process in processes or ():
            found.setdefault((process.pid, getattr(process, "gpuInstanceId", None)), (kind, process))
    if not readable:
        return None
    listed, held = [], []
    for _, (kind, process) in sorted(found.items(), key=lambda item: item[0][0])[:PROCESSES_PER_GPU]:
        entry = measured(
            pid=process.pid,
            kind=kind,
            memory_bytes=process.usedGpuMemory,
            gi=instance(process, "gpuInstanceId"),
            ci=instance(process, "computeInstanceId"),
        )
        entry.update(gpu.host.process(process.pid) or {})
        if entry.pop("held", False):
            held.append(process.pid)
        listed.append(entry)
    gpu.note("command lines", "not readable of processes %s" % ", ".join(map(str, held)) if held else None)
    gpu.value["processes_omitted"] = max(0, len(found) - PROCESSES_PER_GPU)
    return listed
