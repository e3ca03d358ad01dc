"""What institutions send to the consent service, read strictly. A core.

Each reader names the field that isn't as described (`VALIDATION`), and nothing of its content.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from gateway.citizen.consent_errors import ConsentServiceError, ServiceError
from gateway.citizen.declarations import is_web_address
from gateway.citizen.json_texts import NotJSON, parse_json
from gateway.settings import is_loopback

MAX_BODY: Final = 512 * 1024
MAX_NAME: Final = 100
_MAX_PURPOSES: Final = 20
# The shape of a pseudonym: 32 bytes of unpadded base64url. That the last character codes two bits too many to be free
# is the check on a mistyped one.
_ID_CODE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def invalid(field: str) -> ConsentServiceError:
    """What an institution sent is not as described; `field` names the place."""
    return ConsentServiceError(ServiceError.VALIDATION, field)


def object_of(body: bytes) -> Mapping[str, Any]:
    """The JSON object in a body. Raises ConsentServiceError."""
    if len(body) > MAX_BODY:
        raise invalid("body")
    try:
        document = parse_json(body)
    except NotJSON:
        raise invalid("body") from None
    if not isinstance(document, dict):
        raise invalid("body")
    return document


def query_of(query: str) -> Mapping[str, Any]:
    """The fields of a query, each once. Raises ConsentServiceError."""
    try:
        parsed = parse_qs(query, keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise invalid("query") from None
    if any(len(values) != 1 for values in parsed.values()):
        raise invalid("query")
    # The specification's own example has a blank before the reference.
    return {name: values[0].strip() for name, values in parsed.items()}


def require_fields(values: Mapping[str, Any], *names: str) -> None:
    """Raises ConsentServiceError unless the fields are exactly these."""
    for name in names:
        if name not in values:
            raise invalid(name)
    if unknown := set(values) - set(names):
        raise invalid(min(unknown)[:MAX_NAME])


def text_of(values: Mapping[str, Any], name: str, *, maximum: int = MAX_NAME) -> str:
    """A text, not empty. Raises ConsentServiceError."""
    value = values.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > maximum:
        raise invalid(name)
    return value


def id_code_of(values: Mapping[str, Any], name: str) -> str:
    """How the caller names a person: a pseudonym. Raises ConsentServiceError, ID_CODE_INVALID for a mistyped one."""
    text = text_of(values, name)
    if not _ID_CODE.fullmatch(text):
        raise invalid(name)
    if base64.urlsafe_b64encode(base64.urlsafe_b64decode(text + "=")).rstrip(b"=").decode() != text:
        raise ConsentServiceError(ServiceError.ID_CODE_INVALID, name)
    return text


def callback_of(values: Mapping[str, Any]) -> str:
    """Where the person may go on to after the decision: a link on our page, never followed by itself."""
    text = text_of(values, "callback", maximum=1000)
    on_this_machine = is_web_address(text, "http") and is_loopback(text.split("/")[2].rpartition(":")[0])
    if not is_web_address(text, "https") and not on_this_machine:
        raise invalid("callback")
    return text


def purposes_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The purpose declarations that are asked about, each once. Raises ConsentServiceError."""
    purposes = values.get("purposeDeclarationBusinessIdentifiers")
    if not isinstance(purposes, list) or not 0 < len(purposes) <= _MAX_PURPOSES:
        raise invalid("purposeDeclarationBusinessIdentifiers")
    if not all(isinstance(purpose, str) and 0 < len(purpose) <= MAX_NAME for purpose in purposes):
        raise invalid("purposeDeclarationBusinessIdentifiers")
    return tuple(dict.fromkeys(purposes))


def reference_of(values: Mapping[str, Any]) -> str:
    """A consent's reference. Raises ConsentServiceError."""
    text = text_of(values, "consentReference")
    if not _UUID.fullmatch(text):
        raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such consent of yours")
    return text


def moment_text(milliseconds: int) -> str:
    """Milliseconds since 1970, UTC, as an ISO 8601 moment."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return moment.replace("+00:00", "Z")
