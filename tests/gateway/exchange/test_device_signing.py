"""Keys in a device: while it signs, for as long as it takes, the gateway does its other work."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.key_rings import new_certificate
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, answering
from tests.gateway.exchange.town import CITY, UTILITY
from tests.trust.softhsm import MODULE, PIN, make_token
from trust.certificates import CertificateUsage
from trust.errors import KeyUnavailable
from trust.tokens.pkcs11 import PKCS11Token

SIGNING = CertificateUsage.SIGNING
LABEL = "haus"


class Device:
    """Stands before the device's signing: it can be held up there, by which key it was asked is known."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.keys: list[str] = []
        self.given_up = False
        self._free = threading.Event()
        self._free.set()

    def wait(self, key_id: str) -> None:
        """Called in place of the device, in whatever thread signs."""
        self.keys.append(key_id)
        self.asked.release()
        # Were it the event loop that waits here, nobody could let it go on.
        if not self._free.wait(10):
            self.given_up = True
            raise KeyUnavailable("nothing else went on while the device signed", code="cannot_sign")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block every signature has to wait."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def forget(self) -> None:
        """What it was asked before."""
        while self.asked.acquire(blocking=False):
            pass

    async def busy(self) -> None:
        """Returns when somebody waits for a signature."""
        assert await asyncio.to_thread(self.asked.acquire, timeout=10)


@pytest.fixture
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A token; unloaded afterwards, because a login is the process's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(make_token(tmp_path_factory.mktemp("softhsm"), LABEL)))
        patch.setenv("DATENWEG_PKCS11_PIN", PIN)
        import pkcs11

        pkcs11.unload(str(MODULE))
        device, sign = Device(), PKCS11Token._sign

        def slowly(self: PKCS11Token, key_id: str, *rest: Any) -> bytes:
            device.wait(key_id)
            return sign(self, key_id, *rest)

        patch.setattr(PKCS11Token, "_sign", slowly)
        yield device
        pkcs11.unload(str(MODULE))


@asynccontextmanager
async def pair_with(device_at: str, folder: Path, output: io.StringIO, database: str) -> AsyncIterator[GatewayPair]:
    """Two gateways, of which one has its member's key in the device; its database is the one named."""
    own = {device_at: {"pkcs11_module": MODULE, "pkcs11_token": LABEL}}
    urls = (database, None) if device_at == "consumer" else (None, database)
    async with gateway_pair(folder, output, databases=urls, **own) as running:
        node = running.consumer if device_at == "consumer" else running.provider
        member = (CITY if device_at == "consumer" else UTILITY).member
        ring = node.gateway.keys.ring
        certificate = new_certificate(node, running.authority, SIGNING, member, token=LABEL, ring=ring).certificate

        def in_use() -> bool:
            own_certificates = node.gateway.node.own_certificates
            return own_certificates.complete and own_certificates.keys.of(member)[0].certificate == certificate

        await running.until(in_use)
        yield running


@pytest.mark.parametrize("device_at", ["consumer", "provider"])
async def test_while_the_device_signs_the_gateway_goes_on(
    device_at: str, device: Device, tmp_path: Path, database_url: str
) -> None:
    with captured_output() as output:
        async with pair_with(device_at, tmp_path, output, database_url) as pair:
            await goes_on(pair, device)


async def goes_on(pair: GatewayPair, device: Device) -> None:
    assert (await pair.call("echo")).status == 200
    before = len(device.keys)
    assert before > 0, "the device's key isn't the one that signs"
    with device.held():
        device.forget()
        exchange = asyncio.create_task(pair.call("echo", "/binary", "POST", body=b"inhalt"))
        await device.busy()
        # Both gateways answer meanwhile: what runs in this process runs on one event loop.
        for node in (pair.consumer, pair.provider):
            url = f"http://127.0.0.1:{node.settings.client_port}/listClients"
            async with pair.http.get(url) as answer:
                assert answer.status == 200
        assert not exchange.done()
        assert not device.given_up
    answer = await exchange
    assert (answer.status, answer.body) == (200, b"inhalt")
    # SOAP in the same way.
    pair.backend.soap = answering()
    soap = await pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=Message().encoded())
    assert (soap.status, b"auskunftResponse" in soap.body) == (200, True), soap.body
    # Many at once: each has its own signature, and all of it is in the log.
    answers = await asyncio.gather(*(pair.call("echo") for _ in range(12)))
    assert {answer.status for answer in answers} == {200}
    assert len(device.keys) >= before + 14
