"""The HTTP client to an institution's backend: pooled, with a deadline, answers bounded, failures as BackendErrors.

No redirects, no cookies, no proxies from the environment, no compression (a bounded answer must not unpack to an
unbounded one). Nothing is retried: whether a request may be sent twice, only the operation knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from adapters.kit.errors import BackendError, InternalError
from adapters.kit.fields import Fields, MalformedJSON, parse_json
from adapters.kit.problems import BACKEND_MALFORMED, BACKEND_TIMEOUT, BACKEND_UNREACHABLE, INTERNAL
from adapters.kit.settings import AdapterSettings

_CHUNK: Final = 64 << 10


def malformed_answer(field: str) -> BackendError:
    """The backend's answer lacks `field` or has it in a wrong form."""
    return BackendError(BACKEND_MALFORMED, fields=(field,))


@dataclass(frozen=True, slots=True)
class BackendAnswer:
    """A whole answer of the backend."""

    status: int
    headers: Mapping[str, str]
    content_type: str
    body: bytes

    def json_object(self) -> Fields:
        """The body as a JSON object, read with the backend to blame. Raises BackendError."""
        if not (self.content_type == "application/json" or self.content_type.endswith("+json")):
            raise malformed_answer("Content-Type")
        try:
            return Fields(parse_json(self.body), malformed_answer)
        except MalformedJSON:
            raise malformed_answer("body") from None


class BackendClient:
    """An asynchronous context manager; any number of tasks may call `send` at once while it is open."""

    def __init__(self, settings: AdapterSettings) -> None:
        self._base = URL(settings.backend_url.rstrip("/"))
        self._timeout = aiohttp.ClientTimeout(total=settings.backend_timeout_seconds)
        self._max_bytes = settings.max_backend_answer_bytes
        self._max_connections = settings.max_backend_connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "Datenweg"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        json_body: Mapping[str, object] | None = None,
        body: bytes | None = None,
    ) -> BackendAnswer:
        """One request, `path` below the backend's base URL, and its whole answer, whatever the status.

        Raises BackendError: unreachable, too slow, too large, or cut off.
        """
        if self._session is None:
            raise InternalError(INTERNAL)
        sent = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body, ensure_ascii=False).encode()
            sent["Content-Type"] = "application/json"
        url = self._base.joinpath(*path.strip("/").split("/"))
        if path.endswith("/"):
            url = url / ""
        if query:
            url = url.with_query(dict(query))
        try:
            async with self._session.request(method, url, headers=sent, data=body, allow_redirects=False) as response:
                data = await self._read(response)
                return BackendAnswer(response.status, response.headers, response.content_type, data)
        except TimeoutError:
            raise BackendError(BACKEND_TIMEOUT) from None
        except aiohttp.ClientConnectionError:
            raise BackendError(BACKEND_UNREACHABLE) from None
        except (aiohttp.ClientError, ValueError):
            # A broken status line, header, chunk or content length.
            raise malformed_answer("http") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise malformed_answer("Content-Encoding")
        data = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            data += chunk
            if len(data) > self._max_bytes:
                raise malformed_answer("size")
        return bytes(data)
