"""Taking a signature document apart: which elements, where, and nothing else.

Follows XML Signature 1.1, XAdES 1.3.2 and PR-MESSTRANSP 2.7. The structure is an allow list: one ds:Signature at a
fixed place, its children in order, one SignedProperties at a fixed place, identifiers unique. So there is nowhere to
wrap a second signature or a second set of properties, and what is read is what was signed. Names of identifiers are
the signer's choice; everything is resolved by place, type and URI. Says nothing about whether the signature holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from trust.canonical import CanonicalisationMethod, DigestAlgorithm, canonicalise, decode_base64
from trust.errors import MalformedInput, SignatureMalformed
from trust.keys import SignatureAlgorithm
from trust.xades.model import ParsedSignature, PartReference
from trust.xades.recognise import recognise
from trust.xades.template import ASIC, ASIC_FORMER, DS, SIGNED_PROPERTIES_TYPE, XADES
from trust.xml import parse

MAX_BYTES: Final = 1 << 20
_MAX_TIMESTAMPS: Final = 16
_SPACE: Final = " \t\r\n"
_NO_SPACE: Final = str.maketrans("", "", _SPACE)
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_SERIAL: Final = re.compile(r"-?[0-9]{1,60}")

_SIGNATURE_PROPERTIES: Final = frozenset(
    {
        "SigningTime",
        "SigningCertificate",
        "SigningCertificateV2",
        "SignaturePolicyIdentifier",
        "SignatureProductionPlace",
        "SignatureProductionPlaceV2",
        "SignerRole",
        "SignerRoleV2",
    }
)
_UNSIGNED_PROPERTIES: Final = frozenset(
    {
        "SignatureTimeStamp",
        "CompleteCertificateRefs",
        "CompleteRevocationRefs",
        "CertificateValues",
        "RevocationValues",
    }
)
# Those of the two schemas; an attribute that nobody reads here could be one that somebody reads elsewhere.
_ATTRIBUTES: Final = frozenset(
    {"Algorithm", "Encoding", "Id", "MimeType", "ObjectReference", "Qualifier", "Target", "Type", "URI"}
)
# Wherever a second one of these stood, some reader could take it for the first.
_SINGLE: Final = frozenset({"Signature", "SignedInfo", "SignatureValue", "QualifyingProperties", "SignedProperties"})


def parse_signature(document: bytes) -> ParsedSignature:
    """The signature in `document`, taken apart.

    Raises SignatureMalformed when it isn't of the profile, SignatureInvalid never.
    """
    if len(document) > MAX_BYTES:
        raise SignatureMalformed("the signature document is too large")
    try:
        return recognise(document) or parse_general(document)
    except SignatureMalformed:
        raise
    except MalformedInput as error:
        raise SignatureMalformed(str(error)) from None


def parse_general(document: bytes) -> ParsedSignature:
    """As `parse_signature`, always by way of the XML library. Raises MalformedInput."""
    try:
        root = parse(document, max_bytes=MAX_BYTES, max_depth=32)
    except MalformedInput as error:
        # X-Road's name for what isn't XML at all.
        raise SignatureMalformed(str(error), code="invalid_xml") from None
    _check_document(root)
    # X-Road wraps the signature in the ASiC root; the XAdES library behind X-Road 8's prototype doesn't.
    signature = root if root.tag == _ds("Signature") else _only_signature(root)
    info, value, key_info, container = _sequence(
        signature, (_ds("SignedInfo"), _ds("SignatureValue"), _ds("KeyInfo"), _ds("Object"))
    )
    (qualifying,) = _sequence(container, (_xades("QualifyingProperties"),))
    identifier = signature.get("Id")
    if identifier is None or qualifying.get("Target") != "#" + identifier:
        raise SignatureMalformed("the qualifying properties are another signature's")
    properties, *unsigned = _sequence(
        qualifying, (_xades("SignedProperties"), _xades("UnsignedProperties")), optional=1
    )
    method, algorithm, references, (own, is_classic) = _signed_info(info, properties)
    transform, properties_algorithm, properties_digest = own
    time, signer_algorithm, signer_digest, serial = _signed_properties(properties)
    certificates, responses, timestamps = _validation_data(unsigned[0]) if unsigned else ((), (), ())
    (x509_data,) = _sequence(key_info, (_ds("X509Data"),))
    (certificate,) = _sequence(x509_data, (_ds("X509Certificate"),))
    return ParsedSignature(
        algorithm=algorithm,
        signed_info=canonicalise(info, method),
        value=_octets(value),
        references=references,
        signed_properties=canonicalise(properties, transform),
        properties_algorithm=properties_algorithm,
        properties_digest=properties_digest,
        certificate=_octets(certificate),
        certificate_algorithm=signer_algorithm,
        certificate_digest=signer_digest,
        certificate_serial=serial,
        signing_time=time,
        certificate_values=certificates,
        ocsp_responses=responses,
        timestamps=timestamps,
        is_classic=is_classic,
    )


def _only_signature(root: etree._Element) -> etree._Element:
    if root.tag not in (f"{{{ASIC}}}XAdESSignatures", f"{{{ASIC_FORMER}}}XAdESSignatures"):
        raise SignatureMalformed("the document is not of the profile")
    return _children(root, str(root.tag), 1)[0]


def _check_document(root: etree._Element) -> None:
    if root.getprevious() is not None or root.getnext() is not None:
        raise SignatureMalformed("something stands outside the root element")
    seen: set[str] = set()
    identifiers: set[str] = set()
    for node in root.iter():
        if not isinstance(node.tag, str):
            # Comments split text and vanish in canonical form: what is read would not be what was signed.
            raise SignatureMalformed("a comment or processing instruction in a signature")
        name = node.tag.rpartition("}")[2]
        if name in _SINGLE:
            if name in seen:
                raise SignatureMalformed(f"a second {name}")
            seen.add(name)
        for key, text in node.attrib.items():
            # This excludes xml: attributes, which a canonical subtree would inherit (Canonical XML section 2.4).
            if key not in _ATTRIBUTES:
                raise SignatureMalformed("an attribute that isn't of the profile")
            if key == "Id":
                if text in identifiers:
                    raise SignatureMalformed("an identifier stands twice")
                identifiers.add(str(text))


def _signed_info(
    info: etree._Element, properties: etree._Element
) -> tuple[
    CanonicalisationMethod,
    SignatureAlgorithm,
    tuple[PartReference, ...],
    tuple[tuple[CanonicalisationMethod, DigestAlgorithm, bytes], bool],
]:
    children = list(_elements(info))
    if (
        len(children) < 3
        or children[0].tag != _ds("CanonicalizationMethod")
        or children[1].tag != _ds("SignatureMethod")
    ):
        raise SignatureMalformed("SignedInfo is not of the profile")
    method = _canonicalisation(children[0])
    algorithm = _signature_algorithm(children[1])
    parts: list[PartReference] = []
    own: list[tuple[CanonicalisationMethod, DigestAlgorithm, bytes]] = []
    target = properties.get("Id")
    is_classic = False
    for reference in children[2:]:
        if reference.tag != _ds("Reference"):
            raise SignatureMalformed("SignedInfo is not of the profile")
        transform, digest_algorithm, digest = _reference(reference)
        uri, kind = reference.get("URI"), reference.get("Type")
        if kind == SIGNED_PROPERTIES_TYPE or (uri or "#").startswith("#"):
            # XAdES section 4.3.1: exactly one reference of this type, to the properties of this signature.
            if kind != SIGNED_PROPERTIES_TYPE or not target or uri != "#" + target or own:
                raise SignatureMalformed("a reference into the document that isn't the one to its properties")
            own.append((transform or CanonicalisationMethod.INCLUSIVE, digest_algorithm, digest))
            is_classic = bool(parts)
        else:
            # Parts are signed as they travel, octet for octet.
            if kind is not None or transform is not None:
                raise SignatureMalformed("a reference to a part with a type or transforms")
            parts.append(PartReference(uri or "", digest_algorithm, digest))
    if not own:
        raise SignatureMalformed("the signed properties aren't signed")
    return method, algorithm, tuple(parts), (own[0], is_classic)


def _reference(reference: etree._Element) -> tuple[CanonicalisationMethod | None, DigestAlgorithm, bytes]:
    children = list(_elements(reference))
    transform = None
    if children and children[0].tag == _ds("Transforms"):
        (element,) = _sequence(children.pop(0), (_ds("Transform"),))
        transform = _canonicalisation(element)
    if [child.tag for child in children] != [_ds("DigestMethod"), _ds("DigestValue")]:
        raise SignatureMalformed("a reference is not of the profile")
    algorithm, digest = _digest(children[0], children[1])
    return transform, algorithm, digest


def _signed_properties(properties: etree._Element) -> tuple[datetime, DigestAlgorithm, bytes, int | None]:
    signature_properties, *_ = _sequence(
        properties, (_xades("SignedSignatureProperties"), _xades("SignedDataObjectProperties")), optional=1
    )
    found, _ = _allowed(signature_properties, _SIGNATURE_PROPERTIES)
    time = found.get("SigningTime")
    certificate = found.get("SigningCertificate")
    if time is None or (certificate is None) == ("SigningCertificateV2" not in found):
        raise SignatureMalformed("the signing time or the signing certificate is missing or ambiguous")
    suffix = "" if certificate is not None else "V2"
    holder = certificate if certificate is not None else found["SigningCertificateV2"]
    (cert,) = _sequence(holder, (_xades("Cert"),))
    digest, *issuer = _sequence(cert, (_xades("CertDigest"), _xades("IssuerSerial" + suffix)), optional=1)
    method, value = _sequence(digest, (_ds("DigestMethod"), _ds("DigestValue")))
    serial = None
    if issuer and not suffix:
        _, number = _sequence(issuer[0], (_ds("X509IssuerName"), _ds("X509SerialNumber")))
        text = _text(number).strip(_SPACE)
        if not _SERIAL.fullmatch(text):
            raise SignatureMalformed("a serial number that isn't a number")
        serial = int(text)
    return _signing_time(_text(time).strip(_SPACE)), *_digest(method, value), serial


def _validation_data(
    unsigned: etree._Element,
) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
    (signature_properties,) = _sequence(unsigned, (_xades("UnsignedSignatureProperties"),))
    found, timestamps = _allowed(signature_properties, _UNSIGNED_PROPERTIES, repeated="SignatureTimeStamp")
    certificates: tuple[bytes, ...] = ()
    responses: tuple[bytes, ...] = ()
    if (values := found.get("CertificateValues")) is not None:
        certificates = tuple(map(_octets, _children(values, values.tag)))
        _require_tags(values, _xades("EncapsulatedX509Certificate"))
    if (revocations := found.get("RevocationValues")) is not None:
        (ocsp,) = _sequence(revocations, (_xades("OCSPValues"),))
        responses = tuple(map(_octets, _children(ocsp, ocsp.tag)))
        _require_tags(ocsp, _xades("EncapsulatedOCSPValue"))
    if len(timestamps) > _MAX_TIMESTAMPS:
        raise SignatureMalformed("too many time-stamps")
    return certificates, responses, tuple(_timestamp(element) for element in timestamps)


def _timestamp(element: etree._Element) -> bytes:
    """The token of a SignatureTimeStamp (XAdES section 5.3): over the signature value and nothing else."""
    children = list(_elements(element))
    if children and children[0].tag == _ds("CanonicalizationMethod"):
        _canonicalisation(children.pop(0))
    if [child.tag for child in children] != [_xades("EncapsulatedTimeStamp")]:
        raise SignatureMalformed("a time-stamp that isn't of the profile")
    return _octets(children[0])


def _canonicalisation(element: etree._Element) -> CanonicalisationMethod:
    # No children: an InclusiveNamespaces list or an XPath would change what is signed.
    if list(_elements(element)):
        raise SignatureMalformed("a canonicalization with parameters")
    try:
        return CanonicalisationMethod(element.get("Algorithm"))
    except ValueError:
        raise SignatureMalformed("a transform or canonicalization that isn't accepted") from None


def _signature_algorithm(element: etree._Element) -> SignatureAlgorithm:
    if list(_elements(element)):
        raise SignatureMalformed("a signature algorithm with parameters")
    try:
        return SignatureAlgorithm(element.get("Algorithm"))
    except ValueError:
        raise SignatureMalformed("a signature algorithm that isn't accepted") from None


def _digest(method: etree._Element, value: etree._Element) -> tuple[DigestAlgorithm, bytes]:
    if list(_elements(method)):
        raise SignatureMalformed("a digest algorithm with parameters")
    try:
        return DigestAlgorithm(method.get("Algorithm")), _octets(value)
    except ValueError:
        raise SignatureMalformed("a digest algorithm that isn't accepted") from None


def _signing_time(text: str) -> datetime:
    # A time without a zone names no moment; XAdES section 5.2.1 takes xs:dateTime, X-Road writes it with one.
    match = _TIME.fullmatch(text)
    if match is None:
        raise SignatureMalformed("no signing time")
    seconds, fraction, zone = match.groups()
    try:
        time = datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6]:0<6}{zone}")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise SignatureMalformed("no such signing time") from None


def _ds(name: str) -> str:
    return f"{{{DS}}}{name}"


def _xades(name: str) -> str:
    return f"{{{XADES}}}{name}"


def _elements(parent: etree._Element) -> Iterator[etree._Element]:
    """The child elements, once it is sure that no text stands between them."""
    if parent.text and parent.text.strip(_SPACE):
        raise SignatureMalformed("text where elements belong")
    for child in parent:
        if child.tail and child.tail.strip(_SPACE):
            raise SignatureMalformed("text where elements belong")
        yield child


def _children(parent: etree._Element, tag: str, count: int | None = None) -> list[etree._Element]:
    children = list(_elements(parent))
    if parent.tag != tag or (count is not None and len(children) != count):
        raise SignatureMalformed("the document is not of the profile")
    return children


def _sequence(parent: etree._Element, tags: tuple[str, ...], *, optional: int = 0) -> list[etree._Element]:
    """The children, which are exactly `tags` in order; the last `optional` ones may be missing."""
    children = list(_elements(parent))
    found = tuple(str(child.tag) for child in children)
    if found != tags[: len(found)] or len(found) < len(tags) - optional:
        raise SignatureMalformed(f"the children of {etree.QName(parent).localname} are not of the profile")
    return children


def _allowed(
    parent: etree._Element, names: frozenset[str], *, repeated: str = ""
) -> tuple[dict[str, etree._Element], list[etree._Element]]:
    """The children by local name: any of `names`, each at most once, in any order; and those named `repeated`."""
    found: dict[str, etree._Element] = {}
    several: list[etree._Element] = []
    for child in _elements(parent):
        name = etree.QName(child)
        if name.namespace != XADES or name.localname not in names or name.localname in found:
            raise SignatureMalformed("a property that isn't of the profile")
        if name.localname == repeated:
            several.append(child)
        else:
            found[name.localname] = child
    return found, several


def _require_tags(parent: etree._Element, tag: str) -> None:
    if any(child.tag != tag for child in parent):
        raise SignatureMalformed("a value that isn't of the profile")


def _text(element: etree._Element) -> str:
    if len(element):
        raise SignatureMalformed("elements where text belongs")
    return element.text or ""


def _octets(element: etree._Element) -> bytes:
    # Java writes base64 with line breaks, some of them as &#13;: they are content for the digest, not for the value.
    return decode_base64(_text(element).translate(_NO_SPACE))
