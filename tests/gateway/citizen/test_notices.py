"""Notices: what makes one, how the citizen sees them, and how an app sets up the ways that they go."""

from __future__ import annotations

import json
import re

import pytest

from gateway.citizen.access import Access, read_access
from gateway.citizen.notice_accesses import tell_of_accesses
from gateway.citizen.notices import NoticeKind
from gateway.citizen.texts import TEXTS
from tests.gateway.citizen.citizens import ANNA, session_for
from tests.gateway.citizen.city import APP, BANK, City
from tests.gateway.citizen.described import DOCUMENT
from tests.gateway.citizen.mail_server import HOST
from tests.gateway.citizen.post import ADDRESS, Post
from tests.gateway.citizen.test_api import bearer, send
from tests.gateway.citizen.test_web_push import Receiver


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
        assert (status, problem["field"]) == (400, "address")
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
