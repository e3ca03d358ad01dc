"""What a gateway stands on: databases, keys, the global configuration, its own certificates, its logs. Opened in order.

All of it is there before the gateway's parts are put together on it (`gateway.app`), and is closed after them.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from audit.message_log import ContentSealer
from audit.policy import Policy
from audit.subject_keys import SubjectKeys
from audit.subject_keys import create_schema as create_subject_key_schema
from gateway.clock import Clock
from gateway.configuration import FollowedConfiguration
from gateway.errors import StartRefused
from gateway.exchange.signer import OwnCertificates
from gateway.exchange.trust_state import TrustState
from gateway.key_follower import KeyFollower
from gateway.logging import describe_error, get_logger
from gateway.logs import OwnLogs
from gateway.message_log.assembly import MessageLog, open_keys, open_message_log
from gateway.metrics import Metrics
from gateway.node_keys import NodeKeys, load_keys, make_missing_keys
from gateway.refusals import open_database
from gateway.settings import GatewaySettings
from gateway.store.migrate import migrate
from gateway.witnessing import Witnessing, read_policy
from trust.configuration_client import ConfigurationClient
from trust.costs import CostStrategy
from trust.errors import FetchFailed
from trust.federation import parse_allowed_federations
from trust.federation_client import FederationClient
from trust.globalconf import VerifiedConfiguration, parse_anchor
from trust.ocsp_client import StatusSource

_CONFIGURATION_WAIT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ground:
    """The node's settings, time and words, its databases and its keys."""

    settings: GatewaySettings
    clock: Clock
    metrics: Metrics
    log: FilteringBoundLogger
    http: aiohttp.ClientSession
    engine: AsyncEngine
    subject_engine: AsyncEngine
    keys: NodeKeys
    subject_keys: SubjectKeys


@dataclass(frozen=True, slots=True)
class Trusted:
    """The global configuration, where it comes from, and the gateway's own standing in it."""

    client: ConfigurationClient
    followed: FollowedConfiguration
    state: TrustState
    statuses: StatusSource
    own: OwnCertificates
    ring: KeyFollower

    def configuration(self) -> VerifiedConfiguration:
        """The one that is in force now."""
        return self.state.latest.configuration


@dataclass(frozen=True, slots=True)
class Logs:
    """The access log, who confirms it, and the message log."""

    accesses: OwnLogs
    messages: MessageLog
    policy: Policy
    witnessing: Witnessing


async def open_ground(stack: AsyncExitStack, settings: GatewaySettings, clock: Clock) -> Ground:
    """Databases with their tables as they must be, and keys, which a new gateway makes. Raises StartRefused."""
    metrics, log = Metrics(clock), get_logger(node=settings.server_code)
    engine = await open_database(stack, "database_url", settings.database_url)
    await migrate(engine)
    subject_engine = await open_database(stack, "subject_key_database_url", settings.subject_key_database_url)
    await create_subject_key_schema(subject_engine)
    await make_missing_keys(settings, engine, subject_engine)
    keys = load_keys(settings)
    subject_keys = SubjectKeys(subject_engine, keys.record, keys.subject_index)
    http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    return Ground(settings, clock, metrics, log, http, engine, subject_engine, keys, subject_keys)


async def open_trust(stack: AsyncExitStack, ground: Ground) -> Trusted:
    """A current configuration, and the gateway's own certificates with their status. Raises StartRefused."""
    settings, clock, http = ground.settings, ground.clock, ground.http
    folder = settings.data_directory / "configuration"
    client = ConfigurationClient(http, parse_anchor(settings.anchor_file.read_bytes()), folder, clock.now)
    federation = FederationClient(http, folder, clock.now, parse_allowed_federations(settings.allowed_federations))
    followed = FollowedConfiguration(client, federation)
    costs = CostStrategy(settings.ocsp_cost_strategy)
    trust = TrustState(await _first_configuration(client, clock), clock, ocsp_costs=costs)
    trust.replace(trust.latest.configuration, await federation.refresh(trust.latest.configuration))
    statuses = StatusSource(http, clock.now)
    stack.push_async_callback(statuses.close)
    ring = KeyFollower(ground.keys.ring, trust, clock)
    own = OwnCertificates(statuses, trust, clock, await ring.load())
    await own.refresh()
    return Trusted(client, followed, trust, statuses, own, ring)


def presentable_keys(ground: Ground, trusted: Trusted) -> NodeKeys:
    """The keys, with the authentication key that the registry knows and whose certificate is good."""
    keys = ground.keys
    shown = trusted.ring.presentable(trusted.own, ground.settings.server_id, keys.authentication)
    return replace(keys, authentication=shown)


async def open_logs(stack: AsyncExitStack, ground: Ground, trusted: Trusted) -> Logs:
    """Both logs, the access log checked against what was signed of it. Raises AuditError."""
    settings, clock, engine = ground.settings, ground.clock, ground.engine
    message_keys = await open_keys(settings, ground.subject_engine, ground.keys.record, now_ms=clock.now_ms())
    policy = read_policy(settings.witness_policy_file)
    witnessing = Witnessing(engine, ground.http, policy, clock, limit_seconds=settings.witness_limit_seconds)
    accesses = await _open_access_logs(stack, ground, sealer=message_keys[1], witnessing=witnessing)
    messages = await open_message_log(
        settings,
        engine,
        message_keys,
        http=ground.http,
        configuration=trusted.configuration,
        clock=clock,
        metrics=ground.metrics.message_log,
        log=ground.log,
    )
    return Logs(accesses, messages, policy, witnessing)


async def _open_access_logs(
    stack: AsyncExitStack, ground: Ground, *, sealer: ContentSealer, witnessing: Witnessing
) -> OwnLogs:
    keys, log = ground.keys, ground.log
    logs = OwnLogs(
        ground.engine,
        ground.settings,
        keys.log,
        ground.clock,
        on_batch=ground.metrics.observe_log_batch,
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
