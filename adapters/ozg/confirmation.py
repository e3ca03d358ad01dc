"""The landlord's confirmation of a move (§ 19 BMG), which a person brings along when they register a residence.

A landlord signs it with XAdES; it arrives with the booking. The office's appointment then says who signed what, so that
nobody has to look at paper. The document itself isn't kept: the digest tells whether the one shown at the office is
the one that was proven.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from dataclasses import dataclass
from datetime import date
from typing import Final

from lxml import etree

from adapters.kit.documents import (
    DOCUMENT_CONTENT,
    DOCUMENT_MALFORMED,
    DOCUMENT_TOO_LARGE,
    MAX_BYTES,
    DocumentVerifier,
    VerifiedDocument,
)
from adapters.kit.errors import CallerError
from adapters.kit.xml import MalformedXML, parse

NAMESPACE: Final = "urn:musterstadt:wohnungsgeberbestaetigung:1"
_TAG: Final = f"{{{NAMESPACE}}}"
_MAX_PERSONS: Final = 20
_MAX_NAME: Final = 100
# ZMS has a field of this length for what an office wants to know beside the booking.
_NOTE_CHARACTERS: Final = 250


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation that holds: who signed it, from when the person lives there, SHA-256 of what was signed."""

    signer: str
    moved_in: date
    digest: str

    @property
    def note(self) -> str:
        """One line for the office. The digest comes before the name, which may be long."""
        text = f"Wohnungsgeberbestätigung geprüft: Einzug {self.moved_in}, SHA-256 {self.digest}, {self.signer}"
        return text[:_NOTE_CHARACTERS]

    def as_json(self) -> dict[str, object]:
        """As the gateway's side sees it."""
        return {"signer": self.signer, "movedIn": self.moved_in.isoformat(), "sha256": self.digest}


async def accept(encoded: str, *, family_name: str, documents: DocumentVerifier) -> Confirmation:
    """The confirmation in Base64 (RFC 4648 section 4) as sent, for the person who books.

    Raises AdapterError with one of the document problems.
    """
    try:
        document = b64decode(encoded, validate=True)
    except ValueError:
        raise CallerError(DOCUMENT_MALFORMED) from None
    if len(document) > MAX_BYTES:
        raise CallerError(DOCUMENT_TOO_LARGE)
    return read_confirmation(await documents.verify(document), family_name=family_name)


def read_confirmation(document: VerifiedDocument, *, family_name: str) -> Confirmation:
    """What § 19 (3) BMG wants in it, as far as the booking can be held against it: the move's date, the persons.

    Raises CallerError (`document_content`).
    """
    try:
        root = parse(document.content, max_bytes=MAX_BYTES)
    except MalformedXML:
        raise CallerError(DOCUMENT_CONTENT) from None
    persons = [_text(element) for element in root.findall(f"{_TAG}person/{_TAG}familienname")[: _MAX_PERSONS + 1]]
    if root.tag != f"{_TAG}wohnungsgeberbestaetigung" or len(persons) > _MAX_PERSONS:
        raise CallerError(DOCUMENT_CONTENT)
    if family_name.casefold() not in {person.casefold() for person in persons}:
        raise CallerError(DOCUMENT_CONTENT, fields=("familyName",))
    try:
        moved_in = date.fromisoformat(_text(root.find(f"{_TAG}einzugsdatum")))
    except ValueError:
        raise CallerError(DOCUMENT_CONTENT) from None
    return Confirmation(document.signer, moved_in, hashlib.sha256(document.content).hexdigest())


def _text(element: etree._Element | None) -> str:
    text = "" if element is None or len(element) else (element.text or "").strip()
    if not 0 < len(text) <= _MAX_NAME or not text.isprintable():
        raise CallerError(DOCUMENT_CONTENT)
    return text
