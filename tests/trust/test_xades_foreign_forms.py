"""Signatures of others that must hold, in every spelling that the profile allows; and ours before another library."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import pytest
from signxml.algorithms import CanonicalizationMethod
from signxml.algorithms import DigestAlgorithm as SignXMLDigest
from signxml.exceptions import InvalidDigest
from signxml.verifier import SignatureConfiguration, XMLVerifier

from tests.trust.factory import BODY, MESSAGE, NOW, world
from tests.trust.forging import Change, both, resign, rsub, sub
from tests.trust.test_xades import verified
from trust.canonical import CanonicalisationMethod
from trust.xades.template import DS, SIGNED_PROPERTIES_TYPE, XADES

C14N = CanonicalisationMethod.INCLUSIVE.value
EXCLUSIVE = CanonicalisationMethod.EXCLUSIVE.value
OWN = f'<ds:Reference Id="signature-reference-0" Type="{SIGNED_PROPERTIES_TYPE}" URI="#signed-properties">'


def transform(uri: str) -> Change:
    return sub(OWN, f'{OWN}<ds:Transforms><ds:Transform Algorithm="{uri}"/></ds:Transforms>')


def bare_root(text: str) -> str:
    """ds:Signature as the root, each namespace declared where it is used, as the DSS library writes it."""
    text = text[text.index("<ds:Signature ") : text.index("</asic:")]
    text = text.replace("<ds:Signature ", f'<ds:Signature xmlns:ds="{DS}" ', 1)
    return text.replace("<xades:QualifyingProperties ", f'<xades:QualifyingProperties xmlns:xades="{XADES}" ', 1)


def other_identifiers(text: str) -> str:
    for name in ("signature-reference-", "signed-properties", "signature-value", "ocsp-response-"):
        text = text.replace(f'"{name}', f'"id-4711-{name}').replace(f'"#{name}', f'"#id-4711-{name}')
    return text.replace('Id="signature"', 'Id="S"').replace('Target="#signature"', 'Target="#S"')


def java_base64(text: str) -> str:
    """Base64 in lines that end in a carriage return and a line feed, as Java writes them."""
    der = base64.b64encode(world().holder.der).decode()
    lines = "&#13;\n".join(der[start : start + 76] for start in range(0, len(der), 76))
    value = "<ds:DigestValue>"
    start = text.index(value) + len(value)
    text = text[:start] + "\n" + text[start : start + 60] + "&#13;\n\t " + text[start + 60 :]
    return text.replace(der, lines)


def certificate_v2(text: str) -> str:
    text = rsub("<xades:IssuerSerial>.*?</xades:IssuerSerial>", "<xades:IssuerSerialV2>MAA=</xades:IssuerSerialV2>")(
        text
    )
    return text.replace("xades:SigningCertificate>", "xades:SigningCertificateV2>")


def properties_last(text: str) -> str:
    start, end = text.index(OWN), text.index('<ds:Reference Id="signature-reference-1"')
    return text.replace(text[start:end], "").replace("</ds:SignedInfo>", text[start:end] + "</ds:SignedInfo>")


def sha256_over_properties(text: str) -> str:
    method = '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha512">'
    return text.replace(OWN + method, OWN + method.replace("sha512", "sha256"))


def sha384_over_certificate(text: str) -> str:
    digest = base64.b64encode(hashlib.sha384(world().holder.der).digest()).decode()
    return rsub(
        "<xades:CertDigest>.*?</xades:CertDigest>",
        '<xades:CertDigest><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></xades:CertDigest>",
    )(text)


FORMS: Mapping[str, Change] = {
    "exclusive canonicalization of SignedInfo": sub(C14N, EXCLUSIVE),
    "exclusive canonicalization of the properties": transform(EXCLUSIVE),
    "inclusive canonicalization, said aloud": transform(C14N),
    "everything exclusive": both(sub(C14N, EXCLUSIVE), transform(EXCLUSIVE)),
    "bare root": bare_root,
    "bare root, everything exclusive": both(sub(C14N, EXCLUSIVE), transform(EXCLUSIVE), bare_root),
    "other identifiers": other_identifiers,
    "base64 as Java writes it": java_base64,
    "signing certificate version 2": certificate_v2,
    "properties after the parts": properties_last,
    "SHA-256 over the properties": sha256_over_properties,
    "SHA-384 over the certificate": sha384_over_certificate,
    "no policy": rsub("<xades:SignaturePolicyIdentifier>.*?</xades:SignaturePolicyIdentifier>", ""),
    "no formats": rsub("<xades:SignedDataObjectProperties>.*?</xades:SignedDataObjectProperties>", ""),
    "white space between elements": sub("<ds:SignatureMethod", "\n  <ds:SignatureMethod"),
    "a time in another zone": sub("10:00:00.000Z", "12:00:00+02:00"),
    "a time in seconds": sub("10:00:00.000Z", "10:00:00Z"),
    "character data section": sub("<xades:MimeType>text/xml", "<xades:MimeType><![CDATA[text/xml]]>"),
    "empty-element tags": sub(f'Algorithm="{C14N}"></ds:CanonicalizationMethod>', f'Algorithm="{C14N}"/>'),
    "a time-stamp": sub(
        "<xades:RevocationValues>",
        "<xades:SignatureTimeStamp><xades:EncapsulatedTimeStamp>AAAA</xades:EncapsulatedTimeStamp>"
        "</xades:SignatureTimeStamp><xades:RevocationValues>",
    ),
    "no XML declaration": rsub(r"<\?xml.*?\?>", ""),
    "line breaks around the root": both(rsub(r"\?>", "?>\n"), lambda text: text + "\n"),
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.replace(" ", "-"))
def test_foreign_form_holds(form: str) -> None:
    changed = FORMS[form](world().sign().decode()).encode()
    result = verified(resign(changed, world().key), world())
    assert result.signing_time == NOW


def test_signxml_agrees() -> None:
    """A second opinion from another implementation, over the parts themselves."""
    w = world()
    document = w.sign()
    contents = {"/message.xml": MESSAGE, "/attachment1": BODY}
    config = SignatureConfiguration(
        location="./",
        expect_references=3,
        digest_algorithms=frozenset({SignXMLDigest.SHA512}),
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
        verification_time=NOW,
    )

    def verified(signature: bytes, parts: dict[str, bytes]) -> object:
        return XMLVerifier().verify(
            signature, x509_cert=w.holder.certificate, uri_resolver=parts.__getitem__, expect_config=config
        )

    results = verified(document, contents)
    assert isinstance(results, list)
    assert len(results) == 3
    # And refuses it with one byte changed: of the body, the message, the signed time.
    changed = document.replace(b"2026-11-22T10:00:00", b"2026-11-22T10:00:01")
    assert changed != document
    for signature, parts in (
        (document, contents | {"/attachment1": BODY[:-1] + b"]"}),
        (document, contents | {"/message.xml": b"P" + MESSAGE[1:]}),
        (changed, contents),
    ):
        with pytest.raises(InvalidDigest):
            verified(signature, parts)
    signed = [result.signed_xml.tag for result in results if result.signed_xml is not None]
    assert f"{{{XADES}}}SignedProperties" in signed
