"""The ports of a gateway, and the pools of its connections to other gateways and to services."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
from aiohttp import web

from gateway.clock import Clock
from gateway.exchange.addresses import Endpoint
from gateway.exchange.consumer_http import ClientPort
from gateway.exchange.node import Node, transport_limits
from gateway.exchange.peers import PeerConnector, Peers
from gateway.exchange.provider_http import PeerPort
from gateway.exchange.services import ServiceCaller, service_session
from gateway.exchange.trust_state import PeerVerifier, TrustState
from gateway.http_server import Bounds, RoadServer, Room, most_connections, road_server
from gateway.node_keys import NodeKeys
from gateway.serve import KEEPALIVE_SECONDS, Listener
from gateway.settings import GatewaySettings
from gateway.tls_contexts import TLSContexts
from trust.errors import FetchFailed, MalformedInput
from trust.ocsp_client import StatusSource, add_peer_routes, fetch_from_peer

# Those of the operations port, which has a room of its own.
_OPERATORS_CONNECTIONS: Final = 100


def road_listeners(
    node: Node, contexts: TLSContexts, operations: web.Application, citizens: web.Application | None
) -> Iterator[Listener]:
    """All ports of a gateway, in the order in which they open."""
    settings = node.settings
    bounds = _bounds(node, _room(node))
    # A gateway that is full can still be looked at, and that can't fill it.
    operators = _bounds(node, Room(_OPERATORS_CONNECTIONS))
    status_app = web.Application()
    add_peer_routes(status_app, node.own_certificates.refresh)

    def serve(port: ClientPort | PeerPort) -> RoadServer:
        return road_server(port.handle, port.refuse, bounds)

    yield Listener(serve(ClientPort(node)), settings.client_host, settings.client_port)
    yield Listener(serve(PeerPort(node)), settings.peer_host, settings.peer_port, contexts.peer_server)
    yield Listener(status_app, settings.peer_host, settings.ocsp_port, bounds=bounds)
    yield Listener(operations, settings.operations_host, settings.operations_port, bounds=operators)
    if contexts.clients is not None and settings.client_tls_port is not None:
        over_tls = serve(ClientPort(node))
        yield Listener(over_tls, settings.client_tls_host, settings.client_tls_port, contexts.clients)
    if citizens is not None and settings.citizen_port is not None:
        yield Listener(citizens, settings.citizen_host, settings.citizen_port, bounds=bounds)


def _room(node: Node) -> Room:
    wanted = node.settings.max_connections
    limit = most_connections(wanted)
    if limit < wanted:
        node.log.warning("fewer connections than set: the process may not open so many files", count=limit)
    return Room(limit)


def _bounds(node: Node, room: Room) -> Bounds:
    return Bounds(room, node.settings.request_head_seconds, KEEPALIVE_SECONDS, node.metrics.count_cut_connection)


async def open_peers(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    trust: TrustState,
    *,
    clock: Clock,
    context: ssl.SSLContext,
    xroad_context: ssl.SSLContext,
    statuses: StatusSource,
    http: aiohttp.ClientSession,
) -> Peers:
    """The pool of connections to other gateways, closed with `stack`."""

    async def statuses_of_peer(chain: tuple[bytes, ...], endpoint: Endpoint) -> Sequence[bytes]:
        # PR-MESSTRANSP 2.2: from the peer itself, which has it at hand; from its authority if the peer doesn't say.
        try:
            return await fetch_from_peer(
                http, endpoint.ocsp_url, chain, timeout_seconds=settings.connect_timeout_seconds
            )
        except (FetchFailed, MalformedInput):
            server = trust.latest.configuration.server_with_certificate(chain[0])
            certificates = trust.latest.certificates_of("" if server is None else server.id.owner.instance)
            queries = certificates.status_queries(chain[0], at=clock.now())
            return [await statuses.status_for(query) for query in queries]

    verifier = PeerVerifier(trust, clock, statuses_of_peer)
    session = aiohttp.ClientSession(
        connector=PeerConnector(context, verifier.verify, limit=settings.concurrency_limit),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )
    await stack.enter_async_context(session)
    peers = Peers(
        session,
        timeout_seconds=settings.peer_timeout_seconds,
        connect_seconds=settings.connect_timeout_seconds,
        rate=settings.min_body_bytes_per_second,
        xroad=settings.xroad_server_ids,
    )
    peers.xroad_context = xroad_context
    return peers


async def open_services(stack: AsyncExitStack, settings: GatewaySettings, keys: NodeKeys) -> ServiceCaller:
    """The pool of connections to services, closed with `stack`."""
    session = await stack.enter_async_context(service_session(settings.concurrency_limit))
    return ServiceCaller(
        session,
        limits=transport_limits(settings),
        rate=settings.min_body_bytes_per_second,
        key=keys.internal_tls,
    )
