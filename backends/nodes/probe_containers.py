"""Which container runtimes are there, and which devices CDI can give their containers.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

import os
import re
import stat

RUNTIMES = (
    ("docker", "/run/docker.sock"),
    ("containerd", "/run/containerd/containerd.sock"),
    ("containerd", "/run/k3s/containerd/containerd.sock"),
    ("crio", "/run/crio/crio.sock"),
    ("podman", "/run/podman/podman.sock"),
)
CDI_DIRECTORIES = ("/etc/cdi", "/run/cdi")
"""Where all engines look unless told otherwise; /var/run leads to /run."""
CDI_FILES = 32
CDI_BYTES = 1 << 19
"""Of one file: `nvidia-ctk cdi generate` writes some kilobytes a device, and its kind last."""
CDI_KIND = re.compile(r"""(?m)(?:^kind:\s*["']?|"kind"\s*:\s*")([\w.-]{1,100}/[\w.-]{1,100})""")
"""In YAML, or in JSON."""


def runtimes(tree):
    """The container runtimes whose sockets are there."""
    found = []
    for name, path in RUNTIMES:
        try:
            there = stat.S_ISSOCK(os.stat(tree.root + path).st_mode)
        except OSError:
            continue
        if there:
            found.append({"name": name, "socket": path})
    return found


def cdi_kinds(tree):
    """The kinds of the CDI specifications, as nvidia.com/gpu."""
    paths = [directory + "/" + name for directory in CDI_DIRECTORIES for name in tree.ordered(directory)]
    found = set()
    for path in [path for path in paths if path.endswith((".json", ".yaml", ".yml"))][:CDI_FILES]:
        found.update(CDI_KIND.findall(tree.text(path, CDI_BYTES) or ""))
    return sorted(found)[:CDI_FILES]
