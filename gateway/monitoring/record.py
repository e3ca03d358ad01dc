"""What is remembered of an exchange (PR-OPMON 1.6, annex B), and its JSON form.

An observation is what the hot path hands over: values that are there already, nothing formatted. It becomes a record in
the background. Never a message's content: sizes, times, names of machines and services.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from gateway.messages.transport import PROXY_VERSION
from trust.identifiers import ClientId, MemberId, SubsystemId

# Annex B: maxLength.
_MAX_TEXT: Final = 255
_MAX_FAULT: Final = 2048
# One for all: `json.dumps` with options builds a new one each time.
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Role(StrEnum):
    """Which of the exchange's two gateways we were; the words of the field `securityServerType`."""

    CLIENT = "Client"
    PRODUCER = "Producer"


class Size(NamedTuple):
    """A message's size. `message`: SOAP message, or REST message with its body; `whole`: with SOAP attachments."""

    message: int
    attachments: int = 0
    whole: int = 0


class Observation(NamedTuple):
    """One exchange, as one of its gateways saw it. Times in milliseconds since 1970."""

    role: Role
    request_id: str
    request_in_ms: int
    response_out_ms: int
    request_out_ms: int | None = None
    response_in_ms: int | None = None
    client: ClientId | None = None
    provider: ClientId | None = None
    service_code: str | None = None
    service_version: str | None = None
    service_type: str | None = None
    rest_method: str | None = None
    rest_path: str | None = None
    represented_party: tuple[str | None, str] | None = None
    message_id: str | None = None
    user_id: str | None = None
    issue: str | None = None
    protocol_version: str | None = None
    client_address: str | None = None
    provider_address: str | None = None
    request_size: Size | None = None
    response_size: Size | None = None
    succeeded: bool = True
    status: int | None = None
    fault_code: str | None = None
    fault_string: str | None = None


# The names that `outputSpec` may ask for (section 2), in the specification's order.
OUTPUT_FIELDS: Final = (
    "monitoringDataTs",
    "securityServerInternalIp",
    "securityServerType",
    "requestInTs",
    "requestOutTs",
    "responseInTs",
    "responseOutTs",
    "clientXRoadInstance",
    "clientMemberClass",
    "clientMemberCode",
    "clientSubsystemCode",
    "serviceXRoadInstance",
    "serviceMemberClass",
    "serviceMemberCode",
    "serviceSubsystemCode",
    "serviceCode",
    "restMethod",
    "restPath",
    "serviceVersion",
    "representedPartyClass",
    "representedPartyCode",
    "messageId",
    "messageUserId",
    "messageIssue",
    "messageProtocolVersion",
    "clientSecurityServerAddress",
    "serviceSecurityServerAddress",
    "requestSize",
    "requestMimeSize",
    "requestAttachmentCount",
    "responseSize",
    "responseMimeSize",
    "responseAttachmentCount",
    "succeeded",
    "serviceType",
    "faultCode",
    "faultString",
    "statusCode",
    "xRequestId",
    "xRoadVersion",
)


def to_json(observed: Observation, *, stored_s: int, internal_address: str) -> str:
    """The record as the JSON object of annex B, without what isn't known."""
    values: dict[str, Any] = {
        "monitoringDataTs": stored_s,
        "securityServerInternalIp": internal_address,
        "securityServerType": observed.role.value,
        "requestInTs": observed.request_in_ms,
        "requestOutTs": observed.request_out_ms,
        "responseInTs": observed.response_in_ms,
        "responseOutTs": observed.response_out_ms,
        **_identifier("client", observed.client),
        **_identifier("service", observed.provider),
        "serviceCode": observed.service_code,
        "restMethod": observed.rest_method,
        # Only the provider's gateway says which path of a service was called (annex B).
        "restPath": observed.rest_path,
        "serviceVersion": observed.service_version,
        "representedPartyClass": observed.represented_party[0] if observed.represented_party else None,
        "representedPartyCode": observed.represented_party[1] if observed.represented_party else None,
        "messageId": observed.message_id,
        "messageUserId": observed.user_id,
        "messageIssue": observed.issue,
        "messageProtocolVersion": observed.protocol_version,
        "clientSecurityServerAddress": observed.client_address,
        "serviceSecurityServerAddress": observed.provider_address,
        **_size("request", observed.request_size),
        **_size("response", observed.response_size),
        "succeeded": observed.succeeded,
        "serviceType": observed.service_type,
        "faultCode": observed.fault_code,
        "faultString": observed.fault_string,
        "statusCode": observed.status,
        "xRequestId": observed.request_id,
        "xRoadVersion": PROXY_VERSION,
    }
    return _encode(
        {
            name: _cut(name, value) if type(value) is str and len(value) > _MAX_TEXT else value
            for name, value in values.items()
            if value is not None
        }
    )


@lru_cache(maxsize=1024)
def _identifier(prefix: str, client: ClientId | None) -> Mapping[str, str]:
    if client is None:
        return {}
    named = {
        f"{prefix}XRoadInstance": client.instance,
        f"{prefix}MemberClass": client.member_class,
        f"{prefix}MemberCode": client.member_code,
    }
    match client:
        case SubsystemId(subsystem_code=code):
            named[f"{prefix}SubsystemCode"] = code
        case MemberId():
            pass
    return named


def _size(prefix: str, size: Size | None) -> dict[str, int]:
    if size is None:
        return {}
    sizes = {f"{prefix}Size": size.message, f"{prefix}AttachmentCount": size.attachments}
    if size.attachments:
        sizes[f"{prefix}MimeSize"] = size.whole
    return sizes


def _cut(name: str, value: str) -> str:
    return value[: _MAX_FAULT if name == "faultString" else _MAX_TEXT]
