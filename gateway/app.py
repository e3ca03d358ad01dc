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

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.http import add_witness_routes
from audit.publisher import Publisher
from gateway.accesses import OwnAccesses
from gateway.checkpoint_stamping import CheckpointStamping, stamping_follower
from gateway.citizen.assembly import citizen_bindings, citizen_relations
from gateway.citizen.start import open_citizen_app
from gateway.clock import Clock, SystemClock
from gateway.doctor.http import add_doctor
from gateway.doctor.patient import Patient
from gateway.exchange.citizen_tokens import CitizenTokens
from gateway.exchange.consents import ConsentCopies
from gateway.exchange.directory import Directory, build_directory
from gateway.exchange.insecure import insecure_parts
from gateway.exchange.node import Node
from gateway.exchange.quotas import Quotas
from gateway.exchange.signer import MessageSigner
from gateway.exchange.vouching import Vouchers
from gateway.followers import Follower, build_followers, start_followers
from gateway.foundation import Ground, Logs, Trusted, open_ground, open_logs, open_trust, presentable_keys
from gateway.key_follower import KeyFollower
from gateway.logging import get_logger
from gateway.logs import OwnLogs
from gateway.message_log.assembly import message_log_followers
from gateway.message_log.stamping import authorities_in_order
from gateway.monitoring.start import monitoring_follower, open_monitoring, open_node_tracing
from gateway.operations import build_operations_app
from gateway.ports import open_peers, open_services, road_listeners
from gateway.private_files import prepare_files
from gateway.process_memory import keep_freed_memory
from gateway.refusals import start_refusals
from gateway.reporting import reporting_follower
from gateway.serve import Listener, listening, wait_for_signal
from gateway.settings import GatewaySettings
from gateway.shouting import shout_modes, shout_parts
from gateway.store.repository import Repository
from gateway.tls_contexts import TLSContexts, build_tls_contexts
from gateway.witnessing import build_witness
from trust.costs import CostStrategy
from trust.timestamp_client import TimestampClient


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
    keep_freed_memory()


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
    await asyncio.to_thread(prepare_files, settings)
    async with AsyncExitStack() as stack:
        ground = await open_ground(stack, settings, clock or SystemClock())
        trusted = await open_trust(stack, ground)
        # What is shown to peers follows from the configuration; what is signed and sealed with doesn't.
        ground = replace(ground, keys=presentable_keys(ground, trusted))
        repository = Repository(ground.engine)
        directory = build_directory(await repository.load(), settings.owner_id, settings.consent_service_id)
        logs = await open_logs(stack, ground, trusted)
        accesses = OwnAccesses(ground.engine, ground.subject_keys, logs.accesses)
        contexts = build_tls_contexts(ground.keys, trusted.configuration(), directory, settings)
        node = await _build_node(stack, ground, trusted, logs, contexts, directory, repository, accesses)
        followers = _watched(node, ground, trusted, logs, contexts)
        operations = _build_operations(node, ground, trusted, logs, contexts, followers)
        citizens = await open_citizen_app(stack, node, ground.keys, ground.engine, accesses, policy=logs.policy)
        await trusted.own.refresh()
        await logs.witnessing.start(logs.accesses)
        start_followers(stack, node, (*followers, *_unwatched(node, ground, trusted, logs)))
        listeners = tuple(road_listeners(node, contexts, operations, citizens))
        yield Gateway(node, listeners, ground.engine, logs.accesses, contexts, followers, trusted.ring)


async def _build_node(  # noqa: PLR0917 - the parts in the order in which they were opened
    stack: AsyncExitStack,
    ground: Ground,
    trusted: Trusted,
    logs: Logs,
    contexts: TLSContexts,
    directory: Directory,
    repository: Repository,
    accesses: OwnAccesses,
) -> Node:
    settings, clock, engine, keys = ground.settings, ground.clock, ground.engine, ground.keys
    return Node(
        settings=settings,
        clock=clock,
        trust=trusted.state,
        directory=directory,
        consents=await _consents(engine, repository),
        repository=repository,
        sequencer=logs.accesses.sequencer,
        subject_keys=ground.subject_keys,
        signer=MessageSigner(settings.owner_id, trusted.own, clock),
        own_certificates=trusted.own,
        statuses=trusted.statuses,
        peers=await open_peers(
            stack,
            settings,
            trusted.state,
            clock=clock,
            context=contexts.peer_client,
            xroad_context=contexts.peer_xroad,
            statuses=trusted.statuses,
            http=ground.http,
        ),
        services=await open_services(stack, settings, keys),
        quotas=Quotas(settings.requests_per_minute, of_service=settings.service_requests_per_minute),
        metrics=ground.metrics,
        log=ground.log,
        accesses=accesses,
        log_guard=logs.witnessing,
        monitoring=open_monitoring(stack, engine, settings, clock, ground.metrics),
        citizen_tokens=_citizen_tokens(ground),
        representations=citizen_relations(engine, settings, keys, clock),
        vouchers=Vouchers(keys.cookie, clock),
        tracing=open_node_tracing(stack, settings),
        pseudonym_key=keys.pseudonym,
        stamper=logs.messages.stamper,
        exporter=logs.messages.exporter,
    )


def _citizen_tokens(ground: Ground) -> CitizenTokens | None:
    settings = ground.settings
    if settings.token_issuer is None or settings.token_audience is None:
        return None
    return CitizenTokens(
        ground.http,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        clock=ground.clock,
        bindings=citizen_bindings(ground.engine, settings, ground.keys, ground.clock),
        levels=settings.token_acr_levels,
    )


def _build_operations(  # noqa: PLR0917 - as `_build_node`
    node: Node,
    ground: Ground,
    trusted: Trusted,
    logs: Logs,
    contexts: TLSContexts,
    followers: tuple[Follower, ...],
) -> web.Application:
    settings, clock, keys, engine = ground.settings, ground.clock, ground.keys, ground.engine
    operations = build_operations_app(node, engine, logs.accesses, keys, followers)
    add_doctor(
        operations,
        lambda: Patient(
            settings,
            clock,
            ground.http,
            anchor=trusted.client.anchor,
            configuration=trusted.configuration(),
            keys=replace(keys, authentication=contexts.authentication),
            engine=engine,
            running=True,
        ),
    )
    add_witness_routes(operations, build_witness(engine, settings.server_id, keys.witness, logs.policy, clock))
    return operations


def _watched(node: Node, ground: Ground, trusted: Trusted, logs: Logs, contexts: TLSContexts) -> tuple[Follower, ...]:
    """The jobs that the gateway can't do without: the health check looks at them."""
    of_messages = message_log_followers(
        logs.messages,
        ground.settings,
        configuration=trusted.configuration,
        clock=ground.clock,
        metrics=ground.metrics.message_log,
        log=ground.log,
    )
    own = build_followers(node, trusted.followed, contexts, logs.accesses, logs.witnessing, keys=trusted.ring)
    return *own, *of_messages


def _unwatched(node: Node, ground: Ground, trusted: Trusted, logs: Logs) -> tuple[Follower, ...]:
    """The jobs whose failing is no ailment of the gateway."""
    strategy = CostStrategy(ground.settings.timestamp_cost_strategy)
    stamping = CheckpointStamping(
        ground.engine,
        logs.accesses,
        TimestampClient(ground.http, ground.clock.now),
        lambda: authorities_in_order(trusted.configuration().parameters.approved_tsas, strategy),
        ground.clock,
    )
    return monitoring_follower(node), stamping_follower(stamping, node), reporting_follower(node, ground.engine)


async def _consents(engine: AsyncEngine, repository: Repository) -> ConsentCopies:
    shared = engine.dialect.name == "postgresql"
    return ConsentCopies(repository, () if shared else await repository.consent_copies(), shared=shared)
