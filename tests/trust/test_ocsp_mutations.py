"""OCSP answers that were changed: each is refused, and the code says whether the certificate or the answer is at
fault.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.trust.factory import DAY, NOW, Authority, Holder, make_authority, rsa_key
from trust.errors import CertificateRevoked, TrustError
from trust.ocsp import CLOCK_SKEW, StatusPolicy, verify_response

ROOT, TWIN = make_authority(), make_authority()
HOLDER, OTHER = ROOT.signer(), ROOT.signer()
MIDDLE = ROOT.intermediate()
RESPONDER = ROOT.responder()
while not RESPONDER.certificate.signature[-1] & 1:  # see test_no_changed_byte_goes_unnoticed
    RESPONDER = ROOT.responder()
FRESHNESS = timedelta(hours=1)
SECOND = timedelta(seconds=1)
DEFECTIVE, NOT_GOOD = "incorrect_validation_info", "cert_validation"


def outcome(der: bytes, at: datetime = NOW, *, policy: StatusPolicy | None = None) -> str:
    """The code that an answer for HOLDER is refused with, or `good`."""
    policy = policy or StatusPolicy(FRESHNESS)
    try:
        verify_response(
            der,
            certificate=HOLDER.certificate,
            issuer=ROOT.certificate,
            freshness=policy.freshness,
            verify_next_update=policy.verify_next_update,
            at=at,
        )
    except TrustError as error:
        return error.code
    return "good"


def test_the_answers_that_are_changed_below_are_good() -> None:
    for responder in (None, RESPONDER):
        for by_name in (False, True):
            assert outcome(ROOT.status(HOLDER.certificate, responder=responder, by_name=by_name)) == "good"


@pytest.mark.parametrize("responder", [None, RESPONDER], ids=["authority", "delegate"])
@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_no_changed_byte_goes_unnoticed(responder: Holder | None, bit: int) -> None:
    """Every single byte, hundreds of answers."""
    good = ROOT.status(HOLDER.certificate, responder=responder)
    # A value that ends with a zero bit may also be written with that bit unused: the same value in other words.
    while not ocsp.load_der_ocsp_response(good).signature[-1] & 1:
        good = ROOT.status(HOLDER.certificate, responder=responder)
    outcomes: dict[str, list[int]] = {}
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= bit
        outcomes.setdefault(outcome(bytes(changed)), []).append(position)
    assert outcomes.keys() == {DEFECTIVE}, {code: found for code, found in outcomes.items() if code != DEFECTIVE}
    assert len(outcomes[DEFECTIVE]) > 200


@pytest.mark.parametrize("cut", range(0, 240, 8))
def test_cut_and_stretched(cut: int) -> None:
    good = ROOT.status(HOLDER.certificate, responder=RESPONDER)
    assert outcome(good[:cut]) == DEFECTIVE
    assert outcome(good + bytes(cut + 1)) == DEFECTIVE
    assert outcome(good[:cut] + good[cut + 1 :]) == DEFECTIVE


def _of(authority: Authority, holder: Holder = HOLDER, **options: object) -> Callable[[], bytes]:
    return lambda: authority.status(holder.certificate, **options)  # type: ignore[arg-type]


_RESPONDERS: dict[str, Callable[[], Holder]] = {
    "without ocspSigning": lambda: ROOT.responder(extended=()),
    "for TLS": lambda: ROOT.responder(extended=(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)),
    "for time stamps": lambda: ROOT.responder(extended=(ExtendedKeyUsageOID.TIME_STAMPING,)),
    "for anything": lambda: ROOT.responder(extended=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    "of yesterday": lambda: ROOT.responder(until=NOW - SECOND),
    "of tomorrow": lambda: ROOT.responder(since=NOW + CLOCK_SKEW + SECOND),
    "of an intermediate": MIDDLE.responder,
    "of another authority of the same name": TWIN.responder,
    "weakly certified": lambda: ROOT.responder(algorithm=hashes.SHA224()),
    "another authority of the same name": lambda: Holder(TWIN.key, TWIN.certificate),
    "an intermediate": lambda: Holder(MIDDLE.key, MIDDLE.certificate),
    "the holder": lambda: HOLDER,
    "another holder": lambda: OTHER,
    "a gateway": ROOT.authentication,
    "one who certified himself": lambda: make_authority("Auskunft").responder(),
    "a former delegate with an RSA key": lambda: ROOT.responder(key=rsa_key(), until=NOW - DAY),
}


@pytest.mark.parametrize("by_name", [False, True], ids=["by key", "by name"])
@pytest.mark.parametrize("who", list(_RESPONDERS))
def test_signed_by_somebody_else(who: str, by_name: bool) -> None:
    der = ROOT.status(HOLDER.certificate, responder=_RESPONDERS[who](), by_name=by_name)
    assert outcome(der) == DEFECTIVE


_ANSWERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "revoked": (_of(ROOT, status=ocsp.OCSPCertStatus.REVOKED), NOT_GOOD),
    "revoked, by a delegate": (_of(ROOT, status=ocsp.OCSPCertStatus.REVOKED, responder=RESPONDER), NOT_GOOD),
    "revoked, then updated": (
        _of(ROOT, status=ocsp.OCSPCertStatus.REVOKED, next_update=NOW + DAY, at=NOW - FRESHNESS),
        NOT_GOOD,
    ),
    "unknown": (_of(ROOT, status=ocsp.OCSPCertStatus.UNKNOWN), NOT_GOOD),
    "revoked, forged": (_of(ROOT, status=ocsp.OCSPCertStatus.REVOKED, responder=OTHER), DEFECTIVE),
    "revoked, stale": (_of(ROOT, status=ocsp.OCSPCertStatus.REVOKED, at=NOW - FRESHNESS - SECOND), DEFECTIVE),
    "about another": (_of(ROOT, OTHER), DEFECTIVE),
    "about the authority": (_of(ROOT, Holder(ROOT.key, ROOT.certificate)), DEFECTIVE),
    "about its twin's": (_of(ROOT, issuer=TWIN.certificate), DEFECTIVE),
    "of the twin": (_of(TWIN), DEFECTIVE),
    "from the future": (_of(ROOT, at=NOW + CLOCK_SKEW + SECOND), DEFECTIVE),
    "too old": (_of(ROOT, at=NOW - FRESHNESS - SECOND), DEFECTIVE),
    "much too old": (_of(ROOT, at=NOW - 300 * DAY), DEFECTIVE),
    "past its next update": (_of(ROOT, at=NOW - DAY / 48, next_update=NOW - SECOND), DEFECTIVE),
    "SHA-224": (_of(ROOT, algorithm=hashes.SHA224()), DEFECTIVE),
    "SHA3": (_of(ROOT, algorithm=hashes.SHA3_256()), DEFECTIVE),
    "delegate not embedded": (_of(ROOT, responder=RESPONDER, embed=False), DEFECTIVE),
    "nothing": (lambda: b"", DEFECTIVE),
    "too large": (lambda: bytes(70_000), DEFECTIVE),
    "a certificate": (lambda: HOLDER.der, DEFECTIVE),
} | {
    status.name.lower(): (
        lambda status=status: ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER),
        DEFECTIVE,
    )
    for status in ocsp.OCSPResponseStatus
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL
}


@pytest.mark.parametrize("what", list(_ANSWERS))
def test_answers_that_do_not_count(what: str) -> None:
    make, code = _ANSWERS[what]
    assert outcome(make()) == code


def test_next_update_counts_only_where_the_instance_says_so() -> None:
    der = ROOT.status(HOLDER.certificate, at=NOW - DAY / 48, next_update=NOW - SECOND)
    assert outcome(der) == DEFECTIVE
    assert outcome(der, policy=StatusPolicy(FRESHNESS, verify_next_update=False)) == "good"
    late = NOW - DAY / 48 + FRESHNESS + SECOND
    assert outcome(der, late, policy=StatusPolicy(FRESHNESS, verify_next_update=False)) == DEFECTIVE


def test_only_an_authentic_answer_says_revoked() -> None:
    revoked = ROOT.status(HOLDER.certificate, status=ocsp.OCSPCertStatus.REVOKED)
    with pytest.raises(CertificateRevoked):
        verify_response(revoked, certificate=HOLDER.certificate, issuer=ROOT.certificate, freshness=FRESHNESS, at=NOW)
