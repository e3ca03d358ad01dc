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
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, VerifyResult
from signxml.xades.xades import XAdESVerifier

from trust.certification_path import UNREADABLE, find_chain, is_for_signing, load_certificate, read_authority
from trust.errors import CertificateUntrusted, MalformedInput, SignatureInvalid, SignatureMalformed
from trust.keys import require_strong
from trust.parameters import ApprovedCA
from trust.xml import parse

MAX_DOCUMENT_BYTES: Final = 4 << 20
# Each reference copies the whole document and each transform writes it anew: few of both keep the work bounded.
MAX_REFERENCES: Final = 16
MAX_TRANSFORMS: Final = 4
MAX_CERTIFICATES: Final = 8
_DSIG: Final = "{http://www.w3.org/2000/09/xmldsig#}"
_XADES: Final = "{http://uri.etsi.org/01903/v1.3.2#}"
_CERTIFICATE: Final = f"{_DSIG}KeyInfo/{_DSIG}X509Data/{_DSIG}X509Certificate"
_METHODS: Final = frozenset(
    SignatureMethod[name]
    for kind in ("RSA_{}", "ECDSA_{}", "{}_RSA_MGF1")
    for name in (kind.format("SHA256"), kind.format("SHA384"), kind.format("SHA512"))
)
_DIGESTS: Final = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
# signxml passes over transforms that it doesn't know; what it knows are these.
_TRANSFORMS: Final = frozenset(method.value for method in CanonicalizationMethod) | {
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2000/09/xmldsig#base64",
}


@dataclass(frozen=True, slots=True)
class VerifiedDocument:
    """What a third party signed. Use `signed`, the canonical bytes under the signature, never the document around it.

    `chain` leads from the certificate to `authority`; the certificate's status isn't known. `signing_time` is the
    signer's own word; None if they give none.
    """

    signed: tuple[bytes, ...]
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    authority: ApprovedCA
    signing_time: datetime | None


def verify_third_party(document: bytes, *, authorities: Sequence[ApprovedCA], at: datetime) -> VerifiedDocument:
    """The signed parts of a document with exactly one XAdES signature, whose signer one of the authorities vouches for.

    Everything referred to must be inside the document; RSA and ECDSA with SHA-256 to SHA-512, nothing else. `at` is the
    time at which the certificates must be valid. The status of the certificate is the caller's to ask
    (`trust.document_verifier` does). Raises MalformedInput, SignatureInvalid, CertificateUntrusted.
    """
    # 1. Bounded, without a DTD; one signature, so that there is no question which one counts.
    root = parse(document, max_bytes=MAX_DOCUMENT_BYTES)
    signatures = list(root.iter(f"{_DSIG}Signature"))
    if len(signatures) != 1:
        raise SignatureMalformed(
            f"one signature is expected, found {len(signatures)}", hint="send a document with exactly one signature"
        )
    (signature,) = signatures
    # 2. Algorithms and transforms on the list, and few enough.
    count = _require_bounded(signature)
    # 3. The certificate: for signing, with a path to an authority.
    certificate, chain, authority = _signer(signature, authorities, at)
    # 4. The signature, all its references, and the certificate's digest in the signed properties.
    expected = SignatureConfiguration(
        location="./" if signature is root else ".//",
        expect_references=count,
        signature_methods=_METHODS,
        digest_algorithms=_DIGESTS,
        # The certificate's key counts and no other: a KeyValue beside it says nothing, and for RSA-PSS signxml can't
        # compare the two.
        ignore_ambiguous_key_info=True,
        verification_time=at,
    )
    try:
        results: list[VerifyResult] = XAdESVerifier().verify(document, x509_cert=certificate, expect_config=expected)
    except (SignXMLException, InvalidSignature) as error:
        raise SignatureInvalid(
            f"signxml refuses it: {type(error).__name__}",
            hint="the document was changed after it was signed: get it unchanged from whoever signed it",
        ) from None
    except (
        ValueError, TypeError, LookupError, AttributeError, NotImplementedError, etree.LxmlError, UnsupportedAlgorithm
    ):  # fmt: skip
        raise SignatureMalformed("not a XAdES signature that can be read") from None
    # 5. What is no part of the signature's own (its properties, its certificate) is what was signed.
    signed = tuple(result.signed_data for result in results if not _is_own(result))
    if not signed:
        raise SignatureMalformed("nothing but the signature's own parts is signed")
    return VerifiedDocument(signed, certificate, chain, authority, _signing_time(results))


def _require_bounded(signature: etree._Element) -> int:
    """The number of references. Raises SignatureMalformed."""
    method = signature.find(f"{_DSIG}SignedInfo/{_DSIG}SignatureMethod")
    if method is None or method.get("Algorithm") not in {known.value for known in _METHODS}:
        raise _not_accepted("signature algorithm")
    references = signature.findall(f"{_DSIG}SignedInfo/{_DSIG}Reference")
    if len(references) > MAX_REFERENCES:
        raise SignatureMalformed("too many references")
    for reference in references:
        digest = reference.find(f"{_DSIG}DigestMethod")
        if digest is None or digest.get("Algorithm") not in {known.value for known in _DIGESTS}:
            raise _not_accepted("digest algorithm")
        transforms = reference.findall(f"{_DSIG}Transforms/{_DSIG}Transform")
        if len(transforms) > MAX_TRANSFORMS:
            raise SignatureMalformed("too many transforms")
        if any(transform.get("Algorithm") not in _TRANSFORMS for transform in transforms):
            raise _not_accepted("transform")
    return len(references)


def _not_accepted(what: str) -> SignatureMalformed:
    return SignatureMalformed(
        f"a {what} that isn't accepted", hint="the signer must sign anew: RSA or ECDSA, with SHA-256 or stronger"
    )


def _signer(
    signature: etree._Element, authorities: Sequence[ApprovedCA], at: datetime
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...], ApprovedCA]:
    elements = signature.findall(_CERTIFICATE)
    if len(elements) > MAX_CERTIFICATES:
        raise SignatureMalformed("too many certificates")
    try:
        stated = [b64decode("".join((element.text or "").split()), validate=True) for element in elements]
    except ValueError:
        raise SignatureMalformed("a certificate is not base64") from None
    if not stated:
        raise SignatureMalformed("the signature brings no certificate")
    certificate, *offered = map(load_certificate, stated)
    if not is_for_signing(certificate):
        raise CertificateUntrusted(
            "the certificate is not for signatures", hint="the signer needs one with key usage nonRepudiation"
        )
    try:
        require_strong(certificate.public_key())
    except UNREADABLE:
        raise CertificateUntrusted("a key that can't be read", code="incorrect_certificate") from None
    for approved in authorities:
        chain = find_chain(certificate, read_authority(approved), offered, at)
        if chain is not None:
            return certificate, chain, approved
    raise CertificateUntrusted(
        "no path to an authority that is accepted here",
        hint="is the signer's authority among the trusted ones, and is every certificate valid now?",
    )


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
