"""Tokens: where private keys live, and the key ring that says what each key and certificate is for.

A Token keeps private keys and uses them, in software (PKCS#12 files) or in a device (PKCS#11). The KeyRing keeps what
is public about them (usage, member, certificates, which of these are active) and holds the rules of X-Road's signer:
a certificate belongs to a key that is here, has its usage, and comes from an approved authority.
"""

from trust.tokens.device_key import is_in_device
from trust.tokens.model import CertificateEntry, KeyEntry, KeyKind, Token, TokenInfo, TokenKind
from trust.tokens.pins import pin_from, require_strong_pin
from trust.tokens.ring import ImportedCertificate, KeyRing, RingKey
from trust.tokens.software import SoftwareToken

__all__ = [
    "CertificateEntry",
    "ImportedCertificate",
    "KeyEntry",
    "KeyKind",
    "KeyRing",
    "RingKey",
    "SoftwareToken",
    "Token",
    "TokenInfo",
    "TokenKind",
    "is_in_device",
    "pin_from",
    "require_strong_pin",
]
