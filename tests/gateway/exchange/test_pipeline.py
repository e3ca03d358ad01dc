"""The order of the steps is the security property: it changes here, in the sight of whoever reviews, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.exchange import pipeline, rights
from gateway.messages.faults import ERRORS


def test_the_consumers_steps() -> None:
    assert [step.__name__ for step in pipeline.CONSUMER] == [
        "parse_and_resolve",
        "authenticate_caller",
        "authenticate_citizen",
        "sign_and_log_request",
        "send_to_provider",
        "verify_response",
        "log_response",
    ]


def test_what_is_done_before_a_body_is_read() -> None:
    assert [step.__name__ for step in pipeline.BEFORE_BODY] == ["parse_and_resolve", "recognise_caller"]


def test_the_gateways_own_requests_skip_the_caller_and_nothing_else() -> None:
    assert [step.__name__ for step in pipeline.OWN] == [
        step.__name__ for step in pipeline.CONSUMER if step.__name__ != "authenticate_caller"
    ]
    assert len(pipeline.OWN) == len(pipeline.CONSUMER) - 1


def test_the_providers_steps() -> None:
    assert [step.__name__ for step in pipeline.PROVIDER] == [
        "verify_request",
        "authorise_request",
        "log_request",
        "call_service",
        "bind_sign_and_log_response",
    ]


def test_the_checks_of_rights() -> None:
    assert [check.__name__ for check in rights.RIGHTS] == [
        "_service_exists",
        "_type",
        "_access_right",
        "_enabled",
        "_identity_level",
        "consent_or_legal_basis",
        "_quota",
    ]


def test_denials_are_what_the_checks_raise() -> None:
    raised = set(re.findall(r'Fault\(\s*"([a-z_.]+)"', Path(rights.__file__).read_text("utf-8")))
    assert raised == rights.DENIALS
    assert raised <= set(ERRORS)
