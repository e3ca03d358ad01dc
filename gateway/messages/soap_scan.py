"""One bounded pass over the bytes of a SOAP 1.1 message: what its header and body hold, and where in the bytes.

The only door to expat, which (unlike libxml2) tells the byte at which each element begins and ends: so a message is
read, and added to, without ever being written anew. A document type declaration is refused as it begins, so that there
are no entities but XML's own five. The order of the checks is that of the document, as in X-Road's streaming parser: a
message with several defects gets the same answer from either. What headers mean is `soap`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple
from xml.parsers import expat

from gateway.messages.soap_encoding import NotSOAP, encoding_of, expat_name

ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_ENCODING_STYLE: Final = "http://schemas.xmlsoap.org/soap/encoding/"

__all__ = [
    "ENVELOPE",
    "Child",
    "Entry",
    "FaultParts",
    "HeaderReader",
    "Name",
    "NotSOAP",
    "Scanned",
    "encoding_of",
    "scan",
]

# No XML document may hold this character, so it parts names from namespaces without doubt.
_SEPARATOR: Final = "\x1f"

_MAX_DEPTH: Final = 256
_MAX_ATTRIBUTES: Final = 256
_MAX_HEADER_ENTRIES: Final = 128
_MAX_HEADER_TEXT: Final = 256 * 1024


class Name(NamedTuple):
    """An element's expanded name."""

    namespace: str
    local: str


class Child(NamedTuple):
    """An element inside a header entry."""

    name: Name
    text: str


class Entry(NamedTuple):
    """One child element of the SOAP header. The bytes of it are `start` to `end`.

    `declares_own` tells that its own start tag binds its prefix, so that a sibling can't use it.
    """

    name: Name
    prefix: str
    attributes: tuple[tuple[Name, str], ...]
    text: str
    children: tuple[Child, ...]
    start: int
    end: int
    declares_own: bool

    def attribute(self, namespace: str, local: str) -> str | None:
        """The attribute's value, if it is there."""
        for name, value in self.attributes:
            if name == (namespace, local):
                return value
        return None


@dataclass(slots=True)
class FaultParts:
    """A SOAP fault's fields. `detail` is the text of a `faultDetail` in its detail, else the detail's own."""

    code: str = ""
    string: str = ""
    actor: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class Scanned:
    """A message that was read to its end.

    `header_end` is the byte at which the header's end tag begins, `encoding` the codec's name for added text.
    """

    encoding: str
    entries: list[Entry] | None = None
    header_end: int = -1
    body: Name | None = None
    bodies: int = 0
    fault: FaultParts | None = None
    rpc: bool = False


class HeaderReader:
    """Is told each header entry as it ends, so that its checks come in the document's order. May raise NotSOAP."""

    def begin(self, name: Name, attributes: tuple[tuple[Name, str], ...]) -> None:
        """An entry begins."""

    def end(self, entry: Entry) -> None:
        """The entry is complete."""

    def envelope_end(self, scanned: Scanned) -> None:
        """The envelope is complete."""


def scan(data: bytes, charset: str | None, reader: HeaderReader) -> Scanned:
    """Reads a whole message. Raises NotSOAP, and whatever `reader` raises."""
    codec = encoding_of(data, charset)
    # Told the encoding, expat ignores the declaration: there is one answer to what the bytes mean.
    parser = expat.ParserCreate(expat_name(codec), namespace_separator=_SEPARATOR)
    handler = _Handler(parser, data, Scanned(codec), reader)
    try:
        parser.Parse(data, True)
    except expat.ExpatError:
        raise NotSOAP("invalid_soap", "not well-formed XML") from None
    except (UnicodeError, LookupError, ValueError):
        raise NotSOAP("invalid_soap", "not text in its character encoding") from None
    return handler.scanned


def _name(qualified: str) -> tuple[Name, str]:
    # The same few names come again and again; one that is long is nobody's to remember.
    return _short_name(qualified) if len(qualified) < 128 else _split_name(qualified)


def _split_name(qualified: str) -> tuple[Name, str]:
    parts = qualified.split(_SEPARATOR)
    if len(parts) == 1:
        return Name("", parts[0]), ""
    return Name(parts[0], parts[1]), parts[2] if len(parts) == 3 else ""


_short_name = lru_cache(maxsize=1024)(_split_name)


@dataclass(slots=True)
class _OpenEntry:
    """A header entry that hasn't ended."""

    name: Name
    prefix: str
    attributes: tuple[tuple[Name, str], ...]
    start: int
    declares_own: bool
    text: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    child: Name | None = None
    child_text: list[str] = field(default_factory=list)


class _Handler:
    """Follows the document: depth 1 is the envelope, 2 header and body, 3 their children."""

    def __init__(self, parser: expat.XMLParserType, data: bytes, scanned: Scanned, reader: HeaderReader) -> None:
        self._parser = parser
        self._data = data
        self._reader = reader
        self._depth = 0
        self._where = ""
        self._entry: _OpenEntry | None = None
        self._declared: set[str] = set()
        self._header_text = 0
        self._just_began = False
        self._fault_field = ""
        self._fault_text: list[str] = []
        self._width = 2 if scanned.encoding.startswith("utf-16") else 1
        self.scanned = scanned
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_arguments: object) -> None:
        raise NotSOAP("invalid_soap", "a document type declaration")

    def _declare(self, prefix: str | None, _uri: str | None) -> None:
        self._declared.add(prefix or "")

    def _start(self, qualified: str, attributes: list[str]) -> None:
        depth = self._depth = self._depth + 1
        declared, self._declared = self._declared, set()
        if depth > _MAX_DEPTH:
            raise NotSOAP("invalid_soap", "elements are nested too deeply")
        if len(attributes) > 2 * _MAX_ATTRIBUTES:
            raise NotSOAP("invalid_soap", "an element has too many attributes")
        if self._where == "body" and depth > 3:
            self._start_in_fault(_name(qualified)[0])
            return
        name, prefix = _name(qualified)
        if depth == 1:
            self._start_envelope(name, attributes)
        elif depth == 2:
            self._start_section(name)
        elif self._where == "header":
            self._start_in_header(name, prefix, attributes, declared)
        elif self._where == "body":
            self._start_body(name)

    def _start_envelope(self, name: Name, attributes: list[str]) -> None:
        if name != Name(ENVELOPE, "Envelope"):
            raise NotSOAP("invalid_soap", "the root element is not a SOAP 1.1 envelope")
        found = dict(_attributes(attributes))
        self.scanned.rpc = found.get(Name(ENVELOPE, "encodingStyle")) == _ENCODING_STYLE

    def _start_section(self, name: Name) -> None:
        if name == Name(ENVELOPE, "Header"):
            if self.scanned.entries is not None:
                raise NotSOAP("invalid_soap", "the message has two headers")
            self._where, self.scanned.entries = "header", []
            self._parser.CharacterDataHandler = self._characters
        elif name == Name(ENVELOPE, "Body"):
            self.scanned.bodies += 1
            if self.scanned.bodies > 1:
                raise NotSOAP("invalid_body", "the message has two bodies")
            self._where = "body"
        else:
            self._where = "other"

    def _start_in_header(self, name: Name, prefix: str, attributes: list[str], declared: set[str]) -> None:
        self._just_began = True
        entry = self._entry
        if entry is None:
            entries = self.scanned.entries
            assert entries is not None
            if len(entries) >= _MAX_HEADER_ENTRIES:
                raise NotSOAP("invalid_soap", "the header has too many entries")
            found = _attributes(attributes)
            self._reader.begin(name, found)
            self._entry = _OpenEntry(name, prefix, found, self._parser.CurrentByteIndex, prefix in declared)
        elif self._depth == 4:
            entry.child, entry.child_text = name, []

    def _start_body(self, name: Name) -> None:
        if self.scanned.body is not None:
            raise NotSOAP("invalid_body", "the body has more than one element")
        self.scanned.body = name
        if name == Name(ENVELOPE, "Fault"):
            self.scanned.fault = FaultParts()
            self._parser.CharacterDataHandler = self._characters
        else:
            # What is in the body is the service's: only its depth is watched, as cheaply as can be.
            self._parser.StartNamespaceDeclHandler = None
            self._parser.StartElementHandler = self._start_within_body
            self._parser.EndElementHandler = self._end_within_body

    def _start_within_body(self, _qualified: str, attributes: list[str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise NotSOAP("invalid_soap", "elements are nested too deeply")
        if len(attributes) > 2 * _MAX_ATTRIBUTES:
            raise NotSOAP("invalid_soap", "an element has too many attributes")

    def _end_within_body(self, qualified: str) -> None:
        if self._depth > 3:
            self._depth -= 1
            return
        self._parser.StartNamespaceDeclHandler = self._declare
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._end(qualified)

    def _start_in_fault(self, name: Name) -> None:
        # Fault fields are unqualified (SOAP 1.1 section 4.4); some services qualify them all the same.
        if self._depth == 4:
            self._fault_field, self._fault_text = name.local, []
        elif self._depth == 5 and self._fault_field == "detail" and name.local == "faultDetail":
            self._fault_field, self._fault_text = "faultDetail", []

    def _characters(self, text: str) -> None:
        self._just_began = False
        if self._where == "body":
            if (self._depth == 4 and self._fault_field) or (self._depth == 5 and self._fault_field == "faultDetail"):
                self._take(self._fault_text, text)
        elif (entry := self._entry) is not None:
            if self._depth == 3:
                self._take(entry.text, text)
            elif self._depth == 4:
                self._take(entry.child_text, text)

    def _take(self, pieces: list[str], text: str) -> None:
        self._header_text += len(text)
        if self._header_text > _MAX_HEADER_TEXT:
            raise NotSOAP("invalid_soap", "the header or fault is too large")
        pieces.append(text)

    def _end(self, _qualified: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if self._where == "header":
            self._end_in_header(depth)
        elif self._where == "body" and depth in (4, 5) and self.scanned.fault is not None:
            self._end_in_fault(depth)
        self._just_began = False
        if depth == 2:
            self._where = ""
            self._parser.CharacterDataHandler = None
        elif depth == 1:
            self._reader.envelope_end(self.scanned)

    def _end_in_header(self, depth: int) -> None:
        entry = self._entry
        if depth == 2:
            self.scanned.header_end = self._parser.CurrentByteIndex
        elif entry is not None and depth == 4:
            assert entry.child is not None
            entry.children.append(Child(entry.child, "".join(entry.child_text)))
        elif entry is not None and depth == 3:
            self._entry = None
            complete = Entry(
                entry.name,
                entry.prefix,
                entry.attributes,
                "".join(entry.text),
                tuple(entry.children),
                entry.start,
                self._after_end_tag(),
                entry.declares_own,
            )
            assert self.scanned.entries is not None
            self.scanned.entries.append(complete)
            self._reader.end(complete)

    def _end_in_fault(self, depth: int) -> None:
        fault, text = self.scanned.fault, "".join(self._fault_text)
        assert fault is not None
        match self._fault_field:
            case "faultDetail" if depth == 5:
                fault.detail, self._fault_field = text, "detail"
                self._fault_text = []
            case "detail" if depth == 4:
                fault.detail = text if not fault.detail else fault.detail
            case "faultcode" if depth == 4:
                fault.code = text
            case "faultstring" if depth == 4:
                fault.string = text
            case "faultactor" if depth == 4:
                fault.actor = text
        if depth == 4:
            self._fault_field = ""

    def _after_end_tag(self) -> int:
        """The first byte after the element that ends now."""
        index, data, codec = self._parser.CurrentByteIndex, self._data, self.scanned.encoding
        # Of an empty-element tag expat gives the end, of an end tag the beginning.
        if self._width == 1:
            if self._just_began and data[index - 2 : index] == b"/>":
                return index
            # An end tag holds no other one.
            return data.index(b">", index) + 1
        if self._just_began and data[index - 4 : index] == "/>".encode(codec):
            return index
        closing = ">".encode(codec)
        while data[index : index + 2] != closing:
            index += 2
        return index + 2


def _attributes(flat: list[str]) -> tuple[tuple[Name, str], ...]:
    return tuple([(_name(flat[i])[0], flat[i + 1]) for i in range(0, len(flat), 2)]) if flat else ()
