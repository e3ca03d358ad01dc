"""A city with ways to its citizens: a mail server, a push service, and what comes out of either."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.citizen.notices import NoticeKind
from tests.gateway.citizen.citizens import session_for
from tests.gateway.citizen.city import Browser, City
from tests.gateway.citizen.mail_server import MailServer, PushService

ADDRESS = "erika@musterstadt.example"


@dataclass
class Post:
    """A city with ways to its citizens."""

    city: City
    mail: MailServer
    push: PushService

    @property
    def person(self) -> str:
        return self.city.citizen.person(session_for(self.city))

    async def notify(self, occasion: str = "x", kind: NoticeKind = NoticeKind.ACCESS_REFUSED) -> bool:
        facts = {"institution": "Sparkasse Musterstadt", "title": "Kontostand"}
        return await self.city.citizen.notices.notify(self.person, kind, occasion=occasion, facts=facts)

    async def deliver(self) -> int:
        return await self.city.accounts.delivery.deliver_due()

    async def confirm(self, browser: Browser, address: str = ADDRESS) -> None:
        """Sets an address up on the page, with the code that is sent there."""
        await browser.submit("/notices", "/notices/mail", email=address)
        code = re.search(r"\d{8}", self.mail.mails[-1].get_content())
        assert code is not None
        page = await browser.submit("/notices", "/notices/mail/confirm", code=code[0])
        assert f"We write to {address}" in page.text
