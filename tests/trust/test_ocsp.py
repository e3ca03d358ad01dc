"""OCSP: what a response must be to count, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.factory import DAY, NOW, Authority, Holder, make_authority, rsa_key
from trust.errors import MalformedInput, StatusNotGood, TrustError
from trust.ocsp import CLOCK_SKEW, VerifiedStatus, build_request, concerns, require_readable, verify_response

ROOT = make_authority()
HOLDER = ROOT.signer()
RESPONDER = ROOT.responder()
FRESHNESS = timedelta(hours=1)


def verify(
    der: bytes,
    *,
    authority: Authority = ROOT,
    holder: Holder = HOLDER,
    authorised: Sequence[x509.Certificate] = (),
    at: datetime = NOW,
) -> VerifiedStatus:
    return verify_response(
        der,
        certificate=holder.certificate,
        issuer=authority.certificate,
        authorised_responders=authorised,
        freshness=FRESHNESS,
        at=at,
    )


def code_of(der: bytes, **options: object) -> str:
    with pytest.raises(TrustError) as caught:
        verify(der, **options)  # type: ignore[arg-type]
    return caught.value.code


def test_request_names_the_certificate() -> None:
    request = ocsp.load_der_ocsp_request(build_request(HOLDER.certificate, ROOT.certificate))
    assert request.serial_number == HOLDER.certificate.serial_number
    assert list(request.extensions) == []


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("certificate_id", [hashes.SHA1(), hashes.SHA256()], ids=lambda algorithm: algorithm.name)
@pytest.mark.parametrize("responder", [None, RESPONDER], ids=["authority", "delegate"])
def test_good_status(by_name: bool, certificate_id: hashes.HashAlgorithm, responder: Holder | None) -> None:
    der = ROOT.status(HOLDER.certificate, responder=responder, by_name=by_name, certificate_id=certificate_id)
    status = verify(der)
    assert (status.this_update, status.next_update, status.good_until) == (NOW, None, NOW + FRESHNESS)
    assert concerns(der, certificate=HOLDER.certificate, issuer=ROOT.certificate)


def test_rsa_authority() -> None:
    root = make_authority("RSA", rsa_key())
    holder = root.signer()
    assert verify(root.status(holder.certificate), authority=root, holder=holder).good_until == NOW + FRESHNESS


def test_next_update_ends_it_sooner() -> None:
    soon = NOW + timedelta(minutes=10)
    der = ROOT.status(HOLDER.certificate, next_update=soon)
    assert verify(der, at=soon).good_until == soon
    assert code_of(der, at=soon + timedelta(seconds=1)) == "incorrect_validation_info"


def test_next_update_does_not_stretch_freshness() -> None:
    der = ROOT.status(HOLDER.certificate, next_update=NOW + DAY)
    assert verify(der, at=NOW + FRESHNESS).good_until == NOW + FRESHNESS
    assert code_of(der, at=NOW + FRESHNESS + timedelta(seconds=1)) == "incorrect_validation_info"


def test_clocks_may_differ_a_little() -> None:
    der = ROOT.status(HOLDER.certificate)
    verify(der, at=NOW - CLOCK_SKEW)
    assert code_of(der, at=NOW - CLOCK_SKEW - timedelta(seconds=1)) == "incorrect_validation_info"


@pytest.mark.parametrize("status", [ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN])
def test_not_good(status: ocsp.OCSPCertStatus) -> None:
    assert code_of(ROOT.status(HOLDER.certificate, status=status)) == "cert_validation"


def test_a_stale_revocation_is_stale_first() -> None:
    """The code tells an authentic, current revocation from a defect; a client may only act on the former."""
    der = ROOT.status(HOLDER.certificate, status=ocsp.OCSPCertStatus.REVOKED, at=NOW - DAY)
    assert code_of(der) == "incorrect_validation_info"


def test_about_another_certificate() -> None:
    other = ROOT.status(ROOT.signer().certificate)
    assert code_of(other) == "incorrect_validation_info"
    assert not concerns(other, certificate=HOLDER.certificate, issuer=ROOT.certificate)


def test_about_the_same_serial_of_another_authority() -> None:
    elsewhere = make_authority("Andere CA")
    elsewhere.serial = HOLDER.certificate.serial_number - 1
    twin = elsewhere.signer()
    assert twin.certificate.serial_number == HOLDER.certificate.serial_number
    assert code_of(elsewhere.status(twin.certificate)) == "incorrect_validation_info"


FOREIGN = make_authority()


@pytest.mark.parametrize(
    "responder",
    [
        Holder(FOREIGN.key, FOREIGN.certificate),
        FOREIGN.responder(),
        ROOT.responder(extended=()),
        ROOT.responder(extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        ROOT.responder(until=NOW - timedelta(minutes=1)),
        ROOT.responder(since=NOW + timedelta(minutes=5)),
        ROOT.responder(algorithm=hashes.SHA224()),
        ROOT.intermediate().responder(),
        HOLDER,
    ],
    ids=[
        "an authority of the same name",
        "its delegate",
        "no delegate",
        "a delegate for something else",
        "a delegate that was",
        "a delegate that will be",
        "a weakly signed delegate",
        "an intermediate's delegate",
        "the certificate itself",
    ],
)
@pytest.mark.parametrize("by_name", [False, True])
def test_who_may_not_answer(responder: Holder, by_name: bool) -> None:
    der = ROOT.status(HOLDER.certificate, responder=responder, by_name=by_name)
    assert code_of(der) == "incorrect_validation_info"


def test_a_responder_that_the_configuration_names_may() -> None:
    foreign = FOREIGN.responder(extended=())
    der = ROOT.status(HOLDER.certificate, responder=foreign)
    assert verify(der, authorised=[foreign.certificate]).this_update == NOW
    alone = ROOT.status(HOLDER.certificate, responder=foreign, embed=False)
    assert verify(alone, authorised=[RESPONDER.certificate, foreign.certificate]).this_update == NOW
    assert code_of(alone) == "incorrect_validation_info"
    assert code_of(alone, authorised=[RESPONDER.certificate]) == "incorrect_validation_info"


def test_weakly_signed() -> None:
    der = ROOT.status(HOLDER.certificate, algorithm=hashes.SHA224())
    assert code_of(der) == "incorrect_validation_info"


@pytest.mark.parametrize(
    "status",
    [ocsp.OCSPResponseStatus.TRY_LATER, ocsp.OCSPResponseStatus.UNAUTHORIZED, ocsp.OCSPResponseStatus.INTERNAL_ERROR],
)
def test_no_answer(status: ocsp.OCSPResponseStatus) -> None:
    der = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
    with pytest.raises(StatusNotGood):
        verify(der)


@pytest.mark.parametrize("der", [b"", b"0", b"AAAA", bytes(70_000), b"\x30\x03\x0a\x01\x00"])
def test_no_response_at_all(der: bytes) -> None:
    for call in (verify, lambda d: concerns(d, certificate=HOLDER.certificate, issuer=ROOT.certificate)):
        with pytest.raises((MalformedInput, StatusNotGood)) as caught:
            call(der)
        assert caught.value.code == "incorrect_validation_info"


def test_forged_signature() -> None:
    good = ROOT.status(HOLDER.certificate, responder=RESPONDER)
    signature = ocsp.load_der_ocsp_response(good).signature
    other = ocsp.load_der_ocsp_response(ROOT.status(HOLDER.certificate, responder=RESPONDER, at=NOW - DAY)).signature
    for forged in (signature[:-1] + bytes([signature[-1] ^ 1]), other[: len(signature)].ljust(len(signature), b"x")):
        assert code_of(good.replace(signature, forged)) == "incorrect_validation_info"


GOOD = ROOT.status(HOLDER.certificate, responder=RESPONDER)


@settings(max_examples=400, deadline=None)
@given(position=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_no_foreign_error_for_a_damaged_response(position: int, byte: int) -> None:
    der = bytearray(GOOD)
    der[position] = byte
    try:
        verify(bytes(der))
        concerns(bytes(der), certificate=HOLDER.certificate, issuer=ROOT.certificate)
    except TrustError:
        return


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_foreign_error_for_bytes(data: bytes) -> None:
    with pytest.raises(TrustError):
        verify(data)


@pytest.mark.parametrize("der", [b"", b"gut", b"\x30\x03\x0a\x01", b"\x30\x82\xff\xff"])
def test_what_is_no_response_is_not_readable(der: bytes) -> None:
    for _ in range(2):
        with pytest.raises(MalformedInput) as refused:
            require_readable(der)
        assert refused.value.code == "incorrect_validation_info"


def test_a_refusal_is_readable() -> None:
    """RFC 6960 section 2.3: `tryLater` is a response, too; what it is good for is another question."""
    require_readable(b"\x30\x03\x0a\x01\x03")
