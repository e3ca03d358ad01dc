"""The demo issuer tells its clients that somebody has logged out (OpenID Connect Back-Channel Logout 1.0).

One attempt for each client that got tokens of the session: a client that is away ends its own sessions in time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp
from aiohttp import web

from gateway.city.issuer_keys import IssuerKeys
from gateway.clock import Clock
from gateway.logging import get_logger

_MAX_SESSIONS: Final = 10_000
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_VALID_SECONDS: Final = 120
_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_log = get_logger()


class LogoutTokens:
    """Remembers who got tokens of which session, and sends logout tokens. `addresses`: a client's, by its id."""

    def __init__(self, issuer: str, keys: IssuerKeys, clock: Clock, addresses: Mapping[str, str]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._addresses = addresses
        self._clients: OrderedDict[str, set[str]] = OrderedDict()
        self._http: aiohttp.ClientSession | None = None

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """While the issuer runs, it can ask its clients."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT) as self._http:
            yield

    def remember(self, client_id: str, session: str) -> None:
        """`client_id` got tokens of `session`."""
        self._clients.setdefault(session, set()).add(client_id)
        if len(self._clients) > _MAX_SESSIONS:
            self._clients.popitem(last=False)

    async def send(self, subject: str, session: str) -> None:
        """Tells the session's clients, each once."""
        told = [client for client in self._clients.pop(session, ()) if client in self._addresses]
        await asyncio.gather(*(self._send(client, subject, session) for client in told))

    def build(self, client_id: str, subject: str, session: str) -> str:
        """A logout token (section 2.4)."""
        now = self._clock.now_ms() // 1000
        claims = {
            "iss": self._issuer,
            "aud": client_id,
            "sub": subject,
            "sid": session,
            "iat": now,
            "exp": now + _VALID_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "events": {_EVENT: {}},
        }
        return self._keys.sign(claims, token_type="logout+jwt")  # noqa: S106 - the type's name, no secret

    async def _send(self, client_id: str, subject: str, session: str) -> None:
        assert self._http is not None
        form = {"logout_token": self.build(client_id, subject, session)}
        try:
            async with self._http.post(self._addresses[client_id], data=form, allow_redirects=False) as answer:
                if answer.status >= 300:
                    _log.warning("logout not taken", client=client_id, http_status=answer.status)
        except (aiohttp.ClientError, TimeoutError):
            _log.warning("logout not delivered", client=client_id)
