"""The appointment system's citizen API (ZMS, zmscitizenapi): the calls that the adapter makes.

The controllers answer the bare object with 200; errors are `{errors:[{errorCode,...}]}`. The authKey travels in the
query of GET /appointment/, as the interface demands, so nothing on this side may log URLs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from adapters.kit.backend import BackendAnswer, BackendClient, malformed_answer
from adapters.kit.errors import BackendError
from adapters.kit.fields import Fields
from adapters.kit.problems import BACKEND_REFUSED
from adapters.ozg.model import Appointment, Catalogue, ProcessKey, parse_catalogue, parse_process, parse_slots
from adapters.ozg.problems import NOTHING_FREE, OF_ERROR_CODE


@dataclass(frozen=True, slots=True)
class Booker:
    """Who comes to the appointment; `note` is for the office."""

    family_name: str
    email: str
    telephone: str | None
    note: str | None = None


class AppointmentSystem:
    """Every method raises BackendError when the system fails or refuses."""

    def __init__(self, backend: BackendClient) -> None:
        self._backend = backend

    async def catalogue(self) -> Catalogue:
        """GET /offices-and-services/."""
        return parse_catalogue(await self._get("offices-and-services/"))

    async def slots(self, office_id: int, service_id: int, start: date, end: date) -> tuple[list[int], str | None]:
        """GET /available-calendar/: free times of one office for one service, and the next bookable day."""
        query = {
            "startDate": start.isoformat(),
            "endDate": end.isoformat(),
            "officeIds": str(office_id),
            "serviceIds": str(service_id),
            "serviceCounts": "1",
        }
        try:
            return parse_slots(await self._get("available-calendar/", query), office_id)
        except BackendError as error:
            if error.backend_code in NOTHING_FREE:
                return [], None
            raise

    async def reserve(self, office_id: int, service_id: int, timestamp: int) -> tuple[ProcessKey, Appointment]:
        """POST /reserve-appointment/: holds the slot for a few minutes."""
        body: dict[str, object] = {
            "officeId": office_id,
            "serviceId": [service_id],
            "serviceCount": [1],
            "timestamp": timestamp,
        }
        key, appointment = parse_process(await self._post("reserve-appointment/", body))
        if appointment.timestamp != timestamp or appointment.office_id != office_id:
            raise malformed_answer("timestamp")
        return key, appointment

    async def update(self, key: ProcessKey, booker: Booker) -> Appointment:
        """POST /update-appointment/: who comes."""
        body: dict[str, object] = {**_key_json(key), "familyName": booker.family_name, "email": booker.email}
        if booker.telephone is not None:
            body["telephone"] = booker.telephone
        if booker.note is not None:
            body["customTextfield"] = booker.note
        return await self._act("update-appointment/", key, body)

    async def preconfirm(self, key: ProcessKey) -> Appointment:
        """POST /preconfirm-appointment/."""
        return await self._act("preconfirm-appointment/", key, _key_json(key))

    async def confirm(self, key: ProcessKey) -> Appointment:
        """POST /confirm-appointment/."""
        return await self._act("confirm-appointment/", key, _key_json(key))

    async def cancel(self, key: ProcessKey) -> Appointment:
        """POST /cancel-appointment/."""
        return await self._act("cancel-appointment/", key, _key_json(key))

    async def appointment(self, key: ProcessKey) -> Appointment:
        """GET /appointment/."""
        query = {"processId": str(key.process_id), "authKey": key.auth_key}
        return _require_same(key, await self._get("appointment/", query))

    async def _act(self, path: str, key: ProcessKey, body: Mapping[str, object]) -> Appointment:
        return _require_same(key, await self._post(path, body))

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Fields:
        return _object_of(await self._backend.send("GET", path, query=query))

    async def _post(self, path: str, body: Mapping[str, object]) -> Fields:
        return _object_of(await self._backend.send("POST", path, json_body=body))


def _key_json(key: ProcessKey) -> dict[str, object]:
    return {"processId": key.process_id, "authKey": key.auth_key}


def _require_same(key: ProcessKey, fields: Fields) -> Appointment:
    """The answered appointment, if it is the one asked for."""
    answered, appointment = parse_process(fields)
    if answered.process_id != key.process_id:
        raise malformed_answer("processId")
    return appointment


def _object_of(answer: BackendAnswer) -> Fields:
    fields = answer.json_object()
    if answer.status == 200 and not fields.has("errors"):
        return fields
    for error in fields.objects("errors", maximum=50):
        code = error.text("errorCode", maximum=100)
        if code in OF_ERROR_CODE or code in NOTHING_FREE:
            raise BackendError(OF_ERROR_CODE.get(code, BACKEND_REFUSED), backend_code=code)
    raise BackendError(BACKEND_REFUSED)
