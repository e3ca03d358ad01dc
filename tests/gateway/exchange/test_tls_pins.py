"""The callback by which client certificates are left to us: what it changes, what it leaves, and where it can't be had.

Handshakes in memory, no sockets.
"""

from __future__ import annotations

import ctypes
import gc
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.exchange import tls_pins
from gateway.exchange.tls import choosing_context, client_port_context
from gateway.exchange.tls_pins import leave_client_certificates_to_us
from tests.gateway.exchange.test_service_tls import self_signed
from trust.keys import SoftwareKey
from trust.keystore import load_into_tls

SERVER, PINNED, STRANGER = self_signed(), self_signed(), self_signed()


def client_context(system: SoftwareKey | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=SERVER.certificate_der)
    context.minimum_version = context.maximum_version = version
    if system is not None:
        load_into_tls(context, system)
    return context


def shown(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """What the server has of the client's certificate after the handshake. Raises SSLError if that fails."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="x"),
    ]
    done = [False, False]
    for _ in range(20):
        for number, side in enumerate(sides):
            if not done[number]:
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                done[number] = True
        if all(done):
            return sides[0].getpeercert(binary_form=True)
    raise AssertionError("the handshake does not end")


@pytest.fixture(params=["no library", "no symbols", "another interpreter", "another layout", "no context"])
def hidden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that doesn't let us at OpenSSL, in each way."""

    class Symbols:
        """A library that has what it is given."""

        def __init__(self, name: str | None) -> None:
            if request.param == "no library":
                raise OSError("kanarienvogel")
            self._real = real(name)

        def __getattr__(self, name: str) -> object:
            if request.param == "no symbols":
                raise AttributeError(name)
            if name == "SSL_CTX_get_options" and request.param == "another layout":
                return ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(lambda _: 42)
            found: object = getattr(self._real, name)
            return found

    real = ctypes.CDLL
    monkeypatch.setattr(ctypes, "CDLL", Symbols)
    if request.param == "another interpreter":
        monkeypatch.setattr(sys.implementation, "name", "pypy")
    if request.param == "no context":
        monkeypatch.setattr(tls_pins, "_address_of", lambda _: ctypes.c_void_p(None))


@pytest.mark.usefixtures("hidden")
def test_without_openssl_the_interpreter_decides_as_before() -> None:
    """The same clients connect; whoever is none of them is turned away in the handshake, and never let in."""
    assert leave_client_certificates_to_us(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) is False
    server = client_port_context(SERVER, [PINNED.certificate_der])
    assert shown(server, client_context(PINNED)) == PINNED.certificate_der
    assert shown(server, client_context(None)) is None
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shown(server, client_context(STRANGER))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_whatever_is_shown_gets_through_and_is_known(version: ssl.TLSVersion) -> None:
    server = client_port_context(SERVER, [PINNED.certificate_der])
    for system in (PINNED, STRANGER, self_signed(-1)):
        assert shown(server, client_context(system, version)) == system.certificate_der
    assert shown(server, client_context(None, version)) is None


def test_a_context_that_is_taken_up_later_lets_them_through_too() -> None:
    """A port keeps the context that it was opened with, which hands each connection to the current one."""
    contexts = [client_port_context(SERVER, [])]
    server = choosing_context(client_port_context(SERVER, []), lambda: contexts[-1])
    assert shown(server, client_context(STRANGER)) == STRANGER.certificate_der
    contexts.append(client_port_context(SERVER, [PINNED.certificate_der]))
    contexts.pop(0)
    gc.collect()
    assert shown(server, client_context(STRANGER)) == STRANGER.certificate_der


def test_contexts_that_come_and_go_and_many_handshakes_at_once() -> None:
    """OpenSSL keeps the callback's address, and calls it in whichever thread shakes hands."""

    def work(number: int) -> bool:
        server = client_port_context(SERVER, [PINNED.certificate_der])
        system = (PINNED, STRANGER, None)[number % 3]
        return shown(server, client_context(system)) == (None if system is None else system.certificate_der)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(48)))
    gc.collect()
    assert work(1)


def test_contexts_between_gateways_are_not_touched() -> None:
    """The callback is one context's, not the process's."""
    client_port_context(SERVER, [])
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strict.verify_mode = ssl.CERT_REQUIRED
    load_into_tls(strict, SERVER)
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shown(strict, client_context(STRANGER))
