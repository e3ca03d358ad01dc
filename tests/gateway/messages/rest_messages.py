"""REST messages for tests: a client's request, the one that is signed, and the answer to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.messages import rest, rest_response
from gateway.messages.faults import Fault
from gateway.messages.http_fields import Header
from gateway.messages.rest import RESTRequest
from gateway.messages.rest_response import RESTResponse

PATH = "/r1/DE-TEST/COM/STADTWERKE/rechnungen/bills"
CLIENT = ("X-Road-Client", "DE-TEST/GOV/MUSTERSTADT/app")
UUID = "6a7f6a3e-26f2-4a8c-9d2f-0f6d4f3c1a11"
T = TypeVar("T")
GENERATED = "DE-TEST-0a1d3b4c-9a1f-4c55-8f55-0d0d0d0d0d0d"


def parse(path: str = PATH, *headers: Header, method: str = "GET") -> RESTRequest:
    return rest.parse_request(method, path, [CLIENT, *headers])


def complete(request: RESTRequest) -> RESTRequest:
    return rest.complete_request(request, request_id=UUID, generated_message_id=GENERATED)


def answer(request: RESTRequest, *headers: Header, receipt: str | None = None) -> RESTResponse:
    digest = rest_response.request_hash(rest.serialise_request(request), None)
    return rest_response.build_response(
        request, status=200, reason="OK", headers=headers, request_hash=digest, receipt=receipt
    )


def outcome(attempt: Callable[[], T]) -> T | Fault:
    try:
        return attempt()
    except Fault as fault:
        return fault
