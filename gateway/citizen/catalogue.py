"""The catalogue: what the providers declare about their services, joined with what the city's app wants them for.

Declarations are asked for over the road (`datenwegServices`, one call per provider) and remembered for a minute; a
provider that doesn't answer keeps its last declarations and is named as unreachable. Everything in them is the
institution's text: bounded here, escaped where it is shown.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from gateway.citizen.context import CitizenSettings
from gateway.citizen.errors import RoadDown, UnknownThing
from gateway.citizen.purposes import PurposeDeclaration
from gateway.citizen.road import RoadClient
from gateway.clock import Clock
from gateway.store.model import LegalBasisKind, RequiredIdentityLevel
from trust.identifiers import ServiceId, SubsystemId

SERVICES: Final = "datenwegServices"
_REMEMBER_MS: Final = 60_000
_MAX_SERVICES: Final = 500
_MAX_TEXT: Final = 2_000
_MAX_CATEGORIES: Final = 50


@dataclass(frozen=True, slots=True)
class ServiceDeclaration:
    """A provider's declaration of one service (German and English texts are the provider's own).

    One that isn't `enabled` is registered, but its provider refuses each call.
    """

    code: str
    title_de: str
    title_en: str
    purpose_de: str
    purpose_en: str
    legal_basis_kind: LegalBasisKind
    legal_basis: str
    data_categories: tuple[str, ...]
    identity_level: RequiredIdentityLevel
    enabled: bool

    def title(self, language: str) -> str:
        return (self.title_en if language == "en" else self.title_de) or self.title_de or self.code

    def purpose(self, language: str) -> str:
        return (self.purpose_en if language == "en" else self.purpose_de) or self.purpose_de

    @property
    def needs_consent(self) -> bool:
        return self.legal_basis_kind is LegalBasisKind.CONSENT


@dataclass(frozen=True, slots=True)
class OfferedService:
    """A service that the city's app offers: the recipient's purpose and the provider's declaration."""

    purpose: PurposeDeclaration
    declaration: ServiceDeclaration

    @property
    def key(self) -> str:
        return self.purpose.key

    @property
    def provider(self) -> SubsystemId:
        """Whose service it is. A purpose is about a subsystem's: members themselves offer none."""
        provider = self.purpose.service.provider
        assert isinstance(provider, SubsystemId)
        return provider


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is offered now. `unreachable`: providers of which nothing current is known."""

    services: tuple[OfferedService, ...]
    unreachable: tuple[SubsystemId, ...]

    def find(self, key: str) -> OfferedService:
        """The service under a purpose's key. Raises UnknownThing."""
        for service in self.services:
            if service.key == key:
                return service
        raise UnknownThing(key)


@dataclass(slots=True)
class _Remembered:
    declarations: dict[str, ServiceDeclaration]
    fetched_ms: int
    reachable: bool


class Catalogues:
    """Builds the catalogue. Safe for concurrent use within one event loop."""

    def __init__(self, road: RoadClient, settings: CitizenSettings, clock: Clock) -> None:
        self._road = road
        self._settings = settings
        self._clock = clock
        self._known: dict[SubsystemId, _Remembered] = {}
        self._lock = asyncio.Lock()

    async def current(self) -> Catalogue:
        """The catalogue, at most a minute old where providers answer."""
        async with self._lock:
            now_ms = self._clock.now_ms()
            stale = [
                provider
                for provider in self._settings.providers
                if (known := self._known.get(provider)) is None
                or not known.reachable
                or now_ms - known.fetched_ms >= _REMEMBER_MS
            ]
            await asyncio.gather(*(self._refresh(provider, now_ms) for provider in stale))
        offered = tuple(
            OfferedService(purpose, declaration)
            for purpose in self._settings.purposes
            if (declaration := self._declaration(purpose.service)) is not None
        )
        unreachable = tuple(provider for provider, known in self._known.items() if not known.reachable)
        return Catalogue(offered, unreachable)

    def _declaration(self, service: ServiceId) -> ServiceDeclaration | None:
        provider = service.provider
        known = self._known.get(provider) if isinstance(provider, SubsystemId) else None
        return None if known is None else known.declarations.get(service.service_code)

    async def _refresh(self, provider: SubsystemId, now_ms: int) -> None:
        try:
            answer = await self._road.call("GET", ServiceId(provider, SERVICES))
        except RoadDown:
            answer = None
        if answer is not None and answer.good:
            declarations = parse_declarations(answer.data)
            self._known[provider] = _Remembered({d.code: d for d in declarations}, now_ms, reachable=True)
        elif (known := self._known.get(provider)) is not None:
            known.reachable = False
        else:
            self._known[provider] = _Remembered({}, now_ms, reachable=False)


def parse_declarations(data: object) -> tuple[ServiceDeclaration, ...]:
    """The declarations in a provider's answer: a list, or an object with the list under `services`.

    What is malformed is left out.
    """
    entries = data.get("services") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        return ()
    parsed = (_parse(entry) for entry in entries[:_MAX_SERVICES])
    return tuple(declaration for declaration in parsed if declaration is not None)


def _parse(entry: object) -> ServiceDeclaration | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("code"), str) or not 0 < len(entry["code"]) <= 255:
        return None
    texts = {
        name: entry[name] if isinstance(entry.get(name), str) and len(entry[name]) <= _MAX_TEXT else ""
        for name in ("title_de", "title_en", "purpose_de", "purpose_en", "legal_basis")
    }
    categories = entry.get("data_categories")
    enabled = entry.get("enabled", True)
    if not isinstance(categories, list) or len(categories) > _MAX_CATEGORIES or not isinstance(enabled, bool):
        return None
    try:
        return ServiceDeclaration(
            code=entry["code"],
            title_de=texts["title_de"],
            title_en=texts["title_en"],
            purpose_de=texts["purpose_de"],
            purpose_en=texts["purpose_en"],
            legal_basis=texts["legal_basis"],
            legal_basis_kind=LegalBasisKind(str(entry.get("legal_basis_kind"))),
            data_categories=tuple(category[:200] for category in categories if isinstance(category, str)),
            identity_level=RequiredIdentityLevel(str(entry.get("identity_level"))),
            enabled=enabled,
        )
    except ValueError:
        return None
