"""Every refusal for want of a consent, as the client meets it, and the copies of consents that a gateway takes."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from gateway.store.repository import Repository
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_refusal, watch
from tests.gateway.exchange.test_refusals import PROVIDER
from tests.gateway.exchange.town import CITY, GUEST, ROGUE, ROGUE_SERVICE, path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")


# -- consent


async def test_a_consented_exchange(pair: GatewayPair) -> None:
    reference = await pair.give_consent()
    answer = await pair.call("konto", headers=pair.citizen() | {"X-Datenweg-Consent": reference})
    assert answer.status == 200
    for node in (pair.consumer, pair.provider):
        request, response = await logged(node.gateway, answer.request_id)
        assert request.summary == ("request", "ok", [])
        assert response.summary == ("response", "ok", [("delivered", None)])
        assert response.accesses[0]["consent"] == reference


async def test_no_consent(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("konto", headers=pair.citizen())
    code = "server.serverproxy.consent_required"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


async def test_consent_without_a_person(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("konto", headers={"X-Datenweg-Consent": await pair.give_consent()})
    code = "server.serverproxy.subject_required"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "jemand-anders"},
        {"client": GUEST.encoded},
        {"service": service("hoch").encoded},
        None,
    ],
    ids=["another person's", "another client's", "for another service", "unknown"],
)
async def test_foreign_consent(pair: GatewayPair, changes: dict[str, Any] | None) -> None:
    reference = str(uuid.uuid4()) if changes is None else await pair.give_consent(**changes)
    seen = watch(pair)
    answer = await pair.call("konto", headers=pair.citizen() | {"X-Datenweg-Consent": reference})
    code = "server.serverproxy.consent_invalid"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


async def test_expired_consent(pair: GatewayPair) -> None:
    reference = await pair.give_consent(expires_ms=pair.provider.clock.now_ms() - 1)
    seen = watch(pair)
    answer = await pair.call("konto", headers=pair.citizen() | {"X-Datenweg-Consent": reference})
    code = "server.serverproxy.consent_expired"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


async def test_withdrawn_consent(pair: GatewayPair) -> None:
    reference = await pair.give_consent()
    first = pair.consent_jws(reference)
    headers = pair.citizen() | {"X-Datenweg-Consent": reference}
    assert (await pair.call("konto", headers=headers)).status == 200
    withdrawal = pair.consent_jws(reference, status="withdrawn", sequence=2)
    assert (await pair.push_consent(withdrawal, reference)).status == 204
    # An old state that comes again undoes nothing.
    assert (await pair.push_consent(first, reference)).status == 409
    seen = watch(pair)
    answer = await pair.call("konto", headers=headers)
    code = "server.serverproxy.consent_withdrawn"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


async def test_a_consent_that_is_withdrawn_while_the_service_works(pair: GatewayPair) -> None:
    reference = await pair.give_consent()
    headers = pair.citizen() | {"X-Datenweg-Consent": reference}
    pair.backend.release.clear()
    pair.backend.reached.clear()
    seen = watch(pair)
    waiting = asyncio.create_task(pair.call("konto", "/slow", headers=headers))
    await asyncio.wait_for(pair.backend.reached.wait(), 5)
    withdrawal = pair.consent_jws(reference, status="withdrawn", sequence=2)
    assert (await pair.push_consent(withdrawal, reference)).status == 204
    pair.backend.release.set()
    # Asked it was; but what is acknowledged as withdrawn gives no more data.
    answer = await waiting
    code = "server.serverproxy.consent_withdrawn"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied late", calls=1)


async def test_accesses_of_nobody(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.request("GET", path_of(service("datenwegAccesses"), "?month=2026-11"))
    code = "server.serverproxy.identity_level_too_low"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


@pytest.mark.parametrize(
    "case", ["changed", "another's signature", "other path", "another's service", "no consent", "oversize"]
)
async def test_a_consent_copy_that_does_not_hold(pair: GatewayPair, case: str) -> None:
    reference = str(uuid.uuid4())
    good, path = pair.consent_jws(reference), reference
    head, _, signature = good.split(b".")
    match case:
        case "changed":
            other = pair.consent_jws(reference, expires_ms=4_000_000_000_000).split(b".")[1]
            copy = b".".join((head, other, signature))
        case "another's signature":
            copy = pair.consent_jws(reference, signer=pair.rogue.signing)
        case "other path":
            copy, path = good, str(uuid.uuid4())
        case "another's service":
            copy = pair.consent_jws(reference, service=ROGUE_SERVICE.encoded)
        case "no consent":
            copy = b"kein jws"
        case _:
            copy = good + b"A" * 40_000
    seen = watch(pair)
    answer = await pair.push_consent(copy, path)
    code = "server.serverproxy.invalid_request"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="failed", provider="failed")
    assert await Repository(pair.provider.gateway.engine).consent_copy(reference) is None


async def test_one_authority_sends_no_consents_of_another(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both may attest consents here; neither may bring the other's, which it may have got to see."""
    both = frozenset({CITY.member, ROGUE.member})
    monkeypatch.setattr(pair.provider.gateway.node, "consent_authorities", both)
    reference = str(uuid.uuid4())
    seen = watch(pair)
    answer = await pair.push_consent(pair.consent_jws(reference, signer=pair.rogue.signing), reference)
    code = "server.serverproxy.invalid_request"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="failed", provider="failed")
    assert await Repository(pair.provider.gateway.engine).consent_copy(reference) is None
