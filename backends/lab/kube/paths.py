"""What a request's path asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backends.lab.kube.kinds import Kind


@dataclass(frozen=True, slots=True)
class Target:
    kind: Kind
    namespace: str | None = None
    """None at the cluster scope, and for a list over all namespaces."""
    name: str | None = None
    sub: str | None = None

    @property
    def resource(self) -> str:
        return self.kind.plural if self.sub is None else f"{self.kind.plural}/{self.sub}"


def parse(path: str, kinds: Iterable[Kind]) -> Target | None:
    """The target of `/api/v1/...` or `/apis/GROUP/VERSION/...`; None where no resource is meant."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    served = {kind.plural: kind for kind in kinds if (kind.group, kind.version) == (group, version)}
    namespace = None
    # /namespaces/NAME is a namespace itself; with more behind it, it is where to look.
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] in served and served[rest[2]].namespaced:
        namespace, rest = rest[1], rest[2:]
    kind = served.get(rest[0])
    if kind is None or len(rest) > 3:
        return None
    name = rest[1] if len(rest) > 1 else None
    sub = rest[2] if len(rest) > 2 else None
    if sub is not None and sub not in kind.subresources:
        return None
    return Target(kind, namespace, name, sub)
