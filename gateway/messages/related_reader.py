"""Multipart bodies piece by piece: the same verdict as `mime.split_related`, for those too large to be in memory.

RFC 2046 section 5.1 with the leniency that `mime` describes. Holds back at most one header block or what may be the
beginning of a delimiter; a part's content is handed on as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.messages.mime import AFTER_WORD, MAX_HEADER_BYTES, MAX_PARTS, Delimiter, Part, part_with_headers
from gateway.messages.multipart import MalformedMultipart

_MARKS: Final = (b"\r\n\r\n", b"\n\n")
# Blanks that may follow a delimiter on its line, which are held back until the line ends.
_MAX_BLANKS: Final = 1024


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins; its data are still to come."""

    part: Part


@dataclass(frozen=True, slots=True)
class ContentData:
    """The next bytes of the part, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ContentEnd:
    """The part is complete."""


Event = PartBegin | ContentData | ContentEnd
_END: Final = ContentEnd()


class _State(Enum):
    PREAMBLE = auto()
    HEADER = auto()
    DATA = auto()
    CLOSED = auto()


class RelatedReader:
    """Reads one body. Unusable after it raised MalformedMultipart."""

    def __init__(self, boundary: str, max_parts: int = MAX_PARTS) -> None:
        self._word = b"--" + boundary.encode("ascii")
        self._max_parts = max_parts
        self._state = _State.PREAMBLE
        self._buffer = b""
        self._at_start = True
        # Of a part's content: the line break at the head of the buffer that ended its headers.
        self._skip = 0
        self._parts = 0
        self._dangling = False

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete. Raises MalformedMultipart."""
        self._buffer += data
        events: list[Event] = []
        while self._state is not _State.CLOSED and self._step(events, final=False):
            pass
        if self._state is _State.CLOSED:
            # An epilogue is passed over.
            self._buffer = b""
        return events

    def close(self) -> list[Event]:
        """At the end of the input: what was held back. Raises MalformedMultipart if the body was cut."""
        events: list[Event] = []
        while self._state is not _State.CLOSED and self._step(events, final=True):
            pass
        if self._state in (_State.CLOSED, _State.PREAMBLE) or self._dangling:
            return events
        raise MalformedMultipart("the message does not end with its boundary")

    def _step(self, events: list[Event], *, final: bool) -> bool:
        """One state's work on the buffer; True if there may be more."""
        found, sure = self._search(final=final)
        if self._state is _State.HEADER:
            position, mark = self._header_end(sure if found is None else found.start)
            if position >= 0:
                self._begin_part(self._buffer[:position], events)
                # The line break that ends the headers may be the one before a delimiter.
                self._skip = 2 if mark == _MARKS[0] else 1
                self._buffer = self._buffer[position + len(mark) - self._skip :]
                self._state = _State.DATA
                return True
            if found is None:
                if min(sure, len(self._buffer)) > MAX_HEADER_BYTES + len(_MARKS[0]):
                    raise MalformedMultipart("a part's headers are too large")
                return False
            # Headers alone: the part is empty.
            self._begin_part(self._buffer[: found.start], events)
            events.append(_END)
        elif self._state is _State.DATA:
            end = sure if found is None else found.start
            if end > self._skip:
                events.append(ContentData(self._buffer[self._skip : end]))
                self._buffer, self._skip = self._buffer[end:], 0
                return found is not None
            if found is None:
                return False
            events.append(_END)
        elif found is None:
            self._buffer = self._buffer[sure:]
            self._at_start = self._at_start and sure == 0
            return False
        self._take_delimiter(found)
        return self._state is not _State.CLOSED

    def _take_delimiter(self, found: Delimiter) -> None:
        self._buffer = self._buffer[found.end :]
        self._at_start, self._skip = False, 0
        self._state = _State.CLOSED if found.closes else _State.HEADER
        # One that is the very end of the input, without its two hyphens, closes as well: X-Road's reader takes it so.
        self._dangling = not self._buffer and self._state is _State.HEADER

    def _search(self, *, final: bool) -> tuple[Delimiter | None, int]:
        """The next delimiter, and how far the buffer surely holds none."""
        position = 0
        while True:
            word = self._buffer.find(self._word, position)
            if word < 0:
                return None, len(self._buffer) if final else max(0, len(self._buffer) - len(self._word) - 1)
            begin = word - 1 if self._buffer[word - 1 : word] == b"\n" else word
            if begin < word and self._buffer[begin - 1 : begin] == b"\r" and begin > 0:
                begin -= 1
            position = word + 1
            if begin == word and not (word == 0 and self._at_start):
                continue
            after = self._buffer[word + len(self._word) : word + len(self._word) + _MAX_BLANKS + 4]
            rest = after.removeprefix(b"--").lstrip(b" \t")
            if not final and (rest in (b"", b"\r") or after == b"-"):
                if len(after) > _MAX_BLANKS:
                    raise MalformedMultipart("a boundary is followed by too many blanks")
                # Whether it is one shows with the next bytes.
                return None, begin
            tail = AFTER_WORD.match(self._buffer, word + len(self._word))
            if tail is not None:
                return Delimiter(begin, tail.end(), tail.group(1) is not None), begin

    def _header_end(self, end: int) -> tuple[int, bytes]:
        for mark in _MARKS:
            if self._buffer.startswith(mark):
                return 0, mark
        first = -1, b""
        for mark in _MARKS:
            position = self._buffer.find(mark, 0, end)
            if position >= 0:
                # What begins later doesn't count, and behind it may lie a large body: 3 % of an exchange to search it.
                first, end = (position, mark), position + 1
        return first

    def _begin_part(self, block: bytes, events: list[Event]) -> None:
        if self._parts >= self._max_parts:
            raise MalformedMultipart("the message has too many parts")
        self._parts += 1
        events.append(PartBegin(part_with_headers(block, b"")))
