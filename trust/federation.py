"""Other instances beside one's own: which are let in, and one view over all of them.

Follows PR-GCONF 2.12 section 3.3 and UG-SYSPAR (`allowed-federations`). The private parameters of the own instance name
the others' anchors; each instance stays under its own signature, its own authorities and its own expiry. One that has
expired is as if it weren't there; the own instance never depends on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from trust.globalconf import Anchor, VerifiedConfiguration
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId
from trust.parameters import ApprovedCA, SecurityServer

_NONE, _ALL = "none", "all"


@dataclass(frozen=True, slots=True)
class AllowedFederations:
    """Whose configurations are fetched: nobody's, everybody's, or those of the listed instances."""

    everyone: bool = False
    instances: frozenset[str] = frozenset()

    def permits(self, instance: str) -> bool:
        """Whether the instance's members may be met. Letter case doesn't count, as in X-Road."""
        return self.everyone or instance.casefold() in self.instances


def parse_allowed_federations(values: Iterable[str]) -> AllowedFederations:
    """`none`, `all` or names of instances. `none` anywhere wins over everything, `all` over names."""
    names = {value.strip().casefold() for value in values} - {""}
    if _NONE in names:
        return AllowedFederations()
    return AllowedFederations(everyone=_ALL in names, instances=frozenset(names - {_ALL}))


def federated_anchors(own: VerifiedConfiguration, allowed: AllowedFederations) -> tuple[Anchor, ...]:
    """The anchors that the own instance vouches for and this gateway lets in; one for each instance."""
    merged: dict[str, Anchor] = {}
    for anchor in () if own.private is None else own.private.anchors:
        # Of the own instance only its own source may speak (PR-GCONF 3.2 has it otherwise; no registry does so).
        if anchor.instance == own.instance or not allowed.permits(anchor.instance):
            continue
        known = merged.get(anchor.instance)
        sources = anchor.sources if known is None else (*known.sources, *anchor.sources)
        merged[anchor.instance] = Anchor(anchor.instance, sources)
    return tuple(merged.values())


class FederatedConfiguration(VerifiedConfiguration):
    """The own instance's configuration that also answers for federated ones. Immutable."""

    __slots__ = ("_others",)

    def __init__(self, own: VerifiedConfiguration, others: Sequence[VerifiedConfiguration]) -> None:
        """`others` describe one other instance each."""
        # The indexes of the own configuration are shared, not made again.
        for name in VerifiedConfiguration.__slots__:
            setattr(self, name, getattr(own, name))
        self._others = {other.instance: other for other in others if other.instance != own.instance}

    @property
    def others(self) -> tuple[VerifiedConfiguration, ...]:
        return tuple(self._others.values())

    @property
    def approved_cas(self) -> tuple[ApprovedCA, ...]:
        return (*super().approved_cas, *(ca for other in self._others.values() for ca in other.approved_cas))

    def at(self, moment: datetime) -> VerifiedConfiguration:
        current = [other for other in self._others.values() if other.expires > moment]
        return self if len(current) == len(self._others) else FederatedConfiguration(self, current)

    def has_client(self, client: ClientId) -> bool:
        other = self._others.get(client.instance)
        return super().has_client(client) if other is None else other.has_client(client)

    def member_name(self, member: MemberId) -> str | None:
        other = self._others.get(member.instance)
        return super().member_name(member) if other is None else other.member_name(member)

    def client_name(self, client: ClientId) -> str | None:
        other = self._others.get(client.instance)
        return super().client_name(client) if other is None else other.client_name(client)

    def server(self, server: SecurityServerId) -> SecurityServer | None:
        other = self._others.get(server.owner.instance)
        return super().server(server) if other is None else other.server(server)

    def servers_of(self, client: ClientId) -> tuple[SecurityServer, ...]:
        other = self._others.get(client.instance)
        return super().servers_of(client) if other is None else other.servers_of(client)

    def server_with_certificate(self, der: bytes) -> SecurityServer | None:
        own = super().server_with_certificate(der)
        if own is not None:
            # Certificates are public: no other registry takes a gateway's name from it by claiming its certificate.
            return own
        found = [other.server_with_certificate(der) for other in self._others.values()]
        servers = [server for server in found if server is not None]
        # Claimed in two other instances, it identifies neither gateway.
        return servers[0] if len(servers) == 1 else None

    def groups_of(self, client: ClientId) -> frozenset[GlobalGroupId]:
        # A group belongs to the instance that keeps it; whoever grants a right to it trusts that instance's list.
        return super().groups_of(client).union(*(other.groups_of(client) for other in self._others.values()))
