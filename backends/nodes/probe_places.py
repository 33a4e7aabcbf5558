"""How near two devices are to each other.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

COMMON_ANCESTORS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""nvmlGpuTopologyLevel_t in the words of `nvidia-smi topo -m`. 0 are two GPUs of one board, behind its one switch."""


def pci_level(first, second, nodes):
    """How near two PCI devices are, by their places (`Host.place`) on a machine of so many NUMA nodes.

    The words are those of `nvidia-smi topo -m`, and so is their meaning in nvml.h: PIX a single PCIe switch between the
    two, PXB more than one and no host bridge, PHB the same host bridge, NODE other host bridges of one NUMA node, SYS
    another NUMA node. A switch is its upstream bridge and one downstream bridge per device: two devices are on one
    switch when at most a bridge of their own lies between each of them and the last bridge they share. None where /sys
    does not tell.
    """
    (path, node), (other_path, other_node) = first, second
    if not path or not other_path:
        return None
    shared = 0
    for mine, other in zip(path, other_path):
        if mine != other:
            break
        shared += 1
    if shared > 1:
        return "PIX" if max(len(path), len(other_path)) - shared <= 2 else "PXB"
    if shared == 1:
        return "PHB"
    if nodes == 1 or (node is not None and node == other_node):
        return "NODE"
    return None if node is None or other_node is None else "SYS"


def short_bus(bus_id):
    """00000000:9B:00.0 and 0000:9b:00 -> 0000:9b:00"""
    domain, _, rest = bus_id.lower().partition(":")
    return domain[-4:] + ":" + rest.partition(".")[0]
