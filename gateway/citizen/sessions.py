"""Sessions: a signed cookie in the browser, a sealed row in the database.

The cookie holds a random secret and a tag over it. The row is found by the secret's SHA-256, and what it holds (name,
subject, access token) opens only with a key derived from the secret: the database alone opens no session. A session
ends when idle, at its absolute end, at logout here or at the issuer, and when its device is revoked, whichever is
first. It belongs to one browser: the one with the device cookie and the name that it had at the login. That is a hint,
not a proof, since who steals one cookie may steal two; but who steals one only has none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.context import CitizenSettings
from gateway.citizen.errors import NotLoggedIn
from gateway.citizen.identity_tokens import VerifiedLogout
from gateway.citizen.login import FinishedLogin
from gateway.clock import Clock
from gateway.exchange.representation import Represented
from gateway.messages.headers import IdentityLevel

_SECRET_BYTES: Final = 32
# Writing "seen" at every click would be a write per page; a minute's grain is enough for an idle time of many.
_SEEN_GRAIN_MS: Final = 60_000
# A token that is about to end would end on the way to the provider.
_TOKEN_MARGIN_MS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom a browser's citizen chose to act for. Gives no right: whether they may is asked at each request."""

    reference: str
    name: str


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in.

    `csrf` is what each of their forms has to carry; empty for an app's token, which needs none. `device` is the
    thumbprint of the browser or of the app's key; empty for a token that is bound to none. With `representing`, issuer
    and subject are those of the person who is represented, `login` is the representative's own session, and everything
    else is the representative's, too.
    """

    issuer: str
    subject: str
    name: str
    level: IdentityLevel
    access_token: str
    token_expires_ms: int
    csrf: str
    device: str = ""
    id_token: str = ""
    chosen: Chosen | None = None
    representing: Represented | None = None
    login: Session | None = None

    @property
    def own(self) -> Session:
        """The session of who is logged in, whomever they act for."""
        return self if self.login is None else self.login

    def acting_for(self, represented: Represented) -> Session:
        """The same login, for the data of another.

        Its forms carry another token: one that was shown for one person is never taken for another, whatever was chosen
        in another window meanwhile.
        """
        return replace(
            self,
            issuer=represented.issuer,
            subject=represented.subject,
            name="",
            csrf=_bound(self.csrf, represented.reference) if self.csrf else "",
            representing=represented,
            login=self.own,
        )

    def road_token(self, *, now_ms: int) -> str:
        """The access token for the road.

        Raises NotLoggedIn when it has run out: the citizen logs in again, mostly unasked.
        """
        if now_ms + _TOKEN_MARGIN_MS >= self.token_expires_ms:
            raise NotLoggedIn("token")
        return self.access_token


class SessionElsewhere(NotLoggedIn):
    """A good cookie, in another browser than it was given to: the session has been ended. `person` is to be told."""

    def __init__(self, person: str) -> None:
        super().__init__("elsewhere")
        self.person = person


@dataclass(frozen=True, slots=True)
class BrowserHint:
    """What tells browsers apart: the thumbprint of the device cookie, and what the browser calls itself."""

    device: str
    user_agent: str

    @property
    def digest(self) -> str:
        """The browser's own name, in a form that says nothing of it."""
        return hashlib.sha256(self.user_agent.encode("utf-8", "replace")).hexdigest()


class Sessions:
    """Opens, finds and ends sessions. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, settings: CitizenSettings, clock: Clock, cookie_key: bytes) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._key = cookie_key

    async def open(
        self, login: FinishedLogin, *, person: str, browser: BrowserHint, chosen: Chosen | None = None
    ) -> str:
        """A new session; gives the cookie's value.

        Always a new secret, so that none can be planted before the login. `chosen`: whom its citizen acts for already.
        """
        secret = secrets.token_bytes(_SECRET_BYTES)
        content = {
            "issuer": login.identity.issuer,
            "subject": login.identity.subject,
            "name": login.identity.name,
            # What the road will see is the access token's level; the pages must not promise more.
            "level": min(login.identity.level, login.citizen.level).word,
            "access_token": login.access_token,
            "token_expires_ms": int(login.citizen.expires.timestamp() * 1000),
            "id_token": login.id_token,
            "browser": browser.digest,
            "chosen": _stored(chosen),
        }
        sealed = _seal(secret, content)
        now_ms = self._clock.now_ms()
        row = tables.session
        async with self._engine.begin() as connection:
            idle = now_ms - self._settings.session_idle_ms
            await connection.execute(delete(row).where((row.c.expires_ms <= now_ms) | (row.c.seen_ms <= idle)))
            await connection.execute(
                insert(row).values(
                    id=_derive(secret, b"id"),
                    sealed=sealed,
                    seen_ms=now_ms,
                    expires_ms=now_ms + self._settings.session_absolute_ms,
                    person=person,
                    issuer_session=self._issuer_session(login.identity.issuer, login.identity.session),
                    device=browser.device,
                )
            )
        return self._cookie(secret)

    async def find(self, cookie: str, *, browser: BrowserHint) -> Session:
        """The session of a cookie in this browser. Raises NotLoggedIn, SessionElsewhere."""
        secret = self._secret(cookie)
        now_ms, row, key = self._clock.now_ms(), tables.session, _derive(secret, b"id")
        async with self._engine.connect() as connection:
            found = (await connection.execute(select(row).where(row.c.id == key))).one_or_none()
        if found is None:
            raise NotLoggedIn("unknown")
        if found.expires_ms <= now_ms or found.seen_ms + self._settings.session_idle_ms <= now_ms:
            await self.end(cookie)
            raise NotLoggedIn("ended")
        content = _open(secret, found.sealed)
        same = hmac.compare_digest(content.pop("browser"), browser.digest)
        if not same or not hmac.compare_digest(found.device, browser.device):
            await self.end(cookie)
            raise SessionElsewhere(found.person)
        if now_ms - found.seen_ms >= _SEEN_GRAIN_MS:
            async with self._engine.begin() as connection:
                await connection.execute(update(row).where(row.c.id == key).values(seen_ms=now_ms))
        level = IdentityLevel.from_word(content.pop("level"))
        chosen = None if content["chosen"] is None else Chosen(**content["chosen"])
        known = content | {"level": level, "chosen": chosen}
        return Session(**known, csrf=self._csrf(secret), device=found.device)

    async def choose(self, cookie: str, chosen: Chosen | None) -> None:
        """Keeps whom this session's citizen acts for, None for themselves; durable when it returns.

        Raises NotLoggedIn.
        """
        secret = self._secret(cookie)
        row, key = tables.session, _derive(secret, b"id")
        async with self._engine.begin() as connection:
            sealed = (await connection.execute(select(row.c.sealed).where(row.c.id == key))).scalar_one_or_none()
            if sealed is None:
                raise NotLoggedIn("unknown")
            kept = _seal(secret, _open(secret, sealed) | {"chosen": _stored(chosen)})
            await connection.execute(update(row).where(row.c.id == key).values(sealed=kept))

    async def end(self, cookie: str) -> None:
        """Ends a cookie's session, if there is one; durable when it returns."""
        try:
            secret = self._secret(cookie)
        except NotLoggedIn:
            return
        async with self._engine.begin() as connection:
            await connection.execute(delete(tables.session).where(tables.session.c.id == _derive(secret, b"id")))

    async def end_by_issuer(self, logout: VerifiedLogout, *, person: str | None) -> int:
        """Ends what the issuer has logged out: one session, or all of `person`. How many; durable when it returns."""
        row = tables.session
        if logout.session:
            # Back-Channel Logout 1.0 section 2.7: with both named, the session of that person.
            which = row.c.issuer_session == self._issuer_session(logout.issuer, logout.session)
            which = which if person is None else and_(which, row.c.person == person)
        else:
            which = row.c.person == (person or "")
        async with self._engine.begin() as connection:
            return int((await connection.execute(delete(row).where(which))).rowcount)

    def _issuer_session(self, issuer: str, session: str) -> str:
        if not session:
            return ""
        message = b"datenweg/issuer-session/v1\0" + f"{issuer}\0{session}".encode("utf-8", "replace")
        return _base64(hmac.digest(self._key, message, "sha256"))

    def device_cookie(self, stated: str | None) -> str:
        """The browser's device cookie: the one it has, if it is ours, else a new one."""
        if stated is not None and self.is_device_cookie(stated):
            return stated
        value = secrets.token_urlsafe(_SECRET_BYTES)
        return f"{value}.{self._device_tag(value)}"

    def is_device_cookie(self, stated: str) -> bool:
        """Whether a device cookie is one that we gave."""
        value, _, tag = stated.partition(".")
        return hmac.compare_digest(self._device_tag(value).encode(), tag.encode("utf-8", "replace"))

    def _device_tag(self, value: str) -> str:
        return _base64(hmac.digest(self._key, b"datenweg/device/v1\0" + value.encode("utf-8", "replace"), "sha256"))

    def _cookie(self, secret: bytes) -> str:
        return f"{_base64(secret)}.{_base64(self._tag(secret))}"

    def _secret(self, cookie: str) -> bytes:
        value, dot, tag = cookie.partition(".")
        try:
            secret, stated = base64.urlsafe_b64decode(value + "="), base64.urlsafe_b64decode(tag + "=")
        except (binascii.Error, ValueError):
            raise NotLoggedIn("cookie") from None
        if not dot or len(secret) != _SECRET_BYTES or not hmac.compare_digest(self._tag(secret), stated):
            raise NotLoggedIn("cookie")
        return secret

    def _tag(self, secret: bytes) -> bytes:
        return hmac.new(self._key, b"datenweg/session/v1\0" + secret, hashlib.sha256).digest()

    def _csrf(self, secret: bytes) -> str:
        return _base64(hmac.new(self._key, b"datenweg/csrf/v1\0" + secret, hashlib.sha256).digest())


def _seal(secret: bytes, content: Mapping[str, Any]) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(_derive(secret, b"seal")).encrypt(nonce, json.dumps(content).encode(), None)


def _open(secret: bytes, sealed: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(AESGCM(_derive(secret, b"seal")).decrypt(sealed[:12], sealed[12:], None))
    except InvalidTag:
        raise NotLoggedIn("sealed for another") from None
    return content


def _stored(chosen: Chosen | None) -> dict[str, str] | None:
    return None if chosen is None else asdict(chosen)


def _bound(token: str, reference: str) -> str:
    return _base64(hmac.digest(token.encode(), b"datenweg/represented/v1\0" + reference.encode(), "sha256"))


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hashlib.sha256(b"datenweg/session/" + purpose + b"/v1\0" + secret).digest()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
