"""Keys in a PKCS#11 token: a hardware security module, a smart card, or SoftHSM.

Follows PKCS#11 v2.40. Signing takes digests only (CKM_ECDSA, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS), the mechanisms that
every device has. python-pkcs11 initialises modules for one thread at a time (section 5.4: C_Initialize without
locking), so that all calls of a module take turns; the interpreter runs on meanwhile. After a device was away the token
logs in again by itself, once for each time: a PIN that has become wrong is not tried again, since devices lock
themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from trust.errors import KeyUnavailable
from trust.keys import PrivateKey, PublicKey
from trust.tokens.device_key import EllipticDeviceKey, RSADeviceKey
from trust.tokens.model import KeyKind, TokenKind
from trust.tokens.pkcs11_door import DeviceLost, device_errors, library, open_module

_WAIT_SECONDS: Final = 10.0
_CURVES: Final[dict[KeyKind, str]] = {KeyKind.EC_P256: "secp256r1", KeyKind.EC_P384: "secp384r1"}
_KNOWN_CURVES: Final[dict[bytes, ec.EllipticCurve]] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("06052b81040022"): ec.SECP384R1(),
    bytes.fromhex("06052b81040023"): ec.SECP521R1(),
}
# RFC 8017 section 9.2, note 1: what stands before the digest in PKCS#1 v1.5.
_DIGEST_INFO: Final = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}

_TURNS: Final[dict[str, threading.RLock]] = {}
_TURNS_LOCK: Final = threading.Lock()

_Result = TypeVar("_Result")


class PKCS11Token:
    """One token of a PKCS#11 module, by its label. A Token."""

    kind: Final = TokenKind.PKCS11

    def __init__(self, module: Path, label: str) -> None:
        self.name = label
        self._module = module
        self._pin: str | None = None
        self._session: Any = None
        self._keys: dict[str, Any] = {}
        self._turn = _turn_of(module)

    @property
    def active(self) -> bool:
        """See Token."""
        return self._session is not None

    def login(self, pin: str) -> None:
        """See Token. Raises KeyUnavailable."""
        with self._my_turn():
            self._close()
            self._pin = None
            self._open(pin)
            self._pin = pin

    def logout(self) -> None:
        """See Token."""
        with self._my_turn():
            self._pin = None
            self._close()

    def key_ids(self) -> frozenset[str]:
        """See Token."""
        p = library()
        return self._with_session(
            lambda session: frozenset(
                bytes(key[p.Attribute.ID]).hex()
                for key in session.get_objects({p.Attribute.CLASS: p.ObjectClass.PRIVATE_KEY})
            )
        )

    def generate(self, key_id: str, kind: KeyKind) -> PublicKey:
        """See Token. The key is born in the device and can't leave it."""
        p, identifier = library(), bytes.fromhex(key_id)
        options = {
            "id": identifier,
            "label": f"datenweg-{key_id[:8]}",
            "store": True,
            "capabilities": p.MechanismFlag.SIGN | p.MechanismFlag.VERIFY,
            "private_template": {p.Attribute.SENSITIVE: True, p.Attribute.EXTRACTABLE: False},
        }

        def make(session: Any) -> PublicKey:
            bits = kind.rsa_bits
            if bits is not None:
                session.generate_keypair(p.KeyType.RSA, bits, **options)
            else:
                named = p.util.ec.encode_named_curve_parameters(_CURVES[kind])
                domain = session.create_domain_parameters(p.KeyType.EC, {p.Attribute.EC_PARAMS: named}, local=True)
                domain.generate_keypair(**options)
            return _public_key(session, identifier)

        return self._writing(make)

    def private_key(self, key_id: str) -> PrivateKey:
        """See Token."""

        def look(session: Any) -> PublicKey:
            self._key(session, key_id)
            return _public_key(session, bytes.fromhex(key_id))

        public = self._with_session(look)

        def sign(digest: bytes, algorithm: hashes.HashAlgorithm, scheme: padding.AsymmetricPadding | None) -> bytes:
            return self._sign(key_id, digest, algorithm, scheme)

        if isinstance(public, rsa.RSAPublicKey):
            return RSADeviceKey(public, sign)
        return EllipticDeviceKey(public, sign)

    def delete(self, key_id: str) -> None:
        """See Token. Raises KeyUnavailable."""
        p, identifier = library(), bytes.fromhex(key_id)

        def destroy(session: Any) -> None:
            found = list(session.get_objects({p.Attribute.ID: identifier}))
            if not found:
                raise KeyUnavailable("the token has no such key", code="key_not_found")
            for item in found:
                item.destroy()

        self._writing(destroy)
        self._keys.pop(key_id, None)

    def change_pin(self, old: str, new: str) -> None:
        """See Token."""
        self._writing(lambda session: session.set_pin(old, new))
        self._pin = new

    # The session

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=_WAIT_SECONDS):
            raise KeyUnavailable("the token is busy", code="token_not_available", hint="use a faster device")
        try:
            yield
        finally:
            self._turn.release()

    def _open(self, pin: str) -> None:
        with device_errors():
            token = open_module(self._module).get_token(token_label=self.name)
            self._session = token.open(user_pin=pin)

    def _close(self) -> None:
        session, self._session = self._session, None
        self._keys.clear()
        if session is not None:
            with suppress(KeyUnavailable), device_errors():
                session.close()

    def _reopen(self) -> None:
        """Logs in again with the PIN that it was logged in with."""
        pin, self._pin = self._pin, None
        self._close()
        if pin is None:
            raise _not_active()
        try:
            self._open(pin)
        except KeyUnavailable as error:
            # A device that is still away may be tried again; one that refuses the PIN may not.
            if error.code not in {"pin_incorrect", "login_failed"}:
                self._pin = pin
            raise
        self._pin = pin

    def _with_session(self, work: Callable[[Any], _Result]) -> _Result:
        with self._my_turn():
            if self._session is None:
                self._reopen()
            try:
                with device_errors():
                    return work(self._session)
            except DeviceLost:
                self._reopen()
            with device_errors():
                return work(self._session)

    def _writing(self, work: Callable[[Any], _Result]) -> _Result:
        with self._my_turn():
            if self._session is None:
                raise _not_active()
            with device_errors():
                # The login is the process's (PKCS#11 section 5.6.7): a further session needs no PIN.
                session = self._session.token.open(rw=True)
                try:
                    return work(session)
                finally:
                    session.close()

    def _key(self, session: Any, key_id: str) -> Any:
        key = self._keys.get(key_id)
        if key is None:
            p = library()
            key = session.get_key(object_class=p.ObjectClass.PRIVATE_KEY, id=bytes.fromhex(key_id))
            self._keys[key_id] = key
        return key

    def _sign(
        self, key_id: str, digest: bytes, algorithm: hashes.HashAlgorithm, scheme: padding.AsymmetricPadding | None
    ) -> bytes:
        p = library()
        data, options = digest, {"mechanism": p.Mechanism.ECDSA}
        if isinstance(scheme, padding.PSS):
            name = algorithm.name.upper()
            # The salt is as long as the digest (RFC 9231 section 2.3.10).
            parameters = (p.Mechanism[name], p.MGF[name], algorithm.digest_size)
            options = {"mechanism": p.Mechanism.RSA_PKCS_PSS, "mechanism_param": parameters}
        elif scheme is not None:
            prefix = _DIGEST_INFO.get(algorithm.name)
            if prefix is None:
                raise KeyUnavailable("the digest isn't supported", code="unsupported_sign_algorithm")
            data, options = prefix + digest, {"mechanism": p.Mechanism.RSA_PKCS}
        return self._with_session(lambda session: bytes(self._key(session, key_id).sign(data, **options)))


def _turn_of(module: Path) -> threading.RLock:
    with _TURNS_LOCK:
        return _TURNS.setdefault(str(module), threading.RLock())


def _public_key(session: Any, identifier: bytes) -> PublicKey:
    p = library()
    key = session.get_key(object_class=p.ObjectClass.PUBLIC_KEY, id=identifier)
    if key.key_type is p.KeyType.RSA:
        modulus, exponent = bytes(key[p.Attribute.MODULUS]), bytes(key[p.Attribute.PUBLIC_EXPONENT])
        return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    curve = _KNOWN_CURVES.get(bytes(key[p.Attribute.EC_PARAMS]))
    if curve is None:
        raise KeyUnavailable("a key of a kind that isn't supported", code="unsupported_sign_algorithm")
    point = bytes(key[p.Attribute.EC_POINT])
    size = 2 * ((curve.key_size + 7) // 8) + 1
    # PKCS#11 section 6.3.3 has a DER octet string; some devices give the bare point.
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point[-size:])


def _not_active() -> KeyUnavailable:
    return KeyUnavailable("the PKCS#11 token is not logged in", code="token_not_active", hint="enter the PIN")
