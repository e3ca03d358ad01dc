"""The test authority's OCSP responder (RFC 6960). Answers without a nonce are signed once and served for a while."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from trust.testca.authority import CertificateAuthority, Revocation

_MAX_CACHED: Final = 10_000
_ACCEPTED_HASHES: Final = ("sha1", "sha256", "sha384", "sha512")

Status = Revocation | bool


class OCSPResponder:
    """Answers for one authority. `validity` is how long an answer holds; a cached one is at most a tenth of it old."""

    def __init__(self, authority: CertificateAuthority, *, validity: timedelta = timedelta(minutes=10)) -> None:
        self._authority = authority
        self._validity = validity
        self._cache: OrderedDict[tuple[int, str], tuple[Status, datetime, bytes]] = OrderedDict()
        self._issuer_hashes = {name: _issuer_hashes(authority.root.certificate, name) for name in _ACCEPTED_HASHES}

    def answer(self, request_der: bytes) -> bytes:
        """The DER answer to a DER request; malformed ones and those of other authorities get the error answers."""
        try:
            request = ocsp.load_der_ocsp_request(request_der)
            algorithm = request.hash_algorithm
            hashes_of_issuer = (request.issuer_name_hash, request.issuer_key_hash)
            nonce = next((e for e in request.extensions if isinstance(e.value, x509.OCSPNonce)), None)
        # cryptography raises NotImplementedError for more than one certificate, UnsupportedAlgorithm is no ValueError.
        except Exception:  # noqa: BLE001 - whatever is wrong with a request, the answer is the same
            return _error(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        if self._issuer_hashes.get(algorithm.name) != hashes_of_issuer:
            return _error(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        status = self._authority.status_of(request.serial_number)
        now = self._authority.clock()
        if nonce is not None and isinstance(nonce.value, x509.OCSPNonce):
            return self._sign(request, status, now, nonce.value)
        key = (request.serial_number, algorithm.name)
        cached = self._cache.get(key)
        # The status is read each time, only the signature is saved: a revocation counts from the next question on.
        if cached is not None and cached[0] == status and cached[1] <= now < cached[1] + self._validity / 10:
            return cached[2]
        signed = self._sign(request, status, now, None)
        self._cache[key] = (status, now, signed)
        if len(self._cache) > _MAX_CACHED:
            self._cache.popitem(last=False)
        return signed

    def _sign(self, request: ocsp.OCSPRequest, status: Status, now: datetime, nonce: x509.OCSPNonce | None) -> bytes:
        revocation = status if isinstance(status, Revocation) else None
        if revocation is not None:
            certificate_status = ocsp.OCSPCertStatus.REVOKED
        else:
            certificate_status = ocsp.OCSPCertStatus.GOOD if status else ocsp.OCSPCertStatus.UNKNOWN
        responder = self._authority.ocsp
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=request.issuer_name_hash,
                issuer_key_hash=request.issuer_key_hash,
                serial_number=request.serial_number,
                algorithm=request.hash_algorithm,
                cert_status=certificate_status,
                this_update=now,
                next_update=now + self._validity,
                revocation_time=None if revocation is None else revocation.time,
                revocation_reason=None if revocation is None else _stated(revocation.reason),
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
            .certificates([responder.certificate])
        )
        if nonce is not None:
            builder = builder.add_extension(nonce, critical=False)
        return builder.sign(responder.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _stated(reason: x509.ReasonFlags) -> x509.ReasonFlags | None:
    # RFC 5280 5.3.1: "unspecified" is said by saying nothing.
    return None if reason is x509.ReasonFlags.unspecified else reason


def _issuer_hashes(issuer: x509.Certificate, name: str) -> tuple[bytes, bytes]:
    """RFC 6960 4.1.1: of the issuer's name, and of its key's bits without the algorithm around them."""
    spki = issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return (
        hashlib.new(name, issuer.subject.public_bytes()).digest(),
        hashlib.new(name, spki).digest(),
    )


def _error(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
