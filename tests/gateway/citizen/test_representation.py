"""A parent for a child: by the issuer's claim or a registered relation, for what the document lets, for nobody else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.citizen.tables import relation as relation_table
from gateway.exchange.citizen_tokens import ClaimedRelation, VerifiedCitizen
from gateway.exchange.representation import NotRepresented
from gateway.messages.headers import IdentityLevel
from tests.gateway.citizen.citizens import ANNA, ERIKA
from tests.gateway.citizen.city import APP, BANK, Browser, City, pseudonym_of, run_city
from tests.gateway.citizen.test_accesses import MONTH, own_bundles, run_log
from tests.gateway.citizen.test_api import AUDIENCE, send
from tests.gateway.citizen.test_consents import payload_of

MIA = "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e11"
TOMORROW_MS = 86_400_000


@pytest.fixture
async def city(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    """On both databases."""
    async with run_city(database_url, tmp_path) as running:
        yield running


def bearer(city: City, subject: str = ERIKA, **claims: Any) -> dict[str, str]:
    now = int(city.clock.now().timestamp())
    content = {"iss": city.issuer_url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, "acr": "high"}
    return {"Authorization": "Bearer " + city.issuer.keys.sign(content | claims, token_type="at+jwt")}


def parent(city: City) -> dict[str, str]:
    return bearer(city, represents=[{"sub": MIA, "role": "parent", "name": "Mia Beispiel"}])


async def test_the_demos_parent_has_a_child(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        _, listed = await send(browser, "GET", "/represented", {})
        (child,) = listed["represented"]
        assert (child["role"], child["name"], child["untilMs"]) == ("parent", "Mia Beispiel", None)
        # What names the child to its parent says nothing to anybody else.
        assert MIA not in child["reference"]


async def test_a_parent_calls_and_looks_for_a_child(city: City, tmp_path: Path) -> None:
    city.road.answers["GET", "bills"] = (200, {"bills": []})
    here = pseudonym_of(city, MIA, APP.member)
    async with run_log(tmp_path, "own", keeper=APP) as own:
        await own.record(here, requestId="mias-exchange")
        own_bundles(city)[here] = await own.bundle(here)
    async with city.browser() as browser:
        headers = parent(city)
        _, listed = await send(browser, "GET", "/represented", headers)
        headers["X-Datenweg-Representing"] = listed["represented"][0]["reference"]
        status, _ = await send(browser, "POST", "/calls", headers, {"service": "strom", "path": ["bills"]})
        assert status == 200
        (sent,) = city.road.of("/bills")
        assert sent.headers["X-Datenweg-Representing"] == headers["X-Datenweg-Representing"]
        status, view = await send(browser, "GET", f"/accesses?month={MONTH}", headers)
        assert status == 200
        assert [access["requestId"] for access in view["accesses"]] == ["mias-exchange"]
        asked = [
            request for request in city.road.of("datenwegAccesses") if "X-Datenweg-Representing" in request.headers
        ]
        assert len(asked) == 2
        status, consents = await send(browser, "GET", "/consents", headers)
        assert (status, consents["consents"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", "/me", None),
        ("GET", "/devices", None),
        ("POST", "/complaints", {"text": "x"}),
        ("GET", "/notice-channels", None),
        ("PUT", "/notice-channels/mail", {"address": "x@example.org"}),
        ("POST", "/push-subscriptions", {"endpoint": "https://x.example/", "keys": {"p256dh": "x", "auth": "x"}}),
        ("POST", "/consents/x/extension", None),
        ("POST", "/links", {"service": "strom"}),
    ],
)
async def test_a_parent_may_not_do_everything(city: City, method: str, path: str, document: Any) -> None:
    async with city.browser() as browser:
        headers = parent(city)
        _, listed = await send(browser, "GET", "/represented", headers)
        headers["X-Datenweg-Representing"] = listed["represented"][0]["reference"]
        status, problem = await send(browser, method, path, headers, document)
        assert (status, problem["code"]) == (403, "representation_refused")


async def for_mia(city: City, browser: Browser) -> dict[str, str]:
    """What a request of Erika's for Mia carries."""
    headers = bearer(city, represents=[{"sub": MIA, "role": "parent", "name": "Mia Beispiel"}], name="Erika Beispiel")
    _, listed = await send(browser, "GET", "/represented", headers)
    return headers | {"X-Datenweg-Representing": listed["represented"][0]["reference"]}


async def test_a_parent_consents_for_a_child(city: City) -> None:
    async with city.browser() as browser:
        headers = await for_mia(city, browser)
        status, consent = await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
        assert (status, consent["state"], consent["byRepresentative"]) == (201, "valid", True)
        assert not consent["extendable"]
        (pushed,) = city.road.of("datenwegConsent")
        assert payload_of(pushed)["subject"] == pseudonym_of(city, MIA, BANK.member)
        _, listed = await send(browser, "GET", "/consents", headers)
        assert [one["reference"] for one in listed["consents"]] == [consent["reference"]]
        # The parent's own list has none of it, nor is there anything to read of it there.
        assert (await send(browser, "GET", "/consents", parent(city)))[1]["consents"] == []
        path = f"/consents/{consent['reference']}"
        assert (await send(browser, "GET", path, parent(city)))[0] == 404
        _, receipt = await send(browser, "GET", f"{path}/receipt", headers)
        assert receipt["dpv:hasDataSubject"] == pseudonym_of(city, MIA, BANK.member)
        assert receipt["dpv:hasRepresentative"] == {
            "@type": "dpv:ParentOfDataSubject",
            "dct:identifier": city.context.person(city.issuer_url, ERIKA),
            "dct:title": "Erika Beispiel",
            "dpv:isRepresentativeFor": {
                "dct:identifier": pseudonym_of(city, MIA, BANK.member),
                "dct:title": "Mia Beispiel",
            },
        }
        by = [status.get("dpv:isIndicatedBy") for status in receipt["dpv:hasConsentStatus"]]
        assert by == [consent["client"], city.context.person(city.issuer_url, ERIKA)]
        status, withdrawn = await send(browser, "POST", f"{path}/withdrawal", headers)
        assert (status, withdrawn["state"]) == (200, "withdrawn")
        assert [event["byRepresentative"] for event in withdrawn["events"]] == [False, True, True]


async def test_another_parent_reads_no_name_of_the_first(city: City) -> None:
    await city.citizen.relations.register(
        issuer=city.issuer_url,
        representative=ANNA,
        represented=MIA,
        role="guardian",
        name="Mia Beispiel",
        until_ms=city.clock.now_ms() + TOMORROW_MS,
    )
    async with city.browser() as browser:
        headers = await for_mia(city, browser)
        _, consent = await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
        other = bearer(city, ANNA, name="Anna Probe")
        _, listed = await send(browser, "GET", "/represented", other)
        other |= {"X-Datenweg-Representing": listed["represented"][0]["reference"]}
        _, receipt = await send(browser, "GET", f"/consents/{consent['reference']}/receipt", other)
        both = receipt["dpv:hasRepresentative"]
        assert both["dct:identifier"] == city.context.person(city.issuer_url, ERIKA)
        assert both["@type"] == "dpv:Representative"
        assert "dct:title" not in both
        assert both["dpv:isRepresentativeFor"]["dct:title"] == "Mia Beispiel"
        # What the other takes back, the other took back.
        _, withdrawn = await send(browser, "POST", f"/consents/{consent['reference']}/withdrawal", other)
        assert withdrawn["state"] == "withdrawn"
        _, receipt = await send(browser, "GET", f"/consents/{consent['reference']}/receipt", headers)
        by = [status.get("dpv:isIndicatedBy") for status in receipt["dpv:hasConsentStatus"]]
        assert by[1:] == [city.context.person(city.issuer_url, subject) for subject in (ERIKA, ANNA)]


async def test_a_child_of_age_reads_who_decided_and_extends_nothing_of_it(city: City) -> None:
    async with city.browser() as browser:
        _, consent = await send(browser, "POST", "/consents", await for_mia(city, browser), {"service": "kontostand"})
        path = f"/consents/{consent['reference']}"
        _, receipt = await send(browser, "GET", f"{path}/receipt", bearer(city, MIA))
        assert "dct:title" not in receipt["dpv:hasRepresentative"]
        assert (await send(browser, "POST", f"{path}/extension", bearer(city, MIA)))[0] == 409
        _, told = await send(browser, "GET", "/notices", bearer(city, MIA))
        (one,) = (notice for notice in told["notices"] if notice["kind"] == "represented")
        # The parent reads it, too; that it was read is the child's to say.
        acting = await for_mia(city, browser)
        _, same = await send(browser, "GET", "/notices", acting)
        assert one["id"] in {notice["id"] for notice in same["notices"]}
        assert (await send(browser, "POST", f"/notices/{one['id']}/read", acting))[0] == 403


async def test_what_is_taken_along_for_a_child_is_the_childs(city: City) -> None:
    async with city.browser() as browser:
        headers = await for_mia(city, browser)
        await send(browser, "POST", "/complaints", parent(city), {"text": "erikas"})
        await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
        _, document = await send(browser, "GET", "/export?months=1", headers)
        reference = headers["X-Datenweg-Representing"]
        assert document["identity"] == {"reference": reference, "name": "Mia Beispiel", "representedBy": "parent"}
        assert [len(document[part]) for part in ("consents", "receipts")] == [1, 1]
        assert [document[part] for part in ("devices", "complaints", "represented")] == [[], [], []]
        assert MIA not in json.dumps(document)
        assert ERIKA not in json.dumps(document)


async def test_nobody_else_acts_for_the_child(city: City) -> None:
    async with city.browser() as browser:
        _, listed = await send(browser, "GET", "/represented", parent(city))
        reference = listed["represented"][0]["reference"]
        for headers in (
            bearer(city),
            bearer(city, ANNA),
            bearer(city, ANNA, represents=[{"sub": "another", "role": "parent", "name": "x"}]),
            bearer(city, ANNA, represents=[{"sub": MIA, "role": "aunt", "name": "Mia"}]),
        ):
            headers["X-Datenweg-Representing"] = reference
            status, problem = await send(browser, "GET", "/consents", headers)
            assert (status, problem["code"]) == (403, "representation_refused")
        for made_up in ("x", MIA, "é"):
            headers = parent(city) | {"X-Datenweg-Representing": made_up}
            assert (await send(browser, "GET", "/consents", headers))[0] == 403


async def test_a_registered_relation_holds_until_its_day(city: City) -> None:
    relations, until_ms = city.citizen.relations, city.clock.now_ms() + TOMORROW_MS
    made = await relations.register(
        issuer=city.issuer_url, representative=ANNA, represented=MIA, role="guardian", name="Mia", until_ms=until_ms
    )
    async with city.engine.connect() as connection:
        row = (await connection.execute(relation_table.select())).one()
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert MIA.encode() not in stored
    assert ANNA.encode() not in stored
    assert b"Mia" not in stored
    async with city.browser() as browser:
        _, listed = await send(browser, "GET", "/represented", bearer(city, ANNA))
        assert listed["represented"] == [
            {"reference": made.reference, "role": "guardian", "name": "Mia", "untilMs": until_ms}
        ]
        headers = {"X-Datenweg-Representing": made.reference}
        assert (await send(browser, "GET", "/consents", bearer(city, ANNA) | headers))[0] == 200
        # The same relation again: another role, another day, no second entry.
        await relations.register(
            issuer=city.issuer_url, representative=ANNA, represented=MIA, role="parent", name="Mia", until_ms=until_ms
        )
        assert [one.role for one in await relations.listed()] == ["parent"]
        city.clock.advance(days=1)
        assert (await send(browser, "GET", "/represented", bearer(city, ANNA)))[1]["represented"] == []
        assert (await send(browser, "GET", "/consents", bearer(city, ANNA) | headers))[0] == 403
    assert await relations.remove(made.reference)
    assert not await relations.remove(made.reference)


def citizen_of(city: City, subject: str, *claims: ClaimedRelation) -> VerifiedCitizen:
    expires = city.clock.now() + timedelta(minutes=10)
    return VerifiedCitizen(city.issuer_url, subject, IdentityLevel.HIGH, expires, represents=claims)


async def test_a_claim_counts_for_known_roles_and_others_alone(city: City) -> None:
    """What the issuer calls a relation and we don't know gives no right; nor does being oneself."""
    claims = [ClaimedRelation(f"kind-{role}", role, role) for role in ("parent", "guardian", "admin", "", "Parent")]
    citizen = citizen_of(city, ERIKA, *claims, ClaimedRelation(ERIKA, "parent", "selbst"))
    assert [one.role for one in await city.citizen.relations.of(citizen)] == ["parent", "guardian"]


async def test_a_relation_counts_from_its_beginning(city: City) -> None:
    """Not at a process whose clock is behind the register's, either."""
    relations = city.citizen.relations
    made = await relations.register(
        issuer=city.issuer_url, representative=ERIKA, represented="kind", role="guardian", name="Kind",
        until_ms=city.clock.now_ms() + TOMORROW_MS,
    )  # fmt: skip
    citizen = citizen_of(city, ERIKA)
    assert [one.reference for one in await relations.of(citizen)] == [made.reference]
    city.clock.advance(seconds=-1)
    assert await relations.of(citizen) == ()
    with pytest.raises(NotRepresented):
        await relations.resolve(citizen, made.reference)
