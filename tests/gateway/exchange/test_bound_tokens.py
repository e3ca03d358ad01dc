"""At the consumer gateway: tokens bound to a device (RFC 9449), and citizens who act for others."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from joserfc.jwk import ECKey

from gateway.citizen.devices import Devices
from gateway.citizen.notices import Notices
from gateway.exchange.vouching import Vouchers
from gateway.messages.faults import Hop
from gateway.messages.rest import parse_request_message
from tests.gateway.citizen.wallet import make_proof
from tests.gateway.exchange.citizens import CITIZEN
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_refusal, watch
from tests.gateway.exchange.test_rest import seen_by_service
from tests.gateway.exchange.town import path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = ECKey.generate_key("P-256")
CLIENT = Hop.CLIENT
CHILD = "mia.beispiel"
RULES = {"client.citizen_token_invalid": 400, "client.representation_refused": 400}


def headers(pair: GatewayPair, *, key: ECKey = KEY, token: str | None = None, **changes: Any) -> dict[str, str]:
    """A bound token with the proof that a call of `echo` needs."""
    token = token or pair.token(cnf={"jkt": KEY.thumbprint()})
    path = path_of(service("echo"), "/")
    url = changes.pop("url", f"http://{HOST}:{pair.consumer.settings.client_port}{path}")
    proof = make_proof(key, changes.pop("method", "GET"), url, at=int(time.time()), token=token, **changes)
    return {"X-Datenweg-Citizen": token, "DPoP": proof}


async def refused(pair: GatewayPair, sent: Any, code: str = "client.citizen_token_invalid") -> None:
    seen = watch(pair)
    answer = await pair.call("echo", headers=sent)
    await check_refusal(seen, answer, code, RULES[code], CLIENT)


async def test_a_bound_token_with_its_proof(pair: GatewayPair) -> None:
    answer = await pair.call("echo", headers=headers(pair))
    assert answer.status == 200
    (request, _) = await logged(pair.consumer.gateway, answer.request_id)
    fields = parse_request_message(request.message).fields
    assert fields.subjects == (pair.pseudonym(),)
    assert fields.representative is None
    # Neither token nor proof go further.
    assert b"dpop" not in request.message.lower()
    assert "dpop" not in seen_by_service(answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ECKey.generate_key("P-256")},
        {"method": "POST"},
        {"url": "http://anderswo.example/r1/"},
        {"ath": None},
        {"iat": 1_700_000_000},
        {"header": {"typ": "JWT"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_proof_that_does_not_hold(pair: GatewayPair, changes: dict[str, Any]) -> None:
    await refused(pair, headers(pair, **changes))


async def test_a_bound_token_alone_is_nothing(pair: GatewayPair) -> None:
    token = pair.token(cnf={"jkt": KEY.thumbprint()})
    await refused(pair, {"X-Datenweg-Citizen": token})
    await refused(pair, {"X-Datenweg-Citizen": token, "DPoP": "vouched.99999999999999.AAAA"})
    twice = headers(pair)
    await refused(pair, [*twice.items(), ("DPoP", headers(pair)["DPoP"])])


async def test_a_proof_counts_once(pair: GatewayPair) -> None:
    sent = headers(pair)
    answers = await asyncio.gather(*(pair.call("echo", headers=sent) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400]
    await refused(pair, sent)


async def test_a_revoked_device_calls_nothing(pair: GatewayPair) -> None:
    node = pair.consumer.gateway
    key = ECKey.generate_key("P-256")
    token = pair.token(cnf={"jkt": key.thumbprint()})
    devices = Devices(node.engine, node.node.clock, Notices(node.engine, node.node.clock))
    person = pair.pseudonym(at=pair_owner(pair))
    device = await devices.use(person, key.thumbprint(), kind="app", user_agent="App")
    assert (await pair.call("echo", headers=headers(pair, key=key, token=token))).status == 200
    await devices.revoke(person, device.id)
    await refused(pair, headers(pair, key=key, token=token))


def pair_owner(pair: GatewayPair) -> Any:
    """The city, in the form that `pseudonym` asks for."""
    return SimpleNamespace(member=pair.consumer.settings.owner_id)


async def test_the_citizens_own_application_vouches(pair: GatewayPair) -> None:
    node = pair.consumer.gateway.node
    assert node.vouchers is not None
    token = pair.token(cnf={"jkt": KEY.thumbprint()})
    path = path_of(service("echo"), "/")

    async def call(voucher: str) -> Answer:
        return await pair.call("echo", headers={"X-Datenweg-Citizen": token, "DPoP": voucher})

    assert (await call(node.vouchers.issue(token, "GET", path))).status == 200
    for voucher in (
        node.vouchers.issue(token, "POST", path),
        node.vouchers.issue(token, "GET", path + "x"),
        node.vouchers.issue("another", "GET", path),
        Vouchers(b"k" * 32, node.clock).issue(token, "GET", path),
        node.vouchers.issue(token, "GET", path)[:-1],
    ):
        assert (await call(voucher)).status == 400


async def test_dpop_between_a_client_and_its_service_is_theirs(pair: GatewayPair) -> None:
    """Without a citizen's token the header is nobody's business of ours: it goes through like any other."""
    answer = await pair.call("echo", headers={"DPoP": "the-services-own"})
    assert seen_by_service(answer)["dpop"] == ["the-services-own"]


# -- representation ----------------------------------------------------------------------------------------------------


async def reference_of(pair: GatewayPair, token: str) -> str:
    node = pair.consumer.gateway.node
    assert node.citizen_tokens is not None
    citizen = await node.citizen_tokens.verify(token)
    relations = node.representations
    (found,) = await relations.of(citizen)  # type: ignore[union-attr]
    return str(found.reference)


async def test_a_parent_asks_for_a_child(pair: GatewayPair) -> None:
    token = pair.token(represents=[{"sub": CHILD, "role": "parent", "name": "Mia"}])
    sent = {"X-Datenweg-Citizen": token, "X-Datenweg-Representing": await reference_of(pair, token)}
    answer = await pair.call("echo", headers=sent)
    assert answer.status == 200
    assert "x-datenweg-representing" not in seen_by_service(answer)
    for node in (pair.consumer, pair.provider):
        messages = await logged(node.gateway, answer.request_id)
        # The role is signed with the request, and stands in both logs' records, under the child's own key.
        fields = parse_request_message(messages[0].message).fields
        assert fields.subjects == (pair.pseudonym(subject=CHILD),)
        assert fields.representative == "parent"
        (access,) = messages[1].accesses
        assert access["representative"] == "parent"


@pytest.mark.parametrize(
    "claim",
    [
        None,
        [],
        "mia.beispiel",
        [{"sub": CHILD, "role": "neighbour", "name": "Mia"}],
        [{"sub": CHILD, "name": "Mia"}],
        [{"sub": CITIZEN, "role": "parent", "name": "Ich"}],
        [{"sub": "another", "role": "parent", "name": "x"}],
    ],
    ids=str,
)
async def test_nobody_acts_for_others_unasked(pair: GatewayPair, claim: Any) -> None:
    """The reference that a true parent would have doesn't help anybody else."""
    parent = pair.token(represents=[{"sub": CHILD, "role": "parent", "name": "Mia"}])
    reference = await reference_of(pair, parent)
    token = pair.token(represents=claim)
    sent = {"X-Datenweg-Citizen": token, "X-Datenweg-Representing": reference}
    await refused(pair, sent, "client.representation_refused")


async def test_nobody_is_represented_without_a_token(pair: GatewayPair) -> None:
    answer = await pair.call("echo", headers={"X-Datenweg-Representing": "x"})
    assert (answer.status, answer.json["type"]) == (400, "client.reserved_header")
    answer = await pair.call("echo", headers={"X-Datenweg-Representative": "parent"})
    assert answer.json["type"] == "client.reserved_header"
