"""Loads the WSDL of another gateway's service for a client that asks with a plain GET (`/wsdl`).

The gateway asks over the road with getWsdl, as its owner: signed and logged like any message. Descriptions are open to
every member, so the caller isn't asked who it is; how many are fetched at once is bounded.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Final

from gateway.bounded import BudgetSpent
from gateway.exchange import consumer, pipeline
from gateway.exchange.node import Node
from gateway.exchange.soap_kind import SOAP
from gateway.exchange.state import ConsumerExchange, Incoming, VerifiedSOAPResponse
from gateway.messages import metaservices
from gateway.messages.faults import Fault
from trust.identifiers import ServiceId

_AT_ONCE: Final = 4
_TYPE: Final = "text/xml; charset=UTF-8"
# The gateway is its own client here: there is no connection to look at.
_STEPS: Final = tuple(step for step in pipeline.CONSUMER if step is not consumer.authenticate_caller)


class WSDLFetcher:
    """Fetches descriptions over the road. Used from one event loop. `request_id` makes the id of an exchange."""

    def __init__(self, node: Node, request_id: Callable[[int], str]) -> None:
        self._node = node
        self._request_id = request_id
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, service: ServiceId) -> bytes:
        """The WSDL as its gateway gives it. Raises Fault."""
        if self._places.locked():
            raise Fault("server.clientproxy.overloaded")
        async with self._places:
            return await self._fetch(service)

    async def _fetch(self, service: ServiceId) -> bytes:
        node = self._node
        now_ms = node.clock.now_ms()
        exchange = ConsumerExchange(
            Incoming("POST", "/", (("Content-Type", _TYPE),), over_tls=False),
            request_id=self._request_id(now_ms),
            started_ms=now_ms,
            kind=SOAP,
        )
        message_id = f"{node.settings.instance}-{uuid.uuid4()}"
        exchange.body = metaservices.build_wsdl_request(node.settings.owner_id, service, message_id)
        with node.spool.bodies() as exchange.bodies:
            return await self._run(exchange)

    async def _run(self, exchange: ConsumerExchange) -> bytes:
        node = self._node
        try:
            await pipeline.run(_STEPS, node, exchange)
        except Fault as fault:
            if exchange.signed is not None and not exchange.receipts:
                await consumer.log_refusal(node, exchange, fault)
            raise
        verified = exchange.verified
        if not isinstance(verified, VerifiedSOAPResponse) or not verified.parts.attachments:
            raise Fault("server.clientproxy.service_failed.invalid_message", "there is no WSDL in the answer")
        assert exchange.bodies is not None
        try:
            return await exchange.bodies.load(verified.parts.attachments[-1].data)
        except BudgetSpent:
            raise Fault("server.clientproxy.overloaded") from None
        except OSError:
            raise Fault("server.clientproxy.io_error") from None
