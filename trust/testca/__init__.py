"""A certification authority, OCSP responder and time-stamping authority for test instances, and for nothing else.

Its private keys lie unencrypted on disk and it certifies whomever its operator names. It therefore refuses every
instance whose identifier does not say that it is one for tests.
"""

from trust.testca.app import build_app
from trust.testca.authority import CertificateAuthority, NotATestInstance, Revocation
from trust.testca.profiles import CertificateRefused

__all__ = ["CertificateAuthority", "CertificateRefused", "NotATestInstance", "Revocation", "build_app"]
