"""A bill of the SOAP service as a BO4E Rechnung (202607.1.0) in JSON: camelCase names, decimals as numbers.

The service's elements carry BO4E's names already; here come the type marks, JSON's types, and the addressee's
customer number as the partner's `_id`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from adapters.kit.backend import malformed_answer

VERSION: Final = "202607.1.0"

# Which BO4E type each object-valued field is; a field that is not here is a plain value.
_TYPE_OF: Final = {
    "rechnungsperiode": "ZEITRAUM",
    "lieferungszeitraum": "ZEITRAUM",
    "rechnungsempfaenger": "GESCHAEFTSPARTNER",
    "rechnungsersteller": "GESCHAEFTSPARTNER",
    "adresse": "ADRESSE",
    "marktlokation": "MARKTLOKATION",
    "zaehler": "ZAEHLER",
    "aktuellerVerbrauch": "ENERGIEMENGE",
    "vorjahresverbrauch": "ENERGIEMENGE",
    "menge": "MENGE",
    "positionsMenge": "MENGE",
    "rechnungspositionen": "RECHNUNGSPOSITION",
    "einzelpreis": "PREIS",
    "gesamtpreis": "BETRAG",
    "steuerbetraege": "STEUERBETRAG",
    "vorauszahlungen": "VORAUSZAHLUNG",
    "betrag": "BETRAG",
    "gesamtnetto": "BETRAG",
    "gesamtsteuer": "BETRAG",
    "gesamtbrutto": "BETRAG",
    "zuZahlen": "BETRAG",
    "zukuenftigerAbschlag": "BETRAG",
}
_RENAMED: Final = {"kundennummer": "_id"}


def build_bill(rechnung: object, *, customer_number: str) -> dict[str, object]:
    """The JSON of one bill of this customer.

    Raises BackendError where the bill is not an object or is addressed to somebody else: the service's answer is never
    passed on to a person whom it does not concern.
    """
    bill = _object(rechnung, "RECHNUNG")
    addressee = bill.get("rechnungsempfaenger")
    if not isinstance(addressee, dict) or addressee.get("_id") != customer_number:
        raise malformed_answer("rechnungsempfaenger")
    return bill


def _object(value: object, type_name: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise malformed_answer(type_name.lower())
    result: dict[str, object] = {"_typ": type_name, "_version": VERSION}
    for name, item in value.items():
        if item is not None and item != []:
            result[_RENAMED.get(str(name), str(name))] = _value(item, _TYPE_OF.get(str(name)))
    return result


def _value(value: object, type_name: str | None) -> object:
    match value:
        case list():
            return [_value(item, type_name) for item in value]
        case Mapping() if type_name is not None:
            return _object(value, type_name)
        case bool() | int() | str():
            return value
        case Decimal() if value.is_finite():
            # BO4E: decimals are JSON numbers. Amounts of this size survive a double exactly as written.
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return value.replace(tzinfo=value.tzinfo or UTC).isoformat()
        case date():
            return value.isoformat()
        case _:
            raise malformed_answer("value")
