"""The assembly of a gateway: opens its parts in order, and closes them in the reverse order.

Start: databases, keys, configuration, log, ports. Stop: ports first, so that what was accepted is finished, then the
rest. A gateway doesn't listen before it has a current global configuration and its log has shown that it is not behind
what was signed.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.note import NoteSigner
from audit.publisher import Publisher
from audit.sequencer import Sequencer
from audit.store import open_engine
from audit.subject_keys import SubjectKeys
from gateway.accesses import CitizenAccesses, OwnAccesses
from gateway.citizen.app import build_citizen_app, citizen_http_session
from gateway.citizen.context import CitizenContext, CitizenSettings, ConsentKey
from gateway.citizen.purposes import load_purposes
from gateway.clock import Clock, SystemClock
from gateway.exchange import tls
from gateway.exchange.addresses import Endpoint
from gateway.exchange.citizen_tokens import CitizenTokens
from gateway.exchange.consents import ConsentCopies
from gateway.exchange.consumer_http import ClientPort
from gateway.exchange.directory import build_directory
from gateway.exchange.node import Node
from gateway.exchange.origins import is_log_of, origin_of
from gateway.exchange.peers import PeerConnector, Peers
from gateway.exchange.provider_http import PeerPort
from gateway.exchange.pseudonyms import pseudonym
from gateway.exchange.quotas import Quotas
from gateway.exchange.services import ServiceCaller, service_session
from gateway.exchange.signer import MessageSigner, OwnCertificates
from gateway.exchange.trust_state import PeerVerifier, TrustState
from gateway.logging import describe_error, get_logger
from gateway.metrics import Metrics
from gateway.node_keys import NodeKeys, load_keys
from gateway.operations import build_operations_app
from gateway.serve import Listener, listening, wait_for_signal
from gateway.settings import GatewaySettings
from gateway.store.migrate import migrate
from gateway.store.repository import Repository
from trust.configuration_client import ConfigurationClient
from trust.errors import FetchFailed, MalformedInput, TrustError
from trust.globalconf import VerifiedConfiguration, parse_anchor
from trust.identifiers import SubsystemId, parse_client_id
from trust.ocsp_client import StatusSource, add_peer_routes, fetch_from_peer

_CONFIGURATION_WAIT_SECONDS: Final = 30.0
_STATUS_SECONDS: Final = 5.0
# The proxy's own bounds on a header block; a longer one is refused by the parser before it takes memory.
_MAX_LINE: Final = 16 * 1024


class StartRefused(Exception):
    """The gateway can't start. The text is for the operator: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is ready to listen."""

    node: Node
    listeners: tuple[Listener, ...]
    engine: AsyncEngine
    publisher: Publisher


async def run_gateway(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT. Raises StartRefused, and the errors of keys, configuration and log."""
    log = get_logger(node=settings.server_code)
    for mode in settings.insecure_modes:
        log.warning("INSECURE MODE", mode=mode)
    async with serving(settings):
        _tune_interpreter()
        log.info("gateway ready", server=str(settings.server_id))
        await wait_for_signal()
        log.info("stopping", action="finish accepted requests")


def _tune_interpreter() -> None:
    """Settings of the whole process, for a process that is a gateway and nothing else.

    What is alive after the start stays: the collector needn't walk it, and need look for cycles more seldom (11 % of an
    exchange's time went there). The log's committing thread needs the interpreter lock back soon after the disk has
    answered; with the default of 5 ms it would wait longer for the lock than for the disk.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.0005)


@asynccontextmanager
async def serving(settings: GatewaySettings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Within the block the gateway listens; at its end it finishes what it accepted."""
    async with (
        open_gateway(settings, clock=clock) as gateway,
        listening(gateway.listeners, shutdown_seconds=settings.shutdown_seconds),
    ):
        yield gateway


@asynccontextmanager
async def open_gateway(settings: GatewaySettings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """A gateway with all its parts running but its ports closed."""
    clock = clock or SystemClock()
    settings.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        keys = load_keys(settings)
        metrics = Metrics(clock)
        log = get_logger(node=settings.server_code)
        engine = await _database(stack, settings.database_url)
        await migrate(engine)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        client = ConfigurationClient(
            http,
            parse_anchor(settings.anchor_file.read_bytes()),
            settings.data_directory / "configuration",
            clock.now,
        )
        trust = TrustState(await _first_configuration(client, clock), clock)
        statuses = StatusSource(http, clock.now)
        stack.push_async_callback(statuses.close)
        own = OwnCertificates(statuses, trust, clock, keys.signing, keys.authentication)
        repository = Repository(engine)
        sequencer, publisher = await _open_log(stack, settings, engine, keys=keys, clock=clock, metrics=metrics)
        subject_engine = await _database(stack, settings.subject_key_database_url)
        subject_keys = SubjectKeys(subject_engine, keys.record, keys.subject_index)
        await subject_keys.create_schema()
        accesses = OwnAccesses(engine, subject_keys, publisher)
        tokens = None
        if settings.token_issuer is not None and settings.token_audience is not None:
            tokens = CitizenTokens(http, issuer=settings.token_issuer, audience=settings.token_audience, clock=clock)
        node = Node(
            settings=settings,
            clock=clock,
            trust=trust,
            directory=build_directory(await repository.load()),
            consents=await _consents(engine, repository),
            repository=repository,
            sequencer=sequencer,
            subject_keys=subject_keys,
            signer=MessageSigner(keys.signing, settings.owner_id, own, clock),
            own_certificates=own,
            statuses=statuses,
            peers=await _peers(stack, settings, trust, clock=clock, keys=keys, statuses=statuses, http=http),
            services=await _services(stack, settings),
            quotas=Quotas(settings.requests_per_minute),
            metrics=metrics,
            log=log,
            accesses=accesses,
            citizen_tokens=tokens,
            pseudonym_key=keys.pseudonym,
        )
        listeners = await _listeners(stack, node, keys, engine=engine, publisher=publisher, accesses=accesses)
        await own.refresh()
        for name, work in (
            ("configuration", _follow_configuration(client, node, listeners)),
            ("certificate status", _refresh_statuses(node)),
            ("store", _follow_store(node, listeners)),
        ):
            await _background(stack, name, work)
        yield Gateway(node, tuple(listeners), engine, publisher)


async def _consents(engine: AsyncEngine, repository: Repository) -> ConsentCopies:
    shared = engine.dialect.name == "postgresql"
    return ConsentCopies(repository, () if shared else await repository.consent_copies(), shared=shared)


async def _database(stack: AsyncExitStack, url: str) -> AsyncEngine:
    engine = open_engine(url)
    stack.push_async_callback(engine.dispose)
    return engine


async def _first_configuration(client: ConfigurationClient, clock: Clock) -> VerifiedConfiguration:
    """A current configuration.

    From a source, or the one kept from before if no source answers and it is still valid.
    """
    deadline = asyncio.get_running_loop().time() + _CONFIGURATION_WAIT_SECONDS
    while True:
        try:
            return await client.refresh()
        except FetchFailed:
            kept = client.current
            if kept is not None and kept.expires > clock.now():
                return kept
            if asyncio.get_running_loop().time() > deadline:
                raise StartRefused(
                    "no source of the anchor gives the global configuration: check the registry's address"
                ) from None
        await asyncio.sleep(0.2)


async def _open_log(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    engine: AsyncEngine,
    *,
    keys: NodeKeys,
    clock: Clock,
    metrics: Metrics,
) -> tuple[Sequencer, Publisher]:
    origin = origin_of(settings.server_id, clock.now().year)

    sequencer = Sequencer(
        engine,
        origin=origin,
        clock_ms=clock.now_ms,
        on_batch=metrics.observe_log_batch,
        lock_file=settings.checkpoint_lock_file,
    )
    await sequencer.start()
    stack.push_async_callback(sequencer.close)
    log = get_logger(node=settings.server_code)
    publisher = Publisher(
        engine,
        NoteSigner(origin, keys.log),
        lock_file=settings.checkpoint_lock_file,
        origin=origin,
        clock_ms=clock.now_ms,
        on_failure=lambda error: log.error("checkpoint not published", **describe_error(error)),
    )
    await publisher.start()
    stack.push_async_callback(publisher.close)
    return sequencer, publisher


def _authorities(configuration: VerifiedConfiguration) -> list[bytes]:
    approved = configuration.parameters.approved_cas
    return [certificate for authority in approved for certificate in (authority.certificate, *authority.intermediates)]


async def _peers(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    trust: TrustState,
    *,
    clock: Clock,
    keys: NodeKeys,
    statuses: StatusSource,
    http: aiohttp.ClientSession,
) -> Peers:
    async def status_of_peer(der: bytes, endpoint: Endpoint) -> bytes:
        # PR-MESSTRANSP 2.2: from the peer itself, which has it at hand; from its authority if the peer doesn't say.
        try:
            return (await fetch_from_peer(http, endpoint.ocsp_url, [der]))[0]
        except (FetchFailed, MalformedInput):
            query = trust.latest.certificates.status_query(der, at=clock.now())
            return await statuses.status_for(query)

    context = tls.client_context(keys.authentication, _authorities(trust.latest.configuration))
    verifier = PeerVerifier(trust, clock, status_of_peer)
    session = aiohttp.ClientSession(
        connector=PeerConnector(context, verifier.verify, limit=settings.concurrency_limit),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )
    await stack.enter_async_context(session)
    return Peers(
        session,
        limit=settings.max_body_bytes * 2 + (2 << 20),
        timeout_seconds=settings.peer_timeout_seconds,
        connect_seconds=settings.connect_timeout_seconds,
    )


async def _services(stack: AsyncExitStack, settings: GatewaySettings) -> ServiceCaller:
    session = await stack.enter_async_context(service_session(settings.concurrency_limit))
    return ServiceCaller(session, limit=settings.max_body_bytes)


async def _listeners(
    stack: AsyncExitStack,
    node: Node,
    keys: NodeKeys,
    *,
    engine: AsyncEngine,
    publisher: Publisher,
    accesses: OwnAccesses,
) -> list[Listener]:
    settings = node.settings
    context = tls.server_context(keys.authentication, _authorities(node.trust.latest.configuration))
    status_app = web.Application()
    add_peer_routes(status_app, node.own_certificates.refresh)
    operations = build_operations_app(node, engine, publisher, keys)
    listeners = [
        Listener(_server(ClientPort(node).handle), settings.client_host, settings.client_port),
        Listener(_server(PeerPort(node).handle), settings.peer_host, settings.peer_port, context),
        Listener(status_app, settings.peer_host, settings.ocsp_port),
        Listener(operations, settings.operations_host, settings.operations_port),
    ]
    if keys.client_tls is not None and settings.client_tls_port is not None:
        pins = tls.client_port_context(keys.client_tls, node.directory.client_certificates)
        client_server = _server(ClientPort(node).handle)
        listeners.append(Listener(client_server, settings.client_tls_host, settings.client_tls_port, pins))
    if settings.citizen_port is not None:
        http = await stack.enter_async_context(citizen_http_session())
        context_of_citizen = _citizen_context(node, keys, engine, accesses)
        app = build_citizen_app(context_of_citizen, http, tokens=node.citizen_tokens)
        listeners.append(Listener(app, settings.citizen_host, settings.citizen_port))
    return listeners


def _server(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
    # Bodies go on as they came (no decompression); access lines are ours, one per exchange.
    return web.Server(
        handler,
        auto_decompress=False,
        access_log=None,
        max_line_size=_MAX_LINE,
        max_field_size=_MAX_LINE,
    )


def _citizen_context(node: Node, keys: NodeKeys, engine: AsyncEngine, accesses: OwnAccesses) -> CitizenContext:
    settings = node.settings
    client = parse_client_id(settings.citizen_client or "")
    if (
        not isinstance(client, SubsystemId)
        or settings.citizen_purposes_file is None
        or settings.citizen_url is None
        or settings.token_issuer is None
        or settings.token_audience is None
        or keys.pseudonym is None
    ):
        raise StartRefused(
            "citizen_port needs citizen_client (a subsystem), citizen_purposes_file, citizen_url and a token issuer"
        )
    secret_file = settings.citizen_client_secret_file
    return CitizenContext(
        settings=CitizenSettings(
            instance=settings.instance,
            client=client,
            public_url=settings.citizen_url.rstrip("/"),
            road_url=f"http://{settings.client_host}:{settings.client_port}",
            issuer=settings.token_issuer,
            client_id=settings.citizen_client_id,
            token_audience=settings.token_audience,
            purposes=load_purposes(settings.citizen_purposes_file),
            client_secret=None if secret_file is None else secret_file.read_text("utf-8").strip(),
            session_idle_ms=int(settings.citizen_session_seconds * 1000),
            city_name=settings.citizen_city_name,
        ),
        engine=engine,
        clock=node.clock,
        consent_key=_consent_key(keys),
        pseudonym_key=keys.pseudonym,
        cookie_key=keys.cookie,
        pseudonym=pseudonym,
        keeps_log=lambda provider, origin: is_log_of(origin, node.trust.latest.configuration.servers_of(provider)),
        own_log=CitizenAccesses(accesses),
        log_keys=settings.citizen_log_keys,
    )


def _consent_key(keys: NodeKeys) -> ConsentKey:
    # Providers check that a consent is signed by the member that sends it: with its signing certificate.
    private = keys.signing.private_key
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise StartRefused("a gateway with citizens needs an ECDSA P-256 signing key: consents are signed with it")
    return ConsentKey(private, (keys.signing.certificate_der, *keys.signing.intermediates))


# -- in the background -----------------------------------------------------------------------------------------------


async def _background(stack: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work, name=name)

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)


async def _follow_configuration(client: ConfigurationClient, node: Node, listeners: list[Listener]) -> None:
    def take(configuration: VerifiedConfiguration) -> None:
        node.trust.replace(configuration)
        node.metrics.configuration_accepted(expires=configuration.expires)
        for listener in listeners:
            if listener.port == node.settings.peer_port and listener.ssl is not None:
                tls.trust_authorities(listener.ssl, _authorities(configuration))

    def failed(error: TrustError) -> None:
        expires = node.trust.latest.configuration.expires
        node.log.warning("global configuration not refreshed", code=error.code, expires=expires.isoformat())

    await client.follow(node.settings.configuration_interval_seconds, take, failed)


async def _refresh_statuses(node: Node) -> None:
    while True:
        await asyncio.sleep(_STATUS_SECONDS)
        current = await node.own_certificates.refresh()
        if len(current) < 2:
            node.log.error(
                "an OCSP answer of our own certificates is missing", hint="look at the authority's responder"
            )


async def _follow_store(node: Node, listeners: list[Listener]) -> None:
    """Takes what this process, a command or another process of the node has changed."""
    consents = -1
    while True:
        await asyncio.sleep(node.settings.store_poll_seconds)
        try:
            revision = await node.repository.revision()
            if revision.configuration != node.directory.configuration_revision:
                node.directory = build_directory(await node.repository.load())
                for listener in listeners:
                    if listener.port == node.settings.client_tls_port and listener.ssl is not None:
                        tls.trust_authorities(listener.ssl, node.directory.client_certificates)
            if revision.consents != consents:
                node.consents.replace_all(await node.repository.consent_copies())
                consents = revision.consents
        except SQLAlchemyError as error:
            node.log.error("store not readable", **describe_error(error))
