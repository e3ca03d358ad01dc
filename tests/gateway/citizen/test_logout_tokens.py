"""Back-channel logout (OpenID Connect Back-Channel Logout 1.0): the issuer's word ends sessions here, and only that."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from gateway.exchange.issuer_documents import DocumentUnavailable
from gateway.rate import RateLimit
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import Browser, City

EVENT = "http://schemas.openid.net/event/backchannel-logout"


def claims(city: City, **changes: Any) -> dict[str, Any]:
    now = int(city.clock.now().timestamp())
    content = {
        "iss": city.issuer_url,
        "aud": "datenweg-citizen",
        "sub": ERIKA,
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_urlsafe(8),
        "events": {EVENT: {}},
    } | changes
    return {name: value for name, value in content.items() if value is not None}


async def tell(browser: Browser, token: str) -> tuple[int, str]:
    page = await browser.post("/login/backchannel", {"logout_token": token})
    assert page.headers["Cache-Control"] == "no-store"
    return page.status, json.loads(page.text)["error_description"] if page.text else ""


async def logged_in(browser: Browser) -> bool:
    return (await browser.get("/api/v1/me")).status == 200


async def test_a_logout_at_the_issuer_ends_the_session_here(city: City) -> None:
    async with city.browser() as phone, city.browser() as laptop, city.browser() as anna:
        await phone.log_in()
        await laptop.log_in()
        await anna.log_in("anna.probe")
        # At the issuer, from whichever of its clients: our pages aren't asked.
        await phone.get(f"{city.issuer_url}/logout")
        assert [await logged_in(browser) for browser in (phone, laptop, anna)] == [False, True, True]


async def test_a_person_is_logged_out_everywhere(city: City) -> None:
    async with city.browser() as phone, city.browser() as laptop, city.browser() as anna:
        await phone.log_in()
        await laptop.log_in()
        await anna.log_in("anna.probe")
        token = city.issuer.keys.sign(claims(city), token_type="logout+jwt")
        assert await tell(anna, token) == (200, "")
        assert [await logged_in(browser) for browser in (phone, laptop, anna)] == [False, False, True]
        # Once: a token that was seen on the way ends no later session.
        await laptop.get("/login")
        assert await logged_in(laptop)
        assert await tell(anna, token) == (400, "replayed")
        assert await logged_in(laptop)


async def test_a_session_of_somebody_else_is_not_ended_by_its_name(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        for changes in ({"sub": None, "sid": "unknown"}, {"sub": "somebody", "sid": "unknown"}, {"sub": "somebody"}):
            token = city.issuer.keys.sign(claims(city, **changes), token_type="logout+jwt")
            assert await tell(browser, token) == (200, "")
        assert await logged_in(browser)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"aud": "citizen-app"}, "audience"),
        ({"aud": None}, "audience"),
        ({"iat": 1_700_000_000}, "expired"),
        ({"iat": None}, "iat"),
        ({"exp": 1_700_000_000}, "expired"),
        ({"sub": None}, "subject"),
        ({"sub": 7}, "subject"),
        ({"sid": ["x"]}, "subject"),
        ({"events": None}, "events"),
        ({"events": {}}, "events"),
        ({"events": {EVENT: "x"}}, "events"),
        ({"events": [EVENT]}, "events"),
        ({"nonce": "n"}, "nonce"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
    ],
    ids=str,
)
async def test_tokens_that_log_nobody_out(city: City, changes: dict[str, Any], reason: str) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        token = city.issuer.keys.sign(claims(city, **changes), token_type="logout+jwt")
        assert await tell(browser, token) == (400, reason)
        assert await logged_in(browser)


async def test_nobody_keeps_the_issuer_from_logging_out(city: City) -> None:
    """Behind a proxy all may share one address: what others try counts against them, not against the issuer's word."""
    async with city.browser() as browser:
        await browser.log_in()
        object.__setattr__(city.citizen, "login_attempts", RateLimit(burst=1, refill_ms=3_600_000))
        assert await tell(browser, "x") == (400, "signature")
        assert (await browser.post("/login/backchannel", {"logout_token": "x"})).status == 429
        assert (await browser.get("/login", follow=False)).status == 429
        token = city.issuer.keys.sign(claims(city), token_type="logout+jwt")
        assert await tell(browser, token) == (200, "")
        assert not await logged_in(browser)


async def test_a_key_that_the_issuer_has_removed_logs_nobody_out(city: City) -> None:
    """Also where no token with the new key has come by, for which the keys would have been asked for again."""
    async with city.browser() as browser:
        await browser.log_in()
        stolen = city.issuer.keys._keys[0]
        for _ in range(2):
            city.issuer.keys.rotate()
        city.clock.advance(minutes=16)
        token = jwt.encode({"alg": "ES256", "kid": stolen.kid, "typ": "logout+jwt"}, claims(city), stolen)
        assert await tell(browser, token) == (400, "key")
        assert await logged_in(browser)


async def test_an_issuer_that_is_away_goes_on_logging_out(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        city.clock.advance(minutes=16)

        async def away(_: str) -> dict[str, Any]:
            raise DocumentUnavailable("no answer")

        monkeypatch.setattr(city.citizen.issuer._documents, "fetch", away)
        token = city.issuer.keys.sign(claims(city), token_type="logout+jwt")
        assert await tell(browser, token) == (200, "")
        assert not await logged_in(browser)


async def test_forged_tokens_log_nobody_out(city: City) -> None:
    key = ECKey.generate_key("P-256", auto_kid=True)
    known = city.issuer.keys.public()["keys"][0]
    public = ECKey.import_key(known)
    content = claims(city)
    forged = {
        "another key": jwt.encode({"alg": "ES256", "kid": key.kid}, content, key),
        "its name on another key": jwt.encode({"alg": "ES256", "kid": known["kid"]}, content, key),
        "an embedded key": jwt.encode({"alg": "ES256", "jwk": key.as_dict(private=False)}, content, key),
        "a MAC under anything": jwt.encode(
            {"alg": "HS256", "kid": known["kid"]}, content, OctKey.import_key(public.thumbprint())
        ),
        "no signature": "eyJhbGciOiJub25lIn0." + "e30" + ".",
        "an access token": city.issuer.keys.sign(content, token_type="at+jwt"),
        "no token": "x",
        "nothing": "",
        "too long": "x" * 9_000,
    }
    async with city.browser() as browser:
        await browser.log_in()
        for name, token in forged.items():
            status, reason = await tell(browser, token)
            assert status == 400, name
            assert reason in ("key", "signature", "type", "logout token"), name
        assert await logged_in(browser)
