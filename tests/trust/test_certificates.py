"""Certificates: paths, usages, profiles, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.factory import (
    DAY,
    FRESHNESS,
    MEMBER,
    NOW,
    Authority,
    Holder,
    approve,
    common_name,
    key_usage,
    make_authority,
    parameters,
    rsa_key,
    subject_of,
    world,
)
from trust.certificates import CertificateUsage, CertificateVerifier, VerifiedCertificate
from trust.certification_path import load_certificate
from trust.costs import CostStrategy
from trust.errors import MalformedInput, StatusNotGood, TrustError
from trust.ocsp import StatusPolicy
from trust.parameters import CostType

ROOT = make_authority()
# Below it stands why a path that could be built doesn't hold.
PATH = "invalid_cert_path"
NO_PATH = "cannot_create_cert_path.internal_error"


def verifier(**options: object) -> CertificateVerifier:
    return CertificateVerifier(parameters(approve(ROOT, **options)))


def verify(
    holder: Holder,
    authority: Authority = ROOT,
    *,
    using: CertificateVerifier | None = None,
    intermediates: Sequence[bytes] = (),
    more: Sequence[bytes] = (),
    at: datetime = NOW,
) -> VerifiedCertificate:
    response = authority.status(holder.certificate, at=at)
    return (using or verifier()).verify_signing(
        holder.der, intermediates=intermediates, ocsp_response=response, more_ocsp_responses=more, at=at
    )


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(TrustError) as caught:
        call()
    return caught.value.code


def test_signing_certificate_names_its_member() -> None:
    holder = ROOT.signer()
    result = verify(holder)
    assert result.member == MEMBER
    assert result.usage is CertificateUsage.SIGNING
    assert result.issuer == ROOT.certificate
    assert result.valid_until == holder.certificate.not_valid_after_utc
    assert "CN=MUSTERSTADT" in result.subject


def test_authentication_certificate_names_no_member() -> None:
    holder = ROOT.authentication()
    status = ROOT.status(holder.certificate)
    result = verifier().verify_authentication(holder.der, ocsp_responses=[status], at=NOW)
    assert result.member is None
    assert result.usage is CertificateUsage.AUTHENTICATION


@pytest.mark.parametrize(
    ("usages", "extended", "signing", "authentication"),
    [
        (("content_commitment",), (), True, False),
        (("content_commitment", "digital_signature"), (), True, False),
        (("digital_signature",), (), False, True),
        (("key_encipherment",), (), False, True),
        (("data_encipherment",), (), False, True),
        (("key_agreement",), (), False, False),
        (("digital_signature",), (ExtendedKeyUsageOID.CLIENT_AUTH,), False, True),
        (("key_agreement",), (ExtendedKeyUsageOID.CLIENT_AUTH,), False, True),
        (("key_agreement",), (ExtendedKeyUsageOID.SERVER_AUTH,), False, False),
        ((), (ExtendedKeyUsageOID.CLIENT_AUTH,), False, True),
        ((), (), False, False),
    ],
)
def test_usage_decides(
    usages: tuple[str, ...], extended: tuple[x509.ObjectIdentifier, ...], signing: bool, authentication: bool
) -> None:
    holder = ROOT.issue(subject_of(MEMBER), key_usage(*usages) if usages else None, extended=extended)
    status = ROOT.status(holder.certificate)

    def as_signing() -> object:
        return verifier().verify_signing(holder.der, ocsp_response=status, at=NOW)

    def as_authentication() -> object:
        return verifier().verify_authentication(holder.der, ocsp_responses=[status], at=NOW)

    for wanted, call in ((signing, as_signing), (authentication, as_authentication)):
        if wanted:
            call()
        else:
            assert code_of(call) == "wrong_cert_usage"


def test_an_authority_does_not_sign_messages() -> None:
    usage = key_usage("content_commitment", "key_cert_sign")
    holder = ROOT.issue(subject_of(MEMBER), usage, is_authority=True)
    assert code_of(lambda: verify(holder)) == "wrong_cert_usage"


def test_authority_for_authentication_only_signs_no_signer() -> None:
    limited = verifier(authentication_only=True)
    assert code_of(lambda: verify(ROOT.signer(), using=limited)) == NO_PATH
    assert code_of(lambda: limited.read_signer(ROOT.signer().der)) == NO_PATH
    holder = ROOT.authentication()
    limited.verify_authentication(holder.der, ocsp_responses=[ROOT.status(holder.certificate)], at=NOW)


@pytest.mark.parametrize("at", [NOW - 2 * DAY, NOW + 366 * DAY])
def test_outside_of_its_validity(at: datetime) -> None:
    assert code_of(lambda: verify(ROOT.signer(), at=at)) == "cert_validity_time"


def test_path_with_an_expired_authority() -> None:
    middle = ROOT.intermediate()
    holder = middle.signer(until=NOW + 9000 * DAY)
    at = NOW + 5000 * DAY
    assert code_of(lambda: verify(holder, middle, intermediates=[middle.der], at=at)) == NO_PATH


def test_authority_of_the_same_name_with_another_key() -> None:
    impostor = make_authority()
    assert impostor.certificate.subject == ROOT.certificate.subject
    assert code_of(lambda: verify(impostor.signer(), impostor)) == NO_PATH


def test_self_signed() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    own = Authority(key, make_authority("x", key).certificate)
    own = Authority(key, own.issue(subject_of(MEMBER), key_usage("content_commitment"), key=key).certificate)
    assert code_of(lambda: verify(Holder(key, own.certificate), own)) == NO_PATH


def test_weakly_signed() -> None:
    holder = ROOT.signer(algorithm=hashes.SHA224())
    assert code_of(lambda: verify(holder)) == NO_PATH


def test_unknown_critical_extension() -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert verify(ROOT.signer(extensions=[(extension, False)])).member == MEMBER
    assert code_of(lambda: verify(ROOT.signer(extensions=[(extension, True)]))) == NO_PATH


def test_intermediate_of_the_configuration_needs_its_status() -> None:
    middle = ROOT.intermediate()
    using = verifier(intermediates=(middle.der,))
    holder = middle.signer()
    assert code_of(lambda: verify(holder, middle, using=using)) == f"{PATH}.cert_validation"
    good = ROOT.status(middle.certificate)
    assert verify(holder, middle, using=using, more=[good]).issuer == middle.certificate


def test_intermediate_of_the_sender_needs_its_status() -> None:
    middle = ROOT.intermediate()
    holder = middle.signer()
    assert code_of(lambda: verify(holder, middle)) == NO_PATH
    assert code_of(lambda: verify(holder, middle, intermediates=[middle.der])) == f"{PATH}.cert_validation"
    good, revoked = (
        ROOT.status(middle.certificate, status=status)
        for status in (ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED)
    )
    assert verify(holder, middle, intermediates=[middle.der], more=[good]).member == MEMBER
    assert (
        code_of(lambda: verify(holder, middle, intermediates=[middle.der], more=[revoked])) == f"{PATH}.cert_validation"
    )
    assert (
        code_of(lambda: verify(holder, middle, intermediates=[middle.der], more=[good, revoked]))
        == f"{PATH}.cert_validation"
    )


def test_a_status_lapses_with_the_oldest_of_the_path() -> None:
    middle = ROOT.intermediate()
    holder = middle.signer()
    older = ROOT.status(middle.certificate, at=NOW - timedelta(minutes=50))
    using = verifier()
    result = verify(holder, middle, using=using, intermediates=[middle.der], more=[older])
    assert result.status.good_until == NOW + timedelta(seconds=FRESHNESS, minutes=-50)


def test_path_length_counts() -> None:
    first = ROOT.intermediate("first", path_length=0)
    second = first.intermediate("second", path_length=None)
    offered = [first.der, second.der]
    assert code_of(lambda: verify(second.signer(), second, intermediates=offered)) == NO_PATH


def test_a_signer_issues_nothing() -> None:
    leaf = ROOT.signer()
    below = Authority(leaf.key, leaf.certificate)
    assert code_of(lambda: verify(below.signer(), below, intermediates=[leaf.der])) == NO_PATH


def test_an_intermediate_that_may_not_sign_certificates() -> None:
    holder = ROOT.issue(common_name("x"), key_usage("digital_signature"), is_authority=True)
    middle = Authority(holder.key, holder.certificate)
    assert code_of(lambda: verify(middle.signer(), middle, intermediates=[middle.der])) == NO_PATH


def test_too_much_to_look_at() -> None:
    holder = ROOT.signer()
    assert code_of(lambda: verify(holder, intermediates=[ROOT.der] * 17)) == "incorrect_validation_info"
    status = ROOT.status(holder.certificate)
    assert code_of(lambda: verify(holder, more=[status] * 16)) == "incorrect_validation_info"


def test_no_status_and_foreign_status() -> None:
    holder, other = ROOT.authentication(), ROOT.authentication()
    using = verifier()

    def with_responses(*responses: bytes) -> Callable[[], object]:
        return lambda: using.verify_authentication(holder.der, ocsp_responses=responses, at=NOW)

    assert code_of(with_responses()) == f"{PATH}.cert_validation"
    assert code_of(with_responses(ROOT.status(other.certificate))) == f"{PATH}.cert_validation"
    # One answer too many does no harm, if it is about another certificate.
    with_responses(ROOT.status(other.certificate), ROOT.status(holder.certificate))()


def test_revocation_is_seen_although_the_certificate_was_good() -> None:
    holder = ROOT.signer()
    using = verifier()
    verify(holder, using=using)
    revoked = ROOT.status(holder.certificate, status=ocsp.OCSPCertStatus.REVOKED)
    with pytest.raises(StatusNotGood):
        using.verify_signing(holder.der, ocsp_response=revoked, at=NOW)


def test_remembered_certificate_is_the_same_until_it_lapses() -> None:
    holder = ROOT.signer(until=NOW + timedelta(minutes=30))
    status = ROOT.status(holder.certificate)
    using = verifier()
    first = using.verify_signing(holder.der, ocsp_response=status, at=NOW)
    assert using.verify_signing(holder.der, ocsp_response=status, at=NOW + timedelta(minutes=30)) is first
    late = NOW + timedelta(minutes=30, seconds=1)
    assert code_of(lambda: using.verify_signing(holder.der, ocsp_response=status, at=late)) == "cert_validity_time"


def test_signing_result_is_no_authentication_result() -> None:
    holder = ROOT.signer()
    status = ROOT.status(holder.certificate)
    using = verifier()
    using.verify_signing(holder.der, ocsp_response=status, at=NOW)
    assert (
        code_of(lambda: using.verify_authentication(holder.der, ocsp_responses=[status], at=NOW)) == "wrong_cert_usage"
    )


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    using = verifier()
    monkeypatch.setattr(using._claims, "_limit", 3)
    ders = [ROOT.signer().der for _ in range(5)]
    for der in ders:
        using.read_signer(der)
    assert list(using._claims._entries) == ders[2:]


def test_status_query_says_where_to_ask() -> None:
    responder = ROOT.responder()
    using = verifier(ocsp_urls=("http://127.0.0.1:9/ocsp",), ocsp_responders=(responder.der,))
    for holder in (ROOT.signer(), ROOT.authentication()):
        query = using.status_query(holder.der, at=NOW)
        assert (query.certificate, query.issuer) == (holder.certificate, ROOT.certificate)
        assert query.urls == ("http://127.0.0.1:9/ocsp",)
        assert query.authorised_responders == (responder.certificate,)
        assert query.freshness == timedelta(seconds=FRESHNESS)


def test_responders_are_asked_by_what_they_cost() -> None:
    named = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://selbst.test/")
            )
        ]
    )
    holder = ROOT.signer(extensions=[(named, False)])
    costs = (("http://bezahlt.test/", CostType.PAID), ("http://frei.test/", CostType.FREE))
    approved = approve(ROOT, ocsp_urls=("http://offen.test/", *(url for url, _ in costs)), ocsp_costs=costs)

    def asked(strategy: CostStrategy) -> list[str]:
        policy = StatusPolicy(costs=strategy)
        query = CertificateVerifier(parameters(approved), policy=policy).status_query(holder.der, at=NOW)
        return [url.removeprefix("http://").removesuffix(".test/") for url in query.urls]

    # What the certificate itself names comes last, whatever it costs.
    assert asked(CostStrategy.NONE) == ["offen", "bezahlt", "frei", "selbst"]
    assert asked(CostStrategy.ONLY_FREE) == ["frei", "selbst"]
    assert asked(CostStrategy.PAID_FIRST) == ["bezahlt", "frei", "offen", "selbst"]


def test_rsa_certificates_hold_too() -> None:
    root = make_authority("RSA", rsa_key())
    using = CertificateVerifier(parameters(approve(root)))
    assert verify(root.signer(key=rsa_key()), root, using=using).member == MEMBER


def test_configuration_with_an_unreadable_authority() -> None:
    from trust.parameters import ApprovedCA

    with pytest.raises(MalformedInput):
        CertificateVerifier(parameters(ApprovedCA(name="x", certificate=b"x")))


def test_certificate_must_be_der_to_the_last_byte() -> None:
    der = world().holder.der
    assert load_certificate(der) == world().holder.certificate
    for other in (b"", der[:-1], der + b"\0", b"-----BEGIN CERTIFICATE-----", bytes(20_000)):
        with pytest.raises(MalformedInput):
            load_certificate(other)


def test_a_serial_number_below_one_is_refused() -> None:
    """RFC 5280 section 4.1.2.2; the library only warns of it."""
    der = bytearray(world().holder.der)
    serial = der.index(world().holder.certificate.serial_number.to_bytes(20, "big").lstrip(b"\0"))
    der[serial] |= 0x80
    with pytest.raises(MalformedInput) as caught:
        load_certificate(bytes(der))
    assert caught.value.code == "incorrect_certificate"


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_no_foreign_error_for_a_damaged_certificate(position: int, byte: int) -> None:
    der = bytearray(world().holder.der)
    der[position % len(der)] = byte
    using = world().verifier()
    try:
        using.read_signer(bytes(der))
        using.verify_signing(bytes(der), ocsp_response=world().ocsp_response, at=NOW)
    except TrustError:
        return
    assert bytes(der) == world().holder.der
