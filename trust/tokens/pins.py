"""PINs: where one is taken from, and which are strong enough. A PIN is never part of an error or a log line."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Final

from trust.errors import KeyUnavailable
from trust.keystore import read_secret

MIN_LENGTH: Final = 10
_MIN_CLASSES: Final = 3


def pin_from(*, file: Path | None, variable: str, prompt: str | None = None) -> str:
    """The PIN from `file` if there is one, else from the environment, else typed at `prompt` on a terminal.

    Raises KeyUnavailable (`token_not_active`).
    """
    if file is not None and file.exists():
        return read_secret(file=file)
    try:
        return read_secret(variable=variable)
    except KeyUnavailable:
        if prompt is None or not sys.stdin.isatty():
            raise KeyUnavailable(
                "no PIN is given",
                code="token_not_active",
                hint=f"put it into {file}, or into the environment as {variable}" if file else f"set {variable}",
            ) from None
    pin = getpass.getpass(prompt)
    if not pin:
        raise KeyUnavailable("no PIN is given", code="token_not_active", hint="type the PIN")
    return pin


def require_strong_pin(pin: str) -> str:
    """The PIN, if it has ten printable ASCII characters of three kinds: X-Road's token PIN policy.

    Raises KeyUnavailable (`token_pin_policy_failure`).
    """
    printable = all(" " <= character <= "~" for character in pin)
    kinds = (str.islower, str.isupper, str.isdigit, lambda character: not character.isalnum())
    classes = sum(any(kind(character) for character in pin) for kind in kinds)
    if not printable or len(pin) < MIN_LENGTH or classes < _MIN_CLASSES:
        raise KeyUnavailable(
            "the PIN is too weak",
            code="token_pin_policy_failure",
            hint=f"{MIN_LENGTH} ASCII characters or more, of three kinds: lower case, upper case, digits, others",
        )
    return pin
