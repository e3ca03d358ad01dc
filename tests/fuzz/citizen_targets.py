"""Signed tokens: a citizen's consent, identity and access tokens. Their signatures are made with keys of our own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet

from gateway.citizen.errors import LoginRefused
from gateway.citizen.identity_tokens import UnknownKey, verify_id_token, verify_logout_token
from gateway.exchange.citizen_tokens import CitizenTokenRefused, CitizenTokens
from gateway.exchange.consents import ConsentRefused, parse_consent, verify_consent
from gateway.exchange.dpop import ProofRefused, verify_proof
from tests.clocks import ManualClock
from tests.fuzz.material import town
from tests.fuzz.registry import SEPARATOR, Target, each, join, split, text_of
from tests.trust.factory import NOW

_ISSUER: Final = "https://issuer.example"
_TOKENS: Final = (
    b".",
    b"..",
    b"=",
    b"e30",
    b"W10",
    b"bnVsbA",
    b"MQ",
    b"IiI",
    b"eyJhbGciOiJub25lIn0",
    b"-",
    b"_",
    b"\xc3\xbc",
)


@cache
def _key() -> ECKey:
    private = ec.derive_private_key(int.from_bytes(hashlib.sha256(b"issuer").digest()), ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ECKey.import_key(pem, {"kid": "k"})


def _segment(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _signed(header: Any, claims: Any) -> bytes:
    """A token over any header and claims, with a signature that holds."""
    return jws.serialize_compact({"alg": "ES256", "kid": "k"} | header, claims, _key()).encode()


_CLAIMS: Final[dict[str, Any]] = {
    "iss": _ISSUER,
    "aud": "app",
    "sub": "somebody",
    "nonce": "n-1",
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 600,
    "acr": "high",
    "name": "Erika Beispiel",
}


def _token(claims: dict[str, Any], **header: Any) -> bytes:
    return jwt.encode({"alg": "ES256", "kid": "k", **header}, claims, _key()).encode()


def identity_claims(**claims: Any) -> bytes:
    """The claims of an identity token, which the target signs."""
    return json.dumps(_CLAIMS | claims).encode()


def _signing(data: bytes, header: dict[str, Any]) -> str:
    """Data that begin with a brace are claims, signed on the way in: so the fuzzer gets behind the signature."""
    if data[:1] in (b"{", b"["):
        return _signed(header, data).decode()
    return text_of(data)


def _identity(data: bytes) -> None:
    keys = KeySet([_key()])
    verify_id_token(_signing(data, {}), keys, issuer=_ISSUER, client_id="app", nonce="n-1", at=NOW)


def _logout(data: bytes) -> None:
    keys = KeySet([_key()])
    verify_logout_token(_signing(data, {"typ": "logout+jwt"}), keys, issuer=_ISSUER, client_id="app", at=NOW)


_LOGOUT: Final = {
    "iss": _ISSUER,
    "aud": "app",
    "sub": "somebody",
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 60,
    "jti": "l-1",
    "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
}

# A proof carries its own key: whoever sends one signs what they like.
_PROOF_HEADER: Final = json.dumps({"alg": "ES256", "typ": "dpop+jwt", "jwk": {"kty": "EC"}}).encode()
_URL: Final = "https://gateway.test/r1/DE-TEST/COM/STADTWERKE/rechnungen/bills"
_ATH: Final = _segment(hashlib.sha256(b"t").digest()).decode()
_PROOF: Final = json.dumps(
    {"jti": "p-1", "htm": "GET", "htu": _URL, "iat": int(NOW.timestamp()), "nonce": "n", "ath": _ATH}
).encode()


def _proof_token(header: bytes, claims: bytes) -> str:
    """Any header and claims, signed over with the key that the header's `jwk` is replaced with if it is an object."""
    text = header.replace(b'{"kty": "EC"}', json.dumps(_key().as_dict(private=False)).encode(), 1)
    signed = _segment(text) + b"." + _segment(claims)
    private = _key().private_key
    assert private is not None
    r, s = decode_dss_signature(private.sign(signed, ec.ECDSA(hashes.SHA256())))
    return (signed + b"." + _segment(r.to_bytes(32) + s.to_bytes(32))).decode("latin-1")


def proof_with(**claims: Any) -> bytes:
    """An input of the target: a good header, and claims of which some are these."""
    return join(_PROOF_HEADER, json.dumps(json.loads(_PROOF) | claims).encode())


def _proof(data: bytes) -> None:
    text = _proof_token(*split(data, 2)) if SEPARATOR in data else text_of(data)
    each(lambda: verify_proof(text, method="GET", urls=[_URL], at=NOW).fingerprint, refusals=(ProofRefused,))
    assert verify_proof(text, method="GET", urls=[_URL], at=NOW, token="t").expires_ms > 0


def _proof_seeds() -> Sequence[bytes]:
    good = join(_PROOF_HEADER, _PROOF)
    foreign = _PROOF_HEADER.replace(
        b'{"kty": "EC"}', b'{"kty":"OKP","crv":"X25519","x":"' + _segment(bytes(32)) + b'"}'
    )
    return good, join(foreign.replace(b"ES256", b"EdDSA"), _PROOF), _proof_token(_PROOF_HEADER, _PROOF).encode()


async def _verify_access(token: str) -> None:
    async with aiohttp.ClientSession() as session:
        tokens = CitizenTokens(session, issuer=_ISSUER, audience="app", clock=ManualClock(NOW))
        tokens._keys, tokens._fetched = KeySet([_key()]), NOW
        await tokens.verify(token)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _access(data: bytes) -> None:
    _loop().run_until_complete(_verify_access(_signing(data, {"typ": "at+jwt"})))


@cache
def _consent_key() -> ECKey:
    private = town().world.holder.key
    return ECKey.import_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _consent_token(claims: bytes) -> bytes:
    certificate = base64.b64encode(town().world.holder.der).decode()
    header = {"alg": "ES256", "typ": "datenweg-consent+jwt", "x5c": [certificate]}
    registry = jws.JWSRegistry(algorithms=["ES256"])
    registry.max_header_length = 24 * 1024
    return jws.serialize_compact(header, claims, _consent_key(), registry=registry).encode()


def _consent(data: bytes) -> None:
    unverified = parse_consent(_consent_token(data) if data[:1] in (b"{", b"[") else data)
    certificate: x509.Certificate = town().world.holder.certificate
    verify_consent(unverified, certificate)


_CONSENT: Final = json.dumps(
    {
        "reference": "6b1d7dd0-45f2-4a4e-8f5f-62b7b3f0a001",
        "client": "DE-TEST/GOV/MUSTERSTADT/app",
        "subject": "abc",
        "service": "DE-TEST/COM/STADTWERKE/rechnungen/bills",
        "purpose": "bill",
        "status": "valid",
        "sequence": 1,
        "given_ms": 1,
        "expires_ms": 2,
    }
).encode()


def _identity_seeds() -> Sequence[bytes]:
    nested = _segment(b"[" * 360)
    return _token(_CLAIMS), json.dumps(_CLAIMS).encode(), nested + b".." + nested, _token(_CLAIMS, typ="at+jwt")


_JSON_TOKENS: Final = (
    b"null",
    b"[]",
    b"{}",
    b"1e400",
    b"NaN",
    b"-1",
    b"true",
    b'"\\ud800"',
    b"[" * 1200,
    b"9" * 4500,
    b'"aud":["app"],',
)

_JWK_TOKENS: Final = (
    *(b'"OKP"', b'"RSA"', b'"oct"', b'"EdDSA"', b'"RS256"', b'"PS256"', b'"ES384"', b'"n":"AQAB"', b'"e":"AQAB"'),
    *(b'"crv":"X25519"', b'"crv":"X448"', b'"crv":"Ed448"', b'"crv":"P-521"', b'"use":"enc"', b'"key_ops":["sign"]'),
    *(b'"b64":false', b'"crit":["b64"]', b'"ath":"\\ud800"', b'"kid":1'),
)

TARGETS: Final = (
    Target(
        "citizen.consent",
        _consent,
        lambda: [_CONSENT, _consent_token(_CONSENT)],
        (ConsentRefused,),
        (*_TOKENS, *_JSON_TOKENS),
    ),
    Target(
        "citizen.identity_token",
        _identity,
        _identity_seeds,
        (LoginRefused, UnknownKey),
        (*_TOKENS, *_JSON_TOKENS),
        8192,
    ),
    Target(
        "citizen.logout_token",
        _logout,
        lambda: [json.dumps(_LOGOUT).encode(), _token(_LOGOUT, typ="logout+jwt")],
        (LoginRefused, UnknownKey),
        (*_TOKENS, *_JSON_TOKENS),
        8192,
    ),
    Target("gateway.dpop", _proof, _proof_seeds, (ProofRefused,), (*_TOKENS, *_JSON_TOKENS, *_JWK_TOKENS), 4096),
    Target("citizen.access_token", _access, _identity_seeds, (CitizenTokenRefused,), (*_TOKENS, *_JSON_TOKENS), 8192),
)
