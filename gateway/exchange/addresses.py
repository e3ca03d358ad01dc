"""Where a gateway listens.

`host` with X-Road's ports, or `host:port`, our extension for several gateways on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

MESSAGE_PORT: Final = 5500
OCSP_PORT: Final = 5577


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gateway's two ports at one host."""

    host: str
    message_port: int
    ocsp_port: int

    @property
    def message_url(self) -> str:
        """Where messages are posted (PR-MESSTRANSP 2.1)."""
        return f"https://{self._bracketed}:{self.message_port}/"

    @property
    def ocsp_url(self) -> str:
        """Where the gateway's OCSP answers are had (PR-MESSTRANSP 2.2)."""
        return f"http://{self._bracketed}:{self.ocsp_port}/"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class UnusableAddress(Exception):
    """The configuration's address of a gateway is neither a host nor host:port."""


# Every exchange asks for one of the few that the configuration has.
@lru_cache(maxsize=1024)
def parse_address(address: str) -> Endpoint:
    """The endpoint behind a security server's address in the global configuration. Raises UnusableAddress."""
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not bracket or (rest and colon != ":"):
            raise UnusableAddress
    elif address.count(":") > 1:
        host, colon, port = address, "", ""
    else:
        host, colon, port = address.partition(":")
    if not host or any(char in host for char in "/@?#% "):
        raise UnusableAddress
    host = _normalised(host)
    if not colon:
        return Endpoint(host, MESSAGE_PORT, OCSP_PORT)
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65535:
        raise UnusableAddress
    return Endpoint(host, int(port), int(port) + 1)


def _normalised(host: str) -> str:
    """One spelling for one host: names in lower case, addresses in their short form."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()
