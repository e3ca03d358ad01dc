"""A gateway's key ring: its tokens as the settings name them, logged in with the PINs that the operator gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.settings import GatewaySettings
from trust.certificates import CertificateUsage
from trust.errors import KeyUnavailable
from trust.tokens import KeyRing, RingKey, SoftwareToken, Token, pin_from
from trust.tokens.pkcs11 import PKCS11Token

SOFTWARE: Final = "software"
PIN_VARIABLE: Final = "DATENWEG_PIN"
PKCS11_PIN_VARIABLE: Final = "DATENWEG_PKCS11_PIN"
# Keys that a gateway was set up with before it had a ring: key and certificate in one container.
CONTAINED: Final[Mapping[str, CertificateUsage]] = {
    "signing": CertificateUsage.SIGNING,
    "authentication": CertificateUsage.AUTHENTICATION,
}


def build_ring(settings: GatewaySettings) -> KeyRing:
    """The ring with its tokens closed. Raises KeyUnavailable if a container that the settings name isn't there."""
    for name in ("signing_key_file", "authentication_key_file"):
        # The default places may be empty, with the keys in the ring; a place that the operator wrote down may not.
        if name in settings.model_fields_set and not getattr(settings, name).exists():
            raise KeyUnavailable(f"can't read {getattr(settings, name)}", hint=f"check {name}")
    containers = {"signing": settings.signing_key_file, "authentication": settings.authentication_key_file}
    tokens: list[Token] = [SoftwareToken(settings.key_directory / SOFTWARE, containers, name=SOFTWARE)]
    if settings.pkcs11_module is not None and settings.pkcs11_token is not None:
        tokens.append(PKCS11Token(settings.pkcs11_module, settings.pkcs11_token))
    return KeyRing(settings.key_directory, tokens, CONTAINED)


def read_pin(settings: GatewaySettings, token: str = SOFTWARE) -> str:
    """The token's PIN: from its file, the environment, or the terminal. Raises KeyUnavailable (`token_not_active`)."""
    if token == SOFTWARE:
        return pin_from(file=settings.pin_file, variable=PIN_VARIABLE, prompt="PIN of the software token: ")
    return pin_from(file=settings.pkcs11_pin_file, variable=PKCS11_PIN_VARIABLE, prompt=f"PIN of the token {token}: ")


def open_ring(settings: GatewaySettings, *, pin: str | None = None) -> KeyRing:
    """The ring with every token open; `pin` is the software token's. Raises KeyUnavailable."""
    ring = build_ring(settings)
    for token in ring.tokens.values():
        known = pin if token.name == SOFTWARE else None
        token.login(known or read_pin(settings, token.name))
    return ring


def first_usable(ring: KeyRing, usage: CertificateUsage, *, member: str | None = None) -> RingKey:
    """The key activated last, of a member if one is named. Raises KeyUnavailable (`key_not_found`)."""
    keys, problems = ring.usable(usage)
    for key in keys:
        # A key from before the ring doesn't record whose it is: such a gateway had its owner's key alone.
        if member is None or key.entry.member in {None, member}:
            return key
    if problems:
        raise problems[0]
    raise KeyUnavailable(
        f"there is no {usage.value} key with an active certificate",
        code="key_not_found",
        hint="datenweg key generate, csr, import --activate: see docs/operations.md, Keys and certificates",
    )
