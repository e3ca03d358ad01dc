"""What hangs together with a citizen's accounts: consents that institutions ask for, links, and being told.

One call of the assembly (`app.build_citizen_app`) adds these parts and their pages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from gateway.citizen.acquaintances import Acquaintances
from gateway.citizen.consent_requests import ConsentRequests
from gateway.citizen.consent_service import ConsentService
from gateway.citizen.web import CITIZEN


@dataclass(frozen=True, slots=True)
class Accounts:
    """The parts."""

    acquaintances: Acquaintances
    consent_requests: ConsentRequests
    consent_service: ConsentService


ACCOUNTS: Final = web.AppKey("accounts", Accounts)


def add_accounts(app: web.Application) -> None:
    """Adds the parts and their pages to the citizen's application."""
    citizen = app[CITIZEN]
    context = citizen.context
    acquaintances = Acquaintances(context.engine)
    requests = ConsentRequests(context, citizen.consents, citizen.relations)
    app[ACCOUNTS] = Accounts(
        acquaintances=acquaintances,
        consent_requests=requests,
        consent_service=ConsentService(
            context,
            citizen.consents,
            requests,
            acquaintances,
            declarants=context.settings.consent_declarants,
        ),
    )
