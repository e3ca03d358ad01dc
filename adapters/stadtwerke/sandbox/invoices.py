"""The utility's bills: one per supply and year, computed from consumption and tariff. Pure.

The rule that a bill must obey: the positions make the net sum, net sum and tax the gross sum, and gross sum less the
prepayments what is to be paid (a negative amount is a credit). Money is rounded half up per position and per tax.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from adapters.stadtwerke.sandbox.customers import Customer, Supply

_CENT: Final = Decimal("0.01")
_MONTHS: Final = 12
YEARS: Final = 2


@dataclass(frozen=True, slots=True)
class Position:
    """One line of a bill."""

    text: str
    quantity: Decimal
    quantity_unit: str
    unit_price: Decimal
    price_unit: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """A bill."""

    number: str
    customer: Customer
    supply: Supply
    year: int
    issued: datetime
    due: datetime
    paid: bool
    consumption: Decimal
    previous_consumption: Decimal
    positions: tuple[Position, ...]
    net: Decimal
    tax: Decimal
    prepayments: tuple[tuple[datetime, Decimal], ...]

    @property
    def gross(self) -> Decimal:
        """What the year cost."""
        return self.net + self.tax

    @property
    def to_pay(self) -> Decimal:
        """What is left after the prepayments."""
        return self.gross - sum((amount for _, amount in self.prepayments), Decimal(0))

    @property
    def period(self) -> tuple[date, date]:
        """First day, and the day after the last (BO4E: enddatum is exclusive)."""
        return date(self.year, 1, 1), date(self.year + 1, 1, 1)


def invoices_of(customer: Customer, at: datetime) -> tuple[Invoice, ...]:
    """The bills that exist at a time: those of the last two years, issued each on 20 January."""
    last = at.year - 1 if at >= _issue_date(at.year - 1) else at.year - 2
    return tuple(
        _build_invoice(customer, position, year, at)
        for year in range(last, last - YEARS, -1)
        for position in range(len(customer.supplies))
    )


def _build_invoice(customer: Customer, position: int, year: int, at: datetime) -> Invoice:
    supply = customer.supplies[position]
    # Consumption swaps from year to year, so that each bill's previous year is the bill before.
    even = year % 2 == 0
    consumption = supply.consumption if even else supply.previous_consumption
    previous = supply.previous_consumption if even else supply.consumption
    tariff = supply.tariff
    positions = (
        Position(
            "Arbeitspreis",
            consumption,
            tariff.unit,
            tariff.unit_price_cents,
            "CT",
            _round(consumption * tariff.unit_price_cents / 100),
        ),
        Position(
            "Grundpreis",
            Decimal(_MONTHS),
            "MONAT",
            tariff.monthly_price,
            "EUR",
            _round(tariff.monthly_price * _MONTHS),
        ),
    )
    net = sum((line.amount for line in positions), Decimal(0))
    issued = _issue_date(year)
    due = issued + timedelta(days=14)
    return Invoice(
        number=f"R-{year}-{customer.customer_number}-{position + 1}",
        customer=customer,
        supply=supply,
        year=year,
        issued=issued,
        due=due,
        paid=at >= due,
        consumption=consumption,
        previous_consumption=previous,
        positions=positions,
        net=net,
        tax=_round(net * tariff.vat_percent / 100),
        prepayments=tuple(
            (datetime(year, month, 3, tzinfo=UTC), supply.monthly_prepayment) for month in range(1, _MONTHS + 1)
        ),
    )


def _issue_date(year: int) -> datetime:
    return datetime(year + 1, 1, 20, tzinfo=UTC)


def _round(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)
