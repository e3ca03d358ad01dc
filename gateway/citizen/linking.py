"""How an account becomes linked: which forms lead there, and what an institution's answers mean for the link.

Utility: customer number with meter number, checked by the utility. Bank: its own strong customer authorisation, passed
through step by step (PSD2, embedded: password, method, TAN); what is typed goes to the bank and stays nowhere.
Authority: no account, but who the login proves the citizen to be, at the level that the service asks for.

Whichever way a call goes (pages, API), the answer decides: an account is linked when its institution says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.citizen.catalogue import OfferedService
from gateway.citizen.errors import InvalidRequest, LevelTooLow, UnknownThing
from gateway.citizen.journeys import Action, NextForm, find_action
from gateway.citizen.links import Link
from gateway.citizen.purposes import Journey
from gateway.citizen.road import RoadAnswer
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen
from gateway.messages.headers import IdentityLevel
from gateway.store.model import RequiredIdentityLevel

# The path below a service at which its adapter links accounts.
LINK_PATH: Final = ("link",)
# What an institution's adapter answers when there is no link (any more): as good as one that it ended.
_GONE: Final = (404, 410)
_MAX_LABEL: Final = 100
_NAME_FIELD: Final = "familyName"
# What the authority gets to know of the person by the link, beside the pseudonym.
IDENTITY_ATTRIBUTES: Final = ("name", "level")

_FIRST_STEP: Final[Mapping[Journey, str]] = {Journey.BANK: "bank_link", Journey.UTILITY: "utility_link"}
_STEPS: Final[Mapping[Journey, tuple[str, ...]]] = {
    Journey.BANK: ("bank_link", "bank_method", "bank_tan"),
    Journey.UTILITY: ("utility_link",),
}


@dataclass(frozen=True, slots=True)
class Linkable:
    """A service whose account can be linked. `first` is the form to begin with; None where the login is the proof."""

    service: OfferedService
    first: Action | None
    link: Link | None


async def linkables(citizen: Citizen, session: Session) -> tuple[Linkable, ...]:
    """All services with accounts, each with the citizen's link in force."""
    links = {link.service: link for link in await citizen.links.of(citizen.person(session)) if link.state != "ended"}
    found = []
    for service in (await citizen.catalogues.current()).services:
        journey = service.purpose.journey
        if journey in _FIRST_STEP:
            found.append(Linkable(service, find_action(journey, _FIRST_STEP[journey]), links.get(service.key)))
        elif journey is Journey.APPOINTMENTS and session.representing is None:
            # A login proves who its own citizen is, and nobody else.
            found.append(Linkable(service, None, links.get(service.key)))
    return tuple(found)


async def linkable(citizen: Citizen, session: Session, key: str) -> Linkable:
    """One of them. Raises UnknownThing."""
    for one in await linkables(citizen, session):
        if one.service.key == key:
            return one
    raise UnknownThing(key)


def step_of(service: OfferedService, key: str) -> Action:
    """One step of the way to a link. Raises UnknownThing for every other action."""
    if key not in _STEPS.get(service.purpose.journey, ()):
        raise UnknownThing(key)
    return find_action(service.purpose.journey, key)


async def link_identity(citizen: Citizen, session: Session, service: OfferedService) -> Link:
    """Links the authority's service to the login itself. Raises LevelTooLow, LinkConflict, InvalidRequest."""
    if service.purpose.journey is not Journey.APPOINTMENTS:
        raise InvalidRequest("service")
    required = service.declaration.identity_level
    # A link stands for who somebody is: a login that proves little makes none.
    needed = max(IdentityLevel.from_word(required.value), IdentityLevel.SUBSTANTIAL)
    if session.level < needed:
        raise LevelTooLow(needed.word)
    return await citizen.links.add(
        citizen.person(session),
        service=service.key,
        provider=service.purpose.service.provider.encoded,
        label=session.level.word,
    )


def required_level(service: OfferedService) -> str:
    """The level that a link needs, as a word."""
    required = service.declaration.identity_level
    if service.purpose.journey is Journey.APPOINTMENTS and required in (
        RequiredIdentityLevel.NONE,
        RequiredIdentityLevel.LOW,
    ):
        return IdentityLevel.SUBSTANTIAL.word
    return required.value


async def with_identity(
    citizen: Citizen, session: Session, service: OfferedService, forms: tuple[NextForm, ...]
) -> tuple[NextForm, ...]:
    """The forms, with the name that the login vouches for where the citizen linked the authority to it."""
    if service.purpose.journey is not Journey.APPOINTMENTS or not session.name:
        return forms
    current = await citizen.links.current(citizen.person(session), service.key)
    if current is None or current.state != "linked":
        return forms
    return tuple(replace(form, values={**form.values, _NAME_FIELD: session.name[:_MAX_LABEL]}) for form in forms)


async def follow_answer(
    citizen: Citizen, session: Session, service: OfferedService, answer: RoadAnswer, *, method: str, path: Sequence[str]
) -> None:
    """Keeps the link as the institution's answer to a call has it. Unlinking takes the consents with it."""
    if tuple(path[:1]) != LINK_PATH or service.purpose.journey not in _STEPS:
        return
    person = citizen.person(session)
    if method == "DELETE":
        current = await citizen.links.current(person, service.key)
        if current is None or not is_unlinked(answer):
            return
        if current.state == "linked":
            await citizen.consents.withdraw_all_for(session, service.provider)
        await citizen.links.end(person, current.id)
        return
    if method == "POST" and answer.good:
        # A new link begins at the institution: an old one that it had not ended is over with that.
        current = await citizen.links.current(person, service.key)
        if current is not None and current.state == "ending":
            await citizen.links.end(person, current.id)
    if answer.good and isinstance(answer.data, dict) and answer.data.get("state") == "linked":
        await citizen.links.keep(
            person, service=service.key, provider=service.provider.encoded, label=_label(answer.data)
        )


def is_unlinked(answer: RoadAnswer) -> bool:
    """Whether the institution's answer to `DELETE link` says that there is no link any more."""
    return answer.good or (answer.failure is None and answer.status in _GONE)


def _label(data: Mapping[str, Any]) -> str:
    """What the institution calls the account, where it says so: it masks its own numbers."""
    number = data.get("customerNumber")
    return number[:_MAX_LABEL] if isinstance(number, str) else ""
