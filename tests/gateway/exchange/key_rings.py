"""What an operator does with `datenweg key` while a gateway runs: a key, its certificate, and its taking into use."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.key_ring import SOFTWARE, open_ring
from tests.gateway.exchange.nodes import RunningNode
from trust.certificates import CertificateUsage
from trust.identifiers import MemberId
from trust.testca.authority import CertificateAuthority
from trust.tokens import CertificateEntry, KeyKind, KeyRing


def ring_of(node: RunningNode) -> KeyRing:
    """The node's ring as another process opens it."""
    return open_ring(node.settings)


def new_certificate(
    node: RunningNode,
    authority: CertificateAuthority,
    usage: CertificateUsage,
    member: MemberId,
    *,
    kind: KeyKind = KeyKind.EC_P256,
    token: str = SOFTWARE,
    ring: KeyRing | None = None,
) -> CertificateEntry:
    """A new key with an active certificate of the test authority."""
    ring = ring or ring_of(node)
    entry = ring.generate(token, kind, usage, member=member.encoded if usage is CertificateUsage.SIGNING else None)
    public = ring.tokens[token].private_key(entry.id).public_key()
    issue = authority.issue_signing if usage is CertificateUsage.SIGNING else authority.issue_authentication
    certificate = issue(public, member, member_name=member.member_code.capitalize(), server_code="ss1")
    verifier = node.gateway.node.trust.latest.certificates
    from cryptography.hazmat.primitives.serialization import Encoding

    taken = ring.import_certificate(
        certificate.public_bytes(Encoding.DER),
        verify_path=lambda use, der, between: verifier.verify_path(
            use, der, at=datetime.now(UTC), intermediates=between
        ),
        at=datetime.now(UTC),
        activate=True,
    )
    return taken.certificate
