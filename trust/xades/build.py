"""Building the signature of a message.

Follows PR-MESSTRANSP 2.7 in both its forms: one reference per part (X-Road 8), or one reference to the message, or to
the hash chain result that stands for its parts or for a batch of messages (X-Road 7). No XML library takes part;
`trust.xades.template` says why the text is canonical, and a test holds it against libxml2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from trust.canonical import encode_base64, escape_attribute
from trust.errors import KeyUnavailable, MalformedInput
from trust.hashchain import SIGNATURE_CHAIN_RESULT, build_batch
from trust.keys import SigningKey
from trust.xades import template as t
from trust.xades.model import MessageSignature, SignedPart

_MAX_PARTS: Final = 1000


class SignatureBuilder:
    """Signs messages with one key. Immutable but for caches of what came last; for any number of threads."""

    __slots__ = ("_after_value", "_key", "_method", "_properties_then", "_signer", "_unsigned")

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        certificate = key.certificate_der
        self._method = b"".join((t.METHOD_OPEN, key.algorithm.uri.encode(), t.METHOD_CLOSE))
        self._after_value = b"".join((t.CERTIFICATE_OPEN, encode_base64(certificate), t.CERTIFICATE_CLOSE))
        self._signer = b"".join((t.SIGNER_OPEN, _identity(certificate)))
        # What it was made of, and what was made: one value, so that no thread sees half of it.
        self._unsigned: tuple[tuple[tuple[bytes, ...], tuple[bytes, ...]] | None, bytes] = (None, b"")
        self._properties_then: tuple[tuple[str, bytes] | None, tuple[bytes, bytes]] = (None, (b"", b""))

    def build(
        self,
        parts: Sequence[SignedPart],
        *,
        signing_time: datetime,
        ocsp_response: bytes,
        certificate_values: Sequence[bytes] = (),
        further_ocsp_responses: Sequence[bytes] = (),
    ) -> bytes:
        """The signature document over `parts`, the message first, with one reference for each.

        `ocsp_response` is the status of the signing certificate (DER), `further_ocsp_responses` those of intermediates.
        The key's intermediates are included; `certificate_values` are further certificates (DER), such as the OCSP
        responder's. Raises KeyUnavailable.
        """
        if not 0 < len(parts) <= _MAX_PARTS:
            raise KeyUnavailable("nothing, or too much, to sign")
        properties, properties_digest = self._properties(signing_time, t.PROPERTIES_REST)
        pieces = [self._method, t.PROPERTIES_REFERENCE_OPEN, properties_digest, t.REFERENCE_CLOSE]
        for number, part in enumerate(parts, 1):
            pieces += _reference(number, part.name, part.digest)
        pieces.append(t.INFO_CLOSE)
        unsigned = self._unsigned_properties((ocsp_response, *further_ocsp_responses), tuple(certificate_values))
        return self._document(b"".join(pieces), properties, unsigned)

    def build_batch(
        self,
        messages: Sequence[Sequence[SignedPart]],
        *,
        signing_time: datetime,
        ocsp_response: bytes,
        certificate_values: Sequence[bytes] = (),
        further_ocsp_responses: Sequence[bytes] = (),
    ) -> tuple[MessageSignature, ...]:
        """One signature over all `messages` (of each its parts, the message first), and each message's hash chain.

        The form that X-Road 7 reads. A single message of one part is signed as it is, without a hash chain.
        Otherwise as `build`. Raises KeyUnavailable.
        """
        if not messages or any(not 0 < len(parts) <= _MAX_PARTS for parts in messages):
            raise KeyUnavailable("nothing, or too much, to sign")
        if len(messages) == 1 and len(messages[0]) == 1:
            name, digest, rest = messages[0][0].name, messages[0][0].digest, t.CLASSIC_PROPERTIES_REST
            result: bytes | None = None
            chains: tuple[bytes | None, ...] = (None,)
        else:
            result, chains = _chain(messages)
            name, digest, rest = SIGNATURE_CHAIN_RESULT, hashlib.sha512(result).digest(), t.CHAIN_PROPERTIES_REST
        properties, properties_digest = self._properties(signing_time, rest)
        pieces = [self._method, *_reference(0, name, digest), t.CLASSIC_PROPERTIES_REFERENCE_OPEN]
        pieces += (properties_digest, t.REFERENCE_CLOSE, t.INFO_CLOSE)
        unsigned = self._unsigned_properties((ocsp_response, *further_ocsp_responses), tuple(certificate_values))
        document = self._document(b"".join(pieces), properties, unsigned)
        return tuple(MessageSignature(document, result, chain) for chain in chains)

    def _properties(self, signing_time: datetime, rest: bytes) -> tuple[bytes, bytes]:
        """What follows the start tag of SignedProperties, and the digest (base64) of that element."""
        time = signing_time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        source, made = self._properties_then
        # Exchanges come in waves: several are signed in a millisecond.
        if source != (time, rest):
            properties = b"".join((t.TIME_OPEN, time.encode(), b"Z", self._signer, rest))
            digest = encode_base64(hashlib.sha512(t.PROPERTIES_OPEN_CANONICAL + properties).digest())
            made = properties, digest
            self._properties_then = (time, rest), made
        return made

    def _document(self, info: bytes, properties: bytes, unsigned: bytes) -> bytes:
        value = encode_base64(self._key.sign(t.INFO_OPEN_CANONICAL + info))
        pieces = (t.HEAD, t.INFO_OPEN, info, t.VALUE_OPEN, value, self._after_value, t.PROPERTIES_OPEN, properties)
        return b"".join((*pieces, unsigned))

    def _unsigned_properties(self, responses: tuple[bytes, ...], certificates: tuple[bytes, ...]) -> bytes:
        # The same status serves every message until it is refreshed.
        source, unsigned = self._unsigned
        if source != (responses, certificates):
            known = dict.fromkeys((*self._key.intermediates, *certificates))
            unsigned = _unsigned(responses, tuple(known))
            self._unsigned = ((responses, certificates), unsigned)
        return unsigned


def _reference(number: int, name: str, digest: bytes) -> tuple[bytes, ...]:
    return (
        t.REFERENCE_OPEN,
        b"%d" % number,
        t.REFERENCE_URI,
        escape_attribute(name).encode(),
        t.REFERENCE_DIGEST,
        encode_base64(digest),
        t.REFERENCE_CLOSE,
    )


def _chain(messages: Sequence[Sequence[SignedPart]]) -> tuple[bytes, tuple[bytes, ...]]:
    try:
        return build_batch([[(part.name, part.digest) for part in parts] for parts in messages])
    except MalformedInput:
        raise KeyUnavailable("nothing to sign in this form, or too much") from None


def _identity(der: bytes) -> bytes:
    try:
        certificate = x509.load_der_x509_certificate(der)
        issuer, serial = certificate.issuer.rfc4514_string(), certificate.serial_number
    except ValueError:
        raise KeyUnavailable("a certificate of ours can't be read") from None
    return t.certificate_identity(encode_base64(hashlib.sha512(der).digest()), issuer, serial)


def _unsigned(responses: tuple[bytes, ...], certificates: tuple[bytes, ...]) -> bytes:
    pieces = [t.UNSIGNED_OPEN]
    if certificates:
        pieces.append(t.CERTIFICATE_REFS_OPEN)
        for number, der in enumerate(certificates, 1):
            pieces += (t.CERTIFICATE_REF_OPEN, b'%d">' % number, _identity(der))
        pieces.append(t.CERTIFICATE_REFS_CLOSE)
        for number, der in enumerate(certificates, 1):
            pieces += (t.CERTIFICATE_VALUE_OPEN, b'%d">' % number, encode_base64(der), t.CERTIFICATE_VALUE_CLOSE)
        pieces.append(t.CERTIFICATE_VALUES_CLOSE)
    pieces.append(t.REVOCATION_OPEN)
    for number, response in enumerate(responses, 1):
        pieces += (t.OCSP_OPEN, b'%d">' % number, encode_base64(response), t.OCSP_CLOSE)
    pieces.append(t.TAIL)
    return b"".join(pieces)
