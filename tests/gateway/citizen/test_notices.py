"""Notices: in the page, by e-mail and by web push, as the citizen chose, and never in floods."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.citizen.access import Access, read_access
from gateway.citizen.notice_accesses import tell_of_accesses
from gateway.citizen.notice_channels import Channel
from gateway.citizen.notice_delivery import NotDelivered, PublicResolver
from gateway.citizen.notice_settings import NoticeSettings
from gateway.citizen.notices import NoticeKind
from gateway.citizen.texts import TEXTS
from tests.gateway.citizen.city import APP, BANK, Browser, City, run_city
from tests.gateway.citizen.described import DOCUMENT
from tests.gateway.citizen.mail_server import HOST, MailServer, PushService, servers
from tests.gateway.citizen.test_api import bearer, send
from tests.gateway.citizen.test_consents import ANNA, session_for
from tests.gateway.citizen.test_web_push import Receiver

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


@pytest.fixture
async def post(database_url: str, tmp_path: Path) -> AsyncIterator[Post]:
    async with servers(tmp_path) as (mail, push, authority):
        settings = NoticeSettings(
            smtp_host=HOST,
            smtp_port=mail.port,
            mail_from="Stadt Musterstadt <noreply@musterstadt.example>",
            push_contact="mailto:it@musterstadt.example",
            push_hosts=(f"{HOST}:{push.port}",),
            insecure_private_push_services=True,
        )
        async with run_city(database_url, tmp_path, notices=settings) as city:
            city.accounts.delivery._tls = authority.client
            yield Post(city, mail, push)


def test_every_kind_has_its_words() -> None:
    for kind in NoticeKind:
        assert {f"notice_{kind.value}", f"notice_kind_{kind.value}"} <= TEXTS


async def test_one_occasion_is_one_notice_and_reading_ends_it(post: Post) -> None:
    assert await post.notify()
    assert not await post.notify()
    assert await post.notify("y")
    found = await post.city.citizen.notices.of(post.person)
    assert sorted(notice.count for notice in found) == [1, 2]
    async with post.city.browser() as browser:
        await browser.log_in()
        page = await browser.get("/notices")
        assert page.text.count("Sparkasse Musterstadt asked for data about you and was refused") == 2
        assert "New:" in page.text
        assert "New:" not in (await browser.get("/notices")).text
    async with post.city.browser() as browser:
        await browser.log_in("anna.probe")
        assert "Sparkasse Musterstadt asked" not in (await browser.get("/notices")).text


async def test_an_address_counts_once_its_owner_has_confirmed_it(post: Post) -> None:
    async with post.city.browser() as browser:
        await browser.log_in()
        await browser.submit("/notices", "/notices/mail", email=ADDRESS)
        await post.notify()
        assert await post.deliver() == 0
        assert post.mail.recipients == [ADDRESS]
        for _ in range(5):
            wrong = await browser.submit("/notices", "/notices/mail/confirm", code="00000000")
            assert wrong.status == 400
        right = re.search(r"\d{8}", post.mail.mails[0].get_content())
        assert right is not None
        assert (await browser.submit("/notices", "/notices/mail/confirm", code=right[0])).status == 400
        for bad in ("kein", "a@b", "a@b.de\nBcc: c@d.de", "ä@b.de", "a@-b.de", "<a@b.de>"):
            assert (await browser.submit("/notices", "/notices/mail", email=bad)).status == 400, bad
        # Nobody has mail after mail sent to others.
        limited = [(await browser.submit("/notices", "/notices/mail", email=ADDRESS)).status for _ in range(3)]
        assert limited[-1] == 429
    assert len(post.mail.mails) <= 3


async def test_mail_says_only_that_there_is_news_unless_chosen_otherwise(post: Post) -> None:
    async with post.city.browser() as browser:
        await browser.log_in()
        await post.confirm(browser)
        await post.notify()
        assert await post.deliver() == 1
        mail = post.mail.mails[-1]
        assert post.mail.encrypted == [True, True]
        assert mail["To"] == ADDRESS
        assert mail["Subject"] == "News in your Musterstadt citizen account"
        assert "Sparkasse" not in mail.as_string()
        assert "Kontostand" not in mail.as_string()
        assert f"{post.city.url}/notices" in mail.get_content()
        assert mail["Auto-Submitted"] == "auto-generated"
        # In detail, and in German, by choice; the subject stays as it is.
        kinds = {f"kind-{kind.value}": "on" for kind in NoticeKind}
        await browser.submit("/notices", "/notices/mail/choice", detailed="on", **kinds)
        post.city.clock.advance(hours=2)
        await post.city.citizen.notices.notify(
            post.person, NoticeKind.ACCESS_REFUSED, occasion="z", facts={"institution": "Böse\r\nBcc: x@y.example <b>"}
        )
        assert await post.deliver() == 1
        mail = post.mail.mails[-1]
        assert mail["Bcc"] is None
        assert "- Böse Bcc: x@y.example <b> asked for data" in mail.get_content()
        assert "Böse" not in mail["Subject"]


async def test_what_happens_within_the_hour_goes_together(post: Post) -> None:
    async with post.city.browser() as browser:
        await browser.log_in()
        await post.confirm(browser)
    for number in range(20):
        await post.notify(f"n{number}")
    assert await post.deliver() == 1
    assert "there are 20 new notices" in post.mail.mails[-1].get_content()
    for number in range(20):
        await post.notify(f"m{number}")
    assert await post.deliver() == 0
    post.city.clock.advance(minutes=61)
    assert await post.deliver() == 1
    assert await post.deliver() == 0
    assert len(post.mail.mails) == 3
    # What was read in the page is not told again.
    post.city.clock.advance(minutes=61)
    await post.notify("gelesen")
    await post.city.citizen.notices.mark_all_read(post.person)
    assert await post.deliver() == 0
    assert len(post.mail.mails) == 3


async def test_two_processes_send_one_mail(post: Post) -> None:
    import asyncio

    async with post.city.browser() as browser:
        await browser.log_in()
        await post.confirm(browser)
    await post.notify()
    assert sum(await asyncio.gather(*(post.deliver() for _ in range(5)))) == 1
    assert len(post.mail.mails) == 2


async def test_only_the_kinds_that_were_chosen(post: Post) -> None:
    async with post.city.browser() as browser:
        await browser.log_in()
        await post.confirm(browser)
        await browser.submit("/notices", "/notices/mail/choice", **{"kind-new_device": "on"})
        await post.notify()
        assert await post.deliver() == 0
        await post.notify("laptop", NoticeKind.NEW_DEVICE)
        assert await post.deliver() == 1
        await browser.submit("/notices", "/notices/mail/remove")
        assert ADDRESS not in (await browser.get("/notices")).text
    post.city.clock.advance(hours=2)
    await post.notify("phone", NoticeKind.NEW_DEVICE)
    assert await post.deliver() == 0


async def test_no_mail_in_the_clear(post: Post) -> None:
    post.mail.offers_tls = False
    async with post.city.browser() as browser:
        await browser.log_in()
        assert (await browser.submit("/notices", "/notices/mail", email=ADDRESS)).status == 400
    assert post.mail.mails == []
    assert "MAIL" not in post.mail.commands


async def test_no_mail_to_a_server_that_is_another(post: Post) -> None:
    post.city.accounts.delivery._tls = None
    with pytest.raises(NotDelivered) as refused:
        await post.city.accounts.delivery.send_code(ADDRESS, "12345678", language="de")
    assert refused.value.reason == "SSLCertVerificationError"
    assert post.mail.mails == []


async def test_a_mail_server_that_refuses_is_tried_again_and_not_for_ever(post: Post) -> None:
    async with post.city.browser() as browser:
        await browser.log_in()
        await post.confirm(browser)
    post.mail.refuses = True
    await post.notify()
    tried = 0
    for _ in range(20):
        tried += await post.deliver()
        post.city.clock.advance(hours=12)
    assert tried == 10
    post.mail.refuses = False
    await post.notify("neu")
    assert await post.deliver() == 1


async def test_push_to_a_browser(post: Post) -> None:
    receiver = Receiver()
    subscription = receiver.subscription(f"https://{HOST}:{post.push.port}/an/erika")
    async with post.city.browser() as browser:
        await browser.log_in()
        page = await browser.get("/notices")
        assert post.city.accounts.delivery.push_key in page.text
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        url = f"{post.city.url}/notices/push/subscriptions"
        refused = await browser.session.post(url, json=subscription)
        assert refused.status == 403
        headers = {"X-CSRF-Token": page.field("csrf")}
        elsewhere = receiver.subscription("https://10.0.0.1/innen")
        assert (await browser.session.post(url, json=elsewhere, headers=headers)).status == 400
        assert (await browser.session.post(url, json=subscription, headers=headers)).status == 201
        assert "Switched on in 1 browser." in (await browser.get("/notices")).text
    await post.notify()
    assert await post.deliver() == 1
    path, sent, body = post.push.requests[-1]
    assert path == "/an/erika"
    assert sent["Authorization"].startswith("vapid t=")
    told = json.loads(receiver.read(body))
    assert told["title"] == "News in your Musterstadt citizen account"
    assert "Sparkasse" not in json.dumps(told)
    # The service has trouble: tried again; the browser is gone: forgotten.
    post.push.status = 500
    post.city.clock.advance(hours=2)
    await post.notify("y")
    assert await post.deliver() == 1
    post.push.status = 410
    post.city.clock.advance(hours=12)
    assert await post.deliver() == 1
    assert await post.city.accounts.channels.subscriptions(post.person) == {}


async def test_addresses_and_subscriptions_lie_sealed(post: Post) -> None:
    from sqlalchemy import select

    from gateway.citizen import tables

    async with post.city.browser() as browser:
        await browser.log_in()
        await post.confirm(browser)
    endpoint = f"https://{HOST}:{post.push.port}/geheim"
    await post.city.accounts.channels.subscribe(post.person, Receiver().subscription(endpoint), language="de")
    async with post.city.engine.connect() as connection:
        rows = (await connection.execute(select(tables.notice_channel))).all()
        rows += (await connection.execute(select(tables.push_subscription))).all()
    assert ADDRESS not in str(rows)
    assert "geheim" not in str(rows)
    assert (await post.city.accounts.channels.of(post.person))[Channel.MAIL].address == ADDRESS
    # One citizen's subscription is not another's to end.
    (identifier,) = await post.city.accounts.channels.subscriptions(post.person)
    other = post.city.citizen.person(session_for(post.city, ANNA))
    with pytest.raises(Exception, match=identifier):
        await post.city.accounts.channels.unsubscribe(other, identifier)


async def test_names_that_lead_into_our_own_network_are_refused() -> None:
    resolver = PublicResolver()
    try:
        with pytest.raises(OSError, match="no public address"):
            await resolver.resolve("localhost", 443)
    finally:
        await resolver.close()


async def test_consents_that_end_soon_are_told_of_once(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("kontostand")
    consents, session = city.citizen.consents, session_for(city)
    await consents.give(session, service, language="de")
    assert await consents.tell_of_expiring() == 0
    city.clock.advance(days=80)
    assert await consents.tell_of_expiring() == 1
    assert await consents.tell_of_expiring() == 0
    (told,) = await city.citizen.notices.of(city.citizen.person(session))
    assert (told.kind, told.facts["expires_ms"]) == (NoticeKind.CONSENT_EXPIRING, str(1_803_124_800_000))


def _access(client: str, result: str, *, level: str = "", day: int = 22) -> Access:
    record = {
        "client": {"id": client, "name": "Eine Stelle"},
        "provider": {"id": BANK.encoded, "name": "Sparkasse"},
        "service": {"id": f"{BANK.encoded}/konto", "title": {"de": "Kontostand"}},
        "result": result,
        "identityLevel": level,
    }
    at_ms = 1_795_305_600_000 + (day - 22) * 86_400_000
    return read_access(record, {}, key="k", time_ms=at_ms, log="l", recorded_by="")


async def test_new_institutions_and_refused_attempts_in_the_logs_are_told_of(city: City) -> None:
    person = city.citizen.person(session_for(city))
    fremd = "DE-TEST/COM/FREMD/app"
    seen = [
        _access(APP.encoded, "delivered", level="high"),
        _access(APP.encoded, "denied", level="high"),
        _access(fremd, "denied"),
        _access(fremd, "denied"),
        _access(fremd, "denied", day=23),
        _access(fremd, "delivered"),
    ]
    for _ in range(2):
        await tell_of_accesses(city.citizen, person, seen)
    told = sorted((notice.kind.value, notice.count) for notice in await city.citizen.notices.of(person))
    # The citizen's own clicks are no news; a thousand attempts of a day are one.
    assert told == [("access_refused", 1), ("access_refused", 1), ("new_institution", 1)]


# -- the ways out of the page over the API ----------------------------------------------------------------------------


def test_the_documents_kinds_are_the_kinds_that_there_are() -> None:
    assert DOCUMENT["components"]["schemas"]["NoticeKind"]["enum"] == [kind.value for kind in NoticeKind]


async def test_an_app_sets_an_address_up(post: Post) -> None:
    async with post.city.browser() as browser:
        headers = bearer(post.city)
        _, ways = await send(browser, "GET", "/notice-channels", headers)
        assert ways == {"byMail": True, "pushKey": post.city.accounts.delivery.push_key, "channels": []}
        assert (await send(browser, "GET", "/notice-channels/mail", headers))[0] == 404
        assert (await send(browser, "PATCH", "/notice-channels/mail", headers, {"detailed": True}))[0] == 404
        body = {"address": ADDRESS, "language": "en"}
        status, way = await send(browser, "PUT", "/notice-channels/mail", headers, body)
        assert (status, way["address"], way["confirmed"], way["language"]) == (202, ADDRESS, False, "en")
        status, problem = await send(
            browser, "POST", "/notice-channels/mail/confirmation", headers, {"code": "00000000"}
        )
        assert (status, problem["field"]) == (400, "code")
        code = re.search(r"\d{8}", post.mail.mails[-1].get_content())
        assert code is not None
        path = "/notice-channels/mail/confirmation"
        # Another's code is nobody else's.
        assert (await send(browser, "POST", path, bearer(post.city, ANNA), {"code": code[0]}))[0] == 400
        status, way = await send(browser, "POST", path, headers, {"code": code[0]})
        assert (status, way["confirmed"]) == (200, True)
        assert set(way["kinds"]) == {kind.value for kind in NoticeKind}
        # What isn't stated stays.
        _, way = await send(browser, "PATCH", "/notice-channels/mail", headers, {"kinds": ["new_device"]})
        assert (way["kinds"], way["detailed"], way["language"]) == (["new_device"], False, "en")
        _, way = await send(browser, "PATCH", "/notice-channels/mail", headers, {"detailed": True, "language": "de"})
        assert (way["kinds"], way["detailed"], way["language"]) == (["new_device"], True, "de")
        assert (await send(browser, "PATCH", "/notice-channels/mail", headers, {}))[1] == way
        assert (await send(browser, "GET", "/notice-channels/mail", headers))[1] == way
        assert (await send(browser, "PATCH", "/notice-channels/mail", headers, {"kinds": ["gossip"]}))[0] == 400
        assert (await send(browser, "GET", "/notice-channels/fax", headers))[0] == 404
        assert (await send(browser, "GET", "/notice-channels", bearer(post.city, ANNA)))[1]["channels"] == []
        await post.notify("laptop", NoticeKind.NEW_DEVICE)
        assert await post.deliver() == 1
        _, left = await send(browser, "DELETE", "/notice-channels/mail", headers)
        assert left["channels"] == []
        assert (await send(browser, "GET", "/notice-channels/mail", headers))[0] == 404


@pytest.mark.parametrize("address", ["kein", "a@b", "a@b.de\nBcc: c@d.de", "ä@b.de", "<a@b.de>"])
async def test_an_app_sets_no_address_that_is_none(post: Post, address: str) -> None:
    async with post.city.browser() as browser:
        status, problem = await send(browser, "PUT", "/notice-channels/mail", bearer(post.city), {"address": address})
        assert (status, problem["field"]) == (400, "email")
    assert post.mail.mails == []


async def test_an_app_floods_nobody_with_codes(post: Post) -> None:
    async with post.city.browser() as browser:
        body = {"address": ADDRESS}
        answered = [(await send(browser, "PUT", "/notice-channels/mail", bearer(post.city), body))[0] for _ in range(4)]
    assert answered == [202, 202, 202, 429]


async def test_a_push_service_sends_us_nowhere_else(post: Post) -> None:
    """The citizen chose where we call, from a list; where that would lead us on, nobody has looked at."""
    subscription = Receiver().subscription(f"https://{HOST}:{post.push.port}/an/erika")
    await post.city.accounts.subscribe(post.person, subscription, language="de")
    post.push.status, post.push.location = 307, f"https://{HOST}:{post.push.port}/innen"
    await post.notify()
    assert await post.deliver() == 1
    assert [path for path, _, _ in post.push.requests] == ["/an/erika"]


async def test_an_app_subscribes_to_push(post: Post) -> None:
    receiver = Receiver()
    subscription = receiver.subscription(f"https://{HOST}:{post.push.port}/an/erika") | {"expirationTime": None}
    async with post.city.browser() as browser:
        headers = bearer(post.city)
        elsewhere = receiver.subscription("https://10.0.0.1/innen")
        status, problem = await send(browser, "POST", "/push-subscriptions", headers, elsewhere)
        assert (status, problem["field"]) == (400, "endpoint")
        status, problem = await send(
            browser, "POST", "/push-subscriptions", headers, subscription | {"keys": {"p256dh": "x", "auth": "x"}}
        )
        assert (status, problem["field"]) == (400, "keys")
        status, made = await send(browser, "POST", "/push-subscriptions", headers, subscription)
        assert status == 201
        # The same again is the same.
        assert (await send(browser, "POST", "/push-subscriptions", headers, subscription))[1] == made
        _, listed = await send(browser, "GET", "/push-subscriptions", headers)
        assert listed == {"subscriptions": [made], "next": None}
        path = f"/push-subscriptions/{made['id']}"
        assert (await send(browser, "GET", path, headers))[1] == made
        for method in ("GET", "DELETE"):
            assert (await send(browser, method, path, bearer(post.city, ANNA)))[0] == 404
        assert await post.notify()
        assert await post.deliver() == 1
        assert json.loads(receiver.read(post.push.requests[-1][2]))["path"] == "/notices"
        assert (await send(browser, "DELETE", path, headers))[1] == made
        assert (await send(browser, "DELETE", path, headers))[0] == 404
        assert (await send(browser, "GET", "/push-subscriptions", headers))[1]["subscriptions"] == []


async def test_a_city_without_mail_and_push_says_so(city: City) -> None:
    async with city.browser() as browser:
        _, ways = await send(browser, "GET", "/notice-channels", bearer(city))
        assert ways == {"byMail": False, "pushKey": None, "channels": []}
        body = {"address": ADDRESS}
        assert (await send(browser, "PUT", "/notice-channels/mail", bearer(city), body))[0] == 400
        subscription = Receiver().subscription()
        assert (await send(browser, "POST", "/push-subscriptions", bearer(city), subscription))[0] == 400
