"""XAdES signatures over messages: building ours, verifying anyone's.

Follows PR-MESSTRANSP 2.7 (signature profile), XML Signature 1.1 and XAdES 1.3.2 (ETSI EN 319 132-1).
"""

from trust.xades.build import SignatureBuilder
from trust.xades.model import ParsedSignature, PartReference, SignedPart, VerifiedSignature
from trust.xades.parse import parse_signature
from trust.xades.verify import verify_signature

__all__ = [
    "ParsedSignature",
    "PartReference",
    "SignatureBuilder",
    "SignedPart",
    "VerifiedSignature",
    "parse_signature",
    "verify_signature",
]
