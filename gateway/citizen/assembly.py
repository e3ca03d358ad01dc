"""What the consumer gateway asks the citizen's tables: devices that are revoked, proofs that were used, relations."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen.bindings import DeviceBindings, UsedStatements
from gateway.citizen.devices import Devices
from gateway.citizen.notices import Notices
from gateway.citizen.representation import Relations
from gateway.clock import Clock
from gateway.exchange.citizen_tokens import Bindings
from gateway.exchange.pseudonyms import pseudonym
from gateway.node_keys import NodeKeys
from gateway.settings import GatewaySettings
from trust.identifiers import MemberId, parse_client_id


def citizen_member(settings: GatewaySettings) -> MemberId:
    """The member under which the citizen's tables name persons: the city's app's, else the gateway's owner."""
    return parse_client_id(settings.citizen_client).member if settings.citizen_client else settings.owner_id


def citizen_bindings(engine: AsyncEngine, settings: GatewaySettings, keys: NodeKeys, clock: Clock) -> Bindings | None:
    """The check of bound tokens' proofs; None at a gateway that knows no citizens."""
    key = keys.pseudonym
    if key is None:
        return None
    member = citizen_member(settings)
    devices = Devices(engine, clock, Notices(engine, clock))
    return DeviceBindings(
        UsedStatements(engine, clock), devices, lambda issuer, subject: pseudonym(key, member, issuer, subject)
    )


def citizen_relations(engine: AsyncEngine, settings: GatewaySettings, keys: NodeKeys, clock: Clock) -> Relations | None:
    """Who may act for whom; None at a gateway that knows no citizens."""
    if keys.pseudonym is None:
        return None
    return Relations(engine, clock, key=keys.pseudonym, member=citizen_member(settings))
