"""Problem answers (RFC 9457): the failures that every adapter shares, and the one place that renders any of them.

Each adapter adds its own kinds in its `problems.py`; its service description lists every code it may answer, and a test
holds the two together.
"""

from __future__ import annotations

import json
from typing import Final
from uuid import uuid4

from aiohttp import web

from adapters.kit.errors import AdapterError, Hop, ProblemKind, Text

CONTENT_TYPE: Final = "application/problem+json"

INVALID_REQUEST: Final = ProblemKind(
    "invalid_request",
    400,
    Hop.CLIENT,
    Text("Die Anfrage ist nicht gültig.", "The request is not valid."),
    Text(
        "Prüfen Sie die genannten Felder anhand der Dienstbeschreibung.",
        "Check the fields named against the service description.",
    ),
)
CONTEXT_MISSING: Final = ProblemKind(
    "context_missing",
    400,
    Hop.CLIENT,
    Text("Der Anfrage fehlen Angaben des Gateways.", "The request lacks headers that the gateway sets."),
    Text(
        "Rufen Sie den Dienst über das Gateway auf: X-Road-Client und X-Road-Id sind erforderlich.",
        "Call the service through the gateway: X-Road-Client and X-Road-Id are required.",
    ),
)
SUBJECT_REQUIRED: Final = ProblemKind(
    "subject_required",
    400,
    Hop.CLIENT,
    Text("Die Anfrage nennt nicht genau eine Person.", "The request does not name exactly one person."),
    Text(
        "Melden Sie sich an und versuchen Sie es erneut (X-Datenweg-Subject mit genau einem Pseudonym).",
        "Sign in and try again (X-Datenweg-Subject with exactly one pseudonym).",
    ),
)
OPERATION_UNKNOWN: Final = ProblemKind(
    "operation_unknown",
    404,
    Hop.CLIENT,
    Text("Diesen Vorgang gibt es hier nicht.", "There is no such operation here."),
    Text("Pfad und Methode stehen in der Dienstbeschreibung.", "Path and method are in the service description."),
)
METHOD_NOT_ALLOWED: Final = ProblemKind(
    "method_not_allowed",
    405,
    Hop.CLIENT,
    Text("Diese Methode ist hier nicht vorgesehen.", "This method is not offered here."),
    Text("Pfad und Methode stehen in der Dienstbeschreibung.", "Path and method are in the service description."),
)
REQUEST_TOO_LARGE: Final = ProblemKind(
    "request_too_large",
    413,
    Hop.CLIENT,
    Text("Die Anfrage ist zu groß.", "The request is too large."),
    Text("Senden Sie nur die beschriebenen Felder.", "Send only the fields that are described."),
)
TOO_MANY_ATTEMPTS: Final = ProblemKind(
    "too_many_attempts",
    429,
    Hop.ADAPTER,
    Text("Zu viele Fehlversuche.", "Too many failed attempts."),
    Text("Warten Sie eine Viertelstunde und versuchen Sie es erneut.", "Wait a quarter of an hour, then try again."),
)
NOT_LINKED: Final = ProblemKind(
    "not_linked",
    404,
    Hop.ADAPTER,
    Text("Es ist noch kein Konto verknüpft.", "No account is linked yet."),
    Text("Verknüpfen Sie zuerst Ihr Konto bei dieser Stelle.", "First link your account with this institution."),
)
ALREADY_LINKED: Final = ProblemKind(
    "already_linked",
    409,
    Hop.ADAPTER,
    Text("Es ist schon ein Konto verknüpft.", "An account is already linked."),
    Text("Lösen Sie zuerst die bestehende Verknüpfung.", "First remove the existing link."),
)
INTERNAL: Final = ProblemKind(
    "internal_error",
    500,
    Hop.ADAPTER,
    Text("Im Adapter ist ein Fehler aufgetreten.", "The adapter failed."),
    Text(
        "Versuchen Sie es später erneut; bei der Fehlersuche hilft die Kennung.",
        "Try again later; the identifier helps to find the fault.",
    ),
)
BACKEND_REFUSED: Final = ProblemKind(
    "backend_refused",
    502,
    Hop.BACKEND,
    Text("Das System der Stelle hat die Anfrage abgelehnt.", "The institution's system refused the request."),
    Text(
        "Versuchen Sie es später erneut oder wenden Sie sich an die Stelle.",
        "Try again later or contact the institution.",
    ),
)
BACKEND_MALFORMED: Final = ProblemKind(
    "backend_malformed",
    502,
    Hop.BACKEND,
    Text(
        "Das System der Stelle hat unverständlich geantwortet.",
        "The institution's system gave an answer that can't be read.",
    ),
    Text(
        "Versuchen Sie es später erneut; die Stelle muss ihr System prüfen.",
        "Try again later; the institution has to check its system.",
    ),
)
BACKEND_UNREACHABLE: Final = ProblemKind(
    "backend_unreachable",
    503,
    Hop.BACKEND,
    Text("Das System der Stelle ist nicht erreichbar.", "The institution's system can't be reached."),
    Text("Versuchen Sie es in einigen Minuten erneut.", "Try again in a few minutes."),
)
BACKEND_TIMEOUT: Final = ProblemKind(
    "backend_timeout",
    504,
    Hop.BACKEND,
    Text(
        "Das System der Stelle hat nicht rechtzeitig geantwortet.", "The institution's system did not answer in time."
    ),
    Text("Versuchen Sie es in einigen Minuten erneut.", "Try again in a few minutes."),
)

GENERAL: Final = (
    INVALID_REQUEST,
    CONTEXT_MISSING,
    SUBJECT_REQUIRED,
    OPERATION_UNKNOWN,
    METHOD_NOT_ALLOWED,
    REQUEST_TOO_LARGE,
    INTERNAL,
    BACKEND_REFUSED,
    BACKEND_MALFORMED,
    BACKEND_UNREACHABLE,
    BACKEND_TIMEOUT,
)


def preferred_language(accept_language: str) -> str:
    """`en` if the header asks for English before German, else `de`."""
    for choice in accept_language.lower().split(",")[:16]:
        language = choice.split(";")[0].strip()[:2]
        if language in ("de", "en"):
            return language
    return "de"


def problem_response(error: AdapterError, *, accept_language: str, identifier: str | None = None) -> web.Response:
    """The answer for an error. `identifier` is the id that the log line carries; without one a new id is made."""
    kind = error.kind
    language = preferred_language(accept_language)
    body: dict[str, object] = {
        "type": f"urn:datenweg:problem:{kind.code}",
        "title": getattr(kind.title, language),
        "status": kind.status,
        "instance": f"urn:uuid:{identifier or uuid4()}",
        "code": kind.code,
        "hop": str(kind.hop),
        "hint": getattr(kind.hint, language),
        "texts": {
            "de": {"title": kind.title.de, "hint": kind.hint.de},
            "en": {"title": kind.title.en, "hint": kind.hint.en},
        },
    }
    if error.fields:
        body["fields"] = list(error.fields)
    if error.backend_code is not None:
        body["backendCode"] = error.backend_code
    return web.Response(
        status=kind.status,
        body=json.dumps(body, ensure_ascii=False).encode(),
        content_type=CONTENT_TYPE,
        headers={"Content-Language": language, "Cache-Control": "no-store"},
    )
