"""Notices on their way: by e-mail and by web push, as the citizen chose, sealed where they lie, never in floods."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.citizen import notice_delivery
from gateway.citizen.errors import InvalidRequest, UnknownThing
from gateway.citizen.notice_channels import Channel, NoticeChannels
from gateway.citizen.notice_delivery import NotDelivered, NoticeDelivery, PublicResolver
from gateway.citizen.notices import Notice, NoticeKind
from tests.gateway.citizen.citizens import ANNA, session_for
from tests.gateway.citizen.mail_server import HOST
from tests.gateway.citizen.post import ADDRESS, Post
from tests.gateway.citizen.test_web_push import Receiver


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


async def test_a_code_counts_for_an_hour(post: Post) -> None:
    channels = post.city.accounts.channels
    code = await channels.set_mail(post.person, ADDRESS, language="de")
    post.city.clock.advance(minutes=61)
    with pytest.raises(InvalidRequest):
        await channels.confirm_mail(post.person, code)
    assert not (await channels.of(post.person))[Channel.MAIL].confirmed
    await channels.confirm_mail(post.person, await channels.set_mail(post.person, ADDRESS, language="de"))
    assert (await channels.of(post.person))[Channel.MAIL].confirmed


async def test_nobody_ends_anothers_subscription(post: Post) -> None:
    channels = post.city.accounts.channels
    subscription = Receiver().subscription(f"https://{HOST}:{post.push.port}/an/erika")
    identifier = await channels.subscribe(post.person, subscription, language="de")
    anna = post.city.citizen.person(session_for(post.city, ANNA))
    with pytest.raises(UnknownThing):
        await channels.unsubscribe(anna, identifier)
    assert set(await channels.subscriptions(post.person)) == {identifier}


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


async def test_one_persons_message_keeps_nobody_elses(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be told one person (the texts are other parties') is that person's failure, and nobody else's."""
    subscription = Receiver().subscription(f"https://{HOST}:{post.push.port}/an/erika")
    await post.city.accounts.subscribe(post.person, subscription, language="de")
    anna = post.city.citizen.person(session_for(post.city, ANNA))
    other = Receiver().subscription(f"https://{HOST}:{post.push.port}/an/anna")
    await post.city.accounts.subscribe(anna, other, language="de")
    real = notice_delivery.push_content

    def content(notices: Sequence[Notice], **settings: Any) -> dict[str, str]:
        if any(notice.facts.get("title") == "Gift" for notice in notices):
            raise ValueError("kanarienvogel")
        return real(notices, **settings)

    monkeypatch.setattr(notice_delivery, "push_content", content)
    facts = {"institution": "Sparkasse", "title": "Gift"}
    await post.city.citizen.notices.notify(post.person, NoticeKind.ACCESS_REFUSED, occasion="x", facts=facts)
    await post.city.citizen.notices.notify(anna, NoticeKind.ACCESS_REFUSED, occasion="x")
    assert await post.deliver() == 2
    assert [path for path, _, _ in post.push.requests] == ["/an/anna"]
    # Not for ever.
    for _ in range(12):
        post.city.clock.advance(hours=12)
        await post.deliver()
    assert await post.deliver() == 0


@pytest.mark.parametrize("name", [HOST, "localhost"])
async def test_a_push_service_inside_our_network_is_not_called(post: Post, name: str) -> None:
    """Even one that the operator's list of push services has: by its address, or by a name that leads there."""
    context = post.city.context
    notices = replace(
        context.settings.notices, push_hosts=(f"{name}:{post.push.port}",), insecure_private_push_services=False
    )
    closed = replace(context, settings=replace(context.settings, notices=notices))
    channels = NoticeChannels(context.engine, context.clock, key=context.pseudonym_key, push_hosts=notices.push_hosts)
    await channels.subscribe(
        post.person, Receiver().subscription(f"https://{name}:{post.push.port}/innen"), language="de"
    )
    delivery = NoticeDelivery(closed, channels, tls=post.city.accounts.delivery._tls)
    await post.notify()
    assert await delivery.deliver_due() == 1
    assert post.push.requests == []


async def test_a_long_title_in_any_script_is_pushed(post: Post) -> None:
    receiver = Receiver()
    subscription = receiver.subscription(f"https://{HOST}:{post.push.port}/an/erika")
    await post.city.accounts.subscribe(post.person, subscription, language="de")
    kinds = frozenset(NoticeKind)
    await post.city.accounts.channels.choose(post.person, Channel.PUSH, kinds=kinds, detailed=True, language="de")
    for number, letter in enumerate(("\U0001f4a9", "漢", "ä", '"', "\\", "a")):
        facts = {"institution": letter * 300, "title": letter * 300}
        await post.city.citizen.notices.notify(
            post.person, NoticeKind.ACCESS_REFUSED, occasion=str(number), facts=facts
        )
        assert await post.deliver() == 1
        told = json.loads(receiver.read(post.push.requests[number][2]))
        assert letter * 50 in told["body"]
        await post.city.citizen.notices.mark_all_read(post.person)
        post.city.clock.advance(hours=2)


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
