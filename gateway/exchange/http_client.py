"""Asking another gateway or a service over HTTP/1.1.

Connections, TLS, parser and streams are aiohttp's, and so is whatever is sent in pieces. A body that is in memory goes
out with its head in one write, without what `ClientSession` does for anybody else (redirects, cookies, credentials,
traces, a task that writes): that was half of the time that a small exchange spent on asking. Nothing is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from gateway.exchange.deadlines import Deadline
from gateway.exchange.streaming import outgoing
from gateway.messages.content import Sendable
from gateway.messages.http_fields import Header

if TYPE_CHECKING:
    import ssl

    from aiohttp.connector import Connection

# RFC 9110 section 8.6: of these nobody expects a body, so its absence isn't said.
_WITHOUT_BODY: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_PLACES: Final = 1000


class HTTPAnswer(Protocol):
    """An answer whose head has come."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, str]:
        """By name in any letters' case; of several fields with one name the first."""
        ...

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def content(self) -> aiohttp.StreamReader: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    reason: str | None
    headers: Mapping[str, str]
    raw_headers: Sequence[tuple[bytes, bytes]]
    content: aiohttp.StreamReader


class HTTPClient:
    """Asks over the connections of one session. For one event loop."""

    def __init__(self, session: aiohttp.ClientSession, *, max_line: int) -> None:
        """`max_line` bounds a line of an answer's head, in bytes."""
        self._session = session
        self._max_line = max_line
        self._places: dict[tuple[str | None, int | None, str], aiohttp.ClientRequest] = {}

    def request(
        self,
        method: str,
        url: URL,
        headers: Sequence[Header],
        body: Sendable | None,
        *,
        deadline: Deadline,
        timeout: aiohttp.ClientTimeout,
        ssl: ssl.SSLContext | bool,
    ) -> AbstractAsyncContextManager[HTTPAnswer]:
        """Within the `async with` block: the answer. Raises aiohttp.ClientError and OSError."""
        data = outgoing(body, deadline)
        if (data is None or isinstance(data, bytes)) and url.raw_user is None and url.raw_password is None:
            head = _head(method, url, headers, None if data is None else len(data))
            place = self._place(url, ssl)
            return _Asking(
                self._session,
                place,
                head + (data or b""),
                timeout=timeout,
                has_body=method != "HEAD",
                max_line=self._max_line,
            )
        return self._session.request(
            method, url, headers=headers, data=data, timeout=timeout, allow_redirects=False, ssl=ssl
        )

    def _place(self, url: URL, ssl: ssl.SSLContext | bool) -> aiohttp.ClientRequest:
        """Where the connector is to connect to, and how: aiohttp says it by a request, of which nothing is sent."""
        key = (url.raw_host, url.port, url.scheme)
        place = self._places.get(key)
        if place is None or place.ssl is not ssl:
            if len(self._places) >= _PLACES:
                self._places.clear()
            loop = asyncio.get_running_loop()
            place = self._places[key] = aiohttp.ClientRequest("GET", url.origin(), loop=loop, ssl=ssl)
        return place


class _Asking(AbstractAsyncContextManager[HTTPAnswer]):
    """One request and its answer. The connection is kept if all of the answer was read."""

    __slots__ = ("_connection", "_has_body", "_max_line", "_place", "_request", "_session", "_timeout")

    def __init__(
        self,
        session: aiohttp.ClientSession,
        place: aiohttp.ClientRequest,
        request: bytes,
        *,
        timeout: aiohttp.ClientTimeout,
        has_body: bool,
        max_line: int,
    ) -> None:
        self._session = session
        self._place = place
        self._request = request
        self._timeout = timeout
        self._has_body = has_body
        self._max_line = max_line
        self._connection: Connection | None = None

    async def __aenter__(self) -> HTTPAnswer:
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        try:
            connection = await connector.connect(self._place, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            answer = await self._ask(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return answer

    async def _ask(self, connection: Connection) -> HTTPAnswer:
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            skip_payload=not self._has_body,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=self._max_line,
            max_field_size=self._max_line,
        )
        transport.write(self._request)
        try:
            while True:
                message, content = await protocol.read()
                # RFC 9110 section 15.2: an interim answer is followed by the answer; only 101 ends it.
                if not 100 <= message.code < 200 or message.code == 101:
                    return _Answer(message.code, message.reason, message.headers, message.raw_headers, content)
        except HttpProcessingError as error:
            raise aiohttp.ClientResponseError(self._place.request_info, (), status=error.code) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.release()


def _head(method: str, url: URL, headers: Sequence[Header], length: int | None) -> bytes:
    """The request's head (RFC 9112 section 3). Raises ValueError if a line would break in two."""
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None or method not in _WITHOUT_BODY:
        lines.append(f"Content-Length: {length or 0}")
    text = "\r\n".join(lines)
    # Each part was checked where it came in; a break that slipped through would make two requests of one.
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1 or "\0" in text:
        raise ValueError("a header holds a line break")
    return text.encode() + b"\r\n\r\n"
