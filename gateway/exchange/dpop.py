"""DPoP proofs (RFC 9449): whoever uses a token shows that they hold the key that it was given to.

A core: texts in, a verified proof out. That a proof counts once, that its nonce was ours and that its device is still
in use is asked of what the caller passes in (`citizen_tokens.Bindings`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

# RFC 9449 section 4.3 (5): asymmetric, of a fixed list; neither `none` nor a MAC under the public key gets in.
ALGORITHMS: Final = ("ES256", "ES384", "PS256", "RS256", "EdDSA")
MAX_AGE_SECONDS: Final = 60
_AHEAD_SECONDS: Final = 10
_MAX_PROOF: Final = 4_096
_MAX_ID: Final = 256
_MIN_RSA_BITS: Final = 2_048
_END_OF_TIME: Final = 253_402_300_799
_PRIVATE: Final = frozenset(["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# RFC 3986 section 2.3 and what a path segment may hold: everything else is percent-encoded in capitals.
_PATH_SAFE: Final = "/-._~!$&'()*+,;=:@"


class ProofRefused(Exception):
    """The proof doesn't hold. The sender's fault; `reason` is a fixed word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """A proof that holds by itself. `thumbprint` names its key (RFC 7638, SHA-256, base64url)."""

    thumbprint: str
    identifier: str
    issued: int
    nonce: str | None

    @property
    def fingerprint(self) -> bytes:
        """What tells this proof from every other: the key and its `jti`."""
        return hashlib.sha256(f"dpop\0{self.thumbprint}\0{self.identifier}".encode()).digest()

    @property
    def expires_ms(self) -> int:
        """Until when it must not be taken again."""
        return (self.issued + MAX_AGE_SECONDS + _AHEAD_SECONDS) * 1000


def verify_proof(
    proof: str, *, method: str, urls: Sequence[str], at: datetime, token: str | None = None
) -> VerifiedProof:
    """The proof in a DPoP header for a request `method` to one of `urls` (our own names for what was asked).

    `token`: the access token that it is presented with; None at a token endpoint. Raises ProofRefused.
    """
    if len(proof) > _MAX_PROOF:
        raise ProofRefused("oversize")
    header = _header(proof)
    # RFC 9449 section 4.3 (4): not any other JWT that the same key may have signed.
    if header.get("typ") != "dpop+jwt":
        raise ProofRefused("type")
    # (5), (6), (7): signed by the key that it carries, and that key is public.
    if header.get("alg") not in ALGORITHMS:
        raise ProofRefused("algorithm")
    key = _public_key(header.get("jwk"))
    try:
        signed = jws.deserialize_compact(proof, key, algorithms=list(ALGORITHMS))
        claims = json.loads(signed.payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise ProofRefused("signature") from None
    if not isinstance(claims, dict):
        raise ProofRefused("claims")
    # (3): an identifier of its own.
    identifier = claims.get("jti")
    # Half a character (a lone surrogate) isn't printable: JSON can escape it, nobody can write it.
    if not isinstance(identifier, str) or not 0 < len(identifier) <= _MAX_ID or not identifier.isprintable():
        raise ProofRefused("jti")
    # (8), (9): for this request.
    if claims.get("htm") != method:
        raise ProofRefused("htm")
    stated = claims.get("htu")
    if not isinstance(stated, str) or _normal(stated) not in {_normal(url) for url in urls}:
        raise ProofRefused("htu")
    # (11): made just now.
    issued = claims.get("iat")
    if type(issued) is not int or not 0 < issued < _END_OF_TIME:
        raise ProofRefused("iat")
    now = at.timestamp()
    if not now - MAX_AGE_SECONDS <= issued <= now + _AHEAD_SECONDS:
        raise ProofRefused("iat")
    # (12): with this token.
    if token is not None:
        expected = _base64(hashlib.sha256(token.encode("utf-8", "replace")).digest())
        found = claims.get("ath")
        if not isinstance(found, str) or not hmac.compare_digest(found.encode("utf-8", "replace"), expected.encode()):
            raise ProofRefused("ath")
    nonce = claims.get("nonce")
    if nonce is not None and (not isinstance(nonce, str) or len(nonce) > _MAX_ID or not nonce.isprintable()):
        raise ProofRefused("nonce")
    return VerifiedProof(key.thumbprint(), identifier, issued, nonce)


def _header(proof: str) -> Mapping[str, Any]:
    try:
        part = proof.split(".", 1)[0]
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise ProofRefused("malformed") from None
    if not isinstance(header, dict):
        raise ProofRefused("malformed")
    return header


def _public_key(jwk: Any) -> ECKey | RSAKey | OKPKey:
    if not isinstance(jwk, dict) or not _PRIVATE.isdisjoint(jwk):
        raise ProofRefused("jwk")
    try:
        key = JWKRegistry.import_key(jwk)
        if isinstance(key, RSAKey) and key.public_key.key_size < _MIN_RSA_BITS:
            raise ProofRefused("jwk")
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise ProofRefused("jwk") from None
    if not isinstance(key, ECKey | RSAKey | OKPKey):
        raise ProofRefused("jwk")
    return key


def _normal(url: str) -> str:
    """RFC 9449 section 4.3 (9): without query and fragment, normalised by syntax and scheme (RFC 3986, 6.2.2-3)."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
        path = (
            quote(unquote(parts.path, errors="strict"), safe=_PATH_SAFE)
            if "%2f" not in parts.path.lower()
            else (parts.path)
        )
    except ValueError:
        raise ProofRefused("htu") from None
    port = port or _DEFAULT_PORTS.get(scheme, 0)
    return f"{scheme}://{host}:{port}{path or '/'}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
