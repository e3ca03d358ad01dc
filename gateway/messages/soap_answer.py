"""SOAP answers that the road makes itself, for its own services, in the shape of X-Road's proxy.

Widely used clients find things in these with regular expressions: the envelope's prefix is `SOAP-ENV:`, a boundary
begins with `xroad`. The answer repeats the request's headers in their order (PR-MESS 2.2); the request hash is added
later, like that of any service's answer. What the body says is the service's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.messages.mime import Part
from gateway.messages.soap import SOAPMessage
from gateway.messages.soap_fields import IDENTIFIERS, REPRESENTATION, SECURITY_TOKEN, XROAD
from gateway.messages.soap_request import SOAPParts
from gateway.messages.soap_scan import ENVELOPE, Entry, Name
from gateway.messages.transport_encoder import boundary_from

CONTENT_TYPE: Final = "text/xml; charset=UTF-8"
# The prefixes that a body may use without declaring them.
PREFIXES: Final = {"SOAP-ENV": ENVELOPE, "xroad": XROAD, "id": IDENTIFIERS}
_KNOWN: Final = {namespace: prefix for prefix, namespace in PREFIXES.items()} | {
    REPRESENTATION: "repr",
    SECURITY_TOKEN: "token",
}
_NOT_REPEATED: Final = Name(XROAD, "requestHash")


def build_soap_answer(
    request: SOAPMessage, body: str, *, attachments: Sequence[Part] = (), entropy: bytes = b""
) -> SOAPParts:
    """The answer to `request`. `body` is the body's one element as XML text; it may use the prefixes of `PREFIXES`.

    Attachments need at least 30 random bytes in `entropy` for the boundary; names of their headers stay as given (the
    road's own are in lower case).
    """
    headers = "".join(_repeated(entry) for entry in request.entries if _is_repeated(entry))
    declared = "".join(f' xmlns:{prefix}="{namespace}"' for namespace, prefix in _used(request).items())
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope{declared}>'
        f"<SOAP-ENV:Header>{headers}</SOAP-ENV:Header><SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
    root = Part(CONTENT_TYPE, (), text.encode())
    if not attachments:
        return SOAPParts(CONTENT_TYPE, root)
    boundary = "xroad" + boundary_from(entropy).removeprefix("xtop")
    content_type = f'multipart/related; type="text/xml"; charset=UTF-8; boundary={boundary}'
    return SOAPParts(content_type, root, tuple(attachments))


def _is_repeated(entry: Entry) -> bool:
    # Foreign entries may hold more than was read of them; no client of X-Road's own services misses those.
    return entry.name.namespace in _KNOWN and entry.name != _NOT_REPEATED


def _used(request: SOAPMessage) -> dict[str, str]:
    there = {entry.name.namespace for entry in request.entries}
    return {namespace: prefix for namespace, prefix in _KNOWN.items() if prefix in PREFIXES or namespace in there}


def _repeated(entry: Entry) -> str:
    attributes = "".join(
        f" {_qualified(name)}={quoteattr(value)}" for name, value in entry.attributes if name.namespace in {"", *_KNOWN}
    )
    children = [child for child in entry.children if child.name.namespace in _KNOWN]
    inner = (
        "".join(f"<{_qualified(c.name)}>{escape(c.text)}</{_qualified(c.name)}>" for c in children)
        if children
        else escape(entry.text)
    )
    name = _qualified(entry.name)
    return f"<{name}{attributes}>{inner}</{name}>"


def _qualified(name: Name) -> str:
    return f"{_KNOWN[name.namespace]}:{name.local}" if name.namespace else name.local
