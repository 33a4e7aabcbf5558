"""What a filter may ask about whose work it is: the same fields on GPUs, processes and findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from backends.ownership import owner_words
from tui.widgets.filter.fields import Field, Value

if TYPE_CHECKING:
    from backends.domain import Workload

Names = Callable[["Workload"], Iterable[str | None]]

NAMES: tuple[tuple[str, tuple[str, ...], Names, str, str], ...] = (
    (
        "workload",
        ("pod",),
        lambda each: (each.title, each.name),
        "pod or container it belongs to",
        "workload~llama",
    ),
    (
        "owner",
        (),
        lambda each: (owner_words(each) or None, *(owner.name for owner in each.owners)),
        "what a person deployed",
        "owner~triton",
    ),
    (
        "namespace",
        ("project", "ns"),
        lambda each: (each.namespace,),
        "namespace or project it is in",
        "namespace=team-a",
    ),
)
"""(name, aliases, what of a workload, help, example)"""


def workload_fields(workloads: Callable[[Any], Iterable[Workload] | None]) -> tuple[Field, ...]:
    """Fields over what `workloads` finds for an item; None where it cannot be told."""

    def of(names: Names) -> Callable[[Any], Value]:
        def get(item: Any) -> Value:
            found = workloads(item)
            if found is None:
                return None
            return frozenset(name for each in found for name in names(each) if name)

        return get

    return tuple(
        Field(name, "text", of(names), said, example, aliases) for name, aliases, names, said, example in NAMES
    )


def workload_values(field: str, workloads: Iterable[Workload]) -> list[str]:
    """What they say for one of the fields, for its completion: the shortest name of each."""
    short: dict[str, Callable[[Workload], str | None]] = {
        "workload": lambda each: each.name,
        "owner": lambda each: None if each.owner is None else each.owner.name,
        "namespace": lambda each: each.namespace,
    }
    name = short.get(field)
    return [] if name is None else sorted({told for each in workloads if (told := name(each))})
