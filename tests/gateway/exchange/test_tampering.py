"""A peer with real keys that tampers with what it sends: refused at the provider's gateway, each for its own reason."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.messages import transport
from gateway.messages.faults import Fault
from gateway.messages.headers import IdentityLevel, RoadFields
from gateway.messages.transport import TransportMessage
from gateway.registry import membership
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.records import logged, message_count
from tests.gateway.exchange.refusals import check_peer_refusal, watch
from tests.gateway.exchange.rogue import CallingRogue, forged, sign, status_of
from tests.gateway.exchange.town import CITY, GUEST, ROGUE, ROGUE_SERVICE, STRAY, UTILITY, service
from trust.identifiers import ServiceId
from trust.keys import SoftwareKey

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO = service("echo")


async def test_untampered_it_passes(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    answer = await peer.city.send(peer.url, request_id, good.encode())
    assert isinstance(answer, TransportMessage)
    summary = [entry.summary for entry in await logged(peer.pair.provider.gateway, request_id)]
    assert summary == [("request", "ok", []), ("response", "ok", [("delivered", None)])]


# -- body, header, signature


async def test_a_changed_body(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    code = "server.serverproxy.signature_verification.invalid_signature_value"
    await peer.refused(code, request_id, replace(good, body=good.body + b" ").encode())


async def test_a_body_that_is_left_out(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    code = "server.serverproxy.signature_verification.invalid_reference"
    await peer.refused(code, request_id, replace(good, body=b"").encode())


async def test_a_body_that_was_not_signed(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO, body=b"")
    code = "server.serverproxy.signature_verification.invalid_reference"
    await peer.refused(code, request_id, replace(good, body=b"untergeschoben").encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"/echo/", b"/hoch/"),
        (b"POST\r\n", b"GET\r\n"),
        (b"X-Wert:1", b"X-Wert:2"),
        (b"\r\nX-Wert:1", b""),
        (b"X-Wert:1", b"X-Wert:1\r\nX-Datenweg-Identity-Level:high"),
        (CITY.subsystem.encoded.encode(), GUEST.encoded.encode()),
    ],
    ids=["service", "verb", "value", "left out", "identity level", "client"],
)
async def test_a_changed_message(peer: Peer, old: bytes, new: bytes) -> None:
    request_id, good = peer.city.request(ECHO, headers=(("X-Wert", "1"),))
    assert old in good.message
    code = "server.serverproxy.signature_verification.invalid_signature_value"
    await peer.refused(code, request_id, replace(good, message=good.message.replace(old, new)).encode())


async def test_another_messages_signature(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    _, other = peer.city.request(ECHO)
    code = "server.serverproxy.signature_verification.invalid_signature_value"
    await peer.refused(code, request_id, replace(good, signature=other.signature).encode())


def _flipped(signature: bytes) -> bytes:
    match = re.search(rb"<ds:SignatureValue[^>]*>(.)", signature)
    assert match is not None
    position = match.start(1)
    return (
        signature[:position]
        + (b"B" if signature[position : position + 1] == b"A" else b"A")
        + signature[position + 1 :]
    )


_SIGNATURES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "value": ("signature_verification.invalid_signature_value", _flipped),
    "no XML": ("signature_verification.invalid_xml", lambda _: b"unterschrieben: ich"),
    "other XML": ("signature_verification.malformed_signature", lambda _: b"<a/>"),
    "empty": ("signature_verification.invalid_xml", lambda _: b""),
    "cut": ("signature_verification.invalid_xml", lambda s: s[: len(s) // 2]),
    "doctype": ("signature_verification.invalid_xml", lambda s: b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + s),
}


@pytest.mark.parametrize("case", list(_SIGNATURES))
async def test_a_changed_signature(peer: Peer, case: str) -> None:
    request_id, good = peer.city.request(ECHO)
    code, change = _SIGNATURES[case]
    await peer.refused(
        f"server.serverproxy.{code}", request_id, replace(good, signature=change(good.signature)).encode()
    )


async def test_no_signature(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    await peer.refused("server.serverproxy.missing_signature", request_id, good.unsigned())


# -- certificates


async def test_signed_by_another_member(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO, key=peer.pair.rogue.signing)
    code = "server.serverproxy.signature_verification.incorrect_certificate"
    await peer.refused(code, request_id, good.encode())


async def test_another_members_request_signed_by_the_gateway_that_serves_it(peer: Peer) -> None:
    """Whoever hosts a member's subsystem doesn't speak for the member: that takes the member's own key."""
    state, hosted = peer.pair.registry.state, ROGUE.subsystem
    state.update(lambda parameters: membership.register_client(parameters, CITY.server, hosted))
    await peer.pair.publish()
    try:
        request_id, good = peer.city.request(ECHO, client=hosted)
        code = "server.serverproxy.signature_verification.incorrect_certificate"
        await peer.refused(code, request_id, good.encode())
        request_id, good = peer.city.request(ECHO, client=hosted, key=peer.pair.rogue.signing)
        await peer.refused("server.serverproxy.access_denied", request_id, good.encode(), provider="denied")
    finally:
        state.update(lambda parameters: membership.remove_client(parameters, CITY.server, hosted))
        await peer.pair.publish()


async def test_signed_with_the_tls_key(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO, key=peer.city.authentication)
    code = "server.serverproxy.signature_verification.malformed_signature"
    await peer.refused(code, request_id, good.encode())


async def test_signed_under_a_strange_authority(peer: Peer) -> None:
    request_id, good = peer.city.request(
        ECHO, key=peer.strangers, status=status_of(peer.pair.authority, peer.city.signing)
    )
    code = "server.serverproxy.signature_verification.cannot_create_cert_path.internal_error"
    await peer.refused(code, request_id, good.encode())


async def test_another_certificate_in_the_signature(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    ours, theirs = (b64encode(key.certificate_der) for key in (peer.city.signing, peer.pair.rogue.signing))
    assert ours in good.signature
    changed = replace(good, signature=good.signature.replace(ours, theirs))
    await peer.refused("server.serverproxy.signature_verification.incorrect_certificate", request_id, changed.encode())


async def test_a_revoked_signing_certificate(peer: Peer) -> None:
    revoked = _issued(peer, "signing")
    peer.pair.authority.revoke(revoked.certificate.serial_number)
    request_id, good = peer.city.request(ECHO, key=revoked)
    code = "server.serverproxy.signature_verification.invalid_cert_path.cert_validation"
    await peer.refused(code, request_id, good.encode())


def _issued(peer: Peer, usage: str) -> SoftwareKey:
    """A new certificate of the city, from the approved authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = peer.pair.authority
    issue = authority.issue_signing if usage == "signing" else authority.issue_authentication
    return SoftwareKey(key, issue(key.public_key(), CITY.member, member_name="Musterstadt", server_code="ss1"))


async def test_a_tls_certificate_that_is_not_registered(peer: Peer) -> None:
    key = _issued(peer, "authentication")
    request_id, good = peer.city.request(ECHO)
    good = replace(good, ocsp_responses=(status_of(peer.pair.authority, key),))
    code = "server.serverproxy.ssl_authentication_failed"
    await peer.refused(code, request_id, good.encode(), context=peer.city.context(key))


async def test_no_tls_certificate_and_a_strange_one(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname, nameless.verify_mode = False, ssl.CERT_NONE
    strange = peer.city.context(peer.strangers)
    for context in (nameless, strange):
        with pytest.raises((aiohttp.ClientError, OSError)):
            await peer.city.send(peer.url, request_id, good.encode(), context=context)
    assert await logged(peer.pair.provider.gateway, request_id) == []


async def test_another_gateways_connection(peer: Peer) -> None:
    # The city signed it, but the rogue's gateway brings it.
    request_id, good = peer.city.request(ECHO)
    good = replace(good, ocsp_responses=(status_of(peer.pair.authority, peer.pair.rogue.authentication),))
    context = peer.city.context(peer.pair.rogue.authentication)
    await peer.refused("server.serverproxy.ssl_authentication_failed", request_id, good.encode(), context=context)


@pytest.mark.parametrize("client", [STRAY, ROGUE.subsystem, UTILITY.subsystem], ids=["own", "rogue's", "provider's"])
async def test_a_client_that_its_gateway_does_not_serve(peer: Peer, client: object) -> None:
    assert client in (STRAY, ROGUE.subsystem, UTILITY.subsystem)
    request_id, good = peer.city.request(ECHO, client=client)
    await peer.refused("server.serverproxy.ssl_authentication_failed", request_id, good.encode())


# -- OCSP answers


@pytest.mark.parametrize("case", ["none", "garbage", "another's", "forged", "revoked"])
async def test_the_ocsp_answer_of_the_tls_certificate(peer: Peer, case: str) -> None:
    request_id, good = peer.city.request(ECHO)
    (honest,) = good.ocsp_responses
    answers: dict[str, tuple[bytes, ...]] = {
        "none": (),
        "garbage": (b"gut",),
        "another's": (status_of(peer.pair.authority, peer.city.signing),),
        "forged": (forged(honest),),
        "revoked": (honest, _revoked_answer(peer)),
    }
    code = "server.serverproxy.ssl_authentication_failed"
    if case == "revoked":
        # An answer about another certificate, even a revoked one, takes nothing away from a good one.
        answer = await peer.city.send(peer.url, request_id, replace(good, ocsp_responses=answers[case]).encode())
        assert isinstance(answer, TransportMessage)
        return
    if case == "garbage":
        # PR-MESSTRANSP 3.1: the part isn't what it says; what it would say of the certificate isn't asked.
        code = "server.serverproxy.service_failed.io_error"
    await peer.refused(code, request_id, replace(good, ocsp_responses=answers[case]).encode())


def _revoked_answer(peer: Peer) -> bytes:
    key = _issued(peer, "authentication")
    peer.pair.authority.revoke(key.certificate.serial_number)
    return status_of(peer.pair.authority, key)


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("garbage", "malformed_signature"),
        ("another's", "invalid_cert_path.cert_validation"),
        ("forged", "invalid_cert_path.incorrect_validation_info"),
    ],
)
async def test_the_ocsp_answer_in_the_signature(peer: Peer, case: str, code: str) -> None:
    honest = status_of(peer.pair.authority, peer.city.signing)
    answers = {
        "garbage": b"gut",
        "another's": status_of(peer.pair.authority, peer.pair.rogue.signing),
        "forged": forged(honest),
    }
    request_id, good = peer.city.request(ECHO, status=answers[case])
    await peer.refused(f"server.serverproxy.signature_verification.{code}", request_id, good.encode())


async def test_an_ocsp_answer_that_was_swapped_after_signing(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    _, other = peer.city.request(ECHO, key=peer.pair.rogue.signing)
    old, new = (re.search(rb"<xades:EncapsulatedOCSPValue[^>]*>([^<]+)", s.signature) for s in (good, other))
    assert old is not None
    assert new is not None
    changed = replace(good, signature=good.signature.replace(old[1], new[1]))
    seen = watch(peer.pair)
    answer = await peer.city.send(peer.url, request_id, changed.encode())
    assert isinstance(answer, Fault)
    assert answer.code.startswith("server.serverproxy.signature_verification.")
    await check_peer_refusal(seen, answer, answer.code, request_id)


# -- the message itself


async def test_the_transports_id_is_another(peer: Peer) -> None:
    _, good = peer.city.request(ECHO)
    await peer.refused("server.serverproxy.invalid_message", "11111111-1111-4111-8111-111111111111", good.encode())


@pytest.mark.parametrize(
    ("content_type", "content", "code"),
    [
        ("text/plain", b"hallo", "service_failed.invalid_content_type"),
        ("multipart/mixed", b"hallo", "service_failed.invalid_content_type"),
        ("multipart/mixed; boundary=xtop", b"", "missing_rest"),
        ("multipart/mixed; boundary=xtop", b"--xtop\r\nx", "service_failed.mime_parsing_failed"),
        (
            "multipart/mixed; boundary=xtop",
            b"--xtop\r\nContent-Type: text/html\r\n\r\nx\r\n--xtop--\r\n",
            "service_failed.invalid_content_type",
        ),
        ("multipart/mixed; boundary=xtop", b"--xtop--\r\n", "missing_rest"),
    ],
)
async def test_what_is_no_message(peer: Peer, content_type: str, content: bytes, code: str) -> None:
    await peer.refused(f"server.serverproxy.{code}", "id", (content_type, content))


async def test_a_message_that_is_cut(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    content_type, content = good.encode()
    code = "server.serverproxy.service_failed.mime_parsing_failed"
    await peer.refused(code, request_id, (content_type, content[:-40]))


async def test_something_after_the_signature(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    content_type, content = good.encode()
    boundary = content_type.rpartition("boundary=")[2].encode()
    more = b"\r\ncontent-type: application/x-road-rest-body\r\n\r\nmehr\r\n--" + boundary + b"--\r\n"
    code = "server.serverproxy.service_failed.invalid_message"
    await peer.refused(code, request_id, (content_type, content.removesuffix(b"--\r\n") + more))


async def test_a_response_instead_of_a_request(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    changed = replace(good, kind=transport.PartKind.REST_RESPONSE)
    await peer.refused("server.serverproxy.missing_rest", request_id, changed.encode())


async def test_a_body_over_the_limit(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO, body=bytes(MAX_BODY + 1))
    await peer.refused("server.serverproxy.body_too_large", request_id, good.encode())


async def test_a_provider_of_another_gateway(peer: Peer) -> None:
    request_id, good = peer.city.request(ROGUE_SERVICE)
    await peer.refused("server.serverproxy.unknown_member", request_id, good.encode())


async def test_meant_for_another_gateway(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO, headers=(("X-Road-Security-Server", "DE-TEST/COM/STADTWERKE/ss2"),))
    await peer.refused("server.serverproxy.invalid_security_server", request_id, good.encode())


async def test_a_citizens_token_that_was_forwarded(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    message = good.message + b"X-Datenweg-Citizen:" + peer.pair.token().encode() + b"\r\n"
    own = status_of(peer.pair.authority, peer.city.signing)
    changed = replace(good, message=message, signature=sign(peer.city.signing, message, good.body, own))
    await peer.refused("server.serverproxy.reserved_header", request_id, changed.encode())


@pytest.mark.parametrize("verb", ["GET", "PROPFIND", "HOLE"])
async def test_another_verb_than_post(peer: Peer, verb: str) -> None:
    connector = aiohttp.TCPConnector(ssl=peer.city.context(), force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session, session.request(verb, peer.url) as answer:
        assert answer.status == 200
        assert b"server.serverproxy.invalid_http_method" in await answer.read()


@pytest.mark.parametrize("code", ["datenwegAccesses", "datenwegConsent"])
async def test_a_member_that_is_no_consent_authority(peer: Peer, code: str) -> None:
    rogue = CallingRogue(peer.pair.rogue.signing, peer.pair.rogue.authentication, peer.pair.authority)
    fields = RoadFields(subjects=(peer.pair.pseudonym(),), identity_level=IdentityLevel.HIGH)
    request_id, good = rogue.request(
        ServiceId(UTILITY.subsystem, code), client=ROGUE.subsystem, fields=fields, body=b""
    )
    seen = watch(peer.pair)
    answer = await rogue.send(peer.url, request_id, good.encode())
    await check_peer_refusal(seen, answer, "server.serverproxy.access_denied", request_id, provider="denied")


# -- hanging up


async def test_a_peer_that_hangs_up_halfway(peer: Peer) -> None:
    seen = watch(peer.pair)
    before = await message_count(peer.pair.provider.gateway)
    await peer.hang_up_halfway(ECHO)
    await peer.pair.until(
        lambda: any(line.get("code") == "server.serverproxy.io_error" for line in peer.pair.lines(seen.position))
    )
    assert await message_count(peer.pair.provider.gateway) == before
    assert seen.new_calls == 0
