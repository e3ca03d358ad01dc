"""The small parts: rate limit, purposes, declarations, journeys, explanations, the issuer's refusal of real
instances."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.citizen.catalogue import parse_declarations
from gateway.citizen.context import ConsentKey, UnusableContext
from gateway.citizen.errors import InvalidRequest, UnknownThing
from gateway.citizen.explain import explain
from gateway.citizen.journeys import find_action, next_forms
from gateway.citizen.purposes import InvalidPurposes, Journey, load_purposes
from gateway.citizen.sealing import SealBroken, Sealer
from gateway.citizen.texts import TEXTS
from gateway.city.issuer import NotATestInstance, build_issuer
from gateway.city.issuer_clients import DemoIssuerSettings
from gateway.rate import RateLimit, TooManyAttempts
from gateway.store.model import LegalBasisKind
from tests.clocks import ManualClock
from tests.gateway.citizen.city import BANK_DECLARATION, consent_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def test_a_bucket_empties_and_refills() -> None:
    limit = RateLimit(burst=2, refill_ms=1000, keys=2)
    limit.admit("a", now_ms=0)
    limit.admit("a", now_ms=0)
    with pytest.raises(TooManyAttempts) as limited:
        limit.admit("a", now_ms=0)
    assert limited.value.retry_after_seconds == 1
    limit.admit("b", now_ms=0)
    limit.admit("a", now_ms=1000)
    limit.admit("c", now_ms=1000)
    assert len(limit._buckets) == 2


def test_what_is_sealed_opens_in_its_place_only() -> None:
    """Who has the database can't put one person's text into another's row."""
    sealed = Sealer(b"k" * 32, "complaint").seal({"text": "geheim"}, row="eins")
    assert b"geheim" not in sealed
    assert Sealer(b"k" * 32, "complaint").open(sealed, row="eins") == {"text": "geheim"}
    for key, use, row in ((b"k", "complaint", "zwei"), (b"k", "relation", "eins"), (b"x", "complaint", "eins")):
        with pytest.raises(SealBroken):
            Sealer(key * 32, use).open(sealed, row=row)


@pytest.mark.parametrize("instance", ["DE", "EE", "DE-PROD", "TESTING", "DE-TEST2", ""])
def test_the_issuer_serves_no_real_instance(instance: str, tmp_path: Path) -> None:
    settings = DemoIssuerSettings(instance, "http://127.0.0.1:1", tmp_path / "issuer", (), "road")
    with pytest.raises(NotATestInstance):
        build_issuer(settings, clock=ManualClock())
    assert not (tmp_path / "issuer").exists()


def test_purposes_come_from_a_file(tmp_path: Path) -> None:
    good = """
[[purpose]]
key = "kontostand"
service = "DE-TEST/COM/SPARKASSE/konto/konto"
journey = "bank"
provider_name = "Sparkasse"
text_de = "Anzeige"
text_en = "Display"
validity_days = 30
"""
    file = tmp_path / "purposes.toml"
    file.write_text(good, "utf-8")
    (purpose,) = load_purposes(file)
    assert purpose.unlink_service is None
    file.write_text(good + 'unlink_service = "DE-TEST/COM/SPARKASSE/konto/ende"', "utf-8")
    (purpose,) = load_purposes(file)
    assert purpose.unlink_service == replace(purpose.service, service_code="ende")
    assert (purpose.key, purpose.journey, purpose.validity_days) == ("kontostand", Journey.BANK, 30)
    for bad in (
        "",
        "x = 1",
        good + good,
        good + "other = 1",
        good.replace('"bank"', '"theft"'),
        good.replace("DE-TEST/COM/SPARKASSE/konto/konto", "x"),
        good.replace("= 30", "= 9999"),
        good.replace("= 30", "= true"),
        good.replace('"kontostand"', '"Konto/Stand"'),
        good + 'privacy_url = "javascript:alert(1)"',
        good + 'unlink_service = "ende"',
        good + 'unlink_service = "DE-TEST/COM/STADTWERKE/konto/ende"',
        "\0",
    ):
        file.write_text(bad, "utf-8")
        with pytest.raises(InvalidPurposes):
            load_purposes(file)


def test_declarations_are_read_strictly_and_malformed_ones_left_out() -> None:
    bad: list[Any] = [
        7,
        {},
        BANK_DECLARATION | {"legal_basis_kind": "whim"},
        BANK_DECLARATION | {"identity_level": "superb"},
        BANK_DECLARATION | {"data_categories": "all"},
        BANK_DECLARATION | {"code": ""},
        BANK_DECLARATION | {"enabled": "perhaps"},
    ]
    found = parse_declarations([*bad, BANK_DECLARATION, BANK_DECLARATION | {"title_de": "x" * 5000}])
    assert [declaration.title("de") for declaration in found] == ["Kontostand <b>fett</b>", "konto"]
    assert parse_declarations({"services": [BANK_DECLARATION]})[0].needs_consent
    assert parse_declarations("nothing") == ()


@given(JSON)
def test_no_declaration_breaks_the_catalogue(data: Any) -> None:
    assert isinstance(parse_declarations(data), tuple)
    assert isinstance(parse_declarations([data]), tuple)


@given(JSON)
def test_every_answer_can_be_explained(data: Any) -> None:
    assert isinstance(explain(data, "de"), tuple)


def test_answers_are_explained_in_words() -> None:
    data = {"_typ": "RECHNUNG", "accounts": [{"iban": "DE1", "isOpen": True, "newField_name": None}]}
    (accounts,) = explain(data, "en")
    assert accounts.label == "Accounts"
    (first,) = accounts.entries
    assert [(entry.label, entry.text) for entry in first.entries] == [
        ("IBAN", "DE1"),
        ("Is Open", "yes"),
        ("New Field name", "–"),
    ]
    assert explain({"amount": 1}, "de")[0].label == "Betrag"


def test_a_hostile_depth_and_size_stay_bounded() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    assert "…" in str(explain(deep, "de"))
    assert len(explain(list(range(10_000)), "de")) <= 401


def test_an_appointment_is_made_step_by_step() -> None:
    journey = Journey.APPOINTMENTS
    offices = find_action(journey, "offices")
    (choose,) = next_forms(journey, offices, {}, {"offices": [{"id": 1, "name": "Bürgeramt"}]})
    assert choose.action.key == "office_services"
    assert choose.action.build({"officeId": "1"}).query == {}
    services = {"services": [{"id": 5, "name": "Pass", "officeIds": [1]}, {"id": 6, "name": "Ehe", "officeIds": [2]}]}
    (slots,) = next_forms(journey, choose.action, {"officeId": "1"}, services)
    assert [choice.value for choice in slots.choices["serviceId"]] == ["5"]
    form = {"officeId": "1", "serviceId": "5", "from": "", "to": ""}
    assert slots.action.build(form).query == {"officeId": "1", "serviceId": "5"}
    (book,) = next_forms(
        journey, slots.action, form, {"slots": [{"timestamp": 1795608000, "start": "2026-11-25T12:00"}]}
    )
    assert book.values == {"officeId": "1", "serviceId": "5"}
    call = book.action.build(form | {"timestamp": "1795608000", "familyName": " Beispiel ", "email": "e@example.org"})
    assert json.loads(call.body or b"") == {
        "officeId": 1,
        "serviceId": 5,
        "timestamp": 1795608000,
        "familyName": "Beispiel",
        "email": "e@example.org",
    }
    (cancel,) = next_forms(journey, book.action, {}, {"processId": 77, "start": "2026-11-25", "serviceName": "Pass"})
    assert cancel.action.build({"processId": "77"}).path == ("appointments", "77")
    for missing in ({"timestamp": "soon"}, {"familyName": ""}, {"email": "x" * 300}):
        with pytest.raises(InvalidRequest):
            book.action.build(form | {"timestamp": "1", "familyName": "B", "email": "e@example.org"} | missing)
    with pytest.raises(UnknownThing):
        find_action(journey, "balance")


@given(JSON)
def test_no_answer_breaks_what_follows(data: Any) -> None:
    for journey, action in (
        (Journey.BANK, "bank_link"),
        (Journey.UTILITY, "bills"),
        (Journey.APPOINTMENTS, "offices"),
        (Journey.APPOINTMENTS, "slots"),
        (Journey.APPOINTMENTS, "appointments"),
    ):
        wrapped = dict.fromkeys(("scaMethods", "bills", "offices", "slots", "appointments", "linkId", "state"), data)
        assert isinstance(next_forms(journey, find_action(journey, action), {}, wrapped), tuple)


def test_a_consent_key_fits_its_certificate() -> None:
    with pytest.raises(UnusableContext):
        ConsentKey(consent_key().private_key, consent_key().certificates)
    with pytest.raises(UnusableContext):
        ConsentKey(consent_key().private_key, ())


def test_each_legal_basis_has_words() -> None:
    for kind in LegalBasisKind:
        assert f"basis_{kind.value}" in TEXTS
