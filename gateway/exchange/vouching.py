"""A voucher: our own citizen application says to our own client port that it has checked a token's DPoP proof.

A citizen's app proves possession to the application, for the application's address; the application then asks over the
road with the same token, for which it has no proof. It vouches instead: a MAC over token, method, path and end, under a
key that both have since they are one node. It travels in the DPoP header, where no proof looks like it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from gateway.clock import Clock

_PREFIX: Final = "vouched."
_VALID_MS: Final = 30_000
_MAX: Final = 200


class Vouchers:
    """Issues vouchers and knows its own. `key` is the node's, 32 bytes or more."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = hmac.digest(key, b"datenweg/voucher/v1", "sha256")
        self._clock = clock

    def issue(self, token: str, method: str, path: str) -> str:
        """A voucher for one request with `token`, good for half a minute. `path` is raw, without query."""
        expires_ms = self._clock.now_ms() + _VALID_MS
        return f"{_PREFIX}{expires_ms}.{self._tag(token, method, path, expires_ms)}"

    def vouched(self, header: str, token: str, method: str, path: str) -> bool:
        """Whether `header` is a voucher of ours for this request: a question, not a proof's verification."""
        if not header.startswith(_PREFIX) or len(header) > _MAX or not header.isascii():
            return False
        stated, _, tag = header.removeprefix(_PREFIX).partition(".")
        if not stated.isdigit() or int(stated) < self._clock.now_ms():
            return False
        return hmac.compare_digest(self._tag(token, method, path, int(stated)), tag)

    def _tag(self, token: str, method: str, path: str, expires_ms: int) -> str:
        digest = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        message = "\0".join((digest, method, path, str(expires_ms))).encode()
        return base64.urlsafe_b64encode(hmac.digest(self._key, message, "sha256")).rstrip(b"=").decode()
