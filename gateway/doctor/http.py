"""`/healthz?full` on the operations port: the doctor's findings of the running gateway, for this machine alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.doctor.examination import Doctor
from gateway.doctor.finding import State, as_document, worst
from gateway.doctor.patient import Patient
from gateway.settings_base import is_loopback

_DOCTOR: Final = web.AppKey("doctor", Doctor)
_OF_PROXIES: Final = frozenset({"forwarded", "x-forwarded-for", "x-real-ip", "via"})


def add_doctor(app: web.Application, patient: Callable[[], Patient]) -> None:
    """From now on the application can be asked in full; `patient` gives the gateway's parts of the moment."""
    app[_DOCTOR] = Doctor(patient)


def asks_in_full(request: web.Request) -> bool:
    """Whether the question is `/healthz?full`, asked on this machine.

    The findings say which protections are off and what is about to fail. Other gateways may reach this port, for the
    log's sake: they are told the health alone.
    """
    # A proxy on this machine asks for somebody elsewhere: each of the usual ones says so.
    passed_on = not _OF_PROXIES.isdisjoint(name.lower() for name in request.headers)
    return "full" in request.query and _DOCTOR in request.app and not passed_on and is_loopback(request.remote or "")


async def answer_in_full(request: web.Request, server: str) -> web.Response:
    """200 unless something is a problem, then 503; warnings are no reason to take a gateway out of service."""
    findings = await request.app[_DOCTOR].findings()
    state = worst(findings)
    body = {"status": state.value, "server": server, "findings": as_document(findings)}
    return web.json_response(body, status=503 if state is State.PROBLEM else 200, headers={"Cache-Control": "no-store"})
