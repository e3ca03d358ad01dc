"""Any issuer by discovery: where its metadata may be (OpenID Connect Discovery, RFC 8414), and its own `acr` words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from joserfc.jwk import ECKey

from gateway.citizen.errors import IssuerDown
from gateway.citizen.issuer_client import IssuerClient
from gateway.exchange.citizen_tokens import CitizenTokens, IssuerUnavailable
from gateway.exchange.discovery import acr_values, level_of, metadata_addresses
from gateway.messages.headers import IdentityLevel, UnknownIdentityLevel
from gateway.serve import Listener, listening
from tests.clocks import ManualClock
from tests.gateway.citizen.city import AUDIENCE, City
from tests.gateway.citizen.test_stolen import send
from tests.gateway.exchange.ports import HOST, free_port

STORK = {"STORK-QAA-Level-1": "low", "STORK-QAA-Level-3": "substantial", "STORK-QAA-Level-4": "high"}


def test_where_an_issuers_metadata_are_looked_for() -> None:
    assert metadata_addresses("https://login.example/realms/stadt") == (
        "https://login.example/realms/stadt/.well-known/openid-configuration",
        "https://login.example/.well-known/oauth-authorization-server/realms/stadt",
        "https://login.example/.well-known/openid-configuration/realms/stadt",
    )
    assert metadata_addresses("https://login.example/") == (
        "https://login.example/.well-known/openid-configuration",
        "https://login.example/.well-known/oauth-authorization-server",
    )


@asynccontextmanager
async def issuer(place: str, status: int = 404) -> AsyncIterator[tuple[str, ECKey, list[str]]]:
    """An issuer whose metadata are at `place` alone; elsewhere it answers `status`."""
    port, key, asked = free_port(), ECKey.generate_key("P-256", auto_kid=True), []
    url = f"http://{HOST}:{port}/realms/stadt"

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == place:
            base = {"issuer": url, "jwks_uri": f"{url}/jwks", "acr_values_supported": list(STORK)}
            ends = {f"{name}_endpoint": f"{url}/{name}" for name in ("authorization", "token")}
            return web.json_response(base | ends)
        if request.path == "/realms/stadt/jwks":
            return web.json_response({"keys": [key.as_dict(private=False)]})
        return web.Response(status=status)

    async with listening([Listener(web.Server(handle), HOST, port)], shutdown_seconds=1):
        yield url, key, asked


@pytest.mark.parametrize("number", range(3))
async def test_every_place_is_found_by_both_who_ask(city: City, number: int) -> None:
    place = metadata_addresses("http://x/realms/stadt")[number].removeprefix("http://x")
    async with issuer(place) as (url, _, _), aiohttp.ClientSession() as http:
        settings = replace(city.context.settings, issuer=url)
        metadata = await IssuerClient(http, settings, city.clock).metadata()
        assert metadata.token_endpoint == f"{url}/token"
        assert metadata.acr_values == tuple(STORK)
        tokens = CitizenTokens(http, issuer=url, audience=AUDIENCE, clock=ManualClock(), levels=STORK)
        await tokens._fetch()


async def test_an_issuer_that_fails_is_not_looked_for_elsewhere(city: City) -> None:
    async with issuer("/nowhere", 503) as (url, _, asked), aiohttp.ClientSession() as http:
        with pytest.raises(IssuerDown):
            await IssuerClient(http, replace(city.context.settings, issuer=url), city.clock).metadata()
        with pytest.raises(IssuerUnavailable):
            await CitizenTokens(http, issuer=url, audience=AUDIENCE, clock=ManualClock())._fetch()
        assert asked == ["/realms/stadt/.well-known/openid-configuration"] * 2


@pytest.mark.parametrize(
    ("acr", "level"),
    [
        ("STORK-QAA-Level-1", IdentityLevel.LOW),
        ("STORK-QAA-Level-4", IdentityLevel.HIGH),
        ("high", IdentityLevel.HIGH),
        ("http://eidas.europa.eu/LoA/substantial", IdentityLevel.SUBSTANTIAL),
        ("STORK-QAA-Level-2", None),
        ("none", None),
        ("", None),
        (None, None),
        (["high"], None),
    ],
)
def test_what_an_acr_value_means(acr: Any, level: IdentityLevel | None) -> None:
    if level is None:
        with pytest.raises(UnknownIdentityLevel):
            level_of(acr, STORK)
    else:
        assert level_of(acr, STORK) is level


def test_an_issuer_is_asked_in_its_own_words() -> None:
    eidas = "http://eidas.europa.eu/LoA/"
    assert acr_values(IdentityLevel.SUBSTANTIAL, {}) == "substantial high"
    assert acr_values(IdentityLevel.SUBSTANTIAL, STORK) == "STORK-QAA-Level-3 STORK-QAA-Level-4"
    assert acr_values(IdentityLevel.SUBSTANTIAL, {}, [eidas + "high", "x"]) == eidas + "high"
    assert acr_values(IdentityLevel.LOW, STORK, ["STORK-QAA-Level-4"]) == "STORK-QAA-Level-4"
    assert acr_values(IdentityLevel.HIGH, {}, ["something else"]) == "high"


async def test_a_step_up_that_the_issuer_ignores_is_no_login(city: City) -> None:
    """`acr_values` binds nobody: the answer is held to what was asked for."""
    async with city.browser() as browser:
        begun = await browser.get("/login?level=high", follow=False)
        asked = begun.headers["Location"]
        assert "acr_values=high" in asked
        # An issuer that doesn't know of levels logs in as low as it can.
        form = await browser.get(asked.replace("acr_values=high", "acr_values=low"))
        page = await browser.enter(form, "erika.beispiel", "musterstadt")
        assert page.status == 400
        assert (await send(browser, "GET", "/me", {}))[0] == 401


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"])
@pytest.mark.parametrize("url", ["http://login.example/x", "ftp://login.example/x", "//login.example/x", "x", 7])
async def test_no_endpoint_in_the_open(city: City, monkeypatch: pytest.MonkeyPatch, name: str, url: object) -> None:
    """The code, our secret and the keys go there: nobody on the way may read or change them."""
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint")
    document = {"issuer": city.issuer_url} | dict.fromkeys(names, "https://login.example/x")

    async def told(_: str) -> dict[str, Any]:
        return document

    async with aiohttp.ClientSession() as http:
        client = IssuerClient(http, city.context.settings, city.clock)
        monkeypatch.setattr(client._documents, "fetch_metadata", told)
        assert (await client.metadata()).token_endpoint == "https://login.example/x"
        document[name] = url  # type: ignore[assignment]
        city.clock.advance(hours=2)
        with pytest.raises(IssuerDown):
            await client.metadata()
