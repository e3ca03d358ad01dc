"""What the way of a message runs on: one gateway's parts, put together by `gateway.app`, passed to every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from audit.sequencer import Sequencer
from audit.subject_keys import SubjectKeys
from audit.witness_client import WitnessReport
from gateway.clock import Clock
from gateway.exchange.citizen_tokens import CitizenTokens
from gateway.exchange.consents import ConsentCopies
from gateway.exchange.directory import Directory
from gateway.exchange.peers import Peers
from gateway.exchange.places import Places
from gateway.exchange.quotas import Quotas, TokenBuckets
from gateway.exchange.representation import Representations
from gateway.exchange.services import ServiceAnswer, ServiceCaller
from gateway.exchange.signer import MessageSigner, OwnCertificates
from gateway.exchange.spool import Spool
from gateway.exchange.trust_state import TrustState
from gateway.exchange.vouching import Vouchers
from gateway.logging import describe_error
from gateway.message_log.content import LoggedContent, logged_content
from gateway.message_log.export import Exporter
from gateway.message_log.stamping import Stamper
from gateway.messages.faults import Vocabulary
from gateway.messages.transport import TransportLimits
from gateway.metrics import Metrics
from gateway.monitoring.buffer import Monitoring
from gateway.settings import GatewaySettings, is_loopback
from gateway.store.repository import Repository
from gateway.tracing import Tracing
from gateway.transport_settings import share_of
from trust.identifiers import MemberId, SecurityServerId, SubsystemId
from trust.ocsp_client import StatusSource


class LogGuard(Protocol):
    """Says whether the log may be relied on."""

    def require_quorum(self) -> None:
        """Raises QuorumMissing when no quorum of witnesses has confirmed the log for too long."""
        ...

    @property
    def reports(self) -> Mapping[str, WitnessReport]:
        """How each witness answered last."""
        ...


class AccessReader(Protocol):
    """Reads this gateway's access log for one person."""

    async def read(self, subject_ref: str, month: str, *, seen: int = 0) -> bytes:
        """The bundle of one person's accesses in a month, as JSON. `seen`: the log's size at an earlier visit."""
        ...

    async def records(self, subject_ref: str) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Every record of the person that can be opened, with its time (ms, UTC), oldest first. Raises AuditError."""
        ...

    async def first_ms(self) -> int | None:
        """Since when (ms, UTC) there are records; None without any."""
        ...


class ConsentService(Protocol):
    """Answers institutions about consents, where citizens decide."""

    async def answer(
        self, client: SubsystemId, code: str, method: str, path: str, *, query: str, body: bytes
    ) -> ServiceAnswer:
        """The answer to one verified request of a client; `path` is raw, what follows the service code."""
        ...


# What the gateways may add to a SOAP message: the request hash, and receipts for as many persons as there may be.
_SOAP_ROOM: Final = 64 * 1024


@dataclass(slots=True)
class Node:
    """One gateway. `directory` is replaced when the store changes; an exchange keeps the one that it began with."""

    settings: GatewaySettings
    clock: Clock
    trust: TrustState
    directory: Directory
    consents: ConsentCopies
    repository: Repository
    sequencer: Sequencer
    subject_keys: SubjectKeys
    signer: MessageSigner
    own_certificates: OwnCertificates
    statuses: StatusSource
    peers: Peers
    services: ServiceCaller
    quotas: Quotas
    metrics: Metrics
    log: FilteringBoundLogger
    accesses: AccessReader
    log_guard: LogGuard
    monitoring: Monitoring
    citizen_tokens: CitizenTokens | None = None
    representations: Representations | None = None
    vouchers: Vouchers | None = None
    consent_service: ConsentService | None = None
    tracing: Tracing | None = None
    pseudonym_key: bytes | None = None
    stamper: Stamper | None = None
    exporter: Exporter | None = None
    server_id: SecurityServerId = field(init=False)
    client_tls_is_local: bool = field(init=False)
    vocabulary: Vocabulary = field(init=False)
    spool: Spool = field(init=False)
    client_quotas: TokenBuckets = field(init=False)
    # Exchanges under way: of our clients, of other gateways' clients, with our services; and of other gateways, those
    # that ask us and those that we ask.
    places_of_clients: Places = field(init=False)
    places_of_callers: Places = field(init=False)
    places_of_services: Places = field(init=False)
    places_of_asking_peers: Places = field(init=False)
    places_of_asked_peers: Places = field(init=False)
    # Of clients' addresses: requests whose body is on its way.
    places_of_bodies: Places = field(init=False)
    xroad_servers: frozenset[SecurityServerId] = field(init=False)
    transport_limits: TransportLimits = field(init=False)
    consent_authorities: frozenset[MemberId] = field(init=False)
    data_tracker_clients: frozenset[SubsystemId] = field(init=False)
    logged_content: LoggedContent = field(init=False)
    receiptless_servers: frozenset[SecurityServerId] = field(init=False)
    hash_chain_servers: frozenset[SecurityServerId] = field(init=False)

    def __post_init__(self) -> None:
        # What follows from the settings, once instead of for each exchange.
        self.server_id = self.settings.server_id
        settings = self.settings
        self.client_quotas = TokenBuckets(settings.client_requests_per_minute)
        self.places_of_clients = Places(settings.client_concurrency_limit)
        self.places_of_callers = Places(settings.client_concurrency_limit)
        self.places_of_services = Places(settings.service_concurrency_limit)
        self.places_of_asking_peers = Places(settings.peer_share)
        self.places_of_asked_peers = Places(settings.peer_share)
        self.places_of_bodies = Places(share_of(settings.concurrency_limit))
        self.xroad_servers = settings.xroad_server_ids
        self.spool = Spool(
            settings.spool_directory,
            threshold=settings.spool_threshold_bytes,
            max_memory=settings.max_bodies_bytes,
            max_spooled=settings.max_spooled_bytes,
            on_failure=lambda error: self.log.error("bodies can't be spooled", **describe_error(error)),
        )
        self.client_tls_is_local = is_loopback(self.settings.client_tls_host)
        self.vocabulary = Vocabulary(self.settings.error_vocabulary)
        self.transport_limits = transport_limits(settings)
        self.consent_authorities = self.settings.consent_authority_ids
        self.data_tracker_clients = self.settings.data_tracker_client_ids
        self.logged_content = logged_content(self.settings)
        self.receiptless_servers = self.settings.receiptless_server_ids
        self.hash_chain_servers = self.settings.hash_chain_server_ids


def transport_limits(settings: GatewaySettings) -> TransportLimits:
    """The bounds of a message between gateways, and of what services answer."""
    return TransportLimits(
        max_body=settings.max_body_bytes,
        max_soap=min(settings.max_body_bytes, settings.max_soap_bytes) + _SOAP_ROOM,
    )
