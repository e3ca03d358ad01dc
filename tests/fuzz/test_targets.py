"""The fuzzers' targets, without the fuzzer: good inputs, and the same few thousand mutations of them each time.

`make fuzz` runs the same targets guided by coverage, for as long as one likes.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import pytest

from tests.fuzz.mutation import mutations
from tests.fuzz.registry import Target
from tests.fuzz.targets import TARGETS

# A library may warn of what a mutation asks it for: that is no finding.
pytestmark = pytest.mark.filterwarnings("ignore")

# Those whose single input costs more get fewer of them: a fraction of a second each, some ten seconds together.
_MUTATIONS = 2000
_COSTLY = {
    "trust.asic.container": 600,
    "gateway.transport": 400,
    "citizen.access_token": 800,
    "trust.certificates": 800,
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_good_input_is_among_the_seeds(target: Target) -> None:
    seeds = target.seeds()
    assert all(len(seed) <= target.max_bytes for seed in seeds)
    assert any(target.accepts(seed) for seed in seeds), "a target that refuses everything tests nothing"


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_mutations_are_refused_with_an_own_error_or_taken(target: Target) -> None:
    count = _COSTLY.get(target.name, _MUTATIONS)
    seeds = target.seeds()
    taken = refused = 0
    for data in mutations(seeds, target.tokens, count=count, number=20261122):
        if target.accepts(data):
            taken += 1
        else:
            refused += 1
    assert taken + refused == count
    if target.refusals:
        assert refused, "nothing was refused: the mutations don't reach the parser"


def test_the_same_mutations_come_each_time() -> None:
    one, other = (list(islice(mutations([b"a;b", b"<x/>"], (), count=200, number=7), 200)) for _ in range(2))
    assert one == other
    assert len(set(one)) > 100


def test_the_command_lists_its_targets() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--list"], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.split() == list(TARGETS)
