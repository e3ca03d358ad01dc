"""ID tokens and logout tokens, as the issuer signed them. A core: bytes and values in, verified values out.

OpenID Connect Core 1.0 section 3.1.3.7, Back-Channel Logout 1.0 section 2.6, RFC 8725. Access tokens are another matter
(`gateway.exchange.citizen_tokens`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from gateway.citizen.errors import LoginRefused
from gateway.exchange.discovery import level_of
from gateway.messages.headers import IdentityLevel, UnknownIdentityLevel

# RFC 8725 section 3.1: a fixed list, asymmetric only, so that neither `none` nor a public key used as a MAC secret
# gets in.
ALGORITHMS: Final = ("ES256", "ES384", "PS256", "RS256")
_MAX_TOKEN: Final = 8_192
_LEEWAY_SECONDS: Final = 30
_MAX_TIME: Final = 1 << 40
_MAX_ID: Final = 255
_LOGOUT_SECONDS: Final = 300
_LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"


class UnknownKey(Exception):
    """The token names a key that is not in the set; a fresh set may have it."""


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """Who logged in. `name` is what to show; it falls back to an empty text. `session`: the issuer's `sid`, if any."""

    issuer: str
    subject: str
    name: str
    level: IdentityLevel
    session: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedLogout:
    """Whose sessions the issuer has ended: all of `subject`, or the one `session`; one of them may be empty."""

    issuer: str
    subject: str
    session: str
    fingerprint: bytes
    expires_ms: int


def verify_id_token(
    token: str,
    keys: KeySet,
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    at: datetime,
    levels: Mapping[str, str] | None = None,
    access_token: str | None = None,
) -> VerifiedIdentity:
    """The identity in `token`. Raises UnknownKey, LoginRefused.

    `levels`: what the issuer's `acr` values mean here, if they aren't our own words. `access_token`: the one that came
    with it, which it may name by a hash.
    """
    header, claims = _signed(token, keys)
    # An access token is signed with the same keys and must not pass for an identity (RFC 9068 section 4, RFC 8725
    # 3.11).
    if header.get("typ", "JWT") != "JWT":
        raise LoginRefused("type")
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
    if not isinstance(stated, str) or not hmac.compare_digest(stated.encode("utf-8", "replace"), nonce.encode()):
        raise LoginRefused("nonce")
    # 3.1.3.8: with the access token that it was issued with.
    if access_token is not None and "at_hash" in claims:
        _check_hash(claims["at_hash"], str(header.get("alg")), access_token)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_ID:
        raise LoginRefused("subject")
    try:
        level = level_of(claims.get("acr"), levels or {})
    except UnknownIdentityLevel:
        raise LoginRefused("identity level") from None
    name, session = claims.get("name"), claims.get("sid", "")
    if not isinstance(session, str) or len(session) > _MAX_ID:
        raise LoginRefused("session")
    return VerifiedIdentity(issuer, subject, name[:200] if isinstance(name, str) else "", level, session)


def verify_logout_token(token: str, keys: KeySet, *, issuer: str, client_id: str, at: datetime) -> VerifiedLogout:
    """Whom `token` logs out. That it wasn't used before is the caller's to check. Raises UnknownKey, LoginRefused."""
    header, claims = _signed(token, keys)
    # Back-Channel Logout 1.0 section 2.4: its own type where it has one; never that of an access token.
    if header.get("typ", "JWT") not in ("JWT", "logout+jwt"):
        raise LoginRefused("type")
    # 2.6 (3), (4), (5): from this issuer, for us, of now.
    audience = claims.get("aud")
    if claims.get("iss") != issuer:
        raise LoginRefused("issuer")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        raise LoginRefused("audience")
    now, issued = at.timestamp(), _time(claims, "iat")
    if not now - _LOGOUT_SECONDS <= issued <= now + _LEEWAY_SECONDS:
        raise LoginRefused("expired")
    # `exp` is required since the final version; an older issuer's token ends with our own limit.
    expires = _time(claims, "exp") if "exp" in claims else issued + _LOGOUT_SECONDS
    if now >= expires:
        raise LoginRefused("expired")
    # (6): somebody, or some session.
    subject, session = claims.get("sub", ""), claims.get("sid", "")
    if not all(isinstance(value, str) and len(value) <= _MAX_ID for value in (subject, session)):
        raise LoginRefused("subject")
    if not subject and not session:
        raise LoginRefused("subject")
    # (7): a logout, and nothing else.
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT_EVENT), dict):
        raise LoginRefused("events")
    # (8): an ID token can't be turned into one, nor one into an ID token.
    if "nonce" in claims:
        raise LoginRefused("nonce")
    identifier = claims.get("jti")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= _MAX_ID:
        raise LoginRefused("jti")
    fingerprint = hashlib.sha256(f"logout\0{issuer}\0{identifier}".encode("utf-8", "replace")).digest()
    # Remembered for as long as it could be taken again.
    ends = min(expires, issued + _LOGOUT_SECONDS)
    return VerifiedLogout(issuer, subject, session, fingerprint, ends * 1000)


def _check_hash(stated: object, algorithm: str, token: str) -> None:
    digest = hashlib.new("sha384" if algorithm.endswith("384") else "sha256", token.encode("utf-8", "replace")).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(stated, str) or not hmac.compare_digest(stated.encode("utf-8", "replace"), half):
        raise LoginRefused("access token")


def _signed(token: str, keys: KeySet) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if len(token) > _MAX_TOKEN:
        raise LoginRefused("oversize")
    try:
        decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
    except InvalidKeyIdError:
        raise UnknownKey from None
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise LoginRefused("signature") from None
    return decoded.header, decoded.claims


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 < value < _MAX_TIME:
        raise LoginRefused(name)
    return value
