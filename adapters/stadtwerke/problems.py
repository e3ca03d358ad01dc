"""What can go wrong between a person and the utility."""

from __future__ import annotations

from typing import Final

from adapters.kit.errors import Hop, ProblemKind, Text
from adapters.kit.problems import ALREADY_LINKED, GENERAL, NOT_LINKED, TOO_MANY_ATTEMPTS

CUSTOMER_UNKNOWN: Final = ProblemKind(
    "customer_unknown",
    403,
    Hop.BACKEND,
    Text(
        "Kundennummer und Zählernummer passen nicht zusammen.",
        "The customer number and the meter number do not belong together.",
    ),
    Text(
        "Beide Nummern stehen auf Ihrer letzten Rechnung. Prüfen Sie die Eingabe.",
        "Both numbers are on your last bill. Check what you entered.",
    ),
)
CUSTOMER_GONE: Final = ProblemKind(
    "customer_gone",
    403,
    Hop.BACKEND,
    Text("Das Kundenkonto besteht nicht mehr.", "The customer account no longer exists."),
    Text("Lösen Sie die Verknüpfung und verknüpfen Sie Ihr neues Konto.", "Remove the link and link your new account."),
)
BILL_UNKNOWN: Final = ProblemKind(
    "bill_unknown",
    404,
    Hop.BACKEND,
    Text("Diese Rechnung gibt es nicht.", "There is no such bill."),
    Text("Wählen Sie eine Rechnung aus Ihrer Übersicht.", "Choose a bill from your overview."),
)

PROBLEMS: Final = (
    *GENERAL,
    NOT_LINKED,
    ALREADY_LINKED,
    TOO_MANY_ATTEMPTS,
    CUSTOMER_UNKNOWN,
    CUSTOMER_GONE,
    BILL_UNKNOWN,
)
