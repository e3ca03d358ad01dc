"""Bills as XML of the customer service's schema. The schema's sequence is the order here."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Final

from lxml import etree

from adapters.stadtwerke.backend import NAMESPACE
from adapters.stadtwerke.sandbox.customers import Customer
from adapters.stadtwerke.sandbox.invoices import Invoice, Position

_PREFIXES: Final = {"k": NAMESPACE}


def element(name: str) -> etree._Element:
    """A root element of the service's namespace."""
    return etree.Element(f"{{{NAMESPACE}}}{name}", nsmap=_PREFIXES)


def add(parent: etree._Element, name: str, value: object = None) -> etree._Element:
    """A child; values are written in their XML Schema form."""
    child = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    match value:
        case None:
            pass
        case bool():
            child.text = "true" if value else "false"
        case Decimal():
            child.text = format(value, "f")
        case datetime() | date():
            child.text = value.isoformat()
        case _:
            child.text = str(value)
    return child


def add_invoice(parent: etree._Element, invoice: Invoice, *, complete: bool) -> None:
    """A Rechnung, as overview or complete."""
    rechnung = add(parent, "rechnung")
    add(rechnung, "rechnungsnummer", invoice.number)
    add(rechnung, "rechnungstitel", f"{invoice.supply.tariff.title} {invoice.year}")
    add(rechnung, "rechnungsdatum", invoice.issued)
    add(rechnung, "faelligkeitsdatum", invoice.due)
    add(rechnung, "rechnungstyp", "TURNUSRECHNUNG")
    add(rechnung, "rechnungsstatus", "BEZAHLT" if invoice.paid else "GEBUCHT")
    _add_period(rechnung, "rechnungsperiode", invoice)
    add(rechnung, "sparte", invoice.supply.tariff.sparte)
    add(rechnung, "istOriginal", True)
    add(rechnung, "istStorno", False)
    _add_customer(rechnung, invoice.customer)
    if complete:
        _add_body(rechnung, invoice)
    for name, amount in (
        ("gesamtnetto", invoice.net),
        ("gesamtsteuer", invoice.tax),
        ("gesamtbrutto", invoice.gross),
        ("zuZahlen", invoice.to_pay),
        ("zukuenftigerAbschlag", invoice.supply.monthly_prepayment),
    ):
        _add_amount(rechnung, name, amount)


def _add_body(rechnung: etree._Element, invoice: Invoice) -> None:
    supply = invoice.supply
    issuer = add(rechnung, "rechnungsersteller")
    add(issuer, "organisationsname", "Stadtwerke Musterstadt")
    _add_address(issuer, "Werkstraße", "1")
    if supply.market_location is not None:
        location = add(rechnung, "marktlokation")
        add(location, "marktlokationsId", supply.market_location)
        add(location, "sparte", supply.tariff.sparte)
    meter = add(rechnung, "zaehler")
    add(meter, "zaehlernummer", supply.meter_number)
    add(meter, "sparte", supply.tariff.sparte)
    for name, quantity in (
        ("aktuellerVerbrauch", invoice.consumption),
        ("vorjahresverbrauch", invoice.previous_consumption),
    ):
        consumption = add(rechnung, name)
        if supply.tariff.obis is not None:
            add(consumption, "obisKennzahl", supply.tariff.obis)
        _add_quantity(consumption, "menge", quantity, supply.tariff.unit)
    for number, position in enumerate(invoice.positions, start=1):
        _add_position(rechnung, number, position, invoice)
    tax = add(rechnung, "steuerbetraege")
    add(tax, "steuerart", "UST")
    add(tax, "steuersatz", supply.tariff.vat_percent)
    add(tax, "basiswert", invoice.net)
    add(tax, "steuerwert", invoice.tax)
    add(tax, "waehrungscode", "EUR")
    for month, (paid, amount) in enumerate(invoice.prepayments, start=1):
        prepayment = add(rechnung, "vorauszahlungen")
        _add_amount(prepayment, "betrag", amount)
        add(prepayment, "datum", paid)
        add(prepayment, "referenz", f"Abschlag {month:02d}/{invoice.year}")


def _add_position(rechnung: etree._Element, number: int, position: Position, invoice: Invoice) -> None:
    line = add(rechnung, "rechnungspositionen")
    add(line, "positionsnummer", number)
    add(line, "positionstext", position.text)
    _add_period(line, "lieferungszeitraum", invoice)
    _add_quantity(line, "positionsMenge", position.quantity, position.quantity_unit)
    price = add(line, "einzelpreis")
    add(price, "wert", position.unit_price)
    add(price, "einheit", position.price_unit)
    add(price, "bezugswert", position.quantity_unit)
    _add_amount(line, "gesamtpreis", position.amount)


def _add_customer(rechnung: etree._Element, customer: Customer) -> None:
    partner = add(rechnung, "rechnungsempfaenger")
    add(partner, "kundennummer", customer.customer_number)
    add(partner, "anrede", customer.salutation)
    add(partner, "vorname", customer.given_name)
    add(partner, "nachname", customer.family_name)
    _add_address(partner, customer.street, customer.house_number)


def _add_address(parent: etree._Element, street: str, house_number: str) -> None:
    address = add(parent, "adresse")
    add(address, "strasse", street)
    add(address, "hausnummer", house_number)
    add(address, "postleitzahl", "00471")
    add(address, "ort", "Musterstadt")


def _add_period(parent: etree._Element, name: str, invoice: Invoice) -> None:
    period = add(parent, name)
    start, end = invoice.period
    add(period, "startdatum", start)
    add(period, "enddatum", end)


def _add_quantity(parent: etree._Element, name: str, quantity: Decimal, unit: str) -> None:
    child = add(parent, name)
    add(child, "wert", quantity)
    add(child, "einheit", unit)


def _add_amount(parent: etree._Element, name: str, amount: Decimal) -> None:
    child = add(parent, name)
    add(child, "wert", amount)
    add(child, "waehrung", "EUR")
