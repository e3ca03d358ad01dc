"""Keys and algorithms: each signs and verifies only as itself, and weak or foreign keys aren't taken."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.trust.factory import make_authority, rsa_key, world
from trust.errors import KeyUnavailable, SignatureInvalid, SignatureMalformed
from trust.keys import PrivateKey, SignatureAlgorithm, SoftwareKey, require_strong, verify_value

DATA = b"what is signed"
RSA_ALGORITHMS = [algorithm for algorithm in SignatureAlgorithm if not algorithm.is_elliptic]


def key_of(private: PrivateKey, algorithm: SignatureAlgorithm | None = None) -> SoftwareKey:
    holder = make_authority().signer(key=private)
    return SoftwareKey(private, holder.certificate, algorithm=algorithm)


def test_defaults_are_sha512() -> None:
    assert world().key.algorithm is SignatureAlgorithm.ECDSA_SHA512
    assert key_of(rsa_key()).algorithm is SignatureAlgorithm.RSA_SHA512


@pytest.mark.parametrize("other", RSA_ALGORITHMS)
@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
def test_rsa_value_holds_under_its_own_algorithm_only(algorithm: SignatureAlgorithm, other: SignatureAlgorithm) -> None:
    value = key_of(rsa_key(), algorithm).sign(DATA)
    if other is algorithm:
        verify_value(other, rsa_key().public_key(), value, DATA)
        return
    with pytest.raises(SignatureInvalid):
        verify_value(other, rsa_key().public_key(), value, DATA)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_ecdsa_value_is_two_whole_coordinates(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    key = key_of(private)
    size = (curve.key_size + 7) // 8
    for number in range(40):
        value = key.sign(b"%d" % number)
        assert len(value) == 2 * size
        verify_value(key.algorithm, private.public_key(), value, b"%d" % number)
        with pytest.raises(SignatureInvalid):
            verify_value(key.algorithm, private.public_key(), value, DATA)


@pytest.mark.parametrize("value", [b"", b"\0", bytes(64), b"\xff" * 64, bytes(63), bytes(65), bytes(1000)])
def test_nonsense_values_are_invalid(value: bytes) -> None:
    for algorithm in SignatureAlgorithm:
        for public in (world().holder.key.public_key(), rsa_key().public_key()):
            with pytest.raises(SignatureInvalid):
                verify_value(algorithm, public, value, DATA)


def test_weak_and_unknown_keys_are_refused() -> None:
    for key in (
        rsa.generate_private_key(65537, 1024).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        None,
    ):
        with pytest.raises(SignatureMalformed):
            require_strong(key)


def test_key_must_be_the_certificates() -> None:
    with pytest.raises(KeyUnavailable):
        SoftwareKey(ec.generate_private_key(ec.SECP256R1()), world().holder.certificate)


def test_algorithm_must_fit_the_key() -> None:
    with pytest.raises(KeyUnavailable):
        key_of(rsa_key(), SignatureAlgorithm.ECDSA_SHA512)
    with pytest.raises(KeyUnavailable):
        key_of(ec.generate_private_key(ec.SECP256R1()), SignatureAlgorithm.RSA_SHA512)


def test_weak_key_does_not_sign() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(KeyUnavailable):
        key_of(weak)


def test_a_key_shows_no_secret() -> None:
    assert "private" not in repr(world().key).lower()
