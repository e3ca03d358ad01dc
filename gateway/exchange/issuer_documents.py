"""An issuer's documents over HTTP: its metadata and keys, as JSON objects, bounded, never from where it redirects to.

OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3. What they say, and how long it counts, is their readers'
business.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

import aiohttp

from gateway.bounded import TooLarge, read_bounded
from gateway.exchange.discovery import metadata_addresses

_MAX_DOCUMENT: Final = 1 << 18
# A document that isn't there is looked for at the next place; an issuer that fails is not asked elsewhere.
_ABSENT: Final = (404, 410)


class DocumentUnavailable(Exception):
    """The issuer doesn't give the document now, or gives something else in its place."""


class _Absent(DocumentUnavailable):
    """There is no such document at that place."""


class IssuerDocuments:
    """Fetches an issuer's documents; each fetch ends after `seconds`."""

    def __init__(self, http: aiohttp.ClientSession, *, seconds: float) -> None:
        self._http = http
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def fetch_metadata(self, issuer: str) -> dict[str, Any]:
        """The metadata, from the first of the places that has them. Raises DocumentUnavailable."""
        *first, last = metadata_addresses(issuer)
        for url in first:
            with suppress(_Absent):
                return await self.fetch(url)
        return await self.fetch(last)

    async def fetch(self, url: str) -> dict[str, Any]:
        """The document there. Raises DocumentUnavailable."""
        try:
            async with self._http.get(url, timeout=self._timeout, allow_redirects=False) as answer:
                if answer.status in _ABSENT:
                    raise _Absent(f"status {answer.status}")
                if answer.status != 200:
                    raise DocumentUnavailable(f"status {answer.status}")
                body = await read_bounded(answer.content, _MAX_DOCUMENT)
        except (aiohttp.ClientError, TimeoutError, TooLarge):
            raise DocumentUnavailable("no answer") from None
        return parse_json_object(body)


def parse_json_object(body: bytes) -> dict[str, Any]:
    """What an issuer answers with, wherever. Raises DocumentUnavailable."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise DocumentUnavailable("no JSON") from None
    if not isinstance(document, dict):
        raise DocumentUnavailable("no JSON object")
    return document
