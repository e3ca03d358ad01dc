"""The citizen API over HTTP, as zmscitizenapi's routing has it: bare objects with 200, error lists with the highest
status.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final

from aiohttp import web

from adapters.kit.fields import Fields, MalformedJSON
from adapters.kit.sandbox import build_sandbox_app, json_body
from adapters.kit.settings import Clock, SandboxSettings, utc_now
from adapters.ozg.sandbox import views
from adapters.ozg.sandbox.errors import ZMSError
from adapters.ozg.sandbox.processes import Process, Processes

BASE_PATH: Final = "/terminvereinbarung/api/citizen"
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
_TELEPHONE: Final = re.compile(r"\+?[0-9]\d{6,14}", re.ASCII)
# Of today, and the short ones of older appointments.
_AUTH_KEY: Final = re.compile(r"[0-9a-f]{4}|[0-9a-f]{64}")
_CODE_OF_FIELD: Final = {
    "officeId": "invalidOfficeId",
    "officeIds": "invalidOfficeId",
    "serviceId": "invalidServiceId",
    "serviceIds": "invalidServiceId",
    "serviceCount": "invalidServiceCount",
    "serviceCounts": "invalidServiceCount",
    "timestamp": "invalidTimestamp",
    "processId": "invalidProcessId",
    "authKey": "invalidAuthKey",
    "familyName": "invalidFamilyName",
    "email": "invalidEmail",
    "telephone": "invalidTelephone",
    "startDate": "invalidStartDate",
    "endDate": "invalidEndDate",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _invalid(field: str) -> ZMSError:
    return ZMSError(_CODE_OF_FIELD.get(field, "invalidRequest"))


class AppointmentSandbox:
    """The handlers."""

    def __init__(self, clock: Clock, new_key: Callable[[], str]) -> None:
        self._clock = clock
        self._processes = Processes(new_key)

    async def catalogue(self, _: web.Request) -> web.Response:
        """GET /offices-and-services/."""
        return web.json_response(views.catalogue())

    async def calendar(self, request: web.Request) -> web.Response:
        """GET /available-calendar/: one service, one or more offices."""
        query = Fields(dict(request.query), _invalid, textual=True)
        start, end = query.optional_date("startDate"), query.optional_date("endDate")
        _require_range(start, end)
        service_ids = _numbers(query, "serviceIds")
        if _numbers(query, "serviceCounts") != [1] or len(service_ids) != 1:
            raise ZMSError("invalidServiceCount")
        at = self._clock()
        free = {}
        for office_id in _numbers(query, "officeIds"):
            office, _ = self._processes.offer(office_id, service_ids[0])
            free[office_id] = self._processes.free_times(office, at)
        answer = views.calendar(str(start), str(end), free)
        if not answer["availableDays"]:
            raise ZMSError("noAppointmentForThisDay")
        return web.json_response(answer)

    async def reserve(self, request: web.Request) -> web.Response:
        """POST /reserve-appointment/."""
        body = await _body(request)
        service_ids, counts = body.integers("serviceId", maximum=1), body.integers("serviceCount", maximum=1)
        if counts != [1] or not service_ids:
            raise ZMSError("invalidServiceCount")
        return _answer(
            self._processes.reserve(
                body.integer("officeId"),
                service_ids[0],
                body.integer("timestamp", maximum=2**40),
                self._clock(),
            )
        )

    async def update(self, request: web.Request) -> web.Response:
        """POST /update-appointment/."""
        body = await _body(request)
        process = self._processes.update(
            *_key(body),
            family_name=body.text("familyName", maximum=100),
            email=body.optional_text("email", pattern=_EMAIL) or "",
            telephone=body.optional_text("telephone", pattern=_TELEPHONE) or "",
            custom_text=body.optional_text("customTextfield", maximum=250) or "",
            at=self._clock(),
        )
        return _answer(process)

    async def preconfirm(self, request: web.Request) -> web.Response:
        """POST /preconfirm-appointment/."""
        return _answer(self._processes.preconfirm(*_key(await _body(request)), self._clock()))

    async def confirm(self, request: web.Request) -> web.Response:
        """POST /confirm-appointment/."""
        return _answer(self._processes.confirm(*_key(await _body(request)), self._clock()))

    async def cancel(self, request: web.Request) -> web.Response:
        """POST /cancel-appointment/."""
        return _answer(self._processes.cancel(*_key(await _body(request)), self._clock()))

    async def appointment(self, request: web.Request) -> web.Response:
        """GET /appointment/."""
        query = Fields(dict(request.query), _invalid, textual=True)
        return _answer(self._processes.get(*_key(query), self._clock()))


def _answer(process: Process) -> web.Response:
    return web.json_response(views.process(process))


async def _body(request: web.Request) -> Fields:
    return Fields(await json_body(request), _invalid)


def _key(fields: Fields) -> tuple[int, str]:
    return fields.integer("processId", minimum=1), fields.text("authKey", pattern=_AUTH_KEY)


def _numbers(query: Fields, name: str) -> list[int]:
    parts = query.text(name).split(",")
    if not all(part.isascii() and part.isdigit() and len(part) <= 12 for part in parts):
        raise _invalid(name)
    return [int(part) for part in parts]


def _require_range(start: date | None, end: date | None) -> None:
    if start is None:
        raise ZMSError("invalidStartDate")
    if end is None:
        raise ZMSError("invalidEndDate")
    if start > end:
        raise ZMSError("startDateAfterEndDate")


@web.middleware
async def _speak_zms(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ZMSError as error:
        return web.json_response(error.as_json(), status=error.status)
    except MalformedJSON:
        failure = ZMSError("invalidRequest")
    except web.HTTPRequestEntityTooLarge:
        failure = ZMSError("requestEntityTooLarge")
    except web.HTTPMethodNotAllowed:
        failure = ZMSError("requestMethodNotAllowed")
    except web.HTTPNotFound:
        failure = ZMSError("notFound")
    return web.json_response(failure.as_json(), status=failure.status)


def _new_key() -> str:
    return secrets.token_hex(32)


def build_app(
    settings: SandboxSettings, *, clock: Clock = utc_now, new_key: Callable[[], str] = _new_key
) -> web.Application:
    """The sandbox's application; the interface lies below BASE_PATH."""
    app = build_sandbox_app(settings)
    app.middlewares.append(_speak_zms)
    sandbox = AppointmentSandbox(clock, new_key)
    app.router.add_get(f"{BASE_PATH}/offices-and-services/", sandbox.catalogue)
    app.router.add_get(f"{BASE_PATH}/available-calendar/", sandbox.calendar)
    app.router.add_post(f"{BASE_PATH}/reserve-appointment/", sandbox.reserve)
    app.router.add_post(f"{BASE_PATH}/update-appointment/", sandbox.update)
    app.router.add_post(f"{BASE_PATH}/preconfirm-appointment/", sandbox.preconfirm)
    app.router.add_post(f"{BASE_PATH}/confirm-appointment/", sandbox.confirm)
    app.router.add_post(f"{BASE_PATH}/cancel-appointment/", sandbox.cancel)
    app.router.add_get(f"{BASE_PATH}/appointment/", sandbox.appointment)
    return app
