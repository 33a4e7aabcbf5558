"""Which cluster or machine this is, whatever a configuration calls it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a cluster or a machine from another one that the same name may lead to."""

    address: str
    """How it is reached: `https://10.0.0.1:6443`, `root@10.0.0.7`."""
    uid: str | None = None
    """What it keeps however it is reached; None where it has none, or this user may not read it."""

    def is_another(self, one: Identity) -> bool:
        """By the uids where both are known, else by the addresses."""
        if self.uid is not None and one.uid is not None:
            return self.uid != one.uid
        return self.address != one.address

    def __str__(self) -> str:
        """`https://10.0.0.1:6443 (uid 3f1c...)`"""
        return self.address if self.uid is None else f"{self.address} (uid {self.uid})"
