"""The reset of a GPU: which others go with it, and the one command for it.

Behind NVSwitches a GPU since Ampere is reset alone: on Ampere Fabric Manager trains the switches' side of its links
anew and has to run for that, from Hopper on it need not. Without it on Ampere, and always before Ampere, all GPUs that
NVLinks connect are reset by one command; nvidia-smi refuses one that leaves some of them out, and names them.

Sources: nvidia-smi(1), --gpu-reset; NVIDIA Fabric Manager user guide, "GPU VM System Reset Capabilities and
Limitations".
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from backends.domain import Gpu, Node
from backends.fabric import NOT_RUNNING, is_dark, is_switched, service_state

RESET_ARGV = ("nvidia-smi", "--gpu-reset")
OF_ALL = shlex.join(RESET_ARGV)
"""The reset of all GPUs and NVSwitches of a node."""
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


def reset_of(gpu: Gpu, node: Node | None) -> Reset:
    """The reset of `gpu`, a GPU of `node`; None: nothing is known of its node, and it is reset alone."""
    if node is None or not _goes_with_others(gpu, node):
        return Reset(gpu)
    return Reset(gpu, tuple(other for other in node.gpus if other.key != gpu.key))


def address(gpu: Gpu) -> str:
    """What names the GPU to nvidia-smi."""
    return str(gpu.index)


def _goes_with_others(gpu: Gpu, node: Node) -> bool:
    if gpu.architecture in BEFORE_AMPERE:
        return any(link.active and link.remote_kind in ("gpu", "switch") for link in gpu.links or ())
    if gpu.architecture != "Ampere" or not is_switched(node.gpus):
        return False
    manager = service_state(node)
    # In the driver's container of the GPU Operator systemd does not see it: links that are up were trained by it.
    return is_dark(node.gpus) if manager in (None, "missing") else manager in NOT_RUNNING
