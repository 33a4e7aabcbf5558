"""How a GPU is cut up.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

from backends.nodes.probe_nvml import text
from backends.nodes.probe_tree import measured


def read_mig(gpu):
    mode = gpu.call("nvmlDeviceGetMigMode")
    if mode is None:
        return {}
    mig = {"enabled": bool(mode[0]), "pending": bool(mode[1]), "instances": []}
    mig.update(measured(max_instances=gpu.call("nvmlDeviceGetMaxMigDeviceCount")))
    if not mode[0]:
        return mig
    board = gpu.call("nvmlDeviceGetMemoryInfo")
    for index in range(mig.get("max_instances") or 0):
        device = gpu.call("nvmlDeviceGetMigDeviceHandleByIndex", index)
        if device is None:
            continue  # a hole in the list, not its end
        mig["instances"].append(read_mig_device(gpu, device, None if board is None else board.total))
    return mig


def read_mig_device(gpu, device, board_bytes):
    gi = gpu.call("nvmlDeviceGetGpuInstanceId", device=device)
    attributes = gpu.call("nvmlDeviceGetAttributes_v2", device=device)
    memory = gpu.call("nvmlDeviceGetMemoryInfo", device=device)
    return measured(
        gi=gi,
        ci=gpu.call("nvmlDeviceGetComputeInstanceId", device=device),
        uuid=text(gpu.call("nvmlDeviceGetUUID", device=device)),
        profile=mig_profile(text(gpu.call("nvmlDeviceGetName", device=device)), attributes, board_bytes),
        placement=mig_placement(gpu, gi),
        memory={}
        if memory is None
        else {"total_bytes": memory.total, "used_bytes": memory.used, "free_bytes": memory.free},
        multiprocessors=None if attributes is None else attributes.multiprocessorCount,
    )


def mig_profile(name, attributes, board_bytes):
    """3g.40gb from the device's name; older drivers name only the board: then from its slices and its share of it.

    The figure is the share in whole eighths of the board's memory in whole GiB (NVIDIA go-nvlib, mig_profile.go), not
    the instance's memory, which is less. None where the board's memory is not told, as MIG mode keeps it from others
    than root (nvml.h).
    """
    if name and " MIG " in name:
        return name.rpartition(" MIG ")[2]
    if attributes is None or not board_bytes:
        return None
    gi, ci = attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount
    eighths = -(-attributes.memorySizeMB * 8 * 1024**2 // board_bytes)
    profile = "%dg.%dgb" % (gi, int(eighths * -(-board_bytes // 1024**3) / 8.0 + 0.5))
    return profile if ci == gi else "%dc.%s" % (ci, profile)


def mig_placement(gpu, gi):
    """Root only (nvml.h); so no other user even asks."""
    if gi is None or not gpu.privileged:
        return None
    instance = gpu.call("nvmlDeviceGetGpuInstanceById", gi)
    info = None if instance is None else gpu.call("nvmlGpuInstanceGetInfo", device=instance)
    return None if info is None else [info.placement.start, info.placement.size]
