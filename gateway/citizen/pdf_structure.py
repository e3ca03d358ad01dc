"""What the parts of a PDF are, for screen readers: its structure tree (ISO 32000-1, 14.6 to 14.8). A core.

Each piece of text is marked with the element that it belongs to; what belongs to none (page numbers) is an artifact.
Says nothing of PDF/UA, which would want the fonts in the file, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pydyf


@dataclass(slots=True)
class Element:
    """One part: a heading, a paragraph, a list. `parts` are other elements, or places (page, number) of marked text."""

    kind: str
    values: pydyf.Dictionary
    parts: list[Element | tuple[int, int]] = field(default_factory=list)

    @property
    def reference(self) -> bytes:
        return bytes(self.values.reference)


class StructureTree:
    """The tree of one document, filled as its text is drawn."""

    def __init__(self, document: pydyf.PDF) -> None:
        self._document = document
        self._root = pydyf.Dictionary({"Type": "/StructTreeRoot"})
        document.add_object(self._root)
        document.catalog["MarkInfo"] = pydyf.Dictionary({"Marked": "true"})
        document.catalog["ViewerPreferences"] = pydyf.Dictionary({"DisplayDocTitle": "true"})
        document.catalog["StructTreeRoot"] = self._root.reference
        self._elements: list[Element] = []
        # Whose each piece of marked text is, by page and number.
        self._owners: dict[int, list[bytes]] = {}
        self.top = self._element("Document", self._root.reference)

    def add(self, kind: str, parent: Element) -> Element:
        """A new part at the end of `parent`. `kind`: a standard structure type (14.8.4)."""
        element = self._element(kind, parent.reference)
        parent.parts.append(element)
        return element

    @contextmanager
    def marked(self, stream: pydyf.Stream, page: int, element: Element) -> Iterator[None]:
        """What is drawn within belongs to `element`. `page`: its position, from 0."""
        owners = self._owners.setdefault(page, [])
        element.parts.append((page, len(owners)))
        stream.begin_marked_content(element.kind, pydyf.Dictionary({"MCID": len(owners)}))
        owners.append(element.reference)
        yield
        stream.end_marked_content()

    def finish(self, pages: Sequence[pydyf.Dictionary]) -> None:
        """Ties the tree to the pages, once all of them are in the document."""
        for number, page in enumerate(pages):
            page["StructParents"] = number
            page["Tabs"] = "/S"
        for element in self._elements:
            element.values["K"] = pydyf.Array(_part(part, pages) for part in element.parts)
        owners = [entry for page, found in self._owners.items() for entry in (page, pydyf.Array(found))]
        self._root["K"] = self.top.reference
        self._root["ParentTree"] = pydyf.Dictionary({"Nums": pydyf.Array(owners)})
        self._root["ParentTreeNextKey"] = len(pages)

    def _element(self, kind: str, parent: bytes) -> Element:
        values = pydyf.Dictionary({"Type": "/StructElem", "S": f"/{kind}", "P": parent})
        self._document.add_object(values)
        element = Element(kind, values)
        self._elements.append(element)
        return element


@contextmanager
def artifact(stream: pydyf.Stream) -> Iterator[None]:
    """What is drawn within is no part of the document (14.8.2.2)."""
    stream.begin_marked_content("Artifact")
    yield
    stream.end_marked_content()


def _part(part: Element | tuple[int, int], pages: Sequence[pydyf.Dictionary]) -> object:
    if isinstance(part, Element):
        return part.reference
    page, number = part
    return pydyf.Dictionary({"Type": "/MCR", "Pg": pages[page].reference, "MCID": number})
