"""The access log as a PDF to print or hand on: headings, rows of label and value, page numbers; tagged. A core.

The standard fonts of PDF 1.7 (ISO 32000-1, 9.6.2.2) in WinAnsi encoding, so that no font travels along: letters outside
of it lose their accents, and what has no plain form becomes a question mark. The CSV and JSON files keep every letter.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import pydyf

from gateway.citizen.access import Access
from gateway.citizen.access_exports import COLUMNS, row_of
from gateway.citizen.access_listing import explain_access, title_of
from gateway.citizen.pdf_structure import Element, StructureTree, artifact
from gateway.citizen.texts import text

# A4 in points.
_WIDTH, _HEIGHT, _MARGIN = 595, 842, 56
_LABEL_WIDTH: Final = 120
_SIZE: Final = 9.5
_HEADING: Final = 12.0
_TITLE: Final = 16.0
_LEADING: Final = 1.35
# Helvetica's widths in thousandths of its size, from the space to the tilde (Adobe's font metrics).
_WIDTHS: Final = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
)  # fmt: skip
_BOLD_IS_WIDER: Final = 1.1


class _Pages:
    """Text from top to bottom, a new page where one is full."""

    def __init__(self, language: str, title: str, at: datetime) -> None:
        self._document = pydyf.PDF()
        self._fonts = pydyf.Dictionary({"Regular": self._font("Helvetica"), "Bold": self._font("Helvetica-Bold")})
        self._document.catalog["Lang"] = pydyf.String(language)
        self._document.info["Title"] = pydyf.String(title)
        self._document.info["CreationDate"] = pydyf.String(at.strftime("D:%Y%m%d%H%M%SZ"))
        self._streams: list[pydyf.Stream] = []
        self._y = 0.0
        self._tree = StructureTree(self._document)
        self.top = self._tree.top

    def part(self, kind: str, parent: Element) -> Element:
        """A part that holds others."""
        return self._tree.add(kind, parent)

    def line(
        self, words: str, parent: Element, kind: str = "P", *, size: float = _SIZE, bold: bool = False, gap: float = 0
    ) -> None:
        """A paragraph or heading over the whole width, with a gap above it."""
        element = self._tree.add(kind, parent)
        lines = wrap(words, (_WIDTH - 2 * _MARGIN) / size / (_BOLD_IS_WIDER if bold else 1))
        self._need(gap + size * _LEADING * min(len(lines), 3))
        self._y -= gap
        for line in lines:
            self._draw(line, _MARGIN, element, size=size, bold=bold)

    def row(self, label: str, value: str, parent: Element) -> None:
        """A label with its value beside it, an item of the list `parent`."""
        item = self._tree.add("LI", parent)
        lines = wrap(value, (_WIDTH - 2 * _MARGIN - _LABEL_WIDTH) / _SIZE)
        self._need(_SIZE * _LEADING)
        y = self._y
        self._draw(label, _MARGIN, self._tree.add("Lbl", item), bold=True)
        self._y = y
        body = self._tree.add("LBody", item)
        for line in lines:
            self._draw(line, _MARGIN + _LABEL_WIDTH, body)

    def finished(self) -> bytes:
        """The file."""
        pages = []
        for number, stream in enumerate(self._streams, start=1):
            place = f"{number} / {len(self._streams)}"
            with artifact(stream):
                _show(stream, place, _WIDTH - _MARGIN - 40, _MARGIN / 2, font="Regular", size=8)
            self._document.add_object(stream)
            values = {
                "Type": "/Page",
                "Parent": self._document.pages.reference,
                "MediaBox": pydyf.Array([0, 0, _WIDTH, _HEIGHT]),
                "Contents": stream.reference,
                "Resources": pydyf.Dictionary({"Font": self._fonts}),
            }
            page = pydyf.Dictionary(values)
            self._document.add_page(page)
            pages.append(page)
        self._tree.finish(pages)
        output = io.BytesIO()
        self._document.write(output, compress=True)
        return output.getvalue()

    def _font(self, name: str) -> bytes:
        values = {"Type": "/Font", "Subtype": "/Type1", "BaseFont": f"/{name}", "Encoding": "/WinAnsiEncoding"}
        font = pydyf.Dictionary(values)
        self._document.add_object(font)
        return bytes(font.reference)

    def _need(self, height: float) -> None:
        if not self._streams or self._y - height < _MARGIN:
            self._streams.append(pydyf.Stream(compress=True))
            self._y = float(_HEIGHT - _MARGIN)

    def _draw(self, line: str, x: float, element: Element, *, size: float = _SIZE, bold: bool = False) -> None:
        self._need(size * _LEADING)
        self._y -= size * _LEADING
        stream = self._streams[-1]
        with self._tree.marked(stream, len(self._streams) - 1, element):
            _show(stream, line, x, self._y, font="Bold" if bold else "Regular", size=size)


def build_pdf(accesses: Sequence[Access], language: str, *, title: str, period: str, at: datetime) -> bytes:
    """The accesses in words, each with what it means. `period` is the months that were looked at."""
    pages = _Pages(language, title, at)
    pages.line(title, pages.top, "H1", size=_TITLE, bold=True)
    pages.line(f"{period}. {text('export_made', language, at=at.strftime('%Y-%m-%d %H:%M UTC'))}", pages.top)
    pages.line(text("accesses_selected", language, count=len(accesses)), pages.top)
    for access in accesses:
        section = pages.part("Sect", pages.top)
        pages.line(title_of(access, language), section, "H2", size=_HEADING, bold=True, gap=14)
        pages.line(" ".join(explain_access(access, language)), section)
        facts = pages.part("L", section)
        for column, value in zip(COLUMNS, row_of(access, language), strict=True):
            if value:
                pages.row(text(column, language), value, facts)
    return pages.finished()


def wrap(words: str, width: float) -> list[str]:
    """Lines of at most `width` (in units of the size of the font); a word that is longer than a line is cut."""
    lines: list[str] = []
    line = ""
    for word in _pieces(words.split(), width):
        longer = f"{line} {word}" if line else word
        if line and _width(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def _pieces(words: Sequence[str], width: float) -> Iterator[str]:
    for word in words:
        rest = word
        while _width(rest) > width:
            at = max(1, next(n for n in range(1, len(rest) + 1) if _width(rest[:n]) > width) - 1)
            yield rest[:at]
            rest = rest[at:]
        yield rest


def _width(line: str) -> float:
    return sum(_letter(letter) for letter in line) / 1000


def _letter(letter: str) -> int:
    plain = ord(unicodedata.normalize("NFKD", letter)[0])
    # An em dash is the widest that WinAnsi has.
    return _WIDTHS[plain - 32] if 32 <= plain <= 126 else 1000


def _show(stream: pydyf.Stream, line: str, x: float, y: float, *, font: str, size: float) -> None:
    stream.begin_text()
    stream.set_font_size(font, size)
    stream.move_text_to(x, y)
    # Hexadecimal: no character of other people's texts can end the string.
    stream.show_text(f"<{_encoded(line).hex()}>")
    stream.end_text()


def _encoded(line: str) -> bytes:
    return b"".join(_in_win_ansi(letter) for letter in line)


def _in_win_ansi(letter: str) -> bytes:
    try:
        return letter.encode("cp1252")
    except UnicodeEncodeError:
        plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore")
        return plain or b"?"
