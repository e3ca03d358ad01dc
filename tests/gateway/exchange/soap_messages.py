"""SOAP messages of the tests' own making, and a service that answers them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

from tests.gateway.exchange.backend import Call
from tests.gateway.exchange.pair import CANARY
from tests.gateway.exchange.town import APP, UTILITY
from trust.identifiers import ClientId, SecurityServerId, SubsystemId

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
XROAD = "http://x-road.eu/xsd/xroad.xsd"
IDENTIFIERS = "http://x-road.eu/xsd/identifiers"
REPRESENTATION = "http://x-road.eu/xsd/representation.xsd"
DATENWEG = "urn:x-datenweg:soap:1"
TEXT_XML = "text/xml; charset=utf-8"
_HASH = re.compile(rb"<(\w+:)?requestHash[^>]*>([^<]*)</(\w+:)?requestHash>")


def parts(identifier: ClientId) -> str:
    """The child elements of an identifier."""
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    return "".join(
        f"<iden:{name}>{escape(value)}</iden:{name}>" for name, value in zip(names, identifier.segments, strict=False)
    )


def object_type(identifier: ClientId) -> str:
    return "SUBSYSTEM" if isinstance(identifier, SubsystemId) else "MEMBER"


@dataclass
class Message:
    """A request to be; each test changes what it is about."""

    code: str = "auskunft"
    version: str | None = "v1"
    client: ClientId = APP
    provider: ClientId = UTILITY.subsystem
    message_id: str = "frage-1"
    user_id: str | None = "EE37702211234"
    issue: str | None = None
    protocol_version: str = "4.0"
    server: SecurityServerId | None = None
    party: tuple[str | None, str] | None = None
    more: str = ""
    body: str | None = None
    content: str = f"<frage>{CANARY} ä</frage>"
    declaration: str = '<?xml version="1.0" encoding="UTF-8"?>\n'
    leave_out: set[str] = field(default_factory=set)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header entries by name, in order."""
        version = "" if self.version is None else f"<iden:serviceVersion>{self.version}</iden:serviceVersion>"
        service = f"{parts(self.provider)}<iden:serviceCode>{self.code}</iden:serviceCode>{version}"
        found = [
            (
                "client",
                f'<xrd:client iden:objectType="{object_type(self.client)}">{parts(self.client)}</xrd:client>',
            ),
            ("service", f'<xrd:service iden:objectType="SERVICE">{service}</xrd:service>'),
        ]
        if self.server is not None:
            server = f"{parts(self.server.owner)}<iden:serverCode>{self.server.server_code}</iden:serverCode>"
            found.append(
                ("securityServer", f'<xrd:securityServer iden:objectType="SERVER">{server}</xrd:securityServer>')
            )
        if self.user_id is not None:
            found.append(("userId", f"<xrd:userId>{self.user_id}</xrd:userId>"))
        found.append(("id", f"<xrd:id>{escape(self.message_id)}</xrd:id>"))
        if self.issue is not None:
            found.append(("issue", f"<xrd:issue>{self.issue}</xrd:issue>"))
        found.append(("protocolVersion", f"<xrd:protocolVersion>{self.protocol_version}</xrd:protocolVersion>"))
        if self.party is not None:
            party_class = "" if self.party[0] is None else f"<repr:partyClass>{self.party[0]}</repr:partyClass>"
            found.append(
                (
                    "representedParty",
                    (
                        f'<repr:representedParty xmlns:repr="{REPRESENTATION}">{party_class}'
                        f"<repr:partyCode>{self.party[1]}</repr:partyCode></repr:representedParty>"
                    ),
                )
            )
        return [(name, text) for name, text in found if name not in self.leave_out]

    def text(self, body: str | None = None) -> str:
        """The message; `body` is what is within the body."""
        inner = body or self.body or f'<p:{self.code} xmlns:p="urn:muster">{self.content}</p:{self.code}>'
        entries = "".join(f"\n    {text}" for _, text in self.headers)
        return (
            f'{self.declaration}<env:Envelope xmlns:env="{ENVELOPE}" xmlns:xrd="{XROAD}" xmlns:iden="{IDENTIFIERS}">\n'
            f"  <env:Header>{entries}{self.more}\n  </env:Header>\n  <env:Body>{inner}</env:Body>\n</env:Envelope>\n"
        )

    def encoded(self, codec: str = "utf-8") -> bytes:
        """The message's bytes."""
        return self.text().encode(codec)

    def response(self, content: str = "<antwort>42 ö</antwort>") -> str:
        """The response that a service with good manners gives."""
        return self.text(f'<p:{self.code}Response xmlns:p="urn:muster">{content}</p:{self.code}Response>')


def response_to(data: bytes) -> bytes:
    """The response to a request's bytes: the header as it came, the body's element renamed."""
    renamed = re.sub(rb"<(/?)(\w+:)(auskunft\w*)", rb"<\1\2\3Response", data)
    return renamed.replace(b"<frage>", b"<antwort>").replace(b"</frage>", b"</antwort>")


def answering(
    make: Callable[[bytes], bytes] = response_to, *, content_type: str = TEXT_XML, status: int = 200
) -> Callable[[Call], web.Response]:
    """A service that makes its answer of the request's bytes."""

    def answer(call: Call) -> web.Response:
        return web.Response(status=status, body=make(call.body), headers={"Content-Type": content_type})

    return answer


def without_hash(data: bytes) -> bytes:
    """A response's bytes without the one thing that the road adds."""
    found, count = _HASH.subn(b"", data)
    assert count == 1
    return found


def hash_of(data: bytes) -> str:
    """The request hash in a response."""
    found = _HASH.search(data)
    assert found is not None
    return found.group(2).decode()


def fault_of(data: bytes) -> str:
    """The code of a fault."""
    found = re.search(rb"<faultcode>([^<]*)</faultcode>", data)
    assert found is not None, data[:500]
    return found.group(1).decode()
