"""Authentication certificates of every form that PR-MESSTRANSP 2.1 knows, on real sockets, on both sides."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.exchange import tls
from gateway.exchange.tls_purpose import leave_client_usage_to_us
from tests.trust.factory import (
    DAY,
    Authority,
    Holder,
    approve,
    common_name,
    key_usage,
    make_authority,
    parameters,
    rsa_key,
)
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.errors import CertificateUntrusted
from trust.keys import SoftwareKey

ROOT = make_authority()
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
FORMS: dict[str, tuple[tuple[str, ...] | None, tuple[x509.ObjectIdentifier, ...]]] = {
    "clientAuth": (("digital_signature",), (CLIENT,)),
    "clientAuth and serverAuth": (("digital_signature", "key_encipherment"), (CLIENT, SERVER)),
    "serverAuth": (("digital_signature",), (SERVER,)),
    "clientAuth without key usage": (None, (CLIENT,)),
    "key usage alone": (("digital_signature",), ()),
    "another extended usage": (("digital_signature",), (ExtendedKeyUsageOID.EMAIL_PROTECTION,)),
}


def issue(form: str, authority: Authority = ROOT, **options: object) -> Holder:
    usage, extended = FORMS[form]
    now = datetime.now(UTC)
    options = {"since": now - DAY, "until": now + DAY} | options
    return authority.issue(
        common_name("gateway"),
        None if usage is None else key_usage(*usage),
        extended=extended,
        **options,  # type: ignore[arg-type]
    )


async def talk(server: Holder, client: Holder, version: ssl.TLSVersion) -> tuple[bytes, bytes]:
    """Both certificates as the other side sees them, once a byte has gone to and fro. Raises what breaks it."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(await reader.read(1))
        await writer.drain()
        writer.close()

    answering = tls.server_context(SoftwareKey(server.key, server.certificate), [ROOT.der])
    answering.maximum_version = version
    calling = tls.client_context(SoftwareKey(client.key, client.certificate))
    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=answering)
    try:
        async with asyncio.timeout(10):
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=calling)
            writer.write(b"x")
            if await reader.read(1) != b"x":
                raise ConnectionResetError
            theirs = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
    finally:
        listener.close()
    return theirs, seen[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("form", list(FORMS))
async def test_every_form_on_both_sides(form: str, version: ssl.TLSVersion) -> None:
    if CLIENT not in FORMS[form][1] and FORMS[form][1] and not leave_client_usage_to_us():
        pytest.skip("this interpreter hides its OpenSSL")
    server, client = issue(form), issue(form)
    assert await talk(server, client, version) == (server.der, client.der)
    verifier = CertificateVerifier(parameters(approve(ROOT)))
    verifier.verify_path(CertificateUsage.AUTHENTICATION, server.der, at=datetime.now(UTC))


async def test_rsa_with_key_encipherment_alone() -> None:
    usage = key_usage("key_encipherment")
    now = datetime.now(UTC)
    holders = [ROOT.issue(common_name("x"), usage, key=rsa_key(), since=now - DAY, until=now + DAY) for _ in range(2)]
    assert await talk(*holders, ssl.TLSVersion.TLSv1_2) == (holders[0].der, holders[1].der)


@pytest.mark.parametrize(
    "client",
    [
        issue("clientAuth", make_authority("Fremde")),
        issue("clientAuth", make_authority()),
        issue("clientAuth", until=datetime.now(UTC) - DAY / 24, since=datetime.now(UTC) - DAY),
        issue("clientAuth", since=datetime.now(UTC) + DAY / 24),
    ],
    ids=["another authority", "another authority of the same name", "expired", "not yet valid"],
)
async def test_strangers_get_no_further_than_the_handshake(client: Holder) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await talk(issue("clientAuth"), client, ssl.TLSVersion.TLSv1_2)


def test_a_signing_certificate_is_no_authentication_certificate() -> None:
    """OpenSSL leaves the usage to us, and we look at it."""
    signer = ROOT.signer(since=datetime.now(UTC) - DAY)
    verifier = CertificateVerifier(parameters(approve(ROOT)))
    with pytest.raises(CertificateUntrusted) as caught:
        verifier.verify_path(CertificateUsage.AUTHENTICATION, signer.der, at=datetime.now(UTC))
    assert caught.value.code == "wrong_cert_usage"


async def test_a_connection_is_handed_to_the_context_of_the_moment() -> None:
    """Also when the key's kind changes, and whether or not a name is asked for."""
    first, second = issue("clientAuth"), issue("clientAuth", key=rsa_key())
    contexts = [tls.server_context(SoftwareKey(h.key, h.certificate), [ROOT.der]) for h in (first, second)]
    current = [contexts[0]]
    front = tls.choosing_context(
        tls.server_context(SoftwareKey(first.key, first.certificate), [ROOT.der]), lambda: current[0]
    )
    client = tls.client_context(SoftwareKey(first.key, first.certificate))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=front)
    port = listener.sockets[0].getsockname()[1]
    try:
        for number, holder in enumerate((first, second, first)):
            current[0] = contexts[number % 2]
            for name in (None, "gateway.example"):
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
                    assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == holder.der
                    writer.write(b"x")
                    assert await reader.read(1) == b"x"
                    writer.close()
    finally:
        listener.close()
