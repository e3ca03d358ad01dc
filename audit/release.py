"""The record of a release: the record of the access that the law withheld, as it was, with one member more at its end.

That member, `withheld`, says where the withheld leaf stands (`origin`, `index`), what it is (`leaf`), and the `nonce`
that opens its commitment. So whoever reads the release can check that the access was in the log when it happened, and
that nothing about it was changed while it was kept from them.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from audit.errors import MalformedInput, ProofInvalid
from audit.leaf import MAX_INTEGER, Leaf, parse_leaf
from audit.record import commit

KIND: Final = "release"
WITHHELD: Final = "withheld"
_MEMBER: Final = re.compile(
    rb',?"withheld":\{"index":(0|[1-9]\d{0,15}),"leaf":"((?:[^"\\]|\\")*)","nonce":"([A-Za-z0-9+/]{43}=)",'
    rb'"origin":"([^"\\\x00-\x20]{1,255})"\}\}\Z'
)


@dataclass(frozen=True, slots=True)
class Released:
    """A withheld access: its record, its leaf, where that stands, and the nonce that joins the two."""

    record: bytes
    origin: str
    index: int
    leaf: bytes
    nonce: bytes

    def encode(self) -> bytes:
        """The release's record. The withheld record is a JSON object and goes in as it is."""
        member = {
            "index": self.index,
            "leaf": self.leaf.decode(),
            "nonce": b64encode(self.nonce).decode(),
            "origin": self.origin,
        }
        text = json.dumps(member, separators=(",", ":"), ensure_ascii=False).encode()
        comma = b"" if self.record == b"{}" else b","
        return self.record[:-1] + comma + b'"withheld":' + text + b"}"


def parse_release(data: bytes) -> Released:
    """The inverse of `Released.encode`. Raises MalformedInput."""
    match = _MEMBER.search(data)
    if match is None:
        raise MalformedInput("not the record of a release")
    index, leaf, nonce, origin = match.groups()
    try:
        found = Released(
            data[: match.start()] + b"}", origin.decode(), int(index), leaf.replace(b'\\"', b'"'), b64decode(nonce)
        )
    except UnicodeDecodeError:
        raise MalformedInput("not the record of a release") from None
    if found.index > MAX_INTEGER or not found.leaf.isascii() or found.encode() != data:
        raise MalformedInput("not the record of a release in canonical form")
    return found


def verify_release(leaf: Leaf, record: bytes) -> tuple[Released, Leaf]:
    """What a release's record says was withheld, and its leaf. That the leaf is in its log, the caller has to verify.

    Raises ProofInvalid if the record isn't what the withheld leaf committed to, or the two leaves are of different
    exchanges; MalformedInput.
    """
    found = parse_release(record)
    withheld = parse_leaf(found.leaf)
    if withheld.kind != WITHHELD or withheld.chain is None:
        raise ProofInvalid("what was released is no withheld access")
    if not hmac.compare_digest(commit(found.nonce, found.record), withheld.commitment):
        raise ProofInvalid("what was released is not what was withheld")
    if withheld.exchange != leaf.exchange or withheld.time_ms > leaf.time_ms:
        raise ProofInvalid("the release is of another exchange")
    return found, withheld
