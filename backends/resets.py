"""The reset of a GPU: which others go with it, the one command for it, and what does not outlive it.

Behind NVSwitches a GPU since Ampere is reset alone: on Ampere Fabric Manager trains the switches' side of its links
anew and has to run for that, from Hopper on it need not. Without it on Ampere, and always before Ampere, all GPUs that
NVLinks connect are reset by one command; nvidia-smi refuses one that leaves some of them out, and names them.

Sources: nvidia-smi(1), --gpu-reset; NVIDIA Fabric Manager user guide, "GPU VM System Reset Capabilities and
Limitations"; NVIDIA MIG user guide.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from backends.domain import Gpu, MigInstance, Node
from backends.fabric import NOT_RUNNING, is_dark, is_switched, service_state

RESET_ARGV = ("nvidia-smi", "--gpu-reset")
OF_ALL = shlex.join(RESET_ARGV)
"""The reset of all GPUs and NVSwitches of a node."""
KEEPS_MIG_ONLY_LOADED = ("Hopper", "Blackwell")
"""On these the MIG mode is lost too when the driver unloads, so with a reboot; on Ampere the board keeps it."""
BEFORE_AMPERE = ("Kepler", "Maxwell", "Pascal", "Volta", "Turing")


@dataclass(frozen=True, slots=True)
class Reset:
    """The reset that `gpu` can have."""

    gpu: Gpu
    others: tuple[Gpu, ...] = ()
    """The other GPUs of its node, where it cannot be reset alone."""

    @property
    def together(self) -> bool:
        return bool(self.others)

    @property
    def command(self) -> str:
        return OF_ALL if self.others else f"{OF_ALL} -i {shlex.quote(address(self.gpu))}"

    @property
    def bus_command(self) -> str:
        """A reset of the bus instead of the function's (nvidia-smi(1), `-r bus`); older drivers have none."""
        return shlex.join(("nvidia-smi", "-r", "bus", *(() if self.others else ("-i", address(self.gpu)))))


def reset_of(gpu: Gpu, node: Node | None) -> Reset:
    """The reset of `gpu`, a GPU of `node`; None: nothing is known of its node, and it is reset alone."""
    if node is None or not _goes_with_others(gpu, node):
        return Reset(gpu)
    return Reset(gpu, tuple(other for other in node.gpus if other.key != gpu.key))


def address(gpu: Gpu) -> str:
    """What names the GPU to nvidia-smi: its bus id, else its UUID, else its index.

    Indices are counted anew by each process that starts NVML: where a GPU has fallen off the bus since the probe did,
    the same index is another GPU in the nvidia-smi that is typed. The bus id is what nvidia-smi shows beside it.
    """
    return gpu.pci_bus_id or gpu.uuid or str(gpu.index)


def instances_lost(gpu: Gpu) -> tuple[MigInstance, ...]:
    """The GPU instances, each by one of its MIG devices, that end with a reset or a reboot; by their places."""
    if not gpu.mig.enabled:
        return ()
    each = {("unknown", at) if one.gi is None else one.gi: one for at, one in enumerate(gpu.mig.instances)}
    return tuple(sorted(each.values(), key=lambda one: one.placement or (99, 0)))


def loses_mode(gpu: Gpu) -> bool:
    """Its MIG mode ends with a reboot of its node."""
    return gpu.mig.enabled is True and (gpu.architecture or "").startswith(KEEPS_MIG_ONLY_LOADED)


def _goes_with_others(gpu: Gpu, node: Node) -> bool:
    if gpu.architecture in BEFORE_AMPERE:
        return any(link.active and link.remote_kind in ("gpu", "switch") for link in gpu.links or ())
    if gpu.architecture != "Ampere" or not is_switched(node.gpus):
        return False
    manager = service_state(node)
    # In the driver's container of the GPU Operator systemd does not see it: links that are up were trained by it.
    return is_dark(node.gpus) if manager in (None, "missing") else manager in NOT_RUNNING
