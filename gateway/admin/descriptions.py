"""Reads a service's description from where it is kept: a file, or a URL that the institution's service answers at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway.admin.errors import AdminError
from gateway.admin.terminal import read_file
from gateway.exchange.service_tls import Pins
from gateway.exchange.services import ServiceCaller, service_session
from gateway.messages.descriptions import MAX_DESCRIPTION
from gateway.messages.faults import Fault
from gateway.messages.transport import TransportLimits

_SECONDS: Final = 30.0
_RATE: Final = 16 * 1024
_TYPES: Final = {
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".wsdl": "text/xml",
    ".xml": "text/xml",
}


@dataclass(frozen=True, slots=True)
class Description:
    """A WSDL or OpenAPI document as it was read. `source` is a URL, or a file's absolute path."""

    source: str
    content: bytes
    content_type: str


async def read_description(source: str, pins: Pins) -> Description:
    """The document at a URL or in a file. `pins`: the certificates that an https server may show (None: any).

    Raises AdminError.
    """
    if not source.startswith(("http://", "https://")):
        return _read_file(Path(source))
    async with service_session(1) as session:
        caller = ServiceCaller(session, limits=TransportLimits(max_body=MAX_DESCRIPTION), rate=_RATE)
        try:
            answer = await caller.call("GET", source, (), None, timeout_seconds=_SECONDS, pins=pins)
        except Fault as fault:
            raise AdminError(f"{source}: {_why(fault)}") from None
    if answer.status != 200:
        raise AdminError(f"{source}: status {answer.status} instead of the description")
    kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
    assert isinstance(answer.body, bytes)
    return Description(source, answer.body, kind or _TYPES.get(Path(urlsplit(source).path).suffix.lower(), ""))


def _read_file(path: Path) -> Description:
    return Description(str(path.absolute()), read_file(path), _TYPES.get(path.suffix.lower(), ""))


def _why(fault: Fault) -> str:
    if fault.code.endswith("ssl_authentication_failed"):
        return "the server shows none of the subsystem's certificates (add it with `datenweg client add --certificate`)"
    return fault.message
