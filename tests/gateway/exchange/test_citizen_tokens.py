"""The verifier of citizens' tokens: when it asks the issuer, what it remembers, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from joserfc.jwk import ECKey

from gateway.exchange.citizen_tokens import CitizenTokenRefused, CitizenTokens, IssuerUnavailable
from gateway.messages.headers import IdentityLevel
from gateway.serve import Listener, listening
from tests.gateway.exchange.citizens import AUDIENCE, CITIZEN, Issuer
from tests.gateway.exchange.ports import HOST, ShiftedClock, free_port


@asynccontextmanager
async def tokens(
    answer: Callable[[web.BaseRequest], web.Response] | None = None,
) -> AsyncIterator[tuple[Issuer, CitizenTokens, ShiftedClock]]:
    """An issuer, a verifier of its tokens, and the verifier's clock."""
    port = free_port()
    issuer, clock = Issuer(f"http://{HOST}:{port}"), ShiftedClock()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await issuer.handle(request) if answer is None else answer(request)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening([Listener(web.Server(handle), HOST, port)], shutdown_seconds=1))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield issuer, CitizenTokens(session, issuer=issuer.url, audience=AUDIENCE, clock=clock), clock


async def _reason(verifier: CitizenTokens, token: str) -> str:
    with pytest.raises(CitizenTokenRefused) as caught:
        await verifier.verify(token)
    return caught.value.reason


async def test_a_good_token_is_verified_once() -> None:
    async with tokens() as (issuer, verifier, _):
        token = issuer.token(acr="http://eidas.europa.eu/LoA/substantial")
        citizen = await verifier.verify(token)
        assert (citizen.subject, citizen.issuer, citizen.level) == (CITIZEN, issuer.url, IdentityLevel.SUBSTANTIAL)
        issuer.available = False
        assert await verifier.verify(token) is citizen
        assert issuer.asked == 2


async def test_a_remembered_token_expires_all_the_same() -> None:
    async with tokens() as (issuer, verifier, clock):
        token = issuer.token()
        await verifier.verify(token)
        clock.ahead = timedelta(minutes=11)
        assert await _reason(verifier, token) == "expired"


async def test_many_at_once_ask_the_issuer_once() -> None:
    async with tokens() as (issuer, verifier, _):
        await asyncio.gather(*(verifier.verify(issuer.token(jti=str(number))) for number in range(20)))
        assert issuer.asked == 2


async def test_a_key_that_was_rotated_in() -> None:
    async with tokens() as (issuer, verifier, clock):
        await verifier.verify(issuer.token())
        issuer.key = ECKey.generate_key("P-256", auto_kid=True)
        # Not more than once a minute: a stream of forged tokens is no stream of questions to the issuer.
        for _ in range(3):
            assert await _reason(verifier, issuer.token()) == "signature"
        assert issuer.asked == 2
        clock.ahead = timedelta(seconds=61)
        await verifier.verify(issuer.token())
        assert issuer.asked == 4


async def test_an_issuer_that_is_away_is_not_asked_for_each_forged_token() -> None:
    async with tokens() as (issuer, verifier, clock):
        await verifier.verify(issuer.token())
        clock.ahead = timedelta(seconds=61)
        issuer.available = False
        forged = issuer.token(key=ECKey.generate_key("P-256", auto_kid=True))
        for _ in range(5):
            with pytest.raises(IssuerUnavailable):
                await verifier.verify(forged)
        assert issuer.asked == 3
        # The keys that it has go on being good.
        await verifier.verify(issuer.token(jti="neu"))


async def test_a_key_that_the_issuer_has_removed_ends() -> None:
    async with tokens() as (issuer, verifier, clock):
        await verifier.verify(issuer.token())
        stolen = issuer.key
        issuer.key = ECKey.generate_key("P-256", auto_kid=True)
        clock.ahead = timedelta(minutes=16)
        assert await _reason(verifier, issuer.token(key=stolen, exp=33_000_000_000)) == "signature"


async def test_a_token_of_a_removed_key_is_forgotten_too() -> None:
    async with tokens() as (issuer, verifier, clock):
        forged = issuer.token(exp=33_000_000_000)

        async def taken(minutes: int) -> None:
            """It is taken, at this minute, without waiting for the issuer, who is asked beside it."""
            clock.ahead = timedelta(minutes=minutes)
            assert (await verifier.verify(forged)).subject == CITIZEN
            if verifier._looking is not None:
                await verifier._looking

        await taken(0)
        await taken(14)
        assert issuer.asked == 2
        # The same keys, and an issuer that is away, have removed nothing.
        await taken(16)
        assert issuer.asked == 4
        issuer.available = False
        await taken(32)
        issuer.available, issuer.key = True, ECKey.generate_key("P-256", auto_kid=True)
        await taken(33)
        assert issuer.asked == 7
        assert await _reason(verifier, forged) == "signature"


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://anderswo.example", "jwks_uri": "x"},
        {"issuer": None},
        {"jwks_uri": "x"},
        [],
        "x",
        {},
    ],
    ids=str,
)
async def test_a_discovery_document_that_does_not_hold(document: Any) -> None:
    async with tokens(lambda _: web.json_response(document)) as (issuer, verifier, _):
        with pytest.raises(IssuerUnavailable):
            await verifier.verify(issuer.token())


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 200_000, b" " * (1 << 19), b"\xff\xfe{}", b'{"keys":7}', b'{"keys":[{}]}']
)
async def test_a_key_set_that_can_not_be_read(body: bytes) -> None:
    known: list[Issuer] = []

    def answer(request: web.BaseRequest) -> web.Response:
        if request.path.startswith("/.well-known"):
            return web.json_response({"issuer": known[0].url, "jwks_uri": f"{known[0].url}/jwks"})
        return web.Response(body=body, content_type="application/json")

    async with tokens(answer) as (issuer, verifier, _):
        known.append(issuer)
        with pytest.raises(IssuerUnavailable):
            await verifier.verify(issuer.token())


async def test_keys_that_somebody_could_change_on_the_way_are_not_taken() -> None:
    """0.0.0.0 leads to this machine, too, but nothing says so: over plain HTTP it counts as another one."""
    known: list[Issuer] = []
    asked: list[str] = []

    def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        if request.path.startswith("/.well-known"):
            elsewhere = known[0].url.replace(HOST, "0.0.0.0")
            return web.json_response({"issuer": known[0].url, "jwks_uri": f"{elsewhere}/jwks"})
        return web.json_response({"keys": [known[0].key.as_dict(private=False)]})

    async with tokens(answer) as (issuer, verifier, _):
        known.append(issuer)
        with pytest.raises(IssuerUnavailable):
            await verifier.verify(issuer.token())
    assert "/jwks" not in asked


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": True}, "claims"),
        ({"exp": "33000000000"}, "claims"),
        ({"exp": 1 << 50}, "claims"),
        ({"sub": ""}, "claims"),
        ({"sub": 7}, "claims"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"cnf": {"jkt": "A" * 43}}, "bound to a key"),
        ({"nbf": "bald"}, "not yet valid"),
        ({"aud": [AUDIENCE + "/"]}, "audience"),
        ({"aud": 7}, "audience"),
        ({"acr": "none"}, "identity level"),
        ({"acr": ["high"]}, "identity level"),
        ({"iss": 7}, "issuer"),
    ],
    ids=str,
)
async def test_claims_that_do_not_hold(claims: dict[str, Any], reason: str) -> None:
    async with tokens() as (issuer, verifier, _):
        assert await _reason(verifier, issuer.token(**claims)) == reason


@pytest.mark.parametrize("kind", ["JWT", "id_token+jwt", "logout+jwt", "dpop+jwt"])
async def test_another_token_of_the_issuer_is_no_access_token(kind: str) -> None:
    """Signed with the same key, for the same audience: what it was made for is in its type (RFC 9068 section 4)."""
    async with tokens() as (issuer, verifier, _):
        assert await _reason(verifier, issuer.token(header={"typ": kind})) == "type"
        assert (await verifier.verify(issuer.token(header={"typ": "application/at+jwt"}))).subject == CITIZEN


async def test_one_audience_of_several() -> None:
    async with tokens() as (issuer, verifier, _):
        assert (await verifier.verify(issuer.token(aud=["andere", AUDIENCE]))).subject == CITIZEN
