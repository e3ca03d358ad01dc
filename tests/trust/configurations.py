"""A small instance for tests: its parameters, its signing key, and configurations signed with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from trust.globalconf import (
    PRIVATE_PARAMETERS,
    SHARED_PARAMETERS,
    Anchor,
    AnchorSource,
    PrivateParameters,
    build_directory,
    build_private_parameters,
    build_shared_parameters,
    sign_directory,
)
from trust.identifiers import GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.keys import PrivateKey, SignatureAlgorithm, SoftwareKey
from trust.parameters import (
    ApprovedCA,
    ApprovedTSA,
    ConfigurationSource,
    GlobalGroup,
    Member,
    MemberClass,
    SecurityServer,
    SharedParameters,
    Subsystem,
)
from trust.self_signed import build_self_signed

INSTANCE = "DE-TEST"
NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
VALIDITY = timedelta(minutes=10)
URL = "http://registry.test/internalconf"
CITY = MemberId(INSTANCE, "GOV", "MUSTERSTADT")
APP = SubsystemId(INSTANCE, "GOV", "MUSTERSTADT", "buergerapp")
UTILITY = MemberId(INSTANCE, "COM", "STADTWERKE")
BILLS = SubsystemId(INSTANCE, "COM", "STADTWERKE", "rechnungen")
CITY_SERVER = SecurityServerId(CITY, "gateway1")
UTILITY_SERVER = SecurityServerId(UTILITY, "gateway1")
GROUP = GlobalGroupId(INSTANCE, "buergerdienste")


def key_pair(private_key: PrivateKey | None = None, algorithm: SignatureAlgorithm | None = None) -> SoftwareKey:
    """A configuration signing key with its self-signed certificate."""
    key = private_key or ec.generate_private_key(ec.SECP256R1())
    since, until = NOW - timedelta(days=1), NOW + timedelta(days=1)
    certificate = build_self_signed(key, "configuration", since=since, until=until)
    return SoftwareKey(key, certificate, algorithm=algorithm)


@cache
def key() -> SoftwareKey:
    """The instance's key."""
    return key_pair()


@cache
def rsa_private_key() -> rsa.RSAPrivateKey:
    """One RSA key for all tests: making it takes a while."""
    return rsa.generate_private_key(65537, 2048)


@cache
def parameters() -> SharedParameters:
    """Two members, two gateways, a group, one authority of each kind."""
    certificate = key().certificate_der
    return SharedParameters(
        instance=INSTANCE,
        sources=(ConfigurationSource("registry.test", (certificate,), (certificate,)),),
        approved_cas=(ApprovedCA("Prüfstelle", certificate, ocsp_urls=("http://ca.test/ocsp",)),),
        approved_tsas=(ApprovedTSA("Zeitstelle", "http://ca.test/tsa", certificate),),
        members=(
            Member(CITY, "Stadt Musterstadt", (Subsystem(APP, "Bürger-App"),)),
            Member(UTILITY, "Stadtwerke Musterstadt", (Subsystem(BILLS, ""),)),
        ),
        security_servers=(
            SecurityServer(
                CITY_SERVER, "127.0.0.1:5500", frozenset({hashlib.sha256(b"city").digest()}), frozenset({APP})
            ),
            SecurityServer(
                UTILITY_SERVER,
                "gateway.stadtwerke.test",
                frozenset({hashlib.sha256(b"utility").digest()}),
                frozenset({BILLS, APP}),
                maintenance="bis Mittag",
            ),
        ),
        groups=(GlobalGroup(GROUP, "Dienste für Bürger", frozenset({APP, UTILITY})),),
        member_classes=(MemberClass("GOV", "Verwaltung"), MemberClass("COM", "Unternehmen")),
        ocsp_freshness_seconds=1800,
    )


def anchor(*keys: SoftwareKey, url: str = URL) -> Anchor:
    """An anchor that names these keys (default: the instance's)."""
    return Anchor(INSTANCE, (AnchorSource(url, tuple(k.certificate_der for k in keys or (key(),))),))


@dataclass(frozen=True)
class Signed:
    """A configuration as a source serves it."""

    directory: bytes
    files: dict[str, bytes]


def signed(
    *,
    at: datetime = NOW,
    values: SharedParameters | None = None,
    signer: SoftwareKey | None = None,
    number: int = 1,
    instance: str = INSTANCE,
    version: int = 6,
    shared: bytes | None = None,
    location: str | None = None,
    expires: datetime | None = None,
    private: PrivateParameters | None = None,
    more: Sequence[tuple[str, bytes]] = (),
) -> Signed:
    """A signed configuration of generation `number`."""
    prefix = f"/V{version}/20261122100000{number:09d}"
    wanted = private or PrivateParameters(instance, "http://registry.test/", CITY)
    files = [
        (PRIVATE_PARAMETERS, f"{prefix}/private-params.xml", build_private_parameters(wanted)),
        (
            SHARED_PARAMETERS,
            location or f"{prefix}/shared-params.xml",
            build_shared_parameters(values or parameters(), version) if shared is None else shared,
        ),
        *((identifier, f"{prefix}/{identifier.lower()}.xml", data) for identifier, data in more),
    ]
    directory = build_directory(
        files, instance=instance, version=version, expires=expires or at + VALIDITY, boundary="inner"
    )
    document = sign_directory(directory, signer or key(), boundary="inner", envelope_boundary="envelope")
    return Signed(document, {path: data for _, path, data in files})
