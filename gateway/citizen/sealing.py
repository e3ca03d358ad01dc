"""Seals what must not lie open in the database: what citizens write, and whom they may act for.

AES-256-GCM under a key derived from the city's; the row is bound in, so that none can be moved to another.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12


class SealBroken(Exception):
    """A sealed value doesn't open: another key, or another row's. Ours or the operator's fault."""


class Sealer:
    """Seals JSON objects for one use. `key` is the city's pseudonym key, 32 bytes or more."""

    def __init__(self, key: bytes, use: str) -> None:
        self._cipher = AESGCM(hmac.digest(key, b"datenweg/citizen-seal/v1\0" + use.encode(), "sha256"))

    def seal(self, content: Mapping[str, Any], *, row: str) -> bytes:
        """`content`, readable with the key and for this row only."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, json.dumps(dict(content)).encode(), row.encode())

    def open(self, sealed: bytes, *, row: str) -> dict[str, Any]:
        """What was sealed for this row. Raises SealBroken."""
        try:
            content = json.loads(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], row.encode()))
        except (InvalidTag, ValueError):
            raise SealBroken from None
        if not isinstance(content, dict):
            raise SealBroken
        return content
