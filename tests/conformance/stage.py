"""What the cases of the conformance table play on: a running pair of gateways, and two others that do wrong.

A case does one thing through real sockets and hands back what it was told, in one shape for the three forms: a REST
client's error, a SOAP client's fault, and the fault that a gateway gets from a gateway.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.messages.faults import Fault, Hop
from gateway.messages.transport import HashChain
from tests.conformance.words import Form, Row
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.rogue import Signed
from tests.gateway.exchange.soap_messages import TEXT_XML, Message
from tests.gateway.exchange.test_soap_peers import Sending


@dataclass(frozen=True)
class Told:
    """What came back."""

    form: Form
    status: int
    code: str
    message: str
    detail: str
    answer: Answer | None = None


@dataclass
class Stage:
    """The pair, and the tampering peer."""

    pair: GatewayPair
    peer: Peer

    @asynccontextmanager
    async def replaced(self, owner: object, **values: Any) -> AsyncIterator[None]:
        """Within the block the object has these attributes."""
        before = {name: getattr(owner, name) for name in values}
        for name, value in values.items():
            setattr(owner, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(owner, name, value)

    def with_settings(self, role: str, **changes: Any) -> Any:
        """Within the block one of the two gateways has these settings."""
        node = (self.pair.consumer if role == "consumer" else self.pair.provider).gateway.node
        return self.replaced(node, settings=node.settings.model_copy(update=changes))


Do = Callable[[Stage], Awaitable[Told]]


@dataclass(frozen=True)
class Case:
    """One line of the table. `status` is the HTTP status; `hop` whose failure the message names."""

    row: Row
    form: Form
    situation: str
    code: str
    hop: Hop
    do: Do
    status: int = 0
    # Whoever made the fault worded it: a service, a client, a rogue.
    reworded: bool = False

    @property
    def http_status(self) -> int:
        """The documented rule: SOAP and gateways always 200; REST 500 for `server.`, else 400. Operators: none, 0."""
        if self.form is Form.OPERATOR:
            return 0
        if self.form is not Form.REST:
            return 200
        return self.status or (500 if self.code.startswith("server.") else 400)


def operator_case(row: Row, situation: str, code: str, hop: Hop, do: Do) -> Case:
    """A line about what an operator reads; who words it is the log line's or the command's business."""
    return Case(row, Form.OPERATOR, situation, code, hop, do, reworded=True)


_FAULT = re.compile(
    rb"<faultcode>([^<]*)</faultcode>\s*<faultstring>([^<]*)</faultstring>"
    rb'(?:<faultactor>[^<]*</faultactor>)?(?:<detail><faultDetail xmlns="">([^<]*)</faultDetail></detail>)?'
)


def told_rest(answer: Answer) -> Told:
    """What a REST client got."""
    found = answer.json if answer.headers.get("Content-Type") == "application/json" else {}
    code = answer.headers.get("X-Road-Error", "")
    assert found.get("type") == code, answer
    return Told(Form.REST, answer.status, code, found["message"], found["detail"], answer)


def told_fault(form: Form, status: int, body: bytes, answer: Answer | None = None) -> Told:
    """What a SOAP client or a gateway got."""
    found = _FAULT.search(body)
    assert found is not None, body[:400]
    code, message, detail = ((part or b"").decode() for part in found.groups())
    return Told(form, status, code, message, detail, answer)


def rest(code: str, path: str = "/", method: str = "GET", **options: Any) -> Do:
    """A REST call to a service of the utility."""

    async def do(stage: Stage) -> Told:
        return told_rest(await stage.pair.call(code, path, method, **options))

    return do


def rest_target(target: str, method: str = "GET", **options: Any) -> Do:
    """A REST request to a target as it is."""

    async def do(stage: Stage) -> Told:
        return told_rest(await stage.pair.request(method, target, **options))

    return do


async def post(stage: Stage, data: bytes, content_type: str | None = TEXT_XML, **headers: str) -> Told:
    """A SOAP request, now."""
    sent = dict(headers)
    if content_type is not None:
        sent["Content-Type"] = content_type
    answer = await stage.pair.request("POST", "/", client=None, headers=sent, body=data)
    return told_fault(Form.SOAP, answer.status, answer.body, answer)


def soap(data: bytes | Message, content_type: str | None = TEXT_XML, **headers: str) -> Do:
    """A SOAP request."""

    async def do(stage: Stage) -> Told:
        return await post(stage, data.encoded() if isinstance(data, Message) else data, content_type, **headers)

    return do


def sent(make: Callable[[Peer], Sending]) -> Do:
    """A SOAP message from the tampering gateway."""

    async def do(stage: Stage) -> Told:
        _, body = await make(stage.peer).send()
        return told_fault(Form.GATEWAY, 200, body)

    return do


async def peer_told(stage: Stage, request_id: str, encoded: tuple[str, bytes], **options: Any) -> Told:
    """A REST message from the tampering gateway, now."""
    answer = await stage.peer.city.send(stage.peer.url, request_id, encoded, **options)
    assert isinstance(answer, Fault), answer
    return Told(Form.GATEWAY, 200, answer.code, answer.message, answer.detail)


def with_another_digest(chain: HashChain) -> HashChain:
    """The chain states another digest of a part than the part's; it still leads to its result."""
    found = re.search(rb"DigestValue>(.)", chain.chain)
    assert found is not None
    place = found.start(1)
    letter = b"B" if found[1] == b"A" else b"A"
    return HashChain(chain.result, chain.chain[:place] + letter + chain.chain[place + 1 :])


def with_more(message: Signed) -> tuple[str, bytes]:
    """The message with a part behind its signature."""
    content_type, content = message.encode()
    boundary = content_type.rpartition("boundary=")[2].encode()
    more = b"\r\ncontent-type: application/x-road-rest-body\r\n\r\nmehr\r\n--" + boundary + b"--\r\n"
    return content_type, content.removesuffix(b"--\r\n") + more
