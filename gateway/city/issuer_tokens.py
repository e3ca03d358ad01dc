"""What the demo's issuer gives its clients: codes, and tokens for them.

OpenID Connect Core 1.0 section 3.1.3. A code is for one use within a minute, by the client and address that it was
given to, with the verifier of its challenge (RFC 7636). Access tokens are JWTs (RFC 9068), bound to the app's key where
it proves one (RFC 9449). State lives in memory: after a restart the citizen logs in again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

from aiohttp import web

from gateway.city.citizens import DemoCitizen
from gateway.city.issuer_clients import DemoIssuerSettings, IssuerClient, Refused
from gateway.city.issuer_keys import IssuerKeys
from gateway.clock import Clock
from gateway.exchange.dpop import MAX_AGE_SECONDS, ProofRefused, verify_proof

_CODE_MS: Final = 60_000
_MAX_CODES: Final = 1_000
_MAX_PROOFS: Final = 10_000
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a code stands for until it is exchanged."""

    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str
    scope: str
    citizen: DemoCitizen
    level: str
    logged_in_ms: int
    session: str
    expires_ms: int


class IssuerTokens:
    """Codes and tokens. `issued` hears of the client and the session of each token (for back-channel logout)."""

    def __init__(
        self, settings: DemoIssuerSettings, keys: IssuerKeys, clock: Clock, *, issued: Callable[[str, str], None]
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._issued = issued
        self._clients = {client.client_id: client for client in settings.clients}
        self._codes: OrderedDict[str, _Grant] = OrderedDict()
        self._proofs: OrderedDict[bytes, int] = OrderedDict()

    def code_for(
        self, query: Mapping[str, str], citizen: DemoCitizen, level: str, *, logged_in_ms: int, session: str
    ) -> str:
        """A code for what a checked authentication request asks for."""
        now_ms = self._clock.now_ms()
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Grant(
            query["client_id"], query["redirect_uri"], query["code_challenge"], query["nonce"], query["scope"],
            citizen, level, logged_in_ms, session, now_ms + _CODE_MS,
        )  # fmt: skip
        if len(self._codes) > _MAX_CODES:
            self._codes.popitem(last=False)
        return code

    def client_of(self, request: web.Request, form: Mapping[str, str]) -> IssuerClient:
        """The client that authenticates itself (RFC 6749 section 2.3.1). Raises Refused."""
        client_id, secret = form.get("client_id", ""), form.get("client_secret")
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client_id, _, secret = map(unquote_plus, base64.b64decode(credentials).decode().partition(":"))
            except (binascii.Error, UnicodeDecodeError):
                raise Refused("invalid_client") from None
        client = self._clients.get(client_id)
        if client is None or (client.secret is None) != (secret is None):
            raise Refused("invalid_client")
        if client.secret is not None and not hmac.compare_digest(client.secret.encode(), (secret or "").encode()):
            raise Refused("invalid_client")
        return client

    def proven_key(self, request: web.Request) -> str | None:
        """RFC 9449 section 5: the key that the client proves to hold, to which its token is then bound; None: none."""
        proofs = request.headers.getall("DPoP", [])
        if not proofs:
            return None
        url = f"{self._settings.issuer.rstrip('/')}/token"
        try:
            if len(proofs) != 1:
                raise ProofRefused("doubled")
            proof = verify_proof(proofs[0], method="POST", urls=(url,), at=self._clock.now())
            now_ms = self._clock.now_ms()
            if self._proofs.get(proof.fingerprint, 0) > now_ms:
                raise ProofRefused("replayed")
        except ProofRefused:
            raise Refused("invalid_dpop_proof") from None
        self._proofs[proof.fingerprint] = now_ms + 2 * MAX_AGE_SECONDS * 1000
        if len(self._proofs) > _MAX_PROOFS:
            self._proofs.popitem(last=False)
        return proof.thumbprint

    def exchange(self, client: IssuerClient, form: Mapping[str, str], thumbprint: str | None) -> dict[str, Any]:
        """The tokens for a code, as the token endpoint answers. Raises Refused."""
        if form.get("grant_type") != "authorization_code":
            raise Refused("unsupported_grant_type")
        # Taken out before any check: a code that was tried is spent (RFC 6749 section 4.1.2).
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or grant.expires_ms <= self._clock.now_ms():
            raise Refused("invalid_grant")
        if grant.client_id != client.client_id or grant.redirect_uri != form.get("redirect_uri"):
            raise Refused("invalid_grant")
        verifier = form.get("code_verifier", "")
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(code_challenge(verifier), grant.challenge):
            raise Refused("invalid_grant")
        now = self._clock.now_ms() // 1000
        common = {
            "iss": self._settings.issuer,
            "sub": grant.citizen.subject,
            "iat": now,
            "exp": now + self._settings.token_seconds,
            "auth_time": grant.logged_in_ms // 1000,
            "acr": grant.level,
        }
        access = {
            **common, "aud": self._settings.audience, "client_id": client.client_id, "scope": grant.scope,
            "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        if thumbprint is not None:
            access["cnf"] = {"jkt": thumbprint}
        if grant.citizen.parent_of:
            access["represents"] = [
                {"sub": child.subject, "role": "parent", "name": child.name} for child in grant.citizen.parent_of
            ]
        identity = {**common, "aud": client.client_id, "nonce": grant.nonce, "sid": grant.session}
        self._issued(client.client_id, grant.session)
        if "profile" in grant.scope.split():
            citizen = grant.citizen
            identity |= {"name": citizen.name, "given_name": citizen.given_name, "family_name": citizen.family_name}
            access["name"] = citizen.name
        access_token = self._keys.sign(access, token_type="at+jwt")  # noqa: S106 - a type, no password - RFC 9068's name, no secret
        # Core section 3.1.3.6: ES256, so the left half of SHA-256.
        identity["at_hash"] = _base64(hashlib.sha256(access_token.encode()).digest()[:16])
        return {
            "access_token": access_token,
            "id_token": self._keys.sign(identity, token_type="JWT"),  # noqa: S106 - a type, no password
            "token_type": "Bearer" if thumbprint is None else "DPoP",
            "expires_in": self._settings.token_seconds,
            "scope": grant.scope,
        }


def code_challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, S256."""
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
