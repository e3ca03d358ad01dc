"""A pair of gateways with a collector of traces beside it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.serve import Listener, listening
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port


@dataclass
class Collector:
    """Takes traces over OTLP/HTTP."""

    spans: list[Span] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        self.spans += [s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@dataclass
class Watched:
    """A pair whose exchanges are traced."""

    pair: GatewayPair
    collector: Collector


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    collector, port = Collector(), free_port()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    endpoint = f"http://{HOST}:{port}/v1/traces"
    folder = tmp_path_factory.mktemp("watched")
    async with (
        listening([Listener(app, HOST, port)], shutdown_seconds=5),
        gateway_pair(folder, io.StringIO(), tracing_endpoint=endpoint) as pair,
    ):
        yield Watched(pair, collector)
