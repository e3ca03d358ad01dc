"""The access log as a PDF document: whole, tagged for those who hear it, and with no word lost."""

from __future__ import annotations

import re
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.citizen.access_pdf import build_pdf, wrap
from gateway.citizen.texts import text
from tests.gateway.citizen.test_access_log import AT, access
from tests.gateway.citizen.test_accesses import MONTH


def pdf_text(data: bytes) -> str:
    """The words of one of our documents: its streams' strings, in order."""
    found = []
    for stream in re.findall(rb"stream\n(.*?)\nendstream", data, re.DOTALL):
        content = zlib.decompress(stream)
        shown = re.findall(rb"\[<([0-9a-f]*)>\] TJ", content)
        found += [bytes.fromhex(part.decode()).decode("cp1252") for part in shown]
    return " ".join(found)


def test_the_document_says_all_and_stays_a_document() -> None:
    hostile = access(2, client={"name": ") Tj ET endstream >> Łódź 東京"}, purpose={"de": "ä" * 500 + "\x00\x07"})
    data = build_pdf([access(1), hostile] * 20, "de", title="Zugriffe auf Ihre Daten", period=MONTH, at=AT)
    assert data.startswith(b"%PDF-1.7")
    assert data.rstrip().endswith(b"%%EOF")
    words = pdf_text(data)
    assert "Zugriffe auf Ihre Daten" in words
    assert words.count("Kontostand") >= 40
    assert ") Tj ET endstream >> ?ódz" in words
    assert re.search(r"\b1 / \d+", words)


class Tagged:
    """One of our documents as a screen reader reads it: its structure tree, resolved down to the marked text."""

    def __init__(self, data: bytes) -> None:
        self.objects: dict[int, str] = {}
        self.contents: dict[int, bytes] = {}
        for number, head, stream in re.findall(rb"(\d+) 0 obj\n(<<.*?>>)\nstream\n(.*?)\nendstream", data, re.DOTALL):
            content = zlib.decompress(stream) if b"FlateDecode" in head else stream
            self.contents[int(number)] = content
            if b"/ObjStm" in head:
                found = re.search(rb"/First (\d+)", head)
                assert found is not None
                first = int(found[1])
                places = [int(part) for part in content[:first].split()]
                starts = [*places[1::2], len(content) - first]
                for position, held in enumerate(places[::2]):
                    self.objects[held] = content[first + starts[position] : first + starts[position + 1]].decode()

    def one(self, kind: str) -> str:
        """The only object of a type."""
        (found,) = (text for text in self.objects.values() if text.startswith(f"<</Type /{kind}/"))
        return found

    def marked(self, page: int) -> dict[int, tuple[str, str]]:
        """Tag and words of each piece of marked text of a page. Nothing is drawn outside of one."""
        content = re.search(r"/Contents (\d+) 0 R", self.objects[page])
        assert content is not None
        stream = self.contents[int(content[1])].decode("latin-1")
        pieces = re.findall(r"/(\w+)\s+(?:<</MCID (\d+)>>\s+BDC|BMC)(.*?)EMC", stream, re.DOTALL)
        assert stream.count(" TJ") == sum(piece.count(" TJ") for _, _, piece in pieces) == len(pieces)
        assert [tag for tag, number, _ in pieces if not number] == ["Artifact"]
        return {
            int(number): (
                tag,
                "".join(bytes.fromhex(part).decode("cp1252") for part in re.findall("<([0-9a-f]*)>", words)),
            )
            for tag, number, words in pieces
            if number
        }


def read_aloud(document: Tagged, number: int, pages: dict[int, dict[int, tuple[str, str]]]) -> Any:
    """An element as (kind, parts): elements, and words that leave the page's marked text when they are read."""
    element = document.objects[number]
    kind, kids = re.search(r"/S /(\w+)", element), re.search(r"/K \[(.*)\]", element)
    assert kind is not None
    assert kids is not None
    parts: list[Any] = []
    for place, mark, child in re.findall(r"<</Type /MCR/Pg (\d+) 0 R/MCID (\d+)>>|(\d+) 0 R", kids[1]):
        if child:
            assert f"/P {number} 0 R" in document.objects[int(child)]
            parts.append(read_aloud(document, int(child), pages))
            continue
        tag, words = pages[int(place)].pop(int(mark))
        assert tag == kind[1]
        owners = re.search(rf"\b{sorted(pages).index(int(place))} \[([^\]]*)\]", document.one("StructTreeRoot"))
        assert owners is not None
        assert owners[1].split(" 0 R")[int(mark)].strip() == str(number)
        parts.append(words)
    return kind[1], parts


def test_the_document_is_tagged_for_screen_readers() -> None:
    long = access(2, purpose={"de": "Wort " * 2_000})
    document = Tagged(build_pdf([access(1), long], "de", title="Zugriffe", period=MONTH, at=AT))
    catalog = document.one("Catalog")
    assert "/MarkInfo <</Marked true>>" in catalog
    assert "/Lang (de)" in catalog
    assert "/DisplayDocTitle true" in catalog
    numbers = [number for number, held in document.objects.items() if held.startswith("<</Type /Page/")]
    assert len(numbers) == 2
    pages = {number: document.marked(number) for number in numbers}
    for position, number in enumerate(numbers):
        assert f"/StructParents {position}" in document.objects[number]
    top = re.search(r"/K (\d+) 0 R", document.one("StructTreeRoot"))
    assert top is not None
    kind, parts = read_aloud(document, int(top[1]), pages)
    assert (kind, parts[0]) == ("Document", ("H1", ["Zugriffe"]))
    first, second = (part for part in parts if part[0] == "Sect")
    assert first[1][0] == ("H2", ["Kontostand"])
    assert [part[0] for part in first[1]] == ["H2", "P", "L"]
    labels = {item[1][0][1][0]: " ".join(item[1][1][1]) for item in second[1][2][1]}
    assert labels[text("from_whom", "de")] == "Sparkasse"
    # Over all its pages it is one value.
    assert labels[text("what_for", "de")].split() == ["Wort"] * 400
    assert pages == {number: {} for number in numbers}


@given(st.text(max_size=300), st.floats(3, 60))
def test_lines_fit_and_no_word_is_lost(words: str, width: float) -> None:
    lines = wrap(words, width)
    assert "".join("".join(lines).split()) == "".join(words.split())
    for line in lines:
        assert len(line) <= 1 or sum(0.222 for letter in line if letter != " ") <= width
