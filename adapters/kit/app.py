"""An adapter's HTTP side: a table of operations becomes an aiohttp application.

Handlers take an OperationRequest and return an Answer; they know nothing of HTTP beyond a status. Every failure
leaves here as a problem answer with an id, and the log line of that failure carries the same id, the code, and
nothing that a person sent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from aiohttp import web

from adapters.kit.context import RequestContext, parse_context
from adapters.kit.errors import AdapterError, CallerError, InternalError
from adapters.kit.fields import Fields, MalformedJSON, parse_json
from adapters.kit.problems import (
    INTERNAL,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    OPERATION_UNKNOWN,
    REQUEST_TOO_LARGE,
    problem_response,
)
from adapters.kit.settings import AdapterSettings

_log: Final = logging.getLogger("adapters.kit.app")


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One call: its context, and readers of its path, query and body that blame the caller."""

    context: RequestContext
    path: Fields
    query: Fields
    body: Fields


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answers; `body` is JSON-able, None for no content."""

    body: Mapping[str, object] | None
    status: int = 200


Handler = Callable[[OperationRequest], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: method, aiohttp path, handler; `has_body` says whether it takes a JSON object."""

    method: str
    path: str
    handler: Handler
    has_body: bool = False


def invalid_field(name: str) -> CallerError:
    """The caller's field `name` is not as described."""
    return CallerError(INVALID_REQUEST, fields=(name,))


def build_adapter_app(
    operations: Sequence[Operation],
    *,
    settings: AdapterSettings,
    resources: Sequence[AbstractAsyncContextManager[object]],
) -> web.Application:
    """The application that serves `operations` and /healthz; `resources` are open while it runs."""
    app = web.Application(middlewares=[_answer_problems], client_max_size=settings.max_request_bytes)

    async def hold_resources(_: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for resource in resources:
                await stack.enter_async_context(resource)
            yield

    app.cleanup_ctx.append(hold_resources)
    app.router.add_get("/healthz", _healthz)
    for operation in operations:
        app.router.add_route(operation.method, operation.path, _http_handler(operation))
    return app


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _http_handler(operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        context = parse_context(request.headers)
        if len(set(request.query)) != len(request.query):
            raise invalid_field("query")
        answer = await operation.handler(
            OperationRequest(
                context=context,
                path=Fields(dict(request.match_info), invalid_field, textual=True),
                query=Fields(dict(request.query), invalid_field, textual=True),
                body=await _body(request) if operation.has_body else Fields({}, invalid_field),
            )
        )
        return _response(answer)

    return handle


async def _body(request: web.Request) -> Fields:
    if request.content_type != "application/json":
        raise invalid_field("Content-Type")
    try:
        return Fields(parse_json(await request.read()), invalid_field)
    except MalformedJSON:
        raise invalid_field("body") from None


def _response(answer: Answer) -> web.Response:
    # Answers hold personal data: no cache on the way may keep them.
    headers = {"Cache-Control": "no-store"}
    if answer.body is None:
        return web.Response(status=answer.status, headers=headers)
    data = json.dumps(answer.body, ensure_ascii=False).encode()
    return web.Response(status=answer.status, body=data, content_type="application/json", headers=headers)


@web.middleware
async def _answer_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    identifier = str(uuid4())
    try:
        return await handler(request)
    except AdapterError as error:
        failure = error
    except web.HTTPRequestEntityTooLarge:
        failure = CallerError(REQUEST_TOO_LARGE)
    except web.HTTPMethodNotAllowed:
        failure = CallerError(METHOD_NOT_ALLOWED)
    except web.HTTPException:
        failure = CallerError(OPERATION_UNKNOWN)
    except Exception as error:  # noqa: BLE001  # the last line: whatever it is, no text of it reaches the caller or the log
        _log.error("unexpected failure id=%s type=%s at=%s", identifier, type(error).__name__, _origin(error))
        failure = InternalError(INTERNAL)
    _log.info("problem id=%s code=%s hop=%s", identifier, failure.kind.code, failure.kind.hop)
    accept_language = request.headers.get("Accept-Language", "")
    return problem_response(failure, accept_language=accept_language, identifier=identifier)


def _origin(error: Exception) -> str:
    """File and line where it was raised: enough to find a bug, free of data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "unknown" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
