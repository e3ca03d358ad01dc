"""What containers cost: writing a signed, time-stamped message to a file, and proving such a file.

Rows of `bench.trust_bench`. Writing includes signing, as an export without its signature contains no cryptography to
compare with; the time-stamp is made once, since that is another service's work. Proving is with warm caches, as in an
audit of many containers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from trust.asic import Container, ContainerVerifier, VerificationConfiguration, write_container
from trust.hashchain import TIMESTAMP_FILES, build_batch
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp import build_request, parse_response
from trust.xades import SignatureBuilder, SignedPart

if TYPE_CHECKING:
    from bench.trust_bench import TrustFixture

_MESSAGE: Final = (
    b"POST\r\n/r1/DE-TEST/COM/STADTWERKE/abrechnung/bills\r\nX-Road-Client:DE-TEST/GOV/MUSTERSTADT/app\r\n"
    + b"x-header:value\r\n" * 14
)
_BODY: Final = b'{"number": "2026-11"}' * 12
_SCHEME: Final = ec.ECDSA(hashes.SHA512())

Operation = Callable[[], object]


def write_row(fixture: TrustFixture) -> tuple[Operation, Operation]:
    """Signing a message and writing its container; bare: the signature and the digests."""
    stamped = _stamped(fixture)
    builder = SignatureBuilder(fixture.key)

    def operation() -> bytes:
        document = _sign(fixture, builder)
        return write_container(replace(stamped, signature=document))

    key = fixture.key.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    digested = (_MESSAGE, _BODY, bytes(1024), bytes(2048), stamped.timestamp_hash_chain_result or b"")

    def bare() -> None:
        for data in digested:
            hashlib.sha512(data).digest()
        key.sign(bytes(1024), _SCHEME)

    return operation, bare


def verify_row(fixture: TrustFixture) -> tuple[Operation, Operation]:
    """Reading and proving a container; bare: the two signatures in it and the digests."""
    container = _stamped(fixture)
    data = write_container(container)
    verifier = ContainerVerifier(VerificationConfiguration.of(fixture.parameters))
    at = fixture.now + timedelta(seconds=30)
    signer, stamper = fixture.key.private_key, fixture.time_stamping.key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    checks = [(key.public_key(), key.sign(bytes(1024), _SCHEME)) for key in (signer, stamper)]
    result = container.timestamp_hash_chain_result or b""
    digested = (_MESSAGE, _BODY, bytes(2048), container.signature, bytes(1024), result, result, bytes(224))

    def bare() -> None:
        for content in digested:
            hashlib.sha512(content).digest()
        for public, value in checks:
            public.verify(value, bytes(1024), _SCHEME)

    return lambda: verifier.verify(data, at=at), bare


def _stamped(fixture: TrustFixture) -> Container:
    document = _sign(fixture, SignatureBuilder(fixture.key))
    digests = [hashlib.sha512(data).digest() for data in (document, b"another")]
    result, chains = build_batch(digests, files=TIMESTAMP_FILES)
    authority = TimeStampingAuthority(fixture.time_stamping, lambda: fixture.now)
    token = parse_response(authority.answer(build_request(hashlib.sha512(result).digest())))
    return Container(
        _MESSAGE,
        document,
        (_BODY,),
        timestamp_hash_chain_result=result,
        timestamp_hash_chain=chains[0],
        timestamp=token,
    )


def _sign(fixture: TrustFixture, builder: SignatureBuilder) -> bytes:
    parts = (SignedPart.of("/message.xml", _MESSAGE), SignedPart.of("/attachment1", _BODY))
    return builder.build(parts, signing_time=fixture.now, ocsp_response=fixture.ocsp_response)
