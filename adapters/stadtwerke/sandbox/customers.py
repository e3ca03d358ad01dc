"""The utility's invented customers, their meters and consumption.

Market location ids pass their check digit (BDEW, MaLo-ID) and belong to nobody; the meter numbers name no maker.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a supply costs: net prices per unit and per month, and the value added tax in percent."""

    sparte: str
    title: str
    unit: str
    unit_price_cents: Decimal
    monthly_price: Decimal
    vat_percent: Decimal
    obis: str | None


@dataclass(frozen=True, slots=True)
class Supply:
    """One supplied place: its meter, and consumption in the last year and the one before."""

    tariff: Tariff
    meter_number: str
    market_location: str | None
    consumption: Decimal
    previous_consumption: Decimal
    monthly_prepayment: Decimal


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer."""

    customer_number: str
    salutation: str
    given_name: str
    family_name: str
    street: str
    house_number: str
    supplies: tuple[Supply, ...]


ELECTRICITY: Final = Tariff(
    "STROM", "Stromrechnung", "KWH", Decimal("28.47"), Decimal("11.90"), Decimal(19), "1-0:1.8.0"
)
GAS: Final = Tariff("GAS", "Gasrechnung", "KWH", Decimal("9.86"), Decimal("14.20"), Decimal(19), "7-0:3.0.0")
# Water has no OBIS number on the bill and the reduced rate of tax.
WATER: Final = Tariff("WASSER", "Wasserrechnung", "KUBIKMETER", Decimal("214.00"), Decimal("8.50"), Decimal(7), None)

CUSTOMERS: Final = {
    customer.customer_number: customer
    for customer in (
        Customer(
            "4711001",
            "FRAU",
            "Erika",
            "Beispiel",
            "Lindenallee",
            "12",
            (
                Supply(
                    ELECTRICITY,
                    "1MUS0047110011",
                    "57685676748",
                    Decimal("2380.5"),
                    Decimal(2512),
                    Decimal("75.00"),
                ),
                Supply(WATER, "8MUS0047110012", None, Decimal(83), Decimal(79), Decimal("25.00")),
            ),
        ),
        Customer(
            "4711002",
            "HERR",
            "Max",
            "Beispiel",
            "Am Mühlbach",
            "3a",
            (
                Supply(
                    ELECTRICITY,
                    "1MUS0047110021",
                    "41373559241",
                    Decimal(1644),
                    Decimal("1590.7"),
                    Decimal("70.00"),
                ),
                Supply(GAS, "7MUS0047110022", "51238696781", Decimal(9120), Decimal(9875), Decimal("95.00")),
            ),
        ),
    )
}
