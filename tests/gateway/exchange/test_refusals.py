"""Every refusal of a client's request, as the client meets it: who may not, and what does not hold."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest
from joserfc.jwk import ECKey

from gateway.messages.faults import Hop
from gateway.store.model import Client, ClientState, ConnectionType
from gateway.store.repository import Repository
from tests.gateway.exchange.pair import CANARY, MAX_BODY, GatewayPair
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_refusal, watch
from tests.gateway.exchange.town import APP, GUEST, STRAY, UTILITY, path_of, service
from trust.identifiers import ServiceId, SubsystemId

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONSUMER, PROVIDER, CLIENT = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY, Hop.CLIENT


# -- who and what


@pytest.mark.parametrize(
    "provider",
    [
        SubsystemId("DE-TEST", "COM", "UNBEKANNT", "dienst"),
        SubsystemId("DE-TEST", "COM", "STADTWERKE", "unbekannt"),
        SubsystemId("ANDERE-TEST", "COM", "STADTWERKE", "kundenservice"),
        STRAY,
    ],
    ids=["member", "subsystem", "instance", "registered nowhere"],
)
async def test_unknown_provider(pair: GatewayPair, provider: SubsystemId) -> None:
    seen = watch(pair)
    answer = await pair.request("GET", path_of(ServiceId(provider, "echo"), f"/{CANARY}"))
    await check_refusal(seen, answer, "server.clientproxy.unknown_member", 500, CONSUMER)


@pytest.mark.parametrize(
    "client",
    [
        SubsystemId("DE-TEST", "GOV", "UNBEKANNT", "app"),
        SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "unbekannt"),
        UTILITY.subsystem,
        STRAY,
    ],
    ids=["member", "subsystem", "of another gateway", "not registered at this gateway"],
)
async def test_unknown_client(pair: GatewayPair, client: SubsystemId) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", client=client)
    await check_refusal(seen, answer, "server.clientproxy.unknown_member", 500, CONSUMER)


async def test_unknown_service(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("unbekannt")
    code = "server.serverproxy.unknown_service"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


@pytest.mark.parametrize(
    "client",
    ["", "DE-TEST/GOV/MUSTERSTADT/app/zuviel", "DE-TEST/GOV", "DE-TEST/GOV/MUSTER%ZZ/app", "DE-TEST//X/app"],
    ids=["empty", "too long", "too short", "bad escape", "empty segment"],
)
async def test_a_malformed_client(pair: GatewayPair, client: str) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", client=client)
    await check_refusal(seen, answer, "server.clientproxy.internal_error", 500, CONSUMER)
    assert "X-Road-Client" in answer.json["message"]


async def test_no_client(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", client=None)
    await check_refusal(seen, answer, "server.clientproxy.invalid_client_identifier", 500, CONSUMER)


async def test_client_sent_twice(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call(
        "echo", client=None, headers=[("X-Road-Client", APP.encoded), ("X-Road-Client", GUEST.encoded)]
    )
    await check_refusal(seen, answer, "client.duplicate_header_field", 400, CLIENT)


@pytest.mark.parametrize("target", ["/r1/", "/r1/DE-TEST/COM/STADTWERKE/kundenservice", "/r1/%2"])
async def test_malformed_path(pair: GatewayPair, target: str) -> None:
    seen = watch(pair)
    answer = await pair.request("GET", target)
    await check_refusal(seen, answer, "server.clientproxy.internal_error", 500, CONSUMER)


@pytest.mark.parametrize("path", ["/a/../../%2e%2e/geheim", "/..", "/a..b", "/%252e%252e/x", "/a/..;x/b", "/a%0Ab"])
async def test_paths_that_lead_out_of_the_service(pair: GatewayPair, path: str) -> None:
    seen = watch(pair)
    answer = await pair.request("GET", path_of(service("echo"), path))
    refusal = "server.serverproxy.access_denied"
    await check_refusal(seen, answer, refusal, 500, PROVIDER, consumer="denied", provider="denied")


async def test_unknown_method(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.request("PURGE", path_of(service("echo")))
    await check_refusal(seen, answer, "server.clientproxy.internal_error", 500, CONSUMER)


@pytest.mark.parametrize(
    "name", ["X-Datenweg-Identity-Level", "X-Datenweg-Exchange-Nonce", "X-Datenweg-Audit-Receipt", "X-Datenweg-Neu"]
)
async def test_a_field_that_only_the_road_sets(pair: GatewayPair, name: str) -> None:
    seen = watch(pair)
    answer = await pair.call("hoch", headers={name: "high"})
    await check_refusal(seen, answer, "client.reserved_header", 400, CLIENT)


async def test_another_gateway_than_the_providers(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", headers={"X-Road-Security-Server": "DE-TEST/COM/STADTWERKE/ss9"})
    await check_refusal(seen, answer, "server.clientproxy.invalid_security_server", 500, CONSUMER)


@pytest.mark.parametrize("kind", [ConnectionType.HTTPS, ConnectionType.HTTPS_NO_AUTH])
async def test_a_client_that_must_use_tls(pair: GatewayPair, kind: ConnectionType) -> None:
    repository = Repository(pair.consumer.gateway.engine)
    await repository.upsert_client(Client(GUEST, kind))
    await pair.until(lambda: pair.consumer.client_type(GUEST) is kind)
    seen = watch(pair)
    answer = await pair.call("echo", client=GUEST)
    await check_refusal(seen, answer, "server.clientproxy.ssl_authentication_failed", 500, CONSUMER)
    await repository.upsert_client(Client(GUEST))
    await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTP)


async def test_a_client_that_is_switched_off(pair: GatewayPair) -> None:
    repository = Repository(pair.consumer.gateway.engine)
    await repository.upsert_client(Client(GUEST, state=ClientState.DISABLED))
    await pair.until(lambda: pair.consumer.client_type(GUEST) is None)
    seen = watch(pair)
    answer = await pair.call("echo", client=GUEST)
    await check_refusal(seen, answer, "server.clientproxy.unknown_member", 500, CONSUMER)
    await repository.upsert_client(Client(GUEST))
    await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTP)


# -- rights


@pytest.mark.parametrize(("code", "client"), [("ohne-recht", APP), ("echo", GUEST), ("gruppe", GUEST)])
async def test_no_right(pair: GatewayPair, code: str, client: SubsystemId) -> None:
    seen = watch(pair)
    answer = await pair.call(code, client=client)
    refusal = "server.serverproxy.access_denied"
    await check_refusal(seen, answer, refusal, 500, PROVIDER, consumer="denied", provider="denied")


async def test_a_right_through_a_group(pair: GatewayPair) -> None:
    assert (await pair.call("gruppe")).status == 200


async def test_switched_off_with_the_providers_notice(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("aus")
    code = "server.serverproxy.service_disabled"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")
    assert "Wartung bis Montag" in answer.json["message"]


async def test_a_soap_service(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("wsdl")
    code = "server.serverproxy.service_type"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


# -- the citizen


@pytest.mark.parametrize("level", ["low", "substantial"])
async def test_identity_level_too_low(pair: GatewayPair, level: str) -> None:
    assert (await pair.call("echo", headers=pair.citizen())).status == 200
    seen = watch(pair)
    answer = await pair.call("hoch", headers=pair.citizen(acr=level))
    code = "server.serverproxy.identity_level_too_low"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")
    # The citizen sees the attempt, under their own key, in both logs.
    for node in (pair.consumer, pair.provider):
        accesses = [access for entry in await logged(node.gateway, answer.request_id) for access in entry.accesses]
        assert [(access["kind"], access["identityLevel"]) for access in accesses] == [("access", level)]


async def test_a_refusal_makes_no_new_persons_at_the_provider(pair: GatewayPair) -> None:
    answer = await pair.call("ohne-recht", headers={"X-Datenweg-Subject": f"erfunden-{uuid.uuid4()}"})
    (refused,) = await logged(pair.provider.gateway, answer.request_id)
    assert [(access["kind"], access["result"]) for access in refused.accesses] == [("exchange", "denied")]


async def test_no_citizen_at_all(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("hoch")
    code = "server.serverproxy.identity_level_too_low"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="denied", provider="denied")


async def test_a_high_identity_level_opens_the_service(pair: GatewayPair) -> None:
    answer = await pair.call("hoch", headers=pair.citizen())
    assert answer.status == 200
    headers = dict(answer.json["headers"])
    assert headers["X-Datenweg-Subject"] == pair.pseudonym()
    assert headers["X-Datenweg-Identity-Level"] == "high"
    assert "X-Datenweg-Citizen" not in headers
    assert "X-Datenweg-Exchange-Nonce" not in headers


async def test_a_subject_that_is_not_the_citizen(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", headers=pair.citizen() | {"X-Datenweg-Subject": "jemand-anders"})
    await check_refusal(seen, answer, "client.bad_request", 400, CLIENT)


_OTHER_KEY = ECKey.generate_key("P-256", auto_kid=True)
_TOKENS: dict[str, Any] = {
    "forged with another key": lambda p: p.token(key=_OTHER_KEY),
    "forged under the issuer's key id": lambda p: p.token(key=_OTHER_KEY, header={"kid": p.issuer.key.kid}),
    "unsigned": lambda p: _unsigned(p.token()),
    "changed claims": lambda p: _swap_claims(p.token(), p.token(sub="max.beispiel")),
    "expired": lambda p: p.token(exp=1_700_000_000),
    "expiry missing": lambda p: p.token(exp=None),
    "not yet valid": lambda p: p.token(nbf=33_000_000_000),
    "for another audience": lambda p: p.token(aud="https://anderswo.example"),
    "audience missing": lambda p: p.token(aud=None),
    "of another issuer": lambda p: p.token(iss="https://anderswo.example"),
    "an ID token": lambda p: p.token(header={"typ": "JWT"}),
    "without a subject": lambda p: p.token(sub=None),
    "without a level": lambda p: p.token(acr=None),
    "of an unknown level": lambda p: p.token(acr="sehr-hoch"),
    "empty": lambda p: "-",
    "no token": lambda p: "a.b.c",
    "a header that is no object": lambda p: "WzFd.e30.AA",
    "deeply nested": lambda p: _nested(),
    "oversize": lambda p: p.token(viel="x" * 9000),
}


def _unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def _swap_claims(token: str, other: str) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{other.split('.')[1]}.{signature}"


def _nested() -> str:
    return base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode() + ".e30.AA"


@pytest.mark.parametrize("case", list(_TOKENS))
async def test_a_citizens_token_that_does_not_hold(pair: GatewayPair, case: str) -> None:
    seen = watch(pair)
    token = _TOKENS[case](pair)
    answer = await pair.call("echo", headers={"X-Datenweg-Citizen": token})
    await check_refusal(seen, answer, "client.citizen_token_invalid", 400, CLIENT)


async def test_the_issuer_is_not_there(pair: GatewayPair) -> None:
    tokens = pair.consumer.gateway.node.citizen_tokens
    assert tokens is not None
    keys, tokens._keys, tokens._fetched = tokens._keys, None, None
    pair.issuer.available = False
    try:
        seen = watch(pair)
        answer = await pair.call("echo", headers=pair.citizen(jti=str(uuid.uuid4())))
        await check_refusal(seen, answer, "server.clientproxy.citizen_issuer_unavailable", 500, CONSUMER)
    finally:
        pair.issuer.available, tokens._keys = True, keys


# -- limits


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_a_body_over_the_limit(pair: GatewayPair, chunked: bool) -> None:
    seen = watch(pair)
    answer = await pair.call("binary", "/binary", "POST", body=bytes(MAX_BODY + 1), chunked=chunked)
    await check_refusal(seen, answer, "client.body_too_large", 400, CLIENT)
    assert str(MAX_BODY) in answer.json["message"]


async def test_a_body_at_the_limit(pair: GatewayPair) -> None:
    body = bytes(MAX_BODY)
    assert (await pair.call("echo", "/binary", "POST", body=body)).body == body
