"""OpenTelemetry traces of exchanges: the one door to that library, which is only loaded when traces are wanted.

One trace for each exchange over both hops, without a header of its own: its id is the exchange's `x-road-request-id`,
which both gateways have. Spans are written down when an exchange is over, from times that were taken anyway; while
`tracing_endpoint` isn't set an exchange pays for one look at None. Spans hold what log lines hold, no person's data.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import StartRefused

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

_NS: Final = 1_000_000
_CLOSE_MS: Final = 2_000

Attribute = str | int | bool


@dataclass(frozen=True, slots=True)
class TracedExchange:
    """One gateway's part of an exchange. Times in milliseconds since 1970; `waiting` while the next hop had it."""

    name: str
    request_id: str
    started_ms: int
    ended_ms: int
    waiting: tuple[int, int] | None = None
    fault_code: str | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


class Tracing(Protocol):
    """Takes finished exchanges."""

    def exchange(self, traced: TracedExchange) -> None:
        """Writes the spans of one gateway's part. Never waits and never fails."""
        ...

    def close(self) -> None:
        """Sends what is left; gives up after two seconds. Blocks: call it in a thread."""
        ...


def trace_id_of(request_id: str) -> int:
    """The trace of an exchange: the request's UUID; of an id that is none, its hash."""
    try:
        return uuid.UUID(request_id).int
    except ValueError:
        return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:16], "big")


def open_tracing(endpoint: str, *, server: str, version: str, exporter: SpanExporter | None = None) -> Tracing:
    """Traces to an OTLP/HTTP endpoint (e.g. http://127.0.0.1:4318/v1/traces), in the name of a gateway.

    `exporter` takes the endpoint's place. Raises StartRefused when the libraries aren't installed.
    """
    try:
        return _OpenTelemetry(endpoint, server=server, version=version, exporter=exporter)
    except ImportError:
        raise StartRefused("tracing_endpoint needs OpenTelemetry: pip install 'datenweg[tracing]'") from None


class _OpenTelemetry:
    def __init__(self, endpoint: str, *, server: str, version: str, exporter: SpanExporter | None) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=endpoint)
        resource = Resource.create(
            {"service.name": "datenweg", "service.version": version, "service.instance.id": server}
        )
        # What doesn't fit into the processor's queue is dropped there: an exchange never waits for a collector.
        self._processor = BatchSpanProcessor(exporter)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("datenweg", version)

    def exchange(self, traced: TracedExchange) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        consumer = traced.name == "consumer"
        attributes: dict[str, Attribute] = {"xroad.request_id": traced.request_id, **traced.attributes}
        if traced.fault_code is not None:
            attributes["xroad.fault_code"] = traced.fault_code
        span = self._tracer.start_span(
            f"exchange {traced.name}",
            context=_root(traced.request_id),
            kind=SpanKind.CLIENT if consumer else SpanKind.SERVER,
            attributes=attributes,
            start_time=traced.started_ms * _NS,
        )
        if traced.waiting is not None:
            began, ended = traced.waiting
            inner = self._tracer.start_span(
                "provider's gateway" if consumer else "service",
                context=set_span_in_context(span),
                start_time=began * _NS,
                attributes={"xroad.request_id": traced.request_id},
            )
            inner.end(end_time=ended * _NS)
        if traced.fault_code is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=traced.ended_ms * _NS)

    def close(self) -> None:
        self._processor.force_flush(_CLOSE_MS)
        self._provider.shutdown()


def _root(request_id: str) -> Context:
    """The parent that both gateways' spans have: nobody's span, but the same for both."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    # W3C Trace Context 2.2.2: neither id is zero.
    parent = int.from_bytes(hashlib.sha256(b"datenweg/trace\0" + request_id.encode()).digest()[:8], "big") or 1
    context = SpanContext(
        trace_id_of(request_id) or 1, parent, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(context))
