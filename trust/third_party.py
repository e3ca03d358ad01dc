"""XAdES documents of third parties, as institutions receive them: signatures that weren't made for the road.

signxml reads the XML signature and its properties (ETSI EN 319 132-1); the bounds, the path of the signer's certificate
and what counts as signed are ours. The one door to signxml.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from lxml import etree
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult
from signxml.xades.xades import XAdESVerifier

from trust.certification_path import find_chain, is_for_signing, load_certificate, read_authority
from trust.errors import CertificateUntrusted, MalformedInput, SignatureInvalid, SignatureMalformed
from trust.parameters import ApprovedCA
from trust.xml import parse

MAX_DOCUMENT_BYTES: Final = 4 << 20
_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_XADES: Final = "{http://uri.etsi.org/01903/v1.3.2#}"
_CERTIFICATE: Final = f"{_DSIG}KeyInfo/{_DSIG}X509Data/{_DSIG}X509Certificate"


@dataclass(frozen=True, slots=True)
class VerifiedDocument:
    """What a third party signed. Use `signed`, the canonical bytes under the signature, never the document around it.

    `signing_time` is the signer's own word; None if they give none.
    """

    signed: tuple[bytes, ...]
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    signing_time: datetime | None


def verify_third_party(document: bytes, *, authorities: Sequence[ApprovedCA], at: datetime) -> VerifiedDocument:
    """The signed parts of a document with exactly one XAdES signature, whose signer one of the authorities vouches for.

    Everything referred to must be inside the document; SHA-1 is refused. The status of the certificate is the caller's
    to ask. Raises MalformedInput, SignatureInvalid, CertificateUntrusted.
    """
    # 1. Bounded, without a DTD; one signature, so that there is no question which one counts.
    root = parse(document, max_bytes=MAX_DOCUMENT_BYTES)
    signatures = list(root.iter(f"{_DSIG}Signature"))
    if len(signatures) != 1:
        raise SignatureMalformed(f"one signature is expected, found {len(signatures)}")
    (signature,) = signatures
    # 2. The certificate: for signing, with a path to an authority.
    certificate, chain = _signer(signature, authorities, at)
    # 3. The signature, all its references, and the certificate's digest in the signed properties.
    count = len(signature.findall(f"{_DSIG}SignedInfo/{_DSIG}Reference"))
    expected = SignatureConfiguration(location="./" if signature is root else ".//", expect_references=count)
    try:
        results: list[VerifyResult] = XAdESVerifier().verify(document, x509_cert=certificate, expect_config=expected)
    except (SignXMLException, InvalidSignature) as error:
        raise SignatureInvalid(f"signxml refuses it: {type(error).__name__}") from None
    except (ValueError, TypeError, LookupError, AttributeError, etree.LxmlError, UnsupportedAlgorithm):
        raise SignatureMalformed("not a XAdES signature that can be read") from None
    # 4. What is no part of the signature's own (its properties, its certificate) is what was signed.
    signed = tuple(result.signed_data for result in results if not _is_own(result))
    if not signed:
        raise SignatureMalformed("nothing but the signature's own parts is signed")
    return VerifiedDocument(signed, certificate, chain, _signing_time(results))


def _signer(
    signature: etree._Element, authorities: Sequence[ApprovedCA], at: datetime
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    try:
        stated = [
            b64decode("".join((element.text or "").split()), validate=True)
            for element in signature.findall(_CERTIFICATE)
        ]
    except ValueError:
        raise SignatureMalformed("a certificate is not base64") from None
    if not stated:
        raise SignatureMalformed("the signature brings no certificate")
    certificate, *offered = map(load_certificate, stated)
    if not is_for_signing(certificate):
        raise CertificateUntrusted("the certificate is not for signatures")
    for approved in authorities:
        chain = find_chain(certificate, read_authority(approved), offered, at)
        if chain is not None:
            return certificate, chain
    raise CertificateUntrusted("no path to an authority that is accepted here")


def _is_own(result: VerifyResult) -> bool:
    return _is_properties(result) or (result.signed_xml is not None and result.signed_xml.tag == f"{_DSIG}KeyInfo")


def _is_properties(result: VerifyResult) -> bool:
    return result.signed_xml is not None and result.signed_xml.tag == f"{_XADES}SignedProperties"


def _signing_time(results: Sequence[VerifyResult]) -> datetime | None:
    for result in results:
        if _is_properties(result) and result.signed_xml is not None:
            text = result.signed_xml.findtext(f"{_XADES}SignedSignatureProperties/{_XADES}SigningTime")
            try:
                time = None if text is None else datetime.fromisoformat(text.strip())
            except ValueError:
                raise MalformedInput("the signing time can't be read") from None
            return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)
    return None
