"""Recognising a signature that our own builder wrote, byte for byte, without an XML library.

The pattern is the template with a strict character class in every place that varies, so that a match proves two
things: the document is well-formed XML of exactly the template's structure, and the bytes between the signed
elements' start and end tags are already canonical. None of the classes has a character that XML or canonicalization
would change. Whatever doesn't match goes the general way (`trust.xades.parse`), which gives the same answer for what
does; tests hold the two together.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

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


_DOCUMENT: Final = re.compile(
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
            _BASE64,
            _e(t.CERTIFICATE_CLOSE + t.PROPERTIES_OPEN),
            b"(" + _e(t.TIME_OPEN),
            _TIME,
            _e(t.SIGNER_OPEN),
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


def recognise(document: bytes) -> ParsedSignature | None:
    """The signature, if `document` is our own template, byte for byte; else None.

    Raises MalformedInput where the general way would, too.
    """
    match = _DOCUMENT.fullmatch(document)
    if match is None:
        return None
    (
        info,
        method,
        properties_digest,
        references,
        value,
        certificate,
        properties,
        time,
        certificate_digest,
        _issuer,
        serial,
        _certificate_refs,
        values,
        ocsp,
    ) = match.groups()
    parts = _REFERENCES.findall(references)
    responses = _RESPONSES.findall(ocsp)
    certificates = _CERTIFICATES.findall(values) if values else []
    # Identifiers numbered in order are distinct.
    if not (_in_order(parts) and _in_order(responses) and _in_order(certificates)):
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
            PartReference(name.decode(), DigestAlgorithm.SHA512, decode_base64(digest)) for _, name, digest in parts
        ),
        signed_properties=t.PROPERTIES_OPEN_CANONICAL + properties,
        properties_algorithm=DigestAlgorithm.SHA512,
        properties_digest=decode_base64(properties_digest),
        certificate=decode_base64(certificate),
        certificate_algorithm=DigestAlgorithm.SHA512,
        certificate_digest=decode_base64(certificate_digest),
        certificate_serial=int(serial),
        signing_time=signing_time,
        certificate_values=tuple(decode_base64(text) for _, text in certificates),
        ocsp_responses=tuple(decode_base64(text) for _, text in responses),
    )


def _in_order(found: list[tuple[bytes, ...]]) -> bool:
    return all(groups[0] == b"%d" % number for number, groups in enumerate(found, 1))
