"""How many mutations with a stated answer there are: a table that is cut short would otherwise go unnoticed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.trust import (
    test_asic_archive_mutations,
    test_asic_configuration,
    test_asic_mutations,
    test_globalconf_altered,
    test_globalconf_anchor,
    test_globalconf_xml,
    test_ocsp_mutations,
    test_timestamp_mutations,
    test_xades_classic_mutations,
    test_xades_mutations,
)

SIGNATURES = (
    test_xades_mutations.test_mutated_signature_gets_its_answer,
    test_xades_classic_mutations.test_mutated_signature_gets_its_answer,
    test_xades_classic_mutations.test_a_wrong_chain_that_the_member_signed_has_its_code,
)
CONTAINERS = (
    test_asic_archive_mutations.test_archives_that_readers_could_read_differently,
    test_asic_mutations.test_containers_that_do_not_hold,
    test_asic_mutations.test_containers_that_lack_a_file,
)
ANSWERS = (
    test_ocsp_mutations.test_answers_that_do_not_count,
    test_ocsp_mutations.test_signed_by_somebody_else,
    test_timestamp_mutations.test_a_changed_answer_is_refused,
    test_timestamp_mutations.test_a_cut_answer_is_refused,
)
CONFIGURATIONS = (
    test_globalconf_altered.test_an_altered_directory_is_refused,
    test_globalconf_altered.test_a_wrong_directory_is_refused_though_signed,
    test_globalconf_xml.test_malformed_parameters_are_refused,
    test_globalconf_anchor.test_malformed_anchors_are_refused,
    test_asic_configuration.test_what_is_no_configuration_is_refused,
)


def size(test: Callable[..., None]) -> int:
    """How often a parametrised test runs."""
    return math.prod(len(mark.args[1]) for mark in test.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tests", "least"),
    [(SIGNATURES, 200), (CONTAINERS, 60), (ANSWERS, 60), (CONFIGURATIONS, 40)],
    ids=["signatures", "containers", "answers", "configurations"],
)
def test_there_are_enough(tests: tuple[Callable[..., None], ...], least: int) -> None:
    assert sum(map(size, tests)) >= least
