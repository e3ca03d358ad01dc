"""Two persons of the city, as its issuer names them, and sessions of theirs."""

from __future__ import annotations

from gateway.citizen.sessions import Session
from gateway.messages.headers import IdentityLevel
from tests.gateway.citizen.city import City

ERIKA = "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e01"
ANNA = "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e02"


def session_for(city: City, subject: str = ERIKA) -> Session:
    """Logged in at the highest level, for ten minutes."""
    return Session(city.issuer_url, subject, "", IdentityLevel.HIGH, "token", city.clock.now_ms() + 600_000, "csrf")
