"""Building the signature of a message.

Follows PR-MESSTRANSP 2.7 in the form of X-Road 8: one reference per part. No XML library takes part;
`trust.xades.template` says why the text is canonical, and a test holds it against libxml2. The hash-chain form of
older peers would be another builder with the same pieces: one reference to `/sig-hashchainresult.xml` instead of the
parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from trust.canonical import encode_base64, escape_attribute
from trust.errors import KeyUnavailable
from trust.keys import SigningKey
from trust.xades import template as t
from trust.xades.model import SignedPart

_MAX_PARTS: Final = 1000


class SignatureBuilder:
    """Signs messages with one key. Immutable but for a cache of the last validation data; not for several threads."""

    __slots__ = ("_after_value", "_info_open", "_key", "_properties_rest", "_unsigned", "_unsigned_source")

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        certificate = key.certificate_der
        self._info_open = b"".join(
            (t.METHOD_OPEN, key.algorithm.uri.encode(), t.METHOD_CLOSE, t.PROPERTIES_REFERENCE_OPEN)
        )
        self._after_value = b"".join((t.CERTIFICATE_OPEN, encode_base64(certificate), t.CERTIFICATE_CLOSE))
        self._properties_rest = b"".join((t.SIGNER_OPEN, _identity(certificate), t.PROPERTIES_REST))
        self._unsigned_source: tuple[tuple[bytes, ...], tuple[bytes, ...]] | None = None
        self._unsigned = b""

    def build(
        self,
        parts: Sequence[SignedPart],
        *,
        signing_time: datetime,
        ocsp_response: bytes,
        certificate_values: Sequence[bytes] = (),
        further_ocsp_responses: Sequence[bytes] = (),
    ) -> bytes:
        """The signature document over `parts`, the message first.

        `ocsp_response` is the status of the signing certificate (DER), `further_ocsp_responses` those of intermediates.
        The key's intermediates are included; `certificate_values` are further certificates (DER), such as the OCSP
        responder's. Raises KeyUnavailable.
        """
        if not 0 < len(parts) <= _MAX_PARTS:
            raise KeyUnavailable("nothing, or too much, to sign")
        time = signing_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{signing_time.microsecond // 1000:03}Z"
        properties = b"".join((t.TIME_OPEN, time.encode(), self._properties_rest))
        properties_digest = hashlib.sha512(t.PROPERTIES_OPEN_CANONICAL + properties).digest()
        pieces = [self._info_open, encode_base64(properties_digest), t.REFERENCE_CLOSE]
        for number, part in enumerate(parts, 1):
            pieces += (
                t.REFERENCE_OPEN,
                b"%d" % number,
                t.REFERENCE_URI,
                escape_attribute(part.name).encode(),
                t.REFERENCE_DIGEST,
                encode_base64(part.digest),
                t.REFERENCE_CLOSE,
            )
        pieces.append(t.INFO_CLOSE)
        info = b"".join(pieces)
        value = self._key.sign(t.INFO_OPEN_CANONICAL + info)
        return b"".join(
            (
                t.HEAD,
                t.INFO_OPEN,
                info,
                t.VALUE_OPEN,
                encode_base64(value),
                self._after_value,
                t.PROPERTIES_OPEN,
                properties,
                self._unsigned_properties((ocsp_response, *further_ocsp_responses), tuple(certificate_values)),
            )
        )

    def _unsigned_properties(self, responses: tuple[bytes, ...], certificates: tuple[bytes, ...]) -> bytes:
        # The same status serves every message until it is refreshed.
        if self._unsigned_source != (responses, certificates):
            known = dict.fromkeys((*self._key.intermediates, *certificates))
            self._unsigned = _unsigned(responses, tuple(known))
            self._unsigned_source = (responses, certificates)
        return self._unsigned


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
