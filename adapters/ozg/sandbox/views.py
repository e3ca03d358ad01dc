"""The citizen API's answers: JSON of the schemas office, service, availableCalendar and thinnedProcess."""

from __future__ import annotations

from datetime import UTC, datetime

from adapters.ozg.sandbox.offices import (
    ACTIVATION_MINUTES,
    APPOINTMENTS_PER_MAIL,
    OFFICES,
    RESERVATION_MINUTES,
    SERVICES,
    Office,
)
from adapters.ozg.sandbox.processes import Process

JSON = dict[str, object]


def catalogue() -> JSON:
    """officeServiceAndRelationList."""
    return {
        "offices": [_office(office) for office in OFFICES.values()],
        "services": [
            {"id": service.service_id, "name": service.name, "maxQuantity": 1, "combinable": [], "public": True}
            for service in SERVICES.values()
        ],
        "relations": [
            {"officeId": office.office_id, "serviceId": service_id, "slots": 1}
            for office in OFFICES.values()
            for service_id in office.service_ids
        ],
    }


def calendar(start: str, end: str, free: dict[int, dict[str, list[int]]]) -> JSON:
    """availableCalendar for free times by office and day."""
    days = sorted({day for by_day in free.values() for day in by_day})
    within = [day for day in days if start <= day <= end]
    return {
        "startDate": start,
        "endDate": end,
        "prevBookableDate": max((day for day in days if day < start), default=None),
        "nextBookableDate": min((day for day in days if day > end), default=None),
        "availableDays": [
            {
                "date": day,
                "providerIDs": ",".join(str(office_id) for office_id, by_day in free.items() if day in by_day),
                "offices": [
                    {"officeId": str(office_id), "appointments": by_day[day]}
                    for office_id, by_day in free.items()
                    if day in by_day
                ],
            }
            for day in within
        ],
    }


def process(found: Process) -> JSON:
    """thinnedProcess."""
    return {
        "processId": found.process_id,
        "authKey": found.auth_key,
        "timestamp": str(found.timestamp),
        "familyName": found.family_name,
        "customTextfield": found.custom_text,
        "email": found.email,
        "telephone": found.telephone,
        "officeName": found.office.name,
        "officeId": found.office.office_id,
        "scope": _scope(found.office),
        "status": found.status,
        "subRequestCounts": [],
        "serviceId": found.service.service_id,
        "serviceName": found.service.name,
        "serviceCount": 1,
        "slotCount": 1,
        "displayNumber": str(found.process_id),
        "icsContent": _calendar_file(found) if found.status == "confirmed" else None,
    }


def _office(office: Office) -> JSON:
    return {
        "id": office.office_id,
        "name": office.name,
        "address": {
            "street": office.street,
            "house_number": office.house_number,
            "postal_code": "00471",
            "city": "Musterstadt",
        },
        "geo": {"lat": office.latitude, "lon": office.longitude},
        "slotTimeInMinutes": office.slot_minutes,
        "organization": "Stadt Musterstadt",
        "scope": _scope(office),
        "slotsPerAppointment": "1",
    }


def _scope(office: Office) -> JSON:
    return {
        "id": office.office_id,
        "shortName": office.name,
        "emailRequired": True,
        "telephoneActivated": True,
        "telephoneRequired": False,
        "customTextfieldActivated": True,
        "customTextfieldRequired": False,
        "customTextfieldLabel": "Nachweise",
        "captchaActivatedRequired": False,
        "slotsPerAppointment": "1",
        "appointmentsPerMail": str(APPOINTMENTS_PER_MAIL),
        "reservationDuration": RESERVATION_MINUTES,
        "activationDuration": ACTIVATION_MINUTES,
    }


def _calendar_file(found: Process) -> str:
    """RFC 5545."""
    start = datetime.fromtimestamp(found.timestamp, UTC)
    stamp = found.changed.astimezone(UTC)
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Musterstadt//Termine//DE",
        "BEGIN:VEVENT",
        f"UID:{found.process_id}@termine.musterstadt.example",
        f"DTSTAMP:{stamp:%Y%m%dT%H%M%SZ}",
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}",
        f"DURATION:PT{found.office.slot_minutes}M",
        f"SUMMARY:{found.service.name}",
        f"LOCATION:{found.office.name}",
        "END:VEVENT",
        "END:VCALENDAR",
    )
    return "\r\n".join(lines) + "\r\n"
