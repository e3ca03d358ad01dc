"""The node's configuration: what is written is read, whole, and no older state comes back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.store.errors import ConsentConflict, StaleConsent, UnknownService
from gateway.store.model import (
    AccessRight,
    Client,
    ClientState,
    ConnectionType,
    ConsentCopy,
    ConsentStatus,
    LegalBasisKind,
    RequiredIdentityLevel,
    RightSubject,
    Service,
    ServiceType,
    format_right_subject,
    parse_right_subject,
)
from gateway.store.repository import Repository
from tests.databases import migrated
from trust.identifiers import GlobalGroupId, InvalidIdentifier, MemberId, ServiceId, SubsystemId

APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
ACCOUNT = SubsystemId("DE-TEST", "COM", "SPARKASSE", "konto")
BALANCE = Service(
    provider=ACCOUNT,
    code="balance",
    service_type=ServiceType.OPENAPI3,
    url="http://127.0.0.1:8201",
    title_de="Kontostand",
    title_en="Account balance",
    purpose_de="Anzeige in der Bürger-App",
    purpose_en="Shown in the citizen app",
    legal_basis_kind=LegalBasisKind.CONSENT,
    legal_basis="Einwilligung",
    data_categories=("Kontostand", "IBAN"),
    identity_level=RequiredIdentityLevel.SUBSTANTIAL,
    timeout_seconds=12.5,
    description=b"openapi: 3.0.3\n\x00\xff",
)
CONSENT = ConsentCopy(
    reference="0a6c",
    client=APP,
    subject="pseudonym",
    service=BALANCE.identifier,
    expires_ms=1_795_308_434_123,
    status=ConsentStatus.VALID,
    sequence=1,
    jws="header.payload.signature",
    identity_level=RequiredIdentityLevel.SUBSTANTIAL,
    authority=APP,
)


async def test_an_empty_store(repository: Repository) -> None:
    configuration = await repository.load()
    assert (configuration.clients, configuration.services, configuration.rights) == ((), (), ())
    assert configuration.revision.configuration == 0
    assert await repository.consent_copies() == ()


async def test_clients_come_back_as_stored_and_are_replaced_whole(repository: Repository) -> None:
    member = Client(MemberId("DE-TEST", "GOV", "MUSTER/STADT"), state=ClientState.SAVED)
    pinned = Client(APP, ConnectionType.HTTPS, certificates=frozenset({b"\x01" * 32, b"\x02" * 32}))
    await repository.upsert_client(member)
    await repository.upsert_client(pinned)
    assert set(await repository.clients()) == {member, pinned}
    changed = replace(pinned, certificates=frozenset({b"\x03" * 32}))
    await repository.upsert_client(changed)
    await repository.remove_client(member.identifier)
    assert await repository.clients() == (changed,)


async def test_services_and_rights(repository: Repository) -> None:
    group = AccessRight(BALANCE.identifier, GlobalGroupId("DE-TEST", "citizen-apps"))
    await repository.upsert_service(BALANCE, grant_to=[AccessRight(BALANCE.identifier, APP)])
    await repository.grant(group)
    await repository.grant(group)
    changed = replace(BALANCE, enabled=False, disabled_notice="Wartung", data_categories=(), timeout_seconds=None)
    await repository.upsert_service(changed)
    configuration = await repository.load()
    assert configuration.services == (changed,)
    assert set(configuration.rights) == {group, AccessRight(BALANCE.identifier, APP)}
    await repository.revoke(group)
    assert await repository.rights() == (AccessRight(BALANCE.identifier, APP),)
    await repository.remove_service(BALANCE.identifier)
    assert await repository.services() == ()
    assert await repository.rights() == ()


async def test_no_right_to_an_unknown_service_and_nothing_half_written(repository: Repository) -> None:
    before = await repository.revision()
    with pytest.raises(UnknownService):
        await repository.grant(AccessRight(ServiceId(ACCOUNT, "transfer"), APP))
    with pytest.raises(UnknownService):
        await repository.upsert_service(BALANCE, grant_to=[AccessRight(ServiceId(ACCOUNT, "transfer"), APP)])
    assert await repository.services() == ()
    assert await repository.revision() == before


async def test_each_write_raises_its_revision_and_reads_do_not(repository: Repository) -> None:
    start = await repository.revision()
    await repository.upsert_service(BALANCE)
    after_service = await repository.revision()
    assert (after_service.configuration, after_service.consents) == (start.configuration + 1, start.consents)
    await repository.upsert_consent_copy(CONSENT)
    after_consent = await repository.revision()
    assert (after_consent.configuration, after_consent.consents) == (after_service.configuration, start.consents + 1)
    await repository.load()
    assert await repository.revision() == after_consent


async def test_a_withdrawal_is_not_undone_by_an_older_state(repository: Repository) -> None:
    withdrawn = replace(CONSENT, status=ConsentStatus.WITHDRAWN, sequence=2, jws="newer")
    await repository.upsert_consent_copy(CONSENT)
    await repository.upsert_consent_copy(withdrawn)
    await repository.upsert_consent_copy(withdrawn)
    with pytest.raises(StaleConsent):
        await repository.upsert_consent_copy(CONSENT)
    with pytest.raises(StaleConsent):
        await repository.upsert_consent_copy(replace(CONSENT, sequence=2, jws="same number, other content"))
    assert await repository.consent_copy(CONSENT.reference) == withdrawn
    assert await repository.consent_copy("unknown") is None


@pytest.mark.parametrize(
    "change",
    [{"subject": "another"}, {"client": ACCOUNT}, {"service": ServiceId(ACCOUNT, "accounts")}],
    ids=["subject", "client", "service"],
)
async def test_a_reference_keeps_what_it_stands_for(repository: Repository, change: dict[str, object]) -> None:
    await repository.upsert_consent_copy(CONSENT)
    with pytest.raises(ConsentConflict):
        await repository.upsert_consent_copy(replace(CONSENT, sequence=9, **change))  # type: ignore[arg-type]
    assert await repository.consent_copies() == (CONSENT,)


async def test_of_many_concurrent_states_the_newest_wins(postgres_url: str) -> None:
    async with migrated(postgres_url) as engine:
        repository = Repository(engine)
        states = [replace(CONSENT, sequence=number) for number in (5, 2, 8, 1, 7, 3, 6, 4)]
        results = await asyncio.gather(*map(repository.upsert_consent_copy, states), return_exceptions=True)
        assert all(result is None or isinstance(result, StaleConsent) for result in results)
        stored = await repository.consent_copy(CONSENT.reference)
        assert stored is not None
        assert stored.sequence == 8


@pytest.mark.parametrize(
    "subject", [APP, SubsystemId("A", "B", "C/D", "E:F"), GlobalGroupId("DE-TEST", "a/b")], ids=str
)
def test_a_right_subject_reads_as_it_was_written(subject: RightSubject) -> None:
    assert parse_right_subject(format_right_subject(subject)) == subject


@pytest.mark.parametrize("text", ["", "A/B/C", "MEMBER:A/B/C", "GLOBALGROUP:A", "GLOBALGROUP:A/B/C", "SUBSYSTEM:A/B"])
def test_other_subjects_get_no_rights(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        parse_right_subject(text)
