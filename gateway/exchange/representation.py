"""Who may act for whom: the question, as the consumer gateway asks it. `gateway.citizen.representation` answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.exchange.citizen_tokens import VerifiedCitizen


class NotRepresented(Exception):
    """The citizen may not act for whom they named. The caller's fault: nothing says that they may."""


@dataclass(frozen=True, slots=True)
class Represented:
    """Somebody whom a citizen may act for. `reference` names them to the citizen and to nobody else."""

    reference: str
    issuer: str
    subject: str
    role: str
    name: str
    until_ms: int | None


class Representations(Protocol):
    """Who may act for whom."""

    async def resolve(self, citizen: VerifiedCitizen, reference: str) -> Represented:
        """The person that `reference` names to this citizen. Raises NotRepresented."""
        ...
