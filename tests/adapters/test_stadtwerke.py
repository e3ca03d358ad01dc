"""The municipal utility: who proves to be a customer reads their own bills, and no other."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from adapters.kit.entries import Kind
from adapters.stadtwerke.sandbox.customers import CUSTOMERS
from tests.adapters.support import MAX, SettableClock, World, world

PROOF = {"customerNumber": "4711001", "meterNumber": "1MUS0047110011"}


@pytest.fixture
async def utility(tmp_path: Path) -> AsyncIterator[World]:
    async with world(Kind.STADTWERKE, tmp_path) as running:
        yield running


def bo4e_bill(body: object) -> Any:
    """A bill as the package of the standard reads it: unknown names, types or enum values fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns of its own configuration
        from bo4e import Rechnung
    bill = Rechnung.model_validate(body, strict=False)
    assert not bill.model_extra
    return bill


async def test_a_customer_proves_with_the_meter_and_reads_bills(utility: World) -> None:
    linked = await utility.call("POST", "/link", PROOF)
    assert (linked.status, linked.body["customerNumber"]) == (201, "****001")
    overview = (await utility.call("GET", "/bills")).body["bills"]
    assert [bill["rechnungsnummer"] for bill in overview] == [
        "R-2025-4711001-1",
        "R-2025-4711001-2",
        "R-2024-4711001-1",
        "R-2024-4711001-2",
    ]
    for summary in overview:
        assert "rechnungspositionen" not in summary
        bo4e_bill(summary)
        bill = bo4e_bill((await utility.call("GET", f"/bills/{summary['rechnungsnummer']}")).body)
        assert bill.rechnungsempfaenger.nachname == "Beispiel"
        assert (bill.aktueller_verbrauch.obis_kennzahl is None) == (bill.sparte == "WASSER")


async def test_positions_and_tax_less_prepayments_are_what_is_to_be_paid(utility: World) -> None:
    await utility.call("POST", "/link", {"customerNumber": "4711002", "meterNumber": "7MUS0047110022"})
    for summary in (await utility.call("GET", "/bills")).body["bills"]:
        bill = bo4e_bill((await utility.call("GET", f"/bills/{summary['rechnungsnummer']}")).body)
        positions = sum((line.gesamtpreis.wert for line in bill.rechnungspositionen), Decimal(0))
        taxes = sum((tax.steuerwert for tax in bill.steuerbetraege), Decimal(0))
        prepaid = sum((payment.betrag.wert for payment in bill.vorauszahlungen), Decimal(0))
        assert positions == bill.gesamtnetto.wert
        assert positions + taxes == bill.gesamtbrutto.wert
        assert positions + taxes - prepaid == bill.zu_zahlen.wert
        assert len(bill.vorauszahlungen) == 12


async def test_a_foreign_meter_is_refused_and_guessing_is_bounded(utility: World) -> None:
    wrong = {"customerNumber": "4711001", "meterNumber": "7MUS0047110022"}
    for _ in range(5):
        reply = await utility.call("POST", "/link", wrong)
        assert (reply.status, reply.body["code"], reply.body["backendCode"]) == (
            403,
            "customer_unknown",
            "KundeUnbekannt",
        )
    assert (await utility.call("POST", "/link", PROOF)).body["code"] == "too_many_attempts"
    assert (await utility.call("GET", "/link")).body["code"] == "not_linked"


async def test_guesses_at_once_are_no_more_than_guesses_one_by_one(utility: World) -> None:
    guesses = [PROOF | {"meterNumber": f"1MUS00471100{number:02}"} for number in range(30, 50)]
    answers = await asyncio.gather(*(utility.call("POST", "/link", guess) for guess in guesses))
    codes = [answer.body["code"] for answer in answers]
    assert codes.count("too_many_attempts") == len(guesses) - 5, codes


async def test_nobody_reads_somebody_elses_bill(utility: World) -> None:
    await utility.call("POST", "/link", PROOF)
    reply = await utility.call("GET", "/bills/R-2025-4711002-1")
    assert (reply.status, reply.body["code"]) == (404, "bill_unknown")
    assert (await utility.call("GET", "/bills", subject=MAX)).body["code"] == "not_linked"


async def test_a_link_ends(utility: World) -> None:
    await utility.call("POST", "/link", PROOF)
    assert (await utility.call("POST", "/link", PROOF)).body["code"] == "already_linked"
    assert (await utility.call("DELETE", "/link")).status == 204
    assert (await utility.call("GET", "/bills")).body["code"] == "not_linked"
    # secure_delete: the number has left the file, not only the table.
    assert b"4711001" not in (utility.directory / "links.sqlite").read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        {},
        PROOF | {"customerNumber": "47"},
        PROOF | {"more": 1},
        PROOF | {"meterNumber": "<x/>"},
        PROOF | {"customerNumber": 4711001},
    ],
)
async def test_what_cannot_be_a_proof_does_not_reach_the_backend(utility: World, body: object) -> None:
    assert (await utility.call("POST", "/link", body)).body["code"] == "invalid_request"
    assert utility.recorded == []


async def test_before_the_day_of_issue_the_last_bill_is_the_year_before(tmp_path: Path) -> None:
    clock = SettableClock(datetime(2026, 1, 10, tzinfo=UTC))
    async with world(Kind.STADTWERKE, tmp_path, clock=clock) as utility:
        await utility.call("POST", "/link", PROOF)
        bills = (await utility.call("GET", "/bills")).body["bills"]
        assert bills[0]["rechnungsnummer"].startswith("R-2024")
        clock.at = datetime(2026, 1, 20, tzinfo=UTC)
        bills = (await utility.call("GET", "/bills")).body["bills"]
        assert (bills[0]["rechnungsnummer"], bills[0]["rechnungsstatus"]) == ("R-2025-4711001-1", "GEBUCHT")


def test_market_locations_pass_their_check_digit() -> None:
    for customer in CUSTOMERS.values():
        for supply in customer.supplies:
            if supply.market_location is not None:
                digits = [int(digit) for digit in supply.market_location]
                assert (10 - (sum(digits[0:10:2]) + 2 * sum(digits[1:10:2])) % 10) % 10 == digits[10]
