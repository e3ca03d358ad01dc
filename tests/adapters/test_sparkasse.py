"""The savings bank: linking an account step by step, reading it, and every wrong turn on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from adapters.kit.entries import Entry, Kind
from adapters.kit.serve import serving
from adapters.kit.settings import SandboxSettings
from adapters.sparkasse import sandbox
from adapters.sparkasse.model import iban_holds, normalise_amount
from tests.adapters.support import ERIKA, MAX, SettableClock, World, adapter_at, interposed, world

CREDENTIALS = {"psuId": "chipTAN", "password": "okok1"}


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[World]:
    async with world(Kind.SPARKASSE, tmp_path) as running:
        yield running


def stored_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def link(bank: World, subject: str = ERIKA) -> str:
    started = await bank.call("POST", "/link", CREDENTIALS, subject=subject)
    assert started.status == 201, started.body
    link_id: str = started.body["linkId"]
    path = f"/link/{link_id}"
    assert (await bank.call("PUT", path, {"authenticationMethodId": "OPTICAL"}, subject=subject)).status == 200
    linked = await bank.call("PUT", path, {"scaAuthenticationData": "111111"}, subject=subject)
    assert (linked.status, linked.body["state"]) == (200, "linked")
    return link_id


async def test_a_person_links_step_by_step_and_reads_balances(bank: World) -> None:
    started = await bank.call("POST", "/link", CREDENTIALS, PSU_IP_Address="192.0.2.7")
    assert started.body["state"] == "started"
    assert [method["authenticationMethodId"] for method in started.body["scaMethods"]] == ["MANUAL", "OPTICAL", "QR"]
    path = f"/link/{started.body['linkId']}"
    chosen = await bank.call("PUT", path, {"authenticationMethodId": "MANUAL"})
    assert chosen.body["state"] == "methodSelected"
    assert "Startcode" in chosen.body["challenge"]["additionalInformation"]
    assert (await bank.call("PUT", path, {"scaAuthenticationData": "111111"})).body["state"] == "linked"
    assert (await bank.call("GET", "/link")).body["state"] == "linked"
    accounts = (await bank.call("GET", "/balance")).body["accounts"]
    assert [account["balances"][0]["amount"] for account in accounts] == ["2504.37", "12850.50"]
    assert all(iban_holds(account["iban"]) for account in accounts)
    assert len((await bank.call("GET", "/accounts")).body["accounts"]) == 2


async def test_a_bank_with_one_method_goes_straight_to_the_challenge(bank: World) -> None:
    started = await bank.call("POST", "/link", {"psuId": "pushTAN", "password": "okok1"})
    assert started.body["state"] == "methodSelected"
    assert started.body["challenge"]["otpMaxLength"] == 6
    path = f"/link/{started.body['linkId']}"
    assert (await bank.call("PUT", path, {"scaAuthenticationData": "111111"})).body["state"] == "linked"
    (account,) = (await bank.call("GET", "/balance")).body["accounts"]
    assert account["balances"][0]["amount"] == "-137.05"


async def test_a_wrong_password_leaves_nothing_behind(bank: World) -> None:
    reply = await bank.call("POST", "/link", {"psuId": "chipTAN", "password": "wrong"})
    assert (reply.status, reply.body["code"], reply.body["hop"]) == (403, "credentials_refused", "backend")
    assert (await bank.call("GET", "/link")).body["code"] == "not_linked"
    assert (bank.recorded[-1].method, bank.recorded[-1].status) == ("DELETE", 204)


async def test_passwords_cannot_be_guessed(bank: World) -> None:
    for _ in range(5):
        await bank.call("POST", "/link", {"psuId": "chipTAN", "password": "wrong"})
    assert (await bank.call("POST", "/link", CREDENTIALS)).body["code"] == "too_many_attempts"
    assert (await bank.call("POST", "/link", CREDENTIALS, subject=MAX)).status == 201
    bank.clock.move(minutes=16)
    assert (await bank.call("POST", "/link", CREDENTIALS)).status == 201


async def test_guesses_at_once_are_no_more_than_guesses_one_by_one(bank: World) -> None:
    wrong = CREDENTIALS | {"password": "falsch"}
    answers = await asyncio.gather(*(bank.call("POST", "/link", wrong) for _ in range(12)))
    codes = [answer.body["code"] for answer in answers]
    assert codes.count("too_many_attempts") == 7, codes


async def test_a_wrong_tan_can_be_corrected_and_the_third_ends_the_attempt(bank: World) -> None:
    started = await bank.call("POST", "/link", {"psuId": "pushTAN", "password": "okok1"})
    path = f"/link/{started.body['linkId']}"
    for _ in range(2):
        assert (await bank.call("PUT", path, {"scaAuthenticationData": "999999"})).body["code"] == "tan_refused"
    assert (await bank.call("GET", "/accounts")).body["code"] == "not_linked"
    last = await bank.call("PUT", path, {"scaAuthenticationData": "999999"})
    assert last.body["code"] == "authorisation_failed"
    assert (await bank.call("GET", "/link")).body["code"] == "not_linked"


async def test_an_unknown_method_and_a_step_out_of_order_are_refused(bank: World) -> None:
    started = await bank.call("POST", "/link", CREDENTIALS)
    path = f"/link/{started.body['linkId']}"
    assert (await bank.call("PUT", path, {"scaAuthenticationData": "111111"})).body["code"] == "link_state"
    assert (await bank.call("PUT", path, {"authenticationMethodId": "X"})).body["code"] == "sca_method_unknown"
    other = f"/link/{'0' * 36}"
    assert (await bank.call("PUT", other, {"scaAuthenticationData": "111111"})).body["code"] == "link_unknown"
    assert (await bank.call("PUT", path, {"authenticationMethodId": "MANUAL"}, subject=MAX)).body[
        "code"
    ] == "not_linked"
    both = {"authenticationMethodId": "MANUAL", "scaAuthenticationData": "111111"}
    assert (await bank.call("PUT", path, both)).body["code"] == "invalid_request"


async def test_a_person_has_one_link_and_an_unfinished_one_is_replaced(bank: World) -> None:
    first = await bank.call("POST", "/link", CREDENTIALS)
    second = await bank.call("POST", "/link", CREDENTIALS)
    assert first.body["linkId"] != second.body["linkId"]
    assert sum(1 for exchange in bank.recorded if exchange.method == "DELETE") == 1
    await link(bank, MAX)
    assert (await bank.call("POST", "/link", CREDENTIALS, subject=MAX)).body["code"] == "already_linked"


async def test_four_unattended_readings_a_day_and_any_number_with_the_person(bank: World) -> None:
    await link(bank)
    for _ in range(4):
        assert (await bank.call("GET", "/balance", attended=False)).status == 200
    refused = await bank.call("GET", "/balance", attended=False, PSU_IP_Address="192.0.2.7")
    assert (refused.status, refused.body["code"]) == (429, "bank_access_exceeded")
    assert refused.body["backendCode"] == "ACCESS_EXCEEDED"
    for _ in range(6):
        assert (await bank.call("GET", "/balance")).status == 200
    bank.clock.move(days=1)
    assert (await bank.call("GET", "/balance", attended=False)).status == 200


async def test_an_expired_consent_is_told_and_can_be_replaced(bank: World) -> None:
    await link(bank)
    bank.clock.move(days=181)
    reply = await bank.call("GET", "/balance")
    assert (reply.status, reply.body["code"]) == (403, "bank_consent_expired")
    assert (await bank.call("GET", "/link")).body["state"] == "expired"
    assert (await bank.call("DELETE", "/link")).status == 204
    await link(bank)


async def test_a_tan_whose_answer_was_lost_still_links(tmp_path: Path) -> None:
    clock = SettableClock()
    rules = {"/status": lambda: web.Response(status=500)}
    async with (
        serving(sandbox.build_app(SandboxSettings(), clock=clock)) as origin,
        interposed(lambda _: origin, rules) as proxy,
        adapter_at(Kind.SPARKASSE, tmp_path, Entry(Kind.SPARKASSE).backend_url(proxy), clock=clock) as bank,
    ):
        started = await bank.call("POST", "/link", {"psuId": "pushTAN", "password": "okok1"})
        path = f"/link/{started.body['linkId']}"
        assert (await bank.call("PUT", path, {"scaAuthenticationData": "111111"})).status == 502
        assert (await bank.call("GET", "/balance")).body["code"] == "not_linked"
        rules.clear()
        assert (await bank.call("PUT", path, {"scaAuthenticationData": "111111"})).body["state"] == "linked"


async def test_two_links_at_once_leave_one(bank: World) -> None:
    replies = await asyncio.gather(*(bank.call("POST", "/link", CREDENTIALS) for _ in range(3)))
    assert {reply.status for reply in replies} <= {201, 409}
    state = await bank.call("GET", "/link")
    assert state.body["linkId"] in [reply.body["linkId"] for reply in replies if reply.status == 201]
    created = sum(1 for exchange in bank.recorded if (exchange.method, exchange.path[-9:]) == ("POST", "/consents"))
    # Two callers may end the same unfinished consent, which is one ended.
    ended = len({exchange.path for exchange in bank.recorded if exchange.method == "DELETE"})
    assert created - ended == 1


@dataclass
class Reached:
    """The bank as an adapter reaches it: `down` answers in its place, `seen` is what came through to it."""

    origin: str
    adapter: World
    down: dict[str, Callable[[], web.Response]]
    seen: list[str]

    @property
    def consents(self) -> list[str]:
        """The paths of the consents that were authorised, in order."""
        asked = (one.removeprefix("POST ") for one in self.seen if one.endswith("/authorisations"))
        return [path.removesuffix("/authorisations") for path in asked]

    async def status(self, consent: str) -> str:
        """A consent's status, as the sandbox itself says."""
        headers = {"X-Request-ID": str(uuid4())}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.origin}{consent}/status", headers=headers) as answer,
        ):
            return str((await answer.json())["consentStatus"])


@pytest.fixture
async def reached(tmp_path: Path) -> AsyncIterator[Reached]:
    clock, down, seen = SettableClock(), dict[str, Callable[[], web.Response]](), list[str]()

    def origin_of(request: web.Request) -> str:
        seen.append(f"{request.method} {request.path}")
        return origin

    async with (
        serving(sandbox.build_app(SandboxSettings(), clock=clock)) as origin,
        interposed(origin_of, down) as proxy,
        adapter_at(Kind.SPARKASSE, tmp_path, Entry(Kind.SPARKASSE).backend_url(proxy), clock=clock) as bank,
    ):
        yield Reached(origin, bank, down, seen)


async def test_removing_the_link_ends_the_consent_at_the_bank(reached: Reached) -> None:
    bank = reached.adapter
    await link(bank)
    (consent,) = reached.consents
    assert await reached.status(consent) == "valid"
    assert (await bank.call("DELETE", "/link")).status == 204
    assert await reached.status(consent) == "terminatedByTpp"
    assert (await bank.call("DELETE", "/link")).body["code"] == "not_linked"
    assert (await bank.call("GET", "/balance")).body["code"] == "not_linked"


async def test_while_the_bank_is_away_the_link_is_over_here_and_told_again(reached: Reached) -> None:
    bank = reached.adapter
    path = f"/link/{await link(bank)}"
    (consent,) = reached.consents
    reached.down[f"DELETE {consent}"] = lambda: web.Response(status=503)
    for _ in range(2):
        assert (await bank.call("DELETE", "/link")).status == 502
        # Nothing is read any more, though the bank would still give it.
        assert await reached.status(consent) == "valid"
        assert (await bank.call("GET", "/balance")).body["code"] == "not_linked"
        assert (await bank.call("GET", "/link")).body["state"] == "ended"
        assert (await bank.call("PUT", path, {"scaAuthenticationData": "111111"})).body["code"] == "link_state"
    reached.down.clear()
    assert (await bank.call("DELETE", "/link")).status == 204
    assert await reached.status(consent) == "terminatedByTpp"


async def test_a_new_link_ends_the_old_one_that_the_bank_has_not_heard_of(reached: Reached) -> None:
    bank = reached.adapter
    await link(bank)
    (old,) = reached.consents
    reached.down[f"DELETE {old}"] = lambda: web.Response(status=503)
    assert (await bank.call("DELETE", "/link")).status == 502
    reached.down.clear()
    await link(bank)
    new = reached.consents[-1]
    assert (await reached.status(old), await reached.status(new)) == ("terminatedByTpp", "valid")
    assert (await bank.call("GET", "/balance")).status == 200


async def test_links_are_per_person_and_outlive_the_process(tmp_path: Path) -> None:
    async with world(Kind.SPARKASSE, tmp_path) as bank:
        await link(bank)
        assert (await bank.call("GET", "/balance", subject=MAX)).body["code"] == "not_linked"
    async with world(Kind.SPARKASSE, tmp_path) as bank:
        # The new sandbox does not know the consent: the link is there, and the bank says that it has ended.
        assert (await bank.call("GET", "/balance")).body["code"] == "bank_consent_invalid"
        assert (await bank.call("DELETE", "/link")).status == 204
    assert b"okok1" not in stored_bytes(tmp_path)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("5877.5", "5877.50"), ("-0.00", "0.00"), ("007", "7.00"), ("-1.005", "-1.005"), ("9" * 14, "9" * 14 + ".00")],
)
def test_amounts_are_exact_decimals(text: str, normal: str) -> None:
    assert normalise_amount(text) == normal


def test_an_iban_with_wrong_check_digits_does_not_hold() -> None:
    assert iban_holds("DE86999999990000001000")
    assert not iban_holds("DE2310010010123456788")
