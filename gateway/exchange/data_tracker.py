"""The Data Tracker's service (Andmejälgija 2.1): which uses of a person's data this gateway has recorded.

GET findUsage/v2/findUsage?userCode=…    the uses, newest first, by page
GET findUsage/v2/usagePeriod             since when uses are kept
GET findUsage/v2/heartbeat               whether it works
SOAP findUsage, version v1               the uses of whoever `userId` names (`messages.find_usage`)

A service of every subsystem that this gateway serves, for the portals that its operator names (`data_tracker_clients`)
and nobody else. `userCode` is the person's reference as X-Datenweg-Subject has it. A use is an access that delivered
data of that subsystem; what the law withholds from the person isn't told. Statuses 400 and 500 have no body that
anybody relies on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from sqlalchemy.exc import SQLAlchemyError

from audit.errors import AuditError
from gateway.exchange.directory import BuiltIn
from gateway.exchange.node import Node
from gateway.exchange.services import ServiceAnswer
from gateway.exchange.state import VerifiedRequest, VerifiedSOAPRequest
from gateway.logging import describe_error
from gateway.messages.faults import Fault
from gateway.messages.find_usage import ListedUsage, build_find_usage_body, parse_find_usage
from gateway.messages.soap_answer import build_soap_answer
from gateway.messages.soap_request import SOAPParts
from trust.identifiers import InvalidIdentifier, MemberId, SubsystemId, parse_client_id

_JSON: Final = ("Content-Type", "application/json; charset=utf-8")
_NO_STORE: Final = ("Cache-Control", "no-store")
_USER_ID: Final = "x-road-userid"
_DEFAULT_LIMIT: Final = 1000
# int32 of the contract.
_MAX_NUMBER: Final = 2**31 - 1
_MAX_CODE: Final = 128
_FIELDS: Final = frozenset({"userCode", "periodStart", "periodEnd", "offset", "limit"})


class _BadQuery(Exception):
    """A query that the contract doesn't allow: 400."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A parsed query of findUsage. Both ends of the period (ms, UTC) are included."""

    user_code: str
    start_ms: int | None
    end_ms: int | None
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class Usage:
    """One use of a person's data."""

    time_ms: int
    action: str
    receiver_code: str
    receiver_name: str
    receiver_system: str

    def as_json(self) -> dict[str, str]:
        """As the contract's `Usage`."""
        found = {
            "logtime": _rfc3339(self.time_ms),
            "action": self.action,
            "receiverCode": self.receiver_code,
            "receiverName": self.receiver_name,
            "receiverSystem": self.receiver_system,
        }
        return {name: value for name, value in found.items() if value or name != "receiverName"}


async def answer_data_tracker(node: Node, verified: VerifiedRequest) -> ServiceAnswer:
    """The answer to one of the three."""
    request = verified.request
    if request.method != "GET":
        return _refused(405, "Method Not Allowed", "GET only")
    try:
        match request.service_path:
            case "/v2/findUsage":
                return await _find_usage(node, verified)
            case "/v2/usagePeriod":
                return await _usage_period(node)
            case "/v2/heartbeat":
                return await _heartbeat(node)
            case _:
                return _refused(404, "Not Found", "v2/findUsage, v2/usagePeriod or v2/heartbeat")
    except _BadQuery as bad:
        return _refused(400, "Bad Request", str(bad))
    except (AuditError, SQLAlchemyError, OSError) as error:
        node.log.error("access log not readable", **describe_error(error))
        return _refused(500, "Internal Server Error", "the log can't be read")


async def _find_usage(node: Node, verified: VerifiedRequest) -> ServiceAnswer:
    request = verified.request
    if not any(name.lower() == _USER_ID and value.strip() for name, value in request.headers):
        raise _BadQuery("X-Road-UserId says who asks")
    query = parse_usage_query(request.query or "")
    within = await _usages(node, request.service.provider.encoded, query)
    page = within[query.offset : query.offset + query.limit]
    return _answered({"totalUsages": len(within), "usages": [usage.as_json() for usage in page]})


async def _usages(node: Node, provider: str, query: UsageQuery) -> list[Usage]:
    """All uses of a provider's data within the query's period, newest first. Raises AuditError."""
    found = await node.accesses.records(query.user_code)
    names = node.trust.latest.configuration.client_name
    usages = [usage for time_ms, record in found if (usage := usage_of(time_ms, record, provider, names)) is not None]
    return [
        usage
        for usage in reversed(usages)
        if (query.start_ms is None or usage.time_ms >= query.start_ms)
        and (query.end_ms is None or usage.time_ms <= query.end_ms)
    ]


async def answer_data_tracker_soap(node: Node, verified: VerifiedSOAPRequest) -> SOAPParts:
    """The older form's answer. Raises Fault `server.serverproxy.invalid_request` and `database_error`."""
    message = verified.request.message
    values = parse_find_usage(message.data)
    try:
        query = _usage_query(values | {"userCode": (message.user_id or "").strip()})
    except _BadQuery as bad:
        raise Fault("server.serverproxy.invalid_request", str(bad)) from None
    try:
        found = await _usages(node, message.service.provider.encoded, query)
    except (AuditError, SQLAlchemyError, OSError) as error:
        node.log.error("access log not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None
    page = found[query.offset : query.offset + query.limit]
    listed = (ListedUsage(_rfc3339(use.time_ms), use.action, use.receiver_name or use.receiver_code) for use in page)
    return build_soap_answer(message, build_find_usage_body(listed))


async def _usage_period(node: Node) -> ServiceAnswer:
    kept_since = node.clock.now() - timedelta(days=node.settings.record_retention_days)
    first_ms = await node.accesses.first_ms()
    start_ms = int(kept_since.timestamp() * 1000) if first_ms is None else max(_ms(kept_since), first_ms)
    # No end: uses can be asked for until this moment.
    return _answered({"periodStart": _rfc3339(start_ms)})


async def _heartbeat(node: Node) -> ServiceAnswer:
    try:
        await node.accesses.first_ms()
        works = node.sequencer.accepting
    except (AuditError, SQLAlchemyError, OSError) as error:
        node.log.error("access log not readable", **describe_error(error))
        works = False
    told = ("OK", "uses are recorded and can be asked for") if works else ("FAIL", "the log is out of order")
    return _answered({"status": told[0], "message": told[1]})


def parse_usage_query(text: str) -> UsageQuery:
    """The query of findUsage, each parameter once at most. Raises _BadQuery."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise _BadQuery("the query can't be read") from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values and name in _FIELDS:
            raise _BadQuery(f"{name} is given twice")
        values[name] = value
    return _usage_query(values)


def _usage_query(values: Mapping[str, str]) -> UsageQuery:
    code = values.get("userCode", "")
    if not 0 < len(code) <= _MAX_CODE:
        raise _BadQuery("userCode (userId over SOAP) names the person")
    query = UsageQuery(
        code,
        _time_ms(values, "periodStart"),
        _time_ms(values, "periodEnd"),
        _number(values, "offset", 0),
        _number(values, "limit", _DEFAULT_LIMIT),
    )
    if query.start_ms is not None and query.end_ms is not None and query.start_ms > query.end_ms:
        raise _BadQuery("periodStart is after periodEnd")
    return query


def usage_of(
    time_ms: int, record: Mapping[str, Any], provider: str, names: Callable[[MemberId], str | None]
) -> Usage | None:
    """The use that a record speaks of; None if it is none of this provider's, or gave no data.

    `names` knows what a member is called now; a record has the name of the member's system.
    """
    service, client = _object(record, "service"), _object(record, "client")
    # Over SOAP a version may follow the code.
    code = _text(service, "id").removeprefix(f"{provider}/").partition("/")[0]
    if (
        record.get("role") != "provider"
        or record.get("result") != "delivered"
        or _text(_object(record, "provider"), "id") != provider
        # Looking at one's own accesses isn't a use of the register's data.
        or code in (BuiltIn.ACCESSES.value, BuiltIn.FIND_USAGE.value)
    ):
        return None
    try:
        receiver = parse_client_id(_text(client, "id"))
    except InvalidIdentifier:
        return None
    member = receiver.member if isinstance(receiver, SubsystemId) else receiver
    return Usage(
        time_ms,
        # Why, in words: the client's own, else what the institution declares for its service.
        action=_text(record, "occasion") or _german(record, "purpose") or _german(service, "title") or code,
        receiver_code=member.member_code,
        receiver_name=names(member) or _text(client, "name"),
        receiver_system=_text(record, "system") or receiver.encoded.rpartition("/")[2],
    )


def _number(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_NUMBER):
        raise _BadQuery(f"{name} is a number from 0 on")
    return int(text)


def _time_ms(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        # A plus sign that the client didn't escape has become a blank.
        time = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or "T" not in text.upper():
        raise _BadQuery(f"{name} is a date-time as in RFC 3339")
    return _ms(time)


def _ms(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _german(record: Mapping[str, Any], field: str) -> str:
    texts = _object(record, field)
    return _text(texts, "de") or _text(texts, "en")


def _object(record: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = record.get(field)
    return value if isinstance(value, dict) else {}


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    return value if isinstance(value, str) else ""


def _answered(body: Mapping[str, Any]) -> ServiceAnswer:
    return ServiceAnswer(200, "OK", (_JSON, _NO_STORE), json.dumps(body, ensure_ascii=False).encode())


def _refused(status: int, reason: str, text: str) -> ServiceAnswer:
    return ServiceAnswer(status, reason, (("Content-Type", "text/plain; charset=utf-8"),), f"{text}\n".encode())
