"""The global configuration: what a registry, or somebody in its place, gives out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from tests.fuzz.material import configuration_key
from tests.fuzz.registry import XML_TOKENS, Target, each
from tests.trust import configurations
from tests.trust.factory import NOW
from trust.errors import TrustError
from trust.globalconf import (
    VERSIONS,
    Anchor,
    OptionalParts,
    PrivateParameters,
    VerifiedConfiguration,
    build_anchor,
    build_optional_parts,
    build_private_parameters,
    build_shared_parameters,
    parse_anchor,
    parse_optional_parts,
    parse_private_parameters,
    parse_shared_parameters,
    verify_configuration,
)
from trust.globalconf_directory import verify_directory

OWN: Final = (TrustError,)


def _parameters_seeds() -> Sequence[bytes]:
    return [build_shared_parameters(configurations.parameters(), version) for version in VERSIONS]


def _shared(data: bytes) -> None:
    each(
        *(lambda version=version: parse_shared_parameters(data, version) for version in VERSIONS),  # type: ignore[misc]
        refusals=OWN,
    )
    found = parse_shared_parameters(data)
    assert parse_shared_parameters(build_shared_parameters(found)).members == found.members


def _private_seeds() -> Sequence[bytes]:
    private = PrivateParameters(
        configurations.INSTANCE,
        "http://registry.test/",
        configurations.CITY,
        anchors=(configurations.anchor(configuration_key()),),
        registration_certificate=configuration_key().certificate_der,
    )
    return (build_private_parameters(private),)


def _optional(data: bytes) -> None:
    number, content = data[:1], data[1:]
    name = ("MONITORING", "FETCHINTERVAL", "NEXTUPDATE")[ord(number or b"0") % 3]
    parse_optional_parts({name: content})


def _optional_seeds() -> Sequence[bytes]:
    parts = OptionalParts(configurations.APP, 1200, verify_next_update=True)
    return [b"%d" % number + data for number, data in enumerate(build_optional_parts(parts).values())]


@cache
def _anchor() -> Anchor:
    return configurations.anchor(configuration_key())


@cache
def _signed() -> configurations.Signed:
    return configurations.signed(signer=configuration_key())


def _directory(data: bytes) -> None:
    found = verify_directory(data, instance=configurations.INSTANCE, certificates=_anchor().certificates)
    assert found.expires == NOW + configurations.VALIDITY, "a directory verifies that nobody has signed"
    found.require_current(NOW)


def verified_configuration() -> VerifiedConfiguration:
    signed = _signed()
    return verify_configuration(signed.directory, signed.files, anchor=_anchor(), at=NOW, previous=None)


def anchor_seeds() -> Sequence[bytes]:
    return build_anchor(_anchor()), build_anchor(replace(_anchor(), generated_at=NOW))


TARGETS: Final = (
    Target("trust.globalconf.shared", _shared, _parameters_seeds, OWN, XML_TOKENS),
    Target("trust.globalconf.private", parse_private_parameters, _private_seeds, OWN, XML_TOKENS),
    Target("trust.globalconf.optional", _optional, _optional_seeds, OWN, XML_TOKENS),
    Target("trust.globalconf.directory", _directory, lambda: [_signed().directory], OWN, (b"--envelope", b"--inner--")),
    Target("trust.globalconf.anchor", parse_anchor, anchor_seeds, OWN, XML_TOKENS),
)
