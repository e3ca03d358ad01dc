"""The parsers and verifiers of `trust`, each fed with what its peer, authority or source sends."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from tests.fuzz.configuration_targets import anchor_seeds, verified_configuration
from tests.fuzz.material import town
from tests.fuzz.registry import XML_TOKENS, Target, each, join, split, text_of
from tests.trust import documents
from tests.trust.containers import LATER, REQUEST, RESPONSE, STAMPED_AT, soap
from tests.trust.factory import BODY, MEMBER, MESSAGE, NOW, PARTS, approve, rsa_key
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
from trust.canonical import DigestAlgorithm, decode_base64, encode_base64
from trust.certificates import CertificateVerifier
from trust.errors import TrustError
from trust.hashchain import PartDigest, verify_hash_chain
from trust.identifiers import InvalidIdentifier
from trust.third_party import verify_third_party
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
    Target(
        "trust.identifiers",
        _identifiers,
        lambda: [b"DE-TEST/GOV/MUSTERSTADT/app", b"DE-TEST/COM/STADT%2FWERKE/b%C3%BCro/bills/v1"],
        (InvalidIdentifier,),
        (b"%2F", b"%2e%2e", b"%C3%BC", b"%ZZ", b";", b"\\"),
    ),
    Target("trust.base64", _base64, lambda: [b"QUJD", b"QUI=", b"QQ=="], OWN, (b"=", b"==", b"/", b"+")),
)
