"""Messages at rest: sealed with AES-256-GCM under a key of their member, opened again for whoever may read them.

A member's key is HKDF-SHA-512 (RFC 5869) of a secret, salted with the secret's id, so that a new secret is a new key
for each member and old rows stay readable under theirs. Signatures are sealed like messages: the digests in one would
confirm a guess. GCM instead of a bare counter, so that a row that was changed or put in another's place doesn't open:
the record's digest, which stands beside it, is authenticated with each part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from audit.errors import RecordUnopenable
from audit.message_log import MessageRecord, StoredContent, plain_content

SECRET_BYTES: Final = 32
_IV_BYTES: Final = 12
_INFO: Final = b"datenweg/message/v1\0"
_MESSAGE: Final = b"m"
_SIGNATURE: Final = b"s"
_ATTACHMENT: Final = b"a"
_CHAIN_RESULT: Final = b"r"
_CHAIN: Final = b"c"


class MessageCipher:
    """Seals under the current secret, opens under any. Use from one thread."""

    def __init__(self, secrets: Mapping[str, bytes], current: str | None, entropy: Callable[[int], bytes]) -> None:
        """`secrets` by their ids; `current` is the id that new messages are sealed under, None to leave them plain."""
        self._entropy = entropy
        self._secrets: dict[str, bytes] = {}
        self._current: str | None = None
        self._keys: dict[tuple[str, str], AESGCM] = {}
        self.replace(secrets, current)

    def replace(self, secrets: Mapping[str, bytes], current: str | None) -> None:
        """Take other secrets: after a rotation, here or in another process."""
        if current is not None and current not in secrets:
            raise ValueError("the current secret is not among the secrets")
        self._secrets, self._current = dict(secrets), current

    def seal(self, record: MessageRecord, digest: bytes) -> StoredContent:
        """The record's content as it is to be stored. Empty parts stay empty."""
        current = self._current
        if current is None:
            return plain_content(record)
        key = self._key(current, record.member)
        return StoredContent(
            self._seal(key, record.message, _MESSAGE + digest),
            self._seal(key, record.signature, _SIGNATURE + digest),
            tuple(
                self._seal(key, body, b"%b%d:%b" % (_ATTACHMENT, number, digest))
                for number, body in enumerate(record.attachments)
            ),
            self._seal_optional(key, record.hash_chain_result, _CHAIN_RESULT + digest),
            self._seal_optional(key, record.hash_chain, _CHAIN + digest),
            current,
        )

    def open_signature(self, content: bytes, *, key_id: str | None, member: str, digest: bytes) -> bytes:
        """The signature alone. Raises RecordUnopenable."""
        if key_id is None:
            return content
        return _open(self._key(key_id, member), content, _SIGNATURE + digest)

    def open(self, content: StoredContent, *, member: str, digest: bytes) -> StoredContent:
        """The content in the open. Raises RecordUnopenable."""
        if content.key_id is None:
            return content
        key = self._key(content.key_id, member)
        result, chain = content.hash_chain_result, content.hash_chain
        return StoredContent(
            _open(key, content.message, _MESSAGE + digest),
            _open(key, content.signature, _SIGNATURE + digest),
            tuple(
                _open(key, body, b"%b%d:%b" % (_ATTACHMENT, number, digest))
                for number, body in enumerate(content.attachments)
            ),
            None if result is None else _open(key, result, _CHAIN_RESULT + digest),
            None if chain is None else _open(key, chain, _CHAIN + digest),
        )

    def _key(self, key_id: str, member: str) -> AESGCM:
        known = self._keys.get((key_id, member))
        if known is not None:
            return known
        secret = self._secrets.get(key_id)
        if secret is None:
            raise RecordUnopenable("the key that a message was sealed under is not among the message keys")
        derived = HKDF(SHA512(), 32, salt=key_id.encode(), info=_INFO + member.encode()).derive(secret)
        return self._keys.setdefault((key_id, member), AESGCM(derived))

    def _seal(self, key: AESGCM, content: bytes, bound: bytes) -> bytes:
        if not content:
            return b""
        iv = self._entropy(_IV_BYTES)
        return iv + key.encrypt(iv, content, bound)

    def _seal_optional(self, key: AESGCM, content: bytes | None, bound: bytes) -> bytes | None:
        return None if content is None else self._seal(key, content, bound)


def _open(key: AESGCM, content: bytes, bound: bytes) -> bytes:
    if not content:
        return b""
    try:
        return key.decrypt(content[:_IV_BYTES], content[_IV_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise RecordUnopenable("a stored message does not open under its key") from None
