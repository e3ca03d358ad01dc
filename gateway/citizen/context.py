"""What the citizen's application is made of: settings, keys and the things that are passed in.

The assembly (`gateway.app`) builds one `CitizenContext`; nothing here reads a file, an environment or a global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen.notice_settings import NoticeSettings
from gateway.citizen.purposes import PurposeDeclaration
from gateway.clock import Clock
from trust.identifiers import MemberId, SubsystemId

MINIMUM_KEY_BYTES: Final = 32


class UnusableContext(Exception):
    """Keys or settings of the citizen's application don't fit together. The operator's fault."""


@dataclass(frozen=True, slots=True)
class CitizenSettings:
    """How the citizen's application is set up. URLs have no trailing slash; times are milliseconds."""

    instance: str
    client: SubsystemId
    public_url: str
    road_url: str
    issuer: str
    client_id: str
    token_audience: str
    purposes: tuple[PurposeDeclaration, ...]
    client_secret: str | None = None
    city_name: str = "Musterstadt"
    # By which clock citizens read when something happened.
    time_zone: tzinfo = UTC
    session_idle_ms: int = 30 * 60_000
    session_absolute_ms: int = 8 * 3_600_000
    # What the issuer's `acr` values mean, where they aren't our own words or eIDAS'.
    acr_levels: Mapping[str, str] = field(default_factory=dict)
    requests_per_minute: int = 240
    require_bound_tokens: bool = False
    require_dpop_nonce: bool = False
    # The header in which the proxy before us names the browser's address; None when browsers reach us themselves.
    proxy_header: str | None = None
    # Who may declare services and purposes at the consent service.
    consent_declarants: frozenset[SubsystemId] = frozenset()
    notices: NoticeSettings = field(default_factory=NoticeSettings)
    push_interval_ms: int = 5_000
    road_timeout_seconds: float = 30.0

    @property
    def secure(self) -> bool:
        """Whether browsers reach us over TLS: cookies are then marked for it."""
        return self.public_url.startswith("https://")

    @property
    def providers(self) -> tuple[SubsystemId, ...]:
        """The subsystems behind the purposes, each once, in order."""
        providers = dict.fromkeys(purpose.service.provider for purpose in self.purposes)
        return tuple(provider for provider in providers if isinstance(provider, SubsystemId))

    @property
    def issuer_origin(self) -> str:
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class ConsentKey:
    """The key that signs consents: P-256, with the road signing certificate of the city and its intermediates, DER."""

    private_key: ec.EllipticCurvePrivateKey
    certificates: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.private_key.curve, ec.SECP256R1) or not self.certificates:
            raise UnusableContext("consents are signed with a P-256 key and its certificate")
        leaf = x509.load_der_x509_certificate(self.certificates[0])
        if leaf.public_key() != self.private_key.public_key():
            raise UnusableContext("the consent key is not the key of its certificate")


class AccessLogReader(Protocol):
    """Reads this gateway's own access log."""

    async def read(self, subject_ref: str, month: str, *, seen: int = 0) -> Mapping[str, Any] | None:
        """The bundle of one pseudonym's accesses in `month` ("2026-11"), as JSON data; None when there are none.

        `seen`: the log's size at an earlier visit; the bundle then proves that the log continues it.
        """
        ...


PseudonymFunction = Callable[[bytes, MemberId, str, str], str]
# Whether a log of this origin is kept by a gateway that the global configuration has for the provider.
LogKeeperCheck = Callable[[SubsystemId, str], bool]


@dataclass(frozen=True, slots=True)
class CitizenContext:
    """Everything the citizen's application needs.

    `engine` is a database that `gateway.store.migrate` has brought up to date.
    """

    settings: CitizenSettings
    engine: AsyncEngine
    clock: Clock
    consent_key: ConsentKey
    pseudonym_key: bytes
    cookie_key: bytes
    pseudonym: PseudonymFunction
    keeps_log: LogKeeperCheck
    own_log: AccessLogReader | None = None
    # The keys of the logs that proofs may be signed with; empty: each log's own word is taken, and shown as such.
    log_keys: tuple[str, ...] = ()
    # The operator's tlog-policy, which the verifier to take home then demands.
    witness_policy: str = ""

    def __post_init__(self) -> None:
        if min(len(self.pseudonym_key), len(self.cookie_key)) < MINIMUM_KEY_BYTES:
            raise UnusableContext("pseudonym and cookie keys have 32 bytes or more")

    def person(self, issuer: str, subject: str) -> str:
        """How this application itself names a person: their pseudonym at the city."""
        return self.pseudonym(self.pseudonym_key, self.settings.client.member, issuer, subject)

    def pseudonym_at(self, provider: MemberId, issuer: str, subject: str) -> str:
        """The person's pseudonym at a provider."""
        return self.pseudonym(self.pseudonym_key, provider, issuer, subject)
