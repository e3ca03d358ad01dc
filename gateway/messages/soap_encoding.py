"""In which character encoding a SOAP message is: one answer, for whoever reads it and for what is added to it.

RFC 7303 would go by the Content-Type; X-Road's parser goes by the document, and clients are written against that. What
neither expat nor a table of 256 characters can read is refused.
"""

from __future__ import annotations

import re
from typing import Final

_DECLARED: Final = re.compile(r"""<\?xml[ \t\r\n][^>]*?encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z0-9._-]{1,40})["']""")
# Charsets that expat reads itself or by a table of 256 characters; supersets of ASCII, and UTF-16.
_CHARSETS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "us-ascii",
    "ascii": "us-ascii",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "latin1": "iso-8859-1",
    **{f"iso-8859-{n}": f"iso-8859-{n}" for n in (*range(1, 12), 13, 14, 15, 16)},
    **{f"windows-125{n}": f"cp125{n}" for n in range(9)},
}
_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class NotSOAP(Exception):
    """The bytes are no such message. `leaf` is the error code without its prefix, `reason` safe to show.

    `client_leaf` is what a client is told of its own message, where that has a name of its own.
    """

    def __init__(self, leaf: str, reason: str, *, client_leaf: str | None = None) -> None:
        super().__init__(leaf)
        self.leaf = leaf
        self.reason = reason
        self.client_leaf = client_leaf or leaf


def encoding_of(data: bytes, charset: str | None) -> str:
    """The codec of a message: byte order mark, else XML declaration, else UTF-8 if it is that, else `charset`.

    `charset` is the Content-Type's. X-Road's parser goes by the document, too; the charset helps where a document that
    says nothing isn't UTF-8. Raises NotSOAP.
    """
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return codec
    for codec in ("utf-16-le", "utf-16-be"):
        if data.startswith("<".encode(codec)):
            return codec
    declared = _DECLARED.match(data[:256].decode("latin-1"))
    if declared is not None:
        codec = _known(declared.group(1))
        if codec.startswith("utf-16"):
            raise NotSOAP("invalid_soap", "the XML declaration names another encoding than the document's")
        return codec
    if charset is None:
        return "utf-8"
    codec = _known(charset)
    if codec == "utf-8" or (not codec.startswith("utf-16") and not _is_utf8(data)):
        return codec
    return "utf-8"


def _known(name: str) -> str:
    codec = _CHARSETS.get(name.lower())
    if codec is None:
        raise NotSOAP("invalid_soap", "the character encoding is not supported")
    return codec


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def expat_name(codec: str) -> str:
    """What expat calls the codec."""
    return {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-8": "UTF-8", "iso-8859-1": "ISO-8859-1"}.get(
        codec, codec
    )
