"""Offices, services, slots and appointments as the adapter passes them on, read strictly from ZMS's answers.

ZMS citizen API, schemas office, service, officeServiceRelation, availableCalendar, thinnedProcess. The authKey of an
appointment is a key to cancel it; it has a type of its own so that no answer to a citizen can carry it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from adapters.kit.backend import malformed_answer
from adapters.kit.fields import Fields

LOCAL_TIME: Final = ZoneInfo("Europe/Berlin")
# 4 hexadecimal digits in the old form, 64 in the new one.
_AUTH_KEY: Final = re.compile(r"[0-9a-f]{4}|[0-9a-f]{64}")
_DIGITS: Final = re.compile(r"[0-9]{1,12}")
_STATUSES: Final = frozenset(
    {
        "free",
        "reserved",
        "preconfirmed",
        "confirmed",
        "queued",
        "called",
        "processing",
        "pending",
        "finished",
        "missed",
        "parked",
        "archived",
        "deleted",
        "anonymized",
        "blocked",
        "conflict",
    }
)


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """What acts on an appointment: its number and its authKey."""

    process_id: int
    auth_key: str

    def __repr__(self) -> str:
        return f"ProcessKey(process_id={self.process_id})"


@dataclass(frozen=True, slots=True)
class Appointment:
    """An appointment as a citizen may see it."""

    process_id: int
    status: str
    timestamp: int
    office_id: int
    office_name: str | None
    service_id: int
    service_name: str | None
    display_number: str | None

    def as_json(self) -> dict[str, object]:
        """As the gateway's side sees it. The calendar file is left out: real servers put the authKey into it."""
        result: dict[str, object] = {
            "processId": self.process_id,
            "status": self.status,
            "timestamp": self.timestamp,
            "start": local_time(self.timestamp),
            "officeId": self.office_id,
            "serviceId": self.service_id,
        }
        optional = {
            "officeName": self.office_name,
            "serviceName": self.service_name,
            "displayNumber": self.display_number,
        }
        return result | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What can be booked where."""

    offices: tuple[dict[str, object], ...]
    services: tuple[dict[str, object], ...]


def local_time(timestamp: int) -> str:
    """Epoch seconds as local time with its offset."""
    return datetime.fromtimestamp(timestamp, UTC).astimezone(LOCAL_TIME).isoformat()


def parse_process(fields: Fields) -> tuple[ProcessKey, Appointment]:
    """A thinnedProcess. Raises BackendError."""
    status = fields.text("status")
    if status not in _STATUSES:
        raise malformed_answer("status")
    process_id = fields.integer("processId", minimum=1)
    appointment = Appointment(
        process_id=process_id,
        status=status,
        timestamp=int(fields.text("timestamp", pattern=_DIGITS)),
        office_id=fields.integer("officeId", minimum=1),
        office_name=fields.optional_text("officeName"),
        service_id=fields.integer("serviceId", minimum=1),
        service_name=fields.optional_text("serviceName"),
        display_number=fields.optional_text("displayNumber", maximum=64),
    )
    return ProcessKey(process_id, fields.text("authKey", pattern=_AUTH_KEY)), appointment


def parse_catalogue(fields: Fields) -> Catalogue:
    """officeServiceAndRelationList: each service with the offices that offer it. Raises BackendError."""
    offered: dict[int, list[int]] = {}
    for relation in fields.objects("relations", maximum=20_000):
        offered.setdefault(relation.integer("serviceId"), []).append(relation.integer("officeId"))
    offices = tuple(_parse_office(office) for office in fields.objects("offices", maximum=2000))
    services = []
    for service in fields.objects("services", maximum=5000):
        service_id = service.integer("id")
        name = service.text("name")
        services.append({"id": service_id, "name": name, "officeIds": sorted(offered.get(service_id, []))})
    return Catalogue(offices, tuple(services))


def _parse_office(fields: Fields) -> dict[str, object]:
    office: dict[str, object] = {"id": fields.integer("id"), "name": fields.text("name")}
    if fields.has("address"):
        address = fields.object("address")
        names = {
            "street": "street",
            "house_number": "houseNumber",
            "postal_code": "postalCode",
            "city": "city",
        }
        office["address"] = {
            ours: value for theirs, ours in names.items() if (value := address.optional_text(theirs)) is not None
        }
    return office


def parse_slots(fields: Fields, office_id: int) -> tuple[list[int], str | None]:
    """availableCalendar: one office's free times in order, and the next bookable day. Raises BackendError."""
    slots: set[int] = set()
    for day in fields.objects("availableDays", maximum=400):
        for office in day.objects("offices", maximum=2000):
            if office.text("officeId", pattern=_DIGITS) == str(office_id):
                slots.update(office.integers("appointments"))
    next_date = fields.optional_date("nextBookableDate")
    return sorted(slots), None if next_date is None else next_date.isoformat()
