"""A citizen's own app at the API: tokens bound to its key (RFC 9449), devices, and what thieves of tokens get."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc.jwk import ECKey
from sqlalchemy import select

from gateway.citizen.bindings import Nonces, StatementUsed, UsedStatements
from gateway.citizen.tables import used_statement
from gateway.exchange.dpop import verify_proof
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import AUDIENCE, City, run_city
from tests.gateway.citizen.test_api import bearer
from tests.gateway.citizen.wallet import App


@asynccontextmanager
async def installed(city: City) -> AsyncIterator[App]:
    """An app whose user is logged in."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        app = App(city, http)
        tokens = await app.log_in()
        assert tokens["token_type"] == "DPoP"
        yield app


@pytest.fixture
async def app(city: City) -> AsyncIterator[App]:
    """On SQLite."""
    async with installed(city) as app:
        yield app


@pytest.fixture
async def stored(database_url: str, tmp_path: Path) -> AsyncIterator[App]:
    """On both databases, for what the database decides."""
    async with run_city(database_url, tmp_path) as city, installed(city) as app:
        yield app


async def test_an_app_becomes_a_device_and_its_user_is_told(stored: App) -> None:
    app = stored
    status, me, _ = await app.send("GET", "/me")
    assert (status, me["identityLevel"], me["csrf"]) == (200, "high", None)
    _, listed, _ = await app.send("GET", "/devices")
    (device,) = listed["devices"]
    assert (device["id"], device["kind"], device["name"], device["current"]) == (me["device"], "app", "Musterapp", True)
    _, notices, _ = await app.send("GET", "/notices?unread=true")
    (notice,) = notices["notices"]
    assert (notice["kind"], notice["facts"]["device"]) == ("new_device", device["id"])
    status, read, _ = await app.send("POST", f"/notices/{notice['id']}/read")
    assert status == 200
    assert read["readMs"] is not None
    assert (await app.send("GET", "/notices?unread=true"))[1]["notices"] == []
    status, renamed, _ = await app.send("PATCH", f"/devices/{device['id']}", {"name": "Mein Telefon"})
    assert (status, renamed["name"]) == (200, "Mein Telefon")


async def test_a_bound_token_calls_services_over_the_road(app: App) -> None:
    app.city.road.answers["GET", "bills"] = (200, {"bills": []})
    status, answer, _ = await app.send("POST", "/calls", {"service": "strom", "path": ["bills"]})
    assert (status, answer["body"]) == (200, {"bills": []})
    (sent,) = app.city.road.of("/bills")
    assert sent.headers["X-Datenweg-Citizen"] == app.token
    # The proof was for our own door; what goes on the road is our voucher, never the app's proof.
    assert sent.headers["DPoP"].startswith("vouched.")


async def test_a_revoked_device_is_out_for_good(stored: App) -> None:
    app = stored
    _, me, _ = await app.send("GET", "/me")
    status, revoked, _ = await app.send("DELETE", f"/devices/{me['device']}")
    assert status == 200
    assert revoked["revokedMs"] is not None
    status, problem, headers = await app.send("GET", "/me")
    assert (status, problem["code"]) == (401, "not_logged_in")
    assert "invalid_dpop_proof" in headers["WWW-Authenticate"]
    # Neither does a new login with the same key help.
    await app.log_in()
    assert (await app.send("GET", "/me"))[0] == 401
    app.key = ECKey.generate_key("P-256")
    await app.log_in()
    status, listed, _ = await app.send("GET", "/devices")
    assert [one["revokedMs"] is None for one in listed["devices"]].count(True) == 1
    kinds = [notice["kind"] for notice in (await app.send("GET", "/notices"))[1]["notices"]]
    assert sorted(kinds) == ["device_revoked", "new_device", "new_device"]


async def test_what_a_thief_of_the_token_gets(app: App) -> None:
    me = f"{app.city.url}/api/v1/me"
    good = app.headers("GET", "/me")
    thief = App(app.city, app.http, token=app.token)
    other_token = dict(app.headers("GET", "/me"), DPoP=app.proof("GET", me, token="another"))
    attempts: list[tuple[dict[str, str], str]] = [
        ({"Authorization": f"Bearer {app.token}"}, "invalid_token"),
        ({"Authorization": f"Bearer {app.token}", "DPoP": good["DPoP"]}, "invalid_token"),
        ({"Authorization": f"DPoP {app.token}"}, "invalid_dpop_proof"),
        (thief.headers("GET", "/me"), "invalid_dpop_proof"),
        (app.headers("POST", "/me"), "invalid_dpop_proof"),
        (app.headers("GET", "/devices"), "invalid_dpop_proof"),
        (app.headers("GET", "/me", iat=app.now - 120), "invalid_dpop_proof"),
        (app.headers("GET", "/me", ath=None), "invalid_dpop_proof"),
        (other_token, "invalid_dpop_proof"),
    ]
    for headers, error in attempts:
        status, problem, answered = await app.send("GET", "/me", headers=headers)
        assert (status, problem["code"]) == (401, "not_logged_in"), headers
        assert f'error="{error}"' in answered["WWW-Authenticate"], headers
    assert (await app.send("GET", "/me", headers=good))[0] == 200
    # Once: the very same request again is a replay.
    status, _, answered = await app.send("GET", "/me", headers=good)
    assert status == 401
    assert "invalid_dpop_proof" in answered["WWW-Authenticate"]


async def test_two_proofs_in_one_request_are_none(app: App) -> None:
    url = f"{app.city.url}/api/v1/me"
    headers = [("Authorization", f"DPoP {app.token}")]
    headers += [("DPoP", app.proof("GET", url, token=app.token)) for _ in range(2)]
    async with app.http.get(url, headers=headers) as answer:
        assert answer.status == 401


async def test_of_many_with_one_proof_one_gets_through(stored: App) -> None:
    app = stored
    headers = app.headers("GET", "/me")
    answers = await asyncio.gather(*(app.send("GET", "/me", headers=headers) for _ in range(8)))
    assert sorted(status for status, _, _ in answers) == [200, *[401] * 7]


async def test_a_used_proof_stays_used_after_a_restart(stored: App) -> None:
    app = stored
    headers = app.headers("GET", "/me")
    assert (await app.send("GET", "/me", headers=headers))[0] == 200
    url = f"{app.city.url}/api/v1/me"
    proof = verify_proof(headers["DPoP"], method="GET", urls=(url,), at=app.city.clock.now(), token=app.token)
    anew = UsedStatements(app.city.engine, app.city.clock)
    with pytest.raises(StatementUsed):
        await anew.use(proof.fingerprint, expires_ms=proof.expires_ms)


async def test_a_used_proof_stays_used_at_a_process_whose_clock_is_behind(stored: App) -> None:
    """Who is ahead forgets what has lapsed for them alone: the others would take it again."""
    engine, clock = stored.city.engine, stored.city.clock
    behind, ahead, late = (UsedStatements(engine, clock) for _ in range(3))
    used, expires_ms = os.urandom(32), clock.now_ms() + 70_000
    await behind.use(used, expires_ms=expires_ms)
    clock.advance(minutes=2)
    await ahead.use(os.urandom(32), expires_ms=clock.now_ms() + 70_000)
    clock.advance(minutes=-2)
    with pytest.raises(StatementUsed):
        await behind.use(used, expires_ms=expires_ms)
    # It goes in the end: what nobody can take any more needn't be kept.
    clock.advance(hours=1)
    await late.use(os.urandom(32), expires_ms=clock.now_ms() + 70_000)
    async with engine.connect() as connection:
        kept = (await connection.execute(select(used_statement.c.expires_ms))).scalars().all()
    assert kept == [clock.now_ms() + 70_000]


async def test_a_nonce_is_asked_for_where_it_is_required(app: App) -> None:
    citizen = app.city.citizen
    object.__setattr__(citizen, "nonces", Nonces(app.city.context.cookie_key, app.city.clock, required=True))
    status, _, answered = await app.send("GET", "/me")
    assert status == 401
    assert 'error="use_dpop_nonce"' in answered["WWW-Authenticate"]
    nonce = answered["DPoP-Nonce"]
    assert (await app.send("GET", "/me", headers=app.headers("GET", "/me", nonce=nonce)))[0] == 200
    app.city.clock.advance(minutes=6)
    for stale in (nonce, nonce[:-2] + "AA", "", "x"):
        status, _, answered = await app.send("GET", "/me", headers=app.headers("GET", "/me", nonce=stale))
        assert status == 401
        assert answered["DPoP-Nonce"] != nonce


async def test_unbound_tokens_are_refused_where_the_city_says_so(app: App) -> None:
    context = app.city.citizen.context
    assert (await app.send("GET", "/me", headers=bearer(app.city)))[0] == 200
    settings = replace(context.settings, require_bound_tokens=True)
    object.__setattr__(app.city.citizen, "context", replace(context, settings=settings))
    status, _, answered = await app.send("GET", "/me", headers=bearer(app.city))
    assert status == 401
    assert answered["WWW-Authenticate"].startswith("DPoP")
    assert (await app.send("GET", "/me"))[0] == 200


async def test_a_token_without_a_key_is_no_dpop_token(app: App) -> None:
    token = bearer(app.city)["Authorization"].removeprefix("Bearer ")
    proof = app.proof("GET", f"{app.city.url}/api/v1/me", token=token)
    assert (await app.send("GET", "/me", headers={"Authorization": f"DPoP {token}", "DPoP": proof}))[0] == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"aud": "datenweg-citizen"},
        {"iss": "https://issuer.evil.example"},
        {"acr": "godlike"},
        {"sub": ""},
        {"cnf": {}},
        {"cnf": {"jkt": "x"}},
        {"cnf": {"x5t#S256": "x"}},
        {"cnf": {"jkt": "A" * 43, "x5t#S256": "x"}},
    ],
    ids=str,
)
async def test_foreign_and_expired_tokens(app: App, changes: dict[str, Any]) -> None:
    now = app.now
    claims = {"iss": app.city.issuer_url, "aud": AUDIENCE, "sub": ERIKA, "iat": now, "exp": now + 600, "acr": "high"}
    claims["cnf"] = {"jkt": app.key.thumbprint()}
    app.token = app.city.issuer.keys.sign(claims, token_type="at+jwt")
    assert (await app.send("GET", "/me"))[0] == 200
    app.token = app.city.issuer.keys.sign(claims | changes, token_type="at+jwt")
    assert (await app.send("GET", "/me"))[0] == 401
    # An ID token, and one of a logout, are no access tokens.
    for kind in ("JWT", "logout+jwt"):
        app.token = app.city.issuer.keys.sign(claims, token_type=kind)
        assert (await app.send("GET", "/me"))[0] == 401


async def test_the_issuer_takes_each_proof_once_and_for_its_own_address(city: City) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        app = App(city, http)
        url = f"{city.issuer_url}/token"
        form = {"grant_type": "authorization_code", "code": "x", "client_id": "citizen-app", "redirect_uri": "x"}
        good = app.proof("POST", url)
        for proof, error in (
            (good, "invalid_grant"),
            (good, "invalid_dpop_proof"),
            (app.proof("POST", f"{city.url}/token"), "invalid_dpop_proof"),
            ("x", "invalid_dpop_proof"),
        ):
            async with http.post(url, data=form, headers={"DPoP": proof}) as answer:
                assert (answer.status, (await answer.json())["error"]) == (400, error)
        assert (await app.log_in(bound=False))["token_type"] == "Bearer"


async def test_one_person_is_slowed_down_and_nobody_else(app: App) -> None:
    minute = app.city.context.settings.requests_per_minute
    for _ in range(minute):
        status, _, answered = await app.send("GET", "/me", headers=bearer(app.city))
        assert status == 200
    status, problem, answered = await app.send("GET", "/me", headers=bearer(app.city))
    assert (status, problem["code"]) == (429, "too_many_attempts")
    assert int(answered["Retry-After"]) >= 1
    assert (await app.send("GET", "/me", headers=bearer(app.city, "another")))[0] == 200
    app.city.clock.advance(seconds=2)
    assert (await app.send("GET", "/me", headers=bearer(app.city)))[0] == 200
