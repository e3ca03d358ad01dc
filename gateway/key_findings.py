"""What is wrong, or soon will be, with a gateway's keys and certificates: for `datenweg doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.exchange.own_keys import OwnKey, OwnKeys, published, select_keys
from gateway.settings import GatewaySettings
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.errors import TrustError
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId, MemberId
from trust.tokens import KeyRing

_SOON: Final = timedelta(days=14)
_LATER: Final = timedelta(days=30)


class Severity(StrEnum):
    """How bad a finding is. `error`: exchanges fail now."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """One statement. `subject` is what it is about, `code` a signer code or empty, `hint` what to do."""

    severity: Severity
    subject: str
    message: str
    hint: str = ""
    code: str = ""


def key_findings(
    settings: GatewaySettings,
    ring: KeyRing,
    configuration: VerifiedConfiguration | None,
    *,
    clients: Iterable[ClientId] = (),
    at: datetime,
) -> tuple[KeyFinding, ...]:
    """The state of tokens, keys and certificates at the time `at`; tokens are asked, nothing else is.

    `ring` is a gateway's, its tokens open as far as they can be; `clients` are whom the gateway serves: each one's
    member needs a signing key. Without a configuration only tokens and certificates' own dates are looked at.
    """
    return tuple(_findings(settings, ring, configuration, clients, at))


def _findings(
    settings: GatewaySettings,
    ring: KeyRing,
    configuration: VerifiedConfiguration | None,
    clients: Iterable[ClientId],
    at: datetime,
) -> Iterator[KeyFinding]:
    # 1. Tokens.
    for info in ring.infos():
        if info.problem:
            hint = "give the PIN" if not info.active else "check the device and its driver"
            yield KeyFinding(Severity.ERROR, f"token {info.name}", "it can't be used", hint, info.problem)
        else:
            yield KeyFinding(Severity.OK, f"token {info.name}", f"{len(info.keys)} keys")
    # 2. What waits to be finished.
    for entry in ring.entries():
        if not entry.certificates:
            yield KeyFinding(
                Severity.WARNING, f"key {entry.id[:8]}", "it has no certificate", "datenweg key csr, then import"
            )
    signing, failed = ring.usable(CertificateUsage.SIGNING)
    authentication, others = ring.usable(CertificateUsage.AUTHENTICATION)
    for error in (*failed, *others):
        yield KeyFinding(Severity.ERROR, "keys", str(error), error.hint, error.code)
    if configuration is None:
        return
    # 3. Certificates: a path to an approved authority, and time left.
    keys = select_keys(signing, authentication, CertificateVerifier(configuration.parameters), at=at)
    yield from map(_of_problem, keys.problems)
    for own in keys.all:
        yield _of_expiry(own, at)
    # 4. Whom the gateway signs for, and what the registry has of it.
    yield from _of_members(settings, keys, clients)
    yield from _of_registration(settings, keys, configuration)


def _of_problem(error: TrustError) -> KeyFinding:
    hint = error.hint or "import its successor, or deactivate it: datenweg key list"
    return KeyFinding(Severity.ERROR, "certificate", str(error), hint, error.code)


def _of_expiry(own: OwnKey, at: datetime) -> KeyFinding:
    whose = "" if own.member is None else f" of {own.member.encoded}"
    subject, left = f"{own.usage.value} certificate{whose}", own.valid_until - at
    message = f"valid until {own.valid_until:%Y-%m-%d}"
    if left > _LATER:
        return KeyFinding(Severity.OK, subject, message)
    severity = Severity.ERROR if left <= timedelta(0) else Severity.WARNING
    urgency = "now" if left <= _SOON else "soon"
    hint = f"ask for its successor {urgency}: datenweg key csr, import, activate"
    return KeyFinding(severity, subject, message, hint)


def _of_members(settings: GatewaySettings, keys: OwnKeys, clients: Iterable[ClientId]) -> Iterator[KeyFinding]:
    members: dict[MemberId, None] = dict.fromkeys((settings.owner_id, *(client.member for client in clients)))
    for member in members:
        if member not in keys.signing:
            yield KeyFinding(
                Severity.ERROR,
                f"signing key of {member.encoded}",
                "there is none with an active, valid certificate",
                "datenweg key generate --usage signing --member, csr, import --activate",
                "key_not_found",
            )


def _of_registration(
    settings: GatewaySettings, keys: OwnKeys, configuration: VerifiedConfiguration
) -> Iterator[KeyFinding]:
    server = configuration.server(settings.server_id)
    hashes = frozenset[bytes]() if server is None else server.authentication_hashes
    registered = published(keys.authentication, hashes)
    if not registered:
        yield KeyFinding(
            Severity.ERROR,
            "authentication certificate",
            "the registry has none of this gateway's active ones",
            "register it: datenweg key list shows its SHA-256",
            "cert_not_found",
        )
    elif registered[0] != keys.authentication[0]:
        yield KeyFinding(
            Severity.WARNING,
            "authentication certificate",
            "the latest isn't registered yet, the one before is in use",
            "register it at the registry",
        )
    else:
        yield KeyFinding(Severity.OK, "authentication certificate", "registered")
