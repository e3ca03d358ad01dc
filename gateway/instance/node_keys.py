"""A gateway's keys, certified by the instance's test authority: its own, and a signing key for each member it hosts."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from gateway.instance.topology import Topology
from gateway.key_ring import SOFTWARE, open_ring
from gateway.settings import GatewaySettings
from trust.certificates import CertificateUsage, CertificateVerifier, VerifiedPath
from trust.identifiers import MemberId, SecurityServerId
from trust.keystore import load_pkcs12, read_secret, save_pkcs12, write_private
from trust.parameters import SharedParameters
from trust.testca.authority import CertificateAuthority
from trust.tokens import KeyKind, KeyRing


def make_gateway_keys(
    settings: GatewaySettings, topology: Topology, authority: CertificateAuthority, *, names: Sequence[str]
) -> bytes:
    """Makes the gateway's own keys if there are none; its authentication certificate (DER). `names`: of its host."""
    server: SecurityServerId = settings.server_id
    signing, authentication = settings.signing_key_file, settings.authentication_key_file
    for path in (signing, authentication, settings.pin_file):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not settings.pin_file.exists():
        write_private(settings.pin_file, secrets.token_urlsafe(24).encode())
    pin = read_secret(file=settings.pin_file)
    name, code = topology.member_name(server.owner), server.server_code
    if not signing.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue_signing(key.public_key(), server.owner, member_name=name, server_code=code)
        save_pkcs12(signing, key, certificate, (), pin)
    if not authentication.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue_authentication(
            key.public_key(), server.owner, member_name=name, server_code=code, names=names
        )
        save_pkcs12(authentication, key, certificate, (), pin)
    return load_pkcs12(authentication, pin).certificate_der


def make_hosted_keys(
    settings: GatewaySettings,
    topology: Topology,
    members: Iterable[MemberId],
    *,
    authority: CertificateAuthority,
    parameters: SharedParameters,
    at: datetime,
) -> None:
    """Makes a signing key for each of these members that has none here. The parameters approve the authority."""
    wanted = [member for member in members if member != settings.owner_id]
    if not wanted:
        return
    ring = open_ring(settings)
    known = {entry.member for entry in ring.entries()}
    verifier = CertificateVerifier(parameters)

    def verify_path(usage: CertificateUsage, der: bytes, intermediates: Sequence[bytes]) -> VerifiedPath:
        return verifier.verify_path(usage, der, at=at, intermediates=intermediates)

    for member in wanted:
        if member.encoded in known:
            continue
        public_key = _generate(ring, member)
        certificate = authority.issue_signing(
            public_key, member, member_name=topology.member_name(member), server_code=settings.server_code
        )
        der = certificate.public_bytes(Encoding.DER)
        ring.import_certificate(der, verify_path=verify_path, at=at, activate=True)


def _generate(ring: KeyRing, member: MemberId) -> ec.EllipticCurvePublicKey:
    entry = ring.generate(SOFTWARE, KeyKind.EC_P256, CertificateUsage.SIGNING, member=member.encoded)
    public_key = load_der_public_key(entry.public_key)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    return public_key
