"""From BER to definite lengths: the one liberty that old time-stamp tokens take with DER.

Follows X.690 section 8: indefinite lengths (8.1.3.6) get their length, octet strings in segments (8.7.3) are joined,
lengths are written in the fewest octets. Values are left as they are. CMS allows BER around what is signed, while what
is signed itself is DER (RFC 5652 section 5.4), so nothing that a signature covers changes.
"""

from __future__ import annotations

from typing import Final

_MAX_DEPTH: Final = 16
_CONSTRUCTED: Final = 0x20
_INDEFINITE: Final = 0x80
_OCTETS: Final = 0x04
_END: Final = b"\0\0"


def has_indefinite_length(data: bytes) -> bool:
    """Whether the outermost value has no length of its own."""
    return data[1:2] == b"\x80"


def with_definite_lengths(data: bytes) -> bytes:
    """The one value that `data` is, in definite lengths. Raises ValueError."""
    encoded, end = _value(data, 0, len(data), 0)
    if end != len(data):
        raise ValueError("something follows the value")
    return encoded


def _value(data: bytes, start: int, limit: int, depth: int) -> tuple[bytes, int]:
    if start + 2 > limit or depth > _MAX_DEPTH:
        raise ValueError("a value that is cut off, or nested too deep")
    tag, first = data[start], data[start + 1]
    if tag & 0x1F == 0x1F:
        raise ValueError("a tag that no token has")
    if first == _INDEFINITE:
        if not tag & _CONSTRUCTED:
            raise ValueError("a primitive value without a length")
        content, end = _content(data, start + 2, limit, depth, ends_at_mark=True)
    else:
        begin, end = _span(data, start, limit)
        if not tag & _CONSTRUCTED:
            return _encoded(tag, data[begin:end]), end
        content, end = _content(data, begin, end, depth, ends_at_mark=False)
    if tag == _OCTETS | _CONSTRUCTED:
        return _encoded(_OCTETS, b"".join(_segment(part) for part in content)), end
    return _encoded(tag, b"".join(content)), end


def _content(data: bytes, position: int, limit: int, depth: int, *, ends_at_mark: bool) -> tuple[list[bytes], int]:
    values: list[bytes] = []
    while position < limit:
        if ends_at_mark and data[position : position + 2] == _END:
            return values, position + 2
        value, position = _value(data, position, limit, depth + 1)
        values.append(value)
    if ends_at_mark:
        raise ValueError("a value without an end")
    return values, position


def _span(data: bytes, start: int, limit: int) -> tuple[int, int]:
    first, begin = data[start + 1], start + 2
    length = first
    if first > _INDEFINITE:
        begin += first & 0x7F
        length = int.from_bytes(data[start + 2 : begin])
    if begin > limit or begin + length > limit:
        raise ValueError("a value that is cut off")
    return begin, begin + length


def _segment(part: bytes) -> bytes:
    if part[0] != _OCTETS:
        raise ValueError("an octet string of something else")
    begin, end = _span(part, 0, len(part))
    return part[begin:end]


def _encoded(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < _INDEFINITE:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, _INDEFINITE | len(octets))) + octets + content
