"""Building hash chains: for the parts of one message, and for a batch of messages or time-stamped signatures.

Follows X-Road's tree: the inputs are the leaves, in the order of their arrival; neighbours are combined; one without a
neighbour goes up as it is. A message of several parts is the leaf that its own step makes. The text has no white space
that matters to anyone: what is signed are the bytes of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from trust.canonical import DigestAlgorithm, encode_base64, escape_attribute
from trust.errors import MalformedInput
from trust.hashchain.model import NAMESPACE, SIGNATURE_FILES, ChainFiles, digest_step

MAX_INPUTS: Final = 1 << 14
_MAX_PARTS: Final = 1000
_DS: Final = "http://www.w3.org/2000/09/xmldsig#"
_HEAD: Final = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_NAMESPACES: Final = f' xmlns="{NAMESPACE}" xmlns:ds="{_DS}"'.encode()
_DIGEST_OPEN: Final = b"<ds:DigestValue>"
_DIGEST_CLOSE: Final = b"</ds:DigestValue>"

NamedDigest = tuple[str, bytes]


class Part(Protocol):
    """A part with the digest of its raw bytes (`trust.xades.SignedPart`)."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> bytes: ...


def build_message_chain(
    parts: Sequence[Part], algorithm: DigestAlgorithm = DigestAlgorithm.SHA512, *, files: ChainFiles = SIGNATURE_FILES
) -> tuple[bytes, bytes]:
    """Hash chain result and hash chain (XML) of one message: a single step that refers to its parts, in order.

    The parts' digests are by `algorithm`. Raises MalformedInput for no parts, too many, or two of one name.
    """
    result, chains = build_batch([[(part.name, part.digest) for part in parts]], algorithm, files=files)
    return result, chains[0]


def build_batch(
    inputs: Sequence[Sequence[NamedDigest] | bytes],
    algorithm: DigestAlgorithm = DigestAlgorithm.SHA512,
    *,
    files: ChainFiles = SIGNATURE_FILES,
) -> tuple[bytes, tuple[bytes, ...]]:
    """One hash chain result over all inputs, and for each input its own hash chain, in the same order (XML).

    An input is the digest of the file `files.data`, or a message as its parts' names and digests; all digests are by
    `algorithm`. Raises MalformedInput for nothing, too much, or two parts of one name.
    """
    if not 0 < len(inputs) <= MAX_INPUTS:
        raise MalformedInput("nothing, or too much, to chain")
    messages = [((files.data, entry),) if isinstance(entry, bytes) else tuple(entry) for entry in inputs]
    for message in messages:
        if not 0 < len(message) <= _MAX_PARTS or len({name for name, _ in message}) != len(message):
            raise MalformedInput("a message without parts, with too many, or with two of one name")
    alone = len(messages) == 1
    leaves = [
        # A part by itself is a leaf; only where nothing else makes a step of it, it needs one of its own.
        message[0][1] if len(message) == 1 and not alone else _digest(algorithm, [digest for _, digest in message])
        for message in messages
    ]
    levels = _levels(leaves, algorithm)
    written = [[_value(digest) for digest in level] for level in levels[:-1]]
    head = b"".join(
        (_HEAD, b"<HashChain", _NAMESPACES, b'><DefaultDigestMethod Algorithm="', algorithm.value.encode(),
         b'"></DefaultDigestMethod>')
    )  # fmt: skip
    chains = tuple(
        b"".join((head, *_steps(message, _path(number, written)), b"</HashChain>"))
        for number, message in enumerate(messages)
    )
    return _result(levels[-1][0], algorithm, files.chain), chains


def _digest(algorithm: DigestAlgorithm, digests: Sequence[bytes]) -> bytes:
    return digest_step(algorithm, [(algorithm, digest) for digest in digests])


def _levels(leaves: list[bytes], algorithm: DigestAlgorithm) -> list[list[bytes]]:
    levels = [leaves]
    while len(below := levels[-1]) > 1:
        level = [_digest(algorithm, below[i : i + 2]) for i in range(0, len(below) - 1, 2)]
        levels.append(level + below[-1:] if len(below) % 2 else level)
    return levels


def _path(leaf: int, written: list[list[bytes]]) -> list[tuple[bool, bytes]]:
    """From the root to the leaf, for each step: whether the way goes right, and its neighbour."""
    path = []
    for height, level in enumerate(written):
        place = leaf >> height
        if place ^ 1 < len(level):
            path.append((bool(place & 1), level[place ^ 1]))
    return path[::-1]


def _steps(message: Sequence[NamedDigest], path: list[tuple[bool, bytes]]) -> list[bytes]:
    references = [
        b"".join((b'<DataRef URI="', escape_attribute(name).encode(), b'">', _DIGEST_OPEN, encode_base64(digest),
                  _DIGEST_CLOSE, b"</DataRef>"))
        for name, digest in message
    ]  # fmt: skip
    pieces: list[bytes] = []
    for number, (right, neighbour) in enumerate(path):
        last = number == len(path) - 1
        way = references[0] if last and len(message) == 1 else b'<StepRef URI="#STEP%d"></StepRef>' % (number + 1)
        pieces += (b'<HashStep id="STEP%d">' % number, *((neighbour, way) if right else (way, neighbour)))
        pieces.append(b"</HashStep>")
    if len(message) > 1 or not path:
        pieces += (b'<HashStep id="STEP%d">' % len(path), *references, b"</HashStep>")
    return pieces


def _value(digest: bytes) -> bytes:
    return b"".join((b"<HashValue>", _DIGEST_OPEN, encode_base64(digest), _DIGEST_CLOSE, b"</HashValue>"))


def _result(digest: bytes, algorithm: DigestAlgorithm, chain: str) -> bytes:
    return b"".join(
        (
            _HEAD,
            b"<HashChainResult",
            _NAMESPACES,
            b' URI="',
            escape_attribute(chain).encode(),
            b'#STEP0"><ds:DigestMethod Algorithm="',
            algorithm.value.encode(),
            b'"></ds:DigestMethod>',
            _DIGEST_OPEN,
            encode_base64(digest),
            _DIGEST_CLOSE,
            b"</HashChainResult>",
        )
    )
