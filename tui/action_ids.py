"""The ids of all actions, for whoever may not import Textual: a configuration is checked by every command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from backends.domain import clean

_ACTIONS: dict[str, str] = {
    "app": "back changes command events filter help leave next_site next_theme palette write_window",
    "triage": "acknowledge change copy evidence_down evidence_up logs show_settled",
    "fleet": "flat fold fold_all fold_in fold_out logs problem reverse sort_next sort_previous unsort",
    "node": (
        "charts_chart_after charts_chart_before charts_cursor_left charts_cursor_right charts_earlier "
        "charts_event_after charts_event_before charts_later charts_only charts_present charts_zoom_in charts_zoom_out "
        "further line_down line_up mig_apply mig_copy mig_what_if next_gpu page_charts page_host page_mig "
        "page_processes page_topology page_values previous_gpu processes_logs processes_reverse processes_sort_next "
        "processes_sort_previous processes_unsort"
    ),
    "stack": "actions blocked logs node switch",
    "events": "newest only_node",
    "changes": "abandon resume stop undo",
    "logs": "container follow former last next other range save times wrap",
}
"""Screen -> its actions."""
ACTION_IDS = frozenset(f"{screen}.{name}" for screen, names in _ACTIONS.items() for name in names.split())


def unknown_action(action_id: str, known: Iterable[str] = ACTION_IDS) -> tuple[str, str]:
    """What is said of an id that is not one of `known`, and the hint."""
    near = difflib.get_close_matches(action_id, sorted(known), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "the ids are in the ? help"
    return f"[keys] names an unknown action {clean(action_id, 64)!r}", hint
