"""The test authority's keys, what it issued and what it revoked, all in one directory.

Several processes may use the directory at once: issuing writes one new file per certificate, revoking replaces one file
under a lock, and whoever answers for a certificate's status reads both again (`status_of`).
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from trust.durable import write_atomically
from trust.errors import KeyUnavailable, TrustError
from trust.identifiers import MemberId
from trust.parameters import PROFILE_BASIC, PROFILE_FI_VRK, ApprovedCA, ApprovedTSA
from trust.testca import profiles
from trust.testca.profiles import PublicKey, Template

_TEST_INSTANCE: Final = re.compile(r"(?:.*-)?TEST|DEMO|DEV")
_AUTHORITY_DAYS: Final = 3650
# Clocks of the machines that read a new certificate may be a little behind.
_SKEW: Final = timedelta(minutes=5)
DEFAULT_VALIDITY: Final = timedelta(days=365)
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1")
_REVOKED: Final = "revoked.json"
_STATE: Final = "authority.json"


class NotATestInstance(TrustError):
    """The test authority was asked to serve an instance that is not one for tests."""

    default_code = "not_a_test_instance"


@dataclass(frozen=True, slots=True)
class Revocation:
    """When and why a certificate was revoked."""

    time: datetime
    reason: x509.ReasonFlags


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One of the authority's own keys and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def certificate_der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def require_test_instance(instance: str) -> str:
    """The instance identifier, if it ends in -TEST or is TEST, DEMO or DEV. Raises NotATestInstance."""
    if not _TEST_INSTANCE.fullmatch(instance):
        raise NotATestInstance(
            "the test authority serves test instances only", hint="name the instance ...-TEST, or use a real authority"
        )
    return instance


def system_time() -> datetime:
    """The machine's time, aware UTC."""
    return datetime.now(UTC)


class CertificateAuthority:
    """Issues and revokes certificates for one test instance. Safe to use from several threads and processes."""

    def __init__(
        self,
        directory: Path,
        instance: str,
        pairs: tuple[KeyPair, KeyPair, KeyPair],
        clock: Callable[[], datetime] = system_time,
        *,
        profile: str = PROFILE_BASIC,
    ) -> None:
        """Called by `load_or_create`: `pairs` are those of the root, the OCSP responder and the TSA."""
        self.directory = directory
        self.instance = require_test_instance(instance)
        self.profile = profile
        self.root, self.ocsp, self.time_stamping = pairs
        self.clock = clock
        self._revoked: dict[int, Revocation] = {}
        self._revoked_version: tuple[int, int, int] | None = None

    @classmethod
    def load_or_create(
        cls,
        directory: Path,
        instance: str,
        *,
        clock: Callable[[], datetime] = system_time,
        profile: str = "basic",
    ) -> CertificateAuthority:
        """The authority kept in `directory`, made there if there is none.

        `profile` (a name of `profiles.PROFILES`) is a new authority's; one that is there keeps the profile of the
        certificates that it has issued. Raises NotATestInstance, also when the directory belongs to another instance;
        KeyUnavailable when it can't be read.
        """
        require_test_instance(instance)
        if not (directory / _STATE).exists():
            _create(directory, instance, clock(), profiles.PROFILES[profile])
        try:
            state = json.loads((directory / _STATE).read_bytes())
            # Authorities were of this profile before they said which.
            kept, kept_profile = state["instance"], state.get("profile", PROFILE_FI_VRK)
            pairs = (_load(directory, "root"), _load(directory, "ocsp"), _load(directory, "tsa"))
        except (OSError, ValueError, KeyError, TypeError):
            raise KeyUnavailable(
                "the test authority's directory can't be read", hint="remove it to start anew"
            ) from None
        if kept != instance:
            raise NotATestInstance("the test authority's directory belongs to another instance")
        return cls(directory, instance, pairs, clock, profile=kept_profile)

    # What an instance approves

    def approved_ca(self, ocsp_url: str) -> ApprovedCA:
        """This authority as the global configuration names it."""
        return ApprovedCA(
            name=f"{self.instance} test authority",
            certificate=self.root.certificate_der,
            ocsp_urls=(ocsp_url,),
            ocsp_responders=(self.ocsp.certificate_der,),
            profile=self.profile,
        )

    def approved_tsa(self, url: str) -> ApprovedTSA:
        """Its time-stamping authority as the global configuration names it."""
        return ApprovedTSA(f"{self.instance} test time-stamping", url, self.time_stamping.certificate_der)

    # Issuing: the certificate is on disk when these return

    def issue_signing(
        self,
        public_key: PublicKey,
        member: MemberId,
        *,
        member_name: str,
        server_code: str,
        validity: timedelta = DEFAULT_VALIDITY,
        ocsp_urls: Sequence[str] = (),
    ) -> x509.Certificate:
        """A signing certificate for a member's key on one gateway."""
        self._require_own(member)
        template = profiles.signing_template(member, member_name, server_code, profile=self.profile)
        return self._issue(template, public_key, validity, ocsp_urls)

    def issue_authentication(
        self,
        public_key: PublicKey,
        owner: MemberId,
        *,
        member_name: str,
        server_code: str,
        common_name: str = "localhost",
        names: Sequence[str] = _LOCAL_NAMES,
        validity: timedelta = DEFAULT_VALIDITY,
        ocsp_urls: Sequence[str] = (),
    ) -> x509.Certificate:
        """An authentication certificate for a gateway's key; `names` are its host names and addresses."""
        self._require_own(owner)
        template = profiles.authentication_template(
            owner, member_name, server_code, common_name, names, profile=self.profile
        )
        return self._issue(template, public_key, validity, ocsp_urls)

    def _require_own(self, member: MemberId) -> None:
        if member.instance != self.instance:
            raise NotATestInstance("the member belongs to another instance than this test authority")

    def _issue(
        self, template: Template, public_key: PublicKey, validity: timedelta, ocsp_urls: Sequence[str]
    ) -> x509.Certificate:
        now = self.clock()
        certificate = profiles.build_certificate(
            template,
            public_key=public_key,
            issuer=self.root.certificate.subject,
            issuer_key=self.root.key,
            serial_number=x509.random_serial_number(),
            validity=(now - _SKEW, now + validity),
            ocsp_urls=ocsp_urls,
        )
        write_atomically(self._issued(certificate.serial_number), certificate.public_bytes(Encoding.DER))
        return certificate

    # Status

    def revoke(
        self, serial_number: int, reason: x509.ReasonFlags = x509.ReasonFlags.unspecified, *, at: datetime | None = None
    ) -> Revocation:
        """Revokes a certificate; durable when this returns. Doing so twice changes nothing. Raises KeyUnavailable."""
        if not self._issued(serial_number).exists():
            raise KeyUnavailable("no such certificate was issued here")
        with (self.directory / "revoked.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            revoked = self._read_revoked()
            revocation = revoked.setdefault(serial_number, Revocation(at or self.clock(), reason))
            rows = {
                f"{serial:x}": {"time": entry.time.isoformat(), "reason": entry.reason.value}
                for serial, entry in revoked.items()
            }
            write_atomically(self.directory / _REVOKED, json.dumps(rows, indent=1).encode())
        return revocation

    def status_of(self, serial_number: int) -> Revocation | bool:
        """The revocation of a certificate, True for a good one, False for one never issued here. Reads from disk."""
        return self._read_revoked().get(serial_number) or self._issued(serial_number).exists()

    def _read_revoked(self) -> dict[int, Revocation]:
        path = self.directory / _REVOKED
        try:
            stat = path.stat()
        except FileNotFoundError:
            return {}
        # The file is always replaced, never rewritten: a new one has another inode or time.
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if version != self._revoked_version:
            rows = json.loads(path.read_bytes())
            self._revoked = {
                int(serial, 16): Revocation(datetime.fromisoformat(row["time"]), x509.ReasonFlags(row["reason"]))
                for serial, row in rows.items()
            }
            self._revoked_version = version
        return dict(self._revoked)

    def _issued(self, serial_number: int) -> Path:
        return self.directory / "issued" / f"{serial_number:x}.der"


def _create(directory: Path, instance: str, now: datetime, profile: str) -> None:
    (directory / "issued").mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        directory.chmod(0o700)
    serial = x509.random_serial_number()
    # Authorities made one after the other must not share a name: a path would otherwise fit by chance.
    name = f"{instance} test authority {serial & 0xFFFFFFFF:08x}"
    root_template = profiles.root_template(name)
    root_key = ec.generate_private_key(ec.SECP256R1())
    for role, template in (
        ("root", root_template),
        ("ocsp", profiles.ocsp_responder_template(f"{name} OCSP")),
        ("tsa", profiles.time_stamping_template(f"{name} TSA")),
    ):
        key = root_key if role == "root" else ec.generate_private_key(ec.SECP256R1())
        certificate = profiles.build_certificate(
            template,
            public_key=key.public_key(),
            issuer=root_template.subject,
            issuer_key=root_key,
            serial_number=serial if role == "root" else x509.random_serial_number(),
            validity=(now - _SKEW, now + timedelta(days=_AUTHORITY_DAYS)),
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(directory / f"{role}.key", pem, mode=0o600)
        write_atomically(directory / f"{role}.crt", certificate.public_bytes(Encoding.PEM))
    # Written last: without it the directory counts as empty, and a creation cut short starts again.
    write_atomically(directory / _STATE, json.dumps({"instance": instance, "profile": profile}).encode())


def _load(directory: Path, role: str) -> KeyPair:
    key = load_pem_private_key((directory / f"{role}.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((directory / f"{role}.crt").read_bytes())
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise KeyUnavailable("a key of the test authority does not fit its certificate")
    return KeyPair(key, certificate)
