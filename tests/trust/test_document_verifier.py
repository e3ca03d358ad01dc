"""Third parties' documents with their signers' status: asked of a real responder, and nothing accepted without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus

from tests.trust.documents import Vouching, sign, vouching
from tests.trust.factory import NOW, Authority, make_authority
from trust.certificates import StatusQuery
from trust.document_verifier import FRESHNESS, AcceptedDocument, DocumentVerifier, read_authorities
from trust.errors import (
    CertificateRevoked,
    CertificateUntrusted,
    FetchFailed,
    MalformedInput,
    SignatureInvalid,
    StatusNotGood,
)
from trust.ocsp_client import StatusSource
from trust.testca.authority import CertificateAuthority, system_time

DOCUMENT = b"<Bescheid xmlns='urn:musterstadt'><Betrag>12,50</Betrag></Bescheid>"


@pytest.fixture
async def landlords(tmp_path: Path) -> AsyncIterator[Vouching]:
    async with vouching(tmp_path / "ca") as running:
        yield running


async def verified(document: bytes, authority: CertificateAuthority) -> AcceptedDocument:
    authorities = read_authorities([authority.root.certificate_der])
    async with aiohttp.ClientSession() as session:
        statuses = StatusSource(session, system_time, timeout_seconds=5)
        try:
            return await DocumentVerifier(authorities, statuses, system_time).verify(document)
        finally:
            await statuses.close()


async def test_a_document_whose_signer_is_good_now(landlords: Vouching) -> None:
    holder = landlords.signer()
    found = await verified(sign(DOCUMENT, holder.key, holder.certificate), landlords.authority)
    assert found.document.certificate == holder.certificate
    assert b"<Betrag>12,50</Betrag>" in found.document.signed[0]
    assert found.status.this_update <= system_time() <= found.status.good_until


async def test_a_revoked_signer_and_one_that_the_responder_does_not_know(landlords: Vouching, tmp_path: Path) -> None:
    holder = landlords.signer()
    document = sign(DOCUMENT, holder.key, holder.certificate)
    landlords.revoke(holder)
    with pytest.raises(CertificateRevoked):
        await verified(document, landlords.authority)
    other = landlords.signer("ANDERE")
    (tmp_path / "ca" / "issued" / f"{other.certificate.serial_number:x}.der").unlink()
    with pytest.raises(StatusNotGood):
        await verified(sign(DOCUMENT, other.key, other.certificate), landlords.authority)


async def test_without_an_answer_nothing_is_accepted(tmp_path: Path) -> None:
    async with vouching(tmp_path / "ca") as gone:
        holder = gone.signer()
    with pytest.raises(FetchFailed):
        await verified(sign(DOCUMENT, holder.key, holder.certificate), gone.authority)


async def test_a_certificate_that_names_no_responder_is_refused(landlords: Vouching) -> None:
    holder = Vouching(landlords.authority, "ldap://127.0.0.1/status").signer()
    with pytest.raises(FetchFailed, match="no OCSP responder"):
        await verified(sign(DOCUMENT, holder.key, holder.certificate), landlords.authority)


async def test_the_responder_is_not_asked_about_what_does_not_hold(landlords: Vouching) -> None:
    """Whoever sends a document doesn't choose whom this process calls: addresses count once the path is proven."""
    holder = landlords.signer()
    with pytest.raises(SignatureInvalid):
        await verified(sign(DOCUMENT, holder.key, holder.certificate).replace(b"12,50", b"99,50"), landlords.authority)
    stranger = make_authority("Fremde CA")
    with pytest.raises(CertificateUntrusted):
        await verified(
            sign(DOCUMENT, holder.key, holder.certificate),
            CertificateAuthority.load_or_create(landlords.authority.directory / "other", "DE-TEST"),
        )
    holder = stranger.signer()
    with pytest.raises(CertificateUntrusted):
        await verified(sign(DOCUMENT, holder.key, holder.certificate), landlords.authority)


class Answers:
    """Authorities' answers at hand, and who was asked about."""

    def __init__(self, *authorities: Authority, age: timedelta = timedelta(0)) -> None:
        self.asked: list[x509.Certificate] = []
        self._authorities = authorities
        self._age = age

    async def status_for(self, query: StatusQuery) -> bytes:
        self.asked.append(query.certificate)
        authority = next(one for one in self._authorities if one.certificate == query.issuer)
        revoked = query.certificate.serial_number in authority.revoked
        status = OCSPCertStatus.REVOKED if revoked else OCSPCertStatus.GOOD
        return authority.status(query.certificate, status=status, at=NOW - self._age)


async def verified_by(answers: Answers, document: bytes, root: Authority) -> AcceptedDocument:
    statuses = cast("StatusSource", answers)
    return await DocumentVerifier(read_authorities([root.der]), statuses, lambda: NOW).verify(document)


async def test_every_certificate_up_to_the_authority_is_asked_about() -> None:
    """An authority takes back another's right to issue; what that one has issued looks good by itself."""
    root = make_authority()
    between = root.intermediate()
    holder = between.signer()
    document = sign(DOCUMENT, holder.key, holder.certificate, between.certificate)
    answers = Answers(root, between)
    assert (await verified_by(answers, document, root)).document.certificate == holder.certificate
    assert answers.asked == [holder.certificate, between.certificate]
    root.revoked.add(between.certificate.serial_number)
    with pytest.raises(CertificateRevoked):
        await verified_by(Answers(root, between), document, root)


async def test_an_answer_counts_for_a_day() -> None:
    root = make_authority()
    holder = root.signer()
    document = sign(DOCUMENT, holder.key, holder.certificate)
    fresh = Answers(root, age=FRESHNESS - timedelta(minutes=1))
    assert (await verified_by(fresh, document, root)).status.this_update == NOW - FRESHNESS + timedelta(minutes=1)
    assert timedelta(days=1) == FRESHNESS
    with pytest.raises(StatusNotGood):
        await verified_by(Answers(root, age=FRESHNESS + timedelta(minutes=1)), document, root)


def test_only_authorities_are_read_as_authorities() -> None:
    authority = make_authority()
    (read,) = read_authorities([authority.der])
    assert read.name == authority.certificate.subject.rfc4514_string()
    with pytest.raises(CertificateUntrusted):
        read_authorities([authority.signer().der])
    with pytest.raises(MalformedInput):
        read_authorities([authority.certificate.public_bytes(Encoding.PEM)])
