"""Reaching the provider's gateway: the fastest healthy one, verified before a byte of the message leaves.

PR-MESSTRANSP 2.1. Where several gateways serve a provider, all are dialled at once, the first to connect is used and
remembered; one that can't be reached is passed over. Once a request has begun to travel nothing is tried again: the
provider may have done what it asks for.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from gateway.bounded import BudgetSpent, TooLarge
from gateway.exchange.addresses import Endpoint, UnusableAddress, parse_address
from gateway.exchange.connecting import TurnConnector
from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_client import HTTPAnswer, HTTPClient
from gateway.exchange.spool import SpoolUnwritable
from gateway.messages.content import Sendable
from gateway.messages.faults import Fault
from trust.identifiers import SecurityServerId
from trust.parameters import SecurityServer

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# X-Road keeps its choice for an hour; a failure to connect ends it at once.
_REMEMBER_SECONDS: Final = 3600.0
_MAX_LINE: Final = 8 * 1024

VerifyPeer = Callable[[bytes, Endpoint], Awaitable[None]]
_Answer = TypeVar("_Answer")
# Takes what the provider's gateway sends back; may raise what `streaming` does.
Read = Callable[[HTTPAnswer, Deadline], Awaitable[_Answer]]


class PeerUntrusted(aiohttp.ClientConnectionError):
    """The gateway that answered isn't the one that the global configuration has at this address.

    `below`: why its certificate doesn't hold, as X-Road says it below `ssl_authentication_failed`; empty where it does.
    """

    def __init__(self, below: str = "") -> None:
        super().__init__()
        self.below = below


class PeerConnector(TurnConnector):
    """Hands out a connection only after the peer's certificate has been verified, each time anew.

    The verification itself remembers; what it costs on a warm connection is a look-up.
    """

    def __init__(self, context: ssl.SSLContext, verify: VerifyPeer, *, limit: int) -> None:
        super().__init__(ssl=context, limit=limit, keepalive_timeout=15)
        self._verify_peer = verify
        self._certificates: WeakKeyDictionary[ResponseHandler, bytes] = WeakKeyDictionary()

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 - the overridden method's
        while True:
            connection = await super().connect(req, traces, timeout)
            reused = connection.protocol in self._certificates
            try:
                await self._verify_peer(self._certificate_of(connection), _endpoint_of(req))
            except BaseException as error:
                connection.close()
                # The peer has changed its certificate since: what it shows on a new connection counts.
                if reused and isinstance(error, PeerUntrusted):
                    continue
                raise
            return connection

    def _certificate_of(self, connection: Connection) -> bytes:
        protocol = connection.protocol
        if protocol is None or connection.transport is None:
            raise aiohttp.ServerDisconnectedError
        der = self._certificates.get(protocol)
        if der is None:
            tls = connection.transport.get_extra_info("ssl_object")
            der = tls.getpeercert(binary_form=True) if tls is not None else None
            if der is None:
                raise PeerUntrusted
            self._certificates[protocol] = der
        return der


def _endpoint_of(request: ClientRequest) -> Endpoint:
    host, port = request.url.host or "", request.url.port or 443
    return parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


class Peers:
    """Sends messages to provider gateways over one pool of verified connections."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout_seconds: float,
        connect_seconds: float,
        rate: int,
        xroad: frozenset[SecurityServerId] = frozenset(),
    ) -> None:
        """`rate` is how many bytes a second a large message has to move by in order to go on.

        `xroad` are X-Road security servers: they are called over `xroad_context`, each time over a new connection.
        """
        self._client = HTTPClient(session, max_line=_MAX_LINE)
        self._xroad = xroad
        self.xroad_context: ssl.SSLContext | None = None
        # Whose identity new connections show; open ones of another context are not used any more.
        self.context: ssl.SSLContext | None = None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._timeout_seconds = timeout_seconds
        self._rate = rate
        self._connect_seconds = connect_seconds
        self._fastest: dict[frozenset[SecurityServerId], tuple[SecurityServerId, float]] = {}

    async def send(
        self, servers: Sequence[SecurityServer], headers: Sequence[tuple[str, str]], body: Sendable, read: Read[_Answer]
    ) -> _Answer:
        """The answer of the first gateway that can be reached, as `read` takes it.

        Raises Fault: `network_error` when none can be, `ssl_authentication_failed` when none that can is who it should
        be, `io_error` when the exchange broke off or took too long after it began.
        """
        refused: str | None = None
        for server in await self._in_order(servers):
            try:
                return await self._post(server, headers, body, read)
            except PeerUntrusted as error:
                refused = error.below
            except (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError):
                refused = ""
            except aiohttp.ClientConnectorError as error:
                # A connection that is broken off was there: it is the handshake that failed, whoever closed it.
                if refused is None and isinstance(error.os_error, ConnectionResetError):
                    refused = ""
            except (aiohttp.ConnectionTimeoutError, UnusableAddress):
                pass
            self._forget(servers)
        if refused is not None:
            # As X-Road's AuthTrustVerifier: the last one's reason.
            code = ".".join(filter(None, ("server.clientproxy.ssl_authentication_failed", refused)))
            raise Fault(code, "the provider's gateway")
        raise Fault("server.clientproxy.network_error", "no gateway of the provider can be reached")

    async def _post(
        self, server: SecurityServer, headers: Sequence[tuple[str, str]], body: Sendable, read: Read[_Answer]
    ) -> _Answer:
        url, context, sent = URL(parse_address(server.address).message_url), self.context, list(headers)
        if server.id in self._xroad:
            context = self.xroad_context
            # PR-MESSTRANSP 2.3: unless it is told otherwise, a security server keeps no connection either.
            sent.append(("Connection", "close"))
        # What is large goes two ways before an answer comes: to the peer, and from there to its service.
        rate = self._rate // 2 or 1
        try:
            async with (
                Deadline(self._timeout_seconds, rate) as deadline,
                self._client.request(
                    "POST", url, sent, body, deadline=deadline, timeout=self._timeout, ssl=context or True
                ) as answer,
            ):
                return await read(answer, deadline)
        except TooLarge:
            raise Fault("server.clientproxy.service_failed.body_too_large") from None
        except (BudgetSpent, SpoolUnwritable):
            raise Fault("server.clientproxy.overloaded", "no room for the answer") from None
        except (PeerUntrusted, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except TimeoutError:
            raise Fault("server.clientproxy.io_error", "the provider's gateway did not answer in time") from None
        except aiohttp.ClientPayloadError:
            # Its answer had begun: what is missing of it is the other side's failure (fact of the proxy).
            raise Fault("server.clientproxy.service_failed.io_error", "the answer broke off") from None
        except (aiohttp.ClientError, OSError):
            raise Fault("server.clientproxy.network_error", "the provider's gateway broke off") from None

    async def _in_order(self, servers: Sequence[SecurityServer]) -> Sequence[SecurityServer]:
        """The servers with the fastest first. One server needs no race."""
        if len(servers) < 2:
            return servers
        now = asyncio.get_running_loop().time()
        remembered = self._fastest.get(_key(servers))
        if remembered is not None and remembered[1] > now:
            chosen = remembered[0]
        else:
            winner = await self._race(servers)
            if winner is None:
                return servers
            chosen = winner.id
            self._fastest[_key(servers)] = (chosen, now + _REMEMBER_SECONDS)
        return sorted(servers, key=lambda server: server.id != chosen)

    async def _race(self, servers: Sequence[SecurityServer]) -> SecurityServer | None:
        """Whoever accepts a TCP connection first; None if nobody does."""
        # The order of equals is left to chance, so that load spreads over gateways that are equally near.
        shuffled = random.sample(servers, len(servers))
        dialling = {asyncio.ensure_future(_dial(server)): server for server in shuffled}
        pending = set(dialling)
        try:
            async with asyncio.timeout(self._connect_seconds):
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        if task.exception() is None:
                            return dialling[task]
        except TimeoutError:
            return None
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return None

    def _forget(self, servers: Sequence[SecurityServer]) -> None:
        self._fastest.pop(_key(servers), None)


def _key(servers: Sequence[SecurityServer]) -> frozenset[SecurityServerId]:
    return frozenset(server.id for server in servers)


async def _dial(server: SecurityServer) -> None:
    endpoint = parse_address(server.address)
    _, writer = await asyncio.open_connection(endpoint.host, endpoint.message_port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
