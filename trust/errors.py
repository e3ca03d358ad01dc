"""The error tree of `trust`.

    TrustError
    ├── MalformedInput         the bytes are not what they claim to be            (the sender's fault)
    │   ├── SignatureMalformed
    │   ├── HashChainMalformed
    │   └── ContainerInvalid   a damaged, incomplete or ambiguous container
    ├── SignatureInvalid       well-formed, but it does not hold                   (the sender's fault)
    ├── HashChainInvalid       a hash chain that doesn't lead to what it should    (the sender's fault)
    ├── CertificateUntrusted   no path, wrong usage, outside its validity          (the sender's fault)
    ├── StatusNotGood          OCSP: revoked, unknown, stale, not authorised       (the sender's or its CA's fault)
    │   └── CertificateRevoked
    ├── TimestampInvalid       a time-stamp token that does not hold               (the TSA's fault)
    ├── ConfigurationInvalid   the global configuration is not authentic           (the source's fault)
    │   ├── ConfigurationExpired
    │   └── ConfigurationRolledBack
    ├── KeyUnavailable         our key or token can't sign                         (ours)
    └── FetchFailed            a trust service did not answer                      (nobody's: try again)

`code` is the last part of X-Road's fault code (7.8 spelling: PR-MESS and the 7.8 error list), e.g.
`invalid_signature_value`. `str(error)` is for logs and never shown to a client.
"""

from __future__ import annotations


class TrustError(Exception):
    """Whatever `trust` raises. Carries the fault code and what to do about it."""

    default_code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.hint = hint


class MalformedInput(TrustError):
    """The bytes are not what they claim to be."""

    default_code = "invalid_xml"


class SignatureMalformed(MalformedInput):
    """Not a signature of the supported profile."""

    default_code = "malformed_signature"


class HashChainMalformed(MalformedInput):
    """Not a hash chain, or one that goes in a circle."""

    default_code = "malformed_hash_chain"


class ContainerInvalid(MalformedInput):
    """A container that is damaged, incomplete, too large, or that different readers would read differently."""

    default_code = "asic_malformed_zip"


class HashChainInvalid(TrustError):
    """A hash chain that doesn't lead from its result to the inputs."""

    default_code = "invalid_hash_chain"


class SignatureInvalid(TrustError):
    """A well-formed signature that does not hold."""

    default_code = "invalid_signature_value"


class CertificateUntrusted(TrustError):
    """A certificate without a valid path, of the wrong usage, or outside its validity."""

    default_code = "cert_validation"


class StatusNotGood(TrustError):
    """A certificate whose status is not known to be good now."""

    default_code = "cert_validation"


class CertificateRevoked(StatusNotGood):
    """An authentic, current answer says that the certificate is revoked."""


class TimestampInvalid(TrustError):
    """A time-stamp token that does not hold."""

    default_code = "timestamp_validation"


class ConfigurationInvalid(TrustError):
    """A global configuration that is not authentic or not well-formed."""

    default_code = "malformed_global_conf"


class ConfigurationExpired(ConfigurationInvalid):
    """The global configuration's validity has ended: processing stops."""

    default_code = "global_conf_outdated"


class ConfigurationRolledBack(ConfigurationInvalid):
    """A configuration older than one that was already accepted."""

    default_code = "global_conf_rolled_back"


class KeyUnavailable(TrustError):
    """Our own key or token can't sign."""

    default_code = "cannot_create_signature"


class FetchFailed(TrustError):
    """A trust service did not answer in time; trying again may help."""

    default_code = "network_error"
