"""A third party's consent from end to end: three gateways, the citizen's pages, a real issuer, real sockets.

A shop wants the utility's data about a citizen. It asks at the city's consent service, the citizen decides on a page,
the shop then calls the utility through the road; the consent ends in each way that there is. Whatever moved is reported
by the utility's gateway, also when the consent service was away.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from tests.databases import two_databases
from tests.gateway.exchange.shop import (
    DATA,
    SHOP,
    Consented,
    Town,
    accesses,
    is_quiet,
    known_at_the_shop,
    running_town,
    until,
    waiting,
    was_transmitted,
    were_tried,
)
from tests.gateway.exchange.town import APP, UTILITY

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgres"])
async def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        databases = two_databases(request, stack)
        yield await stack.enter_async_context(running_town(tmp_path_factory.mktemp("dritte"), stack, databases))


async def test_asked_decided_used_and_ended_in_every_way(town: Town) -> None:
    pair = town.pair
    async with town.browser() as browser:
        await browser.log_in()
        id_code = await known_at_the_shop(town, browser)
        await town.declare("pd-adresse")

        # 1. Asked: before the decision nothing moves, and nobody but the citizen sees the question.
        link = (await town.ask("pd-adresse", id_code)).removeprefix(town.url)
        page = await browser.get(link)
        for told in ("Laden am Markt", "Stadtwerke", SHOP.subsystem.encoded, "Ihr Name und Ihre Anschrift",
                     "So that we check your delivery address.", "30 days from today"):  # fmt: skip
            assert told in page.text, told
        async with town.browser() as stranger:
            await stranger.log_in("anna.probe")
            assert (await stranger.get(link)).status == 404

        # 2. Given: the shop finds it, and the data move; the utility's service learns who asks, for whom, on what.
        given = await town.consent(browser, "pd-adresse", id_code)
        answer = await town.fetch(given)
        assert answer.status == 200, answer.body
        assert answer.headers["X-Datenweg-Audit-Receipt"].startswith("DE-TEST/COM/STADTWERKE/")
        reached = pair.backend.calls[-1].headers
        assert reached["X-Road-Client"] == SHOP.subsystem.encoded
        assert (reached["X-Datenweg-Subject"], reached["X-Datenweg-Consent"]) == (given.subject, given.reference)
        assert given.subject != id_code, "two institutions know the person by the same name"
        # It is the shop's alone, and for this person and this service.
        for guessed in (replace(given, subject=id_code), replace(given, reference=str(uuid.uuid4()))):
            assert await town.refusal(guessed) == "identity_level_too_low", "whether there is such a consent shows"
        validity = f"consent/api/consent/validation/dataprovider?consentReference={given.reference}"
        checked = (await town.call(UTILITY, validity)).json
        assert checked["clientSubsystemIdentifier"] == SHOP.subsystem.encoded
        assert checked["idCode"] == given.subject

        # 3. The utility's gateway reports by itself, and the citizen reads it beside the consent.
        await until(lambda: was_transmitted(town, given, 1))
        page = await browser.get("/consents")
        assert "Handed over 1 time" in page.text

        # 4. Withdrawn: at once.
        await browser.submit("/consents", f"/consents/{given.reference}/withdraw")
        assert await town.refusal(given) == "consent_withdrawn"

        # 5. Given again until a moment that comes.
        soon = (datetime.now(UTC) + timedelta(minutes=3)).isoformat(timespec="seconds")
        await town.declare("pd-kurz", expiry=soon)
        brief = await town.consent(browser, "pd-kurz", id_code)
        assert (await town.fetch(brief)).status == 200
        shop = pair.others[SHOP]
        for node in (pair.provider, shop):
            node.clock.ahead = timedelta(minutes=4)
        try:
            assert await town.refusal(brief) == "consent_expired"
        finally:
            for node in (pair.provider, shop):
                node.clock.ahead = timedelta(0)

        # 6. Given again, and the shop's declaration withdrawn.
        await town.declare("pd-ende")
        last = await town.consent(browser, "pd-ende", id_code)
        assert (await town.fetch(last)).status == 200
        ended = await town.call(SHOP, "consent/api/declarations/purpose/pd-ende", "DELETE")
        assert ended.json["consentsEnded"] == 1
        assert await town.refusal(last) == "consent_withdrawn"

        # 7. Every step is in the citizen's access log, with the shop as the one who asked.
        async def all_there() -> bool:
            nonlocal found
            theirs = [one for one in await accesses(town, browser) if one["client"] == "Laden am Markt"]
            found = {(one["consent"], one["service"], one["result"], one["reason"]) for one in theirs}
            return expected <= found

        found: set[Any] = set()
        denied = "server.serverproxy.consent_"
        expected = {
            *((one.reference, DATA.encoded, "delivered", None) for one in (given, brief, last)),
            (given.reference, DATA.encoded, "denied", f"{denied}withdrawn"),
            (brief.reference, DATA.encoded, "denied", f"{denied}expired"),
            (last.reference, DATA.encoded, "denied", f"{denied}withdrawn"),
            (None, f"{APP.encoded}/consent", "delivered", None),
        }
        await until(all_there)
        assert "Question for your consent" in (await browser.get("/accesses")).text
    pair.secrets |= {id_code, given.subject}
    pair.require_discreet()


async def test_a_report_waits_for_the_consent_service_and_delays_nobody(town: Town) -> None:
    pair = town.pair
    async with town.browser() as browser:
        await browser.log_in()
        id_code = await known_at_the_shop(town, browser)
        await town.declare("pd-spaeter")
        given = await town.consent(browser, "pd-spaeter", id_code)
    await pair.consumer.stop()
    # The city is away: whoever has a consent is served all the same, and what moved is kept to be reported.
    assert (await town.fetch(given)).status == 200
    assert (await town.fetch(given)).status == 200
    # What didn't move isn't.
    assert (await town.fetch(given, "/status/503")).status == 503
    pair.provider.clock.ahead = timedelta(seconds=30)
    try:
        await until(lambda: were_tried(town, 2))
        # Nor does the utility's gateway forget when it is started again.
        await pair.provider.restart()
        assert await waiting(town) == 2
        await pair.consumer.start()
        pair.provider.clock.ahead = timedelta(seconds=120)
        await until(lambda: was_transmitted(town, given, 2))
        await until(lambda: is_quiet(town))
        assert await was_transmitted(town, given, 2)
    finally:
        pair.provider.clock.ahead = timedelta(0)
    assert {line["reason"] for line in pair.lines() if line["event"] == "a transmission could not be reported yet"}
    pair.secrets |= {id_code, given.subject, given.reference}
    pair.require_discreet()


async def test_what_the_consent_service_does_not_know_is_given_up(town: Town) -> None:
    pair = town.pair
    since = pair.position
    # A consent that the city signed, but not one that its consent service keeps.
    reference = await pair.give_consent(
        client=SHOP.subsystem.encoded, service=DATA.encoded, identity_level="substantial"
    )
    assert (await town.fetch(Consented(reference, pair.pseudonym()))).status == 200
    await until(lambda: is_quiet(town))
    (line,) = [line for line in pair.lines(since) if line["event"] == "a transmission is not reported"]
    assert (line["reason"], line["level"]) == ("status 404", "error")


async def test_no_report_of_the_citys_own_requests(town: Town) -> None:
    pair = town.pair
    reference = await pair.give_consent()
    headers = {"X-Datenweg-Subject": pair.pseudonym(), "X-Datenweg-Consent": reference}
    assert (await pair.call("konto", headers=headers)).status == 200
    assert await waiting(town) == 0
