"""NVLinks of a GPU, and the NVSwitch fabric it is in.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

from backends.nodes.probe_nvml import text
from backends.nodes.probe_tree import measured

REMOTE_KINDS = {0: "gpu", 1: "ibmnpu", 2: "switch", 255: "unknown"}
FABRIC_STATES = {0: "not_supported", 1: "not_started", 2: "in_progress", 3: "completed"}
FABRIC_HEALTH = {1: "healthy", 2: "unhealthy", 3: "limited_capacity"}
FIELD_LINK_SPEED = 90
LINK_ERRORS = (("replay_errors", 0), ("recovery_errors", 1), ("crc_flit_errors", 2), ("crc_data_errors", 3))


def read_links(gpu):
    links = []
    for index in range(getattr(gpu.nvml, "NVML_NVLINK_MAX_LINKS", 18)):
        state = gpu.call("nvmlDeviceGetNvLinkState", index)
        if state is None:
            if ("nvmlDeviceGetNvLinkState", index) in gpu.dead or "nvmlDeviceGetNvLinkState" not in gpu.unread:
                break  # the board has no more links
            links.append({"index": index})  # it has this one, and could not be asked this time
            continue
        remote = gpu.call("nvmlDeviceGetNvLinkRemotePciInfo", index) if state else None
        link = measured(
            index=index,
            active=bool(state),
            version=gpu.call("nvmlDeviceGetNvLinkVersion", index),
            speed_mbytes_per_second=gpu.field(FIELD_LINK_SPEED, index) or None,
            remote_kind=REMOTE_KINDS.get(gpu.call("nvmlDeviceGetNvLinkRemoteDeviceType", index)),
            remote_pci_bus_id=None if remote is None else text(remote.busId),
        )
        for name, counter in LINK_ERRORS:
            link.update(measured(**{name: gpu.call("nvmlDeviceGetNvLinkErrorCounter", index, counter)}))
        links.append(link)
    return links or None


def read_fabric(gpu):
    maker = getattr(gpu.nvml, "c_nvmlGpuFabricInfo_v2_t", None)
    if maker is None:
        return {}
    import ctypes

    info = maker()
    if gpu.call("nvmlDeviceGetGpuFabricInfoV", ctypes.byref(info)) is None:
        return {}
    uuid = bytes(bytearray(int(byte) & 0xFF for byte in info.clusterUuid))
    return measured(
        state=FABRIC_STATES.get(info.state),
        status=info.status,
        health=FABRIC_HEALTH.get(getattr(info, "healthSummary", 0)),
        clique_id=info.cliqueId,
        cluster_uuid=uuid.hex() if any(bytearray(uuid)) else None,
    )
