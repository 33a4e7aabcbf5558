"""Every table of fields there is: a saved filter has to mean something in at least one of them."""

from __future__ import annotations

from collections.abc import Mapping

from screens.change_fields import CHANGE_FIELDS
from screens.event_fields import EVENT_FIELDS
from screens.finding_fields import FINDING_FIELDS
from screens.gpu_fields import GPU_FIELDS
from screens.process_fields import PROCESS_FIELDS
from screens.stack_fields import STACK_FIELDS
from tui.widgets.filter import FilterError, parse
from tui.widgets.filter.fields import FieldTable

TABLES: tuple[FieldTable, ...] = (
    GPU_FIELDS,
    FINDING_FIELDS,
    EVENT_FIELDS,
    PROCESS_FIELDS,
    CHANGE_FIELDS,
    STACK_FIELDS,
)


def check_filter(text: str, saved: Mapping[str, str]) -> None:
    """Raises FilterError for a text that no list understands: the error of the list that understands most of it."""
    errors = []
    for table in TABLES:
        try:
            parse(text, table, saved)
        except FilterError as error:
            errors.append(error)
        else:
            return
    raise max(errors, key=lambda error: error.position)


def is_taken(name: str) -> bool:
    """Whether a filter of that name could be taken for something else."""
    return any(name in table.words or table.find(name) is not None for table in TABLES)
