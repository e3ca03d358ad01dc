"""All accesses to a citizen's data in a month, from every log that may hold one: our own gateway's and each
provider's.

The log holder is the source, asked live; nothing is stored here (the rule of the German Datenschutzcockpit and the
Estonian Data Tracker, facts: german-interfaces 0). One exchange stands in two logs and is shown once, with both
named; what one log says twice is shown twice. Every proof is checked before an entry is shown; a log whose proofs
don't hold, or that isn't the log of who was asked, is named, never silently left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from gateway.citizen.bundles import BundleBroken, VerifiedBundle, verify_bundle
from gateway.citizen.errors import LevelTooLow, RoadDown
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen
from gateway.messages.headers import IdentityLevel
from trust.identifiers import ServiceId, SubsystemId

ACCESSES: Final = "datenwegAccesses"
# The list says as much about a person as the data itself; the providers ask for this level too.
REQUIRED_LEVEL: Final = IdentityLevel.SUBSTANTIAL
_MONTH: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
# Records are kept two years (DESIGN section 8).
_MONTHS_KEPT: Final = 24
_MAX_TEXT: Final = 2_000
_RESULTS: Final = ("delivered", "denied", "failed")
_BASES: Final = ("consent", "law", "contract", "not_declared")


def is_month(text: str) -> bool:
    """Whether `text` names a month as `2026-11`."""
    return _MONTH.fullmatch(text) is not None


def months_before(at: datetime) -> tuple[str, ...]:
    """The months of which records exist, this one first."""
    count = at.year * 12 + at.month - 1
    return tuple(f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(count, count - _MONTHS_KEPT, -1))


@dataclass(frozen=True, slots=True)
class Access:
    """One exchange that touched the citizen's data. Every text in it is somebody else's."""

    time_ms: int
    request_digest: str
    message_id: str
    request_id: str
    client: str
    provider: str
    service: str
    built_in: str
    titles: Mapping[str, str]
    purposes: Mapping[str, str]
    basis_kind: str
    basis: str
    data_categories: tuple[str, ...]
    consent: str
    result: str
    reason: str
    recorded_by: tuple[str, ...]

    @property
    def time(self) -> str:
        return datetime.fromtimestamp(self.time_ms / 1000, UTC).isoformat(timespec="milliseconds")

    @property
    def exchange(self) -> tuple[str, str]:
        """What two gateways' records of one exchange have in common, and no client can choose.

        The signed request's digest; the service too, so that no institution's record hides in another's.
        """
        return self.request_digest, self.service

    @property
    def denied(self) -> bool:
        return self.result == "denied"

    @property
    def own_look(self) -> bool:
        """Whether the citizen looked into a log: an access too, and one that soon outnumbers all others."""
        return self.built_in == ACCESSES and self.result == "delivered"

    def title(self, language: str) -> str:
        return self.titles.get(language) or self.titles.get("de") or self.service

    def purpose(self, language: str) -> str:
        return self.purposes.get(language) or self.purposes.get("de") or ""


@dataclass(frozen=True, slots=True)
class Source:
    """A log that was asked. `name` is empty for our own gateway; `broken` names the proof that doesn't hold.

    Our own log is asked once for each pseudonym; `calls_to` is the institution whose pseudonym it was, or empty.
    """

    name: str
    provider: str
    calls_to: str
    reachable: bool
    entries: int
    unsealed: int
    broken: str
    bundle: Mapping[str, Any] | None


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
    def logs_asked(self) -> int:
        """How many gateways were asked: our own counts once, however many pseudonyms its log was read under."""
        return sum(1 for source in self.sources if not source.calls_to)

    def as_json(self) -> dict[str, Any]:
        """The API's form: the accesses read, and the logs' bundles to check them by."""
        return {
            "month": self.month,
            "accesses": [_access_json(access) for access in self.accesses],
            "sources": [
                {
                    "name": source.name or None,
                    "provider": source.provider or None,
                    "callsTo": source.calls_to or None,
                    "reachable": source.reachable,
                    "entriesVerified": 0 if source.broken else source.entries,
                    "entriesNotYetSealed": source.unsealed,
                    "broken": source.broken or None,
                    "bundle": source.bundle,
                }
                for source in self.sources
            ],
        }


async def load_accesses(citizen: Citizen, session: Session, month: str, *, seen: int = 0) -> AccessView:
    """Asks every log at once and checks what they say. Raises NotLoggedIn, LevelTooLow.

    `seen`: a log's size at an earlier visit, which the bundles then prove to be continued.
    """
    if session.level < REQUIRED_LEVEL:
        raise LevelTooLow(REQUIRED_LEVEL.word)
    token = session.road_token(now_ms=citizen.context.clock.now_ms())
    settings = citizen.context.settings
    names = {purpose.service.provider: purpose.provider_name for purpose in settings.purposes}
    own, *others = await asyncio.gather(
        _own(citizen, session, month, seen),
        *(_provider(citizen, provider, names[provider], token, month, seen=seen) for provider in settings.providers),
    )
    answers = [answer for asked in (own, *others) for answer in asked]
    newest_first = sorted(_each_once(answers), key=lambda access: (-access.time_ms, access.message_id))
    return AccessView(month, tuple(source for source, _ in answers), tuple(newest_first))


_Answer = tuple[Source, VerifiedBundle | None]


async def _own(citizen: Citizen, session: Session, month: str, seen: int) -> list[_Answer]:
    asked = Source("", "", "", True, 0, 0, "", None)
    context = citizen.context
    if context.own_log is None:
        return [(replace(asked, reachable=False), None)]
    # Our gateway's leaves are under the city's pseudonym of the person where the client sent the citizen's token, and
    # under the provider's where it named the person itself.
    pseudonyms = {context.person(session.issuer, session.subject): ""}
    for purpose in context.settings.purposes:
        there = context.pseudonym_at(purpose.service.provider.member, session.issuer, session.subject)
        pseudonyms.setdefault(there, purpose.provider_name)
    bundles = await asyncio.gather(*(context.own_log.read(pseudonym, month, seen=seen) for pseudonym in pseudonyms))
    return [
        _checked(citizen, replace(asked, calls_to=calls_to, bundle=bundle), month)
        for calls_to, bundle in zip(pseudonyms.values(), bundles, strict=True)
        if bundle is not None or not calls_to
    ]


async def _provider(
    citizen: Citizen, provider: SubsystemId, name: str, token: str, month: str, *, seen: int
) -> list[_Answer]:
    asked = Source(name, provider.encoded, "", True, 0, 0, "", None)
    try:
        query = {"month": month} | ({"seen": str(seen)} if seen else {})
        answer = await citizen.road.call("GET", ServiceId(provider, ACCESSES), query=query, token=token)
    except RoadDown:
        return [(replace(asked, reachable=False), None)]
    if not answer.good or not isinstance(answer.data, dict):
        return [(replace(asked, reachable=False), None)]
    return [_checked(citizen, replace(asked, bundle=answer.data), month, provider)]


def _checked(citizen: Citizen, source: Source, month: str, provider: SubsystemId | None = None) -> _Answer:
    if source.bundle is None:
        return source, None
    try:
        verified = verify_bundle(source.bundle, month=month, log_keys=citizen.context.log_keys)
        # A good log, but is it the log of the institution that was asked?
        if provider is not None and not citizen.context.keeps_log(provider, verified.origin):
            raise BundleBroken("origin")
    except BundleBroken as error:
        return replace(source, broken=error.reason), None
    return replace(source, entries=verified.entries, unsealed=verified.unsealed), verified


def _each_once(answers: Sequence[_Answer]) -> list[Access]:
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
            access = _access(record.time_ms, record.content, source.name)
            if same := elsewhere.get(access.exchange):
                # Taken out, so that this source's next record of it stands by itself.
                position = same.pop(0)
                shown[position] = _merged(shown[position], access)
            else:
                shown.append(access)
    return shown


def _access(time_ms: int, record: Mapping[str, Any], recorded_by: str) -> Access:
    service, basis = _object(record, "service"), _object(record, "legalBasis")
    identifier = _text(service, "id")
    code = identifier.rsplit("/", 1)[-1]
    result, kind = _text(record, "result"), _text(basis, "kind")
    categories = record.get("dataCategories")
    return Access(
        time_ms=time_ms,
        request_digest=_text(record, "requestDigest"),
        message_id=_text(record, "messageId"),
        request_id=_text(record, "requestId"),
        client=_named(record, "client"),
        provider=_named(record, "provider"),
        service=identifier,
        built_in=code if code in ("datenwegAccesses", "datenwegConsent", "datenwegServices") else "",
        titles=_object(service, "title"),
        purposes=_object(record, "purpose"),
        basis_kind=kind if kind in _BASES else "",
        basis=_text(basis, "text"),
        data_categories=tuple(str(c)[:200] for c in categories[:50]) if isinstance(categories, list) else (),
        consent=_text(record, "consent"),
        result=result if result in _RESULTS else "unknown",
        reason=_text(record, "reason"),
        recorded_by=(recorded_by,),
    )


def _merged(first: Access, second: Access) -> Access:
    """One exchange from two logs: the provider's record says more (it has the declaration), both are named."""
    fuller = first if first.titles or first.basis_kind else second
    recorded_by = tuple(dict.fromkeys((*first.recorded_by, *second.recorded_by)))
    return replace(fuller, recorded_by=recorded_by, time_ms=min(first.time_ms, second.time_ms))


def _access_json(access: Access) -> dict[str, Any]:
    return {
        "time": access.time,
        "messageId": access.message_id,
        "requestId": access.request_id,
        "client": access.client,
        "provider": access.provider,
        "service": access.service,
        "title": dict(access.titles),
        "purpose": dict(access.purposes),
        "legalBasis": {"kind": access.basis_kind or None, "text": access.basis or None},
        "dataCategories": list(access.data_categories),
        "consent": access.consent or None,
        "result": access.result,
        "reason": access.reason or None,
        "recordedBy": [name or None for name in access.recorded_by],
    }


def _named(record: Mapping[str, Any], field: str) -> str:
    party = _object(record, field)
    return _text(party, "name") or _text(party, "id")


def _object(record: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = record.get(field)
    return value if isinstance(value, dict) else {}


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    return value[:_MAX_TEXT] if isinstance(value, str) else ""
