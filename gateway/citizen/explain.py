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
# BO4E's marks of type and version: for machines.
_HIDDEN: Final = frozenset({"_typ", "_version"})
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+")

# name in the JSON: (German, English)
LABELS: Final[dict[str, tuple[str, str]]] = {
    "accountId": ("Konto-Kennung", "Account id"),
    "accounts": ("Konten", "Accounts"),
    "amount": ("Betrag", "Amount"),
    "processId": ("Termin-Nummer", "Appointment number"),
    "appointments": ("Termine", "Appointments"),
    "balances": ("Kontostände", "Balances"),
    "bills": ("Rechnungen", "Bills"),
    "challenge": ("Aufforderung der Bank", "The bank's prompt"),
    "currency": ("Währung", "Currency"),
    "customerNumber": ("Kundennummer", "Customer number"),
    "date": ("Datum", "Date"),
    "detail": ("Einzelheit", "Detail"),
    "dueDate": ("Fällig am", "Due on"),
    "email": ("E-Mail", "E-mail"),
    "familyName": ("Name", "Name"),
    "hint": ("Was Sie tun können", "What you can do"),
    "iban": ("IBAN", "IBAN"),
    "linkId": ("Verknüpfung", "Link"),
    "message": ("Nachricht", "Message"),
    "meterNumber": ("Zählernummer", "Meter number"),
    "name": ("Name", "Name"),
    "number": ("Nummer", "Number"),
    "offices": ("Standorte", "Offices"),
    "officeId": ("Standort-Kennung", "Office id"),
    "officeName": ("Standort", "Office"),
    "ownerName": ("Inhaberin oder Inhaber", "Owner"),
    "period": ("Zeitraum", "Period"),
    "positions": ("Posten", "Items"),
    "product": ("Produkt", "Product"),
    "referenceDate": ("Stand vom", "As of"),
    "scaMethods": ("Verfahren zur Freigabe", "Authorisation methods"),
    "serviceId": ("Leistungs-Kennung", "Service id"),
    "serviceName": ("Leistung", "Service"),
    "services": ("Leistungen", "Services"),
    "slots": ("Freie Zeiten", "Free times"),
    "state": ("Stand", "State"),
    "status": ("Stand", "Status"),
    "title": ("Bezeichnung", "Title"),
    "total": ("Summe", "Total"),
    "type": ("Art", "Kind"),
    "validUntil": ("Gültig bis", "Valid until"),
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


def _entries(data: Any, language: int, depth: int, budget: list[int]) -> tuple[Entry, ...]:
    pairs: list[tuple[str, Any]]
    if isinstance(data, dict):
        pairs = [(_label(str(name), language), value) for name, value in data.items() if name not in _HIDDEN]
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
            return str(value)[:_MAX_TEXT]
