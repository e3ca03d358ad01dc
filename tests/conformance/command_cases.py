"""The codes that commands end with: whoever opens a container, and the operator who keeps keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from gateway.admin.keys import key_commands
from gateway.admin.verify import verify_file
from gateway.instance.settings_files import to_toml
from gateway.messages.faults import Hop
from gateway.settings import GatewaySettings
from tests.conformance.stage import Case, Do, Stage, Told, operator_case
from tests.conformance.words import Form, Row
from tests.gateway.exchange.test_key_rollover import signing_certificate
from tests.gateway.exchange.town import CITY, UTILITY
from tests.trust.containers import Change, entries, making
from tests.trust.factory import NOW
from tests.trust.test_asic_archive_mutations import ARCHIVES
from tests.trust.test_asic_mutations import CONTENTS, FILES
from trust.asic import SignatureForm, StampForm
from trust.testca.authority import CertificateAuthority

# -- containers

_FORMS: Final = (SignatureForm.HASH_CHAIN, StampForm.BATCH)


def _containers() -> dict[str, tuple[str, Change]]:
    """By code: what is wrong, and how it came about."""
    found: dict[str, tuple[str, Change]] = {}
    contents = [(name, code, change) for name, form, stamp, code, change in CONTENTS if stamp is _FORMS[1]]
    for name, code, change in (*ARCHIVES, *FILES, *contents):
        if code.startswith("asic_"):
            found.setdefault(code, (name, change))
    return found


def _opened(change: Change) -> Do:
    async def do(_: Stage) -> Told:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "message.asice"
            file.write_bytes(change(entries(*_FORMS)))
            (outcome,) = verify_file(file, making().configuration, at=NOW.replace(year=NOW.year + 1))
        assert outcome.error is not None
        return Told(Form.OPERATOR, 0, outcome.error.code, str(outcome.error), "")

    return do


# -- keys


@dataclass
class Shell:
    """Where `datenweg key` is typed: with the settings of a running gateway, and its signing certificate."""

    authority: CertificateAuthority
    folder: Path
    settings: Path
    signing: x509.Certificate

    def run(self, *words: str, **environment: str) -> str:
        """What the command prints; a refusal is the error's text."""
        done = CliRunner().invoke(key_commands, [*words, "--config", str(self.settings)], env=environment)
        return str(done.exception) if done.exception is not None else str(done.output).strip()

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path)

    def request(self, key: str) -> x509.CertificateSigningRequest:
        """The certificate request of a key."""
        path = self.folder / "request"
        self.run("csr", key, "--out", str(path), "--subject", "CN=x")
        return x509.load_pem_x509_csr(path.read_bytes())


def _typed(use: Callable[[Shell], str], **changes: Any) -> Do:
    """The refusal that `use` ends with."""

    def type_it(settings: GatewaySettings, authority: CertificateAuthority, signing: bytes) -> str:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "gateway.toml"
            file.write_text(to_toml(settings.model_copy(update=changes)), "utf-8")
            return use(Shell(authority, Path(folder), file, x509.load_der_x509_certificate(signing)))

    async def do(stage: Stage) -> Told:
        node = stage.pair.consumer
        text = await asyncio.to_thread(type_it, node.settings, stage.pair.authority, signing_certificate(node))
        code, _, reason = text.partition(": ")
        return Told(Form.OPERATOR, 0, code, reason, "")

    return do


def _imported(issue: Callable[[CertificateAuthority, Any], x509.Certificate]) -> Callable[[Shell], str]:
    """A certificate that `issue` makes for a new signing key."""

    def use(shell: Shell) -> str:
        key = shell.run("generate", "--usage", "signing")
        issued = issue(shell.authority, shell.request(key).public_key())
        told = shell.run("import", shell.file("new.crt", issued.public_bytes(Encoding.PEM)))
        shell.run("delete", key, "--yes")
        return told

    return use


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


_GENERATE: Final = ("generate", "--usage", "signing")
_NOBODY: Final = "f" * 12
_COMMANDS: Final[tuple[tuple[str, str, Do], ...]] = (
    ("a token that there isn't", "token_not_found", _typed(lambda s: s.run(*_GENERATE, "--token", "keiner"))),
    ("a key that there isn't", "key_not_found", _typed(lambda s: s.run("delete", _NOBODY, "--yes"))),
    ("a certificate that there isn't", "cert_not_found", _typed(lambda s: s.run("activate", _NOBODY))),
    ("a wrong PIN", "pin_incorrect", _typed(lambda s: s.run(*_GENERATE, "--pin-file", s.file("pin", b"falsch")))),
    (
        "a weak new PIN",
        "token_pin_policy_failure",
        _typed(lambda s: s.run("pin", "--new-pin-file", s.file("new", b"schwach"))),
    ),
    ("no PIN", "token_not_active", _typed(lambda s: s.run(*_GENERATE), pin_file=Path("/nirgends/pin"))),
    (
        "a device whose module isn't there",
        "token_not_available",
        _typed(
            lambda s: s.run(*_GENERATE, "--token", "keiner", DATENWEG_PKCS11_PIN="x"),
            pkcs11_module=Path("/nirgends/module.so"),
            pkcs11_token="keiner",
        ),
    ),
    (
        "destroying a certificate in use",
        "cannot_sign",
        _typed(lambda s: s.run("delete", _fingerprint(s.signing), "--yes")),
    ),
    (
        "a certificate that is there already",
        "cert_exists",
        _typed(lambda s: s.run("import", s.file("again.crt", _pem(s.signing)))),
    ),
    (
        "a certificate for another use",
        "wrong_cert_usage",
        _typed(_imported(lambda a, k: a.issue_authentication(k, CITY.member, member_name="x", server_code="ss1"))),
    ),
    (
        "a certificate of another member",
        "cert_import_failed",
        _typed(_imported(lambda a, k: a.issue_signing(k, UTILITY.member, member_name="x", server_code="ss1"))),
    ),
)


CASES: list[Case] = [
    *(
        operator_case(Row.CONTAINERS, situation, code, Hop.VERIFIER, _opened(change))
        for code, (situation, change) in _containers().items()
    ),
    *(operator_case(Row.KEYS, situation, f"signer.{leaf}", Hop.SIGNER, do) for situation, leaf, do in _COMMANDS),
]
