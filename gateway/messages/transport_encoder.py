"""Writing the message between two gateways (PR-MESSTRANSP 3.1): its parts' names, its bytes, its HTTP headers.

A small message is made in one piece; for a body that streams there is what stands before it and what stands after. The
caller brings randomness for the boundary, signature and OCSP answers. Reading is `transport`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.messages.content import Content, Sendable, sendable
from gateway.messages.faults import Fault
from gateway.messages.http_fields import Header, Refused, field_name, field_value
from gateway.messages.multipart import multipart_pieces

PROXY_VERSION: Final = "7.8.0"
HASH_ALGORITHM: Final = "SHA-512"
REQUEST_ID_HEADER: Final = "x-road-request-id"
MESSAGE_TYPE_HEADER: Final = "x-road-message-type"
ORIGINAL_CONTENT_TYPE: Final = "x-original-content-type"


class PartKind(Enum):
    """What a part is, by its media type; FAULT is XML where a signature or body was due."""

    OCSP_RESPONSE = "application/ocsp-response"
    REST_REQUEST = "application/x-road-rest-request"
    REST_RESPONSE = "application/x-road-rest-response"
    SOAP = "text/xml; charset=UTF-8"
    REST_BODY = "application/x-road-rest-body"
    ATTACHMENTS = "multipart/mixed"
    HASH_CHAIN_RESULT = "application/hash-chain-result"
    HASH_CHAIN = "application/hash-chain"
    SIGNATURE = "signature/bdoc-1.0/ts"
    FAULT = "text/xml"


@dataclass(frozen=True, slots=True)
class HashChain:
    """The hash chain of a batch signature."""

    result: bytes
    chain: bytes


_LETTERS: Final = bytes(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[i % 52] for i in range(256))
_RANDOM_LETTERS: Final = 30
_HEADS: Final = {kind: b"\r\ncontent-type: " + kind.value.encode("ascii") + b"\r\n\r\n" for kind in PartKind}


def boundary_from(entropy: bytes) -> str:
    """A boundary as X-Road's proxies make it: `xtop` and 30 letters, from at least 30 random bytes."""
    if len(entropy) < _RANDOM_LETTERS:
        raise Fault("server.clientproxy.internal_error", "too little randomness for a boundary")
    return "xtop" + entropy[:_RANDOM_LETTERS].translate(_LETTERS).decode("ascii")


def content_type(boundary: str) -> str:
    """The Content-Type of the message."""
    return f"multipart/mixed; charset=UTF-8; boundary={boundary}"


def exchange_headers(
    request_id: str, boundary: str, *, original_content_type: str | None = None, rest: bool = True
) -> list[Header]:
    """The HTTP headers of a message from consumer to provider gateway (PR-MESSTRANSP 3.1)."""
    headers = [
        (REQUEST_ID_HEADER, request_id),
        ("x-hash-algorithm", HASH_ALGORITHM),
        ("x-proxy-version", PROXY_VERSION),
        ("Content-Type", content_type(boundary)),
    ]
    if rest:
        headers.append((MESSAGE_TYPE_HEADER, "REST"))
    if original_content_type:
        headers.append((ORIGINAL_CONTENT_TYPE, original_content_type))
    return headers


def encode_message(
    kind: PartKind,
    message: bytes,
    signature: bytes,
    *,
    boundary: str,
    body: Content | None = None,
    ocsp_responses: Sequence[bytes] = (),
    hash_chain: HashChain | None = None,
) -> Sendable:
    """A whole REST message; in pieces if its body isn't in memory. An empty body is no part (PR-MESSTRANSP 3.1)."""
    head = _head(kind, message, ocsp_responses, boundary, bool(body))
    tail = _tail(signature, boundary, hash_chain)
    if body is None or isinstance(body, bytes):
        return b"".join((*head, body or b"", *tail))
    return b"".join(head), body, b"".join(tail)


def encode_head(
    kind: PartKind, message: bytes, *, boundary: str, with_body: bool, ocsp_responses: Sequence[bytes] = ()
) -> bytes:
    """Everything before the body's bytes, for a body that is streamed between `encode_head` and `encode_tail`."""
    return b"".join(_head(kind, message, ocsp_responses, boundary, with_body))


def encode_tail(signature: bytes, *, boundary: str, hash_chain: HashChain | None = None) -> bytes:
    """Everything after the body's bytes."""
    return b"".join(_tail(signature, boundary, hash_chain))


def encode_segments(
    kind: PartKind,
    message: bytes,
    signature: bytes,
    *,
    boundary: str,
    body: Iterable[bytes],
    ocsp_responses: Sequence[bytes] = (),
    hash_chain: HashChain | None = None,
) -> Iterator[bytes]:
    """The message in pieces, the body's as they come. The body must not be empty."""
    yield encode_head(kind, message, boundary=boundary, with_body=True, ocsp_responses=ocsp_responses)
    yield from body
    yield encode_tail(signature, boundary=boundary, hash_chain=hash_chain)


def encode_fault(fault: bytes, *, boundary: str, after: bytes = b"") -> bytes:
    """A message whose sending broke off after `after` (an encoded head and body): the fault stands for the rest."""
    delimiter = b"--" + boundary.encode("ascii")
    return b"".join(
        (after, b"\r\n" if after else b"", delimiter, _HEADS[PartKind.SOAP], fault, b"\r\n", delimiter, b"--\r\n")
    )


def _head(
    kind: PartKind, message: bytes, ocsp_responses: Sequence[bytes], boundary: str, with_body: bool
) -> list[bytes]:
    delimiter = b"--" + boundary.encode("ascii")
    pieces: list[bytes] = []
    for response in ocsp_responses:
        pieces += (delimiter, _HEADS[PartKind.OCSP_RESPONSE], response, b"\r\n")
    pieces += (delimiter, _HEADS[kind], message)
    if with_body:
        pieces += (b"\r\n", delimiter, _HEADS[PartKind.REST_BODY])
    return pieces


def _tail(signature: bytes, boundary: str, hash_chain: HashChain | None) -> list[bytes]:
    delimiter = b"\r\n--" + boundary.encode("ascii")
    pieces: list[bytes] = []
    if hash_chain is not None:
        pieces += (delimiter, _HEADS[PartKind.HASH_CHAIN_RESULT], hash_chain.result)
        pieces += (delimiter, _HEADS[PartKind.HASH_CHAIN], hash_chain.chain)
    pieces += (delimiter, _HEADS[PartKind.SIGNATURE], signature, delimiter, b"--\r\n")
    return pieces


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment of a SOAP message, with its original headers (Content-Type among them)."""

    headers: tuple[Header, ...]
    data: Content


def encode_soap_message(
    message: bytes,
    signature: bytes,
    *,
    boundary: str,
    headers: Sequence[Header] = (("content-type", PartKind.SOAP.value),),
    attachments: Sequence[Attachment] = (),
    ocsp_responses: Sequence[bytes] = (),
    hash_chain: HashChain | None = None,
) -> Sendable:
    """A whole SOAP message; `headers` are those of its own MIME part. The attachments' boundary is `xatt` and the
    same letters.

    Raises Fault `server.clientproxy.internal_error` for a header that would break the message.
    """
    pieces: list[Content] = [*_head(PartKind.SOAP, message, ocsp_responses, boundary, with_body=False)]
    pieces[-2] = b"\r\n" + _header_block(headers) + b"\r\n\r\n"
    if attachments:
        nested = "xatt" + boundary.removeprefix("xtop")
        block = f"\r\n--{boundary}\r\ncontent-type: {content_type(nested)}\r\n\r\n"
        parts = [(_header_block(part.headers), part.data) for part in attachments]
        pieces += (block.encode("ascii"), *multipart_pieces(parts, nested))
    return sendable((*pieces, *_tail(signature, boundary, hash_chain)))


def _header_block(headers: Sequence[Header]) -> bytes:
    lines: list[str] = []
    try:
        for name, value in headers:
            field_name(name)
            lines.append(f"{name}: {field_value(value)}")
    except Refused as refused:
        raise Fault("server.clientproxy.internal_error", refused.reason) from None
    return "\r\n".join(lines).encode("utf-8")
