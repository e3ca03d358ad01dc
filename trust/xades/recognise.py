"""Recognising a signature that our own builder wrote, byte for byte, without an XML library.

The pattern is the template with a strict character class in every place that varies, so that a match proves two
things: the document is well-formed XML of exactly the template's structure, and the bytes between the signed
elements' start and end tags are already canonical. None of the classes has a character that XML or canonicalization
would change. Whatever doesn't match goes the general way (`trust.xades.parse`), which gives the same answer for what
does; tests hold the two together.

From the certificate on, only the time differs between the messages of one signer, until its OCSP answer is renewed:
that text is matched and decoded once, and known again by all of its bytes. What it says is verified each time.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

from trust.canonical import DigestAlgorithm, decode_base64
from trust.errors import SignatureMalformed
from trust.keys import SignatureAlgorithm
from trust.xades import template as t
from trust.xades.model import ParsedSignature, PartReference

_e: Final = re.escape
_ALGORITHMS: Final = {algorithm.uri.encode(): algorithm for algorithm in SignatureAlgorithm}
_URI: Final = b"(" + b"|".join(map(_e, _ALGORITHMS)) + b")"
_BASE64: Final = rb"([A-Za-z0-9+/]++={0,2})"
# 64 octets, always: 85 full characters, one that carries the last two bits, two of padding.
_SHA512: Final = rb"([A-Za-z0-9+/]{85}[AQgw]==)"
_NUMBER: Final = rb"([1-9][0-9]{0,3})"
_SERIAL: Final = rb"([1-9][0-9]{0,49}+)"
# Printable ASCII without markup: canonical text as it stands.
_TEXT: Final = rb"([ -%'-;=?-~]++)"
_TIME: Final = rb"(20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z)"
_NAME: Final = rb"(/message\.xml|/attachment[1-9][0-9]{0,3})"


_REFERENCE: Final = b"".join(
    (_e(t.REFERENCE_OPEN), _NUMBER, _e(t.REFERENCE_URI), _NAME, _e(t.REFERENCE_DIGEST), _SHA512, _e(t.REFERENCE_CLOSE))
)
_IDENTITY: Final = b"".join(
    (_e(t.IDENTITY_OPEN), _SHA512, _e(t.IDENTITY_ISSUER), _TEXT, _e(t.IDENTITY_SERIAL), _SERIAL, _e(t.IDENTITY_CLOSE))
)
_CERTIFICATE: Final = b"".join((_e(t.CERTIFICATE_VALUE_OPEN), _NUMBER, b'">', _BASE64, _e(t.CERTIFICATE_VALUE_CLOSE)))
_CERTIFICATE_REF: Final = b"".join((_e(t.CERTIFICATE_REF_OPEN), _NUMBER, b'">', _IDENTITY))
_OCSP: Final = b"".join((_e(t.OCSP_OPEN), _NUMBER, b'">', _BASE64, _e(t.OCSP_CLOSE)))


def _repeated(pattern: bytes) -> bytes:
    """One or more of `pattern`, captured as a whole."""
    return b"((?:" + re.sub(rb"(?<!\\)\((?!\?)", b"(?:", pattern) + b")++)"


# Up to the signature value, and what stands before the certificate.
_BEGIN: Final = re.compile(
    b"".join(
        (
            _e(t.HEAD + t.INFO_OPEN),
            b"(" + _e(t.METHOD_OPEN),
            _URI,
            _e(t.METHOD_CLOSE + t.PROPERTIES_REFERENCE_OPEN),
            _SHA512,
            _e(t.REFERENCE_CLOSE),
            _repeated(_REFERENCE),
            _e(t.INFO_CLOSE) + b")",
            _e(t.VALUE_OPEN),
            _BASE64,
            _e(t.CERTIFICATE_OPEN),
        )
    )
)
_SIGNER: Final = re.compile(_BASE64 + _e(t.CERTIFICATE_CLOSE + t.PROPERTIES_OPEN))
_SIGNING_TIME: Final = re.compile(_TIME)
_TIME_BYTES: Final = len("2026-01-01T00:00:00.000Z")
_END: Final = re.compile(
    b"".join(
        (
            b"(" + _e(t.SIGNER_OPEN),
            _IDENTITY,
            _e(t.PROPERTIES_REST) + b")",
            _e(t.UNSIGNED_OPEN),
            b"(?:" + _e(t.CERTIFICATE_REFS_OPEN),
            _repeated(_CERTIFICATE_REF),
            _e(t.CERTIFICATE_REFS_CLOSE),
            _repeated(_CERTIFICATE),
            _e(t.CERTIFICATE_VALUES_CLOSE) + b")?",
            _e(t.REVOCATION_OPEN),
            _repeated(_OCSP),
            _e(t.TAIL),
        )
    )
)
_REFERENCES: Final = re.compile(_REFERENCE)
_CERTIFICATES: Final = re.compile(_CERTIFICATE)
_RESPONSES: Final = re.compile(_OCSP)


# What is remembered of signers: so many texts, each of at most so many bytes.
_REMEMBERED: Final = 256
_MAX_REMEMBERED_BYTES: Final = 16 * 1024


class _Signer(NamedTuple):
    """What a signature says besides its time and what it is over. `properties`: their text after the time."""

    certificate: bytes
    properties: bytes
    certificate_digest: bytes
    serial: int
    certificate_values: tuple[bytes, ...]
    ocsp_responses: tuple[bytes, ...]


def recognise(document: bytes) -> ParsedSignature | None:
    """The signature, if `document` is our own template, byte for byte; else None.

    Raises MalformedInput where the general way would, too.
    """
    begin = _BEGIN.match(document)
    if begin is None:
        return None
    # No character of what may stand before it begins a tag: the first is the one.
    opening = document.find(t.TIME_OPEN, begin.end())
    time_at = opening + len(t.TIME_OPEN)
    time = document[time_at : time_at + _TIME_BYTES]
    if opening < 0 or _SIGNING_TIME.fullmatch(time) is None:
        return None
    before, after = document[begin.end() : opening], document[time_at + _TIME_BYTES :]
    small = len(before) + len(after) <= _MAX_REMEMBERED_BYTES
    signer = (_known_signer if small else _read_signer)(before, after)
    if signer is None:
        return None
    info, method, properties_digest, references, value = begin.groups()
    parts = _REFERENCES.findall(references)
    # Identifiers numbered in order are distinct.
    if not _in_order(parts):
        return None
    try:
        signing_time = datetime.fromisoformat(time.decode())
    except ValueError:
        raise SignatureMalformed("no such signing time") from None
    return ParsedSignature(
        algorithm=_ALGORITHMS[method],
        signed_info=t.INFO_OPEN_CANONICAL + info,
        value=decode_base64(value),
        references=tuple(
            [PartReference(name.decode(), DigestAlgorithm.SHA512, decode_base64(digest)) for _, name, digest in parts]
        ),
        signed_properties=b"".join((t.PROPERTIES_OPEN_CANONICAL, t.TIME_OPEN, time, signer.properties)),
        properties_algorithm=DigestAlgorithm.SHA512,
        properties_digest=decode_base64(properties_digest),
        certificate=signer.certificate,
        certificate_algorithm=DigestAlgorithm.SHA512,
        certificate_digest=signer.certificate_digest,
        certificate_serial=signer.serial,
        signing_time=signing_time,
        certificate_values=signer.certificate_values,
        ocsp_responses=signer.ocsp_responses,
    )


def _read_signer(before: bytes, after: bytes) -> _Signer | None:
    """What stands from the certificate to the time and behind it; None if it isn't the template's."""
    certificate, match = _SIGNER.fullmatch(before), _END.fullmatch(after)
    if certificate is None or match is None:
        return None
    properties, certificate_digest, _issuer, serial, _certificate_refs, values, ocsp = match.groups()
    responses = _RESPONSES.findall(ocsp)
    certificates = _CERTIFICATES.findall(values) if values else []
    if not (_in_order(responses) and _in_order(certificates)):
        return None
    return _Signer(
        decode_base64(certificate[1]),
        properties,
        decode_base64(certificate_digest),
        int(serial),
        tuple(decode_base64(text) for _, text in certificates),
        tuple(decode_base64(text) for _, text in responses),
    )


_known_signer = lru_cache(maxsize=_REMEMBERED)(_read_signer)


def _in_order(found: list[tuple[bytes, ...]]) -> bool:
    return all(groups[0] == b"%d" % number for number, groups in enumerate(found, 1))
