"""Login against the real issuer on loopback sockets: the flow, the sessions, and what must not get through."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from sqlalchemy import select

from gateway.citizen import tables
from gateway.citizen.devices import browser_thumbprint
from gateway.citizen.errors import LoginRefused, NotLoggedIn
from gateway.citizen.identity_tokens import VerifiedIdentity
from gateway.citizen.issuer_client import IssuerClient
from gateway.citizen.login import FinishedLogin
from gateway.citizen.sessions import BrowserHint
from gateway.citizen.web import local_path
from gateway.exchange.citizen_tokens import VerifiedCitizen
from gateway.messages.headers import IdentityLevel
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import Browser, City, run_city


async def test_a_citizen_logs_in_and_out(city: City) -> None:
    async with city.browser() as browser:
        welcome = await browser.get("/")
        assert "Your data, your decision" in welcome.text
        home = await browser.log_in()
        assert home.status == 200
        assert "Hello, Erika Beispiel" in home.text
        assert "high" in home.text
        gone = await browser.submit("/", "/logout")
        assert "Your data, your decision" in gone.text
        # The issuer has forgotten them too: it asks again.
        again = await browser.get("/login")
        assert urlsplit(str(again.url)).path == "/authorize"


async def test_a_confidential_client_proves_itself_with_its_secret(sqlite_url: str, tmp_path: Path) -> None:
    async with run_city(sqlite_url, tmp_path, secret="s:ecret &+ü") as city, city.browser() as browser:
        assert "Hello, Erika" in (await browser.log_in()).text


async def test_a_protected_page_leads_through_the_login_and_back(city: City) -> None:
    async with city.browser() as browser:
        page = await browser.log_in(start="/consents?x=1")
        assert page.url.path_qs == "/consents?x=1"


@pytest.mark.parametrize(
    "target",
    ["//evil.example/", "https://evil.example/", "/\\evil.example", "/a b", "javascript:alert(1)", "", "/\r\nX: 1"],
)
async def test_a_login_never_leads_elsewhere(city: City, target: str) -> None:
    assert local_path(target) == "/"
    async with city.browser() as browser:
        form = await browser.get(f"/login?return_to={quote(target, safe='')}")
        assert form.status == 200
        page = await browser.enter(form, "erika.beispiel", "musterstadt")
        assert str(page.url) == f"{city.url}/"


async def test_the_issuer_refuses_foreign_redirects_plain_challenges_and_missing_nonces(city: City) -> None:
    async with city.browser() as browser:
        begun = await browser.get("/login", follow=False)
        good = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["Location"]).query).items()}
        authorize = f"{city.issuer_url}/authorize?"
        foreign = await browser.get(
            authorize + urlencode(good | {"redirect_uri": "https://evil.example/"}), follow=False
        )
        assert foreign.status == 400
        assert "Location" not in foreign.headers
        for change in ({"code_challenge_method": "plain"}, {"code_challenge": ""}, {"nonce": ""}, {"state": ""}):
            refused = await browser.get(authorize + urlencode(good | change), follow=False)
            assert refused.status == 303
            assert "error=invalid_request" in refused.headers["Location"]


async def test_a_code_works_once_and_only_with_its_verifier(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        begun = await browser.get("/login", follow=False)
        issued = await browser.get(begun.headers["Location"], follow=False)
        code = parse_qs(urlsplit(issued.headers["Location"]).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": "datenweg-citizen",
            "redirect_uri": f"{city.url}/login/callback",
            "code_verifier": "x" * 43,
        }
        wrong = await browser.post(f"{city.issuer_url}/token", form)
        assert (wrong.status, json.loads(wrong.text)) == (400, {"error": "invalid_grant"})
        # Tried once, spent: our own callback can't use it any more either.
        late = await browser.get(issued.headers["Location"])
        assert late.status == 400
        assert "could not be confirmed" in late.text


async def test_an_answer_in_another_browser_or_twice_is_refused(city: City) -> None:
    async with city.browser() as mine, city.browser() as other:
        begun = await mine.get("/login", follow=False)
        form = await mine.get(begun.headers["Location"])
        assert form.status == 200
        await other.log_in()
        theirs = await other.get("/login", follow=False)
        answer = await other.get(theirs.headers["Location"], follow=False)
        # Login CSRF: an attacker's own answer, followed by the victim's browser.
        assert (await mine.get(answer.headers["Location"])).status == 400
        assert (await other.get(answer.headers["Location"])).status == 200
        assert (await other.get(answer.headers["Location"])).status == 400


async def test_the_tokens_of_two_persons_are_no_login(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page would show one of them, the road would ask for the other's data."""
    exchange, first = IssuerClient.exchange, dict[str, Any]()

    async def mixed(self: IssuerClient, code: str, **more: Any) -> Mapping[str, Any]:
        answer = await exchange(self, code, **more)
        if not first:
            first.update(answer)
            return answer
        return {**answer, "access_token": first["access_token"]}

    monkeypatch.setattr(IssuerClient, "exchange", mixed)
    # Optional in this flow (OpenID Connect Core 3.1.3.6): an issuer may leave it out.
    monkeypatch.setattr("gateway.citizen.identity_tokens._check_hash", lambda *_: None)
    async with city.browser() as erika, city.browser() as max_:
        assert "Hello, Erika" in (await erika.log_in()).text
        refused = await max_.log_in("max.beispiel")
        assert refused.status == 400
        assert "could not be confirmed" in refused.text
        assert "Your data, your decision" in (await max_.get("/")).text


async def test_an_answer_of_another_issuer_is_refused(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        begun = await browser.get("/login", follow=False)
        answer = await browser.get(begun.headers["Location"], follow=False)
        mixed = answer.headers["Location"].replace("iss=http", "iss=https")
        assert (await browser.get(mixed)).status == 400


async def test_wrong_passwords_are_counted_and_say_nothing_about_names(city: City) -> None:
    async with city.browser() as browser:
        form = await browser.get("/login")
        known = await browser.enter(form, "max.beispiel", "wrong")
        unknown = await browser.enter(form, "nobody", "wrong")
        assert known.status == unknown.status == 401
        assert "is not right" in known.text
        for _ in range(4):
            await browser.enter(form, "max.beispiel", "wrong")
        limited = await browser.enter(form, "max.beispiel", "musterstadt")
        assert limited.status == 429
        assert int(limited.headers["Retry-After"]) >= 1
        city.clock.advance(seconds=60)
        assert "Hello, Max" in (await browser.enter(form, "max.beispiel", "musterstadt")).text


async def _begun(browser: Browser, header: str) -> int:
    return (await browser.get("/login", follow=False, X_Forwarded_For=header)).status


async def test_logins_are_limited_by_the_address_that_the_proxy_states(sqlite_url: str, tmp_path: Path) -> None:
    """Behind a proxy everybody comes from its address: one who begins logins without end must not lock out the city."""
    async with (
        run_city(sqlite_url, tmp_path, proxy_header="X-Forwarded-For") as city,
        city.browser() as attacker,
        city.browser() as other,
    ):
        # What stands before the proxy's own entry is the browser's, and helps nobody to another bucket.
        found = [await _begun(attacker, f"203.0.113.{number}, 198.51.100.7") for number in range(61)]
        assert found == [303] * 60 + [429]
        assert await _begun(other, "198.51.100.8") == 303
        city.clock.advance(seconds=1)
        assert await _begun(attacker, "198.51.100.7") == 303


async def test_without_a_proxy_nobody_chooses_the_address_of_their_own(city: City) -> None:
    async with city.browser() as browser:
        assert [await _begun(browser, f"203.0.113.{number}") for number in range(61)] == [303] * 60 + [429]


async def test_a_foreign_page_logs_nobody_out(city: City) -> None:
    """Its form comes without the cookie (SameSite=Lax); the answer must not take the cookie away."""
    async with city.browser() as browser:
        foreign = await browser.post("/logout", {}, follow=False, Sec_Fetch_Site="cross-site")
        assert (foreign.status, "Set-Cookie" in foreign.headers) == (403, False)
        own = await browser.post("/logout", {}, follow=False, Sec_Fetch_Site="same-origin")
        assert (own.status, "Set-Cookie" in own.headers) == (303, True)


async def test_a_form_without_the_browsers_own_token_is_not_a_login(city: City) -> None:
    async with city.browser() as browser, city.browser() as attacker:
        form = await attacker.get("/login")
        page = await browser.enter(form, "erika.beispiel", "musterstadt")
        assert "Please send the form again" in page.text


async def test_sessions_end_when_idle_and_absolutely(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        for _ in range(3):
            city.clock.advance(minutes=25)
            assert (await browser.get("/api/v1/me")).status == 200
        city.clock.advance(minutes=31)
        assert (await browser.get("/api/v1/me")).status == 401
        await browser.log_in()
        for _ in range(19):
            city.clock.advance(minutes=25)
            assert (await browser.get("/api/v1/me")).status == 200
        city.clock.advance(minutes=10)
        assert (await browser.get("/api/v1/me")).status == 401


async def user_agents(browser: Browser) -> set[str]:
    """What the browser calls itself."""
    async with browser.session.get(f"{browser.city.url}/static/style.css") as answer:
        return {answer.request_info.headers["User-Agent"]}


async def test_the_session_cookie_is_signed_and_a_new_one_at_each_login(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        answer = await browser.get("/login", follow=False)
        code = await browser.get(answer.headers["Location"], follow=False)
        first = browser.session.cookie_jar.filter_cookies(browser_url := code.url.with_path("/"))[
            "datenweg_session"
        ].value
        back = await browser.get(code.headers["Location"], follow=False)
        cookie = back.headers["Set-Cookie"]
        assert "HttpOnly" in cookie or "Max-Age=0" in cookie
        second = browser.session.cookie_jar.filter_cookies(browser_url)["datenweg_session"].value
        assert first != second
        device = browser.session.cookie_jar.filter_cookies(browser_url)["datenweg_device"].value
        agent = next(iter(await user_agents(browser)))
        here = BrowserHint(browser_thumbprint(device), agent)
        with pytest.raises(NotLoggedIn):
            await city.citizen.sessions.find(first, browser=here)
        session = await city.citizen.sessions.find(second, browser=here)
        assert session.name == "Erika Beispiel"
        secret, tag = second.split(".")
        for forged in ("", ".", secret, f"{secret}.{tag[:-2]}AA", f"{secret[:-2]}AA.{tag}", "é.é", f"{second}.x"):
            with pytest.raises(NotLoggedIn):
                await city.citizen.sessions.find(forged, browser=here)


async def test_the_database_alone_opens_no_session(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
    async with city.engine.connect() as connection:
        row = (await connection.execute(select(tables.session))).one()
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    for secret in (b"Erika", ERIKA.encode(), b"eyJ"):
        assert secret not in stored


async def test_a_login_that_took_too_long_is_begun_anew(city: City) -> None:
    begun = await city.citizen.logins.begin(return_to="/", level=None, language="de")
    city.clock.advance(minutes=11)
    with pytest.raises(LoginRefused) as refused:
        await city.citizen.logins.finish({"state": begun.state, "code": "x"}, browser_state=begun.state)
    assert refused.value.reason == "state"


async def test_an_issuer_that_says_who_it_is_says_so_each_time(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9207 section 2.4: an answer without `iss` is another issuer's, mixed in."""
    metadata = replace(await city.citizen.issuer.metadata(), answers_with_issuer=True)
    monkeypatch.setattr(city.citizen.issuer, "_metadata", (city.clock.now_ms(), metadata))
    begun = await city.citizen.logins.begin(return_to="/", level=None, language="de")
    with pytest.raises(LoginRefused) as refused:
        await city.citizen.logins.finish({"state": begun.state, "code": "x"}, browser_state=begun.state)
    assert refused.value.reason == "issuer"


@pytest.mark.parametrize(("identity", "token"), [("high", "low"), ("low", "high")])
async def test_a_session_promises_no_more_than_both_tokens_do(city: City, identity: str, token: str) -> None:
    who = VerifiedIdentity(city.issuer_url, ERIKA, "Erika", IdentityLevel.from_word(identity))
    expires = city.clock.now() + timedelta(minutes=10)
    citizen = VerifiedCitizen(city.issuer_url, ERIKA, IdentityLevel.from_word(token), expires)
    here = BrowserHint("device", "agent")
    cookie = await city.citizen.sessions.open(FinishedLogin(who, citizen, "token", "/"), person="p", browser=here)
    assert (await city.citizen.sessions.find(cookie, browser=here)).level is IdentityLevel.LOW


async def test_levels_are_as_the_issuer_says_and_can_be_raised(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in("max.beispiel")
        service = await browser.get("/services/kontostand")
        assert "needs a login with the identity level" in service.text
        # Max can't prove more: the issuer says so, and he stays out.
        refused = await browser.get("/login?level=high&return_to=/services/kontostand")
        assert refused.status == 400
        assert (await browser.get("/login?level=godlike")).status == 400


async def test_keys_rotate_without_anybody_noticing(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        city.issuer.keys.rotate()
        city.clock.advance(minutes=2)
        page = await browser.get("/login")
        assert "Hello, Erika" in page.text


async def test_the_issuers_keys_are_private_files(city: City, tmp_path: Path) -> None:
    file = tmp_path / "issuer" / "issuer-keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    public = city.issuer.keys.public()
    assert all("d" not in key and key["alg"] == "ES256" for key in public["keys"])


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        ("unmet_authentication_requirements", 400, "erreicht nicht das nötige Vertrauensniveau"),
        ("access_denied", 400, "Sie haben die Anmeldung abgebrochen"),
        ("server_error", 400, "konnte nicht bestätigt werden"),
    ],
)
async def test_a_login_that_the_issuer_does_not_give_says_why(city: City, error: str, status: int, told: str) -> None:
    async with city.browser(language="de") as browser:
        begun = await browser.get("/login", follow=False)
        state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
        answer = urlencode({"error": error, "state": state, "iss": city.issuer_url})
        page = await browser.get(f"/login/callback?{answer}")
        assert page.status == status
        assert told in page.text


async def test_a_level_that_the_citizen_has_no_means_for_is_told(city: City) -> None:
    async with city.browser(language="de") as browser:
        await browser.log_in("max.beispiel")
        page = await browser.get("/login?level=high")
        assert page.status == 400
        assert "erreicht nicht das nötige Vertrauensniveau" in page.text
        # And the login that was there still is.
        assert "Max Beispiel" in (await browser.get("/")).text
