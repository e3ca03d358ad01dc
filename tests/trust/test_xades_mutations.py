"""Every way to change a signature that we could think of, each with the answer that it must get.

A mutation is a change of the text; SIGNED ones are then signed again with the member's own key, so that only the
check that is meant can refuse them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.trust.factory import world
from tests.trust.forging import Change, both, outcome, resign, rsub, sub
from tests.trust.signature_changes import (
    C14N,
    CERT,
    CERTIFICATE,
    DIGEST,
    ECDSA,
    EXCLUSIVE,
    MALFORMED,
    MD5,
    METHOD,
    METHOD_OPEN,
    NO_CERTIFICATE,
    NOT_XML,
    OBJECT,
    OCSP,
    OWN,
    OWN_TYPE,
    PART1,
    PART2,
    PROPERTIES,
    REFERENCE,
    ROOT,
    SHA1,
    SHA256,
    SHA512,
    THIRD,
    TIME,
    UNSIGNED,
    VALUE,
    append_to_certificate,
    element,
    flip,
    move_properties,
    swap_parts,
    transforms,
    twice,
    unsigned,
    value,
    wrap,
)
from trust.xades import VerifiedSignature


@dataclass(frozen=True)
class Mutation:
    name: str
    change: Change
    expected: tuple[str, str]
    signed: bool = False


PLAIN = [
    # What is said is not what was signed.
    Mutation("digest of the message", flip(PART1 + METHOD + DIGEST), VALUE),
    Mutation("digest of the attachment", flip(PART2 + METHOD + DIGEST), VALUE),
    Mutation("digest of the properties", flip(OWN + METHOD + DIGEST), VALUE),
    Mutation("signature value", flip('<ds:SignatureValue Id="signature-value">', 5), VALUE),
    Mutation("signature value of zeros", value(bytes(64)), VALUE),
    Mutation("signature value too short", value(bytes(63)), VALUE),
    Mutation("signature value too long", value(bytes(65)), VALUE),
    Mutation("signature value of one byte", value(bytes(1)), VALUE),
    Mutation("another signature algorithm", sub("ecdsa-sha512", "ecdsa-sha256"), VALUE),
    Mutation("an algorithm of another key", sub("ecdsa-sha512", "rsa-sha512"), VALUE),
    Mutation("signing time", sub(TIME, TIME.replace("10:00", "11:00")), VALUE),
    Mutation("policy", sub("3516.16.2", "3516.16.3"), VALUE),
    Mutation("media type", sub("<xades:MimeType>text/xml", "<xades:MimeType>text/html"), VALUE),
    Mutation("order of the parts", swap_parts, VALUE),
    Mutation("another canonicalization", sub(C14N, EXCLUSIVE), VALUE),
    Mutation("white space in SignedInfo", sub("<ds:SignedInfo>", "<ds:SignedInfo>\n"), VALUE),
    Mutation("white space in the properties", sub(PROPERTIES, PROPERTIES + " "), VALUE),
    Mutation("issuer name", rsub("<ds:X509IssuerName>", "<ds:X509IssuerName>X"), VALUE),
    Mutation("a namespace more on the root", sub(ROOT, '<asic:XAdESSignatures xmlns:z="urn:z" '), VALUE),
    # What it refers to.
    Mutation("a foreign part", sub('URI="/attachment1"', 'URI="/attachment2"'), REFERENCE),
    Mutation("a part outside", sub('URI="/attachment1"', 'URI="https://example.org/"'), REFERENCE),
    Mutation("a part of the file system", sub('URI="/attachment1"', 'URI="file:///etc/passwd"'), REFERENCE),
    Mutation("a part less", rsub(PART2 + ".*?</ds:Reference>", ""), REFERENCE),
    Mutation("a part more", sub("</ds:SignedInfo>", THIRD + "</ds:SignedInfo>"), REFERENCE),
    Mutation(
        "a part twice",
        rsub("(" + PART2 + "(.*?)</ds:Reference>)", r'\g<1><ds:Reference URI="/attachment1">\g<2></ds:Reference>'),
        REFERENCE,
    ),
    Mutation("one part for the other", sub('URI="/attachment1"', 'URI="/message.xml"'), REFERENCE),
    # Identifiers.
    Mutation(
        "a reference twice, with its identifier", rsub("(" + PART2 + ".*?</ds:Reference>)", r"\g<1>\g<1>"), MALFORMED
    ),
    Mutation("an identifier twice", sub('Id="ocsp-response-1"', 'Id="signed-properties"'), MALFORMED),
    Mutation(
        "an identifier twice in another spelling",
        sub(OBJECT, '<ds:Object ID="signature"><xades:QualifyingProperties'),
        MALFORMED,
    ),
    Mutation("an xml:id", sub(OBJECT, '<ds:Object xml:id="x"><xades:QualifyingProperties'), MALFORMED),
    Mutation("an xml:lang that a subtree would inherit", sub(ROOT, '<asic:XAdESSignatures xml:lang="de" '), MALFORMED),
    Mutation("an unknown attribute", sub("<ds:KeyInfo>", '<ds:KeyInfo Other="x">'), MALFORMED),
    Mutation(
        "an attribute of another namespace", sub("<ds:KeyInfo>", '<ds:KeyInfo xmlns:z="urn:z" z:Id="x">'), MALFORMED
    ),
    Mutation("a digest in another spelling", rsub("([AQgw])==</ds:DigestValue>", "B==</ds:DigestValue>"), MALFORMED),
    Mutation("no identifier of the signature", sub('<ds:Signature Id="signature">', "<ds:Signature>"), MALFORMED),
    Mutation("properties of another signature", sub('Target="#signature"', 'Target="#other"'), MALFORMED),
    # Comments and other things that readers see differently.
    Mutation("a comment in SignedInfo", sub("<ds:SignedInfo>", "<ds:SignedInfo><!-- -->"), MALFORMED),
    Mutation("a comment in a digest", sub(DIGEST, DIGEST + "<!-- -->"), MALFORMED),
    Mutation("a comment in the signing time", sub(TIME, TIME + "<!-- -->"), MALFORMED),
    Mutation("a comment in the certificate", sub(CERT, CERT + "<!-- -->"), MALFORMED),
    Mutation("a processing instruction in SignedInfo", sub("<ds:SignedInfo>", "<ds:SignedInfo><?x y?>"), MALFORMED),
    Mutation("a processing instruction in the properties", sub(PROPERTIES, PROPERTIES + "<?x y?>"), MALFORMED),
    Mutation("a comment before the root", sub(ROOT, "<!-- --><asic:XAdESSignatures "), MALFORMED),
    Mutation("a comment after the root", lambda text: text + "<!-- -->", MALFORMED),
    Mutation("a processing instruction after the root", lambda text: text + "<?x?>", MALFORMED),
    Mutation("text between elements", sub("<ds:SignedInfo>", "x<ds:SignedInfo>"), MALFORMED),
    Mutation("text in SignedInfo", sub("</ds:SignedInfo>", "x</ds:SignedInfo>"), MALFORMED),
    Mutation("an element in a digest", sub(DIGEST, DIGEST + "<x/>"), MALFORMED),
    Mutation("a document type", sub(ROOT, "<!DOCTYPE asic:XAdESSignatures>" + ROOT), NOT_XML),
    Mutation(
        "an entity",
        both(sub(ROOT, '<!DOCTYPE a [<!ENTITY e "x">]><asic:XAdESSignatures '), sub("text/xml", "&e;")),
        NOT_XML,
    ),
    Mutation("an undeclared entity", sub("text/xml", "&e;"), NOT_XML),
    Mutation("UTF-16", sub('encoding="UTF-8"', 'encoding="UTF-16"'), NOT_XML),
    Mutation("UTF-7", sub('encoding="UTF-8"', 'encoding="UTF-7"'), NOT_XML),
    # Not a document at all.
    Mutation("nothing", lambda _: "", NOT_XML),
    Mutation("no XML", lambda _: "signature", NOT_XML),
    Mutation("cut off", lambda text: text[:-20], NOT_XML),
    Mutation("something after the end", lambda text: text + "<a/>", NOT_XML),
    Mutation("a document twice", lambda text: text + text, NOT_XML),
    Mutation("too large", lambda text: text + " " * (1 << 20), MALFORMED),
    Mutation("too large inside", sub("Musterstadt", "M" * (1 << 20)), MALFORMED),
    Mutation("too deep", sub(UNSIGNED, UNSIGNED + "<x>" * 100 + "</x>" * 100), NOT_XML),
    Mutation("too many elements", sub(UNSIGNED, UNSIGNED + "<x></x>" * 11_000), NOT_XML),
    Mutation("another root", both(sub(ROOT, "<asic:Other "), sub("</asic:XAdESSignatures", "</asic:Other")), MALFORMED),
    Mutation("a root of another namespace", sub("02918/v1.2.1#", "02918/v9#"), MALFORMED),
    Mutation("elements of another namespace", sub("http://uri.etsi.org/01903/v1.3.2#", "urn:x"), MALFORMED),
    # Wrapping: something else in the place of what was signed.
    Mutation("a second signature", twice("<ds:Signature .*</ds:Signature>"), MALFORMED),
    Mutation("an empty second signature", sub("</ds:Signature>", "</ds:Signature><ds:Signature/>"), MALFORMED),
    Mutation("the signature in a forged one", wrap, MALFORMED),
    Mutation("the properties elsewhere", move_properties, MALFORMED),
    Mutation("second properties", twice("<xades:SignedProperties.*</xades:SignedProperties>"), MALFORMED),
    Mutation("second properties among the unsigned", unsigned('<xades:SignedProperties Id="x"/>'), MALFORMED),
    Mutation(
        "second properties in a time-stamp",
        unsigned('<xades:SignatureTimeStamp><xades:SignedProperties Id="x"/></xades:SignatureTimeStamp>'),
        MALFORMED,
    ),
    Mutation("second SignedInfo", sub("<ds:KeyInfo>", "<ds:SignedInfo/><ds:KeyInfo>"), MALFORMED),
    Mutation("second object", sub("</ds:Object>", "</ds:Object><ds:Object/>"), MALFORMED),
    Mutation("no object", rsub("<ds:Object>.*</ds:Object>", ""), MALFORMED),
    Mutation("no properties", rsub(element("xades:SignedProperties"), ""), MALFORMED),
    Mutation(
        "properties in the wrong order",
        rsub("(<xades:SignedProperties.*</xades:SignedProperties>)(.*</xades:UnsignedProperties>)", r"\g<2>\g<1>"),
        MALFORMED,
    ),
    Mutation("no signature value", rsub(element("ds:SignatureValue"), ""), MALFORMED),
    Mutation("an empty signature value", rsub(r"(signature-value\">)[^<]*", r"\g<1>"), MALFORMED),
    Mutation("a signature value that isn't base64", rsub(r"(signature-value\">)[^<]*", r"\g<1>????"), MALFORMED),
    Mutation("a signature value with bad padding", rsub(r"(signature-value\">)[^<]*", r"\g<1>AAAAA"), MALFORMED),
    Mutation("an unknown unsigned property", unsigned("<xades:CounterSignature/>"), MALFORMED),
    Mutation(
        "validation values twice",
        rsub(
            "(" + element("xades:RevocationValues") + ")",
            r"\g<1><xades:RevocationValues><xades:OCSPValues/></xades:RevocationValues>",
        ),
        MALFORMED,
    ),
    # The certificate.
    Mutation("no key info", rsub(element("ds:KeyInfo"), ""), MALFORMED),
    Mutation("no certificate", rsub(element("ds:X509Certificate"), ""), MALFORMED),
    Mutation("an empty certificate", rsub("(<ds:X509Certificate>)[^<]*", r"\g<1>"), MALFORMED),
    Mutation("two certificates", twice(element("ds:X509Certificate")), MALFORMED),
    Mutation("a bare key besides", sub("<ds:KeyInfo>", "<ds:KeyInfo><ds:KeyName>x</ds:KeyName>"), MALFORMED),
    Mutation("a certificate that is none", rsub("(<ds:X509Certificate>)[^<]*", r"\g<1>AAAA"), NO_CERTIFICATE),
    Mutation("a certificate with something after it", append_to_certificate, NO_CERTIFICATE),
    Mutation("the digest of another certificate", flip("<xades:CertDigest>" + METHOD + DIGEST), CERTIFICATE),
    Mutation("another serial number", rsub("<ds:X509SerialNumber>", "<ds:X509SerialNumber>1"), CERTIFICATE),
    Mutation("a serial number that is none", rsub("<ds:X509SerialNumber>", "<ds:X509SerialNumber>x"), MALFORMED),
    # Its status.
    Mutation("no unsigned properties", rsub(element("xades:UnsignedProperties"), ""), MALFORMED),
    Mutation("no revocation values", rsub(element("xades:RevocationValues"), ""), MALFORMED),
    Mutation("no OCSP response", rsub(element("xades:EncapsulatedOCSPValue"), ""), MALFORMED),
    Mutation("an OCSP response that is none", rsub('(ocsp-response-1">)[^<]*', r"\g<1>AAAA"), MALFORMED),
    Mutation(
        "too many OCSP responses",
        sub(OCSP, "<xades:EncapsulatedOCSPValue>AAAA</xades:EncapsulatedOCSPValue>" * 20 + OCSP),
        MALFORMED,
    ),
    Mutation("something else among the OCSP responses", sub(OCSP, "<xades:Other>AAAA</xades:Other>" + OCSP), MALFORMED),
]

SIGNED = [
    Mutation(
        "an enveloped transform",
        sub(OWN, OWN + transforms("http://www.w3.org/2000/09/xmldsig#enveloped-signature")),
        MALFORMED,
        True,
    ),
    Mutation(
        "an XPath transform",
        sub(OWN, OWN + transforms("http://www.w3.org/TR/1999/REC-xpath-19991116", inner="<ds:XPath>1</ds:XPath>")),
        MALFORMED,
        True,
    ),
    Mutation(
        "an XSLT transform", sub(OWN, OWN + transforms("http://www.w3.org/TR/1999/REC-xslt-19991116")), MALFORMED, True
    ),
    Mutation(
        "a base64 transform", sub(OWN, OWN + transforms("http://www.w3.org/2000/09/xmldsig#base64")), MALFORMED, True
    ),
    Mutation("a transform with comments", sub(OWN, OWN + transforms(C14N + "#WithComments")), MALFORMED, True),
    Mutation(
        "an exclusive transform with comments", sub(OWN, OWN + transforms(EXCLUSIVE + "WithComments")), MALFORMED, True
    ),
    Mutation("two transforms", sub(OWN, OWN + transforms(C14N, EXCLUSIVE)), MALFORMED, True),
    Mutation("no transform in transforms", sub(OWN, OWN + transforms()), MALFORMED, True),
    Mutation(
        "a transform with a prefix list",
        sub(
            OWN, OWN + transforms(EXCLUSIVE, inner=f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="ds"/>')
        ),
        MALFORMED,
        True,
    ),
    Mutation("a transform of a part", sub(PART1, PART1 + transforms(C14N)), MALFORMED, True),
    Mutation("canonicalization with comments", sub(C14N, C14N + "#WithComments"), MALFORMED, True),
    Mutation("canonicalization 1.1", sub(C14N, "http://www.w3.org/2006/12/xml-c14n11"), MALFORMED, True),
    Mutation("an invented canonicalization", sub(C14N, "urn:x"), MALFORMED, True),
    Mutation(
        "SHA-1 over the properties",
        sub(OWN + METHOD_OPEN, OWN + f'<ds:DigestMethod Algorithm="{SHA1}">'),
        MALFORMED,
        True,
    ),
    Mutation(
        "MD5 over the properties", sub(OWN + METHOD_OPEN, OWN + f'<ds:DigestMethod Algorithm="{MD5}">'), MALFORMED, True
    ),
    Mutation(
        "SHA-1 over a part", sub(PART1 + METHOD_OPEN, PART1 + f'<ds:DigestMethod Algorithm="{SHA1}">'), MALFORMED, True
    ),
    Mutation(
        "SHA-256 over a part", sub(PART1 + METHOD_OPEN, PART1 + f'<ds:DigestMethod Algorithm="{SHA256}">'), VALUE, True
    ),
    Mutation(
        "SHA-1 over the certificate",
        sub(
            f'<xades:CertDigest><ds:DigestMethod Algorithm="{SHA512}">',
            f'<xades:CertDigest><ds:DigestMethod Algorithm="{SHA1}">',
        ),
        MALFORMED,
        True,
    ),
    Mutation(
        "a digest algorithm with parameters",
        sub(PART1 + METHOD_OPEN, PART1 + f'<ds:DigestMethod Algorithm="{SHA512}"><x/>'),
        MALFORMED,
        True,
    ),
    Mutation("no digest algorithm", sub(PART1 + METHOD_OPEN, PART1 + "<ds:DigestMethod>"), MALFORMED, True),
    Mutation("ECDSA with SHA-1", sub(ECDSA, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1"), MALFORMED, True),
    Mutation("RSA with SHA-1", sub(ECDSA, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"), MALFORMED, True),
    Mutation("an HMAC", sub(ECDSA, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512"), MALFORMED, True),
    Mutation(
        "a signature algorithm with parameters",
        sub(f'{ECDSA}">', f'{ECDSA}"><ds:HMACOutputLength>0</ds:HMACOutputLength>'),
        MALFORMED,
        True,
    ),
    Mutation("properties that aren't signed", rsub(OWN + ".*?</ds:Reference>", ""), MALFORMED, True),
    Mutation(
        "properties referred to without a type",
        sub(' Type="http://uri.etsi.org/01903#SignedProperties"', ""),
        MALFORMED,
        True,
    ),
    Mutation(
        "properties referred to twice",
        rsub(
            "(" + OWN + "(.*?)</ds:Reference>)",
            rf'\g<1><ds:Reference {OWN_TYPE} URI="#signed-properties">\g<2></ds:Reference>',
        ),
        MALFORMED,
        True,
    ),
    Mutation("other properties", sub('URI="#signed-properties"', 'URI="#signature-value"'), MALFORMED, True),
    Mutation(
        "a reference to the signature",
        rsub("(" + PART1 + "(.*?)</ds:Reference>)", r'\g<1><ds:Reference URI="#signature">\g<2></ds:Reference>'),
        MALFORMED,
        True,
    ),
    Mutation(
        "a reference to the whole document",
        rsub("(" + PART1 + "(.*?)</ds:Reference>)", r'\g<1><ds:Reference URI="">\g<2></ds:Reference>'),
        MALFORMED,
        True,
    ),
    Mutation(
        "a reference without URI",
        rsub("(" + PART1 + "(.*?)</ds:Reference>)", r"\g<1><ds:Reference>\g<2></ds:Reference>"),
        MALFORMED,
        True,
    ),
    Mutation(
        "an XPointer", sub('URI="#signed-properties"', "URI=\"#xpointer(id('signed-properties'))\""), MALFORMED, True
    ),
    Mutation(
        "a part with a type",
        sub(PART1, PART1.replace(" URI", ' Type="http://www.w3.org/2000/09/xmldsig#Manifest" URI')),
        MALFORMED,
        True,
    ),
    Mutation("properties without identifier", sub(' Id="signed-properties"', ""), MALFORMED, True),
    Mutation("something else in SignedInfo", sub("</ds:SignedInfo>", "<x/></ds:SignedInfo>"), MALFORMED, True),
    Mutation("no references", rsub("<ds:Reference .*</ds:Reference>", ""), MALFORMED, True),
    Mutation("no parts", rsub(PART1 + ".*?</ds:SignedInfo>", "</ds:SignedInfo>"), REFERENCE, True),
    Mutation(
        "a hash chain that isn't there",
        both(rsub(PART2 + ".*?</ds:Reference>", ""), sub("/message.xml", "/sig-hashchainresult.xml")),
        REFERENCE,
        True,
    ),
    Mutation("no signing time", rsub(element("xades:SigningTime"), ""), MALFORMED, True),
    Mutation("two signing times", twice(element("xades:SigningTime")), MALFORMED, True),
    Mutation("a signing time without zone", sub("00.000Z", "00.000"), MALFORMED, True),
    Mutation("a signing time that doesn't exist", sub(TIME, TIME.replace("11-22", "19-39")), MALFORMED, True),
    Mutation("a signing time that is text", sub(TIME, "<xades:SigningTime>heute"), MALFORMED, True),
    Mutation(
        "a signing time outside of time", sub(TIME, "<xades:SigningTime>0001-01-01T00:00:00+14:00"), MALFORMED, True
    ),
    Mutation("no signing certificate", rsub(element("xades:SigningCertificate"), ""), MALFORMED, True),
    Mutation("two signing certificates", twice(element("xades:SigningCertificate")), MALFORMED, True),
    Mutation(
        "a signing certificate in both versions",
        sub("</xades:SigningCertificate>", "</xades:SigningCertificate><xades:SigningCertificateV2/>"),
        MALFORMED,
        True,
    ),
    Mutation("two certificates named", twice(element("xades:Cert")), MALFORMED, True),
    Mutation(
        "an unknown signed property",
        sub("<xades:SignaturePolicyIdentifier>", "<xades:Other/><xades:SignaturePolicyIdentifier>"),
        MALFORMED,
        True,
    ),
    Mutation(
        "the digest of another certificate, signed", flip("<xades:CertDigest>" + METHOD + DIGEST), CERTIFICATE, True
    ),
    Mutation("the digest of another part, signed", flip(PART1 + METHOD + DIGEST), VALUE, True),
    Mutation("a part left unsigned", rsub(PART2 + ".*?</ds:Reference>", ""), REFERENCE, True),
    Mutation("a part too many, signed", sub("</ds:SignedInfo>", THIRD + "</ds:SignedInfo>"), REFERENCE, True),
]


@pytest.mark.parametrize("mutation", [*PLAIN, *SIGNED], ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_mutated_signature_gets_its_answer(mutation: Mutation) -> None:
    good = world().sign()
    changed = mutation.change(good.decode()).encode()
    assert changed != good
    if mutation.signed:
        changed = resign(changed, world().key)
    verifier = world().verifier()
    assert outcome(changed, verifier) == mutation.expected
    # Again, with everything remembered that can be: a warm cache must not be kinder.
    assert isinstance(outcome(good, verifier), VerifiedSignature)
    assert outcome(changed, verifier) == mutation.expected


def test_signing_again_makes_an_unchanged_document_good() -> None:
    """Without this, every SIGNED mutation could be refused for the forger's own mistake."""
    resigned = resign(world().sign(), world().key)
    assert isinstance(outcome(resigned, world().verifier()), VerifiedSignature)
