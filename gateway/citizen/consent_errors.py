"""The consent service's errors: the Estonian service's keys and codes, each with an HTTP status that fits.

"RIA Data Consent Service" 2.1, section 5.1. There most of them are HTTP 500; a caller tells them by the code, and a
monitor must not take a declined request for a broken service.
"""

from __future__ import annotations

from enum import Enum
from typing import Any


class ServiceError(Enum):
    """key, code, HTTP status."""

    VALIDATION = ("error.validation", 400)
    HTTP_NOT_FOUND = ("error.http.404", 404)
    REQUESTED_CONSENTS_NOT_RELATED_TO_ANY_DECLARATIONS = (
        "error.business.requested-consents-not-related-to-any-declarations",
        404,
    )
    ID_CODE_INVALID = ("error.business.id-code-invalid", 422)
    REQUESTED_CONSENTS_RELATED_TO_INVALID_DECLARATIONS = (
        "error.business.requested-consents-related-to-invalid-declarations",
        409,
    )
    ALL_REQUESTED_CONSENTS_HAVE_ALREADY_BEEN_APPROVED = (
        "error.business.all-requested-consents-have-already-been-approved",
        409,
    )
    DATA_SUBJECT_ERROR = ("error.business.data-subject-error", 422)
    CONSENT_VALIDATE_INVALID_STATUS = ("error.business.consent-validate-invalid-status", 409)
    REPRESENTED_PERSON_NOT_MINOR = ("error.business.represented_person-not-minor", 422)
    RR_REPRESENTATION_ERROR = ("error.business.representation_error", 422)
    RELATION_TYPE_INVALID = ("error.business.relation-type-error", 400)
    # Ours: the Estonian service registers declarations in its portal, we over the road.
    DECLARATION_NOT_PERMITTED = ("error.business.declaration-not-permitted", 403)
    DECLARATION_EXISTS = ("error.business.declaration-exists", 409)
    TOO_MANY_REQUESTS = ("error.business.too-many-requests", 429)

    @property
    def key(self) -> str:
        return self.value[0]

    @property
    def status(self) -> int:
        return self.value[1]


class ConsentServiceError(Exception):
    """A call of the consent service that isn't answered. `description` names fields and declarations, no person."""

    def __init__(self, error: ServiceError, description: str) -> None:
        super().__init__(error.name)
        self.error = error
        self.description = description

    def as_json(self) -> dict[str, Any]:
        """The answer's body: the Estonian key and code; problem details (RFC 9457) beside them."""
        return {
            "errorKey": self.error.key,
            "errorCode": self.error.name,
            "errorDescription": self.description,
            "type": f"urn:datenweg:problem:{self.error.name.lower()}",
            "title": self.error.name,
            "status": self.error.status,
            "code": self.error.name,
            "detail": self.description,
        }
