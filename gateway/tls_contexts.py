"""A gateway's TLS contexts by name, so that a new configuration reaches every one of them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from gateway.exchange import tls
from gateway.exchange.directory import Directory
from gateway.node_keys import NodeKeys
from trust.globalconf import VerifiedConfiguration


@dataclass(frozen=True, slots=True)
class TLSContexts:
    """What is in force on each side. `clients` is None without a TLS port for client systems."""

    peer_client: ssl.SSLContext
    peer_server: ssl.SSLContext
    clients: ssl.SSLContext | None

    def approve(self, configuration: VerifiedConfiguration) -> None:
        """Takes up authorities that the configuration approves: where we call, and where we are called."""
        authorities = _authorities(configuration)
        tls.trust_authorities(self.peer_client, authorities)
        tls.trust_authorities(self.peer_server, authorities)

    def pin(self, directory: Directory) -> None:
        """Takes up the certificates that client systems are known by."""
        if self.clients is not None:
            tls.trust_authorities(self.clients, directory.client_certificates)


def build_tls_contexts(keys: NodeKeys, configuration: VerifiedConfiguration, directory: Directory) -> TLSContexts:
    """The contexts of a gateway that starts. Raises KeyUnavailable."""
    authorities = _authorities(configuration)
    clients = keys.client_tls
    return TLSContexts(
        peer_client=tls.client_context(keys.authentication, authorities),
        peer_server=tls.server_context(keys.authentication, authorities),
        clients=None if clients is None else tls.client_port_context(clients, directory.client_certificates),
    )


def _authorities(configuration: VerifiedConfiguration) -> list[bytes]:
    approved = configuration.parameters.approved_cas
    return [certificate for authority in approved for certificate in (authority.certificate, *authority.intermediates)]
