"""Reads gettext catalogues: `locale/<language>.po`, as translators edit them, compiled once at start. A core.

GNU gettext manual, "The Format of PO Files" and "The Format of GNU MO Files". The compiled form stays in memory and is
read by the standard library's `gettext`, so that no compiled file can differ from what stands in the repository. The
message ids are the texts' names in the code. Strict: what isn't plainly a catalogue of ours keeps the process from
starting.
"""

from __future__ import annotations

import ast
import gettext
import io
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LINE: Final = re.compile(r'(?:(msgid|msgid_plural|msgstr|msgstr\[[0-9]\]) )?"((?:[^"\\]|\\[nt"\\])*)"')
_NUMBERED: Final = re.compile(r"msgstr\[([0-9])\]")
_MAGIC: Final = 0x950412DE
_HEADER_BYTES: Final = 28


class CatalogueBroken(Exception):
    """A catalogue that can't be read. Our own fault: the text names the line or the message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text: `forms` holds one form, or one for each number that the language tells apart."""

    key: str
    is_plural: bool
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All texts of one language."""

    messages: Mapping[str, Message]
    translations: gettext.GNUTranslations

    def text(self, key: str, count: int | None = None) -> str:
        """The text as it stands, in the form for `count`. Raises KeyError for a key that doesn't exist."""
        if self.messages[key].is_plural:
            return self.translations.ngettext(key, key, 2 if count is None else count)
        return self.translations.gettext(key)


def load_catalogue(po: str) -> Catalogue:
    """The catalogue in a .po file's text. Raises CatalogueBroken."""
    messages = parse_catalogue(po)
    translations = gettext.GNUTranslations(io.BytesIO(compile_catalogue(messages)))
    return Catalogue({key: message for key, message in messages.items() if key}, translations)


def parse_catalogue(po: str) -> Mapping[str, Message]:
    """The messages by their key; the header's key is empty. Raises CatalogueBroken."""
    messages: dict[str, Message] = {}
    # Entries are separated by empty lines.
    for number, block in enumerate(re.split(r"\n(?:[ \t]*\n)+", po.strip() + "\n"), start=1):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        message = _message(_fields(lines), number)
        if message.key in messages:
            raise CatalogueBroken(f"{message.key!r} stands there twice")
        messages[message.key] = message
    if not messages.get("") or "charset=UTF-8" not in messages[""].forms[0]:
        raise CatalogueBroken("the header is missing, or does not say charset=UTF-8")
    return messages


def compile_catalogue(messages: Mapping[str, Message]) -> bytes:
    """The .mo file: a header, two tables of lengths and offsets sorted by key, the strings."""
    pairs = sorted(
        ((f"{key}\0{key}" if message.is_plural else key).encode(), "\0".join(message.forms).encode())
        for key, message in messages.items()
    )
    originals, translated = [original for original, _ in pairs], [text for _, text in pairs]
    count = len(pairs)
    first, second = _HEADER_BYTES, _HEADER_BYTES + 8 * count
    at = second + 8 * count
    tables, strings = b"", b""
    for text in (*originals, *translated):
        tables += struct.pack("<II", len(text), at + len(strings))
        strings += text + b"\0"
    return struct.pack("<7I", _MAGIC, 0, count, first, second, 0, 0) + tables + strings


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        match = _LINE.fullmatch(line.rstrip())
        if match is None or (match[1] is None and not name) or match[1] in fields:
            raise CatalogueBroken(f"not a line of a catalogue: {line[:60]}")
        name = match[1] or name
        # Only the four escapes that the pattern lets through.
        fields[name] = fields.get(name, "") + str(ast.literal_eval(f'"{match[2]}"'))
    return fields


def _message(fields: dict[str, str], number: int) -> Message:
    key = fields.pop("msgid", None)
    if key is None:
        raise CatalogueBroken(f"entry {number} has no msgid")
    plural = fields.pop("msgid_plural", None)
    if plural is None:
        if set(fields) != {"msgstr"}:
            raise CatalogueBroken(f"{key!r} has no text, or plural forms without msgid_plural")
        return Message(key, is_plural=False, forms=(_stated(key, fields["msgstr"]),))
    numbers = [int(match[1]) for name in sorted(fields) if (match := _NUMBERED.fullmatch(name))]
    if plural != key or numbers != list(range(len(fields))) or not numbers:
        raise CatalogueBroken(f"{key!r} has no complete row of plural forms")
    return Message(key, is_plural=True, forms=tuple(_stated(key, fields[f"msgstr[{at}]"]) for at in numbers))


def _stated(key: str, text: str) -> str:
    if not text:
        raise CatalogueBroken(f"{key!r} is not translated")
    return text
