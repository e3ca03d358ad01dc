"""The text of the signatures that we write: canonical by construction.

Follows PR-MESSTRANSP 2.7 and the XAdES profile of X-Road (root `asic:XAdESSignatures`, one ds:Reference per part with
the signed properties first, the form of X-Road 8). Every element is written as Canonical XML 1.0 writes it:
attributes sorted, no empty-element tags, no white space between tags, minimal escaping. The one thing that
canonicalization adds is the namespaces in scope at the two signed elements, so those two start tags exist in two
spellings. The same pieces make the text (`trust.xades.build`) and the pattern that recognises it
(`trust.xades.recognise`).
"""

from __future__ import annotations

from typing import Final

from trust.canonical import CanonicalisationMethod, DigestAlgorithm, escape_text

ASIC: Final = "http://uri.etsi.org/02918/v1.2.1#"
# The namespace of signatures in archives of X-Road's earlier releases; read, never written.
ASIC_FORMER: Final = "http://uri.etsi.org/02918/v1.1.1#"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
XADES: Final = "http://uri.etsi.org/01903/v1.3.2#"
SIGNED_PROPERTIES_TYPE: Final = "http://uri.etsi.org/01903#SignedProperties"

_NAMESPACES: Final = f'xmlns:asic="{ASIC}" xmlns:ds="{DS}" xmlns:xades="{XADES}"'.encode()
_SHA512_METHOD: Final = f'<ds:DigestMethod Algorithm="{DigestAlgorithm.SHA512.value}"></ds:DigestMethod>'.encode()

HEAD: Final = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="no"?><asic:XAdESSignatures '
    + _NAMESPACES
    + b'><ds:Signature Id="signature">'
)
INFO_OPEN: Final = b"<ds:SignedInfo>"
INFO_OPEN_CANONICAL: Final = b"<ds:SignedInfo " + _NAMESPACES + b">"
METHOD_OPEN: Final = (
    f'<ds:CanonicalizationMethod Algorithm="{CanonicalisationMethod.INCLUSIVE.value}"></ds:CanonicalizationMethod>'
    '<ds:SignatureMethod Algorithm="'
).encode()
METHOD_CLOSE: Final = b'"></ds:SignatureMethod>'
PROPERTIES_REFERENCE_OPEN: Final = (
    f'<ds:Reference Id="signature-reference-0" Type="{SIGNED_PROPERTIES_TYPE}" URI="#signed-properties">'.encode()
    + _SHA512_METHOD
    + b"<ds:DigestValue>"
)
REFERENCE_OPEN: Final = b'<ds:Reference Id="signature-reference-'
REFERENCE_URI: Final = b'" URI="'
REFERENCE_DIGEST: Final = b'">' + _SHA512_METHOD + b"<ds:DigestValue>"
REFERENCE_CLOSE: Final = b"</ds:DigestValue></ds:Reference>"
INFO_CLOSE: Final = b"</ds:SignedInfo>"
VALUE_OPEN: Final = b'<ds:SignatureValue Id="signature-value">'
CERTIFICATE_OPEN: Final = b"</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>"
CERTIFICATE_CLOSE: Final = (
    b'</ds:X509Certificate></ds:X509Data></ds:KeyInfo><ds:Object><xades:QualifyingProperties Target="#signature">'
)
PROPERTIES_OPEN: Final = b'<xades:SignedProperties Id="signed-properties">'
PROPERTIES_OPEN_CANONICAL: Final = b"<xades:SignedProperties " + _NAMESPACES + b' Id="signed-properties">'
TIME_OPEN: Final = b"<xades:SignedSignatureProperties><xades:SigningTime>"
SIGNER_OPEN: Final = b"</xades:SigningTime><xades:SigningCertificate><xades:Cert>"
IDENTITY_OPEN: Final = b"<xades:CertDigest>" + _SHA512_METHOD + b"<ds:DigestValue>"
IDENTITY_ISSUER: Final = b"</ds:DigestValue></xades:CertDigest><xades:IssuerSerial><ds:X509IssuerName>"
IDENTITY_SERIAL: Final = b"</ds:X509IssuerName><ds:X509SerialNumber>"
IDENTITY_CLOSE: Final = b"</ds:X509SerialNumber></xades:IssuerSerial></xades:Cert>"
# X-Road's signature policy, word for word: real verifiers read it, nobody fetches it.
POLICY: Final = (
    b"</xades:SigningCertificate><xades:SignaturePolicyIdentifier><xades:SignaturePolicyId><xades:SigPolicyId>"
    b'<xades:Identifier Qualifier="OIDAsURN">urn:oid:1.3.6.1.4.1.3516.16.2</xades:Identifier>'
    b"<xades:Description>Profile for High Performance Digital Signatures (version 1.2)</xades:Description>"
    b"</xades:SigPolicyId><xades:SigPolicyHash>" + _SHA512_METHOD + b"<ds:DigestValue>"
    b"BuO0EDNfkxSVlUbxCzmQPzX1AUF1/xx9ytWHk3/6SAOePxQiniEfDYk+90QeYb3lWpV3Izhuz9fKaYyE+lTcXw=="
    b"</ds:DigestValue></xades:SigPolicyHash><xades:SigPolicyQualifiers><xades:SigPolicyQualifier>"
    b"<xades:SPURI>https://repo.cyber.ee/dsig-profile-1.2.pdf</xades:SPURI>"
    b"</xades:SigPolicyQualifier></xades:SigPolicyQualifiers></xades:SignaturePolicyId></xades:SignaturePolicyIdentifier>"
    b"</xades:SignedSignatureProperties><xades:SignedDataObjectProperties>"
    b'<xades:DataObjectFormat ObjectReference="#signature-reference-'
)
_FORMAT_CLOSE: Final = (
    b"</xades:MimeType></xades:DataObjectFormat></xades:SignedDataObjectProperties></xades:SignedProperties>"
)
PROPERTIES_REST: Final = POLICY + b'1"><xades:MimeType>text/xml' + _FORMAT_CLOSE
# The form of X-Road 7: what is signed comes first, the signed properties second.
CLASSIC_PROPERTIES_REST: Final = POLICY + b'0"><xades:MimeType>text/xml' + _FORMAT_CLOSE
CHAIN_PROPERTIES_REST: Final = POLICY + b'0"><xades:MimeType>application/hash-chain-result' + _FORMAT_CLOSE
CLASSIC_PROPERTIES_REFERENCE_OPEN: Final = PROPERTIES_REFERENCE_OPEN.replace(b"reference-0", b"reference-1")
UNSIGNED_OPEN: Final = b"<xades:UnsignedProperties><xades:UnsignedSignatureProperties>"
CERTIFICATE_REFS_OPEN: Final = b'<xades:CompleteCertificateRefs Id="complete-certificate-refs"><xades:CertRefs>'
CERTIFICATE_REF_OPEN: Final = b'<xades:Cert URI="#encapsulated-cert-'
CERTIFICATE_REFS_CLOSE: Final = b"</xades:CertRefs></xades:CompleteCertificateRefs><xades:CertificateValues>"
CERTIFICATE_VALUE_OPEN: Final = b'<xades:EncapsulatedX509Certificate Id="encapsulated-cert-'
CERTIFICATE_VALUE_CLOSE: Final = b"</xades:EncapsulatedX509Certificate>"
CERTIFICATE_VALUES_CLOSE: Final = b"</xades:CertificateValues>"
REVOCATION_OPEN: Final = b"<xades:RevocationValues><xades:OCSPValues>"
OCSP_OPEN: Final = b'<xades:EncapsulatedOCSPValue Id="ocsp-response-'
OCSP_CLOSE: Final = b"</xades:EncapsulatedOCSPValue>"
TAIL: Final = (
    b"</xades:OCSPValues></xades:RevocationValues></xades:UnsignedSignatureProperties></xades:UnsignedProperties>"
    b"</xades:QualifyingProperties></ds:Object></ds:Signature></asic:XAdESSignatures>"
)


def certificate_identity(digest: bytes, issuer: str, serial: int) -> bytes:
    """CertDigest and IssuerSerial up to the end of their Cert; `digest` is base64 of the SHA-512."""
    return b"".join(
        (
            IDENTITY_OPEN,
            digest,
            IDENTITY_ISSUER,
            escape_text(issuer).encode(),
            IDENTITY_SERIAL,
            str(serial).encode(),
            IDENTITY_CLOSE,
        )
    )
