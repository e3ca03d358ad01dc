"""XAdES signatures over messages: building ours, verifying anyone's.

Follows PR-MESSTRANSP 2.7 (signature profile), XML Signature 1.1 and XAdES 1.3.2 (ETSI EN 319 132-1).
"""

from trust.xades.build import SignatureBuilder
from trust.xades.model import MessageSignature, ParsedSignature, PartReference, SignedPart, VerifiedSignature
from trust.xades.parse import parse_signature
from trust.xades.timestamp import SignatureValue, insert_timestamp, signature_value
from trust.xades.verify import discover_signature, verify_signature

__all__ = [
    "MessageSignature",
    "ParsedSignature",
    "PartReference",
    "SignatureBuilder",
    "SignatureValue",
    "SignedPart",
    "VerifiedSignature",
    "discover_signature",
    "insert_timestamp",
    "parse_signature",
    "signature_value",
    "verify_signature",
]
