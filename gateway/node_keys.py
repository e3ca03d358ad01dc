"""A gateway's own keys and secrets on disk.

What exists is read, what is this gateway's alone to make is made at first start.

Signing and authentication keys are in the key ring (`gateway.key_ring`); of each there must be one with a certificate.
The log's key, the keys that lock records and index persons, and the city's pseudonym key are random; losing one of
them is final, so they belong in the backup that
`docs/operations.md` describes, apart from the databases. A fresh one in the place of a lost one would make the loss
unnoticed, so each is made only while the databases hold nothing that it protects. The cookie key and the key of the
clients' TLS port are made whenever they are missing: sessions end, clients pin anew.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.message_keys import message_key
from audit.store import log_head, witnessed
from audit.subject_keys import subject_key
from gateway.citizen.tables import consent
from gateway.key_ring import first_usable, open_ring, read_pin
from gateway.settings import GatewaySettings
from trust.certificates import CertificateUsage
from trust.errors import KeyUnavailable
from trust.keys import SoftwareKey
from trust.keystore import load_pkcs12, read_secret, save_pkcs12, write_private_once
from trust.self_signed import build_self_signed
from trust.tokens import KeyRing

_KEY_BYTES: Final = 32
_CLIENT_TLS_VALIDITY: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True, repr=False)
class NodeKeys:
    """Everything secret that a gateway holds. Never logged, never shown.

    `ring` has the signing and authentication keys; `signing` is the owner's, and `authentication` the gateway's, that
    were the latest at start.
    """

    ring: KeyRing
    signing: SoftwareKey
    authentication: SoftwareKey
    log: Ed25519PrivateKey
    witness: Ed25519PrivateKey
    log_mldsa: bytes | None
    log_old: Ed25519PrivateKey | None
    record: bytes
    subject_index: bytes
    cookie: bytes
    pseudonym: bytes | None
    internal_tls: SoftwareKey
    client_tls: SoftwareKey | None


async def make_missing_keys(settings: GatewaySettings, engine: AsyncEngine, subject_engine: AsyncEngine) -> None:
    """Makes the random keys of a new gateway; durable on return. Both databases have their tables.

    Processes that start at once agree on the keys. Raises KeyUnavailable if one is missing that must have been there.
    """
    await make_log_key(settings, engine)
    await make_witness_key(settings, engine)
    if settings.log_mldsa_key_file is not None and not _is_there(settings.log_mldsa_key_file):
        # The log's second signature: a new key takes nothing back that the first one has signed.
        _create(settings.log_mldsa_key_file)
    # The record key wraps the keys of persons and those of messages.
    await _make(settings.record_key_file, subject_engine, subject_key, message_key)
    await _make(settings.subject_index_key_file, subject_engine, subject_key)
    if settings.pseudonym_key_file is not None:
        await _make(settings.pseudonym_key_file, engine, consent)


async def make_log_key(settings: GatewaySettings, engine: AsyncEngine) -> None:
    """Makes the key that signs the log's checkpoints, while there is no log. Raises KeyUnavailable."""
    await _make(settings.log_key_file, engine, log_head)


def load_keys(settings: GatewaySettings) -> NodeKeys:
    """The gateway's keys, once `make_missing_keys` has been called. Raises KeyUnavailable."""
    pin = read_pin(settings)
    ring = open_ring(settings, pin=pin)
    pseudonym_file = settings.pseudonym_key_file
    if not _is_there(settings.citizen_cookie_key_file):
        _create(settings.citizen_cookie_key_file)
    return NodeKeys(
        ring=ring,
        signing=first_usable(ring, CertificateUsage.SIGNING, member=settings.owner).key,
        authentication=first_usable(ring, CertificateUsage.AUTHENTICATION).key,
        log=load_log_key(settings),
        witness=load_witness_key(settings),
        log_mldsa=None if settings.log_mldsa_key_file is None else read_random_key(settings.log_mldsa_key_file),
        log_old=load_old_log_key(settings),
        record=read_random_key(settings.record_key_file),
        subject_index=read_random_key(settings.subject_index_key_file),
        cookie=read_random_key(settings.citizen_cookie_key_file),
        internal_tls=(internal := _client_tls_key(settings, pin)),
        client_tls=None if settings.client_tls_port is None else internal,
        pseudonym=None if pseudonym_file is None else read_random_key(pseudonym_file),
    )


def load_log_key(settings: GatewaySettings) -> Ed25519PrivateKey:
    """The key that signs the log's checkpoints. Raises KeyUnavailable."""
    return Ed25519PrivateKey.from_private_bytes(read_random_key(settings.log_key_file))


def load_old_log_key(settings: GatewaySettings) -> Ed25519PrivateKey | None:
    """The key that signed the checkpoints before, while it goes on doing so. Raises KeyUnavailable."""
    path = settings.log_old_key_file
    return Ed25519PrivateKey.from_private_bytes(read_random_key(path)) if _is_there(path) else None


def change_log_key(settings: GatewaySettings) -> None:
    """A new key for the log's checkpoints; the present one becomes the old one. In force at the gateway's next start.

    Raises KeyUnavailable while there is still an old one: whoever knows that alone would be left behind.
    """
    load_log_key(settings)
    if _is_there(settings.log_old_key_file):
        raise KeyUnavailable(
            f"{settings.log_old_key_file} is still there",
            hint="delete it once nobody's policy names that key any more",
        )
    # Either name leads to the present key at every moment: a crash in between is mended by doing it again.
    settings.log_old_key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private_once(settings.log_old_key_file, settings.log_key_file.read_bytes())
    replacement = settings.log_key_file.with_name(settings.log_key_file.name + ".new")
    replacement.unlink(missing_ok=True)
    _create(replacement)
    replacement.replace(settings.log_key_file)


async def make_witness_key(settings: GatewaySettings, engine: AsyncEngine) -> None:
    """Makes the key that cosigns others' checkpoints, while none was cosigned. Raises KeyUnavailable."""
    await _make(settings.witness_key_file, engine, witnessed)


def load_witness_key(settings: GatewaySettings) -> Ed25519PrivateKey:
    """The key that cosigns others' checkpoints. Raises KeyUnavailable."""
    return Ed25519PrivateKey.from_private_bytes(read_random_key(settings.witness_key_file))


async def _make(path: Path, engine: AsyncEngine, *protected: Table) -> None:
    if _is_there(path):
        return
    async with engine.connect() as connection:
        used = [(await connection.execute(select(table).limit(1))).first() is not None for table in protected]
    if not any(used):
        _create(path)
    # Looked for again: a process beside us may have made it, and used it, in between.
    elif not _is_there(path):
        raise KeyUnavailable(
            f"{path} is missing, and the database holds what needs it", hint="restore it from the backup"
        )


def _is_there(path: Path) -> bool:
    return path.exists()


def _create(path: Path) -> None:
    """32 random bytes, kept as hexadecimal text."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private_once(path, secrets.token_hex(_KEY_BYTES).encode() + b"\n")


def read_random_key(path: Path) -> bytes:
    """The 32 bytes in a key file; makes none up. Raises KeyUnavailable."""
    try:
        key = bytes.fromhex(read_secret(file=path))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise KeyUnavailable(f"{path} holds no key of {_KEY_BYTES} bytes", hint="restore it from the backup")
    return key


def _client_tls_key(settings: GatewaySettings, pin: str) -> SoftwareKey:
    """The gateway's key inside its organisation, with a certificate that signs itself: clients and services pin it."""
    path = settings.client_tls_key_file
    if not path.exists():
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), *_addresses("127.0.0.1", settings.client_tls_host)]
        since, until = now - timedelta(days=1), now + _CLIENT_TLS_VALIDITY
        certificate = build_self_signed(key, settings.server_code, since=since, until=until, names=names)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_pkcs12(path, key, certificate, (), pin)
    return load_pkcs12(path, pin)


def _addresses(*hosts: str) -> list[x509.IPAddress]:
    """Those of the hosts that are addresses of a machine, each once; a wildcard is nobody's."""
    found: dict[x509.IPAddress, None] = {}
    for host in hosts:
        with suppress(ValueError):
            address = ip_address(host)
            if not address.is_unspecified:
                found[x509.IPAddress(address)] = None
    return list(found)
