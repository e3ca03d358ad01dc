"""The errors of the ZMS citizen API: code, HTTP status and message as its ErrorMessages class has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ERRORS: Final[Mapping[str, tuple[int, str]]] = {
    "invalidRequest": (400, "Die Anfrage ist ungültig."),
    "invalidOfficeId": (400, "Der Standort ist ungültig."),
    "invalidServiceId": (400, "Die Dienstleistung ist ungültig."),
    "invalidServiceCount": (400, "Die Anzahl ist ungültig."),
    "invalidLocationAndServiceCombination": (400, "Der Standort bietet diese Dienstleistung nicht an."),
    "invalidTimestamp": (400, "Der Zeitpunkt ist ungültig."),
    "invalidStartDate": (400, "Das Startdatum ist ungültig."),
    "invalidEndDate": (400, "Das Enddatum ist ungültig."),
    "startDateAfterEndDate": (400, "Das Startdatum liegt nach dem Enddatum."),
    "invalidProcessId": (400, "Die Vorgangsnummer ist ungültig."),
    "invalidAuthKey": (400, "Der Schlüssel ist ungültig."),
    "invalidFamilyName": (400, "Der Name ist ungültig."),
    "invalidEmail": (400, "Die E-Mail-Adresse ist ungültig."),
    "invalidTelephone": (400, "Die Telefonnummer ist ungültig."),
    "preconfirmationExpired": (400, "Die Frist für die Bestätigung ist abgelaufen."),
    "appointmentNotAvailable": (404, "Der Termin ist nicht mehr verfügbar."),
    "appointmentNotFound": (404, "Der Termin wurde nicht gefunden."),
    "noAppointmentForThisDay": (404, "An diesen Tagen ist kein Termin frei."),
    "authKeyMismatch": (406, "Der Schlüssel passt nicht zum Vorgang."),
    "appointmentCanNotBeCanceled": (406, "Der Termin kann nicht abgesagt werden."),
    "tooManyAppointmentsWithSameMail": (406, "Für diese E-Mail-Adresse gibt es schon zu viele Termine."),
    "emailIsRequired": (406, "Die E-Mail-Adresse fehlt."),
    "processNotReservedAnymore": (409, "Der Vorgang ist nicht mehr reserviert."),
    "processNotPreconfirmedAnymore": (409, "Der Vorgang ist nicht mehr vorgemerkt."),
    "requestEntityTooLarge": (413, "Die Anfrage ist zu groß."),
    "requestMethodNotAllowed": (405, "Die Methode ist nicht erlaubt."),
    "notFound": (404, "Die Ressource wurde nicht gefunden."),
}


class ZMSError(Exception):
    """A refusal by its errorCode."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.status = _ERRORS[code][0]

    def as_json(self) -> dict[str, object]:
        """The answer's body; the HTTP status is the highest of the list."""
        status, message = _ERRORS[self.code]
        return {
            "errors": [{"errorCode": self.code, "errorMessage": message, "statusCode": status, "errorType": "error"}]
        }
