"""The access log in the vocabulary of the German Datenschutzcockpit (XDatenschutzcockpit 1.1, section 10 OZG). A core.

As its registers answer, `antwortListeProtokolldaten` lists the transfers, and each one's content is `inhaltsdaten` that
describe themselves: groups of labelled values, in German, in the order in which the cockpit shows
them. The standard's schema isn't public in full: names and nesting are those that its registers were seen to send, and
what ours lack there (an Identifikationsnummer) is left out. A file to keep and to hand on, not an interface.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from lxml import etree

from gateway.citizen.access import Access
from gateway.citizen.accesses import AccessView
from gateway.citizen.texts import text

VERSION: Final = "1.1.0"
TRANSPORT: Final = f"http://xoev.de/datenschutzcockpit/xdatenschutzcockpit/transport_http/{VERSION}"
TYPES: Final = f"http://xoev.de/datenschutzcockpit/xdatenschutzcockpit/datentypen_xml/{VERSION}"
_LANGUAGE: Final = "de"
_NAMESPACE_OF_IDS: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")

# A label with its value, or with the values below it.
_Content = tuple[str, "str | Sequence[_Content]"]


def build_protocol_data(views: Sequence[AccessView], accesses: Sequence[Access], *, created: datetime) -> bytes:
    """These accesses of these months, in their order, as XML (UTF-8). `created` is aware UTC."""
    root = etree.Element(f"{{{TRANSPORT}}}antwortListeProtokolldaten", nsmap={"dsc": TRANSPORT, "typ": TYPES})
    root.set("version", VERSION)
    _add(root, "erstellungszeitpunkt", created.isoformat(timespec="seconds"))
    for access in accesses:
        root.append(_transfer(access))
    silent = (source for view in views for source in view.sources if not source.reachable or source.broken)
    for name in dict.fromkeys(source.name or text("own_gateway", _LANGUAGE) for source in silent):
        _add(root, "nichtErreichbareStelle", name)
    return bytes(etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=True))


def _transfer(access: Access) -> etree._Element:
    entry = etree.Element(f"{{{TYPES}}}protokolldaten")
    _add(entry, "datenuebermittlungID", str(uuid.uuid5(_NAMESPACE_OF_IDS, access.key)))
    _add(entry, "zeitpunktDatenuebermittlung", access.time)
    _add(entry, "uebermittelndeStelle", access.provider)
    _add(entry, "datenabrufendeStelle", access.client)
    _add(entry, "anlass", access.occasion or access.purpose(_LANGUAGE) or access.title(_LANGUAGE))
    if access.basis:
        _add(entry, "rechtsgrundlage", access.basis)
    content = etree.SubElement(entry, f"{{{TYPES}}}inhaltsdaten")
    for label, value in _content(access):
        content.append(_described(label, value))
    return entry


def _content(access: Access) -> Iterator[_Content]:
    """What is known of the transfer. The data themselves aren't in the access log."""
    title = f"{access.title(_LANGUAGE)}: {text(f'outcome_{access.result}', _LANGUAGE)}"
    message = [
        ("Nachrichten-ID", access.message_id),
        ("Vorgangs-ID", access.request_id),
        ("Dienst", access.service),
        ("Erstellungszeitpunkt", access.time),
    ]
    yield (
        title,
        [
            ("Identifikation der Nachricht", [pair for pair in message if pair[1]]),
            ("Autor", [("Name", access.provider)]),
            ("Leser", [("Name", access.client), *([("System", access.system)] if access.system else [])]),
        ],
    )
    if access.data_categories:
        yield "Übermittelte Daten", [("Datenkategorie", category) for category in access.data_categories]
    if access.consent:
        yield "Einwilligung", access.consent
    if access.reason:
        yield "Grund der Ablehnung", access.reason


def _described(label: str, value: str | Sequence[_Content]) -> etree._Element:
    """`inhaltsdatenBeschreibung` with its `inhalt`, or `gruppeInhaltsdaten` with what is in it."""
    if isinstance(value, str):
        entry = etree.Element(f"{{{TYPES}}}inhaltsdaten")
        _add(etree.SubElement(entry, f"{{{TYPES}}}inhaltsdatenBeschreibung"), "label", label)
        _add(entry, "inhalt", value)
        return entry
    group = etree.Element(f"{{{TYPES}}}gruppeInhaltsdaten")
    _add(group, "label", label)
    for inner in value:
        group.append(_described(*inner))
    return group


def _add(parent: etree._Element, name: str, value: str) -> None:
    # What XML can't hold (a record's text is somebody else's) is replaced, not refused: the citizen gets their list.
    etree.SubElement(parent, f"{{{TYPES}}}{name}").text = "".join(c if c.isprintable() else " " for c in value)
