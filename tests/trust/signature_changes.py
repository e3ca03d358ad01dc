"""Changes of a signature's text, the places in it that they take hold of, and the answers that they get."""

from __future__ import annotations

import base64

from tests.trust.factory import world
from tests.trust.forging import Change, rsub, sub

MALFORMED = ("SignatureMalformed", "malformed_signature")
NOT_XML = ("SignatureMalformed", "invalid_xml")
REFERENCE = ("SignatureInvalid", "invalid_reference")
VALUE = ("SignatureInvalid", "invalid_signature_value")
CERTIFICATE = ("CertificateUntrusted", "incorrect_certificate")
NO_CERTIFICATE = ("MalformedInput", "incorrect_certificate")
DIGEST = "<ds:DigestValue>"
SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
MD5 = "http://www.w3.org/2001/04/xmldsig-more#md5"
ECDSA = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
METHOD_OPEN = f'<ds:DigestMethod Algorithm="{SHA512}">'
METHOD = METHOD_OPEN + "</ds:DigestMethod>"
PART1 = '<ds:Reference Id="signature-reference-1" URI="/message.xml">'
THIRD = f'<ds:Reference URI="/attachment2">{METHOD}{DIGEST}AAAA</ds:DigestValue></ds:Reference>'
PART2 = '<ds:Reference Id="signature-reference-2" URI="/attachment1">'
OWN_TYPE = 'Type="http://uri.etsi.org/01903#SignedProperties"'
OWN = f'<ds:Reference Id="signature-reference-0" {OWN_TYPE} URI="#signed-properties">'
OBJECT = "<ds:Object><xades:QualifyingProperties"
PROPERTIES = '<xades:SignedProperties Id="signed-properties">'
UNSIGNED = "<xades:UnsignedProperties>"
UNSIGNED_INNER = "<xades:UnsignedProperties><xades:UnsignedSignatureProperties>"
OCSP = '<xades:EncapsulatedOCSPValue Id="ocsp-response-1">'
ROOT = "<asic:XAdESSignatures "
CERT = "<ds:X509Certificate>"
TIME = "<xades:SigningTime>2026-11-22T10:00:00.000Z"


def flip(after: str, skip: int = 0) -> Change:
    """Another base64 character a little after `after`."""

    def change(text: str) -> str:
        position = text.index(after) + len(after) + skip
        other = "A" if text[position] != "A" else "B"
        return text[:position] + other + text[position + 1 :]

    return change


def value(octets: bytes) -> Change:
    """Another signature value."""
    return rsub('(signature-value">)[^<]*', r"\g<1>" + base64.b64encode(octets).decode())


def element(pattern: str) -> str:
    """The pattern of a whole element."""
    return f"<{pattern}[ >].*?</{pattern}>"


def twice(pattern: str, between: str = "") -> Change:
    """The match of a pattern, and once more."""
    return rsub(f"({pattern})", rf"\g<1>{between}\g<1>")


def transforms(*uris: str, inner: str = "") -> str:
    """A Transforms element."""
    steps = "".join(f'<ds:Transform Algorithm="{uri}">{inner}</ds:Transform>' for uri in uris)
    return f"<ds:Transforms>{steps}</ds:Transforms>"


def unsigned(text: str) -> Change:
    """Something more among the unsigned properties."""
    return sub(UNSIGNED_INNER, UNSIGNED_INNER + text)


def move_properties(text: str) -> str:
    """The signed properties in another object, others in their place."""
    start = text.index(PROPERTIES)
    end = text.index("</xades:SignedProperties>") + len("</xades:SignedProperties>")
    original = text[start:end]
    forged = original.replace("2026-11-22", "2026-11-21").replace('Id="signed-properties"', 'Id="forged"')
    text = text.replace(original, forged)
    return text.replace("</ds:Signature>", f"<ds:Object>{original}</ds:Object></ds:Signature>")


def append_to_certificate(text: str) -> str:
    """A byte more behind the certificate's DER."""
    der = base64.b64encode(world().holder.der).decode()
    return text.replace(der, base64.b64encode(world().holder.der + b"\0").decode())


def swap_parts(text: str) -> str:
    """The part references in the other order."""
    first = text[text.index(PART1) : text.index(PART2)]
    second = text[text.index(PART2) : text.index("</ds:SignedInfo>")]
    return text.replace(first + second, second + first)


def wrap(text: str) -> str:
    """The true signature inside an object of a forged one."""
    start, end = text.index("<ds:Signature "), text.index("</asic:")
    original = text[start:end]
    forged = original.replace('Id="signature"', 'Id="forged"').replace("/attachment1", "/attachment2")
    return text.replace(
        original, forged.replace("</ds:Signature>", f"<ds:Object>{original}</ds:Object></ds:Signature>")
    )
