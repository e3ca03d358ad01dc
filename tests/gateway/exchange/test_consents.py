"""Consent copies: what is read from a JWS that anybody may send, and that an old state never comes back."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.exchange.consents import (
    MAX_JWS_BYTES,
    ConsentCopies,
    ConsentRefused,
    covers,
    parse_consent,
    verify_consent,
)
from gateway.store.model import ConsentCopy, ConsentStatus, RequiredIdentityLevel
from tests.gateway.exchange.town import APP, GUEST, UTILITY, service
from trust.self_signed import build_self_signed

REFERENCE = "0b8f4a51-54a5-4f0e-8b0f-3f6cf5b6f6f4"
COPY = ConsentCopy(REFERENCE, APP, "person", service("konto"), 2000, ConsentStatus.VALID, 1, "")
CLAIMS: dict[str, Any] = {
    "reference": REFERENCE,
    "client": APP.encoded,
    "subject": "person",
    "service": service("konto").encoded,
    "status": "valid",
    "sequence": 1,
    "expires_ms": 2000,
}


def _certificate(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.Certificate:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return build_self_signed(key, "stadt", since=now, until=now + timedelta(days=1))


KEY = ec.generate_private_key(ec.SECP256R1())
CERTIFICATE = _certificate(KEY)
DER = CERTIFICATE.public_bytes(serialization.Encoding.DER)


def signed(claims: Any, *, key: Any = KEY, algorithm: str = "ES256", **header: Any) -> bytes:
    """A consent as the city's gateway makes it."""
    fields = {"alg": algorithm, "typ": "datenweg-consent+jwt", "x5c": [base64.b64encode(DER).decode()], **header}
    registry = jws.JWSRegistry(algorithms=[algorithm])
    registry.max_header_length = 1 << 15
    return jws.serialize_compact(fields, json.dumps(claims).encode(), ECKey.import_key(key), registry=registry).encode()


def verified(token: bytes, certificate: x509.Certificate = CERTIFICATE) -> ConsentCopy:
    return verify_consent(parse_consent(token), certificate)


def test_a_token_of_another_type_is_no_consent() -> None:
    with pytest.raises(ConsentRefused):
        parse_consent(signed(CLAIMS, typ="at+jwt"))


def test_how_surely_it_was_given() -> None:
    assert verified(signed(CLAIMS)).identity_level is RequiredIdentityLevel.NONE
    told = verified(signed(CLAIMS | {"identity_level": "substantial"}))
    assert told.identity_level is RequiredIdentityLevel.SUBSTANTIAL
    # Who sent it isn't in it: the gateway that takes it knows.
    assert told.authority is None
    assert not told.is_for_third_party
    for wrong in ("sehr hoch", "", 3, None):
        with pytest.raises(ConsentRefused):
            verified(signed(CLAIMS | {"identity_level": wrong}))


def test_a_good_consent() -> None:
    token = signed(CLAIMS)
    assert parse_consent(token).certificate == DER
    assert verified(token) == replace(COPY, jws=token.decode())


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "keine-uuid"},
        {"reference": None},
        {"client": UTILITY.member.encoded},
        {"client": "DE-TEST/GOV"},
        {"subject": ""},
        {"subject": 7},
        {"subject": "x" * 3000},
        {"service": APP.encoded},
        {"status": "vielleicht"},
        {"sequence": -1},
        {"sequence": True},
        {"sequence": 1.5},
        {"sequence": 1 << 60},
        {"expires_ms": "morgen"},
        {"expires_ms": None},
    ],
    ids=str,
)
def test_claims_that_are_no_consent(changes: dict[str, Any]) -> None:
    with pytest.raises(ConsentRefused):
        verified(signed(CLAIMS | changes))


@pytest.mark.parametrize("claims", [[], "consent", 7, None])
def test_a_payload_that_is_no_object(claims: object) -> None:
    with pytest.raises(ConsentRefused):
        verified(signed(claims))


def test_another_key() -> None:
    with pytest.raises(ConsentRefused):
        verified(signed(CLAIMS, key=ec.generate_private_key(ec.SECP256R1())))


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())])
def test_a_certificate_of_another_kind(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    with pytest.raises(ConsentRefused):
        verified(signed(CLAIMS), _certificate(key))


def test_another_algorithm() -> None:
    token = signed(CLAIMS)
    _, payload, signature = token.split(b".")
    for algorithm in ("none", "HS256"):
        header = json.dumps(
            {"alg": algorithm, "typ": "datenweg-consent+jwt", "x5c": [base64.b64encode(DER).decode()]}
        ).encode()
        forged = b".".join((base64.urlsafe_b64encode(header).rstrip(b"="), payload, signature))
        with pytest.raises(ConsentRefused):
            verified(forged)


@pytest.mark.parametrize(
    "header",
    [b"[]", b"7", b"null", b'"x5c"', b"{}", b'{"x5c":[]}', b'{"x5c":7}', b'{"x5c":[7]}', b"[" * 9000, b'{"x5c":["?"]}'],
)
def test_headers_that_are_none(header: bytes) -> None:
    with pytest.raises(ConsentRefused):
        parse_consent(base64.urlsafe_b64encode(header) + b".e30.AA")


def test_oversize() -> None:
    with pytest.raises(ConsentRefused):
        parse_consent(b"a" * (MAX_JWS_BYTES + 1))


@given(st.binary(max_size=300))
def test_whatever_is_sent_is_refused_by_name(token: bytes) -> None:
    with pytest.raises(ConsentRefused):
        verified(token)


def test_another_kind_of_token() -> None:
    for kind in ("JWT", "at+jwt", ""):
        with pytest.raises(ConsentRefused):
            parse_consent(signed(CLAIMS, typ=kind))


# -- the copies in memory


class Store:
    """The durable side: one copy, which another process may change."""

    def __init__(self, copy: ConsentCopy | None = None) -> None:
        self.copy = copy

    async def consent_copy(self, reference: str) -> ConsentCopy | None:
        return self.copy if self.copy is not None and self.copy.reference == reference else None


WITHDRAWN = replace(COPY, status=ConsentStatus.WITHDRAWN, sequence=2)


async def test_only_a_newer_state_replaces_a_copy() -> None:
    copies = ConsentCopies(Store(), [COPY], shared=False)
    copies.put(WITHDRAWN)
    copies.put(COPY)
    assert await copies.current(REFERENCE) == WITHDRAWN
    copies.put(replace(COPY, sequence=2))
    assert await copies.current(REFERENCE) == WITHDRAWN
    assert copies.known(REFERENCE, COPY) == WITHDRAWN


async def test_the_stores_state_does_not_undo_what_is_newer_here() -> None:
    copies = ConsentCopies(Store(), [WITHDRAWN], shared=False)
    for state in ([COPY], []):
        copies.replace_all(state)
        assert await copies.current(REFERENCE) == WITHDRAWN
    newer = replace(COPY, sequence=3)
    copies.replace_all([newer])
    assert await copies.current(REFERENCE) == newer


async def test_a_shared_store_is_asked_each_time() -> None:
    store = Store(COPY)
    copies = ConsentCopies(store, shared=True)
    assert await copies.current(REFERENCE) == COPY
    store.copy = WITHDRAWN
    assert await copies.current(REFERENCE) == WITHDRAWN
    # Memory holds nothing that could be older than the store.
    copies.put(COPY)
    assert copies.known(REFERENCE, None) is None


def test_a_consent_covers_exactly_what_it_names() -> None:
    exact = {"client": APP, "subject": "person", "service": service("konto")}
    assert covers(COPY, **exact)  # type: ignore[arg-type]
    for other in ({"client": GUEST}, {"subject": "andere"}, {"service": service("echo")}):
        assert not covers(COPY, **(exact | other))  # type: ignore[arg-type]
