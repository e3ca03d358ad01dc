"""ID tokens and bearer tokens: forged, expired, foreign, of the wrong kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from gateway.citizen.errors import LoginRefused
from gateway.citizen.identity_tokens import UnknownKey, VerifiedIdentity, verify_id_token
from gateway.messages.headers import IdentityLevel
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import AUDIENCE, City

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW = int(AT.timestamp())
KEY = ECKey.generate_key("P-256", auto_kid=True)
KEYS = KeySet([ECKey.import_key(KEY.as_dict(private=False))])
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "app",
    "sub": "somebody",
    "nonce": "n-1",
    "iat": NOW,
    "exp": NOW + 600,
    "acr": "high",
    "name": "Erika Beispiel",
}


def token(claims: dict[str, Any] | None = None, *, key: Any = KEY, **header: Any) -> str:
    return jwt.encode({"alg": "ES256", "kid": KEY.kid, **header}, CLAIMS | (claims or {}), key)


def verify(value: str) -> VerifiedIdentity:
    return verify_id_token(value, KEYS, issuer="https://issuer.example", client_id="app", nonce="n-1", at=AT)


def test_a_good_token_names_who_it_is() -> None:
    assert verify(token()) == VerifiedIdentity(
        "https://issuer.example", "somebody", "Erika Beispiel", IdentityLevel.HIGH
    )
    assert verify(token({"acr": "http://eidas.europa.eu/LoA/low"})).level is IdentityLevel.LOW
    assert verify(token({"aud": ["app", "other"], "azp": "app"})).subject == "somebody"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://issuer.example/"}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["app", "other"]}, "audience"),
        ({"azp": "other"}, "audience"),
        ({"exp": NOW}, "expired"),
        ({"exp": "soon"}, "exp"),
        ({"exp": True}, "exp"),
        ({"iat": NOW + 60}, "not yet valid"),
        ({"nonce": "n-2"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"sub": ""}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"acr": "superb"}, "identity level"),
        ({"acr": "none"}, "identity level"),
        ({"acr": ""}, "identity level"),
    ],
)
def test_claims_that_do_not_hold_are_refused(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(LoginRefused) as refused:
        verify(token(claims))
    assert refused.value.reason == reason


def unsigned(claims: dict[str, Any], *, typ: str = "JWT") -> str:
    parts = ({"alg": "none", "typ": typ, "kid": KEY.kid}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."


def confused_token(key: ECKey, claims: dict[str, Any], *, typ: str = "JWT") -> str:
    """HS256 with the public key's PEM as the secret: what a verifier that trusts the header would accept."""
    parts = ({"alg": "HS256", "typ": typ, "kid": key.kid}, claims)
    signed = ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts)
    tag = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


def test_forgeries_are_refused() -> None:
    confused = confused_token(KEY, CLAIMS)
    other = ECKey.generate_key("P-256", auto_kid=True)
    head, body, signature = token().split(".")
    raised = json.dumps(CLAIMS | {"sub": "somebody else"}).encode()
    swapped = f"{head}.{base64.urlsafe_b64encode(raised).rstrip(b'=').decode()}.{signature}"
    for forged in (
        unsigned(CLAIMS),
        confused,
        swapped,
        token(key=other),
        token(typ="at+jwt"),
        f"{head}.{body}.",
        "",
        "a.b.c",
        "é",
        "x" * 10_000,
    ):
        with pytest.raises(LoginRefused):
            verify(forged)


def test_a_key_that_is_not_in_the_set_may_be_newer() -> None:
    other = ECKey.generate_key("P-256", auto_kid=True)
    with pytest.raises(UnknownKey):
        verify(token(key=other, kid=other.kid))


async def test_the_api_takes_only_good_bearer_tokens(city: City) -> None:
    now = int(city.clock.now().timestamp())
    claims = {
        "iss": city.issuer_url,
        "aud": AUDIENCE,
        "sub": ERIKA,
        "iat": now,
        "exp": now + 600,
        "acr": "high",
    }
    sign = city.issuer.keys.sign
    foreign = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}, claims, KEY)
    head, body, signature = sign(claims, token_type="at+jwt").split(".")
    published = ECKey.import_key(city.issuer.keys.public()["keys"][0])
    as_anna = json.dumps(claims | {"sub": "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e02"}).encode()
    bad = {
        "audience": sign(claims | {"aud": "other"}, token_type="at+jwt"),
        "issuer": sign(claims | {"iss": "https://other.example"}, token_type="at+jwt"),
        "expired": sign(claims | {"exp": now}, token_type="at+jwt"),
        "an ID token": sign(claims, token_type="JWT"),
        "level": sign(claims | {"acr": "superb"}, token_type="at+jwt"),
        "no level": sign(claims | {"acr": "none"}, token_type="at+jwt"),
        "foreign key": foreign,
        "none": unsigned(claims),
        "none, as an access token": unsigned(claims, typ="at+jwt"),
        "HS256 with the public key": confused_token(published, claims, typ="at+jwt"),
        "another's claims": f"{head}.{base64.urlsafe_b64encode(as_anna).rstrip(b'=').decode()}.{signature}",
        "no signature": f"{head}.{body}.",
        "not yet valid": sign(claims | {"nbf": now + 3600}, token_type="at+jwt"),
        "no subject": sign(claims | {"sub": ""}, token_type="at+jwt"),
        "no token": "x",
        "empty": "",
    }
    async with city.browser() as browser:
        good = await browser.get("/api/v1/me", Authorization=f"Bearer {sign(claims, token_type='at+jwt')}")
        assert good.status == 200
        assert json.loads(good.text)["identityLevel"] == "high"
        for name, value in bad.items():
            answer = await browser.get("/api/v1/me", Authorization=f"Bearer {value}")
            assert (answer.status, json.loads(answer.text)["code"]) == (401, "not_logged_in"), name
            assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_an_access_token_that_came_with_it_is_the_one_that_it_names() -> None:
    """OpenID Connect Core 1.0 section 3.1.3.8: nobody puts another's access token beside a login."""

    def verified(at_hash: object) -> VerifiedIdentity:
        value = token({"at_hash": at_hash})
        known = {"issuer": "https://issuer.example", "client_id": "app", "nonce": "n-1"}
        return verify_id_token(value, KEYS, **known, at=AT, access_token="access")

    right = hashlib.sha256(b"access").digest()
    named = base64.urlsafe_b64encode(right[:16]).rstrip(b"=").decode()
    assert verified(named).subject == "somebody"
    whole = base64.urlsafe_b64encode(right).rstrip(b"=").decode()
    for wrong in (named[:-1] + "A", "", whole, named + "=", 7, None, "é"):
        with pytest.raises(LoginRefused, match="access token"):
            verified(wrong)
