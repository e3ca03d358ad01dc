"""The services that tell of a gateway, over SOAP: operational data, health data (PR-OPMON 1.6), environment metrics.

They are services of the member that owns the gateway. Every registered member may ask for operational data, and gets
the records of what it called and what its services answered; the owner (naming the gateway in `securityServer`) and the
instance's central monitoring client get all of them, and every field.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from gateway.exchange.directory import BuiltIn
from gateway.exchange.node import Node
from gateway.exchange.state import VerifiedSOAPRequest
from gateway.logging import describe_error
from gateway.messages.faults import Fault
from gateway.messages.mime import Part
from gateway.messages.soap_answer import build_soap_answer
from gateway.messages.soap_request import SOAPParts
from gateway.monitoring import queries
from gateway.monitoring.environment import environment_of
from gateway.monitoring.form import (
    HealthQuery,
    OperationalQuery,
    invalid_query,
    parse_health_query,
    parse_metrics_query,
    parse_operational_query,
)
from gateway.monitoring.health_body import health_body
from gateway.monitoring.metrics_body import metrics_body
from gateway.monitoring.queries import STATISTICS_SECONDS, Window
from gateway.monitoring.record import OUTPUT_FIELDS
from trust.identifiers import ClientId

# Records of the last minute may still be on their way to the database (PR-OPMON 2).
_OFFSET_SECONDS: Final = 60
_NAMESPACE: Final = "http://x-road.eu/xsd/op-monitoring.xsd"
# How clients find the attachment.
_CONTENT_ID: Final = "operational-monitoring-data.json.gz"
_CONFIDENTIAL: Final = frozenset({"securityServerInternalIp"})
_GZIP_LEVEL: Final = 6
_ENTROPY: Final = 40


async def answer_monitoring(node: Node, verified: VerifiedSOAPRequest, built_in: BuiltIn) -> SOAPParts:
    """The answer to one of the three. Raises Fault."""
    request = verified.request.message
    try:
        match built_in:
            case BuiltIn.OPERATIONAL_DATA:
                return await _operational(node, verified, parse_operational_query(request.data))
            case BuiltIn.HEALTH_DATA:
                return await _health(node, verified, parse_health_query(request.data))
            case _:
                return await _metrics(node, verified)
    except (SQLAlchemyError, OSError) as error:
        node.log.error("operational records not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None


def _sees_everything(node: Node, verified: VerifiedSOAPRequest) -> bool:
    """Whether the client is the central monitoring client, or the gateway's owner that named the gateway.

    PR-OPMON 2: without `securityServer` an owner asks as any client does.
    """
    client = verified.request.client
    if client == node.trust.latest.configuration.monitoring_client:
        return True
    server = verified.request.security_server
    return server == node.server_id and client == server.owner


# -- operational data ------------------------------------------------------------------------------------------------


async def _operational(node: Node, verified: VerifiedSOAPRequest, query: OperationalQuery) -> SOAPParts:
    available_before_s = node.clock.now_ms() // 1000 - _OFFSET_SECONDS
    if query.from_s >= available_before_s:
        raise invalid_query(f"Records not available from {query.from_s} yet")
    shifted = query.to_s >= available_before_s
    window = Window(
        query.from_s,
        available_before_s - 1 if shifted else query.to_s,
        provider=query.client,
        visible_to=None if _sees_everything(node, verified) else verified.request.client,
    )
    found = await queries.records_of(node.monitoring.engine, window)
    following = found.next_from_s
    if following is None and shifted:
        following = available_before_s
    # Some megabytes: not on the event loop's time.
    packed = await asyncio.to_thread(_packed, found.records, _shown(query.fields, everything=window.visible_to is None))
    next_from = "" if following is None else f"<om:nextRecordsFrom>{following}</om:nextRecordsFrom>"
    body = (
        f'<om:getSecurityServerOperationalDataResponse xmlns:om="{_NAMESPACE}">'
        f"<om:recordsCount>{len(found.records)}</om:recordsCount><om:records>cid:{_CONTENT_ID}</om:records>{next_from}"
        "</om:getSecurityServerOperationalDataResponse>"
    )
    attachment = Part(
        "application/gzip", (("content-transfer-encoding", "binary"), ("content-id", f"<{_CONTENT_ID}>")), packed
    )
    return build_soap_answer(verified.request.message, body, attachments=(attachment,), entropy=os.urandom(_ENTROPY))


def _shown(asked_for: Collection[str], *, everything: bool) -> frozenset[str] | None:
    """The fields that a client gets, None for all. The gateway's own network is not for every client (UG-OPMON)."""
    if not asked_for and everything:
        return None
    return frozenset(asked_for or OUTPUT_FIELDS) - (frozenset() if everything else _CONFIDENTIAL)


def _packed(records: Sequence[str], fields: frozenset[str] | None) -> bytes:
    if fields is not None:
        chosen = ({name: value for name, value in json.loads(r).items() if name in fields} for r in records)
        records = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in chosen]
    # mtime 0: the same records are the same bytes.
    return gzip.compress(f'{{"records":[{",".join(records)}]}}'.encode(), _GZIP_LEVEL, mtime=0)


# -- health data and metrics -----------------------------------------------------------------------------------------


async def _health(node: Node, verified: VerifiedSOAPRequest, query: HealthQuery) -> SOAPParts:
    # What waits is written first: health is asked for now, not a minute ago.
    await node.monitoring.flush()
    services = await queries.health_of(node.monitoring.engine, now_ms=node.clock.now_ms(), provider=query.client)
    body = health_body(services, started_ms=node.monitoring.started_ms, period_seconds=STATISTICS_SECONDS)
    return build_soap_answer(verified.request.message, body)


async def _metrics(node: Node, verified: VerifiedSOAPRequest) -> SOAPParts:
    client: ClientId = verified.request.client
    allowed = (node.settings.owner_id, node.trust.latest.configuration.monitoring_client)
    if client not in allowed:
        raise Fault("server.serverproxy.access_denied", str(verified.request.service))
    message = verified.request.message
    wanted = parse_metrics_query(message.data)
    environment = await asyncio.to_thread(environment_of, node)
    return build_soap_answer(message, metrics_body(environment, node.server_id, node.clock.now(), wanted))
