"""The way of a message as two lists. The order is the security property: a test pins it, and nothing else decides it.

A step takes what the steps before it have established and adds its own; it raises a Fault, and then no later step runs.
Steps marked LOG return only when what they log is durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final, TypeVar

from gateway.exchange import consumer, provider
from gateway.exchange.node import Node
from gateway.exchange.state import ConsumerExchange, ProviderExchange

_E = TypeVar("_E", ConsumerExchange, ProviderExchange)
Step = Callable[[Node, _E], Awaitable[None]]

CONSUMER: Final[tuple[Step[ConsumerExchange], ...]] = (
    consumer.parse_and_resolve,  # 2, which names the caller that
    consumer.authenticate_caller,  # 1 then authenticates
    consumer.authenticate_citizen,  # 3
    consumer.sign_and_log_request,  # 4 LOG
    consumer.send_to_provider,  # 5
    consumer.verify_response,  # 12
    consumer.log_response,  # 12 LOG
)

# Of a request whose head names the caller, before its body is read, if that isn't there yet. Once it is, the first two
# steps of all are taken again: it may have taken its time.
BEFORE_BODY: Final[tuple[Step[ConsumerExchange], ...]] = (consumer.parse_and_resolve, consumer.recognise_caller)

# What the gateway asks for in the name of a subsystem of its own: nobody connects, so there is no caller to know.
OWN: Final[tuple[Step[ConsumerExchange], ...]] = tuple(
    step for step in CONSUMER if step is not consumer.authenticate_caller
)

PROVIDER: Final[tuple[Step[ProviderExchange], ...]] = (
    provider.verify_request,  # 6
    provider.authorise_request,  # 7
    provider.log_request,  # 8 LOG
    provider.call_service,  # 9
    provider.bind_sign_and_log_response,  # 10 LOG
)


async def run(steps: Sequence[Step[_E]], node: Node, exchange: _E) -> None:
    """Takes the exchange through the steps in order. Raises the Fault of the first that refuses it."""
    for step in steps:
        exchange.step = step.__name__
        started = perf_counter()
        try:
            await step(node, exchange)
        finally:
            node.metrics.observe_step(step.__name__, perf_counter() - started)
