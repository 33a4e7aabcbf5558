"""The errors every reader raises, and what a platform plug-in promises.

GpudeckError                    message + hint (+ code, + exit code of the command line)
├── ConfigError                 the configuration file is wrong
├── Unreachable                 a node or a service cannot be reached
│   ├── ConnectTimeout
│   ├── HostKeyUnknown          the host key is not in known_hosts
│   ├── HostKeyChanged          known_hosts holds another key
│   └── AuthRefused             no offered key was accepted
├── ProbeFailed                 the node answers, but cannot be read
│   ├── NoPython                no usable python3: nvidia-smi is tried instead
│   ├── NoDriver                no NVML and no nvidia-smi
│   ├── ProbeCut                the probe ended or sent half a line
│   ├── ProbeSilent             the probe stopped sending
│   │   └── DriverHangs         NVML holds a call since before the first reading
│   └── VersionMismatch         the probe speaks another protocol
└── BackendMissing              no installed backend has that name
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable


class GpudeckError(Exception):
    """One sentence for a person, and a hint of what to do."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(GpudeckError):
    code = "config"
    exit_code = 2


class Unreachable(GpudeckError):
    code = "unreachable"
    exit_code = 3


class ConnectTimeout(Unreachable):
    code = "connect-timeout"


class HostKeyUnknown(Unreachable):
    code = "host-key-unknown"


class HostKeyChanged(Unreachable):
    code = "host-key-changed"


class AuthRefused(Unreachable):
    code = "auth-refused"


class ProbeFailed(GpudeckError):
    code = "probe-failed"
    exit_code = 3


class NoPython(ProbeFailed):
    code = "no-python"


class NoDriver(ProbeFailed):
    code = "no-driver"


class ProbeCut(ProbeFailed):
    code = "probe-cut"


class ProbeSilent(ProbeFailed):
    code = "probe-silent"


class DriverHangs(ProbeSilent):
    code = "driver-hangs"


class VersionMismatch(ProbeFailed):
    code = "version-mismatch"


class BackendMissing(GpudeckError):
    code = "backend-missing"
    exit_code = 2


@runtime_checkable
class Backend(Protocol):
    """A platform plug-in, registered in the entry-point group `gpudeck.backend`.

    What a backend can do beyond this is told by the one-method capability protocols it also implements.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    async def probe(self) -> str | None:
        """The platform's version when it is there, None when it is not; raises `GpudeckError` when it cannot tell."""
        ...

    async def close(self) -> None: ...
