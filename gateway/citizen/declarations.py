"""Declarations at the consent service: what a provider offers on consent, what a recipient wants it for.

After the Estonian consent service: a consent joins one service declaration (provider: data, longest validity) and one
purpose declaration (recipient: purpose, privacy terms). A declaration is VALID from when it is made until it is
withdrawn or expires, and never changes: consents keep word for word what was shown. Its texts are the institution's:
bounded here, escaped where they are shown. They are kept in `declaration_store`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.citizen.consent import REQUIRED_LEVEL
from gateway.messages.headers import IdentityLevel
from trust.identifiers import InvalidIdentifier, ServiceId, SubsystemId, parse_service_id

VALID: Final = "VALID"
INVALID: Final = "INVALID"
MAX_DAYS: Final = 730
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]|[äöüÄÖÜß]){0,99}")
_MAX_TEXT: Final = 2_000
_MAX_NAME: Final = 200
_MAX_CATEGORIES: Final = 50
_LEVELS: Final = ("low", "substantial", "high")


class DeclarationInvalid(Exception):
    """What an institution declares is not as it must be; `field` names the place."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@dataclass(frozen=True, slots=True)
class ServiceTexts:
    """What a provider tells about the data."""

    name: str
    controller_name: str
    controller_code: str
    processor_name: str
    processor_code: str
    description: str
    data_categories: tuple[str, ...]
    identity_level: str = REQUIRED_LEVEL.word


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """A service declaration. `max_days`: the longest that a consent on it may last."""

    id: str
    provider: SubsystemId
    service: ServiceId
    texts: ServiceTexts
    max_days: int
    extension_allowed: bool
    expires_ms: int | None
    status: str = VALID

    def holds(self, now_ms: int) -> bool:
        return self.status == VALID and (self.expires_ms is None or now_ms < self.expires_ms)

    @property
    def required_level(self) -> IdentityLevel:
        """How surely whoever gives a consent on it has to be identified. Less than ours is not enough for anybody's."""
        return max(REQUIRED_LEVEL, IdentityLevel.from_word(self.texts.identity_level))


@dataclass(frozen=True, slots=True)
class PurposeTexts:
    """What a recipient tells about itself and its purpose, in both languages where it wrote them."""

    name: str
    recipient_name: str
    recipient_code: str
    trade_name: str
    purpose_de: str
    purpose_en: str
    privacy_url: str
    storage_location: str = ""

    def purpose(self, language: str) -> str:
        return (self.purpose_en if language == "en" else self.purpose_de) or self.purpose_de


@dataclass(frozen=True, slots=True)
class DeclaredPurpose:
    """A purpose declaration of a recipient, `client`, on one service declaration."""

    id: str
    client: SubsystemId
    service_declaration: str
    texts: PurposeTexts
    expires_ms: int | None
    status: str = VALID

    def holds(self, now_ms: int) -> bool:
        return self.status == VALID and (self.expires_ms is None or now_ms < self.expires_ms)


@dataclass(frozen=True, slots=True)
class Declared:
    """A purpose with the service that it is about."""

    purpose: DeclaredPurpose
    service: DeclaredService

    def holds(self, now_ms: int) -> bool:
        """Whether consents may be asked for and given on it. With a service declaration its purposes end, too."""
        return self.purpose.holds(now_ms) and self.service.holds(now_ms)

    def latest_ms(self, now_ms: int) -> int:
        """By when a consent that is given now has to end."""
        ends = [now_ms + self.service.max_days * 86_400_000, self.purpose.expires_ms, self.service.expires_ms]
        return min(end for end in ends if end is not None)


def parse_service_declaration(document: Mapping[str, Any], *, id_: str, provider: SubsystemId) -> DeclaredService:
    """A service declaration as `provider` sends it. Raises DeclarationInvalid."""
    reader = _Reader(document, required={"name", "service", "description", "maxValidityDays"}, optional={
        "controllerName", "controllerCode", "processorName", "processorCode", "dataCategories", "extensionAllowed",
        "expiry", "identityLevel",
    })  # fmt: skip
    try:
        service = parse_service_id(reader.text("service", maximum=1000))
    except InvalidIdentifier:
        raise DeclarationInvalid("service") from None
    if service.provider != provider:
        # Nobody declares another's service.
        raise DeclarationInvalid("service")
    days, extension = document["maxValidityDays"], document.get("extensionAllowed", False)
    categories = document.get("dataCategories", [])
    if type(days) is not int or not 1 <= days <= MAX_DAYS:
        raise DeclarationInvalid("maxValidityDays")
    if not isinstance(extension, bool):
        raise DeclarationInvalid("extensionAllowed")
    if not isinstance(categories, list) or len(categories) > _MAX_CATEGORIES:
        raise DeclarationInvalid("dataCategories")
    if not all(isinstance(category, str) and 0 < len(category) <= _MAX_NAME for category in categories):
        raise DeclarationInvalid("dataCategories")
    level = document.get("identityLevel", REQUIRED_LEVEL.word)
    if level not in _LEVELS:
        raise DeclarationInvalid("identityLevel")
    texts = ServiceTexts(
        name=reader.text("name"),
        controller_name=reader.text("controllerName"),
        controller_code=reader.text("controllerCode"),
        processor_name=reader.text("processorName"),
        processor_code=reader.text("processorCode"),
        description=reader.text("description", maximum=_MAX_TEXT),
        data_categories=tuple(categories),
        identity_level=level,
    )
    return DeclaredService(_identifier(id_), provider, service, texts, days, extension, reader.moment("expiry"))


def parse_purpose_declaration(document: Mapping[str, Any], *, id_: str, client: SubsystemId) -> DeclaredPurpose:
    """A purpose declaration as `client` sends it. Raises DeclarationInvalid."""
    reader = _Reader(document, required={"name", "recipientName", "serviceDeclaration", "purpose", "privacyUrl"},
                     optional={"recipientCode", "tradeName", "purposeEn", "storageLocation", "expiry"})  # fmt: skip
    privacy_url = reader.text("privacyUrl", maximum=1000)
    if not is_web_address(privacy_url, "https", "http"):
        raise DeclarationInvalid("privacyUrl")
    texts = PurposeTexts(
        name=reader.text("name"),
        recipient_name=reader.text("recipientName"),
        recipient_code=reader.text("recipientCode"),
        trade_name=reader.text("tradeName"),
        purpose_de=reader.text("purpose", maximum=_MAX_TEXT),
        purpose_en=reader.text("purposeEn", maximum=_MAX_TEXT),
        privacy_url=privacy_url,
        storage_location=reader.text("storageLocation"),
    )
    return DeclaredPurpose(_identifier(id_), client, reader.text("serviceDeclaration"), texts, reader.moment("expiry"))


def service_document(declared: DeclaredService) -> dict[str, Any]:
    """A service declaration in the words in which its provider sent it."""
    texts = declared.texts
    document: dict[str, Any] = {
        "name": texts.name,
        "service": declared.service.encoded,
        "description": texts.description,
        "controllerName": texts.controller_name,
        "controllerCode": texts.controller_code,
        "processorName": texts.processor_name,
        "processorCode": texts.processor_code,
        "dataCategories": list(texts.data_categories),
        "identityLevel": texts.identity_level,
        "maxValidityDays": declared.max_days,
        "extensionAllowed": declared.extension_allowed,
    }
    return document | _expiry(declared.expires_ms)


def purpose_document(declared: DeclaredPurpose) -> dict[str, Any]:
    """A purpose declaration in the words in which its recipient sent it."""
    texts = declared.texts
    document = {
        "name": texts.name,
        "recipientName": texts.recipient_name,
        "recipientCode": texts.recipient_code,
        "tradeName": texts.trade_name,
        "serviceDeclaration": declared.service_declaration,
        "purpose": texts.purpose_de,
        "purposeEn": texts.purpose_en,
        "privacyUrl": texts.privacy_url,
        "storageLocation": texts.storage_location,
    }
    return document | _expiry(declared.expires_ms)


def _expiry(expires_ms: int | None) -> dict[str, str]:
    if expires_ms is None:
        return {}
    return {"expiry": datetime.fromtimestamp(expires_ms / 1000, UTC).isoformat(timespec="milliseconds")}


def is_web_address(text: str, *schemes: str) -> bool:
    """Whether a link may lead there: one of the schemes, a host, no credentials, nothing invisible."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not set(text) & set(" \\\"'<>`")
    return plain and parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc


def _identifier(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise DeclarationInvalid("id")
    return text


class _Reader:
    def __init__(self, document: Mapping[str, Any], *, required: set[str], optional: set[str]) -> None:
        missing, unknown = required - set(document), set(document) - required - optional
        if missing or unknown:
            raise DeclarationInvalid(min(missing or unknown)[:100])
        self._document = document
        self._required = required

    def text(self, name: str, *, maximum: int = _MAX_NAME) -> str:
        value = self._document.get(name, "")
        if not isinstance(value, str) or len(value) > maximum or (name in self._required and not value.strip()):
            raise DeclarationInvalid(name)
        return value.strip()

    def moment(self, name: str) -> int | None:
        """Milliseconds since 1970, UTC, of an RFC 3339 moment; None without one."""
        if name not in self._document:
            return None
        moment = parse_moment(self._document[name])
        if moment is None:
            raise DeclarationInvalid(name)
        return moment


def parse_moment(value: object) -> int | None:
    """Milliseconds since 1970, UTC, of an RFC 3339 moment with its offset; None if it is none."""
    if not isinstance(value, str) or not 20 <= len(value) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
