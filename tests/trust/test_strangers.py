"""OpenSSL's own tools judge our requests, the test authority's answers, and chains: they accept them, and refuse them
when a byte is changed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.trust.factory import DAY, approve, make_authority, parameters
from trust.certificates import CertificateVerifier
from trust.errors import CertificateUntrusted, MalformedInput
from trust.identifiers import MemberId
from trust.ocsp import build_request
from trust.testca.app import build_app
from trust.testca.authority import CertificateAuthority

MEMBER = MemberId("DE-TEST", "GOV", "MUSTERSTADT")
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


@dataclass
class Place:
    folder: Path
    authority: CertificateAuthority
    certificate: x509.Certificate
    server: TestServer

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def pem(self, name: str, certificate: x509.Certificate) -> Path:
        return self.write(name, certificate.public_bytes(Encoding.PEM))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    authority = CertificateAuthority.load_or_create(tmp_path / "testca", "DE-TEST")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue_signing(key.public_key(), MEMBER, member_name="Musterstadt", server_code="ss1")
    async with TestServer(build_app(authority)) as server:
        yield Place(tmp_path, authority, certificate, server)


def test_a_request_of_ours_is_read(place: Place) -> None:
    root = place.authority.root.certificate
    der = build_request(place.certificate, root)
    done = openssl("ocsp", "-reqin", place.write("request.der", der), "-req_text", "-noverify")
    # OpenSSL writes whole bytes.
    serial = f"{place.certificate.serial_number:X}"
    assert f"Serial Number: {serial.zfill(len(serial) + len(serial) % 2)}\n" in done.stdout + done.stderr
    # The same request as OpenSSL makes itself.
    own = place.folder / "openssl.der"
    issuer, cert = place.pem("root.pem", root), place.pem("cert.pem", place.certificate)
    openssl("ocsp", "-issuer", issuer, "-cert", cert, "-no_nonce", "-reqout", own)
    assert own.read_bytes() == der
    broken = openssl("ocsp", "-reqin", place.write("broken.der", der[:4] + b"\xff" + der[5:]), "-req_text")
    assert broken.returncode != 0


async def test_answers_of_the_test_authority_are_verified(place: Place) -> None:
    import aiohttp

    request = build_request(place.certificate, place.authority.root.certificate)
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            place.server.make_url("/ocsp"), data=request, headers={"Content-Type": "application/ocsp-request"}
        ) as answer,
    ):
        der = await answer.read()
    root = place.pem("root.pem", place.authority.root.certificate)
    certificate = place.pem("cert.pem", place.certificate)
    common = ("-issuer", root, "-cert", certificate, "-CAfile", root, "-no_nonce")
    good = openssl("ocsp", "-respin", place.write("answer.der", der), *common)
    assert "Response verify OK" in good.stdout + good.stderr
    assert "cert.pem: good" in good.stdout
    broken = der[:-1] + bytes([der[-1] ^ 1])  # in the responder's certificate
    changed = bytearray(der)
    changed[der.index(place.certificate.serial_number.to_bytes(20, "big").lstrip(b"\0")[-4:])] ^= 1
    for data in (broken, bytes(changed)):
        refused = openssl("ocsp", "-respin", place.write("broken.der", data), *common)
        assert "Response verify OK" not in refused.stdout + refused.stderr
    place.authority.revoke(place.certificate.serial_number)
    async with (
        aiohttp.ClientSession() as http,
        http.post(place.server.make_url("/ocsp"), data=request) as answer,
    ):
        revoked = openssl("ocsp", "-respin", place.write("revoked.der", await answer.read()), *common)
    assert "cert.pem: revoked" in revoked.stdout


def test_chains_that_we_accept_are_accepted(tmp_path: Path) -> None:
    """With an intermediate; and both refuse it when a byte of any link is changed."""
    root = make_authority()
    middle = root.intermediate()
    holder = middle.signer(until=datetime.now(UTC) + 30 * DAY, since=datetime.now(UTC) - DAY)
    now = datetime.now(UTC)
    ders = {"root": root.der, "middle": middle.der, "holder": holder.der}

    def both(changed: dict[str, bytes]) -> tuple[bool, bool]:
        found = ders | changed
        for name, der in found.items():
            (tmp_path / f"{name}.der").write_bytes(der)
            openssl("x509", "-inform", "DER", "-in", tmp_path / f"{name}.der", "-out", tmp_path / f"{name}.pem")
        done = openssl(
            "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "middle.pem", tmp_path / "holder.pem"
        )
        for path in tmp_path.glob("*.pem"):
            path.unlink()
        try:
            verifier = CertificateVerifier(parameters(approve(root)))
            path = verifier.status_queries(found["holder"], at=now, intermediates=[found["middle"]])
            ours = len(path) == 2
        except (CertificateUntrusted, MalformedInput):
            ours = False
        return done.returncode == 0, ours

    assert both({}) == (True, True)
    for name in ("holder", "middle"):
        for position in (-1, -40, len(ders[name]) // 2):
            changed = bytearray(ders[name])
            changed[position] ^= 1
            assert both({name: bytes(changed)}) == (False, False), (name, position)
