"""Which NVLinks should be up and are not."""

from __future__ import annotations

import pytest

from backends.domain import Gpu, Link
from backends.nvlinks import missed_links, misses_links


def board(index: int, up: range, *, name: str = "board", total: int = 12, lost: bool = False) -> Gpu:
    links = tuple(Link(number, number in up) for number in range(total))
    return Gpu(index, name=name, uuid=f"GPU-{index}", links=links, lost=lost)


def numbers(gpus: list[Gpu], before: dict[str, dict[int, str | None]] | None = None) -> dict[str, list[int]]:
    worked = before or {}
    found = missed_links(gpus, lambda key: worked.get(key, {}))
    return {key: [link.index for link in links] for key, links in found.items()}


@pytest.mark.parametrize("up", [range(0), range(4), range(8, 12), range(12)])
def test_what_all_boards_do_alike_is_by_design(up: range) -> None:
    assert numbers([board(index, up) for index in range(4)]) == {}


def test_a_link_that_nearly_all_others_use_is_missed() -> None:
    gpus = [board(0, range(11)), *(board(index, range(12)) for index in range(1, 4))]
    assert numbers(gpus) == {"GPU-0": [11]}
    assert [link.index for link in misses_links(gpus[0], gpus)] == [11]
    assert misses_links(gpus[1], gpus) == ()


def test_too_few_boards_tell_nothing_and_a_past_does() -> None:
    pair = [board(0, range(11)), board(1, range(12))]
    assert numbers(pair) == {}
    assert numbers(pair, {"GPU-0": {11: None}}) == {"GPU-0": [11]}


def test_other_models_and_lost_boards_judge_nobody() -> None:
    one = board(0, range(0))
    others = [board(index, range(12), name="other") for index in range(1, 5)]
    assert numbers([one, *others]) == {}
    gone = [board(index, range(12), lost=True) for index in range(1, 5)]
    assert numbers([one, *gone]) == {}
    assert numbers([board(0, range(0), lost=True), *(board(index, range(12)) for index in range(1, 5))]) == {}
