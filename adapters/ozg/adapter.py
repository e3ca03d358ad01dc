"""The offices' adapter: offices, services, free times, and a citizen's own appointments.

Booking takes four calls to ZMS: reserve, update, preconfirm, confirm. The appointment's key is stored as soon as the
slot is held, before anything else happens; a step that fails is answered with a cancellation, and what could not be
cancelled stays in the store, where the next look at it asks ZMS for the truth. So no appointment exists that the
citizen can't see.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import timedelta
from typing import Final

from aiohttp import web

from adapters.kit.app import Answer, Operation, OperationRequest, build_adapter_app, invalid_field
from adapters.kit.backend import BackendClient
from adapters.kit.documents import DocumentVerifier
from adapters.kit.errors import AdapterError, BackendError, CallerError, InternalError
from adapters.kit.fields import Fields
from adapters.kit.links import Link, LinkStore
from adapters.kit.problems import INTERNAL
from adapters.kit.settings import AdapterSettings, Clock, utc_now
from adapters.ozg import confirmation
from adapters.ozg.backend import AppointmentSystem, Booker
from adapters.ozg.model import LOCAL_TIME, Appointment, ProcessKey, local_time
from adapters.ozg.problems import APPOINTMENT_UNKNOWN, CANNOT_CANCEL, RESERVATION_EXPIRED

_log: Final = logging.getLogger("adapters.ozg")
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,}")
# The pattern of the citizen API.
_TELEPHONE: Final = re.compile(r"\+?[0-9]\d{6,14}", re.ASCII)
_PROCESS_ID: Final = re.compile(r"[0-9]{1,12}")
_DEFAULT_RANGE: Final = timedelta(days=14)
_LONGEST_RANGE: Final = timedelta(days=62)
_GONE: Final = frozenset({"deleted", "archived", "anonymized", "free"})


class OZGAdapter:
    """The operations."""

    def __init__(
        self, system: AppointmentSystem, links: LinkStore, documents: DocumentVerifier, *, clock: Clock
    ) -> None:
        self._system = system
        self._links = links
        self._documents = documents
        self._clock = clock

    async def offices(self, _: OperationRequest) -> Answer:
        """GET /offices."""
        return Answer({"offices": list((await self._system.catalogue()).offices)})

    async def services(self, _: OperationRequest) -> Answer:
        """GET /services."""
        return Answer({"services": list((await self._system.catalogue()).services)})

    async def slots(self, request: OperationRequest) -> Answer:
        """GET /slots?officeId&serviceId&from&to: 14 days from today unless named, 62 at most."""
        query = request.query.only("officeId", "serviceId", "from", "to")
        office_id, service_id = query.integer("officeId", minimum=1), query.integer("serviceId", minimum=1)
        start = query.optional_date("from") or self._clock().astimezone(LOCAL_TIME).date()
        end = query.optional_date("to") or start + _DEFAULT_RANGE
        if not start <= end <= start + _LONGEST_RANGE:
            raise invalid_field("to")
        timestamps, next_date = await self._system.slots(office_id, service_id, start, end)
        slots = [{"timestamp": timestamp, "start": local_time(timestamp)} for timestamp in timestamps]
        result: dict[str, object] = {"from": start.isoformat(), "to": end.isoformat(), "slots": slots}
        return Answer(result if next_date is None else result | {"nextBookableDate": next_date})

    async def book(self, request: OperationRequest) -> Answer:
        """POST /appointments: books, or leaves nothing behind. A landlord's confirmation is proven before anything."""
        subject = request.context.subject
        body = request.body.only(
            "officeId", "serviceId", "timestamp", "familyName", "email", "telephone", "residenceConfirmation"
        )
        office_id, service_id = body.integer("officeId", minimum=1), body.integer("serviceId", minimum=1)
        timestamp = body.integer("timestamp", maximum=2**40)
        booker = Booker(
            family_name=body.text("familyName", maximum=100),
            email=body.text("email", maximum=254, pattern=_EMAIL),
            telephone=body.optional_text("telephone", maximum=16, pattern=_TELEPHONE),
        )
        confirmed = await self._confirmation(body, booker.family_name)
        if confirmed is not None:
            booker = replace(booker, note=confirmed.note)
        key, _ = await self._system.reserve(office_id, service_id, timestamp)
        link = await self._links.add(subject, str(key.process_id), {"authKey": key.auth_key})
        try:
            await self._system.update(key, booker)
            await self._system.preconfirm(key)
            appointment = await self._system.confirm(key)
            if appointment.status != "confirmed":
                raise BackendError(RESERVATION_EXPIRED)
        except AdapterError:
            await self._undo(link, key)
            raise
        answer = appointment.as_json()
        if confirmed is not None:
            answer["residenceConfirmation"] = confirmed.as_json()
        return Answer(answer, status=201)

    async def appointments(self, request: OperationRequest) -> Answer:
        """GET /appointments: the citizen's appointments as ZMS has them now."""
        subject = request.context.subject
        found = []
        for link in await self._links.all_of(subject):
            appointment = await self._current(link)
            if appointment is not None:
                found.append(appointment)
        found.sort(key=lambda appointment: appointment.timestamp)
        return Answer({"appointments": [appointment.as_json() for appointment in found]})

    async def appointment(self, request: OperationRequest) -> Answer:
        """GET /appointments/{processId}."""
        appointment = await self._current(await self._link(request))
        if appointment is None:
            raise CallerError(APPOINTMENT_UNKNOWN)
        return Answer(appointment.as_json())

    async def cancel(self, request: OperationRequest) -> Answer:
        """DELETE /appointments/{processId}: cancelled at the office first, then forgotten."""
        link = await self._link(request)
        try:
            await self._system.cancel(_key_of(link))
        except BackendError as error:
            # Cancelled already, there or by an earlier call whose answer was lost: then this one has done its work.
            if error.kind is APPOINTMENT_UNKNOWN:
                raise CallerError(APPOINTMENT_UNKNOWN) from None
            if error.kind is not CANNOT_CANCEL or await self._current(link) is not None:
                raise
        await self._links.remove(link)
        return Answer(None, status=204)

    async def _confirmation(self, body: Fields, family_name: str) -> confirmation.Confirmation | None:
        encoded = body.optional_text("residenceConfirmation", maximum=64 << 10)
        if encoded is None:
            return None
        return await confirmation.accept(encoded, family_name=family_name, documents=self._documents)

    async def _undo(self, link: Link, key: ProcessKey) -> None:
        try:
            await self._system.cancel(key)
        except AdapterError as error:
            _log.warning("unfinished booking not cancelled yet code=%s", error.kind.code)
            return
        await self._links.remove(link)

    async def _current(self, link: Link) -> Appointment | None:
        """The appointment behind a link; a link to one that is gone is removed, and None returned."""
        try:
            appointment = await self._system.appointment(_key_of(link))
        except BackendError as error:
            if error.kind is not APPOINTMENT_UNKNOWN:
                raise
        else:
            if appointment.status not in _GONE:
                return appointment
        await self._links.remove(link)
        return None

    async def _link(self, request: OperationRequest) -> Link:
        """The caller's own link to the appointment named in the path."""
        process_id = request.path.text("processId", pattern=_PROCESS_ID)
        link = await self._links.find(request.context.subject, process_id)
        if link is None:
            raise CallerError(APPOINTMENT_UNKNOWN)
        return link


def _key_of(link: Link) -> ProcessKey:
    payload = Fields(link.payload, lambda _: InternalError(INTERNAL))
    return ProcessKey(int(link.name), payload.text("authKey"))


def build_app(settings: AdapterSettings, *, clock: Clock = utc_now) -> web.Application:
    """The adapter's application."""
    backend = BackendClient(settings)
    links = LinkStore(settings.data_directory, clock=clock)
    adapter = OZGAdapter(AppointmentSystem(backend), links, settings.documents, clock=clock)
    operations = (
        Operation("GET", "/offices", adapter.offices),
        Operation("GET", "/services", adapter.services),
        Operation("GET", "/slots", adapter.slots),
        Operation("POST", "/appointments", adapter.book, has_body=True),
        Operation("GET", "/appointments", adapter.appointments),
        Operation("GET", "/appointments/{processId}", adapter.appointment),
        Operation("DELETE", "/appointments/{processId}", adapter.cancel),
    )
    return build_adapter_app(operations, settings=settings, resources=(backend, links, settings.documents))
