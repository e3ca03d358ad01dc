"""An institution's JSON in plain words: known names become labels, the rest is made readable. A core.

Bounded in depth, count and length; the texts stay the institution's and are escaped where they are shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_MAX_DEPTH: Final = 8
_MAX_ENTRIES: Final = 400
_MAX_TEXT: Final = 1_000
# For machines: BO4E's marks of type and version, and what the next form carries along by itself.
_HIDDEN: Final = frozenset(
    {"_id", "_typ", "_version", "authenticationMethodId", "authenticationType", "linkId", "officeIds", "otpFormat"}
    | {"otpMaxLength", "timestamp"}
)
_MOMENT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(?::\d{2}(?:\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+")

# name in the JSON: (German, English)
LABELS: Final[dict[str, tuple[str, str]]] = {
    "accountId": ("Konto-Kennung", "Account id"),
    "accounts": ("Konten", "Accounts"),
    "additionalInformation": ("Hinweis", "Note"),
    "address": ("Anschrift", "Address"),
    "adresse": ("Anschrift", "Address"),
    "anrede": ("Anrede", "Form of address"),
    "amount": ("Betrag", "Amount"),
    "processId": ("Termin-Nummer", "Appointment number"),
    "appointments": ("Termine", "Appointments"),
    "balances": ("Kontostände", "Balances"),
    "bills": ("Rechnungen", "Bills"),
    "challenge": ("Aufforderung der Bank", "The bank's prompt"),
    "city": ("Ort", "City"),
    "currency": ("Währung", "Currency"),
    "customerNumber": ("Kundennummer", "Customer number"),
    "date": ("Datum", "Date"),
    "detail": ("Einzelheit", "Detail"),
    "dueDate": ("Fällig am", "Due on"),
    "email": ("E-Mail", "E-mail"),
    "enddatum": ("Ende", "End"),
    "faelligkeitsdatum": ("Fällig am", "Due on"),
    "familyName": ("Name", "Name"),
    "from": ("Von", "From"),
    "gesamtbrutto": ("Summe mit Steuern", "Total with taxes"),
    "gesamtnetto": ("Summe ohne Steuern", "Total without taxes"),
    "gesamtsteuer": ("Steuern", "Taxes"),
    "hausnummer": ("Hausnummer", "House number"),
    "hint": ("Was Sie tun können", "What you can do"),
    "houseNumber": ("Hausnummer", "House number"),
    "iban": ("IBAN", "IBAN"),
    "id": ("Kennung", "Id"),
    "istOriginal": ("Original", "Original"),
    "istStorno": ("Storniert", "Cancelled"),
    "message": ("Nachricht", "Message"),
    "meterNumber": ("Zählernummer", "Meter number"),
    "nachname": ("Nachname", "Last name"),
    "name": ("Name", "Name"),
    "nextBookableDate": ("Nächster freier Tag", "Next free day"),
    "number": ("Nummer", "Number"),
    "offices": ("Standorte", "Offices"),
    "officeId": ("Standort-Kennung", "Office id"),
    "officeName": ("Standort", "Office"),
    "ort": ("Ort", "City"),
    "ownerName": ("Inhaberin oder Inhaber", "Owner"),
    "period": ("Zeitraum", "Period"),
    "positions": ("Posten", "Items"),
    "postalCode": ("Postleitzahl", "Postal code"),
    "postleitzahl": ("Postleitzahl", "Postal code"),
    "product": ("Produkt", "Product"),
    "rechnungsdatum": ("Rechnungsdatum", "Date of the bill"),
    "rechnungsempfaenger": ("Empfängerin oder Empfänger", "Billed to"),
    "rechnungsnummer": ("Rechnungsnummer", "Bill number"),
    "rechnungsperiode": ("Abrechnungszeitraum", "Billing period"),
    "rechnungsstatus": ("Stand der Rechnung", "Status of the bill"),
    "rechnungstitel": ("Bezeichnung", "Title"),
    "rechnungstyp": ("Art der Rechnung", "Kind of bill"),
    "referenceDate": ("Stand vom", "As of"),
    "scaMethods": ("Verfahren zur Freigabe", "Authorisation methods"),
    "serviceId": ("Leistungs-Kennung", "Service id"),
    "serviceName": ("Leistung", "Service"),
    "services": ("Leistungen", "Services"),
    "slots": ("Freie Zeiten", "Free times"),
    "sparte": ("Sparte", "Division"),
    "start": ("Beginn", "Start"),
    "startdatum": ("Beginn", "Start"),
    "state": ("Stand", "State"),
    "status": ("Stand", "Status"),
    "strasse": ("Straße", "Street"),
    "street": ("Straße", "Street"),
    "title": ("Bezeichnung", "Title"),
    "to": ("Bis", "Until"),
    "total": ("Summe", "Total"),
    "type": ("Art", "Kind"),
    "validUntil": ("Gültig bis", "Valid until"),
    "vorname": ("Vorname", "First name"),
    "waehrung": ("Währung", "Currency"),
    "wert": ("Betrag", "Amount"),
    "zuZahlen": ("Zu zahlen", "To pay"),
    "zukuenftigerAbschlag": ("Künftiger Abschlag", "Future prepayment"),
}
# (name, value in the JSON): (German, English)
VALUES: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("state", "linked"): ("verknüpft", "linked"),
    ("state", "methodSelected"): ("Die Bank wartet auf die TAN", "the bank waits for the TAN"),
    ("state", "started"): ("begonnen", "started"),
    ("type", "closingBooked"): ("gebucht", "booked"),
    ("type", "interimAvailable"): ("verfügbar", "available"),
}
_YES: Final = ("ja", "yes")
_NO: Final = ("nein", "no")


@dataclass(frozen=True, slots=True)
class Entry:
    """A label with a text, or with entries below it."""

    label: str
    text: str = ""
    entries: tuple[Entry, ...] = ()


def explain(data: Any, language: str) -> tuple[Entry, ...]:
    """The entries of a JSON value."""
    budget = [_MAX_ENTRIES]
    return _entries(data, 1 if language == "en" else 0, _MAX_DEPTH, budget)


def readable_moment(text: str) -> str:
    """A day and time (RFC 3339) as people read it, in the sender's own time zone; any other text unchanged."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return text
    day, time, zone = match.groups()
    return f"{day} {time} UTC" if zone == "Z" else f"{day} {time}"


def _entries(data: Any, language: int, depth: int, budget: list[int]) -> tuple[Entry, ...]:
    pairs: list[tuple[str, Any]]
    if isinstance(data, dict):
        pairs = [
            (_label(str(name), language), VALUES[name, value][language] if _is_known(name, value) else value)
            for name, value in data.items()
            if name not in _HIDDEN
        ]
    elif isinstance(data, list):
        pairs = [(str(number), value) for number, value in enumerate(data, start=1)]
    else:
        pairs = [("", data)]
    entries: list[Entry] = []
    for label, value in pairs:
        if budget[0] <= 0:
            entries.append(Entry("…"))
            break
        budget[0] -= 1
        if isinstance(value, (dict, list)):
            below = _entries(value, language, depth - 1, budget) if depth > 1 else (Entry("…"),)
            entries.append(Entry(label, "" if value else "–", below))
        else:
            entries.append(Entry(label, _scalar(value, language)))
    return tuple(entries)


def _is_known(name: str, value: Any) -> bool:
    return isinstance(value, str) and (name, value) in VALUES


def _label(name: str, language: int) -> str:
    known = LABELS.get(name)
    if known is not None:
        return known[language]
    words = _WORDS.sub(" ", name).strip()[:80]
    return words[:1].upper() + words[1:]


def _scalar(value: Any, language: int) -> str:
    match value:
        case None | "":
            return "–"
        case bool():
            return (_YES if value else _NO)[language]
        case _:
            return readable_moment(str(value)[:_MAX_TEXT])
