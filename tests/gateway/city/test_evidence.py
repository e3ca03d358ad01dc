"""What counts as evidence of an exchange: a signature that both gateways' message logs hold."""

from __future__ import annotations

import pytest

from gateway.city.evidence import SignaturesDiffer, found_in_both

REQUEST, RESPONSE, OTHER = b"request's digest", b"response's digest", b"another digest"
BOTH = {"request": REQUEST, "response": RESPONSE}


def test_an_exchange_has_two() -> None:
    assert found_in_both(BOTH, BOTH) == 2


def test_what_one_log_alone_holds_does_not_count() -> None:
    assert found_in_both(BOTH, {}) == 0
    assert found_in_both({}, BOTH) == 0
    assert found_in_both(BOTH, {"request": REQUEST}) == 1
    # A refused exchange: both hold the request, there was no signed response.
    assert found_in_both({"request": REQUEST}, {"request": REQUEST}) == 1


def test_logs_that_hold_different_messages_are_told() -> None:
    with pytest.raises(SignaturesDiffer, match="response"):
        found_in_both(BOTH, BOTH | {"response": OTHER})
