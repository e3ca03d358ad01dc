"""Gateways with real keys that do wrong: one that answers, and one that calls.

Both hold a registered member's keys and certificates, so what they send is refused for what is wrong with it, and for
nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from gateway.bounded import read_bounded
from gateway.exchange import tls
from gateway.exchange.signer import signed_parts
from gateway.messages import rest, rest_response, transport
from gateway.messages.faults import Fault, Hop, parse_soap_fault
from gateway.messages.headers import RoadFields
from gateway.messages.transport import HashChain, PartKind, TransportMessage
from gateway.serve import Listener, listening
from tests.gateway.exchange.town import APP
from trust.identifiers import ClientId, ServiceId
from trust.keys import SoftwareKey
from trust.ocsp import build_request
from trust.ocsp_client import add_peer_routes
from trust.testca.authority import CertificateAuthority
from trust.testca.ocsp_responder import OCSPResponder
from trust.xades import SignatureBuilder

_LIMITS = transport.TransportLimits()
RECEIPT = "DE-TEST/COM/FALSCHSPIEL/ss1/audit/2026 0 " + "A" * 43 + "="


def status_of(authority: CertificateAuthority, key: SoftwareKey) -> bytes:
    """The authority's OCSP answer for a key's certificate."""
    return OCSPResponder(authority).answer(build_request(key.certificate, authority.root.certificate))


def sign(key: SoftwareKey, message: bytes, body: bytes, ocsp_response: bytes) -> bytes:
    """A signature document over a message and its body."""
    builder = SignatureBuilder(key)
    return builder.build(signed_parts(message, body), signing_time=datetime.now(UTC), ocsp_response=ocsp_response)


def sign_classic(key: SoftwareKey, message: bytes, body: bytes, ocsp_response: bytes) -> tuple[bytes, HashChain | None]:
    """A signature document in the form of X-Road 7, with its hash chain when there is a body."""
    (signed,) = SignatureBuilder(key).build_batch(
        (signed_parts(message, body),), signing_time=datetime.now(UTC), ocsp_response=ocsp_response
    )
    if signed.hash_chain_result is None or signed.hash_chain is None:
        return signed.document, None
    return signed.document, HashChain(signed.hash_chain_result, signed.hash_chain)


@dataclass(frozen=True)
class Signed:
    """A message that is ready to be sent, or to be spoilt first."""

    kind: PartKind
    message: bytes
    body: bytes
    signature: bytes
    ocsp_responses: tuple[bytes, ...] = ()
    hash_chain: HashChain | None = None

    def encode(self) -> tuple[str, bytes]:
        """Content type and content."""
        boundary = transport.boundary_from(os.urandom(30))
        content = transport.encode_message(
            self.kind,
            self.message,
            self.signature,
            boundary=boundary,
            body=self.body or None,
            ocsp_responses=self.ocsp_responses,
            hash_chain=self.hash_chain,
        )
        return transport.content_type(boundary), content

    def unsigned(self) -> tuple[str, bytes]:
        """Content type and content, without the signature's part."""
        content_type, content = self.encode()
        start = content.index(b"\r\ncontent-type: signature/bdoc-1.0/ts")
        return content_type, content[:start] + b"--\r\n"


@dataclass(frozen=True)
class Arrived:
    """A request as the answering rogue got it."""

    request: rest.RESTRequest
    message: bytes
    body: bytes
    received: TransportMessage


Script = Callable[[Arrived], Awaitable[web.StreamResponse]]
SOAPScript = Callable[[bytes], web.StreamResponse]


class RogueGateway:
    """Answers the messages of other gateways as `script` says; honestly, if there is none.

    A script that raises ConnectionAbortedError breaks off without an answer.
    """

    def __init__(self, signing: SoftwareKey, authentication: SoftwareKey, authority: CertificateAuthority) -> None:
        self.signing = signing
        self.authentication = authentication
        self.authority = authority
        self.script: Script | None = None
        self.soap_script: SOAPScript | None = None
        # What the OCSP port says of the TLS certificate instead of the authority's answer; None: nothing at all.
        self.status: bytes | None = status_of(authority, authentication)
        self.arrived: list[Arrived] = []

    def listeners(self, host: str, port: int) -> list[Listener]:
        """The message port and, next to it, the OCSP port."""
        context = tls.server_context(self.authentication, [self.authority.root.certificate_der])
        statuses = web.Application()
        add_peer_routes(statuses, self._statuses)
        return [Listener(web.Server(self._handle), host, port, context), Listener(statuses, host, port + 1)]

    @asynccontextmanager
    async def also_at(self, host: str, port: int) -> AsyncIterator[None]:
        """Within the block it listens here, too."""
        async with listening(self.listeners(host, port), shutdown_seconds=1):
            yield

    def honest(self, arrived: Arrived, *, body: bytes = b"{}", receipt: str | None = RECEIPT) -> Signed:
        """The answer that a gateway with good manners would send."""
        response = rest_response.build_response(
            arrived.request,
            status=200,
            reason="OK",
            headers=[("Content-Type", "application/json")],
            request_hash=rest_response.request_hash(
                arrived.message, hashlib.sha512(arrived.body).digest() if arrived.body else None
            ),
            receipt=receipt,
        )
        return self.signed(rest_response.serialise_response(response), body)

    def signed(self, message: bytes, body: bytes, *, key: SoftwareKey | None = None) -> Signed:
        """A response message signed with this gateway's key (or another's)."""
        used = key or self.signing
        return Signed(PartKind.REST_RESPONSE, message, body, sign(used, message, body, status_of(self.authority, used)))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        content = await read_bounded(request.content, 1 << 24)
        received = transport.decode_small(
            request.headers["Content-Type"], content, reader=Hop.PROVIDER_GATEWAY, limits=_LIMITS
        )
        assert received.message is not None
        if received.kind is PartKind.SOAP:
            assert self.soap_script is not None
            return self.soap_script(received.message)
        arrived = Arrived(
            rest.parse_request_message(received.message), received.message, received.body or b"", received
        )
        self.arrived.append(arrived)
        if self.script is not None:
            try:
                return await self.script(arrived)
            except ConnectionAbortedError:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        return reply(self.honest(arrived).encode())

    async def _statuses(self) -> Mapping[bytes, bytes]:
        return {} if self.status is None else {self.authentication.certificate_der: self.status}


def forged(ocsp_response: bytes) -> bytes:
    """An OCSP answer of which a time was changed after it was signed."""
    match = re.search(rb"\x18\x0f(20\d{12}Z)", ocsp_response)
    assert match is not None
    position = match.end(1) - 2
    digit = b"2" if ocsp_response[position : position + 1] == b"1" else b"1"
    return ocsp_response[:position] + digit + ocsp_response[position + 1 :]


def reply(encoded: tuple[str, bytes]) -> web.Response:
    """An answer to a gateway."""
    return web.Response(body=encoded[1], headers={"Content-Type": encoded[0]})


class CallingRogue:
    """Sends messages to a provider gateway with a consumer gateway's real keys."""

    def __init__(self, signing: SoftwareKey, authentication: SoftwareKey, authority: CertificateAuthority) -> None:
        self.signing = signing
        self.authentication = authentication
        self.authority = authority

    def request(
        self,
        service: ServiceId,
        *,
        client: ClientId = APP,
        body: bytes = b'{"frage":1}',
        fields: RoadFields | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        key: SoftwareKey | None = None,
        status: bytes | None = None,
    ) -> tuple[str, Signed]:
        """A good request (its id, and the message); spoil it with `dataclasses.replace`."""
        request_id = str(uuid.uuid4())
        parsed = rest.parse_request("POST", f"/r1/{service.encoded}/", [("X-Road-Client", client.encoded), *headers])
        parsed = rest.complete_request(
            parsed,
            request_id=request_id,
            generated_message_id=f"DE-TEST-{request_id}",
            fields=fields or RoadFields(exchange_nonce=os.urandom(32)),
        )
        message = rest.serialise_request(parsed)
        used = key or self.signing
        own = status_of(self.authority, used) if status is None else status
        signature = sign(used, message, body, own)
        tls_status = status_of(self.authority, self.authentication)
        return request_id, Signed(PartKind.REST_REQUEST, message, body, signature, (tls_status,))

    def context(self, key: SoftwareKey | None = None) -> ssl.SSLContext:
        """Our side of TLS, with our certificate or another's."""
        return tls.client_context(key or self.authentication)

    async def send(
        self, url: str, request_id: str, encoded: tuple[str, bytes], *, context: ssl.SSLContext | None = None
    ) -> TransportMessage | Fault:
        """What the provider's gateway answers: a message, or its fault."""
        headers = {"x-road-request-id": request_id, "Content-Type": encoded[0], "x-road-message-type": "REST"}
        connector = aiohttp.TCPConnector(ssl=context or self.context(), force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(url, data=encoded[1], headers=headers) as answer,
        ):
            assert answer.status == 200
            content = await answer.read()
            received = transport.decode_small(
                answer.headers["Content-Type"], content, reader=Hop.CONSUMER_GATEWAY, limits=_LIMITS
            )
        return received if received.fault is None else parse_soap_fault(received.fault, reader=Hop.CONSUMER_GATEWAY)
