"""Our certificates below an intermediate authority: each message carries the status of the whole chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.x509 import ocsp

from gateway.exchange.own_keys import OwnKeys, select_keys
from gateway.exchange.signer import MessageSigner, OwnCertificates
from gateway.exchange.trust_state import TrustState
from tests.trust.factory import FRESHNESS, MEMBER, NOW, OTHER_MEMBER, PARTS, Authority, Holder, approve, make_authority
from tests.trust.factory import parameters as parameters_of
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.errors import KeyUnavailable, StatusNotGood
from trust.keys import SoftwareKey
from trust.ocsp_client import StatusSource, add_peer_routes, fetch_from_peer
from trust.tokens import CertificateEntry, KeyEntry, RingKey
from trust.xades import verify_signature
from trust.xades.parse import parse_signature


@dataclass
class World:
    """A root, an intermediate, and a responder that knows what both issued."""

    root: Authority = field(default_factory=make_authority)
    now: datetime = NOW
    dead: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.middle = self.root.intermediate()
        self.signing, self.authentication = self.middle.signer(), self.middle.authentication()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.dead:
            return web.Response(status=503)
        serial = ocsp.load_der_ocsp_request(await request.read()).serial_number
        issued: list[tuple[Authority, x509.Certificate]] = [
            (self.middle, self.signing.certificate),
            (self.middle, self.authentication.certificate),
            (self.root, self.middle.certificate),
        ]
        by, certificate = next((a, c) for a, c in issued if c.serial_number == serial)
        body = by.status(certificate, at=self.now)
        return web.Response(body=body, content_type="application/ocsp-response")

    def verifier(self, *, with_intermediate: bool, url: str = "") -> CertificateVerifier:
        known = (self.middle.der,) if with_intermediate else ()
        return CertificateVerifier(parameters_of(approve(self.root, intermediates=known, ocsp_urls=(url,))))

    def keys(self, verifier: CertificateVerifier, *, chained: bool) -> OwnKeys:
        def ring_key(holder: Holder, usage: CertificateUsage) -> RingKey:
            between = (self.middle.der,) if chained else ()
            entry = KeyEntry("k", "software", usage, "ec-p256", b"")
            key = SoftwareKey(holder.key, holder.certificate, between)
            return RingKey(key, entry, CertificateEntry(holder.der, between, active=True))

        return select_keys(
            [ring_key(self.signing, CertificateUsage.SIGNING)],
            [ring_key(self.authentication, CertificateUsage.AUTHENTICATION)],
            verifier,
            at=NOW,
        )


@dataclass
class Gateway:
    world: World
    own: OwnCertificates
    signer: MessageSigner


@pytest.fixture(params=[True, False], ids=["intermediate of the configuration", "of the key's own chain"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    world = World()
    app = web.Application()
    app.router.add_post("/ocsp", world.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        verifier = world.verifier(with_intermediate=request.param, url=str(server.make_url("/ocsp")))
        trust = cast("TrustState", SimpleNamespace(latest=SimpleNamespace(certificates=verifier)))
        clock = cast("Any", SimpleNamespace(now=lambda: world.now))
        source = StatusSource(session, clock.now)
        keys = world.keys(verifier, chained=not request.param)
        own = OwnCertificates(source, trust, clock, keys)
        await own.refresh()
        yield Gateway(world, own, MessageSigner(MEMBER, own, clock))
        await source.close()


async def test_signatures_carry_the_chain_and_all_its_answers(gateway: Gateway) -> None:
    world = gateway.world
    for document in (gateway.signer.sign(PARTS), gateway.signer.sign(PARTS, member=MEMBER)):
        parsed = parse_signature(document)
        assert parsed.certificate_values == (world.middle.der,)
        assert len(parsed.ocsp_responses) == 2
        # Whoever approves the root alone can verify it.
        stranger = world.verifier(with_intermediate=False)
        assert verify_signature(document, PARTS, signer=MEMBER, certificates=stranger, at=NOW).signer == MEMBER
    assert len(parse_signature(gateway.signer.sign_classic(PARTS)[0]).ocsp_responses) == 2


async def test_requests_carry_the_answers_that_the_other_side_wants(gateway: Gateway) -> None:
    statuses = gateway.own.authentication_statuses()
    assert len(statuses) == 2
    other_side = gateway.world.verifier(with_intermediate=True)
    der = gateway.world.authentication.der
    other_side.verify_authentication(der, ocsp_responses=statuses, at=NOW)
    for part in (statuses[:1], statuses[1:]):
        with pytest.raises(StatusNotGood):
            gateway.world.verifier(with_intermediate=True).verify_authentication(der, ocsp_responses=part, at=NOW)


async def test_peers_get_the_answers_of_the_chain(gateway: Gateway) -> None:
    app = web.Application()
    add_peer_routes(app, gateway.own.refresh)
    chain = [gateway.world.authentication.der, gateway.world.middle.der]
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        answers = await fetch_from_peer(session, str(server.make_url("/")), chain)
        assert tuple(answers) == gateway.own.authentication_statuses()
        async with session.head(server.make_url("/")) as heartbeat:
            assert heartbeat.status == 200


async def test_without_the_intermediates_answer_nothing_is_signed(gateway: Gateway) -> None:
    assert gateway.own.complete
    del gateway.own._current[gateway.world.middle.der]
    assert not gateway.own.complete
    with pytest.raises(KeyUnavailable) as refused:
        gateway.signer.sign(PARTS)
    assert refused.value.code == "cannot_create_signature"
    with pytest.raises(KeyUnavailable):
        gateway.own.authentication_statuses()


async def test_a_dead_responder_is_survived_to_the_second(gateway: Gateway) -> None:
    world = gateway.world
    world.dead = True
    for seconds, signs in ((1200, True), (FRESHNESS - 1, True), (FRESHNESS, True), (FRESHNESS + 1, False)):
        world.now = NOW + timedelta(seconds=seconds)
        await gateway.own.refresh()
        if signs:
            gateway.signer.sign(PARTS)
        else:
            with pytest.raises(KeyUnavailable):
                gateway.signer.sign(PARTS)
    world.dead = False
    await gateway.own.refresh()
    gateway.signer.sign(PARTS)


async def test_another_members_key_is_not_here(gateway: Gateway) -> None:
    assert gateway.signer.serves(MEMBER)
    assert not gateway.signer.serves(OTHER_MEMBER)
    with pytest.raises(KeyUnavailable):
        gateway.signer.sign(PARTS, member=OTHER_MEMBER)
