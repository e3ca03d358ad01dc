"""The signed response of a REST service, and what ties it to its request (PR-REST 4.5).

What a service says in the road's name is left out when it is signed, and what a provider's gateway says in the client's
own gateway's name when it is delivered. The request is in `rest`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.messages.faults import Fault
from gateway.messages.headers import AUDIT_RECEIPT, NAMESPACE
from gateway.messages.http_fields import DROPPED, Header, Refused, field_name, field_value
from gateway.messages.rest import CONSUMER, PROVIDER, RESTRequest
from gateway.messages.rest_form import (
    CLIENT,
    DEFAULT_LIMITS,
    ERROR,
    MESSAGE_ID,
    REQUEST_HASH,
    REQUEST_ID,
    SERVICE,
    RESTLimits,
    client_id,
    encoded_client,
    encoded_service,
    parse_lines,
    serialise_lines,
    service_id,
)
from trust.identifiers import ClientId, InvalidIdentifier, ServiceId

# A service can neither speak for the road (X-Road-Error is how clients tell the road's errors) nor rename the exchange.
_NOT_FROM_SERVICES: Final = DROPPED | {CLIENT, MESSAGE_ID, REQUEST_ID, REQUEST_HASH, SERVICE, ERROR}
_RECEIPT: Final = AUDIT_RECEIPT.lower()
_HASH_BYTES: Final = 64


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
