"""One generation of the global configuration in every version that is offered: signed directories and their files.

Follows PR-GCONF 2.12 sections 2.3 and 2.7; locations carry version and time stamp as X-Road's central server writes
them. The internal configuration has all parts, the external one, for federated instances, the shared parameters alone.
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
    VERSIONS,
    OptionalParts,
    PrivateParameters,
    build_directory,
    build_optional_parts,
    build_private_parameters,
    build_shared_parameters,
    sign_directory,
)
from trust.globalconf_parts import FILE_NAMES
from trust.keys import SigningKey
from trust.parameters import SharedParameters

_SEQUENCE_DIGITS: Final = 23


@dataclass(frozen=True, slots=True)
class Publication:
    """What one generation serves: directories by version, and, by path, the files they name."""

    sequence: int
    expires: datetime
    internals: Mapping[int, bytes]
    externals: Mapping[int, bytes]
    files: Mapping[str, bytes]

    @property
    def internal(self) -> bytes:
        """The internal configuration's directory in the newest version."""
        return self.internals[VERSION]

    @property
    def external(self) -> bytes:
        """The external configuration's directory in the newest version."""
        return self.externals[VERSION]


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
    optional: OptionalParts | None = None,
) -> Publication:
    """The generation `sequence`, valid for `validity` from `at`. `boundaries` are fresh random words of 20 or more
    letters.

    Raises ConfigurationInvalid, KeyUnavailable.
    """
    expires = (at + validity).replace(microsecond=0)
    inner, envelope = boundaries
    others: list[tuple[str, str, bytes]] = []
    if private is not None:
        # X-Road lists the private parameters first.
        others.append((PRIVATE_PARAMETERS, "private-params.xml", build_private_parameters(private)))
    extra = build_optional_parts(optional or OptionalParts())
    internals: dict[int, bytes] = {}
    externals: dict[int, bytes] = {}
    files: dict[str, bytes] = {}
    for version in VERSIONS:
        prefix = f"/V{version}/{sequence:0{_SEQUENCE_DIGITS}d}"
        shared = (SHARED_PARAMETERS, "shared-params.xml", build_shared_parameters(parameters, version))
        parts = [*others, shared, *((name, FILE_NAMES[name], data) for name, data in extra.items())]

        def directory(contents: list[tuple[str, str, bytes]], prefix: str = prefix, version: int = version) -> bytes:
            located = [(identifier, f"{prefix}/{name}", data) for identifier, name, data in contents]
            unsigned = build_directory(
                located, instance=parameters.instance, version=version, expires=expires, boundary=inner
            )
            return sign_directory(unsigned, key, boundary=inner, envelope_boundary=envelope)

        internals[version], externals[version] = directory(parts), directory([shared])
        files |= {f"{prefix}/{name}": data for _, name, data in parts}
    return Publication(sequence, expires, internals, externals, files)
