"""A third party's signed document on its way through an adapter: the landlord's confirmation with an appointment.

Signed with another implementation, proven by the verifier that a running adapter has, its signer's status asked of a
responder on loopback.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.kit.documents import DOCUMENT_MALFORMED, MAX_BYTES, DocumentVerifier, VerifiedDocument
from adapters.kit.entries import Kind
from adapters.kit.errors import AdapterError, CallerError
from adapters.ozg.confirmation import NAMESPACE, read_confirmation
from gateway.admin.errors import AdminError
from gateway.admin.trusted_authorities import load_authorities
from gateway.city.documents import TrustedDocuments
from gateway.city.institutions import build_adapter_app
from gateway.settings import AdapterSettings, InstitutionKind
from tests.adapters.support import MAX, Reply, SettableClock, World, world
from tests.adapters.test_ozg import booking
from tests.trust.documents import Vouching, sign, vouching
from tests.trust.factory import Holder, make_authority, rsa_key
from trust.testca.authority import system_time

REGISTER = 1063475


def confirmation(*names: str, moved_in: str = "2026-11-15", root: str = "wohnungsgeberbestaetigung") -> bytes:
    persons = "".join(f"<person><familienname>{name}</familienname></person>" for name in names or ("Beispiel",))
    return f"<{root} xmlns='{NAMESPACE}'><einzugsdatum>{moved_in}</einzugsdatum>{persons}</{root}>".encode()


@dataclass
class Office:
    """The office's adapter, and the landlords' authority."""

    world: World
    landlords: Vouching
    landlord: Holder

    async def book(self, document: bytes, **changes: object) -> Reply:
        """One booking with the document, at the first free time."""
        free = await self.world.call("GET", f"/slots?officeId=102522&serviceId={REGISTER}", subject=None)
        self.world.recorded.clear()
        fields = {"serviceId": REGISTER, "residenceConfirmation": b64encode(document).decode(), **changes}
        return await self.world.call("POST", "/appointments", booking(free.body["slots"][0]["timestamp"], **fields))

    def signed(self, document: bytes | None = None, **how: str) -> bytes:
        return sign(document or confirmation(), self.landlord.key, self.landlord.certificate, **how)  # type: ignore[arg-type]

    async def require_refused(self, document: bytes, code: str, status: int = 400) -> None:
        """Refused with this code and what to do; the office's system was not even called."""
        reply = await self.book(document)
        assert (reply.status, reply.body["code"]) == (status, code)
        assert all(reply.body["texts"][language]["hint"] for language in ("de", "en"))
        assert self.world.recorded == []


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with vouching(tmp_path / "ca") as landlords:
        documents = TrustedDocuments(load_authorities(landlords.certificate_file), system_time)
        clock = SettableClock(system_time())
        async with world(Kind.OZG, tmp_path / "adapter", clock=clock, documents=documents) as running:
            yield Office(running, landlords, landlords.signer())


async def test_a_landlords_confirmation_goes_with_the_appointment(office: Office) -> None:
    document = office.signed()
    reply = await office.book(document)
    assert reply.status == 201
    found = reply.body["residenceConfirmation"]
    assert found["movedIn"] == "2026-11-15"
    assert found["signer"] == office.landlord.certificate.subject.rfc4514_string()
    (told,) = (e.request["customTextfield"] for e in office.world.recorded if e.path.endswith("/update-appointment/"))
    assert found["sha256"] in told
    assert found["signer"] in told
    # The digest is of what was signed, as the office gets it from `datenweg verify-document --extract`.
    assert found["sha256"] == sha256(office_content(document)).hexdigest()
    # Kept is neither the document nor what it says.
    kept = b"".join(path.read_bytes() for path in office.world.directory.rglob("*") if path.is_file())
    assert b"einzugsdatum" not in kept
    later = await office.world.call("GET", f"/appointments/{reply.body['processId']}")
    assert "residenceConfirmation" not in later.body


def office_content(document: bytes) -> bytes:
    """The confirmation without its signature; it is canonical as it was written, but for the quotes."""
    return re.sub(rb"<ds:Signature.*</ds:Signature>", b"", document, flags=re.DOTALL)


async def test_of_several_signed_parts_none_is_chosen(office: Office) -> None:
    """One says that Erika moved, another that Max did; which one was meant, the signature doesn't say."""
    parts = b"".join(
        confirmation(name).replace(b"<wohnungsgeberbestaetigung ", b"<wohnungsgeberbestaetigung Id='%s' " % place, 1)
        for name, place in (("Beispiel", b"eins"), ("Muster", b"zwei"))
    )
    both = office.signed(b"<mappe>" + parts + b"</mappe>", reference=["#eins", "#zwei"])  # type: ignore[arg-type]
    verifier = TrustedDocuments(load_authorities(office.landlords.certificate_file), system_time)
    async with verifier:
        with pytest.raises(CallerError) as refused:
            await verifier.verify(both)
    assert refused.value.kind is DOCUMENT_MALFORMED
    await office.require_refused(both, "document_malformed")
    # Each by itself is a document.
    one = office.signed(b"<mappe>" + parts + b"</mappe>", reference="#eins")
    async with verifier:
        assert b"Beispiel" in (await verifier.verify(one)).content


async def test_a_booking_without_one_is_as_before(office: Office) -> None:
    free = await office.world.call("GET", f"/slots?officeId=102522&serviceId={REGISTER}", subject=None)
    reply = await office.world.call(
        "POST", "/appointments", booking(free.body["slots"][0]["timestamp"], serviceId=REGISTER), subject=MAX
    )
    assert reply.status == 201
    assert "residenceConfirmation" not in reply.body


@pytest.mark.parametrize("change", [(b"2026-11-15", b"2025-11-15"), (b"Beispiel", b"Beispie1")])
async def test_a_changed_document_is_refused(office: Office, change: tuple[bytes, bytes]) -> None:
    await office.require_refused(office.signed().replace(*change), "document_signature_invalid")


async def test_each_changed_byte_is_refused(office: Office) -> None:
    """Some at the head, in the middle of the signature, and in its value: never accepted, whatever the reason."""
    document = office.signed()
    for position in range(20, len(document), len(document) // 23):
        changed = bytearray(document)
        changed[position] ^= 0x01
        reply = await office.book(bytes(changed))
        assert reply.status == 400, position
        assert reply.body["code"].startswith("document_"), position
        assert office.world.recorded == []


async def test_a_wrapped_document_is_refused(office: Office) -> None:
    """The signed confirmation set into another that says something else."""
    true = sign(
        confirmation().replace(b" xmlns", b" Id='c1' xmlns", 1),
        office.landlord.key,
        office.landlord.certificate,
        reference="#c1",
    )
    forged = confirmation(moved_in="2020-01-01")
    for wrapped in (
        forged.replace(b"</wohnungsgeberbestaetigung>", true + b"</wohnungsgeberbestaetigung>"),
        b"<mappe>" + forged + true + b"</mappe>",
    ):
        reply = await office.book(wrapped)
        # Either what was signed counts, or nothing does: never what stands around it.
        assert "2020-01-01" not in json.dumps(reply.body)
        assert "2020-01-01" not in json.dumps([exchange.request for exchange in office.world.recorded])
    await office.require_refused(b"<mappe>" + forged + office.signed() + b"</mappe>", "document_signature_invalid")


async def test_signers_that_nobody_vouches_for_are_refused(office: Office) -> None:
    stranger = make_authority("Fremde CA").signer()
    document = sign(confirmation(), stranger.key, stranger.certificate)
    await office.require_refused(document, "document_signer_untrusted")
    office.landlords.revoke(office.landlord)
    await office.require_refused(office.signed(), "document_signer_untrusted")


async def test_weak_algorithms_and_what_is_no_signed_document_are_refused(office: Office) -> None:
    await office.require_refused(office.signed(digest="sha1"), "document_malformed")
    weak = sign(confirmation(), rsa_key(), office.landlord.certificate, signature="rsa-sha1")
    for document in (weak, confirmation(), b"%PDF-1.7", b"<!DOCTYPE a>" + office.signed(), office.signed() * 2):
        await office.require_refused(document, "document_malformed")


async def test_a_large_document_is_refused_before_anything_is_read(office: Office) -> None:
    await office.require_refused(office.signed() + b" " * MAX_BYTES, "document_too_large", 413)
    await office.require_refused(office.signed() + b" " * (MAX_BYTES * 2), "request_too_large", 413)


@pytest.mark.parametrize("text", ["not base64!", "====", "Zm9v YmFy"])
async def test_what_is_not_base64_is_refused(office: Office, text: str) -> None:
    reply = await office.book(b"", residenceConfirmation=text)
    assert reply.body["code"] == "document_malformed"
    assert office.world.recorded == []


@pytest.mark.parametrize(
    "document",
    [
        confirmation("Anders"),
        confirmation(moved_in="bald"),
        confirmation(root="bescheid"),
        confirmation(*["Beispiel"] * 21),
        confirmation().replace(NAMESPACE.encode(), b"urn:musterstadt:anders"),
        confirmation().replace(b"<einzugsdatum>2026-11-15</einzugsdatum>", b""),
    ],
)
async def test_a_true_document_that_does_not_fit_the_booking(office: Office, document: bytes) -> None:
    await office.require_refused(office.signed(document), "document_content")


async def test_without_the_responders_answer_nothing_is_accepted(tmp_path: Path) -> None:
    async with vouching(tmp_path / "ca") as landlords:
        landlord = landlords.signer()
        documents = TrustedDocuments(load_authorities(landlords.certificate_file), system_time)
    async with world(Kind.OZG, tmp_path / "adapter", documents=documents) as running:
        await Office(running, landlords, landlord).require_refused(
            sign(confirmation(), landlord.key, landlord.certificate), "document_status_unknown", 503
        )


async def test_an_institution_without_authorities_takes_no_documents(tmp_path: Path) -> None:
    async with vouching(tmp_path / "ca") as landlords, world(Kind.OZG, tmp_path / "adapter") as running:
        office = Office(running, landlords, landlords.signer())
        await office.require_refused(office.signed(), "documents_not_accepted")


async def test_the_command_starts_no_adapter_whose_authorities_cannot_be_read(tmp_path: Path) -> None:
    def settings(authorities: Path) -> AdapterSettings:
        return AdapterSettings(
            kind=InstitutionKind.OZG,
            data_directory=tmp_path / "adapter",
            backend_url="http://127.0.0.1:1",
            document_authorities=authorities,
        )

    async with vouching(tmp_path / "ca") as landlords:
        build_adapter_app(settings(landlords.certificate_file))
        signer = tmp_path / "signer.der"
        signer.write_bytes(landlords.signer().der)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pem").write_text("no certificate")
    for name in ("nothing", "empty", "text.pem", "signer.der"):
        with pytest.raises(AdminError):
            build_adapter_app(settings(tmp_path / name))


def test_the_note_for_the_office_stays_within_its_field() -> None:
    signed = VerifiedDocument(confirmation(), "CN=" + "x" * 400, None)
    found = read_confirmation(signed, family_name="BEISPIEL")
    assert len(found.note) == 250
    assert found.digest in found.note


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: confirmation(text.replace("<", ""))))
def test_whatever_was_signed_is_read_or_refused_with_an_error_of_ours(content: bytes) -> None:
    with suppress(CallerError):
        found = read_confirmation(VerifiedDocument(content, "CN=Wohnbau", None), family_name="Beispiel")
        assert found.digest == sha256(content).hexdigest()


async def test_a_verifier_that_is_not_open_proves_nothing() -> None:
    closed: DocumentVerifier = TrustedDocuments((), system_time)
    with pytest.raises(AdapterError):
        await closed.verify(confirmation())
