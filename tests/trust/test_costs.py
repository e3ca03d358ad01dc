"""Trust services by what they cost."""

from __future__ import annotations

import pytest

from trust.costs import CostStrategy, in_order
from trust.parameters import CostType

COSTS = {"u": None, "p1": CostType.PAID, "f1": CostType.FREE, "n": CostType.UNDEFINED, "p2": CostType.PAID}


@pytest.mark.parametrize(
    ("strategy", "asked"),
    [
        (CostStrategy.NONE, ("u", "p1", "f1", "n", "p2")),
        (CostStrategy.ONLY_FREE, ("f1",)),
        (CostStrategy.ONLY_PAID, ("p1", "p2")),
        (CostStrategy.FREE_FIRST, ("f1", "p1", "p2", "u", "n")),
        (CostStrategy.PAID_FIRST, ("p1", "p2", "f1", "u", "n")),
    ],
)
def test_who_is_asked_and_in_which_order(strategy: CostStrategy, asked: tuple[str, ...]) -> None:
    assert in_order(tuple(COSTS), COSTS.get, strategy) == asked
