"""DPoP proofs by themselves: what RFC 9449 section 4.3 asks, item by item, and what attackers try instead."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from gateway.exchange.dpop import ALGORITHMS, MAX_AGE_SECONDS, ProofRefused, verify_proof
from tests.gateway.citizen.wallet import digest, make_proof

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
URL = "https://buergerkonto.musterstadt.example/api/v1/calls"
TOKEN = "an-access-token"
KEY = ECKey.generate_key("P-256")


def reason(proof: str, *, method: str = "POST", urls: tuple[str, ...] = (URL,), token: str | None = TOKEN) -> str:
    with pytest.raises(ProofRefused) as caught:
        verify_proof(proof, method=method, urls=urls, at=NOW, token=token)
    return caught.value.reason


def proof(key: ECKey = KEY, **changes: Any) -> str:
    return make_proof(key, changes.pop("method", "POST"), changes.pop("url", URL), at=AT, token=TOKEN, **changes)


def test_a_good_proof_names_its_key() -> None:
    found = verify_proof(proof(), method="POST", urls=("http://other.example/x", URL), at=NOW, token=TOKEN)
    assert found.thumbprint == KEY.thumbprint()
    assert found.nonce is None
    assert found.expires_ms > (AT + MAX_AGE_SECONDS) * 1000
    again = verify_proof(proof(), method="POST", urls=(URL,), at=NOW, token=TOKEN)
    assert again.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", ECKey.generate_key("P-256")),
        ("ES384", ECKey.generate_key("P-384")),
        ("RS256", RSAKey.generate_key(2048)),
        ("PS256", RSAKey.generate_key(2048)),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
)
def test_every_algorithm_that_is_offered(algorithm: str, key: Any) -> None:
    assert algorithm in ALGORITHMS
    made = make_proof(key, "POST", URL, at=AT, token=TOKEN, header={"alg": algorithm})
    found = verify_proof(made, method="POST", urls=(URL,), at=NOW, token=TOKEN)
    assert found.thumbprint == key.thumbprint()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"htm": "GET"}, "htm"),
        ({"htm": "post"}, "htm"),
        ({"htm": None}, "htm"),
        ({"htu": URL + "/x"}, "htu"),
        ({"htu": URL.replace("https", "http")}, "htu"),
        ({"htu": URL.replace(".example", ".example.evil.example")}, "htu"),
        ({"htu": "https://[::1"}, "htu"),
        ({"htu": None}, "htu"),
        ({"iat": AT - MAX_AGE_SECONDS - 1}, "iat"),
        ({"iat": AT + 60}, "iat"),
        ({"iat": str(AT)}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": None}, "iat"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": "x" * 300}, "jti"),
        ({"jti": 7}, "jti"),
        ({"ath": None}, "ath"),
        ({"ath": digest("another-token")}, "ath"),
        ({"ath": TOKEN}, "ath"),
        ({"nonce": 7}, "nonce"),
        ({"header": {"typ": "JWT"}}, "type"),
        ({"header": {"typ": "at+jwt"}}, "type"),
        ({"header": {"typ": None}}, "type"),
        ({"header": {"jwk": None}}, "jwk"),
        ({"header": {"jwk": KEY.as_dict(private=True)}}, "jwk"),
        ({"header": {"jwk": OctKey.generate_key(256).as_dict()}}, "jwk"),
        ({"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}}, "jwk"),
        ({"header": {"jwk": ECKey.generate_key("P-256").as_dict(private=False)}}, "signature"),
    ],
    # Not the values: keys are made anew by each test process, and all must call a test by one name.
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_does_not_hold(changes: dict[str, Any], expected: str) -> None:
    assert reason(proof(**changes)) == expected


@pytest.mark.parametrize(
    "spelling",
    [
        URL,
        URL + "?a=b",
        URL + "#f",
        URL.replace("https", "HTTPS").replace("buergerkonto", "BuergerKonto"),
        URL.replace(".example", ".example:443"),
        URL.replace("calls", "%63alls"),
    ],
)
def test_spellings_of_one_address(spelling: str) -> None:
    verify_proof(proof(url=spelling), method="POST", urls=(URL,), at=NOW, token=TOKEN)


def test_an_encoded_slash_is_another_address() -> None:
    assert reason(proof(url=URL.replace("/calls", "%2Fcalls"))) == "htu"


def test_no_algorithm_and_no_secret_of_the_public_key() -> None:
    header = {"typ": "dpop+jwt", "jwk": KEY.as_dict(private=False)}
    claims = {"jti": "x", "htm": "POST", "htu": URL, "iat": AT, "ath": digest(TOKEN)}
    assert reason(f"{base64url(header | {'alg': 'none'})}.{base64url(claims)}.") == "algorithm"
    signed = base64url(header | {"alg": "HS256"}), base64url(claims)
    # What a verifier would compute that took the public key for a MAC's secret.
    tag = hmac.digest(KEY.as_pem(private=False), ".".join(signed).encode(), "sha256")
    assert reason(".".join((*signed, base64.urlsafe_b64encode(tag).rstrip(b"=").decode()))) == "algorithm"


@pytest.mark.parametrize("changed", [{"ath": "\ud800"}, {"jti": "\ud800"}, {"htu": "\ud800"}], ids=str)
def test_half_a_character_is_no_text(changed: dict[str, str]) -> None:
    claims = {"jti": "x", "htm": "POST", "htu": URL, "iat": AT, "ath": digest(TOKEN)} | changed
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.as_dict(private=False)}
    made = jws.serialize_compact(header, json.dumps(claims).encode(), KEY, algorithms=["ES256"])
    assert reason(made) == next(iter(changed))


def base64url(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_weak_key_is_none() -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    modulus = base64.urlsafe_b64encode(weak.n.to_bytes(128, "big")).rstrip(b"=").decode()
    header = {"typ": "dpop+jwt", "alg": "RS256", "jwk": {"kty": "RSA", "n": modulus, "e": "AQAB"}}
    assert reason(f"{base64url(header)}.{base64url({})}.AA") == "jwk"


def test_a_proof_lasts_a_minute() -> None:
    made = proof()
    late = NOW + timedelta(seconds=MAX_AGE_SECONDS)
    verify_proof(made, method="POST", urls=(URL,), at=late, token=TOKEN)
    with pytest.raises(ProofRefused):
        verify_proof(made, method="POST", urls=(URL,), at=late + timedelta(seconds=1), token=TOKEN)


@given(
    st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode() + ".e30."))
)
def test_nothing_foreign_escapes(text: str) -> None:
    reason(text)
