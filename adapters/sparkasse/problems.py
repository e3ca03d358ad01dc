"""What can go wrong between a person and their bank, and which of it each tppMessages code means.

NextGenPSD2 1.3.11 section 14.11 (message codes). A code that is not listed is the bank refusing without a reason that a
person could act on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.kit.errors import Hop, ProblemKind, Text
from adapters.kit.problems import ALREADY_LINKED, BACKEND_REFUSED, GENERAL, NOT_LINKED, TOO_MANY_ATTEMPTS

CREDENTIALS_REFUSED: Final = ProblemKind(
    "credentials_refused",
    403,
    Hop.BACKEND,
    Text("Die Sparkasse hat die Anmeldung abgelehnt.", "The savings bank refused the sign-in."),
    Text("Prüfen Sie Anmeldename und PIN Ihres Online-Bankings.", "Check the name and PIN of your online banking."),
)
TAN_REFUSED: Final = ProblemKind(
    "tan_refused",
    403,
    Hop.BACKEND,
    Text("Die TAN ist nicht richtig.", "The TAN is not correct."),
    Text("Erzeugen Sie eine neue TAN und geben Sie sie ein.", "Generate a new TAN and enter it."),
)
AUTHORISATION_FAILED: Final = ProblemKind(
    "authorisation_failed",
    403,
    Hop.BACKEND,
    Text("Die Freigabe bei der Sparkasse ist gescheitert.", "The authorisation at the savings bank has failed."),
    Text("Beginnen Sie die Verknüpfung von vorn.", "Start linking again from the beginning."),
)
METHOD_UNKNOWN: Final = ProblemKind(
    "sca_method_unknown",
    400,
    Hop.BACKEND,
    Text("Dieses TAN-Verfahren bietet die Sparkasse nicht an.", "The savings bank does not offer this TAN method."),
    Text("Wählen Sie eines der genannten Verfahren.", "Choose one of the methods listed."),
)
LINK_UNKNOWN: Final = ProblemKind(
    "link_unknown",
    404,
    Hop.ADAPTER,
    Text("Diese Verknüpfung gibt es nicht.", "There is no such link."),
    Text("Beginnen Sie die Verknüpfung von vorn.", "Start linking again from the beginning."),
)
LINK_STATE: Final = ProblemKind(
    "link_state",
    409,
    Hop.ADAPTER,
    Text("Dieser Schritt passt nicht zum Stand der Verknüpfung.", "This step does not fit the state of the link."),
    Text("Fragen Sie den Stand ab und setzen Sie dort fort.", "Ask for the state and continue from there."),
)
BANK_CONSENT_EXPIRED: Final = ProblemKind(
    "bank_consent_expired",
    403,
    Hop.BACKEND,
    Text("Ihre Freigabe bei der Sparkasse ist abgelaufen.", "Your authorisation at the savings bank has expired."),
    Text("Lösen Sie die Verknüpfung und verknüpfen Sie Ihr Konto neu.", "Remove the link and link your account anew."),
)
BANK_CONSENT_INVALID: Final = ProblemKind(
    "bank_consent_invalid",
    403,
    Hop.BACKEND,
    Text(
        "Ihre Freigabe bei der Sparkasse gilt nicht mehr.", "Your authorisation at the savings bank is no longer valid."
    ),
    Text("Lösen Sie die Verknüpfung und verknüpfen Sie Ihr Konto neu.", "Remove the link and link your account anew."),
)
BANK_ACCESS_EXCEEDED: Final = ProblemKind(
    "bank_access_exceeded",
    429,
    Hop.BACKEND,
    Text(
        "Die Sparkasse erlaubt heute keinen weiteren Abruf ohne Sie.",
        "The savings bank allows no further reading without you today.",
    ),
    Text(
        "Rufen Sie den Kontostand selbst ab oder warten Sie bis morgen.",
        "Ask for the balance yourself or wait until tomorrow.",
    ),
)
ACCOUNT_BLOCKED: Final = ProblemKind(
    "account_blocked",
    403,
    Hop.BACKEND,
    Text("Die Sparkasse hat das Konto gesperrt.", "The savings bank has blocked the account."),
    Text("Wenden Sie sich an Ihre Sparkasse.", "Contact your savings bank."),
)

PROBLEMS: Final = (
    *GENERAL,
    NOT_LINKED,
    ALREADY_LINKED,
    TOO_MANY_ATTEMPTS,
    CREDENTIALS_REFUSED,
    TAN_REFUSED,
    AUTHORISATION_FAILED,
    METHOD_UNKNOWN,
    LINK_UNKNOWN,
    LINK_STATE,
    BANK_CONSENT_EXPIRED,
    BANK_CONSENT_INVALID,
    BANK_ACCESS_EXCEEDED,
    ACCOUNT_BLOCKED,
)

OF_TPP_CODE: Final[Mapping[str, ProblemKind]] = {
    "PSU_CREDENTIALS_INVALID": CREDENTIALS_REFUSED,
    "SCA_INVALID": TAN_REFUSED,
    "SCA_METHOD_UNKNOWN": METHOD_UNKNOWN,
    "STATUS_INVALID": LINK_STATE,
    "CONSENT_EXPIRED": BANK_CONSENT_EXPIRED,
    "CONSENT_INVALID": BANK_CONSENT_INVALID,
    "CONSENT_UNKNOWN": BANK_CONSENT_INVALID,
    "ACCESS_EXCEEDED": BANK_ACCESS_EXCEEDED,
    "SERVICE_BLOCKED": ACCOUNT_BLOCKED,
    "RESOURCE_BLOCKED": ACCOUNT_BLOCKED,
    "FORMAT_ERROR": BACKEND_REFUSED,
    "PERIOD_INVALID": BACKEND_REFUSED,
    "RESOURCE_UNKNOWN": BACKEND_REFUSED,
}
