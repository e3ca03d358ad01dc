"""Which trust services are asked, and in which order, by what they cost (X-Road 7.8: UG-SYSPAR, prioritisation).

What each costs is in the shared parameters since version 6; which strategy a gateway follows is its operator's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeVar

from trust.parameters import CostType

_T = TypeVar("_T")


class CostStrategy(StrEnum):
    """Free ones, paid ones, or one kind before the other; NONE is the configuration's own order."""

    NONE = "NONE"
    ONLY_FREE = "ONLY_FREE"
    ONLY_PAID = "ONLY_PAID"
    FREE_FIRST = "FREE_FIRST"
    PAID_FIRST = "PAID_FIRST"


def in_order(listed: Sequence[_T], cost_of: Callable[[_T], CostType | None], strategy: CostStrategy) -> tuple[_T, ...]:
    """Those to ask, in the configuration's order among such as cost alike; of unknown cost last, or left out."""

    def costing(*costs: CostType | None) -> tuple[_T, ...]:
        return tuple(one for one in listed if cost_of(one) in costs)

    free, paid = costing(CostType.FREE), costing(CostType.PAID)
    match strategy:
        case CostStrategy.NONE:
            return tuple(listed)
        case CostStrategy.ONLY_FREE:
            return free
        case CostStrategy.ONLY_PAID:
            return paid
        case CostStrategy.FREE_FIRST:
            return (*free, *paid, *costing(CostType.UNDEFINED, None))
        case CostStrategy.PAID_FIRST:
            return (*paid, *free, *costing(CostType.UNDEFINED, None))
