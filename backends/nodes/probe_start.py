"""The first file of the probe on a node: takes the others from stdin and starts them.

It is sent as text, runs under Python 3.6 or later with nothing but the standard library, and installs nothing.
"""

import json
import sys
import types
import zlib


def read_section(stream):
    size = int(stream.readline())
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("the console went away")
    return content


def load(name, source):
    """A module from its source. Registered before it runs: pynvml looks itself up, others are imported by name."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), module.__dict__)
    return module


def start():
    stdin = sys.stdin.buffer
    options = json.loads(read_section(stdin).decode("utf-8"))
    nvml = load("pynvml", zlib.decompress(read_section(stdin)))
    for name, source in json.loads(zlib.decompress(read_section(stdin)).decode("utf-8")):
        load(name, source)
    from backends.nodes.probe import main

    main(nvml, options)


if __name__ == "__gpudeck_probe__":
    start()
