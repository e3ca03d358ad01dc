"""The invented citizens of Musterstadt, for the demo's issuer. No real person bears these names here.

Each proves an identity level (eIDAS, Regulation 910/2014 Article 8): what the issuer will vouch for at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEVELS: Final = ("low", "substantial", "high")

# Shown on the login page: it opens invented persons at an issuer that refuses to run for a real instance.
DEMO_PASSWORD: Final = "musterstadt"  # noqa: S105 - printed by the demo, and no secret


@dataclass(frozen=True, slots=True)
class DemoChild:
    """A child, who logs in nowhere: a parent acts for it."""

    subject: str
    name: str


@dataclass(frozen=True, slots=True)
class DemoCitizen:
    """Somebody who can log in at the demo's issuer."""

    username: str
    subject: str
    given_name: str
    family_name: str
    level: str
    parent_of: tuple[DemoChild, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.given_name} {self.family_name}"


MIA: Final = DemoChild("5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e11", "Mia Beispiel")
CITIZENS: Final = (
    DemoCitizen("erika.beispiel", "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e01", "Erika", "Beispiel", "high", (MIA,)),
    DemoCitizen("anna.probe", "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e02", "Anna", "Probe", "substantial"),
    DemoCitizen("max.beispiel", "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e03", "Max", "Beispiel", "low"),
)
