"""`datenweg key`: the keys and certificates of a gateway.

Works on the gateway's key ring; a running gateway takes up a change within `store_poll_seconds`. The rules are the
ring's (`trust.tokens`). An error begins with X-Road's signer code, so that it can be looked up in docs/errors.md.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.admin.accepted import current_configuration, kept_configuration
from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.key_ring import PIN_VARIABLE as _PIN
from gateway.key_ring import PKCS11_PIN_VARIABLE, SOFTWARE, build_ring, read_pin
from gateway.settings import GatewaySettings
from trust.certificates import CertificateUsage, CertificateVerifier, VerifiedPath
from trust.certification_path import UNREADABLE
from trust.errors import KeyUnavailable
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import InvalidIdentifier, MemberId, parse_member_id
from trust.keystore import load_pkcs12, read_secret, save_pkcs12, write_private
from trust.profiles import Applicant, authentication_subject, signing_subject
from trust.tokens import KeyEntry, KeyKind, KeyRing, pin_from, require_strong_pin

_MAX_FILE: Final = 1 << 20
_NEW_PIN_VARIABLE: Final = "DATENWEG_NEW_PIN"

key_commands = typer.Typer(help="Keys and certificates of a gateway: docs/operations.md.", no_args_is_help=True)


class RequestForm(StrEnum):
    """How a request is written."""

    PEM = "pem"
    DER = "der"


Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with the gateway's settings.")]
PINFile = Annotated[
    Path | None,
    typer.Option(
        "--pin-file",
        metavar="FILE",
        help=f"The token's PIN; else the settings' file, {_PIN} or {PKCS11_PIN_VARIABLE}, or a prompt.",
    ),
]
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or its first six characters or more.")]
CertificateName = Annotated[
    str, typer.Argument(metavar="CERTIFICATE", help="The certificate's SHA-256, or its first six digits or more.")
]
TokenName = Annotated[str, typer.Option("--token", help="The token: `software`, or the label of the PKCS#11 token.")]


@key_commands.command("list")
def list_keys(config: Config, pin_file: PINFile = None) -> None:
    """Tokens, keys and certificates, what each is for and until when. Needs no PIN for what is on record."""
    settings = GatewaySettings.from_file(config)
    with _told():
        ring = build_ring(settings)
        for token in ring.tokens.values():
            try:
                token.login(_pin(settings, token.name, pin_file, prompt=False))
            except KeyUnavailable as error:
                typer.echo(f"token {token.name}: not open ({error.code}): {error}")
        infos = ring.infos()
    rows = []
    for info in infos:
        for entry in info.keys:
            first = (info.name, entry.id, entry.usage.value, entry.kind, entry.member or "")
            rows += [(*first, *row) for row in _certificate_rows(entry)] or [(*first, "no certificate", "", "")]
    print_table("Keys", ("token", "key", "usage", "kind", "member", "certificate", "state", "until"), rows)


@key_commands.command("generate")
def generate(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: Config,
    usage: Annotated[CertificateUsage, typer.Option(help="What the key is for.")],
    kind: Annotated[KeyKind, typer.Option(help="The kind of key; P-256 unless your authority wants another.")] = (
        KeyKind.EC_P256
    ),
    member: Annotated[
        str | None, typer.Option(help="For a signing key: whose it is, INSTANCE/CLASS/CODE. Default: the owner's.")
    ] = None,
    token: TokenName = SOFTWARE,
    label: Annotated[str, typer.Option(help="A name for people.")] = "",
    pin_file: PINFile = None,
) -> None:
    """Make a key. Prints its id. Authentication keys live in the software token, since TLS uses them all the time."""
    settings = GatewaySettings.from_file(config)
    signs_for = _member(settings, member).encoded if usage is CertificateUsage.SIGNING else None
    with _told():
        ring = _open(settings, token, pin_file)
        entry = ring.generate(token, kind, usage, member=signs_for, label=label)
    typer.echo(entry.id)


@key_commands.command("csr")
def request(  # noqa: PLR0917 - likewise
    config: Config,
    key: KeyName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the request is written.")],
    form: Annotated[RequestForm, typer.Option("--format", help="How it is written.")] = RequestForm.PEM,
    authority: Annotated[
        str | None, typer.Option("--ca", metavar="NAME", help="The approved authority, if there are several.")
    ] = None,
    country: Annotated[str, typer.Option(help="Two letters, where the profile asks for them.")] = "",
    name: Annotated[str, typer.Option("--name", help="The member's name. Default: the configuration's.")] = "",
    host: Annotated[str, typer.Option(help="The gateway's host name, for an authentication certificate.")] = "",
    subject: Annotated[
        str | None, typer.Option(metavar="DN", help="The whole subject (RFC 4514) instead of the profile's.")
    ] = None,
    pin_file: PINFile = None,
) -> None:
    """Write a certificate request (PKCS#10) with the subject that the authority's certificate profile asks for."""
    settings = GatewaySettings.from_file(config)
    with _told():
        ring = _open(settings, None, pin_file)
        entry = ring.find(key)
        if subject is not None:
            wanted = _subject(subject)
        else:
            wanted = _profiled(settings, entry, authority, Applied(country, name, host))
        names = [x509.DNSName(host)] if host and entry.usage is CertificateUsage.AUTHENTICATION else []
        der = ring.request(entry.id, wanted, names=names)
    if form is RequestForm.PEM:
        der = x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM)
    try:
        out.write_bytes(der)
    except OSError as error:
        raise AdminError(f"--out {out}: {error.strerror}") from None
    typer.echo(f"{out}: request for {wanted.rfc4514_string()}")


@key_commands.command("import")
def import_certificate(
    config: Config,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The certificate, PEM or DER; PEM may hold its chain.")],
    chain: Annotated[
        list[Path] | None, typer.Option("--chain", metavar="FILE", help="An intermediate authority. Repeatable.")
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Use it from now on.")] = False,
    pin_file: PINFile = None,
) -> None:
    """Take a certificate for a key that is here, of the key's usage, from an authority that the instance approves."""
    settings = GatewaySettings.from_file(config)
    first, *others = _certificates(file)
    for path in chain or []:
        others += _certificates(path)
    with _told():
        ring = _open(settings, None, pin_file)
        configuration = current_configuration(settings)
        verifier, now = CertificateVerifier(configuration.parameters), datetime.now(UTC)

        def verify_path(usage: CertificateUsage, der: bytes, intermediates: Sequence[bytes]) -> VerifiedPath:
            return verifier.verify_path(usage, der, at=now, intermediates=intermediates)

        taken = ring.import_certificate(first, verify_path=verify_path, intermediates=others, at=now, activate=activate)
    whose = "" if taken.path.member is None else f" of {taken.path.member.encoded}"
    typer.echo(f"{taken.certificate.fingerprint}: {taken.entry.usage.value} certificate{whose}, key {taken.entry.id}")
    _say_what_next(settings, configuration, taken.entry, taken.certificate.certificate, active=activate)


@key_commands.command("activate")
def activate_certificate(config: Config, certificate: CertificateName, pin_file: PINFile = None) -> None:
    """Use a certificate. The latest activated is preferred; deactivate its predecessor when nobody needs it more."""
    settings = GatewaySettings.from_file(config)
    with _told():
        ring = _open(settings, None, pin_file)
        entry, found = ring.set_active(certificate, active=True, at=datetime.now(UTC))
    typer.echo(f"{found.fingerprint}: active")
    _say_what_next(settings, kept_configuration(settings), entry, found.certificate, active=True)


@key_commands.command("deactivate")
def deactivate_certificate(config: Config, certificate: CertificateName, pin_file: PINFile = None) -> None:
    """Use a certificate no more. What was signed with it stays valid."""
    settings = GatewaySettings.from_file(config)
    with _told():
        ring = _open(settings, None, pin_file)
        entry, found = ring.set_active(certificate, active=False, at=datetime.now(UTC))
        others = [e for e in ring.entries() if e.usage is entry.usage and e.member == entry.member]
    typer.echo(f"{found.fingerprint}: not active")
    if not any(other.active for e in others for other in e.certificates):
        typer.echo(f"warning: no {entry.usage.value} certificate is active any more: exchanges stop", err=True)


@key_commands.command("delete")
def delete(
    config: Config,
    name: Annotated[str, typer.Argument(metavar="KEY|CERTIFICATE", help="A key's id, or a certificate's SHA-256.")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    pin_file: PINFile = None,
) -> None:
    """Delete a certificate that isn't active, or destroy a key, for good."""
    settings = GatewaySettings.from_file(config)
    with _told():
        ring = _open(settings, None, pin_file)
        try:
            entry, found = ring.find_certificate(name)
        except KeyUnavailable:
            entry = ring.find(name)
            if not yes:
                typer.confirm(f"destroy the {entry.usage.value} key {entry.id} for good?", abort=True)
            ring.delete_key(entry.id)
            typer.echo(f"{entry.id}: destroyed")
            return
        if not yes:
            typer.confirm(f"delete the certificate {found.fingerprint} of key {entry.id}?", abort=True)
        ring.delete_certificate(found.fingerprint)
        typer.echo(f"{found.fingerprint}: deleted")


@key_commands.command("pin")
def change_pin(
    config: Config,
    token: TokenName = SOFTWARE,
    pin_file: PINFile = None,
    new_pin_file: Annotated[
        Path | None,
        typer.Option("--new-pin-file", metavar="FILE", help=f"The new PIN; else {_NEW_PIN_VARIABLE}, or a prompt."),
    ] = None,
) -> None:
    """Change a token's PIN: ten ASCII characters or more, of three kinds. A change cut short is done again."""
    settings = GatewaySettings.from_file(config)
    with _told():
        ring = build_ring(settings)
        if token not in ring.tokens:
            raise KeyUnavailable("there is no such token", code="token_not_found", hint="datenweg key list")
        old = _pin(settings, token, pin_file)
        new = require_strong_pin(_new_pin(new_pin_file))
        if token != SOFTWARE:
            ring.tokens[token].login(old)
        ring.tokens[token].change_pin(old, new)
        kept = settings.pin_file if token == SOFTWARE else settings.pkcs11_pin_file
        if token == SOFTWARE:
            _change_tls_key(settings, old, new)
        if kept is not None and kept.exists():
            write_private(kept, new.encode() + b"\n")
            typer.echo(f"{token}: the PIN is changed, also in {kept}; restart the gateway")
        else:
            typer.echo(f"{token}: the PIN is changed; give the gateway the new one and restart it")


class Applied:
    """What the operator says of the applicant."""

    __slots__ = ("country", "host", "name")

    def __init__(self, country: str, name: str, host: str) -> None:
        self.country, self.name, self.host = country, name, host


def _certificate_rows(entry: KeyEntry) -> Iterator[tuple[str, str, str]]:
    for found in entry.certificates:
        until = x509.load_der_x509_certificate(found.certificate).not_valid_after_utc
        yield found.fingerprint[:16], "active" if found.active else "not active", f"{until:%Y-%m-%d}"


def _open(settings: GatewaySettings, token: str | None, pin_file: Path | None) -> KeyRing:
    """The ring with the tokens open that the command needs (all of them, if it doesn't say)."""
    ring = build_ring(settings)
    if token is not None and token not in ring.tokens:
        raise KeyUnavailable("there is no such token", code="token_not_found", hint="see pkcs11_token in the settings")
    for name in ring.tokens:
        if token in {None, name}:
            ring.tokens[name].login(_pin(settings, name, pin_file))
    return ring


def _pin(settings: GatewaySettings, token: str, pin_file: Path | None, *, prompt: bool = True) -> str:
    # A file that is named on the command line is the one token's that the command is about.
    if pin_file is not None and (token == SOFTWARE or settings.pkcs11_pin_file is None):
        return read_secret(file=pin_file)
    if prompt:
        return read_pin(settings, token)
    software = token == SOFTWARE
    return pin_from(
        file=settings.pin_file if software else settings.pkcs11_pin_file,
        variable=_PIN if software else PKCS11_PIN_VARIABLE,
    )


def _new_pin(file: Path | None) -> str:
    if file is None and not os.environ.get(_NEW_PIN_VARIABLE) and sys.stdin.isatty():
        pin: str = typer.prompt("New PIN", hide_input=True, confirmation_prompt=True)
        return pin
    return read_secret(file=file, variable=_NEW_PIN_VARIABLE)


def _change_tls_key(settings: GatewaySettings, old: str, new: str) -> None:
    """The TLS key for the organisation's own systems lies under the same PIN."""
    path = settings.client_tls_key_file
    if not path.exists():
        return
    try:
        key = load_pkcs12(path, old)
    except KeyUnavailable:
        key = load_pkcs12(path, new)
    save_pkcs12(path, key.private_key, key.certificate, key.intermediates, new)


def _member(settings: GatewaySettings, text: str | None) -> MemberId:
    try:
        member = settings.owner_id if text is None else parse_member_id(text)
    except InvalidIdentifier as error:
        raise AdminError(f"--member is INSTANCE/CLASS/CODE: {error}") from None
    if member.instance != settings.instance:
        raise AdminError("--member belongs to another instance than this gateway")
    return member


def _profiled(settings: GatewaySettings, entry: KeyEntry, authority: str | None, applied: Applied) -> x509.Name:
    parameters = current_configuration(settings).parameters
    signing = entry.usage is CertificateUsage.SIGNING
    approved = [
        found
        for found in parameters.approved_cas
        if authority in {None, found.name} and not (signing and found.authentication_only)
    ]
    if len(approved) != 1:
        names = ", ".join(found.name for found in parameters.approved_cas)
        raise AdminError(f"--ca names one of the instance's authorities: {names}")
    member = _member(settings, entry.member) if signing else settings.owner_id
    known = next((found.name for found in parameters.members if found.id == member), "")
    applicant = Applicant(member, settings.server_id, applied.name or known, applied.country, applied.host)
    build = signing_subject if signing else authentication_subject
    return build(applicant, profile=approved[0].profile)


def _subject(text: str) -> x509.Name:
    try:
        return x509.Name.from_rfc4514_string(text)
    except ValueError:
        raise AdminError("--subject is a distinguished name such as CN=code,O=Name,C=DE") from None


def _certificates(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE)
        if b"-----BEGIN CERTIFICATE-----" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None
    except UNREADABLE:
        raise AdminError(f"{path}: not a certificate (PEM or DER)") from None
    return [certificate.public_bytes(serialization.Encoding.DER) for certificate in found]


def _say_what_next(
    settings: GatewaySettings,
    configuration: VerifiedConfiguration | None,
    entry: KeyEntry,
    der: bytes,
    *,
    active: bool,
) -> None:
    if not active:
        typer.echo("not active yet: datenweg key activate")
    if entry.usage is CertificateUsage.AUTHENTICATION:
        server = None if configuration is None else configuration.server(settings.server_id)
        digest = hashlib.sha256(der)
        if server is None or digest.digest() not in server.authentication_hashes:
            typer.echo(
                "the registry doesn't have this certificate yet: register it there "
                f"(SHA-256 {digest.hexdigest()}); the gateway changes to it when the configuration names it"
            )


@contextmanager
def _told() -> Iterator[None]:
    """Errors with the code under which docs/errors.md explains them."""
    try:
        yield
    except KeyUnavailable as error:
        hint = f": {error.hint}" if error.hint else ""
        raise AdminError(f"signer.{error.code}: {error}{hint}") from None
