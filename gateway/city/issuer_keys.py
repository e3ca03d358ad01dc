"""The demo issuer's signing keys: made at first start, kept in its data directory, readable by its user only.

Newest first. Rotation puts a new key in front and goes on publishing the earlier one, so that tokens signed a moment
ago stay verifiable (OpenID Connect Core 1.0 section 10.1.1).
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

ALGORITHM: Final = "ES256"
_PUBLISHED: Final = 2


class IssuerKeys:
    """ES256 keys and the secret that signs the issuer's own cookies. Creates what is missing in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = directory / "issuer-keys.json"
        if self._file.exists():
            stored = json.loads(self._file.read_text("utf-8"))
            self._keys = [ECKey.import_key(key) for key in stored["keys"]]
            self.cookie_secret = bytes.fromhex(stored["cookie_secret"])
        else:
            self._keys = [_generate()]
            self.cookie_secret = secrets.token_bytes(32)
            self._save()

    def rotate(self) -> None:
        """From now on signs with a new key; durable when it returns."""
        self._keys = [_generate(), *self._keys][:_PUBLISHED]
        self._save()

    def sign(self, claims: dict[str, Any], *, token_type: str) -> str:
        """`claims` as a signed JWT with header `typ` = `token_type`."""
        key = self._keys[0]
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid, "typ": token_type}, claims, key, algorithms=[ALGORITHM])

    def public(self) -> dict[str, Any]:
        """The JWK set document (RFC 7517 section 5)."""
        return dict(KeySet([*self._keys]).as_dict(private=False, use="sig", alg=ALGORITHM))

    def _save(self) -> None:
        document = {
            "keys": [key.as_dict(private=True) for key in self._keys],
            "cookie_secret": self.cookie_secret.hex(),
        }
        temporary = self._file.with_suffix(".new")
        # Created 0600 from the start: never a moment in which another user could read it.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._file)


def _generate() -> ECKey:
    return ECKey.generate_key("P-256", auto_kid=True)
