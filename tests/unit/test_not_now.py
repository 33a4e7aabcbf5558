"""Why something makes no sense on a node as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.changes.not_now import no_mig_manager
from backends.domain import MigManagerState, OperandPhase, Since
from tests.tui.fleets import NOW
from tests.tui.stacks import well


@pytest.mark.parametrize(
    ("state", "minutes", "said"),
    [
        ("pending", 2, "is being given the layout all-3g.40gb"),
        ("pending", 20, None),
        ("rebooting", 2, "is being given the layout all-3g.40gb"),
        ("failed", 2, None),
        ("success", 2, None),
    ],
)
def test_a_layout_that_the_manager_left_at_pending_may_be_followed_by_another(
    state: str, minutes: int, said: str | None
) -> None:
    mig = MigManagerState("all-3g.40gb", state, Since(NOW - minutes * 60))
    operands = tuple(replace(each, pod=f"pod-{each.operand}") for each in well("dgx01").operands)
    assert no_mig_manager(replace(well("dgx01"), operands=operands, mig=mig), NOW) == said


def test_a_manager_that_may_not_be_seen_is_not_called_absent() -> None:
    hidden = tuple(replace(each, phase=OperandPhase.UNKNOWN) for each in well("dgx01").operands)
    assert no_mig_manager(replace(well("dgx01"), operands=hidden), NOW) is None
    assert no_mig_manager(replace(well("dgx01"), operands=()), NOW) is not None
