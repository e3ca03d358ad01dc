"""The access log in the vocabulary of the Datenschutzcockpit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.citizen.access import Access
from gateway.citizen.accesses import AccessView, Source
from gateway.citizen.datenschutzcockpit import TRANSPORT, TYPES, build_protocol_data
from trust.xml import parse

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAMES = {"t": TYPES, "d": TRANSPORT}
ACCESS = Access(
    key="ab" * 32,
    time_ms=1_795_308_434_123,
    request_digest="",
    message_id="m-1",
    request_id="r-1",
    client="Stadt Musterstadt",
    provider="Stadtwerke Musterstadt",
    service="DE-TEST/COM/STADTWERKE/kundenservice/bills",
    built_in="",
    titles={"de": "Rechnungen", "en": "Bills"},
    purposes={"de": "Rechnungen anzeigen", "en": "Showing bills"},
    basis_kind="contract",
    basis="Art. 6 Abs. 1 lit. b DSGVO",
    data_categories=("Rechnungen", "Verbrauch"),
    consent="",
    result="delivered",
    reason="",
    identity_level="high",
    representative="",
    occasion="Antrag der Kundin",
    system="App",
    released=False,
    logs=(),
    recorded_by=("",),
    record={},
)


def built(*accesses: Access, **source: Any) -> Any:
    view = AccessView("2026-11", (replace(Source("own"), **source),), accesses)
    return parse(build_protocol_data([view], accesses, created=AT))


def texts(root: Any, path: str) -> list[str]:
    return [found.text for found in root.findall(path, NAMES)]


def test_a_transfer_says_who_what_when_why_and_on_what_basis() -> None:
    root = built(ACCESS, replace(ACCESS, key="cd" * 32, occasion=""))
    assert (root.tag, root.get("version")) == (f"{{{TRANSPORT}}}antwortListeProtokolldaten", "1.1.0")
    assert len(set(texts(root, "t:protokolldaten/t:datenuebermittlungID"))) == 2
    assert texts(root, "t:protokolldaten/t:anlass") == ["Antrag der Kundin", "Rechnungen anzeigen"]
    first = root.find("t:protokolldaten", NAMES)
    assert texts(first, "t:zeitpunktDatenuebermittlung") == ["2026-11-22T00:47:14.123+00:00"]
    assert texts(first, "t:uebermittelndeStelle") == ["Stadtwerke Musterstadt"]
    assert texts(first, "t:datenabrufendeStelle") == ["Stadt Musterstadt"]
    assert texts(first, "t:rechtsgrundlage") == ["Art. 6 Abs. 1 lit. b DSGVO"]
    groups = texts(first, "t:inhaltsdaten/t:gruppeInhaltsdaten/t:label")
    assert groups[0].startswith("Rechnungen: ")
    assert groups[1:] == ["Übermittelte Daten"]
    inner = "t:inhaltsdaten/t:gruppeInhaltsdaten/t:gruppeInhaltsdaten"
    assert texts(first, f"{inner}/t:label") == ["Identifikation der Nachricht", "Autor", "Leser"]
    described = f"{inner}/t:inhaltsdaten"
    assert texts(first, f"{described}/t:inhaltsdatenBeschreibung/t:label")[-3:] == ["Name", "Name", "System"]
    assert texts(first, f"{described}/t:inhalt")[-3:] == ["Stadtwerke Musterstadt", "Stadt Musterstadt", "App"]


def test_who_could_not_be_asked_is_named() -> None:
    assert texts(built(ACCESS, name="Bank", reachable=False), "t:nichtErreichbareStelle") == ["Bank"]
    assert texts(built(ACCESS, name="Bank", broken="proof"), "t:nichtErreichbareStelle") == ["Bank"]
    assert texts(built(ACCESS), "t:nichtErreichbareStelle") == []


def test_what_xml_can_not_hold_breaks_nothing() -> None:
    root = built(replace(ACCESS, occasion="a\x00b<c>&\ufffe\ud800"))
    assert texts(root, "t:protokolldaten/t:anlass") == ["a b<c>&  "]
