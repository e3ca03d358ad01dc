"""Calling the institution's service, the adapter: plain HTTP inside the institution, one attempt, bounded both ways.

Redirects aren't followed and bodies aren't decoded (PR-REST 4.6: what the service answers is what the client gets).
Whatever fails becomes a Fault that names the adapter's hop; a status of 4xx or 5xx is an answer, not a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import aiohttp
from yarl import URL

from gateway.bounded import BudgetSpent, TooLarge, read_bounded
from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_client import HTTPAnswer, HTTPClient
from gateway.exchange.http_parts import text_of
from gateway.exchange.service_tls import Pins, ServiceConnector, ServiceContexts, ServiceUntrusted
from gateway.exchange.spool import Bodies, SpoolUnwritable
from gateway.exchange.streaming import read_content, read_soap
from gateway.messages.content import Content, Sendable
from gateway.messages.faults import Fault
from gateway.messages.soap import Reading
from gateway.messages.soap_request import SOAPParts, require_soap_type
from gateway.messages.transport import TransportLimits
from trust.keys import SoftwareKey

Header = tuple[str, str]

# SOAP 1.1 section 6.2; X-Road takes no other status either.
SOAP_STATUSES: Final = (200, 500)
_MAX_LINE: Final = 16 * 1024
_CONNECT_SECONDS: Final = 30.0  # X-Road's own default towards the information system


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What the service answered, undigested."""

    status: int
    reason: str
    headers: tuple[Header, ...]
    body: Content
    # Of a SOAP service's answer that is too large to be in memory as a whole.
    parts: SOAPParts | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is kept besides the message."""
        return (self.body,) if self.body else ()


def service_session(limit: int) -> aiohttp.ClientSession:
    """The pool of connections to services: `limit` at once, kept alive, without cookies or helpful headers."""
    session = aiohttp.ClientSession(
        connector=ServiceConnector(limit=limit, keepalive_timeout=30),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=_MAX_LINE,
        max_field_size=_MAX_LINE,
    )
    # aiohttp would ask again, unasked, when a kept connection breaks off under a GET, PUT or DELETE: the service may
    # have done what it was asked. There is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


class ServiceCaller:
    """Calls services over one pool. `key` is shown to services over TLS.

    `limits` bound an answer; `rate` is how many bytes a second a large body has to move by in order to go on.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, limits: TransportLimits, rate: int, key: SoftwareKey | None = None
    ) -> None:
        self._client = HTTPClient(session, max_line=_MAX_LINE)
        self._limits = limits
        self._rate = rate
        self._contexts = ServiceContexts(key)

    async def call(
        self,
        verb: str,
        url: str,
        headers: Sequence[Header],
        body: Sendable | None,
        *,
        timeout_seconds: float,
        pins: Pins = frozenset(),
        bodies: Bodies | None = None,
        soap: bool = False,
    ) -> ServiceAnswer:
        """The service's answer. Over https it shows one of the certificates in `pins` (None: any).

        Its body is in `bodies`, or in memory as a whole if there are none; with `soap` it may be apart.

        Raises Fault `server.serverproxy.service_failed.*`, `service_missing_url` or `service_malformed_url`.
        """
        target = _target(url)
        try:
            async with (
                Deadline(timeout_seconds, self._rate) as deadline,
                self._client.request(
                    verb,
                    target,
                    _in_one_spelling(headers),
                    body,
                    deadline=deadline,
                    timeout=_timeout(timeout_seconds),
                    ssl=self._contexts.context(pins) if target.scheme == "https" else True,
                ) as answer,
            ):
                content, parts = await self._read(answer, bodies, deadline, soap=soap)
                answer_headers = tuple((text_of(name), text_of(value)) for name, value in answer.raw_headers)
                return ServiceAnswer(answer.status, _reason(answer.reason), answer_headers, content, parts)
        except TooLarge:
            raise Fault("server.serverproxy.service_failed.body_too_large") from None
        except (BudgetSpent, SpoolUnwritable):
            raise Fault("server.serverproxy.overloaded", "no room for the service's answer") from None
        except aiohttp.ClientConnectorDNSError:
            raise Fault("server.serverproxy.service_failed.unknown_host") from None
        except (ServiceUntrusted, aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            raise Fault("server.serverproxy.service_failed.ssl_authentication_failed") from None
        except TimeoutError:
            raise Fault(
                "server.serverproxy.service_failed.io_error", f"no answer within {timeout_seconds:g} s"
            ) from None
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError):
            raise Fault("server.serverproxy.service_failed.network_error") from None
        except aiohttp.InvalidURL:
            raise Fault("server.serverproxy.service_malformed_url") from None
        except aiohttp.ClientResponseError:
            raise Fault("server.serverproxy.service_failed.invalid_message") from None
        except (aiohttp.ClientError, OSError):
            raise Fault("server.serverproxy.service_failed.io_error") from None

    async def _read(
        self, answer: HTTPAnswer, bodies: Bodies | None, deadline: Deadline, *, soap: bool
    ) -> tuple[Content, SOAPParts | None]:
        limits = self._limits
        if bodies is None:
            return await read_bounded(answer.content, limits.max_body), None
        if not soap:
            return await read_content(answer.content, limits.max_body, bodies, deadline), None
        content_type = answer.headers.get("Content-Type", "")
        if answer.status in SOAP_STATUSES:
            # What can't be SOAP isn't read: an answer that breaks off is refused for its type first, as in X-Road.
            require_soap_type(text_of(content_type.encode("utf-8", "surrogateescape")), Reading.SERVICE_ANSWER)
        found = await read_soap(
            answer.content,
            content_type,
            limits=limits,
            bodies=bodies,
            deadline=deadline,
            reading=Reading.SERVICE_ANSWER,
        )
        return (found, None) if isinstance(found, bytes) else (b"", found)


@lru_cache(maxsize=256)
def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, seconds))


def _target(url: str) -> URL:
    if not url:
        raise Fault("server.serverproxy.service_missing_url")
    if " " in url or not url.isprintable():
        # It would be two words of the request's first line, or two lines.
        raise Fault("server.serverproxy.service_malformed_url")
    try:
        target = URL(url, encoded=True)
        if target.scheme not in ("http", "https") or not target.host:
            raise Fault("server.serverproxy.service_malformed_url")
        if not target.raw_query_string and url.endswith("?"):
            # Taken apart, a query that is empty is none; it is what the client sent, and signed.
            path = f"{target.raw_path}?"
            target = URL.build(scheme=target.scheme, authority=target.raw_authority, path=path, encoded=True)
    except ValueError:
        raise Fault("server.serverproxy.service_malformed_url") from None
    return target


def join_url(base: str, path: str, query: str | None) -> str:
    """Where a REST request goes (PR-REST 4.1): base, path and query as they are, a slash between them not doubled."""
    if not base:
        return ""
    if base.endswith("/") and path.startswith("/"):
        path = path[1:]
    return base + path + ("" if query is None else f"?{query}")


def _in_one_spelling(headers: Sequence[Header]) -> list[Header]:
    """The same fields: of two whose names differ in their letters' case alone aiohttp would send the last one only."""
    spelled: dict[str, str] = {}
    return [(spelled.setdefault(name.lower(), name), value) for name, value in headers]


def _reason(phrase: str | None) -> str:
    """The reason phrase if it is plain text. RFC 9110 section 15.1 lets clients ignore it, so nothing fails by it."""
    return phrase if phrase is not None and phrase.isascii() and phrase.isprintable() else ""
