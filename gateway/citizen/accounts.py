"""What hangs together with a citizen's accounts: consents that institutions ask for, links, and being told.

One call of the assembly (`app.build_citizen_app`) adds these parts; their pages are among the assembly's.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.citizen.consent_requests import ConsentRequests
from gateway.citizen.consent_service import ConsentService
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.notice_channels import NoticeChannels, is_address
from gateway.citizen.notice_delivery import NotDelivered, NoticeDelivery
from gateway.citizen.notice_settings import NoticeSettings
from gateway.citizen.web import CITIZEN
from gateway.clock import Clock
from gateway.rate import RateLimit

# Mails with codes go to addresses that nobody has confirmed yet.
_CODES_AT_ONCE: Final = 3
_CODE_EVERY_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Accounts:
    """The parts."""

    settings: NoticeSettings
    clock: Clock
    consent_requests: ConsentRequests
    consent_service: ConsentService
    channels: NoticeChannels
    delivery: NoticeDelivery
    mails: RateLimit

    async def ask_for_mail(self, person: str, address: str, *, language: str) -> None:
        """A new address of the person: a code is sent there. Raises InvalidRequest, TooManyAttempts."""
        if not self.settings.by_mail or not is_address(address):
            raise InvalidRequest("address")
        self.mails.admit(person, now_ms=self.clock.now_ms())
        code = await self.channels.set_mail(person, address, language=language)
        try:
            await self.delivery.send_code(address, code, language=language)
        except NotDelivered:
            raise InvalidRequest("address") from None

    async def subscribe(self, person: str, document: Mapping[str, Any], *, language: str) -> str:
        """One more browser or app is told; its subscription's id. Raises InvalidRequest."""
        if not self.settings.by_push:
            raise InvalidRequest("endpoint")
        return await self.channels.subscribe(person, document, language=language)


ACCOUNTS: Final = web.AppKey("accounts", Accounts)


def add_accounts(app: web.Application, *, tls: ssl.SSLContext | None = None) -> None:
    """Adds the parts to the citizen's application. While it runs, notices are sent in the background.

    `tls`: how mail servers and push services are verified, if not by the system's authorities.
    """
    citizen = app[CITIZEN]
    context = citizen.context
    requests = ConsentRequests(context, citizen.consents, citizen.relations)
    channels = NoticeChannels(
        context.engine, context.clock, key=context.pseudonym_key, push_hosts=context.settings.notices.push_hosts
    )
    app[ACCOUNTS] = Accounts(
        settings=context.settings.notices,
        clock=context.clock,
        consent_requests=requests,
        consent_service=ConsentService(
            context,
            citizen.consents,
            requests,
            citizen.consents.acquaintances,
            declarants=context.settings.consent_declarants,
        ),
        channels=channels,
        delivery=NoticeDelivery(context, channels, tls=tls),
        mails=RateLimit(burst=_CODES_AT_ONCE, refill_ms=_CODE_EVERY_MS),
    )
    app.cleanup_ctx.append(_sending)


async def _sending(app: web.Application) -> AsyncIterator[None]:
    async with app[ACCOUNTS].delivery.running():
        yield
