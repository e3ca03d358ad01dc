"""REST messages of the road: the client's HTTP request, the signed request and response messages, and their binding.

X-Road REST message protocol v1 (PR-REST 1.0), with the proxy's real behaviour where the document is silent or differs.
A signed message is `VERB CRLF path CRLF` or `status CRLF reason CRLF`, then `Name:Value CRLF` for each header. The
request goes on unchanged once it is signed: what was serialised is what is digested, logged and sent. Bodies,
signatures and access decisions are others' business. Ids come in, because a core makes none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.messages.faults import Fault
from gateway.messages.headers import (
    AUDIT_RECEIPT,
    CITIZEN,
    EXCHANGE_NONCE,
    NAMESPACE,
    NO_FIELDS,
    REPRESENTING,
    RoadFields,
    parse_client_fields,
    parse_signed_fields,
)
from gateway.messages.http_fields import DROPPED, Header, Refused, field_name, field_value
from gateway.messages.rest_form import (
    CLIENT,
    DEFAULT_LIMITS,
    ERROR,
    ISSUE,
    MESSAGE_ID,
    REPRESENTED_PARTY,
    REQUEST_HASH,
    REQUEST_ID,
    SECURITY_SERVER,
    SERVICE,
    SINGLE,
    USER_ID,
    RepresentedParty,
    RESTLimits,
    client_id,
    encoded_client,
    encoded_service,
    once,
    parse_lines,
    represented_party_of,
    security_server_id,
    serialise_lines,
    service_id,
)
from trust.identifiers import ClientId, InvalidIdentifier, SecurityServerId, ServiceId

__all__ = [
    "CLIENT",
    "DEFAULT_LIMITS",
    "ERROR",
    "ISSUE",
    "MESSAGE_ID",
    "METHODS",
    "PATH_PREFIX",
    "REPRESENTED_PARTY",
    "REQUEST_HASH",
    "REQUEST_ID",
    "SECURITY_SERVER",
    "SERVICE",
    "USER_ID",
    "RESTLimits",
    "RESTRequest",
    "RESTResponse",
    "RepresentedParty",
    "bind_digests",
    "build_response",
    "check_response_consistency",
    "complete_request",
    "delivered_headers",
    "parse_request",
    "parse_request_message",
    "parse_response_message",
    "request_hash",
    "serialise_request",
    "serialise_response",
    "service_headers",
]

METHODS: Final = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))
PATH_PREFIX: Final = "/r1/"

# The request's transport id and hash are the gateways' to set; a client's own are left out (PR-REST 4.3).
_NOT_FROM_CLIENTS: Final = DROPPED | {REQUEST_ID, REQUEST_HASH}
# A service can neither speak for the road (X-Road-Error is how clients tell the road's errors) nor rename the exchange.
_NOT_FROM_SERVICES: Final = DROPPED | {CLIENT, MESSAGE_ID, REQUEST_ID, REQUEST_HASH, SERVICE, ERROR}
_CITIZEN: Final = CITIZEN.lower()
_REPRESENTING: Final = REPRESENTING.lower()
_RECEIPT: Final = AUDIT_RECEIPT.lower()

# What a client may not fill: separators, the ids and the fields that its gateway adds before it signs.
_ROOM: Final = 1024
_HASH_BYTES: Final = 64
_MAX_ID: Final = 255

CLIENT_SIDE: Final = "client"
CONSUMER: Final = "server.clientproxy"
PROVIDER: Final = "server.serverproxy"


@dataclass(frozen=True, slots=True)
class RESTRequest:
    """A REST request, as a client sent it or as the signed message has it. Nothing in it is verified but the form.

    `target` is the raw path with the query; `service_path` (with its leading slash, or empty) and `query` (None when
    there is no `?`) stay raw. `message_id` and `request_id` are empty until `complete_request`. `headers` are those
    that travel.
    """

    method: str
    target: str
    client: ClientId
    service: ServiceId
    service_path: str
    query: str | None
    headers: tuple[Header, ...]
    message_id: str = ""
    request_id: str = ""
    user_id: str | None = None
    issue: str | None = None
    security_server: SecurityServerId | None = None
    represented_party: RepresentedParty | None = None
    fields: RoadFields = NO_FIELDS
    citizen_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RESTResponse:
    """A REST response as the signed message has it. `request_hash` and `receipt` are the header texts."""

    status: int
    reason: str
    headers: tuple[Header, ...]
    message_id: str
    client: ClientId
    service: ServiceId
    request_id: str
    request_hash: str
    receipt: str | None = None


# -- the request --


def parse_request(
    method: str, target: str, headers: Sequence[Header], limits: RESTLimits = DEFAULT_LIMITS
) -> RESTRequest:
    """A client's HTTP request to `/r1/…`; an absolute-form target is taken, too.

    Raises Fault. A malformed path or X-Road-Client is `server.clientproxy.internal_error`, a missing one
    `invalid_client_identifier`, as X-Road's proxy answers; what X-Road would let pass and we don't (injected headers,
    doubled fields, sizes) is the client's fault by its name.
    """
    if method not in METHODS:
        raise _malformed("the HTTP method is not one of the protocol's")
    if len(headers) > limits.max_headers or len(target) > limits.max_target:
        raise Fault("client.bad_request", "too many headers or too long a path")
    target = _origin_form(target)
    kept: list[Header] = []
    single: dict[str, str] = {}
    own: dict[str, str] = {}
    size = len(target)
    try:
        for name, raw in headers:
            lower = field_name(name)
            value = field_value(raw)
            size += len(name) + len(value)
            if lower in _NOT_FROM_CLIENTS:
                continue
            if lower.startswith("x-"):
                if lower.startswith(NAMESPACE):
                    once(own, lower, value, CLIENT_SIDE)
                    continue
                if lower in SINGLE:
                    if not value and lower == MESSAGE_ID:
                        continue
                    once(single, lower, value, CLIENT_SIDE)
            kept.append((name, value))
    except Refused as refused:
        raise Fault("client.bad_request", refused.reason) from None
    if size > limits.max_message - _ROOM:
        raise Fault("client.bad_request", "the headers are too large")
    citizen_token = own.pop(_CITIZEN, None)
    if citizen_token is not None:
        # Said to this gateway, with the token: whom it speaks for, and the proof of its key (RFC 9449).
        own.pop(_REPRESENTING, None)
        kept = [(name, value) for name, value in kept if name.lower() != "dpop"]
    fields = parse_client_fields(own) if own else NO_FIELDS
    return _request(method, target, tuple(kept), single, fields=fields, citizen_token=citizen_token, prefix=CONSUMER)


def complete_request(
    request: RESTRequest, *, request_id: str, generated_message_id: str, fields: RoadFields | None = None
) -> RESTRequest:
    """The request as it is signed: with the transport's id, a message id if the client gave none, and the road's
    fields.

    `fields` replaces the client's own; the citizen's token is gone. `generated_message_id` is `<INSTANCE>-<UUID>`.
    """
    road = request.fields if fields is None else fields
    headers = list(request.headers)
    headers += road.format()
    headers.append((REQUEST_ID, request_id))
    if not request.message_id:
        headers.append((MESSAGE_ID, generated_message_id))
    return replace(
        request,
        headers=tuple(headers),
        message_id=request.message_id or generated_message_id,
        request_id=request_id,
        fields=road,
        citizen_token=None,
    )


def serialise_request(request: RESTRequest) -> bytes:
    """The signed message's bytes (`/message.xml` of the signature)."""
    return serialise_lines(request.method, request.target, request.headers, f"{CONSUMER}.internal_error")


def parse_request_message(data: bytes, limits: RESTLimits = DEFAULT_LIMITS) -> RESTRequest:
    """The request of a signed message. Raises Fault `server.serverproxy.…`, mostly `invalid_message`."""
    refusal = f"{PROVIDER}.invalid_message"
    method, target, headers, single, own = parse_lines(data, limits, PROVIDER, refusal)
    if method not in METHODS:
        raise Fault(refusal, "the method is not one of the protocol's")
    if not target.startswith("/") or target.startswith("//") or len(target) > limits.max_target:
        raise Fault(refusal, "the path is not absolute")
    if " " in target or "#" in target:
        raise Fault(refusal, "the path holds a character that must be percent-encoded")
    for name in (MESSAGE_ID, REQUEST_ID):
        if not single.get(name):
            raise Fault(f"{PROVIDER}.missing_header_field", name)
    fields = parse_signed_fields(own) if own else NO_FIELDS
    return _request(method, target, headers, single, fields=fields, citizen_token=None, prefix=PROVIDER)


def service_headers(request: RESTRequest) -> list[Header]:
    """The headers for the provider's service: all that travelled, with the true service, without the road's nonce."""
    hidden = (SERVICE, EXCHANGE_NONCE.lower())
    headers = [header for header in request.headers if header[0].lower() not in hidden]
    headers.append(("X-Road-Service", encoded_service(request.service)))
    return headers


# -- the response --


def build_response(
    request: RESTRequest, *, status: int, reason: str, headers: Sequence[Header], request_hash: str, receipt: str | None
) -> RESTResponse:
    """The service's answer as it is signed: its own headers that travel, then the receipt and what ties it to the
    request.

    Raises Fault `server.serverproxy.service_failed.http_error` for an answer that HTTP doesn't allow.
    """
    failure = f"{PROVIDER}.service_failed.http_error"
    if not 200 <= status <= 599 or not reason.isprintable() or len(headers) > DEFAULT_LIMITS.max_headers:
        raise Fault(failure, "the service's status line or headers are not valid HTTP")
    kept: list[Header] = []
    size = len(reason)
    try:
        for name, raw in headers:
            lower = field_name(name)
            if lower in _NOT_FROM_SERVICES or lower.startswith(NAMESPACE):
                continue
            value = field_value(raw)
            size += len(name) + len(value)
            kept.append((name, value))
    except Refused as refused:
        raise Fault(failure, refused.reason) from None
    if size > DEFAULT_LIMITS.max_message // 2:
        raise Fault(failure, "the service's headers are too large")
    if receipt is not None:
        kept.append((AUDIT_RECEIPT, receipt))
    kept += (
        (MESSAGE_ID, request.message_id),
        (CLIENT, encoded_client(request.client)),
        (SERVICE, encoded_service(request.service)),
        (REQUEST_ID, request.request_id),
        (REQUEST_HASH, request_hash),
    )
    return RESTResponse(
        status, reason, tuple(kept), request.message_id, request.client, request.service, request.request_id,
        request_hash, receipt,
    )  # fmt: skip


def serialise_response(response: RESTResponse) -> bytes:
    """The signed message's bytes."""
    return serialise_lines(str(response.status), response.reason, response.headers, f"{PROVIDER}.internal_error")


def parse_response_message(data: bytes, limits: RESTLimits = DEFAULT_LIMITS) -> RESTResponse:
    """The response of a signed message. Raises Fault `server.clientproxy.service_failed.…`."""
    prefix = f"{CONSUMER}.service_failed"
    refusal = f"{prefix}.invalid_message"
    status, reason, headers, single, own = parse_lines(data, limits, prefix, refusal)
    if len(status) != 3 or not status.isascii() or not status.isdigit() or not "200" <= status <= "599":
        raise Fault(refusal, "the status is not an HTTP status")
    for name in (MESSAGE_ID, REQUEST_ID, REQUEST_HASH, CLIENT, SERVICE):
        if not single.get(name):
            raise Fault(f"{prefix}.missing_header_field", name)
    try:
        digest = base64.b64decode(single[REQUEST_HASH], validate=True)
        client, service = client_id(single[CLIENT]), service_id(single[SERVICE])
    except (binascii.Error, ValueError, InvalidIdentifier):
        raise Fault(refusal, "a header of the answer is not valid") from None
    if len(digest) != _HASH_BYTES:
        raise Fault(refusal, "the request hash is not a SHA-512 digest")
    return RESTResponse(
        int(status), reason, headers, single[MESSAGE_ID], client, service, single[REQUEST_ID], single[REQUEST_HASH],
        own.get(_RECEIPT),
    )  # fmt: skip


def delivered_headers(response: RESTResponse) -> list[Header]:
    """The headers for the client: all that are signed, but those that would speak for its own gateway.

    X-Road-Error is on the road's own errors alone; of the road's own fields the provider's gateway has the receipt.
    """
    return [header for header in response.headers if _is_the_providers(header[0].lower())]


def _is_the_providers(name: str) -> bool:
    return name == _RECEIPT or (name != ERROR and not name.startswith(NAMESPACE))


# -- binding --


def request_hash(message: bytes, body_digest: bytes | None) -> str:
    """The hash that ties a response to its request (PR-REST 4.5), in base64.

    `body_digest` is the body's SHA-512, or None when there is no body (an empty body is none).
    """
    return bind_digests(hashlib.sha512(message).digest(), body_digest)


def bind_digests(message_digest: bytes, body_digest: bytes | None) -> str:
    """`request_hash` for whoever has the message's digest already."""
    bound = message_digest if body_digest is None else hashlib.sha512(message_digest + body_digest).digest()
    return base64.b64encode(bound).decode("ascii")


def check_response_consistency(request: RESTRequest, response: RESTResponse, expected_hash: str) -> None:
    """Raises Fault `server.clientproxy.inconsistent_response` unless the response answers exactly this request."""
    checks = (
        ("client", request.client == response.client),
        ("message id", request.message_id == response.message_id),
        ("service", request.service == response.service),
        ("request id", request.request_id == response.request_id),
        ("request hash", hmac.compare_digest(expected_hash.encode(), response.request_hash.encode())),
    )
    for what, holds in checks:
        if not holds:
            raise Fault(f"{CONSUMER}.inconsistent_response", f"the {what} differs")


# -- shared --


def _request(
    method: str,
    target: str,
    headers: tuple[Header, ...],
    single: dict[str, str],
    *,
    fields: RoadFields,
    citizen_token: str | None,
    prefix: str,
) -> RESTRequest:
    path, mark, query = target.partition("?")
    # Seven slashes make eight parts: empty, version, five identifiers, and the service's path, which stays raw.
    parts = path.split("/", 7)
    if len(parts) < 7 or parts[0] or parts[1] != "r1":
        raise _malformed("the path is not /r1/INSTANCE/CLASS/MEMBER/SUBSYSTEM/SERVICE", prefix)
    service_path = "/" + parts[7] if len(parts) == 8 else ""
    encoded_client = single.get(CLIENT)
    if encoded_client is None:
        # A malformed one is below, with what X-Road's proxy has for it.
        raise Fault(f"{prefix}.invalid_client_identifier", "the header X-Road-Client is missing")
    message_id, request_id = single.get(MESSAGE_ID, ""), single.get(REQUEST_ID, "")
    if len(message_id) > _MAX_ID or len(request_id) > _MAX_ID:
        raise _malformed("an id is longer than 255 characters", prefix)
    try:
        what = "the path"
        service = service_id("/".join(parts[2:7]))
        what = "X-Road-Client"
        client = client_id(encoded_client)
        what = "X-Road-Security-Server"
        server = single.get(SECURITY_SERVER)
        security_server = None if server is None else security_server_id(server)
        what = "X-Road-Represented-Party"
        party = single.get(REPRESENTED_PARTY)
        represented_party = None if party is None else represented_party_of(party)
    except InvalidIdentifier:
        raise _malformed(f"{what} holds an identifier that is not valid", prefix) from None
    return RESTRequest(
        method, target, client, service, service_path, query if mark else None, headers, message_id, request_id,
        single.get(USER_ID), single.get(ISSUE), security_server, represented_party, fields, citizen_token,
    )  # fmt: skip


def _malformed(reason: str, prefix: str = CONSUMER) -> Fault:
    # X-Road's proxy answers these with internal_error (500), not with the Client.BadRequest of its document; clients
    # that tell the two apart do so by the proxy. At the provider the message of a peer is what is wrong.
    if prefix == CONSUMER:
        hint = "send VERB /r1/INSTANCE/CLASS/MEMBER/SUBSYSTEM/SERVICE with X-Road-Client, segments percent-encoded"
        return Fault(f"{CONSUMER}.internal_error", reason, hint=hint)
    return Fault(f"{prefix}.invalid_message", reason)


def _origin_form(target: str) -> str:
    if not target.startswith("/"):
        # RFC 9112 3.2.2: clients in proxy mode send the absolute form; the authority is not ours to judge.
        _, scheme, rest = target.partition("://")
        slash = rest.find("/")
        if not scheme or slash < 0:
            raise _malformed("the request target is not a path")
        target = rest[slash:]
    if not target.isprintable() or " " in target or "#" in target:
        raise _malformed("the path holds a character that must be percent-encoded")
    return target
