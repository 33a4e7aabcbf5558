"""Platform backends are plug-ins, found by their entry points; the in-tree ones register like a stranger's.

A name belongs to one distribution: gpudeck's own names are its own, whoever else registers them, and a name that
several others claim is loaded from none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from backends.contract import Backend, BackendMissing, GpudeckError
from backends.domain import clean

GROUP = "gpudeck.backend"
OWN = "gpudeck"
"""The distribution whose names nobody else can take."""
MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Unused:
    """A backend that is installed and never loaded, because its name is another's."""

    name: str
    distribution: str
    """As it is shown: `stranger 1.0`."""
    why: str


def names() -> list[str]:
    """The names of the installed backends; imports none of them."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str) -> type[Backend]:
    """Imports one backend; raises BackendMissing, or GpudeckError when it cannot be imported or is claimed twice."""
    points = _points(name)
    if not points:
        installed = ", ".join(map(clean, names())) or "none"
        raise BackendMissing(f"no backend is called {clean(name)!r}", f"installed: {installed}")
    own = [point for point in points if _is_own(point)]
    if not own and len(points) > 1:
        claims = ", ".join(sorted(map(_distribution, points)))
        raise GpudeckError(f"several distributions have a backend {clean(name)}: {claims}", "uninstall all but one")
    return _import((own or points)[0])


def unused() -> tuple[Unused, ...]:
    """The strangers' backends that have one of gpudeck's own names; imports none of them."""
    found = []
    for name in names():
        points = _points(name)
        if any(map(_is_own, points)):
            why = f"{clean(name)} is a backend of {OWN} itself"
            found += [Unused(clean(name), _distribution(point), why) for point in points if not _is_own(point)]
    return tuple(found)


def _points(name: str) -> list[EntryPoint]:
    return [point for point in entry_points(group=GROUP) if point.name == name]


def _is_own(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == OWN


def _distribution(point: EntryPoint) -> str:
    return "no distribution" if point.dist is None else clean(f"{point.dist.name} {point.dist.version}")


def _import(point: EntryPoint) -> type[Backend]:
    try:
        backend = point.load()
    # What a stranger's module does when it is imported is not known: it may even call sys.exit.
    except (Exception, SystemExit) as error:
        told = clean(f"{type(error).__name__}: {error}", MESSAGE_LIMIT)
        raise GpudeckError(
            f"the backend {clean(point.name)} cannot be loaded: {told}", f"it is {clean(point.value)}"
        ) from error
    missing = [wanted for wanted in ("name", "summary", "open", "probe", "close") if not hasattr(backend, wanted)]
    if missing:
        said = f"{clean(point.value)} is no backend: it lacks {', '.join(missing)}"
        raise GpudeckError(said, "see backends/contract.py")
    return backend  # type: ignore[no-any-return]
