"""The trust that an exchange rests on: the global configuration in force and what was verified under it.

Both change together: a new configuration brings a new certificate verifier, so that nothing verified under an old list
of authorities outlives it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.clock import Clock
from gateway.exchange.addresses import Endpoint, UnusableAddress, parse_address
from gateway.exchange.peers import PeerUntrusted
from gateway.messages.faults import Fault, Hop, TrustStep, from_trust_error
from trust.certificates import NO_PATH, WRONG_USAGE, CertificateUsage, CertificateVerifier
from trust.costs import CostStrategy
from trust.errors import CertificateUntrusted, ConfigurationExpired, StatusNotGood, TrustError
from trust.federation import FederatedConfiguration
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId
from trust.ocsp import StatusPolicy
from trust.parameters import SecurityServer


@dataclass(frozen=True, slots=True)
class Trusted:
    """One configuration and the verifiers that go with it: the own instance's, and each federated instance's."""

    configuration: VerifiedConfiguration
    certificates: CertificateVerifier
    federated: Mapping[str, CertificateVerifier] = field(default_factory=dict)

    def certificates_of(self, instance: str) -> CertificateVerifier:
        """The verifier for members of an instance: its own authorities vouch for them, and no others."""
        return self.federated.get(instance, self.certificates)


class TrustState:
    """The configuration in force. Replaced by the follower, read by every exchange, in one event loop."""

    def __init__(
        self, configuration: VerifiedConfiguration, clock: Clock, *, ocsp_costs: CostStrategy = CostStrategy.NONE
    ) -> None:
        """`ocsp_costs` says which OCSP responders are asked for the status of our own certificates."""
        self._clock = clock
        self._costs = ocsp_costs
        self._trusted = _trusted(configuration, costs=ocsp_costs)

    def replace(self, configuration: VerifiedConfiguration, others: Sequence[VerifiedConfiguration] = ()) -> None:
        """Takes a configuration that the follower has verified, and those of federated instances."""
        view = FederatedConfiguration(configuration, others) if others else configuration
        self._trusted = _trusted(view, self._trusted, costs=self._costs)

    @property
    def latest(self) -> Trusted:
        """The newest configuration, even if it has expired.

        For diagnosis and metrics, and for checks within an exchange that `current` has let begin.
        """
        return self._trusted

    def current(self, hop: Hop) -> Trusted:
        """The configuration in force. Raises Fault `global_conf_outdated` once it has expired.

        A federated instance whose configuration has expired is not part of it.
        """
        trusted, now = self._trusted, self._clock.now()
        view = trusted.configuration.at(now)
        if view is not trusted.configuration:
            trusted = self._trusted = _trusted(view, trusted, costs=self._costs)
        try:
            trusted.configuration.require_current(now)
        except ConfigurationExpired as error:
            raise from_trust_error(hop, error, TrustStep.CONFIGURATION) from None
        return trusted


def _trusted(
    configuration: VerifiedConfiguration, before: Trusted | None = None, *, costs: CostStrategy = CostStrategy.NONE
) -> Trusted:
    """Same members, same authorities: what was verified stays verified."""
    # NEXTUPDATE, FETCHINTERVAL and the freshness are the own instance's, whoever issued a certificate.
    policy = StatusPolicy(
        timedelta(seconds=configuration.parameters.ocsp_freshness_seconds),
        configuration.verify_next_update,
        timedelta(seconds=configuration.ocsp_fetch_interval_seconds),
        costs,
    )
    known: dict[str, tuple[VerifiedConfiguration, CertificateVerifier]] = {}
    if before is not None:
        for old in (before.configuration, *before.configuration.others):
            known[old.instance] = (old, before.certificates_of(old.instance))

    def verifier(new: VerifiedConfiguration) -> CertificateVerifier:
        old = known.get(new.instance)
        same = old is not None and old[0].parameters == new.parameters and old[1].policy == policy
        return old[1] if old is not None and same else CertificateVerifier(new.parameters, policy=policy)

    return Trusted(
        configuration, verifier(configuration), {other.instance: verifier(other) for other in configuration.others}
    )


FetchStatuses = Callable[[tuple[bytes, ...], Endpoint], Awaitable[Sequence[bytes]]]


class PeerVerifier:
    """Decides on each use of a connection whether the gateway at its other end is who the configuration has there.

    `fetch_statuses` gives OCSP answers for a peer's certificate and its intermediates (DER), from the peer or its
    authority.
    """

    def __init__(self, trust: TrustState, clock: Clock, fetch_statuses: FetchStatuses) -> None:
        self._trust = trust
        self._clock = clock
        self._fetch_statuses = fetch_statuses
        self._good_until: dict[tuple[bytes, Endpoint], tuple[CertificateVerifier, datetime]] = {}

    async def verify(self, der: bytes, endpoint: Endpoint) -> None:
        """Raises PeerUntrusted unless `der` is a good authentication certificate of the gateway at `endpoint`.

        In X-Road's order, which its codes tell: path, status, whose it is.
        """
        trusted, now = self._trust.latest, self._clock.now()
        known = self._good_until.get((der, endpoint))
        server = trusted.configuration.server_with_certificate(der)
        certificates = trusted.certificates_of("" if server is None else server.id.owner.instance)
        if server is not None and known is not None and known[0] is certificates and now < known[1]:
            return
        try:
            path = certificates.verify_path(CertificateUsage.AUTHENTICATION, der, at=now)
        except CertificateUntrusted as error:
            # X-Road's path ends where a certificate isn't valid any more; one for another use is just not the peer's.
            raise PeerUntrusted("" if error.code == WRONG_USAGE else NO_PATH) from None
        except TrustError:
            raise PeerUntrusted from None
        registered = None if server is None else _listening_at(server, endpoint)
        if registered is None:
            # Nobody else is asked for its status.
            raise PeerUntrusted
        try:
            statuses = await self._fetch_statuses(path.chain, registered)
            verified = certificates.verify_authentication(der, ocsp_responses=statuses, at=now)
        except StatusNotGood as error:
            raise PeerUntrusted(error.code) from None
        except TrustError:
            # None was given, or none that can be read.
            raise PeerUntrusted("internal_error") from None
        self._good_until = {key: value for key, value in self._good_until.items() if value[1] > now}
        good_until = min(verified.valid_until, verified.status.good_until)
        self._good_until[der, endpoint] = (certificates, good_until)


def _listening_at(server: SecurityServer, dialled: Endpoint) -> Endpoint | None:
    """The server's registered endpoint if it is the one that was dialled.

    Its OCSP port is the registration's to say.
    """
    try:
        registered = parse_address(server.address)
    except UnusableAddress:
        return None
    same = (registered.host, registered.message_port) == (dialled.host, dialled.message_port)
    return registered if same else None


def serves(server: SecurityServer, client: ClientId) -> bool:
    """Whether the configuration has the client registered at this gateway (the owner always is)."""
    return client in server.clients or client == server.id.owner


def require_server(trusted: Trusted, der: bytes, client: ClientId) -> SecurityServer:
    """The gateway whose authentication certificate this is. Raises Fault unless it may speak for `client`."""
    server = trusted.configuration.server_with_certificate(der)
    if server is None:
        raise Fault("server.serverproxy.ssl_authentication_failed", "the TLS certificate is not registered")
    if not serves(server, client):
        raise Fault("server.serverproxy.ssl_authentication_failed", f"{server.id} does not serve {client}")
    return server
