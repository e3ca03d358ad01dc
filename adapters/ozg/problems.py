"""What can go wrong with an appointment, and which of it each ZMS errorCode means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.kit.documents import DOCUMENT_PROBLEMS
from adapters.kit.errors import Hop, ProblemKind, Text
from adapters.kit.problems import BACKEND_UNREACHABLE, GENERAL

SLOT_TAKEN: Final = ProblemKind(
    "slot_taken",
    409,
    Hop.BACKEND,
    Text("Dieser Termin ist nicht mehr frei.", "This appointment is no longer free."),
    Text("Wählen Sie einen anderen Termin.", "Choose another appointment."),
)
TOO_MANY_APPOINTMENTS: Final = ProblemKind(
    "too_many_appointments",
    409,
    Hop.BACKEND,
    Text("Sie haben hier schon zu viele Termine.", "You already have too many appointments here."),
    Text("Sagen Sie zuerst einen bestehenden Termin ab.", "First cancel an existing appointment."),
)
DETAILS_REFUSED: Final = ProblemKind(
    "details_refused",
    400,
    Hop.BACKEND,
    Text("Das Amt hat Ihre Angaben abgelehnt.", "The office refused the details given."),
    Text(
        "Prüfen Sie Name, E-Mail-Adresse, Telefonnummer und Termin.",
        "Check name, e-mail address, telephone number and date.",
    ),
)
RESERVATION_EXPIRED: Final = ProblemKind(
    "reservation_expired",
    409,
    Hop.BACKEND,
    Text("Die Reservierung ist abgelaufen.", "The reservation has expired."),
    Text("Buchen Sie den Termin erneut.", "Book the appointment again."),
)
APPOINTMENT_UNKNOWN: Final = ProblemKind(
    "appointment_unknown",
    404,
    Hop.ADAPTER,
    Text("Diesen Termin gibt es nicht.", "There is no such appointment."),
    Text("Wählen Sie einen Termin aus Ihrer Übersicht.", "Choose an appointment from your overview."),
)
CANNOT_CANCEL: Final = ProblemKind(
    "cannot_cancel",
    409,
    Hop.BACKEND,
    Text("Dieser Termin kann nicht mehr abgesagt werden.", "This appointment can no longer be cancelled."),
    Text("Wenden Sie sich an das Amt.", "Contact the office."),
)
OFFICE_BUSY: Final = ProblemKind(
    "office_busy",
    429,
    Hop.BACKEND,
    Text("Das Terminsystem nimmt gerade keine Anfragen an.", "The appointment system takes no requests now."),
    Text("Versuchen Sie es in einigen Minuten erneut.", "Try again in a few minutes."),
)

PROBLEMS: Final = (
    *GENERAL,
    *DOCUMENT_PROBLEMS,
    SLOT_TAKEN,
    TOO_MANY_APPOINTMENTS,
    DETAILS_REFUSED,
    RESERVATION_EXPIRED,
    APPOINTMENT_UNKNOWN,
    CANNOT_CANCEL,
    OFFICE_BUSY,
)

OF_ERROR_CODE: Final[Mapping[str, ProblemKind]] = {
    "appointmentNotAvailable": SLOT_TAKEN,
    "tooManyAppointmentsWithSameMail": TOO_MANY_APPOINTMENTS,
    "emailIsRequired": DETAILS_REFUSED,
    "invalidOfficeId": DETAILS_REFUSED,
    "invalidServiceId": DETAILS_REFUSED,
    "invalidServiceCount": DETAILS_REFUSED,
    "invalidLocationAndServiceCombination": DETAILS_REFUSED,
    "invalidTimestamp": DETAILS_REFUSED,
    "invalidFamilyName": DETAILS_REFUSED,
    "invalidEmail": DETAILS_REFUSED,
    "invalidTelephone": DETAILS_REFUSED,
    "invalidStartDate": DETAILS_REFUSED,
    "invalidEndDate": DETAILS_REFUSED,
    "startDateAfterEndDate": DETAILS_REFUSED,
    "preconfirmationExpired": RESERVATION_EXPIRED,
    "processNotReservedAnymore": RESERVATION_EXPIRED,
    "processNotPreconfirmedAnymore": RESERVATION_EXPIRED,
    "appointmentNotFound": APPOINTMENT_UNKNOWN,
    "authKeyMismatch": APPOINTMENT_UNKNOWN,
    "appointmentCanNotBeCanceled": CANNOT_CANCEL,
    "rateLimitExceeded": OFFICE_BUSY,
    "zmsClientCommunicationError": BACKEND_UNREACHABLE,
}

# Not failures: there is simply nothing to book.
NOTHING_FREE: Final = frozenset({"noAppointmentForThisScope", "noAppointmentForThisDay"})
