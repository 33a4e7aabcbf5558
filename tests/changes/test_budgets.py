"""A budget's refusal in words: on the way to a person, and while it is waited for."""

from __future__ import annotations

import pytest

from backends.changes.budgets import hold, refusal

ONE = "The disruption budget web needs 1 healthy pods and has 1 currently"
BUSY = "The disruption budget web is still being processed by the server."


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (ONE, "the disruption budget web needs 1 healthy pod and has 1"),
        (ONE.replace("needs 1", "needs 3"), "the disruption budget web needs 3 healthy pods and has 1"),
        (BUSY, "The disruption budget web is still being processed by the server"),
    ],
)
def test_a_refusal_is_a_sentence_that_another_can_follow(message: str, words: str) -> None:
    assert refusal(message) == words


def test_a_hold_names_the_budget_and_the_time_left() -> None:
    assert hold(ONE, 180, 130.9) == "held by budget web (needs 1 healthy, has 1): asked again for 3 min, 2:10 left"
    assert hold(BUSY, 45, -1) == f"held ({BUSY[:-1]}): asked again for 45 s, 0:00 left"
