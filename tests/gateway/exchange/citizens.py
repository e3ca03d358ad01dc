"""An OpenID Connect issuer reduced to its keys: discovery, key set, and tokens made to order, good and bad."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

AUDIENCE = "https://datenweg.example/musterstadt"
# Invented, and never to be found in a log line.
CITIZEN = "erika.beispiel"


class Issuer:
    """One issuer. `url` is its name; `available` switches its documents off."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ECKey.generate_key("P-256", auto_kid=True)
        self.available = True
        self.asked = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Discovery and key set."""
        self.asked += 1
        if not self.available:
            return web.Response(status=503)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    def token(self, *, key: ECKey | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """An access token (RFC 9068) for CITIZEN, level high, with these claims changed (None: left out)."""
        now = int(time.time())
        content = {"iss": self.url, "aud": AUDIENCE, "sub": CITIZEN, "iat": now, "exp": now + 600, "acr": "high"}
        content |= claims
        used = key or self.key
        return jwt.encode(
            {"alg": "ES256", "typ": "at+jwt", "kid": used.kid, **(header or {})},
            {name: value for name, value in content.items() if value is not None},
            used,
        )
