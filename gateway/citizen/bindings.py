"""What of a signed statement only a database can tell: that it counts once, and that its device isn't revoked.

DPoP proofs (RFC 9449 section 11.1) and logout tokens (OpenID Connect Back-Channel Logout 1.0 section 2.6) are used by
an insert under their digest: the second finds the place taken, in whichever process it arrives, after a restart too.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Final

from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.devices import Devices
from gateway.clock import Clock
from gateway.exchange.citizen_tokens import NonceWanted, VerifiedCitizen
from gateway.exchange.dpop import ProofRefused, VerifiedProof

_SWEEP_MS: Final = 60_000
# Kept for so much longer: a process whose clock is behind ours still takes what has lapsed for us.
_CLOCKS_MS: Final = 600_000
_NONCE_MS: Final = 300_000


class StatementUsed(Exception):
    """The statement was used before: a replay."""


class UsedStatements:
    """Remembers statements until they expire. Safe for concurrent use, from several processes too."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._swept_ms = 0

    async def use(self, fingerprint: bytes, *, expires_ms: int) -> None:
        """Uses a statement; durable when it returns. Raises StatementUsed."""
        now_ms, row = self._clock.now_ms(), tables.used_statement
        try:
            async with self._engine.begin() as connection:
                if now_ms - self._swept_ms >= _SWEEP_MS:
                    self._swept_ms = now_ms
                    await connection.execute(delete(row).where(row.c.expires_ms <= now_ms - _CLOCKS_MS))
                await connection.execute(insert(row).values(id=fingerprint, expires_ms=expires_ms))
        except IntegrityError:
            raise StatementUsed from None


class DeviceBindings:
    """`citizen_tokens.Bindings` on the citizen application's tables. `person` names a citizen as they do."""

    def __init__(self, statements: UsedStatements, devices: Devices, person: Callable[[str, str], str]) -> None:
        self._statements = statements
        self._devices = devices
        self._person = person

    async def use(self, citizen: VerifiedCitizen, proof: VerifiedProof) -> None:
        """Takes a proof, once. Raises ProofRefused."""
        person = self._person(citizen.issuer, citizen.subject)
        device = await self._devices.find(person, proof.thumbprint)
        if device is not None and device.revoked_ms is not None:
            raise ProofRefused("device revoked")
        try:
            await self._statements.use(proof.fingerprint, expires_ms=proof.expires_ms)
        except StatementUsed:
            raise ProofRefused("replayed") from None


class Nonces:
    """Nonces for proofs (RFC 9449 section 8): a moment and a MAC over it, so that none need be kept.

    `required`: a proof without one is sent back for it; one that is stated has to be ours and recent in any case.
    """

    def __init__(self, key: bytes, clock: Clock, *, required: bool) -> None:
        self._key = hmac.digest(key, b"datenweg/dpop-nonce/v1", "sha256")
        self._clock = clock
        self._required = required

    def fresh(self) -> str:
        """A nonce for the next proofs, good for five minutes."""
        moment = str(self._clock.now_ms())
        return f"{moment}.{self._tag(moment)}"

    def check(self, stated: str | None) -> None:
        """Raises NonceWanted unless `stated` will do."""
        if stated is None and not self._required:
            return
        moment, _, tag = (stated or "").partition(".")
        ours = hmac.compare_digest(self._tag(moment).encode(), tag.encode("utf-8", "replace"))
        if not ours or not moment.isdigit() or int(moment) + _NONCE_MS < self._clock.now_ms():
            raise NonceWanted(self.fresh())

    def _tag(self, moment: str) -> str:
        digest = hmac.digest(self._key, moment.encode("utf-8", "replace"), "sha256")
        return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
