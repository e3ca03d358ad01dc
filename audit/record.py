"""The record beside a leaf: who did what to whose data, why and when; encrypted, and deletable.

The leaf commits to it with a 32-byte random nonce, so that deleting nonce and ciphertext leaves a leaf that says
nothing. A record about a person is stored as nonce || iv || AES-256-GCM(record key, record, aad = commitment). A
record about no person (`month` is None) is stored as nonce || record: there is nobody whose key could lock it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag

from audit.errors import RecordUnopenable
from audit.tag import MonthKey

NONCE_BYTES: Final = 32
IV_BYTES: Final = 12
_TAG_BYTES: Final = 16


def commit(nonce: bytes, record: bytes) -> bytes:
    """`c` of the leaf: SHA-256("xgw/record/v1\\0" || nonce || record)."""
    return sha256(b"xgw/record/v1\0" + nonce + record).digest()


def seal_record(month: MonthKey | None, nonce: bytes, iv: bytes, record: bytes, commitment: bytes) -> bytes:
    """The stored bytes. `nonce` and `iv` are fresh random bytes."""
    if month is None:
        return nonce + record
    return nonce + iv + month.cipher.encrypt(iv, record, commitment)


def open_record(month: MonthKey | None, stored: bytes, commitment: bytes) -> tuple[bytes, bytes]:
    """(nonce, record), verified against the leaf's commitment. Raises RecordUnopenable."""
    if month is None:
        nonce, record = stored[:NONCE_BYTES], stored[NONCE_BYTES:]
    else:
        if len(stored) < NONCE_BYTES + IV_BYTES + _TAG_BYTES:
            raise RecordUnopenable("stored record too short")
        nonce, iv = stored[:NONCE_BYTES], stored[NONCE_BYTES : NONCE_BYTES + IV_BYTES]
        try:
            record = month.cipher.decrypt(iv, stored[NONCE_BYTES + IV_BYTES :], commitment)
        except InvalidTag:
            raise RecordUnopenable("wrong key, or changed bytes") from None
    if len(nonce) != NONCE_BYTES or commit(nonce, record) != commitment:
        raise RecordUnopenable("record does not match its leaf")
    return nonce, record
