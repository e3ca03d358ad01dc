"""The parsers of DER in `trust`: OCSP answers, time-stamp tokens, certificates, fed with what authorities send."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.fuzz.material import town
from tests.fuzz.registry import Target, each
from tests.fuzz.trust_targets import OWN
from tests.trust.containers import LATER, STAMPED_AT
from tests.trust.factory import DAY, FRESHNESS, MEMBER, NOW, approve, common_name, parameters, rsa_key
from trust.ber import has_indefinite_length, with_definite_lengths
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.ocsp import concerns, verify_response
from trust.parameters import ApprovedCA
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp import add_certificate, build_request, imprint_of, parse_response, signer_of, verify_token

DER_TOKENS: Final = (
    b"\x30\x80",
    b"\x00\x00",
    b"\x24\x80",
    b"\x05\x00",
    b"\x02\x01\x05",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x80",
    b"\xa0",
    b"\xa3",
    b"\x1f",
    b"\x09\x01\x40",
    b"\x06\x03\x55\x1d\x11",
)


# -- answers of authorities --


def _ocsp(data: bytes) -> None:
    world = town().world
    certificate, issuer = world.holder.certificate, world.authority.certificate
    each(lambda: concerns(data, certificate=certificate, issuer=issuer), refusals=OWN)
    for responders in ((), (world.responder.certificate,)):
        status = verify_response(
            data,
            certificate=certificate,
            issuer=issuer,
            authorised_responders=responders,
            freshness=timedelta(seconds=FRESHNESS),
            at=NOW,
        )
        assert status.this_update <= status.good_until


def _ocsp_seeds() -> Sequence[bytes]:
    world = town().world
    authority, certificate = world.authority, world.holder.certificate
    return (
        world.ocsp_response,
        authority.status(certificate),
        authority.status(certificate, responder=world.responder, by_name=True, next_update=NOW + DAY),
        authority.status(certificate, status=ocsp.OCSPCertStatus.REVOKED),
        authority.status(certificate, status=ocsp.OCSPCertStatus.UNKNOWN, responder=world.responder),
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
    )


_STAMPED: Final = b"what is stamped"


def _time_stamp(data: bytes) -> None:
    tsa = town().tsa.certificate_der
    approved = town().configuration.parameters["DE-TEST"].approved_tsas
    each(
        lambda: parse_response(data),
        lambda: imprint_of(data),
        lambda: signer_of(data, approved),
        lambda: imprint_of(add_certificate(data, tsa)),
        refusals=OWN,
    )
    digest = hashlib.sha512(_STAMPED).digest()
    verified = verify_token(data, digest=digest, tsa_certificate=tsa, at=LATER)
    assert verified.time == STAMPED_AT, "a token verifies that nobody has signed"


def _indefinite(der: bytes) -> bytes:
    """The outermost value with an indefinite length, as BER allows."""
    skip = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    return der[:1] + b"\x80" + der[skip:] + b"\0\0"


def _time_stamp_seeds() -> Sequence[bytes]:
    token = town().token(_STAMPED)
    request = build_request(hashlib.sha512(_STAMPED).digest())
    answer = TimeStampingAuthority(town().tsa, lambda: STAMPED_AT).answer(request)
    refusal = TimeStampingAuthority(town().tsa, lambda: STAMPED_AT).answer(b"no request")
    return token, answer, refusal, _indefinite(token)


def _ber(data: bytes) -> None:
    has_indefinite_length(data)
    definite = with_definite_lengths(data)
    assert with_definite_lengths(definite) == definite


# -- certificates --


def _certificate(data: bytes) -> None:
    verifier = CertificateVerifier(parameters(_approved()))
    world = town().world
    each(
        lambda: verifier.read_signer(data),
        lambda: verifier.verify_path(CertificateUsage.AUTHENTICATION, data, at=NOW),
        lambda: verifier.status_queries(data, at=NOW),
        lambda: verifier.verify_signing(
            world.holder.der, intermediates=(data,), ocsp_response=world.ocsp_response, at=NOW
        ),
        lambda: CertificateVerifier(parameters(replace(_approved(), certificate=data))),
        refusals=OWN,
    )
    found = verifier.verify_path(CertificateUsage.SIGNING, data, at=NOW)
    assert found.member == MEMBER


@cache
def _approved() -> ApprovedCA:
    return approve(town().world.authority)


@cache
def certificate_seeds() -> Sequence[bytes]:
    authority = town().world.authority
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("gateway.test"),
            x509.UniformResourceIdentifier("http://gateway.test/"),
            x509.DirectoryName(common_name("Torhaus")),
            x509.IPAddress(ip_address("192.0.2.1")),
            x509.RFC822Name("post@gateway.test"),
        ]
    )
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ca.test/ocsp")
            )
        ]
    )
    policies = x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), ["http://ca.test/policy"])]
    )
    extensions = ((names, False), (access, False), (policies, False))
    return (
        town().world.holder.der,
        authority.signer(extensions=extensions).der,
        authority.authentication(extensions=extensions).der,
        authority.intermediate().der,
        authority.der,
        authority.signer(key=rsa_key()).der,
    )


TARGETS: Final = (
    Target("trust.ocsp", _ocsp, _ocsp_seeds, OWN, DER_TOKENS),
    Target("trust.timestamp", _time_stamp, _time_stamp_seeds, OWN, DER_TOKENS),
    Target("trust.ber", _ber, lambda: _time_stamp_seeds()[2:], (ValueError,), DER_TOKENS),
    Target("trust.certificates", _certificate, certificate_seeds, OWN, DER_TOKENS, 16 << 10),
)
