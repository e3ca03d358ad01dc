"""A message passes once: the same bytes again, and what was only signed anew, are refused."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from gateway.messages.faults import Fault
from gateway.messages.transport import TransportMessage
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import watch
from tests.gateway.exchange.rogue import Signed, sign, status_of
from tests.gateway.exchange.town import APP, service

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO = service("echo")


async def test_a_replayed_message(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    encoded = good.encode()
    assert isinstance(await peer.city.send(peer.url, request_id, encoded), TransportMessage)
    before = await logged(peer.pair.provider.gateway, request_id)
    seen = watch(peer.pair)
    answer = await peer.city.send(peer.url, request_id, encoded)
    assert isinstance(answer, Fault)
    assert answer.code == "server.serverproxy.replayed_message"
    assert seen.new_calls == 0
    # What was logged of it stays as it was.
    assert await logged(peer.pair.provider.gateway, request_id) == before


async def test_many_at_once_pass_once(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    encoded = good.encode()
    seen = watch(peer.pair)
    answers = await asyncio.gather(*(peer.city.send(peer.url, request_id, encoded) for _ in range(8)))
    assert sum(isinstance(answer, TransportMessage) for answer in answers) == 1
    assert {answer.code for answer in answers if isinstance(answer, Fault)} == {"server.serverproxy.replayed_message"}
    assert seen.new_calls == 1


async def test_a_denied_message_stays_spent(peer: Peer) -> None:
    request_id, good = peer.city.request(service("ohne-recht"))
    encoded = good.encode()
    await peer.refused("server.serverproxy.access_denied", request_id, encoded, provider="denied")
    answer = await peer.city.send(peer.url, request_id, encoded)
    assert isinstance(answer, Fault)
    assert answer.code == "server.serverproxy.replayed_message"


async def test_signed_again_it_is_still_a_replay(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    assert isinstance(await peer.city.send(peer.url, request_id, good.encode()), TransportMessage)
    own = status_of(peer.pair.authority, peer.city.signing)
    again: Signed = replace(good, signature=sign(peer.city.signing, good.message, good.body, own))
    answer = await peer.city.send(peer.url, request_id, again.encode())
    assert isinstance(answer, Fault)
    assert answer.code == "server.serverproxy.replayed_message"


async def test_a_request_without_the_transports_id_is_refused(peer: Peer) -> None:
    """By it requests are told apart."""
    _, good = peer.city.request(ECHO)
    message = re.sub(rb"(?i)x-road-request-id:[^\r]*\r\n", b"", good.message)
    assert message != good.message
    own = status_of(peer.pair.authority, peer.city.signing)
    bare = replace(good, message=message, signature=sign(peer.city.signing, message, good.body, own))
    for sent, request_id, code in (
        (bare, "", "missing_header_field"),
        (bare, "eine", "missing_header_field"),
        (good, "eine", "invalid_message"),
    ):
        answer = await peer.city.send(peer.url, request_id, sent.encode())
        assert isinstance(answer, Fault)
        assert answer.code == f"server.serverproxy.{code}"


async def test_who_may_send(peer: Peer) -> None:
    # The client of the untampered messages above; the tests mean nothing if it isn't the registered one.
    request_id, good = peer.city.request(ECHO, client=APP)
    assert isinstance(await peer.city.send(peer.url, request_id, good.encode()), TransportMessage)
