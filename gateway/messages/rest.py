"""REST messages of the road: the client's HTTP request, and the signed request that is made of it.

X-Road REST message protocol v1 (PR-REST 1.0), with the proxy's real behaviour where the document is silent or differs.
A signed message is `VERB CRLF path CRLF` or `status CRLF reason CRLF`, then `Name:Value CRLF` for each header. The
request goes on unchanged once it is signed: what was serialised is what is digested, logged and sent. Responses are in
`rest_response`; bodies, signatures and access decisions are others' business. Ids come in, because a core makes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.messages.faults import Fault
from gateway.messages.headers import (
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
    "RepresentedParty",
    "complete_request",
    "parse_request",
    "parse_request_message",
    "serialise_request",
    "service_headers",
]

METHODS: Final = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))
PATH_PREFIX: Final = "/r1/"

# The request's transport id and hash are the gateways' to set; a client's own are left out (PR-REST 4.3).
_NOT_FROM_CLIENTS: Final = DROPPED | {REQUEST_ID, REQUEST_HASH}
_CITIZEN: Final = CITIZEN.lower()
_REPRESENTING: Final = REPRESENTING.lower()

# What a client may not fill: separators, the ids and the fields that its gateway adds before it signs.
_ROOM: Final = 1024
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
