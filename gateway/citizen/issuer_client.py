"""The issuer as the relying party sees it: discovery, keys, and the exchange of a code for tokens.

OpenID Connect Discovery 1.0 section 4, RFC 8414; RFC 6749 section 4.1.3. Keys are fetched again when a token names an
unknown one, at most twice a minute, and every quarter of an hour. Every answer is bounded, no redirect is followed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.bounded import TooLarge, read_bounded
from gateway.citizen.context import CitizenSettings
from gateway.citizen.errors import IssuerDown, LoginRefused
from gateway.clock import Clock
from gateway.exchange.issuer_documents import DocumentUnavailable, IssuerDocuments, parse_json_object
from gateway.settings import is_loopback

_MAX_DOCUMENT: Final = 1 << 18
_TIMEOUT_SECONDS: Final = 10
_METADATA_MS: Final = 3_600_000
_REFETCH_MS: Final = 30_000
# A key that the issuer has removed counts no longer than this; while it is down, it has removed none.
_KEYS_MS: Final = 900_000
_RETRY_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """What of the discovery document is used."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    answers_with_issuer: bool
    acr_values: tuple[str, ...] = ()
    secret_in_form: bool = False


class IssuerClient:
    """One issuer, found by its URL. Safe for concurrent use within one event loop."""

    def __init__(self, http: aiohttp.ClientSession, settings: CitizenSettings, clock: Clock) -> None:
        self._http = http
        self._documents = IssuerDocuments(http, seconds=_TIMEOUT_SECONDS)
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: tuple[int, ProviderMetadata] | None = None
        self._keys: tuple[int, KeySet] | None = None

    async def metadata(self) -> ProviderMetadata:
        """The discovery document, remembered for an hour. Raises IssuerDown."""
        async with self._lock:
            return await self._current_metadata()

    async def keys(self) -> KeySet:
        """The issuer's keys, a quarter of an hour old at most unless it is down. Raises IssuerDown."""
        async with self._lock:
            if self._keys is None:
                return await self._fetch_keys()
            fetched_ms, keys = self._keys
            now_ms = self._clock.now_ms()
            if now_ms - fetched_ms < _KEYS_MS:
                return keys
            try:
                return await self._fetch_keys()
            except IssuerDown:
                # Not each login is to wait for it.
                self._keys = (now_ms - _KEYS_MS + _RETRY_MS, keys)
                return keys

    async def newer_keys(self) -> KeySet | None:
        """The keys fetched anew, or None when that was done moments ago. Raises IssuerDown."""
        async with self._lock:
            if self._keys is not None and self._clock.now_ms() - self._keys[0] < _REFETCH_MS:
                return None
            return await self._fetch_keys()

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """The token answer for `code`. Raises LoginRefused, IssuerDown."""
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self._settings.client_id,
        }
        headers = {"Accept": "application/json"}
        if self._settings.client_secret is not None and metadata.secret_in_form:
            form["client_secret"] = self._settings.client_secret
        elif self._settings.client_secret is not None:
            # RFC 6749 section 2.3.1: both parts form-encoded before they are joined.
            pair = f"{quote_plus(self._settings.client_id)}:{quote_plus(self._settings.client_secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            async with self._http.post(
                metadata.token_endpoint, data=form, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                body = await read_bounded(answer.content, _MAX_DOCUMENT)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, TooLarge):
            raise IssuerDown("token") from None
        if status in (400, 401):
            raise LoginRefused("code")
        if status != 200:
            raise IssuerDown("token")
        try:
            return parse_json_object(body)
        except DocumentUnavailable:
            raise IssuerDown("token") from None

    async def _current_metadata(self) -> ProviderMetadata:
        if self._metadata is not None and self._clock.now_ms() - self._metadata[0] < _METADATA_MS:
            return self._metadata[1]
        issuer = self._settings.issuer
        try:
            document = await self._documents.fetch_metadata(issuer)
        except DocumentUnavailable:
            raise IssuerDown("discovery") from None
        # Discovery section 4.3: the document speaks for exactly the issuer that was asked.
        if document.get("issuer") != issuer:
            raise IssuerDown("foreign discovery document")
        end_session = document.get("end_session_endpoint")
        metadata = ProviderMetadata(
            _endpoint(document, "authorization_endpoint"),
            _endpoint(document, "token_endpoint"),
            _endpoint(document, "jwks_uri"),
            _endpoint(document, "end_session_endpoint") if end_session is not None else None,
            document.get("authorization_response_iss_parameter_supported") is True,
            _texts(document, "acr_values_supported"),
            _posts_secret(_texts(document, "token_endpoint_auth_methods_supported")),
        )
        self._metadata = (self._clock.now_ms(), metadata)
        return metadata

    async def _fetch_keys(self) -> KeySet:
        metadata = await self._current_metadata()
        try:
            keys = KeySet.import_key_set(await self._documents.fetch(metadata.jwks_uri))  # type: ignore[arg-type]
        except DocumentUnavailable:
            raise IssuerDown("keys") from None
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise IssuerDown("unreadable key set") from None
        self._keys = (self._clock.now_ms(), keys)
        return keys


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def _posts_secret(methods: tuple[str, ...]) -> bool:
    """RFC 8414 section 2: without a word, client_secret_basic; in the form only where that is all there is."""
    return "client_secret_post" in methods and "client_secret_basic" not in methods


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    """An endpoint's URL: over TLS, or on this machine."""
    url = document.get(name)
    if not isinstance(url, str):
        raise IssuerDown(name)
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return url
    raise IssuerDown(name)
