"""The test authority's time-stamping authority (RFC 3161): requests in, signed tokens out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from typing import Final

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from trust import timestamp_asn1 as tsp
from trust.testca.authority import KeyPair
from trust.timestamp_asn1 import OID

# A policy under the documentation arc of the UUID-based OIDs: tokens of this authority promise nothing.
POLICY: Final = OID("2.25.304837465162839405061728394050617283")

_ECDSA_WITH_SHA512: Final = OID("1.2.840.10045.4.3.4")
_DIGEST_LENGTHS: Final = {tsp.SHA256: 32, tsp.SHA384: 48, tsp.SHA512: 64}


class _Failure(IntEnum):
    """RFC 3161 2.4.2, PKIFailureInfo: the bits that we set."""

    BAD_ALGORITHM = 0
    BAD_DATA_FORMAT = 5
    UNACCEPTED_POLICY = 15


class TimeStampingAuthority:
    """Stamps digests with the time of `clock` under one key."""

    def __init__(self, pair: KeyPair, clock: Callable[[], datetime]) -> None:
        self._pair = pair
        self._clock = clock

    def answer(self, request_der: bytes) -> bytes:
        """The DER answer to a DER request: a token, or a refusal with its reason."""
        try:
            request = asn1.decode_der(tsp.TimeStampReq, request_der)
        except ValueError:
            return _refusal(_Failure.BAD_DATA_FORMAT)
        imprint = request.message_imprint
        if _DIGEST_LENGTHS.get(imprint.hash_algorithm.algorithm) != len(imprint.hashed_message):
            return _refusal(_Failure.BAD_ALGORITHM)
        if request.policy not in (None, POLICY):
            return _refusal(_Failure.UNACCEPTED_POLICY)
        info = tsp.TSTInfo(
            version=1,
            policy=POLICY,
            message_imprint=imprint,
            serial_number=secrets.randbits(120) + 1,
            generated=asn1.GeneralizedTime(self._clock()),
            accuracy=tsp.Accuracy(seconds=1, milliseconds=None, microseconds=None),
            ordering=False,
            nonce=request.nonce,
        )
        token = self._sign(asn1.encode_der(info), with_certificate=request.certificate_requested)
        granted = tsp.PKIStatusInfo(status=0, status_string=None, failure=None)
        return asn1.encode_der(tsp.TimeStampResp(status=granted, token=_tlv(token)))

    def _sign(self, content: bytes, *, with_certificate: bool) -> bytes:
        """The content as CMS SignedData (RFC 5652 section 5), with the attributes that RFC 3161 2.4.2 asks for."""
        certificate = self._pair.certificate
        # RFC 5816: the token names its signer's certificate by hash; no other certificate of that key will do.
        identifier = tsp.ESSCertIDv2(
            hash_algorithm=None, certificate_hash=hashlib.sha256(self._pair.certificate_der).digest()
        )
        attributes = asn1.SetOf(
            [
                _attribute(tsp.CONTENT_TYPE, tsp.TST_INFO),
                _attribute(tsp.MESSAGE_DIGEST, hashlib.sha512(content).digest()),
                _attribute(tsp.SIGNING_CERTIFICATE_V2, tsp.SigningCertificateV2(certificates=[identifier])),
            ]
        )
        sha512 = tsp.AlgorithmIdentifier(algorithm=tsp.SHA512, parameters=None)
        signer = tsp.SignerInfo(
            version=1,
            signer=tsp.IssuerAndSerialNumber(issuer=certificate.issuer, serial_number=certificate.serial_number),
            digest_algorithm=sha512,
            signed_attributes=attributes,
            signature_algorithm=tsp.AlgorithmIdentifier(algorithm=_ECDSA_WITH_SHA512, parameters=None),
            signature=self._pair.key.sign(tsp.attributes_to_sign(attributes), ec.ECDSA(hashes.SHA512())),
        )
        signed = tsp.SignedData(
            version=3,
            digest_algorithms=asn1.SetOf([_tlv(asn1.encode_der(sha512))]),
            content=tsp.EncapsulatedContent(content_type=tsp.TST_INFO, content=content),
            certificates=[_tlv(self._pair.certificate_der)] if with_certificate else None,
            signers=asn1.SetOf([signer]),
        )
        return asn1.encode_der(tsp.ContentInfo(content_type=tsp.SIGNED_DATA, content=signed))


def _attribute(kind: OID, value: object) -> tsp.Attribute:
    return tsp.Attribute(type=kind, values=asn1.SetOf([_tlv(asn1.encode_der(value))]))


def _tlv(der: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, der)


def _refusal(failure: _Failure) -> bytes:
    # A named bit list ends with its last set bit (X.690 11.2.2).
    bits = (1 << (7 - failure % 8)).to_bytes(failure // 8 + 1)
    info = tsp.PKIStatusInfo(status=2, status_string=None, failure=asn1.BitString(bits, 7 - failure % 8))
    return asn1.encode_der(tsp.TimeStampRefusal(status=info))
