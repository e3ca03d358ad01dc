"""Situations that either gateway of the pair may be in, and lines of the table for the gateway that tells of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, Literal

from gateway.messages.faults import Hop
from tests.conformance.stage import Case, Do, Stage, Told
from tests.conformance.words import CONSUMER, PROVIDER, REST, SOAP, Form, Row
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.test_configuration import later
from tests.gateway.exchange.test_database import broken

Situation = Callable[[Stage, Do], Awaitable[Told]]
"""Brings the stage into it, asks, and hands back what was told."""


@dataclass(frozen=True)
class GatewaySituations:
    """Of the client's gateway or of the provider's."""

    role: Literal["consumer", "provider"]
    hop: Hop
    prefix: str

    def case(self, row: Row, situation: str, leaf: str, do: Do, form: Form = REST, **options: Any) -> Case:
        """A line in which this gateway refuses."""
        return Case(row, form, situation, f"{self.prefix}.{leaf}", self.hop, do, **options)

    def cases(self, row: Row, situation: str, leaf: str, over_rest: Do, over_soap: Do) -> list[Case]:
        """The same situation over REST and over SOAP."""
        return [self.case(row, situation, leaf, over_rest), self.case(row, situation, leaf, over_soap, SOAP)]

    async def outdated(self, stage: Stage, ask: Do) -> Told:
        """Its configuration has expired."""
        async with later(self._running(stage), timedelta(minutes=11)):
            return await ask(stage)

    async def not_logged(self, stage: Stage, ask: Do) -> Told:
        """Its message log refuses the request."""
        async with broken(self._running(stage).gateway, "request"):
            return await ask(stage)

    async def not_stamped(self, stage: Stage, ask: Do) -> Told:
        """Its log has had no time-stamp for too long."""
        async with stage.replaced(self._running(stage).gateway.node, stamper=SimpleNamespace(refusing=True)):
            return await ask(stage)

    async def overloaded(self, stage: Stage, ask: Do) -> Told:
        """It takes no more exchanges."""
        async with stage.with_settings(self.role, concurrency_limit=0):
            return await ask(stage)

    def _running(self, stage: Stage) -> RunningNode:
        return stage.pair.consumer if self.role == "consumer" else stage.pair.provider


AT_CONSUMER: Final = GatewaySituations("consumer", CONSUMER, "server.clientproxy")
AT_PROVIDER: Final = GatewaySituations("provider", PROVIDER, "server.serverproxy")
