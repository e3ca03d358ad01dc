"""A provider's gateway with real keys that answers wrongly: nothing that it says reaches the client as data."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from aiohttp import web

from gateway.exchange.peers import PeerConnector
from gateway.messages.faults import Fault, Hop, soap_fault
from gateway.registry import membership
from tests.gateway.exchange.pair import CANARY, MAX_BODY, Answer, GatewayPair
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_afterwards, check_refusal, watch
from tests.gateway.exchange.rogue import RECEIPT, Arrived, Signed, forged, reply, sign, status_of
from tests.gateway.exchange.town import ROGUE, ROGUE_SERVICE, UTILITY, path_of
from trust.durable import write_atomically
from trust.identifiers import ServiceId
from trust.keys import SoftwareKey
from trust.parameters import SharedParameters

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONSUMER, PROVIDER = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY
Change = Callable[[GatewayPair, Signed], Signed]


@pytest.fixture(autouse=True)
def honest_again(pair: GatewayPair) -> Iterator[None]:
    yield
    pair.rogue.script = None


async def ask(pair: GatewayPair, rest: str = f"/{CANARY}") -> Answer:
    return await pair.request("POST", path_of(ROGUE_SERVICE, rest), body=b"frage", headers=pair.citizen())


def answering(pair: GatewayPair, make: Callable[[Arrived], web.StreamResponse]) -> None:
    async def script(arrived: Arrived) -> web.StreamResponse:
        return make(arrived)

    pair.rogue.script = script


async def test_an_honest_answer_passes(pair: GatewayPair) -> None:
    answer = await ask(pair)
    assert (answer.status, answer.body) == (200, b"{}")


async def _expect(pair: GatewayPair, code: str, *, hop: Hop = CONSUMER) -> None:
    seen = watch(pair)
    answer = await ask(pair)
    await check_refusal(seen, answer, code, 500, hop, consumer="failed")
    for entry in await logged(pair.consumer.gateway, answer.request_id):
        # The citizen sees that it was tried, and that nothing came of it.
        assert [access["kind"] for access in entry.accesses] in ([], ["access"])


# -- what it signed is not what it sends


def _message(old: bytes, new: bytes) -> Change:
    def change(_pair: GatewayPair, honest: Signed) -> Signed:
        assert old in honest.message
        return replace(honest, message=honest.message.replace(old, new, 1))

    return change


def _resigned(key: Callable[[GatewayPair], SoftwareKey], status: Callable[[GatewayPair], bytes]) -> Change:
    def change(pair: GatewayPair, honest: Signed) -> Signed:
        return replace(honest, signature=sign(key(pair), honest.message, honest.body, status(pair)))

    return change


_SPOILT: dict[str, tuple[Change, str]] = {
    "body": (lambda _, honest: replace(honest, body=b'{"saldo":1}'), "invalid_signature_value"),
    "body left out": (lambda _, honest: replace(honest, body=b""), "invalid_reference"),
    "status": (_message(b"200\r\n", b"404\r\n"), "invalid_signature_value"),
    "header": (_message(b"application/json", b"text/html"), "invalid_signature_value"),
    "signature": (lambda _, honest: replace(honest, signature=b"<a/>"), "malformed_signature"),
    "certificate": (
        _resigned(lambda pair: pair.rogue.authentication, lambda p: status_of(p.authority, p.rogue.authentication)),
        "malformed_signature",
    ),
    "OCSP answer": (_resigned(lambda pair: pair.rogue.signing, lambda _: b"gut"), "malformed_signature"),
    "another's OCSP answer": (
        _resigned(lambda pair: pair.rogue.signing, lambda p: status_of(p.authority, p.rogue.authentication)),
        "invalid_cert_path.cert_validation",
    ),
}


@pytest.mark.parametrize("case", list(_SPOILT))
async def test_a_spoilt_answer(pair: GatewayPair, case: str) -> None:
    change, code = _SPOILT[case]
    answering(pair, lambda arrived: reply(change(pair, pair.rogue.honest(arrived)).encode()))
    await _expect(pair, f"server.clientproxy.signature_verification.{code}")


async def test_another_members_answer_signed_by_the_gateway_that_serves_it(pair: GatewayPair) -> None:
    """Whoever hosts a member's subsystem doesn't speak for the member: that takes the member's own key."""
    state, hosted = pair.registry.state, replace(UTILITY.subsystem, subsystem_code="ausgelagert")

    def register(parameters: SharedParameters) -> SharedParameters:
        parameters = membership.add_subsystem(parameters, hosted, "Ausgelagert")
        return membership.register_client(parameters, ROGUE.server, hosted)

    state.update(register)
    await pair.publish()
    try:
        answer = await pair.request("GET", path_of(ServiceId(hosted, "auskunft")))
        code = "server.clientproxy.signature_verification.incorrect_certificate"
        assert (answer.status, answer.headers["X-Road-Error"]) == (500, code)
    finally:
        state.update(lambda parameters: membership.remove_subsystem(parameters, hosted))
        await pair.publish()


async def test_an_unsigned_answer(pair: GatewayPair) -> None:
    answering(pair, lambda arrived: reply(pair.rogue.honest(arrived).unsigned()))
    await _expect(pair, "server.clientproxy.missing_signature")


@pytest.mark.parametrize(
    ("receipt", "code"),
    [
        (None, "receipt_missing"),
        ("quittung", "receipt_invalid"),
        (RECEIPT.replace("FALSCHSPIEL", "STADTWERKE"), "receipt_invalid"),
        (RECEIPT.replace("ss1", "ss2"), "receipt_invalid"),
        (RECEIPT + "," + RECEIPT.replace("FALSCHSPIEL", "STADTWERKE"), "receipt_invalid"),
        (RECEIPT + "," + RECEIPT.replace(" 0 ", " 1 "), "receipt_invalid"),
    ],
    ids=["missing", "malformed", "of another member's log", "of another gateway's log", "one of two", "one too many"],
)
async def test_the_receipt(pair: GatewayPair, receipt: str | None, code: str) -> None:
    answering(pair, lambda arrived: reply(pair.rogue.honest(arrived, receipt=receipt).encode()))
    await _expect(pair, f"server.clientproxy.{code}")


@pytest.mark.parametrize(
    ("case", "below"),
    [
        ("garbage", "internal_error"),
        ("forged", "invalid_cert_path.incorrect_validation_info"),
        ("another's", "invalid_cert_path.cert_validation"),
        ("revoked", "invalid_cert_path.cert_validation"),
    ],
)
async def test_the_ocsp_answer_of_its_tls_certificate(pair: GatewayPair, case: str, below: str) -> None:
    """Before a byte is sent: whoever can't show a good status gets nothing."""
    rogue = pair.rogue
    good = rogue.status
    assert good is not None
    _forget_peers(pair)
    rogue.status = {
        "garbage": b"gut",
        "forged": forged(good),
        "another's": status_of(pair.authority, rogue.signing),
        "revoked": _revoked(pair),
    }[case]
    arrived = len(rogue.arrived)
    try:
        await _expect(pair, f"server.clientproxy.ssl_authentication_failed.{below}")
    finally:
        rogue.status = good
    assert len(rogue.arrived) == arrived


async def test_without_its_own_ocsp_answer_the_authority_is_asked(pair: GatewayPair) -> None:
    rogue = pair.rogue
    good, rogue.status = rogue.status, None
    _forget_peers(pair)
    try:
        assert (await ask(pair)).status == 200
    finally:
        rogue.status = good


def _revoked(pair: GatewayPair) -> bytes:
    """What the authority would say, had the certificate been revoked: said by an authority that knows of it."""
    serial = pair.rogue.authentication.certificate.serial_number
    path = pair.authority.directory / "revoked.json"
    before = path.read_bytes() if path.exists() else b"{}"
    pair.authority.revoke(serial)
    try:
        return status_of(pair.authority, pair.rogue.authentication)
    finally:
        write_atomically(path, before)


def _forget_peers(pair: GatewayPair) -> None:
    """The consumer gateway has seen no peer yet."""
    connector = pair.consumer.gateway.node.peers._client._session.connector
    assert isinstance(connector, PeerConnector)
    verifier = connector._verify_peer.__self__  # type: ignore[attr-defined]
    verifier._good_until.clear()


# -- an answer to something else


async def test_an_old_answer(pair: GatewayPair) -> None:
    kept: list[tuple[str, bytes]] = []

    def keep(arrived: Arrived) -> web.StreamResponse:
        kept.append(pair.rogue.honest(arrived).encode())
        return reply(kept[0])

    answering(pair, keep)
    assert (await ask(pair)).status == 200
    await _expect(pair, "server.clientproxy.inconsistent_response")


async def test_swapped_answers(pair: GatewayPair) -> None:
    both: list[Arrived] = []
    complete = asyncio.Event()

    async def swap(arrived: Arrived) -> web.StreamResponse:
        both.append(arrived)
        if len(both) == 2:
            complete.set()
        await complete.wait()
        return reply(pair.rogue.honest(both[1] if both[0] is arrived else both[0]).encode())

    pair.rogue.script = swap
    seen = watch(pair)
    answers = await asyncio.gather(ask(pair, "/eins"), ask(pair, "/zwei"))
    for answer in answers:
        assert answer.headers["X-Road-Error"] == "server.clientproxy.inconsistent_response"
        code = answer.headers["X-Road-Error"]
        summary = [entry.summary for entry in await logged(pair.consumer.gateway, answer.request_id)]
        assert summary == [("request", "ok", []), ("response", code, [("failed", code)])]
    await check_afterwards(seen)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"x-road-client:DE-TEST/GOV/MUSTERSTADT/app", b"x-road-client:DE-TEST/GOV/MUSTERSTADT/gast"),
        (b"/auskunft", b"/anderes"),
        (b"x-road-id:DE-TEST-", b"x-road-id:DE-TEST+"),
    ],
    ids=["client", "service", "id"],
)
async def test_an_answer_that_names_something_else(pair: GatewayPair, old: bytes, new: bytes) -> None:
    def make(arrived: Arrived) -> web.StreamResponse:
        honest = pair.rogue.honest(arrived)
        assert old in honest.message
        return reply(pair.rogue.signed(honest.message.replace(old, new, 1), honest.body).encode())

    answering(pair, make)
    await _expect(pair, "server.clientproxy.inconsistent_response")


async def test_it_does_not_speak_for_the_clients_own_gateway(pair: GatewayPair) -> None:
    """A receipt of the consumer gateway's log is that gateway's to give: a forged one is not passed on."""

    def make(arrived: Arrived) -> web.StreamResponse:
        honest = pair.rogue.honest(arrived)
        added = f"X-Datenweg-Consumer-Receipt:{RECEIPT}\r\nX-Datenweg-Citizen:a\r\n".encode()
        return reply(pair.rogue.signed(honest.message + added, honest.body).encode())

    answering(pair, make)
    answer = await ask(pair)
    assert answer.status == 200
    assert answer.headers.getall("X-Datenweg-Audit-Receipt") == [RECEIPT]
    (receipt,) = answer.headers.getall("X-Datenweg-Consumer-Receipt")
    assert receipt.startswith("DE-TEST/GOV/MUSTERSTADT/ss1/audit/")
    assert "X-Datenweg-Citizen" not in answer.headers


async def test_the_consumers_own_request_as_an_answer(pair: GatewayPair) -> None:
    answering(pair, lambda arrived: reply(pair.rogue.signed(arrived.message, arrived.body).encode()))
    await _expect(pair, "server.clientproxy.service_failed.invalid_message", hop=PROVIDER)


# -- no answer at all


@pytest.mark.parametrize(
    ("make", "code", "hop"),
    [
        (lambda: web.Response(status=500, text="kaputt"), "server.clientproxy.http_error", CONSUMER),
        (lambda: web.Response(status=302, headers={"Location": "/"}), "server.clientproxy.http_error", CONSUMER),
        (lambda: web.Response(text="hallo"), "server.clientproxy.service_failed.invalid_content_type", PROVIDER),
        (
            lambda: web.Response(body=b"x", headers={"Content-Type": "multipart/mixed; boundary=a"}),
            "server.clientproxy.missing_rest",
            CONSUMER,
        ),
        (
            lambda: web.Response(body=b"--a\r\nx", headers={"Content-Type": "multipart/mixed; boundary=a"}),
            "server.clientproxy.service_failed.mime_parsing_failed",
            PROVIDER,
        ),
        (
            lambda: web.Response(body=b"<a/>", content_type="text/xml"),
            "server.clientproxy.service_failed.invalid_soap",
            PROVIDER,
        ),
        (
            lambda: web.Response(body=bytes(5 * MAX_BODY + (2 << 20)), content_type="text/xml"),
            "server.clientproxy.service_failed.body_too_large",
            PROVIDER,
        ),
    ],
    ids=["500", "redirect", "text", "no multipart", "cut", "no fault", "endless"],
)
async def test_no_message(pair: GatewayPair, make: Callable[[], web.Response], code: str, hop: Hop) -> None:
    answering(pair, lambda _: make())
    await _expect(pair, code, hop=hop)


async def test_a_fault_is_passed_on_as_it_is(pair: GatewayPair) -> None:
    detail = str(uuid.uuid4())
    fault = Fault("server.serverproxy.access_denied", "nein").identify(detail)
    answering(pair, lambda _: web.Response(body=soap_fault(fault), content_type="text/xml"))
    seen = watch(pair)
    answer = await ask(pair)
    assert (answer.status, answer.headers["X-Road-Error"]) == (500, "server.serverproxy.access_denied")
    assert answer.json["detail"] == detail
    assert detail in [line.get("detail") for line in pair.lines(seen.position)]
    code = answer.headers["X-Road-Error"]
    summary = [entry.summary for entry in await logged(pair.consumer.gateway, answer.request_id)]
    assert summary == [("request", "ok", []), ("response", code, [("denied", code)])]
    await check_afterwards(seen)


@pytest.mark.parametrize(
    "code",
    [
        "server.serverproxy.internal_error",
        "server.serverproxy.logging_failed",
        "server.serverproxy.database_error",
        "server.serverproxy.overloaded",
        "server.serverproxy.global_conf_outdated",
        "server.serverproxy.service_failed.network_error",
        "soap:Server",
    ],
)
async def test_a_failure_of_the_other_side_is_no_denial(pair: GatewayPair, code: str) -> None:
    fault = Fault(code, "kaputt", detail=str(uuid.uuid4()))
    answering(pair, lambda _: web.Response(body=soap_fault(fault), content_type="text/xml"))
    answer = await ask(pair)
    assert answer.headers["X-Road-Error"] == code
    response = (await logged(pair.consumer.gateway, answer.request_id))[1]
    # A code that is none of the road's is somebody's text: not for the logs.
    noted = code if code.startswith("server.") else "service_fault"
    assert response.summary == ("response", noted, [("failed", noted)])


async def test_a_fault_full_of_mischief(pair: GatewayPair) -> None:
    envelope = (
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault><faultcode>'
        b"a&#10;X-Boese: 1</faultcode><faultstring>&#10;\xe2\x80\xae</faultstring>"
        b"<detail><faultDetail>x&#10;y</faultDetail></detail></e:Fault></e:Body></e:Envelope>"
    )
    answering(pair, lambda _: web.Response(body=envelope, content_type="text/xml"))
    seen = watch(pair)
    answer = await ask(pair)
    assert answer.status in (400, 500)
    assert "X-Boese" not in answer.headers
    for line in pair.lines(seen.position):
        assert all("\n" not in str(value) for value in line.values())
    await check_afterwards(seen)


# -- it breaks off, or takes its time


async def test_it_breaks_off(pair: GatewayPair) -> None:
    async def script(_: Arrived) -> web.StreamResponse:
        raise ConnectionAbortedError

    pair.rogue.script = script
    before = len(pair.rogue.arrived)
    await _expect(pair, "server.clientproxy.network_error")
    # It came once: nobody tries again what may have been done.
    assert len(pair.rogue.arrived) == before + 1


async def test_it_is_slow(pair: GatewayPair) -> None:
    release = asyncio.Event()

    async def script(arrived: Arrived) -> web.StreamResponse:
        await release.wait()
        return reply(pair.rogue.honest(arrived).encode())

    pair.rogue.script = script
    before = len(pair.rogue.arrived)
    try:
        await _expect(pair, "server.clientproxy.io_error")
    finally:
        release.set()
    assert len(pair.rogue.arrived) == before + 1
