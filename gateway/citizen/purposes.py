"""Purpose declarations: which services the city's app uses, and what it tells the citizen that it uses them for.

The recipient's half of the Estonian consent service; the provider's half, the service declaration, comes over the road
(`catalogue`). A consent joins one of each. A service that no declaration names isn't offered.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from trust.identifiers import InvalidIdentifier, ServiceId, parse_service_id

_KEY: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MAX_TEXT: Final = 2_000


class InvalidPurposes(Exception):
    """The file of purpose declarations can't be used. The operator's fault; the text says where and why."""


CATEGORIES: Final = (
    "administration", "utilities", "banking", "mobility", "health", "education", "leisure", "other",
)  # fmt: skip


class Journey(StrEnum):
    """How the pages lead through a service."""

    BANK = "bank"
    UTILITY = "utility"
    APPOINTMENTS = "appointments"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class PurposeDeclaration:
    """What the city's app wants one service for. `key` is its name in URLs and signed headers.

    `unlink_service` is the provider's service by which the app ends an account's link (`DELETE link`): one that asks
    for no consent and no login, so that the end of a link can be made up for when the citizen is gone.
    """

    key: str
    service: ServiceId
    journey: Journey
    provider_name: str
    text_de: str
    text_en: str
    privacy_url: str = ""
    validity_days: int = 180
    category: str = ""
    unlink_service: ServiceId | None = None
    storage_location: str = ""

    def __post_init__(self) -> None:
        if self.unlink_service is not None and self.unlink_service.provider != self.service.provider:
            raise InvalidPurposes(f"{self.key}: unlink_service is a service of the same provider")
        if not _KEY.fullmatch(self.key):
            raise InvalidPurposes("key: lower-case letters, digits and '-', at most 63")
        if not 1 <= self.validity_days <= 730:
            raise InvalidPurposes(f"{self.key}: validity_days is 1 to 730")
        if self.category and self.category not in CATEGORIES:
            raise InvalidPurposes(f"{self.key}: category is one of {', '.join(CATEGORIES)}")
        if self.privacy_url and urlsplit(self.privacy_url).scheme not in ("http", "https"):
            raise InvalidPurposes(f"{self.key}: privacy_url is an http(s) address")

    @property
    def shown_category(self) -> str:
        """Under what the catalogue lists it: as declared, else by how the pages lead through it."""
        return self.category or _CATEGORY_OF[self.journey]

    def text(self, language: str) -> str:
        return self.text_en if language == "en" else self.text_de


_CATEGORY_OF: Final = {
    Journey.BANK: "banking",
    Journey.UTILITY: "utilities",
    Journey.APPOINTMENTS: "administration",
    Journey.PLAIN: "other",
}


def load_purposes(path: Path) -> tuple[PurposeDeclaration, ...]:
    """The declarations in a TOML file, one `[[purpose]]` table each. Raises InvalidPurposes."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidPurposes(f"{path} is no readable TOML file") from None
    entries = document.get("purpose")
    if not isinstance(entries, list) or set(document) != {"purpose"}:
        raise InvalidPurposes(f"{path} holds [[purpose]] tables and nothing else")
    purposes = tuple(_parse(entry) for entry in entries)
    if len({purpose.key for purpose in purposes}) != len(purposes):
        raise InvalidPurposes("each key stands once")
    return purposes


def _parse(entry: object) -> PurposeDeclaration:
    if not isinstance(entry, dict):
        raise InvalidPurposes("[[purpose]] is a table")
    known = {"key", "service", "journey", "provider_name", "text_de", "text_en", "privacy_url", "validity_days"}
    known |= {"category", "unlink_service", "storage_location"}
    if not {"key", "service", "provider_name", "text_de", "text_en"} <= set(entry) <= known:
        raise InvalidPurposes("a purpose has key, service, provider_name, text_de, text_en, and known fields only")
    days = entry.get("validity_days", 180)
    texts = {name: value for name, value in entry.items() if name != "validity_days"}
    if not all(isinstance(text, str) and len(text) <= _MAX_TEXT for text in texts.values()) or type(days) is not int:
        raise InvalidPurposes("texts are strings of at most 2000 characters, validity_days is a whole number")
    try:
        service, journey = parse_service_id(texts["service"]), Journey(texts.get("journey", "plain"))
        unlink = parse_service_id(texts["unlink_service"]) if "unlink_service" in texts else None
    except (InvalidIdentifier, ValueError):
        raise InvalidPurposes(f"{texts['key']}: service, unlink_service or journey is not one") from None
    return PurposeDeclaration(
        texts["key"], service, journey, texts["provider_name"], texts["text_de"], texts["text_en"],
        texts.get("privacy_url", ""), days, texts.get("category", ""), unlink, texts.get("storage_location", ""),
    )  # fmt: skip
