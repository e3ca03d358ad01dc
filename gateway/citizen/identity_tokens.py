"""ID tokens: who logged in, as the issuer signed it. A core: bytes and values in, a verified identity out.

OpenID Connect Core 1.0 section 3.1.3.7, RFC 8725. Access tokens are another matter (`gateway.exchange.citizen_tokens`).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from gateway.citizen.errors import LoginRefused
from gateway.messages.headers import IdentityLevel, UnknownIdentityLevel

# RFC 8725 section 3.1: a fixed list, asymmetric only, so that neither `none` nor a public key used as a MAC secret
# gets in.
ALGORITHMS: Final = ("ES256", "ES384", "PS256", "RS256")
_MAX_TOKEN: Final = 8_192
_LEEWAY_SECONDS: Final = 30
_MAX_TIME: Final = 1 << 40


class UnknownKey(Exception):
    """The token names a key that is not in the set; a fresh set may have it."""


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """Who logged in. `name` is what to show; it falls back to an empty text."""

    issuer: str
    subject: str
    name: str
    level: IdentityLevel


def verify_id_token(
    token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str, at: datetime
) -> VerifiedIdentity:
    """The identity in `token`. Raises UnknownKey, LoginRefused."""
    claims = _signed_claims(token, keys)
    # 3.1.3.7 (2): the issuer, exactly.
    if claims.get("iss") != issuer:
        raise LoginRefused("issuer")
    # (3), (4), (5): for us, and if for others too, then handed out to us.
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences or (len(audiences) > 1 and claims.get("azp") != client_id):
        raise LoginRefused("audience")
    if claims.get("azp", client_id) != client_id:
        raise LoginRefused("audience")
    # (9), (10): now, not once.
    now = at.timestamp()
    if now >= _time(claims, "exp"):
        raise LoginRefused("expired")
    if _time(claims, "iat") > now + _LEEWAY_SECONDS:
        raise LoginRefused("not yet valid")
    # (11): the answer to the login that this browser began.
    stated = claims.get("nonce")
    if not isinstance(stated, str) or not hmac.compare_digest(stated.encode(), nonce.encode()):
        raise LoginRefused("nonce")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise LoginRefused("subject")
    try:
        level = IdentityLevel.from_word(str(claims.get("acr", "")))
    except UnknownIdentityLevel:
        raise LoginRefused("identity level") from None
    if level is IdentityLevel.NONE:
        raise LoginRefused("identity level")
    name = claims.get("name")
    return VerifiedIdentity(issuer, subject, name[:200] if isinstance(name, str) else "", level)


def _signed_claims(token: str, keys: KeySet) -> Mapping[str, Any]:
    if len(token) > _MAX_TOKEN:
        raise LoginRefused("oversize")
    try:
        decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
    except InvalidKeyIdError:
        raise UnknownKey from None
    except (JoseError, ValueError, TypeError, KeyError):
        raise LoginRefused("signature") from None
    # An access token is signed with the same keys and must not pass for an identity (RFC 9068 section 4, RFC 8725
    # 3.11).
    if decoded.header.get("typ", "JWT") != "JWT":
        raise LoginRefused("type")
    return decoded.claims


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 < value < _MAX_TIME:
        raise LoginRefused(name)
    return value
