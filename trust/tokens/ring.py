"""The key ring: every key of a gateway with its certificates, over all its tokens.

The rules are those of X-Road's signer, with its codes: a certificate is taken for a key that is here
(`key_not_found`), of that key's usage (`wrong_cert_usage`), once (`cert_exists`), with a path to an approved authority;
authentication keys live in software, since TLS needs them on every connection. A certificate that is active may be
used; which one is, of several, is the gateway's to choose: that is how one follows another without a message lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from trust.certificates import CertificateUsage, VerifiedPath
from trust.certification_path import is_authority, is_for_authentication, is_for_signing, load_certificate
from trust.errors import KeyUnavailable, TrustError
from trust.keys import PublicKey, SoftwareKey
from trust.tokens.model import CertificateEntry, KeyEntry, KeyKind, Token, TokenInfo, TokenKind
from trust.tokens.records import KeyRecords
from trust.tokens.software import SoftwareToken

_MIN_PREFIX: Final = 6

VerifyPath = Callable[[CertificateUsage, bytes, Sequence[bytes]], VerifiedPath]
"""Finds a certificate's path to an approved authority, now. Raises TrustError."""


@dataclass(frozen=True, slots=True)
class RingKey:
    """A key that can be used: opened, with one of its active certificates."""

    key: SoftwareKey
    entry: KeyEntry
    certificate: CertificateEntry


@dataclass(frozen=True, slots=True)
class ImportedCertificate:
    """A certificate that was taken, and whose it is (None for authentication)."""

    entry: KeyEntry
    certificate: CertificateEntry
    path: VerifiedPath


class KeyRing:
    """The keys of one gateway. Calls read the disk, and may wait for a device."""

    def __init__(
        self, folder: Path, tokens: Iterable[Token], contained: Mapping[str, CertificateUsage] | None = None
    ) -> None:
        """`contained` are the ids of keys whose certificate lies in their own container, and their usages."""
        self._records = KeyRecords(folder)
        self.tokens: dict[str, Token] = {token.name: token for token in tokens}
        self._contained = dict(contained or {})

    @property
    def version(self) -> object:
        """Another value after a change of what the ring holds."""
        return self._records.version

    # Looking

    def entries(self) -> tuple[KeyEntry, ...]:
        """All keys. Those of a token that isn't logged in are there as far as they are recorded."""
        return tuple(self._all().values())

    def infos(self) -> tuple[TokenInfo, ...]:
        """All tokens with their keys."""
        entries = self.entries()
        found = []
        for token in self.tokens.values():
            problem = "" if token.active else "token_not_active"
            if token.active:
                try:
                    token.key_ids()
                except KeyUnavailable as error:
                    problem = error.code
            keys = tuple(entry for entry in entries if entry.token == token.name)
            found.append(TokenInfo(token.name, token.kind, token.active, keys, problem))
        return tuple(found)

    def find(self, name: str) -> KeyEntry:
        """The key by its id, or by the beginning of it. Raises KeyUnavailable (`key_not_found`)."""
        entries = self._all()
        matching = [entry for key_id, entry in entries.items() if _names(name, key_id)]
        if len(matching) != 1:
            raise KeyUnavailable("there is no such key, or more than one", code="key_not_found", hint=_LOOK)
        return matching[0]

    def find_certificate(self, name: str) -> tuple[KeyEntry, CertificateEntry]:
        """A certificate by its SHA-256 fingerprint, or the beginning of it.

        Raises KeyUnavailable (`cert_not_found`).
        """
        wanted = name.replace(":", "").lower()
        matching = [
            (entry, found)
            for entry in self.entries()
            for found in entry.certificates
            if _names(wanted, found.fingerprint)
        ]
        if len(matching) != 1:
            raise KeyUnavailable("there is no such certificate, or more than one", code="cert_not_found", hint=_LOOK)
        return matching[0]

    def usable(self, usage: CertificateUsage) -> tuple[tuple[RingKey, ...], tuple[TrustError, ...]]:
        """The keys with an active certificate of this usage, the latest activated first; and what is wrong with the
        others.
        """
        found: list[RingKey] = []
        problems: list[TrustError] = []
        for entry in self.entries():
            active = [certificate for certificate in entry.certificates if certificate.active]
            if entry.usage is not usage or not active:
                continue
            try:
                private = self._token(entry.token).private_key(entry.id)
                for certificate in active:
                    loaded = load_certificate(certificate.certificate)
                    key = SoftwareKey(private, loaded, certificate.intermediates)
                    found.append(RingKey(key, entry, certificate))
            except TrustError as error:
                problems.append(error)
        found.sort(key=lambda k: (k.certificate.activated_ms, k.key.certificate.not_valid_before_utc), reverse=True)
        return tuple(found), tuple(problems)

    # Changing; each is durable on return

    def generate(
        self, token: str, kind: KeyKind, usage: CertificateUsage, *, member: str | None = None, label: str = ""
    ) -> KeyEntry:
        """A new key. Raises KeyUnavailable."""
        holder = self._token(token)
        if usage is CertificateUsage.AUTHENTICATION and holder.kind is not TokenKind.SOFTWARE:
            raise KeyUnavailable(
                "an authentication key lives in the software token", code="token_not_available", hint="choose that one"
            )
        key_id = secrets.token_hex(16)
        public = holder.generate(key_id, kind)
        entry = KeyEntry(key_id, token, usage, kind.value, _spki(public), label, member)
        with self._records.changing() as entries:
            entries[key_id] = entry
        return entry

    def request(self, key: str, subject: x509.Name, *, names: Sequence[x509.GeneralName] = ()) -> bytes:
        """A request (PKCS#10, DER) for a certificate of this key, with the usage that it has. Raises KeyUnavailable."""
        entry = self.find(key)
        private = self._token(entry.token).private_key(entry.id)
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        try:
            return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyUnavailable("no request can be made of this subject", code="csr_not_found") from None

    def import_certificate(
        self, der: bytes, *, verify_path: VerifyPath, intermediates: Sequence[bytes] = (), at: datetime, activate: bool
    ) -> ImportedCertificate:
        """Takes a certificate for a key that is here. Raises KeyUnavailable, CertificateUntrusted, MalformedInput."""
        certificate = load_certificate(der)
        spki = _public_spki(certificate)
        # 1. It belongs to a key of ours; 2. it isn't here yet; 3. it has that key's usage.
        entry = next((entry for entry in self.entries() if entry.public_key == spki), None)
        if entry is None:
            raise KeyUnavailable("no key here has this certificate's public key", code="key_not_found", hint=_LOOK)
        if any(found.certificate == der for found in entry.certificates):
            raise KeyUnavailable("the certificate is here already", code="cert_exists", hint="nothing to do")
        fits = is_for_signing if entry.usage is CertificateUsage.SIGNING else is_for_authentication
        if is_authority(certificate) or not fits(certificate):
            raise KeyUnavailable(
                f"the key is for {entry.usage.value}, the certificate isn't",
                code="wrong_cert_usage",
                hint="ask the authority for a certificate of the right kind",
            )
        # 4. An approved authority stands behind it, and it is for the member that the key was made for.
        path = verify_path(entry.usage, der, intermediates)
        member = None if path.member is None else path.member.encoded
        if entry.member is not None and member is not None and member != entry.member:
            raise KeyUnavailable(
                "the certificate is for another member than the key", code="cert_import_failed", hint=_LOOK
            )
        now = int(at.timestamp() * 1000)
        found = CertificateEntry(der, path.chain[1:], activate, now if activate else 0)
        changed = replace(entry, member=member or entry.member, certificates=(*entry.certificates, found))
        self._store(changed)
        return ImportedCertificate(changed, found, path)

    def set_active(self, fingerprint: str, *, active: bool, at: datetime) -> tuple[KeyEntry, CertificateEntry]:
        """A certificate may be used from now on, or no more. Raises KeyUnavailable (`cert_not_found`)."""
        entry, found = self.find_certificate(fingerprint)
        changed = replace(found, active=active, activated_ms=int(at.timestamp() * 1000) if active else 0)
        others = tuple(changed if other == found else other for other in entry.certificates)
        self._store(replace(entry, certificates=others))
        return replace(entry, certificates=others), changed

    def delete_certificate(self, fingerprint: str) -> CertificateEntry:
        """Forgets a certificate that isn't active. Raises KeyUnavailable."""
        entry, found = self.find_certificate(fingerprint)
        if found.active:
            raise KeyUnavailable("the certificate is active", code="cannot_sign", hint="deactivate it first")
        if entry.id in self._contained and found == self._container(entry.id):
            raise KeyUnavailable(
                "the certificate lies in its key's container and goes with it", code="token_read_only", hint="leave it"
            )
        self._store(replace(entry, certificates=tuple(other for other in entry.certificates if other != found)))
        return found

    def delete_key(self, key: str) -> KeyEntry:
        """Destroys a key without active certificates, for good. Raises KeyUnavailable."""
        entry = self.find(key)
        if any(found.active for found in entry.certificates):
            raise KeyUnavailable(
                "the key has an active certificate", code="cannot_sign", hint="deactivate its certificates first"
            )
        self._token(entry.token).delete(entry.id)
        with self._records.changing() as entries:
            entries.pop(entry.id, None)
        return entry

    # Inside

    def _store(self, entry: KeyEntry) -> None:
        with self._records.changing() as entries:
            entries[entry.id] = entry

    def _token(self, name: str) -> Token:
        token = self.tokens.get(name)
        if token is None:
            raise KeyUnavailable("there is no such token", code="token_not_found", hint=_LOOK)
        return token

    def _all(self) -> dict[str, KeyEntry]:
        entries = self._records.load()
        for token in self.tokens.values():
            if isinstance(token, SoftwareToken):
                present = token.key_ids()
                for key_id, usage in self._contained.items():
                    if key_id in present:
                        entries[key_id] = self._with_container(token, key_id, usage, entries.get(key_id))
                    else:
                        entries.pop(key_id, None)
        return entries

    def _with_container(
        self, token: SoftwareToken, key_id: str, usage: CertificateUsage, recorded: KeyEntry | None
    ) -> KeyEntry:
        """What lies in a key's own container counts as active, until something else was said of it."""
        if not token.active:
            return recorded or KeyEntry(key_id, token.name, usage, "", b"", key_id)
        public = token.private_key(key_id).public_key()
        # A container that was replaced by hand is a new key: what was recorded of the old one is over.
        if recorded is None or recorded.public_key != _spki(public):
            recorded = KeyEntry(key_id, token.name, usage, _kind_of(public), _spki(public), key_id)
        contained = token.contained(key_id)
        if contained is None:
            return recorded
        der = contained[0].public_bytes(serialization.Encoding.DER)
        if any(found.certificate == der for found in recorded.certificates):
            return recorded
        return replace(
            recorded, certificates=(*recorded.certificates, CertificateEntry(der, contained[1], active=True))
        )

    def _container(self, key_id: str) -> CertificateEntry | None:
        for token in self.tokens.values():
            if isinstance(token, SoftwareToken) and token.active and key_id in token.key_ids():
                contained = token.contained(key_id)
                if contained is not None:
                    der = contained[0].public_bytes(serialization.Encoding.DER)
                    return next((e for e in self.find(key_id).certificates if e.certificate == der), None)
        return None


_LOOK: Final = "datenweg key list shows what is here"


def _names(name: str, whole: str) -> bool:
    return name == whole or (len(name) >= _MIN_PREFIX and whole.startswith(name))


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_spki(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnavailable("the certificate's key is of another kind", code="cert_import_failed") from None


def _kind_of(key: PublicKey) -> str:
    return f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else f"ec-p{key.key_size}"
