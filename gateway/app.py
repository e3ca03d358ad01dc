"""The assembly of a gateway: opens its parts in order, and closes them in the reverse order.

Start: databases, keys, configuration, log, ports. Stop: ports first, so that what was accepted is finished, then the
rest. A gateway doesn't listen before it has a current global configuration and its log has shown that it is not behind
what was signed.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.http import add_witness_routes
from audit.message_log import ContentSealer
from audit.publisher import Publisher
from audit.subject_keys import SubjectKeys
from audit.subject_keys import create_schema as create_subject_key_schema
from gateway.accesses import OwnAccesses
from gateway.checkpoint_stamping import CheckpointStamping, stamping_follower
from gateway.citizen.assembly import citizen_bindings, citizen_relations
from gateway.citizen.start import open_citizen_app
from gateway.clock import Clock, SystemClock
from gateway.configuration import FollowedConfiguration
from gateway.doctor.http import add_doctor
from gateway.doctor.patient import Patient
from gateway.errors import StartRefused
from gateway.exchange.citizen_tokens import CitizenTokens
from gateway.exchange.consents import ConsentCopies
from gateway.exchange.directory import build_directory
from gateway.exchange.insecure import insecure_parts
from gateway.exchange.node import Node
from gateway.exchange.quotas import Quotas
from gateway.exchange.signer import MessageSigner, OwnCertificates
from gateway.exchange.trust_state import TrustState
from gateway.exchange.vouching import Vouchers
from gateway.followers import Follower, build_followers, start_followers
from gateway.key_follower import KeyFollower
from gateway.logging import describe_error, get_logger
from gateway.logs import OwnLogs
from gateway.message_log.assembly import message_log_followers, open_keys, open_message_log
from gateway.message_log.stamping import CostStrategy, in_order
from gateway.metrics import Metrics
from gateway.monitoring.start import monitoring_follower, open_monitoring, open_node_tracing
from gateway.node_keys import NodeKeys, load_keys, make_missing_keys
from gateway.operations import build_operations_app
from gateway.ports import open_peers, open_services, road_listeners
from gateway.private_files import prepare_files
from gateway.refusals import open_database, start_refusals
from gateway.reporting import reporting_follower
from gateway.serve import Listener, listening, wait_for_signal
from gateway.settings import GatewaySettings
from gateway.shouting import shout_modes, shout_parts
from gateway.store.migrate import migrate
from gateway.store.repository import Repository
from gateway.tls_contexts import TLSContexts, build_tls_contexts
from gateway.witnessing import Witnessing, build_witness, read_policy
from trust.configuration_client import ConfigurationClient
from trust.errors import FetchFailed
from trust.federation import parse_allowed_federations
from trust.federation_client import FederationClient
from trust.globalconf import VerifiedConfiguration, parse_anchor
from trust.ocsp_client import StatusSource
from trust.timestamp_client import TimestampClient

_CONFIGURATION_WAIT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is ready to listen."""

    node: Node
    listeners: tuple[Listener, ...]
    engine: AsyncEngine
    logs: OwnLogs
    contexts: TLSContexts
    followers: tuple[Follower, ...]
    keys: KeyFollower

    @property
    def publisher(self) -> Publisher:
        """The current year's log's."""
        return self.logs.publisher


async def run_gateway(settings: GatewaySettings) -> None:
    """Runs a gateway until SIGTERM or SIGINT. Raises StartRefused, and TrustError for keys and configuration."""
    log = get_logger(node=settings.server_code)
    shout_modes(settings, settings.server_code)
    async with serving(settings) as gateway:
        shout_parts(insecure_parts(gateway.node.directory), settings.server_code)
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
    """Within the block the gateway listens; at its end it finishes what it accepted. Raises as `run_gateway` does."""
    async with AsyncExitStack() as stack:
        with start_refusals():
            gateway = await stack.enter_async_context(open_gateway(settings, clock=clock))
            ports = listening(gateway.listeners, shutdown_seconds=settings.shutdown_seconds)
            await stack.enter_async_context(ports)
        yield gateway


@asynccontextmanager
async def open_gateway(settings: GatewaySettings, *, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """A gateway with all its parts running but its ports closed."""
    clock = clock or SystemClock()
    await asyncio.to_thread(prepare_files, settings)
    async with AsyncExitStack() as stack:
        metrics = Metrics(clock)
        log = get_logger(node=settings.server_code)
        engine = await open_database(stack, "database_url", settings.database_url)
        await migrate(engine)
        subject_engine = await open_database(stack, "subject_key_database_url", settings.subject_key_database_url)
        await create_subject_key_schema(subject_engine)
        await make_missing_keys(settings, engine, subject_engine)
        keys = load_keys(settings)
        subject_keys = SubjectKeys(subject_engine, keys.record, keys.subject_index)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        client = ConfigurationClient(
            http,
            parse_anchor(settings.anchor_file.read_bytes()),
            settings.data_directory / "configuration",
            clock.now,
        )
        federation = FederationClient(
            http,
            settings.data_directory / "configuration",
            clock.now,
            parse_allowed_federations(settings.allowed_federations),
        )
        followed = FollowedConfiguration(client, federation)
        trust = TrustState(await _first_configuration(client, clock), clock)
        trust.replace(trust.latest.configuration, await federation.refresh(trust.latest.configuration))
        statuses = StatusSource(http, clock.now)
        stack.push_async_callback(statuses.close)
        ring = KeyFollower(keys.ring, trust, clock)
        own = OwnCertificates(statuses, trust, clock, await ring.load())
        await own.refresh()
        keys = replace(keys, authentication=ring.presentable(own, settings.server_id, keys.authentication))
        repository = Repository(engine)
        directory = build_directory(await repository.load(), settings.owner_id, settings.consent_service_id)
        message_keys = await open_keys(settings, subject_engine, keys.record, now_ms=clock.now_ms())
        policy = read_policy(settings.witness_policy_file)
        witnessing = Witnessing(engine, http, policy, clock, limit_seconds=settings.witness_limit_seconds)
        logs = await _open_logs(
            stack,
            settings,
            engine,
            keys=keys,
            clock=clock,
            metrics=metrics,
            sealer=message_keys[1],
            witnessing=witnessing,
        )
        messages = await open_message_log(
            settings,
            engine,
            message_keys,
            http=http,
            configuration=lambda: trust.latest.configuration,
            clock=clock,
            metrics=metrics.message_log,
            log=log,
        )
        accesses = OwnAccesses(engine, subject_keys, logs)
        contexts = build_tls_contexts(keys, trust.latest.configuration, directory, settings)
        tokens = None
        if settings.token_issuer is not None and settings.token_audience is not None:
            tokens = CitizenTokens(
                http,
                issuer=settings.token_issuer,
                audience=settings.token_audience,
                clock=clock,
                bindings=citizen_bindings(engine, settings, keys, clock),
                levels=settings.token_acr_levels,
            )
        node = Node(
            settings=settings,
            clock=clock,
            trust=trust,
            directory=directory,
            consents=await _consents(engine, repository),
            repository=repository,
            sequencer=logs.sequencer,
            subject_keys=subject_keys,
            signer=MessageSigner(settings.owner_id, own, clock),
            own_certificates=own,
            statuses=statuses,
            peers=await open_peers(
                stack,
                settings,
                trust,
                clock=clock,
                context=contexts.peer_client,
                xroad_context=contexts.peer_xroad,
                statuses=statuses,
                http=http,
            ),
            services=await open_services(stack, settings, keys),
            quotas=Quotas(settings.requests_per_minute, of_service=settings.service_requests_per_minute),
            metrics=metrics,
            log=log,
            accesses=accesses,
            log_guard=witnessing,
            monitoring=open_monitoring(stack, engine, settings, clock, metrics),
            citizen_tokens=tokens,
            representations=citizen_relations(engine, settings, keys, clock),
            vouchers=Vouchers(keys.cookie, clock),
            tracing=open_node_tracing(stack, settings),
            pseudonym_key=keys.pseudonym,
            stamper=messages.stamper,
            exporter=messages.exporter,
        )
        of_messages = message_log_followers(
            messages,
            settings,
            configuration=lambda: trust.latest.configuration,
            clock=clock,
            metrics=metrics.message_log,
            log=log,
        )
        stamping = CheckpointStamping(
            engine,
            logs,
            TimestampClient(http, clock.now),
            lambda: in_order(
                trust.latest.configuration.parameters.approved_tsas, CostStrategy(settings.timestamp_cost_strategy)
            ),
            clock,
        )
        followers = (*build_followers(node, followed, contexts, logs, witnessing, keys=ring), *of_messages)
        operations = build_operations_app(node, engine, logs, keys, followers)
        add_doctor(
            operations,
            lambda: Patient(
                settings,
                clock,
                http,
                anchor=client.anchor,
                configuration=trust.latest.configuration,
                keys=replace(keys, authentication=contexts.authentication),
                engine=engine,
                running=True,
            ),
        )
        add_witness_routes(operations, build_witness(engine, settings.server_id, keys.witness, policy, clock))
        citizens = await open_citizen_app(stack, node, keys, engine, accesses, policy=policy)
        await own.refresh()
        await witnessing.start(logs)
        start_followers(stack, node, (*followers, *_unwatched(node, engine, stamping)))
        listeners = tuple(road_listeners(node, contexts, operations, citizens))
        yield Gateway(node, listeners, engine, logs, contexts, followers, ring)


def _unwatched(node: Node, engine: AsyncEngine, stamping: CheckpointStamping) -> tuple[Follower, ...]:
    """The jobs whose failing is no ailment of the gateway: the health check doesn't look at them."""
    return monitoring_follower(node), stamping_follower(stamping, node), reporting_follower(node, engine)


async def _consents(engine: AsyncEngine, repository: Repository) -> ConsentCopies:
    shared = engine.dialect.name == "postgresql"
    return ConsentCopies(repository, () if shared else await repository.consent_copies(), shared=shared)


async def _first_configuration(client: ConfigurationClient, clock: Clock) -> VerifiedConfiguration:
    """A current configuration.

    From a source, or the one kept from before if no source answers and it is still valid.
    """
    deadline = asyncio.get_running_loop().time() + _CONFIGURATION_WAIT_SECONDS
    while True:
        try:
            return await client.refresh()
        except FetchFailed as error:
            kept = client.current
            if kept is not None and kept.expires > clock.now():
                return kept
            if asyncio.get_running_loop().time() > deadline:
                raise StartRefused(
                    f"there is no current global configuration ({error}): {error.hint or 'check the registry'}"
                ) from None
        await asyncio.sleep(0.2)


async def _open_logs(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    engine: AsyncEngine,
    *,
    keys: NodeKeys,
    clock: Clock,
    metrics: Metrics,
    sealer: ContentSealer,
    witnessing: Witnessing,
) -> OwnLogs:
    log = get_logger(node=settings.server_code)
    logs = OwnLogs(
        engine,
        settings,
        keys.log,
        clock,
        on_batch=metrics.observe_log_batch,
        on_failure=lambda error: log.error("checkpoint not published", **describe_error(error)),
        witnessed=witnessing.required,
        mldsa_seed=keys.log_mldsa,
        old_key=keys.log_old,
        sealer=sealer,
    )
    # After the last checkpoint is signed.
    stack.push_async_callback(witnessing.last_round, logs)
    stack.push_async_callback(logs.close)
    await logs.start()
    return logs
