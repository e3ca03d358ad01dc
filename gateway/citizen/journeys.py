"""How the pages lead through a service: its operations as forms, and which form follows from an answer.

Each journey is a table of actions, written against the published descriptions of the services (bank: NextGenPSD2
linking; utility: bills; authority: appointments). An answer's texts stay data: what follows only takes identifiers
and choices from it, bounded, and the service checks them again. A new service kind is a new table; the pages know
none of them by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from gateway.citizen.errors import InvalidRequest, UnknownThing
from gateway.citizen.explain import readable_moment
from gateway.citizen.purposes import Journey

_MAX_CHOICES: Final = 60
_MAX_VALUE: Final = 500
_NOT_BY_TYPING: Final = frozenset({404, 409, 410, 429})


class Place(StrEnum):
    """Where a field's value goes."""

    BODY = "body"
    PATH = "path"
    QUERY = "query"
    # Kept for the next form, not sent.
    CARRIED = "carried"


@dataclass(frozen=True, slots=True)
class FormField:
    """One value that the citizen gives. `kind` is an HTML input type; `label` a key of `texts`.

    `chosen`: one of those that an answer offered, not typed.
    """

    name: str
    kind: str = "text"
    place: Place = Place.BODY
    required: bool = True
    maximum: int = 100
    autocomplete: str = "off"
    whole_number: bool = False
    chosen: bool = False

    @property
    def label(self) -> str:
        return f"field_{self.name}"

    @property
    def secret(self) -> bool:
        """Whether what was typed is never shown again."""
        return self.kind == "password" or self.autocomplete == "one-time-code"


@dataclass(frozen=True, slots=True)
class Action:
    """One operation of a service. `path` segments in braces are filled from the fields of that name."""

    key: str
    method: str
    path: tuple[str, ...]
    fields: tuple[FormField, ...] = ()
    entry: bool = True

    @property
    def label(self) -> str:
        return f"action_{self.key}"

    def build(self, form: Mapping[str, str]) -> BuiltCall:
        """The call that a form's values make. Raises InvalidRequest naming the field."""
        body: dict[str, Any] = {}
        query: dict[str, str] = {}
        places: dict[str, str] = {}
        for item in self.fields:
            value = form.get(item.name, "")
            # Passwords are taken as typed; everything else without the blanks that phones add.
            value = value if item.kind == "password" else value.strip()
            if not value and not item.required:
                continue
            if not 0 < len(value) <= item.maximum:
                raise InvalidRequest(item.name)
            match item.place:
                case Place.BODY:
                    body[item.name] = _whole(item.name, value) if item.whole_number else value
                case Place.QUERY:
                    query[item.name] = value
                case Place.PATH:
                    places[item.name] = value
                case Place.CARRIED:
                    pass
        path = tuple(places[part[1:-1]] if part.startswith("{") else part for part in self.path)
        return BuiltCall(self.method, path, query, json.dumps(body).encode() if body else None)


@dataclass(frozen=True, slots=True)
class BuiltCall:
    """A call, ready for the road."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, with the institution's own name for it."""

    value: str
    text: str


@dataclass(frozen=True, slots=True)
class NextForm:
    """A form that follows from an answer, with what the answer already says."""

    action: Action
    values: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[Choice, ...]] = field(default_factory=dict)


_LINK_ID: Final = FormField("linkId", "hidden", Place.PATH)

_BANK: Final = (
    Action("balance", "GET", ("balance",)),
    Action("accounts", "GET", ("accounts",)),
    Action("bank_link", "POST", ("link",), (FormField("psuId", maximum=64), FormField("password", "password"))),
    Action(
        "bank_method",
        "PUT",
        ("link", "{linkId}"),
        (_LINK_ID, FormField("authenticationMethodId", chosen=True)),
        entry=False,
    ),
    Action(
        "bank_tan",
        "PUT",
        ("link", "{linkId}"),
        (_LINK_ID, FormField("scaAuthenticationData", maximum=12, autocomplete="one-time-code")),
        entry=False,
    ),
    Action("bank_unlink", "DELETE", ("link",)),
)

_INVOICE: Final = FormField("invoiceNumber", place=Place.PATH, chosen=True)

_UTILITY: Final = (
    Action("bills", "GET", ("bills",)),
    Action("bill", "GET", ("bills", "{invoiceNumber}"), (_INVOICE,), entry=False),
    Action("utility_link", "POST", ("link",), (FormField("customerNumber"), FormField("meterNumber"))),
    Action("utility_unlink", "DELETE", ("link",)),
)

_OFFICE: Final = FormField("officeId", "hidden", whole_number=True)
_SERVICE: Final = FormField("serviceId", "hidden", whole_number=True)

_APPOINTMENTS: Final = (
    Action("offices", "GET", ("offices",)),
    Action(
        "office_services", "GET", ("services",), (FormField("officeId", place=Place.CARRIED, chosen=True),), entry=False
    ),
    Action(
        "slots",
        "GET",
        ("slots",),
        (
            FormField("officeId", "hidden", Place.QUERY),
            FormField("serviceId", place=Place.QUERY, chosen=True),
            FormField("from", "date", Place.QUERY, required=False),
            FormField("to", "date", Place.QUERY, required=False),
        ),
        entry=False,
    ),
    Action(
        "book",
        "POST",
        ("appointments",),
        (
            _OFFICE,
            _SERVICE,
            FormField("timestamp", whole_number=True, chosen=True),
            FormField("familyName", autocomplete="name"),
            FormField("email", "email", maximum=254, autocomplete="email"),
        ),
        entry=False,
    ),
    Action("appointments", "GET", ("appointments",)),
    Action(
        "cancel",
        "DELETE",
        ("appointments", "{processId}"),
        (FormField("processId", place=Place.PATH, chosen=True),),
        entry=False,
    ),
)

_ACTIONS: Final[Mapping[Journey, tuple[Action, ...]]] = {
    Journey.BANK: _BANK,
    Journey.UTILITY: _UTILITY,
    Journey.APPOINTMENTS: _APPOINTMENTS,
    Journey.PLAIN: (Action("read", "GET", ()),),
}


def actions_of(journey: Journey) -> tuple[Action, ...]:
    """All actions of a journey; those with `entry` are offered from the start."""
    return _ACTIONS[journey]


def find_action(journey: Journey, key: str) -> Action:
    """One action. Raises UnknownThing."""
    for action in _ACTIONS[journey]:
        if action.key == key:
            return action
    raise UnknownThing(key)


def next_forms(journey: Journey, action: Action, form: Mapping[str, str], data: Any) -> tuple[NextForm, ...]:
    """The forms that follow from a good answer to `action`, which was sent with `form`."""
    if not isinstance(data, dict):
        return ()
    follow = _FOLLOW.get((journey, action.key))
    return () if follow is None else follow(form, data)


def same_form(action: Action, form: Mapping[str, str], status: int) -> tuple[NextForm, ...]:
    """The form of a step that was refused for what was typed into it, to be corrected where the citizen is.

    Without it they would begin the whole way anew. What was chosen stays as it was, secrets are asked for again.
    Nothing where the page offers the form anyhow, where nothing was typed, or where a correction wouldn't help:
    what was chosen is gone, or the institution is to be left alone for a while.
    """
    if action.entry or not 400 <= status < 500 or status in _NOT_BY_TYPING:
        return ()
    if not any(not item.chosen and item.kind != "hidden" for item in action.fields):
        return ()
    kept = tuple(replace(item, kind="hidden") if item.chosen else item for item in action.fields)
    values = {item.name: form.get(item.name, "")[: item.maximum] for item in kept if not item.secret}
    return (NextForm(replace(action, fields=kept), values),)


def _after_bank_link(_: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    link_id = _text(data, "linkId")
    match data.get("state"):
        case "started":
            methods = tuple(
                Choice(_text(method, "authenticationMethodId"), _text(method, "name", "authenticationType"))
                for method in _objects(data, "scaMethods")
            )
            choices = {"authenticationMethodId": methods}
            return (NextForm(find_action(Journey.BANK, "bank_method"), {"linkId": link_id}, choices),)
        case "methodSelected":
            return (NextForm(find_action(Journey.BANK, "bank_tan"), {"linkId": link_id}),)
        case _:
            return (NextForm(find_action(Journey.BANK, "balance")),)


def _after_utility_link(_: Mapping[str, str], __: Mapping[str, Any]) -> tuple[NextForm, ...]:
    return (NextForm(find_action(Journey.UTILITY, "bills")),)


def _after_bills(_: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    choices = tuple(
        Choice(number, f"{number} – {_text(bill, 'rechnungstitel', 'rechnungsdatum')}".rstrip(" –"))
        for bill in _objects(data, "bills")
        if (number := _text(bill, "rechnungsnummer"))
    )
    return (NextForm(find_action(Journey.UTILITY, "bill"), {}, {"invoiceNumber": choices}),) if choices else ()


def _after_offices(_: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    return _choose("office_services", {}, "officeId", _named(data, "offices"))


def _after_office_services(form: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    office = form.get("officeId", "")
    offered = [
        service
        for service in _objects(data, "services")
        if isinstance(offices := service.get("officeIds"), list) and office in map(str, offices)
    ]
    return _choose("slots", {"officeId": office}, "serviceId", _named({"services": offered}, "services"))


def _after_slots(form: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    known = {name: form.get(name, "") for name in ("officeId", "serviceId")}
    slots = tuple(
        Choice(_text(slot, "timestamp"), readable_moment(_text(slot, "start"))) for slot in _objects(data, "slots")
    )
    return _choose("book", known, "timestamp", slots)


def _after_booking(_: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    return _choose("cancel", {}, "processId", (_appointment(data),))


def _after_appointments(_: Mapping[str, str], data: Mapping[str, Any]) -> tuple[NextForm, ...]:
    return _choose("cancel", {}, "processId", tuple(map(_appointment, _objects(data, "appointments"))))


def _choose(action: str, values: Mapping[str, str], name: str, choices: tuple[Choice, ...]) -> tuple[NextForm, ...]:
    """A form of the appointment journey with one choice to make; none where there is nothing to choose from."""
    offered = tuple(choice for choice in choices if choice.value)
    return (NextForm(find_action(Journey.APPOINTMENTS, action), values, {name: offered}),) if offered else ()


def _named(data: Mapping[str, Any], name: str) -> tuple[Choice, ...]:
    return tuple(Choice(_text(item, "id"), _text(item, "name")) for item in _objects(data, name))


def _appointment(data: Mapping[str, Any]) -> Choice:
    return Choice(
        _text(data, "processId"), f"{readable_moment(_text(data, 'start'))} {_text(data, 'serviceName')}".strip()
    )


Follow = Callable[[Mapping[str, str], Mapping[str, Any]], tuple[NextForm, ...]]

_FOLLOW: dict[tuple[Journey, str], Follow] = {
    (Journey.BANK, "bank_link"): _after_bank_link,
    (Journey.BANK, "bank_method"): _after_bank_link,
    (Journey.BANK, "bank_tan"): _after_bank_link,
    (Journey.UTILITY, "utility_link"): _after_utility_link,
    (Journey.UTILITY, "bills"): _after_bills,
    (Journey.APPOINTMENTS, "offices"): _after_offices,
    (Journey.APPOINTMENTS, "office_services"): _after_office_services,
    (Journey.APPOINTMENTS, "slots"): _after_slots,
    (Journey.APPOINTMENTS, "book"): _after_booking,
    (Journey.APPOINTMENTS, "appointments"): _after_appointments,
}


def _objects(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = data.get(name)
    return [item for item in value[:_MAX_CHOICES] if isinstance(item, dict)] if isinstance(value, list) else []


def _text(data: Mapping[str, Any], *names: str) -> str:
    """The first of the fields that holds a text or whole number, bounded; empty without one."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str) or type(value) is int:
            return str(value)[:_MAX_VALUE]
    return ""


def _whole(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 15:
        raise InvalidRequest(name)
    return int(value)
