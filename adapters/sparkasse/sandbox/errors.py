"""The bank's errors: NextGenPSD2 1.3.11 section 14.11, `tppMessages` with the HTTP status of each code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STATUS_OF_CODE: Final[Mapping[str, int]] = {
    "FORMAT_ERROR": 400,
    "PARAMETER_NOT_SUPPORTED": 400,
    "PERIOD_INVALID": 400,
    "SCA_METHOD_UNKNOWN": 400,
    "SCA_INVALID": 400,
    "CONSENT_UNKNOWN": 403,
    "PSU_CREDENTIALS_INVALID": 401,
    "CONSENT_INVALID": 401,
    "CONSENT_EXPIRED": 401,
    "RESOURCE_UNKNOWN": 404,
    "SERVICE_INVALID": 405,
    "STATUS_INVALID": 409,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "ACCESS_EXCEEDED": 429,
}

_TEXTS: Final[Mapping[str, str]] = {
    "FORMAT_ERROR": "Die Anfrage entspricht nicht dem Format.",
    "PARAMETER_NOT_SUPPORTED": "Dieser Parameter wird nicht unterstützt.",
    "PERIOD_INVALID": "Der Zeitraum liegt in der Vergangenheit.",
    "SCA_METHOD_UNKNOWN": "Das TAN-Verfahren ist nicht bekannt.",
    "SCA_INVALID": "Die TAN ist falsch.",
    "CONSENT_UNKNOWN": "Die Zustimmung ist nicht bekannt.",
    "PSU_CREDENTIALS_INVALID": "Anmeldename oder PIN ist falsch.",
    "CONSENT_INVALID": "Die Zustimmung erlaubt diesen Zugriff nicht.",
    "CONSENT_EXPIRED": "Die Zustimmung ist abgelaufen.",
    "RESOURCE_UNKNOWN": "Die Ressource ist nicht bekannt.",
    "SERVICE_INVALID": "Die Methode ist hier nicht vorgesehen.",
    "STATUS_INVALID": "Der Vorgang ist in einem anderen Zustand.",
    "UNSUPPORTED_MEDIA_TYPE": "Der Inhaltstyp wird nicht unterstützt.",
    "ACCESS_EXCEEDED": "Die Zahl der Abrufe ohne Beteiligung des Kunden ist ausgeschöpft.",
}


class TPPError(Exception):
    """A refusal, by its message code; `path` names the field or header at fault."""

    def __init__(self, code: str, path: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.status = STATUS_OF_CODE[code]
        self.path = path

    def as_json(self) -> dict[str, object]:
        """The answer's body."""
        message = {"category": "ERROR", "code": self.code, "text": _TEXTS[self.code]}
        return {"tppMessages": [message if self.path is None else message | {"path": self.path}]}


def format_error(field: str) -> TPPError:
    """FORMAT_ERROR at a field."""
    return TPPError("FORMAT_ERROR", field)
