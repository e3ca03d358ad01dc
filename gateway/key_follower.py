"""Follows the key ring: takes up keys and certificates while the gateway runs, and says in time when one ends.

A round takes what `datenweg key` has changed, fetches the OCSP answers of what is new, and only then uses it. Peers
refuse an authentication certificate whose hash isn't in their configuration (PR-GCONF: authCertHash), and each fetches
that in its own time. So the authentication key changes when the last configuration without the hash has expired: by
then every gateway that still takes messages has one with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from gateway.clock import Clock
from gateway.exchange.node import Node
from gateway.exchange.own_keys import OwnKey, OwnKeys, published, select_keys
from gateway.exchange.signer import OwnCertificates
from gateway.exchange.trust_state import TrustState
from gateway.tls_contexts import TLSContexts
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.errors import KeyUnavailable, TrustError
from trust.identifiers import SecurityServerId
from trust.keys import SoftwareKey
from trust.tokens import KeyRing, RingKey

# How long before a certificate ends its owner hears of it, each time once.
WARN_BEFORE: Final = (timedelta(days=30), timedelta(days=14), timedelta(days=7), timedelta(days=1))
# A token that was away is asked again after this long, even if nothing changed on disk.
_RETRY: Final = timedelta(seconds=30)
# Paths lapse with the clock: they are built anew at least this often.
_AGAIN: Final = timedelta(minutes=5)


class KeyFollower:
    """One gateway's. Used from one event loop; the ring itself is read in a thread, since devices are slow."""

    def __init__(self, ring: KeyRing, trust: TrustState, clock: Clock) -> None:
        self.ring = ring
        self._trust = trust
        self._clock = clock
        self._version: object = None
        self._read_at: datetime | None = None
        self._selected_at: datetime | None = None
        self._verifier: CertificateVerifier | None = None
        self._signing: tuple[RingKey, ...] = ()
        self._authentication: tuple[RingKey, ...] = ()
        self._failed: tuple[TrustError, ...] = ()
        self._warned: dict[bytes, timedelta] = {}
        self._told: frozenset[str] = frozenset()
        # Authentication certificates, and when the last configuration without them expires.
        self._settled_at: dict[bytes, datetime] = {}

    async def load(self) -> OwnKeys:
        """The keys of a gateway that starts. Raises KeyUnavailable when the ring can't be read."""
        await self._read()
        return self._select()

    def presentable(self, own: OwnCertificates, server: SecurityServerId, otherwise: SoftwareKey) -> SoftwareKey:
        """The authentication key that peers take now: published, and with its OCSP answer; `otherwise` if none is."""
        # Since when the others are published is not known after a start: the one that was first is on the safe side.
        expires = self._trust.latest.configuration.expires
        published_keys = self._published(own.keys, server)
        self._settled_at = {key.certificate: expires for key in published_keys[:-1]}
        chosen = self._choose(own, own.keys, server)
        if chosen is None:
            chosen = next((key for key in own.keys.authentication if key.key is otherwise), None)
        own.presented = chosen
        return otherwise if chosen is None else chosen.key

    async def round(self, node: Node, contexts: TLSContexts) -> None:
        """Takes up what changed. Raises KeyUnavailable when the ring can't be read: what was in use stays."""
        changed = await self._refresh()
        own = node.own_certificates
        if changed is not None:
            await own.prepare(changed)
            own.keys = changed
        chosen = self._choose(own, own.keys, node.server_id)
        if chosen is not None and chosen.key.certificate_der != contexts.authentication.certificate_der:
            contexts.authenticate_with(chosen.key)
            node.peers.context, node.peers.xroad_context = contexts.peer_client, contexts.peer_xroad
            own.presented = chosen
            node.log.info("the authentication certificate has changed", certificate=_name(chosen))
        for usage, until in own.keys.expiries().items():
            node.metrics.watch_certificate(usage.value, until)
        self._warn(node, own.keys)

    async def _refresh(self) -> OwnKeys | None:
        now = self._clock.now()
        due = self._read_at is None or (bool(self._failed) and now - self._read_at >= _RETRY)
        if due or self.ring.version != self._version:
            await self._read()
        elif self._verifier is self._trust.latest.certificates and (
            self._selected_at is not None and timedelta(0) <= now - self._selected_at < _AGAIN
        ):
            return None
        return self._select()

    async def _read(self) -> None:
        version, now = self.ring.version, self._clock.now()

        def usable() -> tuple[tuple[RingKey, ...], tuple[RingKey, ...], tuple[TrustError, ...]]:
            signing, failed = self.ring.usable(CertificateUsage.SIGNING)
            authentication, others = self.ring.usable(CertificateUsage.AUTHENTICATION)
            return signing, authentication, (*failed, *others)

        self._signing, self._authentication, self._failed = await asyncio.to_thread(usable)
        self._version, self._read_at = version, now

    def _select(self) -> OwnKeys:
        self._verifier, self._selected_at = self._trust.latest.certificates, self._clock.now()
        return select_keys(self._signing, self._authentication, self._verifier, at=self._selected_at)

    def _published(self, keys: OwnKeys, server: SecurityServerId) -> tuple[OwnKey, ...]:
        registered = self._trust.latest.configuration.server(server)
        return () if registered is None else published(keys.authentication, registered.authentication_hashes)

    def _choose(self, own: OwnCertificates, keys: OwnKeys, server: SecurityServerId) -> OwnKey | None:
        """The latest that every peer knows; without one, the latest that our own configuration has."""
        now, usable = self._clock.now(), []
        known = self._published(keys, server)
        for key in keys.authentication:
            if key not in known:
                self._settled_at[key.certificate] = self._trust.latest.configuration.expires
        for key in known:
            with suppress(KeyUnavailable):
                own.statuses_of(key)
                usable.append(key)
        settled = (key for key in usable if now >= self._settled_at.get(key.certificate, now))
        return next(settled, usable[0] if usable else None)

    def _warn(self, node: Node, keys: OwnKeys) -> None:
        now = node.clock.now()
        for own in keys.all:
            left = own.valid_until - now
            passed = [limit for limit in WARN_BEFORE if left <= limit]
            if passed and self._warned.get(own.certificate) != passed[-1]:
                self._warned[own.certificate] = passed[-1]
                node.log.warning(
                    "a certificate of ours ends soon",
                    usage=own.usage.value,
                    certificate=_name(own),
                    expires=own.valid_until.isoformat(),
                    hint="ask for its successor: datenweg key csr, import, activate",
                )
        problems = frozenset(error.code for error in (*self._failed, *keys.problems))
        for code in problems - self._told:
            node.log.warning("a key that is active can't be used", code=code, hint="datenweg key list")
        self._told = problems


def _name(own: OwnKey) -> str:
    return hashlib.sha256(own.certificate).hexdigest()[:16]
