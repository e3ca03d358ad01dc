"""The trust that an exchange rests on: the global configuration in force and what was verified under it.

Both change together: a new configuration brings a new certificate verifier, so that nothing verified under an old list
of authorities outlives it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.clock import Clock
from gateway.exchange.addresses import Endpoint, UnusableAddress, parse_address
from gateway.exchange.peers import PeerUntrusted
from gateway.messages.faults import Fault, Hop, TrustStep, from_trust_error
from trust.certificates import CertificateVerifier
from trust.errors import ConfigurationExpired, TrustError
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId
from trust.parameters import SecurityServer


@dataclass(frozen=True, slots=True)
class Trusted:
    """One configuration and the verifier that goes with it."""

    configuration: VerifiedConfiguration
    certificates: CertificateVerifier


class TrustState:
    """The configuration in force. Replaced by the follower, read by every exchange, in one event loop."""

    def __init__(self, configuration: VerifiedConfiguration, clock: Clock) -> None:
        self._clock = clock
        self._trusted = _trusted(configuration)

    def replace(self, configuration: VerifiedConfiguration) -> None:
        """Takes a configuration that the follower has verified."""
        if configuration.parameters == self._trusted.configuration.parameters:
            # Same members, same authorities: what was verified stays verified.
            self._trusted = Trusted(configuration, self._trusted.certificates)
        else:
            self._trusted = _trusted(configuration)

    @property
    def latest(self) -> Trusted:
        """The newest configuration, even if it has expired.

        For diagnosis and metrics, and for checks within an exchange that `current` has let begin.
        """
        return self._trusted

    def current(self, hop: Hop) -> Trusted:
        """The configuration in force. Raises Fault `global_conf_outdated` once it has expired."""
        trusted = self._trusted
        try:
            trusted.configuration.require_current(self._clock.now())
        except ConfigurationExpired as error:
            raise from_trust_error(hop, error, TrustStep.CONFIGURATION) from None
        return trusted


def _trusted(configuration: VerifiedConfiguration) -> Trusted:
    return Trusted(configuration, CertificateVerifier(configuration.parameters))


FetchStatus = Callable[[bytes, Endpoint], Awaitable[bytes]]


class PeerVerifier:
    """Decides on each use of a connection whether the gateway at its other end is who the configuration has there.

    `fetch_status` gives an OCSP answer for a peer's certificate (DER), from the peer or its authority.
    """

    def __init__(self, trust: TrustState, clock: Clock, fetch_status: FetchStatus) -> None:
        self._trust = trust
        self._clock = clock
        self._fetch_status = fetch_status
        self._good_until: dict[tuple[bytes, Endpoint], tuple[CertificateVerifier, datetime]] = {}

    async def verify(self, der: bytes, endpoint: Endpoint) -> None:
        """Raises PeerUntrusted unless `der` is a good authentication certificate of the gateway at `endpoint`."""
        trusted, now = self._trust.latest, self._clock.now()
        known = self._good_until.get((der, endpoint))
        if known is not None and known[0] is trusted.certificates and now < known[1]:
            return
        server = trusted.configuration.server_with_certificate(der)
        registered = None if server is None else _listening_at(server, endpoint)
        if registered is None:
            raise PeerUntrusted("another gateway's certificate")
        try:
            status = await self._fetch_status(der, registered)
            verified = trusted.certificates.verify_authentication(der, ocsp_responses=[status], at=now)
        except TrustError:
            raise PeerUntrusted("the certificate's path or status does not hold") from None
        self._good_until = {key: value for key, value in self._good_until.items() if value[1] > now}
        good_until = min(verified.valid_until, verified.status.good_until)
        self._good_until[der, endpoint] = (trusted.certificates, good_until)


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
