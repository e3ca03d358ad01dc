"""The parsers and verifiers of `trust`, each fed with what its peer, authority or source sends."""

from __future__ import annotations

import hashlib
import io
import zipfile
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

from tests.fuzz.configuration_targets import anchor_seeds, verified_configuration
from tests.fuzz.material import town
from tests.fuzz.registry import XML_TOKENS, Target, each, join, split, text_of
from tests.trust import documents
from tests.trust.containers import LATER, REQUEST, RESPONSE, STAMPED_AT, soap
from tests.trust.factory import (
    BODY,
    DAY,
    FRESHNESS,
    MEMBER,
    MESSAGE,
    NOW,
    PARTS,
    approve,
    common_name,
    parameters,
    rsa_key,
)
from trust import identifiers, xml
from trust.asic import (
    Limits,
    SignatureForm,
    StampForm,
    build_verification_configuration,
    instance_parameters,
    read_archive,
    read_container,
    read_origin,
    read_verification_configuration,
    verify_container,
    write_container,
)
from trust.ber import has_indefinite_length, with_definite_lengths
from trust.canonical import DigestAlgorithm, decode_base64, encode_base64
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.errors import TrustError
from trust.hashchain import PartDigest, verify_hash_chain
from trust.identifiers import InvalidIdentifier
from trust.ocsp import concerns, verify_response
from trust.parameters import ApprovedCA
from trust.testca.time_stamping import TimeStampingAuthority
from trust.third_party import verify_third_party
from trust.timestamp import (
    add_certificate,
    build_request,
    imprint_of,
    parse_response,
    signer_of,
    verify_token,
)
from trust.xades import (
    SignatureBuilder,
    SignedPart,
    insert_timestamp,
    parse_signature,
    signature_value,
    verify_signature,
)
from trust.xades.parse import parse_general
from trust.xades.recognise import recognise

OWN: Final = (TrustError,)
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


# -- signatures --


def _parse_signature(document: bytes) -> None:
    found = parse_signature(document)
    if (quick := recognise(document)) is not None:
        assert quick == found == parse_general(document), "the quick way reads something else"
    each(
        lambda: signature_value(document),
        lambda: parse_signature(insert_timestamp(document, b"0\3\2\1\1")),
        refusals=OWN,
    )


@cache
def _chained() -> tuple[bytes, bytes, bytes]:
    builder = SignatureBuilder(town().world.key)
    others = [[SignedPart.of("/message.xml", b"%d" % number)] for number in range(3)]
    signature = builder.build_batch([PARTS, *others], signing_time=NOW, ocsp_response=town().world.ocsp_response)[0]
    assert signature.hash_chain_result is not None
    assert signature.hash_chain is not None
    return signature.document, signature.hash_chain_result, signature.hash_chain


def _signature_seeds() -> Sequence[bytes]:
    document = town().world.sign()
    stamped = insert_timestamp(document, town().token(signature_value(document).decoded))
    general = document.replace(b"<ds:SignedInfo", b"\n<ds:SignedInfo", 1)
    return document, stamped, general, _chained()[0]


@cache
def _certificates() -> CertificateVerifier:
    return town().world.verifier()


def _verify_signature(data: bytes) -> None:
    document, result, chain = split(data, 3)
    verified = verify_signature(
        document,
        PARTS,
        signer=MEMBER,
        certificates=_certificates(),
        at=NOW,
        hash_chain_result=result or None,
        hash_chain=chain or None,
    )
    assert verified.signer == MEMBER
    assert verified.signing_time == NOW, "something verifies that nobody has signed"


def _signed_seeds() -> Sequence[bytes]:
    return *(join(document, b"", b"") for document in _signature_seeds()[:3]), join(*_chained())


def _verify_chain(data: bytes) -> None:
    result, chain = split(data, 2)
    digests = {part.name: PartDigest(DigestAlgorithm.SHA512, part.digest) for part in PARTS}
    files = {"/message.xml": MESSAGE, "/attachment1": BODY}
    each(
        lambda: verify_hash_chain(result, chain, files),
        lambda: verify_hash_chain(result, chain, {"/message.xml": b"<x/>"}, allow_missing=True),
        refusals=OWN,
    )
    verified = verify_hash_chain(result, chain, digests)
    assert set(verified.covered) == set(digests)


def _chain_seeds() -> Sequence[bytes]:
    _, result, chain = _chained()
    return (join(result, chain),)


# -- containers --

_SMALL: Final = Limits(archive_bytes=1 << 20, entry_bytes=1 << 20, total_bytes=1 << 20, free_bytes=1 << 18)


def _read_archive(data: bytes) -> None:
    files = read_archive(data, _SMALL)
    # Whatever is accepted, another reader reads alike.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        theirs = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    assert files == theirs, "another reader finds other files"


@cache
def _container_seeds() -> Sequence[bytes]:
    made = [town().container(form, stamp) for form in SignatureForm for stamp in (StampForm.BATCH, StampForm.SIGNATURE)]
    made.append(town().container(message=soap(), attachments=()))
    made.append(town().container(message=RESPONSE, attachments=(b"a", b"b")))
    return [write_container(container, time=STAMPED_AT) for container in made]


def _verify_container(data: bytes) -> None:
    each(lambda: read_container(data, _SMALL), refusals=OWN)
    verified = verify_container(data, town().configuration, at=LATER, limits=_SMALL)
    assert verified.member == MEMBER
    messages = {REQUEST, RESPONSE, soap()}
    assert verified.container.message in messages, "something verifies that nobody has signed"


def _verification_seeds() -> Sequence[bytes]:
    one = instance_parameters(verified_configuration())
    other = replace(one, instance="X/Ö")
    return build_verification_configuration([one]), build_verification_configuration([one, other])


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


# -- documents of third parties --


@cache
def _document_seeds() -> Sequence[bytes]:
    holder, strong = town().world.holder, town().world.authority.signer(key=rsa_key())
    whole = b"<Akte xmlns='urn:musterstadt'><Bescheid Id='b1'>12,50</Bescheid></Akte>"
    return (
        documents.sign(whole, holder.key, holder.certificate),
        documents.sign(whole, holder.key, holder.certificate, reference="#b1"),
        documents.sign(whole, holder.key, holder.certificate, how=documents.methods.enveloping),
        documents.sign(whole, strong.key, strong.certificate, signature="sha256-rsa-MGF1", digest="sha512"),
    )


def _verify_document(data: bytes) -> None:
    found = verify_third_party(data, authorities=(approve(town().world.authority),), at=NOW)
    assert all(b"12,50" in part for part in found.signed), "a document that nobody signed"


# -- small things --


def _identifiers(data: bytes) -> None:
    text = text_of(data)
    for read in (
        identifiers.parse_client_id,
        identifiers.parse_member_id,
        identifiers.parse_subsystem_id,
        identifiers.parse_service_id,
        identifiers.parse_security_server_id,
    ):
        try:
            found = read(text)
        except InvalidIdentifier:
            continue
        assert read(found.encoded) == found
        assert found.encoded.isascii()
        str(found)
    assert identifiers.decode_segment(identifiers.encode_segment(identifiers.decode_segment(text)))


def _base64(data: bytes) -> None:
    octets = decode_base64(data)
    assert encode_base64(octets) == data, "octets with two spellings"


def _origin_seeds() -> Sequence[bytes]:
    return REQUEST, RESPONSE, soap(), soap(body="billsResponse", encoding="ISO-8859-1")


TARGETS: Final = (
    Target("trust.xml", xml.parse, lambda: [soap(), *anchor_seeds()], OWN, XML_TOKENS),
    Target("trust.xades.parse", _parse_signature, _signature_seeds, OWN, XML_TOKENS),
    Target("trust.xades.verify", _verify_signature, _signed_seeds, OWN, XML_TOKENS),
    Target("trust.third_party", _verify_document, _document_seeds, OWN, (b"#b1", b"URI=", *XML_TOKENS)),
    Target("trust.hashchain", _verify_chain, _chain_seeds, OWN, (*XML_TOKENS, b"STEP0", b"#STEP1", b"/a", b"/b")),
    Target("trust.asic.archive", _read_archive, lambda: _container_seeds()[:2], OWN, (b"PK\5\6", b"PK\1\2", b"PK\3\4")),
    Target("trust.asic.container", _verify_container, _container_seeds, OWN, (b"PK\5\6", b"attachment1", *XML_TOKENS)),
    Target("trust.asic.configuration", read_verification_configuration, _verification_seeds, OWN, (b"PK\5\6", b"%2F")),
    Target("trust.asic.origin", read_origin, _origin_seeds, OWN, (b"x-road-client:", b"\r\n", *XML_TOKENS)),
    Target("trust.ocsp", _ocsp, _ocsp_seeds, OWN, DER_TOKENS),
    Target("trust.timestamp", _time_stamp, _time_stamp_seeds, OWN, DER_TOKENS),
    Target("trust.ber", _ber, lambda: _time_stamp_seeds()[2:], (ValueError,), DER_TOKENS),
    Target("trust.certificates", _certificate, certificate_seeds, OWN, DER_TOKENS, 16 << 10),
    Target(
        "trust.identifiers",
        _identifiers,
        lambda: [b"DE-TEST/GOV/MUSTERSTADT/app", b"DE-TEST/COM/STADT%2FWERKE/b%C3%BCro/bills/v1"],
        (InvalidIdentifier,),
        (b"%2F", b"%2e%2e", b"%C3%BC", b"%ZZ", b";", b"\\"),
    ),
    Target("trust.base64", _base64, lambda: [b"QUJD", b"QUI=", b"QQ=="], OWN, (b"=", b"==", b"/", b"+")),
)
