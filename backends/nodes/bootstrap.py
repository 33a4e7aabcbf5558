"""What is sent to a node to start the probe: a command line, and the probe's sources on its stdin.

`python3 -` would read its script up to the end of stdin, so the probe could not see the end of the connection there.
The bootstrap therefore reads a counted number of bytes and leaves stdin open.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PROTOCOL = 1
"""Version of the probe's messages; the probe refuses another one."""

PROBE_MODULES = (
    "probe_tree",
    "probe_lines",
    "probe_disks",
    "probe_containers",
    "probe_facts",
    "probe_kernel",
    "probe_host",
    "probe_nvml",
    "probe_links",
    "probe_mig",
    "probe_vgpu",
    "probe_processes",
    "probe_values",
    "probe_places",
    "probe",
)
"""Sent behind `probe_start`; each imports only those before it."""

_BOOTSTRAP = (
    "import sys,zlib;b=sys.stdin.buffer;"
    'exec(compile(zlib.decompress(b.read(int(b.readline()))),"gpudeck-probe","exec"),{"__name__":"__gpudeck_probe__"})'
)
_NO_PYTHON = json.dumps(
    {
        "t": "fatal",
        "code": "no-python",
        "text": "no usable python3 on the node",
        "hint": "install python3 (3.6 or later) for the full reading",
    },
    separators=(",", ":"),
)
_INTERPRETERS = "python3 /usr/libexec/platform-python /usr/bin/python3 /usr/local/bin/python3"

# One sh -c line: the login shell may be bash, csh or fish, so nothing but a single-quoted word is left to it.
# Inside, a double-quoted string may not hold an unescaped double quote.
BOOT_COMMAND = (
    "sh -c '"
    f"for p in {_INTERPRETERS}; do "
    'if "$p" -c "import sys; sys.exit(sys.version_info < (3, 6))" >/dev/null 2>&1; then '
    f'exec "$p" -u -c "{_BOOTSTRAP.replace(chr(34), chr(92) + chr(34))}"; '
    "fi; done; "
    f'echo "{_NO_PYTHON.replace(chr(34), chr(92) + chr(34))}"; exit 127'
    "'"
)
"""Starts the first Python 3.6+ found; with none, prints a `fatal` message and exits 127."""


def payload(
    options: Mapping[str, object], start_source: bytes | None = None, pynvml_source: bytes | None = None
) -> bytes:
    """The bytes for the bootstrap's stdin: `probe_start`, options, pynvml, and the probe's modules.

    Each is a section: "<length>\\n" and that many bytes.
    """
    start = _packed_start() if start_source is None else zlib.compress(start_source, 9)
    pynvml = _packed_pynvml() if pynvml_source is None else zlib.compress(pynvml_source, 9)
    return b"".join(_section(part) for part in (start, json.dumps(dict(options)).encode(), pynvml, _packed_modules()))


def _section(content: bytes) -> bytes:
    return b"%d\n%s" % (len(content), content)


def _source(name: str) -> bytes:
    return importlib.resources.files("backends.nodes").joinpath(f"{name}.py").read_bytes()


@cache
def _packed_start() -> bytes:
    return zlib.compress(_source("probe_start"), 9)


@cache
def _packed_modules() -> bytes:
    """A JSON list of [name, source] in the order in which they import each other."""
    modules = [[f"backends.nodes.{name}", _source(name).decode()] for name in PROBE_MODULES]
    return zlib.compress(json.dumps(modules).encode(), 9)


@cache
def _packed_pynvml() -> bytes:
    # Located, not imported: this process has no use for NVML bindings of its own.
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None:
        raise RuntimeError("nvidia-ml-py is not installed")
    return zlib.compress(Path(spec.origin).read_bytes(), 9)
