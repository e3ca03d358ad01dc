"""Appointments (ZMS: processes) as a state machine without I/O.

reserved -> (update) -> preconfirmed -> confirmed -> deleted. A reservation lapses after 15 minutes, a
preconfirmation after 60; a lapsed one frees its slot. Cancelling works from reserved on, until the appointment's
time.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from adapters.ozg.sandbox.errors import ZMSError
from adapters.ozg.sandbox.offices import (
    ACTIVATION_MINUTES,
    APPOINTMENTS_PER_MAIL,
    LOCAL_TIME,
    OFFICES,
    RESERVATION_MINUTES,
    SERVICES,
    Office,
    Service,
    bookable_days,
    times_of,
)

MAX_PROCESSES: Final = 10_000
_FIRST_ID: Final = 100_001
_HELD: Final = ("reserved", "preconfirmed", "confirmed")


@dataclass(frozen=True, slots=True)
class Process:
    """One appointment."""

    process_id: int
    auth_key: str
    office: Office
    service: Service
    timestamp: int
    status: str
    changed: datetime
    family_name: str = ""
    email: str = ""
    telephone: str = ""
    custom_text: str = ""


class Processes:
    """All appointments. `at` is the time of the request; `new_key` makes an authKey."""

    def __init__(self, new_key: Callable[[], str]) -> None:
        self._processes: dict[int, Process] = {}
        self._new_key = new_key

    def free_times(self, office: Office, at: datetime) -> dict[str, list[int]]:
        """Free times by day, within the bookable days."""
        first, last = bookable_days(at)
        held = self._held(office, at)
        days: dict[str, list[int]] = {}
        for offset in range((last - first).days + 1):
            day = first + timedelta(days=offset)
            free = [timestamp for timestamp in times_of(office, day) if timestamp not in held]
            if free:
                days[day.isoformat()] = free
        return days

    def reserve(self, office_id: int, service_id: int, timestamp: int, at: datetime) -> Process:
        """Holds a free slot. Raises ZMSError, also when somebody else holds it."""
        office, service = self.offer(office_id, service_id)
        day = datetime.fromtimestamp(timestamp, LOCAL_TIME).date()
        first, last = bookable_days(at)
        if not first <= day <= last or timestamp not in times_of(office, day) or timestamp in self._held(office, at):
            raise ZMSError("appointmentNotAvailable")
        if len(self._processes) >= MAX_PROCESSES:
            raise ZMSError("appointmentNotAvailable")
        process_id = _FIRST_ID + len(self._processes)
        return self._put(Process(process_id, self._new_key(), office, service, timestamp, "reserved", at))

    def offer(self, office_id: int, service_id: int) -> tuple[Office, Service]:
        """The office and the service, if the one offers the other. Raises ZMSError."""
        office, service = OFFICES.get(office_id), SERVICES.get(service_id)
        if office is None:
            raise ZMSError("invalidOfficeId")
        if service is None:
            raise ZMSError("invalidServiceId")
        if service_id not in office.service_ids:
            raise ZMSError("invalidLocationAndServiceCombination")
        return office, service

    def get(self, process_id: int, auth_key: str, at: datetime) -> Process:
        """The appointment, if the key is its own. A lapsed one reads as deleted. Raises ZMSError."""
        process = self._processes.get(process_id)
        if process is None:
            raise ZMSError("appointmentNotFound")
        if not hmac.compare_digest(process.auth_key.encode(), auth_key.encode()):
            raise ZMSError("authKeyMismatch")
        return replace(process, status="deleted") if _lapsed(process, at) else process

    def update(
        self,
        process_id: int,
        auth_key: str,
        *,
        family_name: str,
        email: str,
        telephone: str,
        custom_text: str,
        at: datetime,
    ) -> Process:
        """Who comes; only while reserved."""
        process = self._require(process_id, auth_key, "reserved", at)
        if not email:
            raise ZMSError("emailIsRequired")
        same_mail = [
            other
            for other in self._processes.values()
            if other.email == email and other.process_id != process_id and _holds(other, at)
        ]
        if len(same_mail) >= APPOINTMENTS_PER_MAIL:
            raise ZMSError("tooManyAppointmentsWithSameMail")
        return self._put(
            replace(process, family_name=family_name, email=email, telephone=telephone, custom_text=custom_text)
        )

    def preconfirm(self, process_id: int, auth_key: str, at: datetime) -> Process:
        """reserved -> preconfirmed."""
        process = self._require(process_id, auth_key, "reserved", at)
        if not process.email:
            raise ZMSError("emailIsRequired")
        return self._put(replace(process, status="preconfirmed", changed=at))

    def confirm(self, process_id: int, auth_key: str, at: datetime) -> Process:
        """preconfirmed -> confirmed."""
        process = self._require(process_id, auth_key, "preconfirmed", at)
        return self._put(replace(process, status="confirmed", changed=at))

    def cancel(self, process_id: int, auth_key: str, at: datetime) -> Process:
        """To deleted, while the slot is held and its time has not come."""
        process = self.get(process_id, auth_key, at)
        if not _holds(process, at) or process.timestamp <= at.timestamp():
            raise ZMSError("appointmentCanNotBeCanceled")
        return self._put(replace(process, status="deleted", changed=at))

    def _require(self, process_id: int, auth_key: str, status: str, at: datetime) -> Process:
        self.get(process_id, auth_key, at)
        process = self._processes[process_id]
        if process.status != status:
            raise ZMSError("processNotReservedAnymore" if status == "reserved" else "processNotPreconfirmedAnymore")
        if _lapsed(process, at):
            raise ZMSError("processNotReservedAnymore" if status == "reserved" else "preconfirmationExpired")
        return process

    def _held(self, office: Office, at: datetime) -> set[int]:
        return {
            process.timestamp
            for process in self._processes.values()
            if process.office is office and _holds(process, at)
        }

    def _put(self, process: Process) -> Process:
        self._processes[process.process_id] = process
        return process


def _holds(process: Process, at: datetime) -> bool:
    return process.status in _HELD and not _lapsed(process, at)


def _lapsed(process: Process, at: datetime) -> bool:
    match process.status:
        case "reserved":
            return at - process.changed >= timedelta(minutes=RESERVATION_MINUTES)
        case "preconfirmed":
            return at - process.changed >= timedelta(minutes=ACTIVATION_MINUTES)
        case _:
            return False
