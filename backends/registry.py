"""Platform backends are plug-ins, found by their entry points; the in-tree ones register like a stranger's."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from backends.contract import Backend, BackendMissing, GpudeckError

GROUP = "gpudeck.backend"


def names() -> list[str]:
    """The names of the installed backends; imports none of them."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str) -> type[Backend]:
    """Imports one backend; raises BackendMissing, or GpudeckError when it cannot be imported."""
    found = next((point for point in entry_points(group=GROUP) if point.name == name), None)
    if found is None:
        installed = ", ".join(names()) or "none"
        raise BackendMissing(f"no backend is called {name!r}", f"installed: {installed}")
    return _import(found)


def _import(point: EntryPoint) -> type[Backend]:
    try:
        backend = point.load()
    except (ImportError, AttributeError) as error:
        raise GpudeckError(f"the backend {point.name} cannot be loaded: {error}", f"it is {point.value}") from error
    missing = [wanted for wanted in ("name", "summary", "open", "probe", "close") if not hasattr(backend, wanted)]
    if missing:
        raise GpudeckError(f"{point.value} is no backend: it lacks {', '.join(missing)}", "see backends/contract.py")
    return backend  # type: ignore[no-any-return]
