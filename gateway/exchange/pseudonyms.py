"""Per-provider pseudonyms: what the road carries instead of a person's name or number (DESIGN section 7).

HMAC-SHA-256 under a key of the city, over the provider's member identifier and the identity provider's issuer and
subject. Two providers that compare what they hold can't join their records; without the key nobody can go back to the
person.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache
from typing import Final

from trust.identifiers import MemberId

_CONTEXT: Final = b"datenweg/pseudonym/v1\0"
MINIMUM_KEY_BYTES: Final = 32
_REMEMBERED: Final = 4096


# A citizen's requests follow each other, and OpenSSL takes its time to begin an HMAC.
@lru_cache(maxsize=_REMEMBERED)
def pseudonym(key: bytes, provider: MemberId, issuer: str, subject: str) -> str:
    """The person's pseudonym at `provider`: 43 characters of unpadded base64url.

    `key` is the city's pseudonym key (32 bytes or more); `issuer` and `subject` are the identity token's `iss` and
    `sub`.
    """
    if len(key) < MINIMUM_KEY_BYTES:
        raise ShortPseudonymKey
    message = b"\0".join((_CONTEXT[:-1], provider.encoded.encode(), issuer.encode(), subject.encode()))
    digest = hmac.digest(key, message, "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


class ShortPseudonymKey(Exception):
    """The city's pseudonym key is shorter than 32 bytes. Ours: the operator has to make a new one."""
