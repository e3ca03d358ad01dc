"""A certification authority for the tests of `trust`, made anew in each process: keys, certificates, OCSP answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trust.certificates import CertificateVerifier
from trust.identifiers import MemberId
from trust.keys import PrivateKey, SignatureAlgorithm, SoftwareKey
from trust.parameters import PROFILE_FI_VRK, ApprovedCA, SharedParameters
from trust.testca.profiles import key_usage
from trust.xades import SignatureBuilder, SignedPart

INSTANCE = "DE-TEST"
MEMBER = MemberId(INSTANCE, "GOV", "MUSTERSTADT")
OTHER_MEMBER = MemberId(INSTANCE, "COM", "STADTWERKE")
NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FRESHNESS = 3600

MESSAGE = b"GET\r\n/r1/DE-TEST/GOV/MUSTERSTADT/app/echo\r\n"
BODY = b'{"frage":"wie viele?"}'


def parts_of(*contents: bytes) -> tuple[SignedPart, ...]:
    """The parts of a message: the first is /message.xml, the others attachments."""
    names = ["/message.xml", *(f"/attachment{number}" for number in range(1, len(contents)))]
    return tuple(SignedPart(n, hashlib.sha512(c).digest()) for n, c in zip(names, contents, strict=True))


PARTS = parts_of(MESSAGE, BODY)


def subject_of(member: MemberId, server: str = "ss1") -> x509.Name:
    """The subject of a signing certificate in the FI-VRK profile."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FI"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Muster {member.member_code}"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{member.instance}/{server}/{member.member_class}"),
            x509.NameAttribute(NameOID.COMMON_NAME, member.member_code),
        ]
    )


def common_name(text: str) -> x509.Name:
    """A subject that is only a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def der(certificate: x509.Certificate) -> bytes:
    """A certificate's DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


@dataclass
class Holder:
    """A key with its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return der(self.certificate)


@dataclass
class Authority:
    """A certification authority that issues anything, good or bad."""

    key: PrivateKey
    certificate: x509.Certificate
    serial: int = 1000
    revoked: set[int] = field(default_factory=set)

    @property
    def der(self) -> bytes:
        return der(self.certificate)

    def issue(
        self,
        subject: x509.Name,
        usage: x509.KeyUsage | None,
        *,
        key: PrivateKey | None = None,
        extended: Sequence[x509.ObjectIdentifier] = (),
        since: datetime = NOW - DAY,
        until: datetime = NOW + 365 * DAY,
        is_authority: bool = False,
        path_length: int | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        algorithm: hashes.HashAlgorithm | None = None,
    ) -> Holder:
        """A certificate with these properties."""
        self.serial += 1
        return _certificate(
            subject,
            key or ec.generate_private_key(ec.SECP256R1()),
            issuer=self.certificate.subject,
            issuer_key=self.key,
            serial=self.serial,
            usage=usage,
            extended=extended,
            since=since,
            until=until,
            is_authority=is_authority,
            path_length=path_length,
            extensions=extensions,
            algorithm=algorithm,
        )

    def intermediate(self, name: str = "Zwischenstelle", path_length: int | None = 0) -> Authority:
        """An authority below this one."""
        holder = self.issue(common_name(name), key_usage("key_cert_sign"), is_authority=True, path_length=path_length)
        return Authority(holder.key, holder.certificate, self.serial + 1_000_000)

    def signer(self, member: MemberId = MEMBER, **options: object) -> Holder:
        """A signing certificate of a member."""
        return self.issue(subject_of(member), key_usage("content_commitment"), **options)  # type: ignore[arg-type]

    def authentication(self, **options: object) -> Holder:
        """An authentication certificate of a gateway."""
        return self.issue(
            subject_of(MEMBER),
            key_usage("digital_signature"),
            extended=(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
            **options,  # type: ignore[arg-type]
        )

    def responder(self, **options: object) -> Holder:
        """A delegated OCSP responder."""
        options.setdefault("extended", (ExtendedKeyUsageOID.OCSP_SIGNING,))
        return self.issue(common_name("Auskunft"), key_usage("digital_signature"), **options)  # type: ignore[arg-type]

    def status(
        self,
        certificate: x509.Certificate,
        *,
        responder: Holder | None = None,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        at: datetime = NOW,
        next_update: datetime | None = None,
        issuer: x509.Certificate | None = None,
        certificate_id: hashes.HashAlgorithm | None = None,
        algorithm: hashes.HashAlgorithm | None = None,
        embed: bool = True,
        by_name: bool = False,
    ) -> bytes:
        """An OCSP response (DER), signed by the authority itself or a responder."""
        signer = responder or Holder(self.key, self.certificate)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=certificate,
            issuer=issuer or self.certificate,
            algorithm=certificate_id or hashes.SHA1(),  # names the certificate, as everyone does
            cert_status=status,
            this_update=at,
            next_update=next_update,
            revocation_time=at if status is ocsp.OCSPCertStatus.REVOKED else None,
            revocation_reason=None,
        )
        encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
        builder = builder.responder_id(encoding, signer.certificate)
        if responder is not None and embed:
            builder = builder.certificates([responder.certificate])
        response = builder.sign(signer.key, algorithm or hashes.SHA256())
        return response.public_bytes(serialization.Encoding.DER)


def _certificate(
    subject: x509.Name,
    key: PrivateKey,
    *,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    serial: int,
    usage: x509.KeyUsage | None,
    since: datetime,
    until: datetime,
    is_authority: bool,
    extended: Sequence[x509.ObjectIdentifier] = (),
    path_length: int | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    algorithm: hashes.HashAlgorithm | None = None,
) -> Holder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(is_authority, path_length if is_authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(extended)), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Holder(key, builder.sign(issuer_key, algorithm or hashes.SHA256()))  # type: ignore[arg-type]


def make_authority(name: str = "Musterstadt Test CA", key: PrivateKey | None = None) -> Authority:
    """A root of its own."""
    root_key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Musterstadt"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    usage = key_usage("key_cert_sign", "crl_sign", "digital_signature")
    holder = _certificate(
        subject,
        root_key,
        issuer=subject,
        issuer_key=root_key,
        serial=1,
        usage=usage,
        since=NOW - 400 * DAY,
        until=NOW + 4000 * DAY,
        is_authority=True,
    )
    return Authority(holder.key, holder.certificate)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; making one takes long, so each size is made once."""
    return rsa.generate_private_key(65537, bits)


def approve(authority: Authority, **options: object) -> ApprovedCA:
    """The authority as the global configuration names it."""
    options.setdefault("profile", PROFILE_FI_VRK)
    return ApprovedCA(name="Test-CA", certificate=authority.der, **options)  # type: ignore[arg-type]


def parameters(*approved: ApprovedCA) -> SharedParameters:
    """Shared parameters with these authorities."""
    return SharedParameters(instance=INSTANCE, approved_cas=approved, ocsp_freshness_seconds=FRESHNESS)


@dataclass
class World:
    """One authority, one responder, one member with a signing key: what most tests need."""

    authority: Authority
    responder: Holder
    holder: Holder
    key: SoftwareKey
    ocsp_response: bytes

    def verifier(self, *others: ApprovedCA) -> CertificateVerifier:
        """A new verifier that approves the authority (and others)."""
        return CertificateVerifier(parameters(approve(self.authority), *others))

    def sign(self, parts: Sequence[SignedPart] = PARTS, **options: object) -> bytes:
        """A good signature over the parts."""
        options.setdefault("ocsp_response", self.ocsp_response)
        options.setdefault("signing_time", NOW)
        return SignatureBuilder(self.key).build(parts, **options)  # type: ignore[arg-type]


def make_world(key: PrivateKey | None = None, algorithm: SignatureAlgorithm | None = None) -> World:
    """A new world; with `key` the member signs with it."""
    authority = make_authority()
    responder = authority.responder()
    holder = authority.signer(key=key)
    signing_key = SoftwareKey(holder.key, holder.certificate, algorithm=algorithm)
    return World(authority, responder, holder, signing_key, authority.status(holder.certificate, responder=responder))


@cache
def world() -> World:
    """The world that tests share; they don't change it."""
    return make_world()
