"""A citizen's own app, as far as tests need one: its key, its proofs (RFC 9449), its login at the issuer (RFC 8252)."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.gateway.citizen.city import City
from tests.gateway.citizen.described import require_described

REDIRECT = "http://127.0.0.1:49152/callback"


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def make_proof(
    key: ECKey, method: str, url: str, *, at: int, token: str | None = None, header: Mapping[str, Any] | None = None,
    **claims: Any,
) -> str:  # fmt: skip
    """A proof; `header` and `claims` change it (None: left out)."""
    content = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": url, "iat": at}
    content |= {} if token is None else {"ath": digest(token)}
    content |= claims
    protected = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False), **(header or {})}
    return jwt.encode(
        {name: value for name, value in protected.items() if value is not None},
        {name: value for name, value in content.items() if value is not None},
        key,
        algorithms=[str(protected["alg"])],
    )


@dataclass
class App:
    """One installation of an app."""

    city: City
    http: aiohttp.ClientSession
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    token: str = ""

    @property
    def now(self) -> int:
        return int(self.city.clock.now().timestamp())

    def proof(self, method: str, url: str, *, token: str | None = None, **changes: Any) -> str:
        return make_proof(self.key, method, url, at=self.now, token=token, **changes)

    def headers(self, method: str, path: str, **changes: Any) -> dict[str, str]:
        """What a request to the API carries."""
        url = f"{self.city.url}/api/v1{path.partition('?')[0]}"
        proof = self.proof(method, url, token=self.token, **changes)
        return {"Authorization": f"DPoP {self.token}", "DPoP": proof, "User-Agent": "Musterapp/1.0"}

    async def log_in(self, username: str = "erika.beispiel", *, bound: bool = True) -> dict[str, Any]:
        """The code flow with PKCE, the token bound to the app's key. Gives the token answer."""
        verifier = secrets.token_urlsafe(32)
        query = {
            "response_type": "code",
            "client_id": "citizen-app",
            "redirect_uri": REDIRECT,
            "scope": "openid profile",
            "state": "s",
            "nonce": "n",
            "code_challenge": digest(verifier),
            "code_challenge_method": "S256",
        }
        authorize = f"{self.city.issuer_url}/authorize"
        async with self.http.get(f"{authorize}?{urlencode(query)}", allow_redirects=False) as answer:
            page, location = await answer.text(), answer.headers.get("Location", "")
        if not location:
            fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
            form = {name: html.unescape(value) for name, value in fields.items()}
            form |= {"username": username, "password": "musterstadt"}
            async with self.http.post(authorize, data=form, allow_redirects=False) as answer:
                location = answer.headers["Location"]
        back = urlsplit(location)
        assert f"{back.scheme}://{back.netloc}{back.path}" == REDIRECT
        exchange = {
            "grant_type": "authorization_code",
            "code": parse_qs(back.query)["code"][0],
            "redirect_uri": REDIRECT,
            "code_verifier": verifier,
            "client_id": "citizen-app",
        }
        url = f"{self.city.issuer_url}/token"
        headers = {"DPoP": self.proof("POST", url)} if bound else {}
        async with self.http.post(url, data=exchange, headers=headers) as answer:
            tokens: dict[str, Any] = json.loads(await answer.text())
        self.token = tokens.get("access_token", "")
        return tokens

    async def send(
        self, method: str, path: str, document: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """One request of the API: status, JSON, headers. Held to the document."""
        used = self.headers(method, path) if headers is None else headers
        url = f"{self.city.url}/api/v1{path}"
        async with self.http.request(method, url, headers=used, json=document) as answer:
            text = await answer.text()
            body = json.loads(text) if text else None
            if answer.status != 304:
                require_described(method, path, answer.status, answer.headers, body)
            return answer.status, body, answer.headers
