"""All accesses to a citizen's data in a month, from every log that may hold one: our own gateway's and each
provider's.

The log holder is the source, asked live; nothing is stored here (the rule of the German Datenschutzcockpit and the
Estonian Data Tracker). One exchange stands in two logs and is shown once, with both named; what one log says twice is
shown twice. Every proof is checked before an entry is shown; a log whose proofs don't hold, or that isn't the log of
who was asked, is named, never silently left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from audit.errors import LogUnavailable
from gateway.citizen.access import ACCESSES, OWN_LOG, Access, merge_accesses, read_access
from gateway.citizen.bundles import BundleBroken, VerifiedBundle, verify_bundle
from gateway.citizen.errors import LevelTooLow, RoadDown
from gateway.citizen.notice_accesses import tell_of_accesses
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen
from gateway.logging import describe_error, get_logger
from gateway.messages.headers import IdentityLevel
from trust.identifiers import ServiceId, SubsystemId, parse_service_id

# The list says as much about a person as the data itself; the providers ask for this level too.
REQUIRED_LEVEL: Final = IdentityLevel.SUBSTANTIAL
_MONTH: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
_DAY: Final = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
# Records are kept two years (DESIGN section 8).
_MONTHS_KEPT: Final = 24
# Of one request: a look at a year must not take the road from everybody else.
MONTHS_AT_ONCE: Final = 3
_log = get_logger()


def is_month(text: str) -> bool:
    """Whether `text` names a month as `2026-11`."""
    return _MONTH.fullmatch(text) is not None


def months_before(at: datetime) -> tuple[str, ...]:
    """The months of which records exist, this one first."""
    count = at.year * 12 + at.month - 1
    return tuple(f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(count, count - _MONTHS_KEPT, -1))


@dataclass(frozen=True, slots=True)
class WithheldDay:
    """How many accesses to anybody's data a log withholds on a day, as the law demands; whose isn't told."""

    day: str
    accesses: int


@dataclass(frozen=True, slots=True)
class Source:
    """A log that was asked. `name` is empty for our own gateway; `broken` names the proof that doesn't hold.

    `key` is its name in addresses. Our own log is asked once for each pseudonym; `calls_to` is the institution whose
    pseudonym it was, or empty.
    """

    key: str
    name: str = ""
    provider: str = ""
    calls_to: str = ""
    reachable: bool = True
    entries: int = 0
    unsealed: int = 0
    broken: str = ""
    bundle: Mapping[str, Any] | None = None
    withheld: tuple[WithheldDay, ...] = ()

    @property
    def origin(self) -> str:
        """The log's name, once its proofs hold."""
        return "" if self.bundle is None or self.broken else str(self.bundle["origin"])


@dataclass(frozen=True, slots=True)
class AccessView:
    """A month as the citizen sees it."""

    month: str
    sources: tuple[Source, ...]
    accesses: tuple[Access, ...]

    @property
    def unreachable(self) -> tuple[Source, ...]:
        return tuple(source for source in self.sources if not source.reachable)

    @property
    def withheld(self) -> tuple[Source, ...]:
        """The logs that withhold something, each once: our own one says it under each pseudonym."""
        return tuple(source for source in self.sources if source.withheld and not source.calls_to)

    @property
    def logs_asked(self) -> int:
        """How many gateways were asked: our own counts once, however many pseudonyms its log was read under."""
        return sum(1 for source in self.sources if not source.calls_to)

    def find(self, key: str) -> Access | None:
        """The access with this key."""
        return next((access for access in self.accesses if access.key == key), None)

    def as_json(self) -> dict[str, Any]:
        """The API's form: the accesses read, and the logs' bundles to check them by."""
        return {
            "month": self.month,
            "accesses": [access.as_json() for access in self.accesses],
            "sources": [
                {
                    "key": source.key,
                    "name": source.name or None,
                    "provider": source.provider or None,
                    "callsTo": source.calls_to or None,
                    "reachable": source.reachable,
                    "entriesVerified": 0 if source.broken else source.entries,
                    "entriesNotYetSealed": source.unsealed,
                    "withheld": [{"day": day.day, "accesses": day.accesses} for day in source.withheld],
                    "broken": source.broken or None,
                    "bundle": source.bundle,
                }
                for source in self.sources
            ],
        }


async def load_months(citizen: Citizen, session: Session, months: Iterable[str]) -> list[AccessView]:
    """Several months in their order, a few at a time. Raises as `load_accesses` does."""
    places = asyncio.Semaphore(MONTHS_AT_ONCE)

    async def load(month: str) -> AccessView:
        async with places:
            return await load_accesses(citizen, session, month)

    return list(await asyncio.gather(*map(load, months)))


async def load_accesses(
    citizen: Citizen, session: Session, month: str, *, seen: int = 0, only: Collection[str] = ()
) -> AccessView:
    """Asks every log at once and checks what they say. Raises NotLoggedIn, LevelTooLow, TooManyAttempts.

    `seen`: a log's size at an earlier visit, which the bundles then prove to be continued. `only`: the keys of the logs
    to ask, all if there are none.
    """
    if session.level < REQUIRED_LEVEL:
        raise LevelTooLow(REQUIRED_LEVEL.word)
    # Each month asks every institution: it counts by itself, whatever it is asked for together with.
    citizen.count_request(citizen.person(session.own))
    token = session.road_token(now_ms=citizen.context.clock.now_ms())
    acting = None if session.representing is None else session.representing.reference
    purposes = citizen.context.settings.purposes
    names = {purpose.service.provider: purpose.provider_name for purpose in purposes}
    own, *others = await asyncio.gather(
        _own(citizen, session, month, seen, only),
        *(
            # Whom the application doesn't use itself goes by the identifier: a name of their own choice proves nothing.
            _provider(citizen, keeper, names.get(keeper, keeper.encoded), token, month, seen=seen, representing=acting)
            for keeper in await _providers(citizen, session)
            if not only or keeper.encoded in only
        ),
    )
    answers = [answer for asked in (own, *others) for answer in asked]
    known = {provider.encoded: name for provider, name in names.items()}
    newest_first = sorted(_each_once(answers, known), key=lambda access: (-access.time_ms, access.message_id))
    await tell_of_accesses(citizen, citizen.person(session), newest_first)
    return AccessView(month, tuple(source for source, _ in answers), tuple(newest_first))


async def _providers(citizen: Citizen, session: Session) -> tuple[SubsystemId, ...]:
    """Whose logs may hold accesses: the providers of our purposes, and those of what the citizen gave to others."""
    providers = dict.fromkeys(citizen.context.settings.providers)
    for consent in await citizen.consents.of(session):
        provider = parse_service_id(consent.service).provider
        if consent.subject and isinstance(provider, SubsystemId):
            providers.setdefault(provider)
    return tuple(providers)


_Answer = tuple[Source, VerifiedBundle | None]


async def _own(citizen: Citizen, session: Session, month: str, seen: int, only: Collection[str]) -> list[_Answer]:
    context = citizen.context
    # Our gateway's leaves are under the city's pseudonym of the person where the client sent the citizen's token, and
    # under the provider's where it named the person itself.
    places = {context.person(session.issuer, session.subject): Source(OWN_LOG)}
    for purpose in context.settings.purposes:
        member = purpose.service.provider.member
        there = context.pseudonym_at(member, session.issuer, session.subject)
        places.setdefault(there, Source(f"{OWN_LOG}:{member.encoded}", calls_to=purpose.provider_name))
    asked = {pseudonym: source for pseudonym, source in places.items() if not only or source.key in only}
    unreachable: list[_Answer] = [
        (replace(source, reachable=False), None) for source in asked.values() if not source.calls_to
    ]
    if context.own_log is None:
        return unreachable
    try:
        bundles = await asyncio.gather(*(context.own_log.read(pseudonym, month, seen=seen) for pseudonym in asked))
    except LogUnavailable as error:
        # A first start, or a new year's log: nothing of it is shown before the witnesses have confirmed it.
        _log.warning("the gateway's own access log can not be shown", **describe_error(error))
        return unreachable
    return [
        await _checked(citizen, replace(source, bundle=bundle), month)
        for source, bundle in zip(asked.values(), bundles, strict=True)
        if bundle is not None or not source.calls_to
    ]


async def _provider(
    citizen: Citizen,
    provider: SubsystemId,
    name: str,
    token: str,
    month: str,
    *,
    seen: int,
    representing: str | None,
) -> list[_Answer]:
    asked = Source(provider.encoded, name, provider.encoded)
    try:
        query = {"month": month} | ({"seen": str(seen)} if seen else {})
        service = ServiceId(provider, ACCESSES)
        answer = await citizen.road.call("GET", service, query=query, token=token, representing=representing)
    except RoadDown:
        return [(replace(asked, reachable=False), None)]
    if not answer.good or not isinstance(answer.data, dict):
        return [(replace(asked, reachable=False), None)]
    return [await _checked(citizen, replace(asked, bundle=answer.data), month, provider)]


async def _checked(citizen: Citizen, source: Source, month: str, provider: SubsystemId | None = None) -> _Answer:
    if source.bundle is None:
        return source, None
    try:
        # A month of ten thousand accesses takes seconds: exchanges go on meanwhile.
        keys = citizen.context.log_keys
        verified = await asyncio.to_thread(verify_bundle, source.bundle, month=month, log_keys=keys)
        # A good log, but is it the log of the institution that was asked?
        if provider is not None and not citizen.context.keeps_log(provider, verified.origin):
            raise BundleBroken("origin")
    except BundleBroken as error:
        return replace(source, broken=error.reason), None
    withheld = _withheld(source.bundle.get("withheld"))
    return replace(source, entries=verified.entries, unsealed=verified.unsealed, withheld=withheld), verified


def _withheld(stated: object) -> tuple[WithheldDay, ...]:
    """The log's own count of what it withholds: no proof comes with it, so it is only read."""
    days = stated[:31] if isinstance(stated, list) else []
    return tuple(
        WithheldDay(day["day"], day["accesses"])
        for day in days
        if isinstance(day, dict)
        and isinstance(day.get("day"), str)
        and _DAY.fullmatch(day["day"])
        and type(day.get("accesses")) is int
        and day["accesses"] > 0
    )


def _each_once(answers: Sequence[_Answer], names: Mapping[str, str]) -> list[Access]:
    """All accesses. Records of different sources about one exchange become one; those of one source never do."""
    shown: list[Access] = []
    for source, verified in answers:
        if verified is None:
            continue
        elsewhere: dict[tuple[str, str], list[int]] = {}
        for position, access in enumerate(shown):
            if access.request_digest:
                elsewhere.setdefault(access.exchange, []).append(position)
        for record in verified.records:
            access = read_access(
                record.content, names, key=record.key, time_ms=record.time_ms, log=source.key, recorded_by=source.name
            )
            if same := elsewhere.get(access.exchange):
                # Taken out, so that this source's next record of it stands by itself.
                position = same.pop(0)
                shown[position] = merge_accesses(shown[position], access)
            else:
                shown.append(access)
    return shown
