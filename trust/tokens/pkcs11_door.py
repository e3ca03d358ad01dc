"""The one door to python-pkcs11, the optional extra `pkcs11`, and to the errors of devices.

Follows PKCS#11 v2.40. A module is loaded once for a process, as the specification has it; its errors become
KeyUnavailable with X-Road's signer codes, and never carry what the device said.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from trust.errors import KeyUnavailable

_LOADING: Final = threading.Lock()

# Which of the module's errors say what; any other means that the device doesn't work.
_CODES: Final = {
    "PinIncorrect": ("pin_incorrect", "check the PIN: a device locks itself after a few wrong ones"),
    "PinInvalid": ("pin_incorrect", "check the PIN: a device locks itself after a few wrong ones"),
    "PinLenRange": ("pin_incorrect", "check the PIN: a device locks itself after a few wrong ones"),
    "PinLocked": ("login_failed", "the device has locked the PIN: unlock it with its security officer's PIN"),
    "PinExpired": ("login_failed", "change the PIN with the device's own tools"),
    "PinTooWeak": ("token_pin_policy_failure", "choose a PIN that the device accepts"),
    "UserPinNotInitialized": ("token_not_initialized", "initialise the token with the device's own tools"),
    "UserNotLoggedIn": ("token_not_active", "enter the PIN"),
    "TokenNotPresent": ("token_not_available", "check the device and its connection"),
    "TokenNotRecognised": ("token_not_available", "check the device and its connection"),
    "DeviceRemoved": ("token_not_available", "check the device and its connection"),
    "NoSuchToken": ("token_not_found", "check pkcs11_token: it is the token's label"),
    "MultipleTokensReturned": ("token_not_found", "give the token a label of its own"),
    "NoSuchKey": ("key_not_found", "create or load the key"),
    "TokenWriteProtected": ("token_read_only", "use a writable token"),
    "SessionReadOnly": ("token_read_only", "use a writable token"),
    "MechanismInvalid": ("unsupported_sign_algorithm", "choose a kind of key that the device supports"),
    "KeySizeRange": ("unsupported_sign_algorithm", "choose a kind of key that the device supports"),
    "PKCS11Error": ("token_not_available", "check pkcs11_module: it is no PKCS#11 module"),
    "CurveNotSupported": ("unsupported_sign_algorithm", "choose a kind of key that the device supports"),
}
# After these a session is of no more use, and a new login may mend it.
LOST: Final = frozenset(
    {
        "SessionHandleInvalid",
        "SessionClosed",
        "DeviceError",
        "DeviceRemoved",
        "TokenNotPresent",
        "UserNotLoggedIn",
        "KeyHandleInvalid",
        "ObjectHandleInvalid",
        "CryptokiNotInitialized",
    }
)


class DeviceLost(KeyUnavailable):
    """The session with the device has ended; a new login may help."""

    default_code = "hsm_non_operational"


def library() -> Any:
    """python-pkcs11. Raises KeyUnavailable when the extra isn't installed."""
    try:
        import pkcs11  # noqa: PLC0415 - an optional extra: nobody needs it who has no device
    except ImportError:
        raise KeyUnavailable(
            "keys in a PKCS#11 token need python-pkcs11",
            code="token_not_available",
            hint="install the extra: pip install 'datenweg[pkcs11]'",
        ) from None
    return pkcs11


def open_module(path: Path) -> Any:
    """The device's module (a shared library). Raises KeyUnavailable (`token_not_available`)."""
    found = library()
    if not path.is_file():
        raise KeyUnavailable(
            f"there is no PKCS#11 module at {path}",
            code="token_not_available",
            hint="install the device's driver, or correct pkcs11_module",
        )
    with _LOADING, device_errors():
        return found.lib(str(path))


def _clear_openssl_errors() -> None:
    """What a module that uses this process's OpenSSL left in the thread's error queue, as SoftHSM does.

    The next call of `ssl` would take it for its own failure. A list of ciphers that doesn't exist empties the queue.
    """
    with suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("none")


@contextmanager
def device_errors() -> Iterator[None]:
    """What the module raises within becomes KeyUnavailable, or DeviceLost."""
    foreign = library().exceptions.PKCS11Error
    try:
        yield
    except foreign as error:
        _clear_openssl_errors()
        name = type(error).__name__
        code, hint = _CODES.get(name, ("hsm_non_operational", "check the device"))
        kind = DeviceLost if name in LOST else KeyUnavailable
        raise kind(f"the PKCS#11 token refused: {name}", code=code, hint=hint) from None
    except RuntimeError as error:
        # Loading a file that is no module, and what a device returns that the library knows no name for.
        raise KeyUnavailable(
            f"the PKCS#11 module does not work: {type(error).__name__}", code="token_not_available", hint="check it"
        ) from None
