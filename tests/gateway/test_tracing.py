"""The door to OpenTelemetry: one trace for a request id, and a plain word when the library isn't there."""

from __future__ import annotations

import sys
import uuid

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway.errors import StartRefused
from gateway.tracing import TracedExchange, open_tracing, trace_id_of


def test_a_request_id_is_its_trace() -> None:
    request_id = uuid.uuid4()
    assert trace_id_of(str(request_id)) == request_id.int
    assert trace_id_of("keine UUID") == trace_id_of("keine UUID") != trace_id_of("eine andere")


def test_a_refusal_is_an_error_with_its_code() -> None:
    exporter = InMemorySpanExporter()
    tracing = open_tracing("http://127.0.0.1:9/", server="DE-TEST/GOV/1/ss1", version="1", exporter=exporter)
    code = "server.serverproxy.access_denied"
    tracing.exchange(TracedExchange("provider", str(uuid.uuid4()), 1000, 1005, None, code, {"xroad.client": "x"}))
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert (span.start_time, span.end_time) == (1_000_000_000, 1_005_000_000)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["xroad.fault_code"] == code
    assert span.resource.attributes["service.instance.id"] == "DE-TEST/GOV/1/ss1"


def test_without_the_library_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(StartRefused, match=r"datenweg\[tracing\]"):
        open_tracing("http://127.0.0.1:9/", server="x", version="1")
