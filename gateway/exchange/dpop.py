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
ALGORITHMS: Final = ("ES256", "ES384", "PS256", "RS256", "Ed25519")
MAX_AGE_SECONDS: Final = 60
_AHEAD_SECONDS: Final = 10
_MAX_PROOF: Final = 4_096
_MAX_ID: Final = 256
# 2,048 bits and more in base64url.
_MIN_MODULUS: Final = 342
_PRIVATE: Final = frozenset(["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# RFC 3986 section 2.3 and what a path segment may hold: everything else is percent-encoded in capitals.
_PATH_SAFE: Final = "/-._~!$&'()*+,;=:@"


class _Registry(jws.JWSRegistry):
    # An RSA key stands in the header, which is longer then than the library expects of one.
    max_header_length = 2_048


_REGISTRY: Final = _Registry(algorithms=list(ALGORITHMS))


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
    key, claims = _signed(proof)
    # RFC 9449 section 4.3 (3): an identifier of its own.
    identifier = claims.get("jti")
    if not _is_text(identifier) or not identifier:
        raise ProofRefused("jti")
    # (8), (9): for this request.
    if claims.get("htm") != method:
        raise ProofRefused("htm")
    stated = claims.get("htu")
    if not isinstance(stated, str) or _normal(stated) not in {_normal(url) for url in urls}:
        raise ProofRefused("htu")
    # (11): made just now.
    issued, now = claims.get("iat"), at.timestamp()
    if type(issued) is not int or not now - MAX_AGE_SECONDS <= issued <= now + _AHEAD_SECONDS:
        raise ProofRefused("iat")
    # (12): with this token.
    if token is not None:
        _check_token(claims.get("ath"), token)
    nonce = claims.get("nonce")
    if nonce is not None and not _is_text(nonce):
        raise ProofRefused("nonce")
    return VerifiedProof(key.thumbprint(), identifier, issued, nonce)


def _signed(proof: str) -> tuple[ECKey | RSAKey | OKPKey, Mapping[str, Any]]:
    if len(proof) > _MAX_PROOF:
        raise ProofRefused("oversize")
    header = _header(proof)
    # Section 4.3 (4): not any other JWT that the same key may have signed.
    if header.get("typ") != "dpop+jwt":
        raise ProofRefused("type")
    # (5), (6), (7): signed by the key that it carries, and that key is public.
    if header.get("alg") not in ALGORITHMS:
        raise ProofRefused("algorithm")
    key = _public_key(header.get("jwk"))
    try:
        signed = jws.deserialize_compact(proof, key, registry=_REGISTRY)
        claims = json.loads(signed.payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise ProofRefused("signature") from None
    if not isinstance(claims, dict):
        raise ProofRefused("claims")
    return key, claims


def _is_text(value: object) -> bool:
    # Half a character (a lone surrogate) isn't printable: JSON can escape it, nobody can write it.
    return isinstance(value, str) and len(value) <= _MAX_ID and value.isprintable()


def _check_token(stated: object, token: str) -> None:
    expected = _base64(hashlib.sha256(token.encode("utf-8", "replace")).digest())
    if not isinstance(stated, str) or not hmac.compare_digest(stated.encode("utf-8", "replace"), expected.encode()):
        raise ProofRefused("ath")


def _header(proof: str) -> Mapping[str, Any]:
    try:
        part = proof.split(".", 1)[0]
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise ProofRefused("malformed") from None
    if not isinstance(header, dict):
        raise ProofRefused("malformed")
    return header


def _public_key(jwk: object) -> ECKey | RSAKey | OKPKey:
    if not isinstance(jwk, dict) or not _PRIVATE.isdisjoint(jwk):
        raise ProofRefused("jwk")
    if jwk.get("kty") == "RSA" and len(str(jwk.get("n"))) < _MIN_MODULUS:
        raise ProofRefused("jwk")
    try:
        key = JWKRegistry.import_key(jwk)
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
        path = parts.path
        # An encoded slash is no separator and must not become one.
        if "%2f" not in path.lower():
            path = quote(unquote(path, errors="strict"), safe=_PATH_SAFE)
    except ValueError:
        raise ProofRefused("htu") from None
    port = port or _DEFAULT_PORTS.get(scheme, 0)
    return f"{scheme}://{host}:{port}{path or '/'}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
