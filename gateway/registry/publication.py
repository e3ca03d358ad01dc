"""One generation of the global configuration: the signed directories and their files, ready to be served.

Follows PR-GCONF 2.12 section 2.3; locations carry the generation's time stamp as X-Road's central server writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from trust.globalconf import (
    PRIVATE_PARAMETERS,
    SHARED_PARAMETERS,
    VERSION,
    PrivateParameters,
    build_directory,
    build_private_parameters,
    build_shared_parameters,
    sign_directory,
)
from trust.keys import SigningKey
from trust.parameters import SharedParameters

_SEQUENCE_DIGITS: Final = 23


@dataclass(frozen=True, slots=True)
class Publication:
    """What one generation serves: directories and, by path, the files they name."""

    sequence: int
    expires: datetime
    internal: bytes
    external: bytes
    files: Mapping[str, bytes]


def next_sequence(at: datetime, last: int) -> int:
    """The number of the generation after `last`: `uuuuMMddHHmmssnnnnnnnnn` of `at`, and growing in any case."""
    moment = at.astimezone(UTC)
    return max(int(f"{moment:%Y%m%d%H%M%S}{moment.microsecond * 1000:09d}"), last + 1)


def build_publication(
    parameters: SharedParameters,
    private: PrivateParameters | None,
    key: SigningKey,
    *,
    sequence: int,
    at: datetime,
    validity: timedelta,
    boundaries: tuple[str, str],
) -> Publication:
    """The generation `sequence`, valid for `validity` from `at`. `boundaries` are fresh random words of 20 or more
    letters.

    Raises ConfigurationInvalid, KeyUnavailable.
    """
    prefix = f"/V{VERSION}/{sequence:0{_SEQUENCE_DIGITS}d}"
    shared = (SHARED_PARAMETERS, f"{prefix}/shared-params.xml", build_shared_parameters(parameters))
    internal = [shared]
    if private is not None:
        # X-Road lists the private parameters first.
        internal.insert(0, (PRIVATE_PARAMETERS, f"{prefix}/private-params.xml", build_private_parameters(private)))
    expires = (at + validity).replace(microsecond=0)

    def directory(files: list[tuple[str, str, bytes]]) -> bytes:
        inner, envelope = boundaries
        unsigned = build_directory(
            files, instance=parameters.instance, version=VERSION, expires=expires, boundary=inner
        )
        return sign_directory(unsigned, key, boundary=inner, envelope_boundary=envelope)

    return Publication(
        sequence, expires, directory(internal), directory([shared]), {path: data for _, path, data in internal}
    )
