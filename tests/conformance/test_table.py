"""The conformance table is whole: every line of X-Road's list, every code of ours, and the page that shows it."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.messages.faults import ERRORS, Vocabulary, same_code, spell
from tests.conformance.document import PAGE, render
from tests.conformance.table import CASES, EXCUSED, excuse
from tests.conformance.words import Form, Row


def test_every_code_is_raised_or_excused() -> None:
    raised = {case.code for case in CASES}
    assert [code for code in ERRORS if code not in raised and excuse(code) is None] == []


def test_no_excuse_for_what_is_raised_or_unknown() -> None:
    raised = {case.code for case in CASES}
    assert [code for code in EXCUSED if code in raised or code not in ERRORS] == []


def test_cases_have_codes_of_the_vocabulary() -> None:
    unknown = [case.code for case in CASES if case.code not in ERRORS and not case.reworded]
    assert unknown == []


def test_every_line_of_the_list_has_a_case() -> None:
    assert {case.row for case in CASES} == set(Row)


def test_no_case_twice() -> None:
    counted = Counter((case.form, case.row, case.situation, case.code) for case in CASES)
    assert [key for key, count in counted.items() if count > 1] == []


def test_clients_of_both_kinds_are_told_wherever_both_could_be() -> None:
    rest, soap = ({case.code for case in CASES if case.form is form} for form in (Form.REST, Form.SOAP))
    assert len(rest & soap) >= 25


@pytest.mark.parametrize("code", [code for code in ERRORS if excuse(code) is not None])
def test_an_excused_code_is_in_the_vocabulary_in_both_spellings(code: str) -> None:
    camel = spell(code, Vocabulary.CAMEL)
    assert same_code(camel, code)
    assert spell(camel, Vocabulary.SNAKE) == code
    assert ERRORS[code].cause
    assert ERRORS[code].hint


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text("utf-8") == render()
