"""What doesn't get through: stolen cookies, forms of other sites, tokens with tricks, redirects, frames."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from structlog.testing import capture_logs

from gateway.citizen.errors import FormRefused, LoginRefused
from gateway.citizen.web import local_path, require_csrf
from tests.gateway.citizen.citizens import ERIKA, session_for
from tests.gateway.citizen.city import AUDIENCE, City
from tests.gateway.citizen.test_api import bearer, send


async def test_a_stolen_cookie_in_another_browser_ends_the_session(city: City) -> None:
    async with city.browser() as victim, city.browser() as thief:
        await victim.log_in()
        cookies = victim.session.cookie_jar.filter_cookies((await victim.get("/static/style.css")).url)
        session = cookies["datenweg_session"].value
        page = await thief.get("/api/v1/me", Cookie=f"datenweg_session={session}")
        assert page.status == 401
        # The victim's session has ended, too: who holds it now can't be told apart. They log in again, and are told.
        assert (await victim.get("/api/v1/me")).status == 401
        await victim.get("/login")
        _, notices = await send(victim, "GET", "/notices", {})
        assert "session_refused" in {notice["kind"] for notice in notices["notices"]}


async def test_both_cookies_in_a_browser_of_another_name_end_the_session(city: City) -> None:
    async with city.browser() as victim, city.browser() as thief:
        await victim.log_in()
        cookies = victim.session.cookie_jar.filter_cookies((await victim.get("/static/style.css")).url)
        stolen = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
        assert (await thief.get("/api/v1/me", Cookie=stolen, User_Agent="Elsewhere/1.0")).status == 401
        assert (await victim.get("/api/v1/me")).status == 401


async def test_cookies_are_closed_to_scripts_and_other_sites(city: City) -> None:
    async with city.browser() as browser:
        begun = await browser.get("/login", follow=False)
        form = await browser.get(begun.headers["Location"])
        page = await browser.enter(form, "erika.beispiel", "musterstadt")
        assert page.status == 200
        for cookie in browser.session.cookie_jar:
            if cookie.key.startswith("datenweg_"):
                assert cookie["httponly"], cookie.key
                assert cookie["samesite"] in ("Lax", "Strict"), cookie.key


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", "http://127.0.0.1", "https://127.0.0.1:1", "file://", ""]
)
async def test_a_change_from_another_origin_is_refused(city: City, origin: str) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        _, me = await send(browser, "GET", "/me", {})
        headers = {"X-CSRF-Token": me["csrf"], "Origin": origin}
        status, problem = await send(browser, "POST", "/complaints", headers, {"text": "x"})
        assert (status, problem["code"]) == (403, "form_refused")
        page = await browser.post("/logout", {"csrf": me["csrf"]}, follow=False, Origin=origin)
        assert page.status == 403
        headers["Origin"] = city.url
        assert (await send(browser, "POST", "/complaints", headers, {"text": "x"}))[0] == 201


async def test_every_answer_is_closed_to_frames_and_sniffing(city: City) -> None:
    async with city.browser() as browser:
        for path in ("/", "/login", "/nothing", "/api/v1/me", "/api/v1/openapi.json", "/static/style.css"):
            page = await browser.get(path, follow=False)
            assert page.headers["X-Frame-Options"] == "DENY", path
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"], path
            assert page.headers["X-Content-Type-Options"] == "nosniff", path


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "/\\evil.example", "https:/evil.example", "\\/evil.example", "/%5cevil.example/\\"),
        *("/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "/\u2028/evil.example", "///evil.example"),
    ],
)
def test_no_text_leads_to_another_host(target: str) -> None:
    found = local_path(target)
    assert found == "/" or (found.startswith("/") and not found.startswith(("//", "/\\")))


def forged(city: City) -> dict[str, str]:
    """Access tokens that nobody issued."""
    now = int(city.clock.now().timestamp())
    content = {"iss": city.issuer_url, "aud": AUDIENCE, "sub": ERIKA, "iat": now, "exp": now + 600, "acr": "high"}
    own = ECKey.generate_key("P-256", auto_kid=True)
    known = city.issuer.keys.public()["keys"][0]
    rsa = RSAKey.generate_key(2048, auto_kid=True)

    def made(header: dict[str, Any], key: Any) -> str:
        return jwt.encode({"typ": "at+jwt", **header}, content, key, algorithms=[str(header["alg"])])

    unsigned = made({"alg": "ES256", "kid": known["kid"]}, own).rsplit(".", 1)[0]
    return {
        "another key": made({"alg": "ES256", "kid": own.kid}, own),
        "its name on another key": made({"alg": "ES256", "kid": known["kid"]}, own),
        "an embedded key": made({"alg": "ES256", "kid": known["kid"], "jwk": own.as_dict(private=False)}, own),
        "a key elsewhere": made({"alg": "ES256", "kid": own.kid, "jku": "https://evil.example/jwks"}, own),
        "another algorithm": made({"alg": "RS256", "kid": known["kid"]}, rsa),
        "a MAC under the public key": made({"alg": "HS256", "kid": known["kid"]}, OctKey.import_key(known["x"])),
        "no signature": unsigned + ".",
        "no algorithm": "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + unsigned.split(".")[1] + ".",
        "an ID token": city.issuer.keys.sign(content, token_type="JWT"),
    }


async def test_forged_tokens_open_nothing(city: City) -> None:
    async with city.browser() as browser:
        assert (await send(browser, "GET", "/me", bearer(city)))[0] == 200
        for name, token in forged(city).items():
            status, problem = await send(browser, "GET", "/me", {"Authorization": f"Bearer {token}"})
            assert (status, problem["code"]) == (401, "not_logged_in"), name
            # The answer says that it didn't hold, not why: nobody learns how to forge a better one.
            assert set(problem) == {"type", "title", "status", "code", "instance"}, name


@pytest.mark.parametrize("scheme", ["Basic", "Negotiate", "bearer", "DPOP", "dpop"])
async def test_schemes(city: City, scheme: str) -> None:
    token = bearer(city)["Authorization"].removeprefix("Bearer ")
    async with city.browser() as browser:
        status, _ = await send(browser, "GET", "/me", {"Authorization": f"{scheme} {token}"})
        assert status == (200 if scheme == "bearer" else 401)


@pytest.mark.parametrize("kind", ["consents", "links", "complaints"])
async def test_things_of_others_look_like_things_that_are_not(city: City, kind: str) -> None:
    """Nobody finds out by trying whether a reference exists."""
    async with city.browser() as browser:
        _, consent = await send(browser, "POST", "/consents", bearer(city), {"service": "kontostand"})
        _, complaint = await send(browser, "POST", "/complaints", bearer(city), {"text": "x"})
        link = await city.citizen.links.add(
            city.context.person(city.issuer_url, ERIKA), service="strom", provider="x", label="x"
        )
        mine = {"consents": consent["reference"], "links": link.id, "complaints": complaint["id"]}[kind]
        others = bearer(city, "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e02")
        answers = []
        for identifier in (mine, secrets.token_urlsafe(16), "x" * 200):
            status, problem = await send(browser, "GET", f"/{kind}/{identifier}", others)
            problem.pop("instance")
            answers.append((status, problem))
        assert answers[0][0] == 404
        assert answers.count(answers[0]) == 3
        assert (await send(browser, "GET", f"/{kind}/{mine}", bearer(city)))[0] == 200


async def test_a_problem_carries_the_id_of_its_log_line(city: City) -> None:
    async with city.browser() as browser:
        with capture_logs() as lines:
            _, problem = await send(browser, "GET", "/consents/secret-reference", bearer(city))
    number = problem["instance"].removeprefix("urn:uuid:")
    (line,) = (line for line in lines if line.get("exchange") == number)
    assert (line["code"], line["path"]) == ("not_found", "/api/v1/consents/{reference}")
    assert "secret-reference" not in json.dumps([problem, *lines], default=str)


async def test_octets_that_are_no_text_are_refused_and_no_accident(city: City) -> None:
    """As they come out of a cookie or header whose octets are no UTF-8."""
    with pytest.raises(FormRefused):
        require_csrf(session_for(city), "\udcff")
    with pytest.raises(LoginRefused, match="state"):
        await city.citizen.logins.finish({"state": "x", "code": "y"}, browser_state="\udcff")
    with pytest.raises(LoginRefused, match="state"):
        await city.citizen.logins.finish({"state": "\udcff", "code": "y"}, browser_state="\udcff")


async def test_the_session_of_a_city_over_tls_has_host_cookies(city: City) -> None:
    context = city.citizen.context
    settings = replace(context.settings, public_url="https://buergerkonto.musterstadt.example")
    object.__setattr__(city.citizen, "context", replace(context, settings=settings))
    assert city.citizen.session_cookie == "__Host-datenweg_session"
    assert city.citizen.device_cookie == "__Host-datenweg_device"
    async with aiohttp.ClientSession() as session, session.get(f"{city.url}/login", allow_redirects=False) as begun:
        # RFC 6265bis section 4.1.3.2: without Path=/ and Secure, or with a Domain, browsers refuse such a cookie.
        name, *attributes = begun.headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-datenweg_login=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= set(attributes)
    assert not [one for one in attributes if one.startswith("Domain")]
    async with aiohttp.ClientSession() as session, session.get(f"{city.url}/", allow_redirects=False) as answer:
        assert answer.headers["Strict-Transport-Security"]
