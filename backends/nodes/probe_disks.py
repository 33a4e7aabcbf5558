"""The disks of a node: which mounts are local file systems, and what they lie on.

Sent to the node beside the probe; Python 3.6 or later, standard library only.
"""

import os
import re

DISKS = 32
PARTS_DEEP = 4

BLOCK_TYPES = frozenset(("zfs", "btrfs", "bcachefs"))
"""File systems on block devices of their own that mountinfo gives an anonymous device number."""
SKIPPED_TYPES = frozenset(
    ("autofs", "squashfs", "erofs", "cramfs", "iso9660", "udf", "vfat", "msdos", "exfat", "overlay", "tmpfs", "ramfs")
)
SKIPPED_MOUNTS = (
    "/boot/efi", "/dev/", "/proc/", "/run/", "/snap/", "/sys/", "/var/lib/containers/", "/var/lib/docker/",
    "/var/lib/kubelet/", "/var/snap/",
)  # fmt: skip
"""Below these, mounts belong to containers and packages; a disk mounted at the directory itself counts."""
NOT_LOCAL = re.compile(r"^(loop|zram|ram|nbd|rbd|sr|fd)[0-9]")
"""Block devices that are no disk of this machine."""


def mounts(text):
    """The mounts in the text of /proc/self/mountinfo (proc(5)): number of the device, root, mount, type, source."""
    found = []
    for line in text.splitlines():
        words, _, rest = line.partition(" - ")
        words, rest = words.split(" "), rest.split(" ")
        if len(words) < 6 or len(rest) < 2:
            continue
        options = words[5].split(",") + (rest[2].split(",") if len(rest) > 2 else [])
        found.append(
            {
                "number": words[2],
                "root": unescaped(words[3]),
                "mount": unescaped(words[4]),
                "read_only": "ro" in options,
                "type": rest[0],
                "source": unescaped(rest[1]),
            }
        )
    return found


def unescaped(word):
    r"""mountinfo writes blanks, tabs, line ends and backslashes as \040, \011, \012, \134."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match.group(1), 8)), word)


def local_mounts(listed):
    """One mount of each local file system: the one of its root, and of those the shortest path."""
    best = {}
    for each in listed:
        anonymous = each["number"].startswith("0:")
        if each["type"] in SKIPPED_TYPES or any(each["mount"].startswith(prefix) for prefix in SKIPPED_MOUNTS):
            continue
        if anonymous and each["type"] not in BLOCK_TYPES:
            continue
        pool = each["type"] == "zfs"
        if not pool and not each["source"].startswith("/dev/"):
            continue
        key = each["source"].partition("/")[0] if pool else (each["source"] if anonymous else each["number"])
        # A root other than / is a bind mount or a subvolume.
        rank = (each["root"] != "/", len(each["mount"]), each["mount"])
        if key not in best or rank < best[key][0]:
            best[key] = (rank, each)
    return sorted((each for _, each in best.values()), key=lambda each: each["mount"])[:DISKS]


def block_device(tree, mount):
    """The path of a mount's block device in /sys; None where /sys does not know it."""
    by_number = tree.resolved("/sys/dev/block/" + mount["number"])
    if by_number is not None or not mount["number"].startswith("0:"):
        return by_number
    return tree.resolved("/sys/class/block/" + os.path.basename(mount["source"]))


def whole_device(tree, path):
    """The disk that a partition is a part of."""
    return os.path.dirname(path) if tree.text(path + "/partition") is not None else path


def is_remote(tree, path):
    """Whether a block device is at the other end of a network: iSCSI, NVMe over fabrics, rbd and their like."""
    path = whole_device(tree, path)
    if NOT_LOCAL.match(os.path.basename(path)) or "/session" in path or "/nvme-fabrics/" in path:
        return True
    controllers = ["/device/transport"]
    controllers += ["/device/%s/transport" % name for name in tree.names(path + "/device") if name.startswith("nvme")]
    return any(tree.text(path + each) not in (None, "", "pcie") for each in controllers)


def block_kind(tree, path, deep=PARTS_DEEP):
    """nvme, raid or disk; what a device mapper volume lies on; None where /sys does not tell."""
    path = whole_device(tree, path)
    name = os.path.basename(path)
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("md"):
        return "raid"
    if name.startswith("dm-"):
        below = [tree.resolved(path + "/slaves/" + each) for each in tree.names(path + "/slaves")]
        kinds = {block_kind(tree, each, deep - 1) for each in below if each is not None} if deep else set()
        return kinds.pop() if len(kinds) == 1 else None
    return "disk"
