"""Documents that third parties signed, made with another implementation (signxml), and an authority of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from lxml import etree
from signxml import methods
from signxml.xades import XAdESSigner

from tests.trust.factory import Holder
from trust.identifiers import MemberId
from trust.keys import PrivateKey
from trust.testca.app import build_app
from trust.testca.authority import CertificateAuthority
from trust.xml import parse


class _Careless(XAdESSigner):  # type: ignore[misc]  # signxml has no types
    """A signer that takes SHA-1, too."""

    def check_deprecated_methods(self) -> None:
        return


def sign(
    document: bytes,
    key: PrivateKey,
    *certificates: x509.Certificate,
    how: methods = methods.enveloped,
    signature: str = "ecdsa-sha256",
    digest: str = "sha256",
    reference: str | None = None,
) -> bytes:
    """The document with a XAdES signature; `reference` is the URI of what is signed, without it the whole."""
    signer = _Careless(method=how, signature_algorithm=signature, digest_algorithm=digest)
    made = signer.sign(parse(document), key=key, cert=list(certificates), reference_uri=reference)
    return etree.tostring(made)


@dataclass(frozen=True)
class Vouching:
    """An authority with its OCSP responder on loopback."""

    authority: CertificateAuthority
    url: str

    @property
    def certificate_file(self) -> Path:
        return self.authority.directory / "root.crt"

    def signer(self, name: str = "WOHNBAU") -> Holder:
        """Somebody new with a certificate for signatures, which names the responder."""
        key = ec.generate_private_key(ec.SECP256R1())
        member = MemberId("DE-TEST", "COM", name)
        certificate = self.authority.issue_signing(
            key.public_key(), member, member_name=name, server_code="none", ocsp_urls=(self.url,)
        )
        return Holder(key, certificate)

    def revoke(self, holder: Holder) -> None:
        """From now on the responder says so."""
        self.authority.revoke(holder.certificate.serial_number)


@asynccontextmanager
async def vouching(folder: Path) -> AsyncIterator[Vouching]:
    """An authority that answers within the block; after it nobody does."""
    authority = CertificateAuthority.load_or_create(folder, "DE-TEST")
    async with TestServer(build_app(authority)) as server:
        yield Vouching(authority, str(server.make_url("/ocsp")))
