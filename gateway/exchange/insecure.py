"""What of a gateway's stored configuration is insecure: named so when it was entered, and said again at each start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.exchange.directory import Directory
from gateway.settings import is_loopback
from gateway.store.model import ConnectionType, Service


@dataclass(frozen=True, slots=True)
class InsecurePart:
    """A mode, and the client or service (encoded) that it was chosen for."""

    mode: str
    identifier: str


def insecure_parts(directory: Directory) -> Iterator[InsecurePart]:
    """The services and clients without a protection that they could have."""
    for offer in directory.offers.values():
        if offer.registered is not None and (mode := _service_mode(offer.registered)):
            yield InsecurePart(mode, offer.identifier.encoded)
    for client in directory.clients.values():
        if client.connection_type is ConnectionType.HTTPS_NO_AUTH:
            # Whoever reaches the port may speak in its name.
            yield InsecurePart("client without authentication", client.identifier.encoded)


def _service_mode(service: Service) -> str:
    try:
        parts = urlsplit(service.url)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError:
        return ""
    if scheme == "https" and not service.verify_tls:
        return "service whose TLS certificate is not verified"
    return "service over plain HTTP on another machine" if scheme == "http" and not is_loopback(host) else ""
