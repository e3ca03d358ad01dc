"""The offices of Musterstadt, what they offer, and when: all invented, the times computed from the calendar. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

LOCAL_TIME: Final = ZoneInfo("Europe/Berlin")
DAYS_AHEAD: Final = 60
RESERVATION_MINUTES: Final = 15
ACTIVATION_MINUTES: Final = 60
APPOINTMENTS_PER_MAIL: Final = 3
_SATURDAY: Final = 5
_THURSDAY: Final = 3


@dataclass(frozen=True, slots=True)
class Office:
    """An office (ZMS: provider) with its single scope."""

    office_id: int
    name: str
    street: str
    house_number: str
    latitude: float
    longitude: float
    slot_minutes: int
    service_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """What one can come for."""

    service_id: int
    name: str


SERVICES: Final = {
    service.service_id: service
    for service in (
        Service(1063441, "Personalausweis beantragen"),
        Service(1063453, "Reisepass beantragen"),
        Service(1063475, "Wohnsitz anmelden"),
        Service(1080582, "Kfz-Zulassung"),
    )
}

OFFICES: Final = {
    office.office_id: office
    for office in (
        Office(102522, "Bürgeramt Mitte", "Rathausplatz", "1", 51.5, 9.5, 15, (1063441, 1063453, 1063475)),
        Office(102523, "Bürgeramt Süd", "Gartenstraße", "44", 51.47, 9.52, 20, (1063441, 1063475)),
        Office(102530, "Zulassungsstelle", "Industrieweg", "9", 51.52, 9.46, 30, (1080582,)),
    )
}


def times_of(office: Office, day: date) -> tuple[int, ...]:
    """The office's appointment times on a day (epoch seconds): weekdays 8 to 12, Thursdays also 14 to 18, local time.

    Two in five are taken by others; which, depends only on office and time.
    """
    if day.weekday() >= _SATURDAY:
        return ()
    blocks = [(8, 12), (14, 18)] if day.weekday() == _THURSDAY else [(8, 12)]
    found = []
    for first, last in blocks:
        start = datetime.combine(day, time(first), LOCAL_TIME)
        step = timedelta(minutes=office.slot_minutes)
        for number in range((last - first) * 60 // office.slot_minutes):
            timestamp = int((start + number * step).timestamp())
            if not _taken_by_others(office, timestamp):
                found.append(timestamp)
    return tuple(found)


def bookable_days(at: datetime) -> tuple[date, date]:
    """First and last day that can be booked now: tomorrow to 60 days ahead."""
    today = at.astimezone(LOCAL_TIME).date()
    return today + timedelta(days=1), today + timedelta(days=DAYS_AHEAD)


def _taken_by_others(office: Office, timestamp: int) -> bool:
    digest = hashlib.sha256(f"{office.office_id}/{timestamp}".encode()).digest()
    return digest[0] % 5 < 2
