"""The leaves of the log: small ASCII JSON, hashed as stored, never re-serialised.

A leaf holds no personal data: `c` commits to a record kept elsewhere, `m` names the exchange (blinded, equal in both
gateways' logs), `t` is the time in ms. A leaf about a person also has the person's `tag` of the month, the running
number `n` among the tag's leaves, and `p`, the leaf hash of the one before. Keys sorted, no spaces, integers below
2^53.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import b2a_base64
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from audit.errors import MalformedInput

NO_PREVIOUS: Final = bytes(32)
MAX_LEAF_BYTES: Final = 1024
MAX_INTEGER: Final = 2**53 - 1

_HASH = r"([A-Za-z0-9+/]{43}=)"
_LEAF: Final = re.compile(
    (
        rf'\{{"c":"{_HASH}","k":"([a-z]{{1,16}})","m":"{_HASH}"'
        rf'(?:,"n":([1-9]\d{{0,15}}),"p":"{_HASH}")?,"t":(0|[1-9]\d{{0,15}})(?:,"tag":"{_HASH}")?,"v":1\}}'
    ).encode()
)


@dataclass(frozen=True, slots=True)
class Chain:
    """A leaf's place among the leaves of one person and month."""

    tag: bytes
    number: int
    previous: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """A parsed leaf; `chain` is None when the leaf is about no person."""

    kind: str
    commitment: bytes
    exchange: bytes
    time_ms: int
    chain: Chain | None


def build_leaf(kind: bytes, commitment: bytes, exchange: bytes, time_ms: int, chain: Chain | None) -> bytes:
    """The leaf's bytes. The 32-byte values and the integers are the caller's to have checked."""
    if chain is None:
        return b'{"c":"%b","k":"%b","m":"%b","t":%d,"v":1}' % (_b64(commitment), kind, _b64(exchange), time_ms)
    return b'{"c":"%b","k":"%b","m":"%b","n":%d,"p":"%b","t":%d,"tag":"%b","v":1}' % (
        _b64(commitment),
        kind,
        _b64(exchange),
        chain.number,
        _b64(chain.previous),
        time_ms,
        _b64(chain.tag),
    )


def parse_leaf(data: bytes) -> Leaf:
    """The inverse of `build_leaf`, strict: anything that it wouldn't have written raises MalformedInput."""
    match = _LEAF.fullmatch(data) if len(data) <= MAX_LEAF_BYTES else None
    if match is None:
        raise MalformedInput("not a leaf")
    commitment, kind, exchange, number, previous, time_ms, tag = match.groups()
    if (number is None) != (tag is None):
        raise MalformedInput("a leaf has n, p and tag or none of them")
    chain = None if number is None else Chain(b64decode(tag), int(number), b64decode(previous))
    leaf = Leaf(kind.decode(), b64decode(commitment), b64decode(exchange), int(time_ms), chain)
    # 43 characters carry two spare bits: only the canonical spelling is a leaf.
    if build_leaf(kind, leaf.commitment, leaf.exchange, leaf.time_ms, chain) != data:
        raise MalformedInput("not a leaf in canonical form")
    if max(leaf.time_ms, chain.number if chain else 0) > MAX_INTEGER:
        raise MalformedInput("integer too large")
    return leaf


def exchange_id(nonce: bytes, message_id: str, request_digest: bytes) -> bytes:
    """`m`: one value in both gateways' logs, opaque to who doesn't hold the signed message with its 32-byte nonce."""
    return sha256(b"xgw/exchange/v1\0" + nonce + message_id.encode() + request_digest).digest()


def _b64(value: bytes) -> bytes:
    return b2a_base64(value, newline=False)
