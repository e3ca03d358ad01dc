"""Requests that this gateway makes in the name of a subsystem of its own: the way of every message, but no caller.

Signed, logged and verified like a client's; nobody connects, so there is no connection to authenticate. For small
JSON bodies, and one attempt per call.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from gateway.exchange import consumer, pipeline
from gateway.exchange.node import Node
from gateway.exchange.places import release
from gateway.exchange.rest_kind import REST
from gateway.exchange.state import ConsumerExchange, Incoming
from gateway.messages.faults import Fault
from gateway.monitoring.observe import observe_consumer
from trust.identifiers import ServiceId, SubsystemId

_ROLE: Final = "consumer"


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """What a service answered: verified and logged."""

    status: int
    body: bytes


async def post_json(
    node: Node, client: SubsystemId, service: ServiceId, path: str, document: Mapping[str, Any]
) -> OwnAnswer:
    """One request of `client`, which this gateway serves. `path` is encoded, what follows the service code.

    Raises Fault.
    """
    headers = (("X-Road-Client", client.encoded), ("Content-Type", "application/json"), ("Accept", "application/json"))
    started, now_ms = perf_counter(), node.clock.now_ms()
    exchange = ConsumerExchange(
        Incoming("POST", f"/r1/{service.encoded}{path}", headers, over_tls=False),
        request_id=str(uuid.uuid4()),
        started_ms=now_ms,
        kind=REST,
        body=json.dumps(document).encode(),
    )
    refused: Fault | None = None
    try:
        with node.spool.bodies() as exchange.bodies:
            return await _run(node, exchange)
    except Fault as fault:
        refused = fault.identify(exchange.request_id)
        raise refused from None
    finally:
        release(exchange.places)
        node.metrics.count_exchange(
            service=service.provider.encoded,
            outcome="ok" if refused is None else refused.code,
            hop="" if refused is None else refused.hop.value,
            role=_ROLE,
            seconds=perf_counter() - started,
        )
        observe_consumer(node, exchange, refused)


async def _run(node: Node, exchange: ConsumerExchange) -> OwnAnswer:
    try:
        await pipeline.run(pipeline.OWN, node, exchange)
    except Fault as fault:
        if exchange.signed is not None and not exchange.receipts:
            # A signed request is in the log; so is how it ended.
            await consumer.log_refusal(node, exchange, fault)
        raise
    verified = exchange.verified
    assert verified is not None
    body = verified.contents[0] if verified.contents else b""
    return OwnAnswer(verified.status, body if isinstance(body, bytes) else b"")
