"""A gateway's TLS contexts by name, so that a new configuration or a new certificate reaches every one of them."""

from __future__ import annotations

import ssl

from gateway.exchange import tls
from gateway.exchange.directory import Directory
from gateway.node_keys import NodeKeys
from gateway.transport_settings import TransportSettings
from trust.globalconf import VerifiedConfiguration
from trust.keys import SoftwareKey


class TLSContexts:
    """What is in force on each side. Used from one event loop.

    `peer_client`, and `peer_xroad` for X-Road security servers, are replaced as a whole; `peer_server` stays the one
    that the port was opened with, and hands each connection on to the one in force. `clients` is None without a TLS
    port for client systems.
    """

    def __init__(
        self, keys: NodeKeys, configuration: VerifiedConfiguration, directory: Directory, settings: TransportSettings
    ) -> None:
        """Raises KeyUnavailable."""
        self._authorities = _authorities(configuration)
        self._authentication = keys.authentication
        self._modern = settings.peer_tls_minimum == "1.3"
        # A handshake doesn't say whose it is: while one peer may speak TLS 1.2, the port has to (the peer port looks).
        self._modern_only = self._modern and not settings.xroad_servers
        self.peer_client = tls.client_context(keys.authentication, modern=self._modern)
        self.peer_xroad = tls.client_context(keys.authentication)
        self._server = tls.server_context(keys.authentication, self._authorities, modern=self._modern_only)
        front = tls.server_context(keys.authentication, self._authorities, modern=self._modern_only)
        self.peer_server = tls.choosing_context(front, lambda: self._server)
        clients = keys.client_tls
        self.clients: ssl.SSLContext | None = None
        if clients is not None:
            self.clients = tls.client_port_context(clients, directory.client_certificates)

    @property
    def authentication(self) -> SoftwareKey:
        """The key whose certificate peers are shown."""
        return self._authentication

    def approve(self, configuration: VerifiedConfiguration) -> None:
        """From now on the authorities that the configuration approves count, and no others."""
        authorities = _authorities(configuration)
        if authorities != self._authorities:
            self._server = tls.server_context(self._authentication, authorities, modern=self._modern_only)
            self._authorities = authorities

    def authenticate_with(self, key: SoftwareKey) -> None:
        """New connections are made and taken with this key; those that are open stay. Raises KeyUnavailable."""
        server = tls.server_context(key, self._authorities, modern=self._modern_only)
        client, xroad = tls.client_context(key, modern=self._modern), tls.client_context(key)
        self._server, self.peer_client, self.peer_xroad, self._authentication = server, client, xroad, key

    def pin(self, directory: Directory) -> None:
        """Takes up the certificates that client systems are known by."""
        if self.clients is not None:
            tls.trust_authorities(self.clients, directory.client_certificates)


def build_tls_contexts(
    keys: NodeKeys, configuration: VerifiedConfiguration, directory: Directory, settings: TransportSettings
) -> TLSContexts:
    """The contexts of a gateway that starts. Raises KeyUnavailable."""
    return TLSContexts(keys, configuration, directory, settings)


def _authorities(configuration: VerifiedConfiguration) -> list[bytes]:
    approved = configuration.approved_cas
    return [certificate for authority in approved for certificate in (authority.certificate, *authority.intermediates)]
