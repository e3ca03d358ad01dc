"""Operational monitoring as a part of a running gateway: opened with it, written every few seconds, emptied at last."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

import gateway
from gateway.clock import Clock
from gateway.exchange.node import Node
from gateway.followers import Follower
from gateway.logging import describe_error, get_logger
from gateway.metrics import Metrics
from gateway.monitoring.buffer import Monitoring
from gateway.settings import GatewaySettings
from gateway.tracing import Tracing, open_tracing

# As X-Road's proxy sends its records on (UG-OPMONSYSPAR).
_FLUSH_SECONDS: Final = 5.0


def open_monitoring(
    stack: AsyncExitStack, engine: AsyncEngine, settings: GatewaySettings, clock: Clock, metrics: Metrics
) -> Monitoring:
    """The node's buffer of operational records; the stack's end writes what is in it."""
    monitoring = Monitoring(engine, clock, metrics, internal_address=settings.client_host)

    async def close() -> None:
        try:
            await monitoring.flush()
        except (SQLAlchemyError, OSError) as error:
            # They are for monitoring: a gateway's end doesn't fail by them.
            get_logger(node=settings.server_code).error("operational records not written", **describe_error(error))

    stack.push_async_callback(close)
    return monitoring


def open_node_tracing(stack: AsyncExitStack, settings: GatewaySettings) -> Tracing | None:
    """Traces, if the settings want them. Raises StartRefused when the libraries for it aren't installed."""
    if settings.tracing_endpoint is None:
        return None
    tracing = open_tracing(settings.tracing_endpoint, server=settings.server_id.encoded, version=gateway.__version__)
    # It sends what is left, and blocks meanwhile.
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    return tracing


def monitoring_follower(node: Node) -> Follower:
    """Writes the records. Not one that the health check asks: a gateway serves well without."""

    async def work(_: Follower) -> None:
        await node.monitoring.round()

    return Follower("monitoring", _FLUSH_SECONDS, work, node.clock)
