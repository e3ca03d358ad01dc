"""`datenweg adapter` and `client`: what they store, and what they refuse before anything is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from gateway.admin.errors import AdminError
from gateway.cli import app
from gateway.settings import InvalidSettings
from gateway.store.model import LegalBasisKind, RequiredIdentityLevel, ServiceType
from tests.gateway.admin.commands import stored, write_settings
from trust.self_signed import build_self_signed

KONTO = "DE-TEST/COM/SPARKASSE/konto"
APP = "DE-TEST/GOV/MUSTERSTADT/app"
OPENAPI = """
openapi: 3.0.3
info: {title: Konto, version: "1"}
paths:
  /balance: {get: {responses: {"200": {description: Kontostand}}}}
"""
WSDL = """<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/">
<binding name="B"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/><operation name="balance"/></binding>
</definitions>"""
OPTIONS = {
    "--provider": KONTO,
    "--code": "balance",
    "--url": "http://127.0.0.1:8201",
    "--title-de": "Kontostand",
    "--title-en": "Account balance",
    "--purpose-de": "Anzeige in der Bürger-App",
    "--purpose-en": "Shown in the citizen app",
    "--legal-basis-kind": "consent",
    "--legal-basis": "Einwilligung, Art. 6 Abs. 1 a DSGVO",
    "--data-category": "Kontostand",
    "--identity-level": "substantial",
    "--grant": APP,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "openapi.yaml").write_text(OPENAPI, encoding="utf-8")
    (tmp_path / "service.wsdl").write_text(WSDL, encoding="utf-8")
    return write_settings(tmp_path)


def invoke(*arguments: str) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    if isinstance(result.exception, (AdminError, InvalidSettings)):
        raise result.exception
    return result


def register(config: Path, *extra: str, **changes: str | None) -> Result:
    options = OPTIONS | {"--" + name.replace("_", "-"): value for name, value in changes.items()}
    words = [word for option, value in options.items() if value is not None for word in (option, value)]
    return invoke("adapter", "register", "--config", str(config), *words, *extra)


def test_registering_stores_the_service_its_declaration_and_its_grants(config: Path) -> None:
    result = register(config, "--openapi", str(config.parent / "openapi.yaml"), "--data-category", "IBAN")
    assert result.exit_code == 0, result.output
    assert "GET /balance" in result.output
    assert "SUBSYSTEM:" + APP in result.output
    configuration = stored(config)
    (service,) = configuration.services
    assert service.identifier.encoded == KONTO + "/balance"
    assert service.service_type is ServiceType.OPENAPI3
    assert service.legal_basis_kind is LegalBasisKind.CONSENT
    assert service.identity_level is RequiredIdentityLevel.SUBSTANTIAL
    assert service.data_categories == ("Kontostand", "IBAN")
    assert service.description == OPENAPI.encode()
    assert [right.service for right in configuration.rights] == [service.identifier]
    assert [client.identifier.encoded for client in configuration.clients] == [KONTO]


def test_a_wsdl_names_the_service(config: Path) -> None:
    wsdl = str(config.parent / "service.wsdl")
    assert register(config, "--wsdl", wsdl).exit_code == 0
    assert stored(config).services[0].service_type is ServiceType.WSDL
    with pytest.raises(AdminError, match="none of the WSDL's operations: balance"):
        register(config, "--wsdl", wsdl, code="transfer")


def test_the_wsdl_says_the_version(config: Path) -> None:
    versioned = '<operation name="balance"><version xmlns="http://x-road.eu/xsd/xroad.xsd">v2</version></operation>'
    document = config.parent / "versioned.wsdl"
    document.write_text(WSDL.replace('<operation name="balance"/>', versioned), encoding="utf-8")
    assert register(config, "--wsdl", str(document)).exit_code == 0
    assert stored(config).services[0].identifier.encoded == f"{KONTO}/balance/v2"
    document.write_text(WSDL.replace('<operation name="balance"/>', versioned + versioned.replace("v2", "v3")))
    with pytest.raises(AdminError, match="2 versions of balance"):
        register(config, "--wsdl", str(document))


def test_registering_again_changes_the_declaration_and_keeps_the_rights(config: Path) -> None:
    assert register(config).exit_code == 0
    before = stored(config)
    assert register(config, title_de="Neuer Titel", grant=None).exit_code == 0
    after = stored(config)
    assert after.services[0].title_de == "Neuer Titel"
    assert after.rights == before.rights
    assert after.revision != before.revision


def test_grant_revoke_and_list(config: Path) -> None:
    register(config, grant=None)
    words = ("--config", str(config), "--provider", KONTO, "--code", "balance", "--grant", "GLOBALGROUP:DE-TEST/apps")
    assert "GLOBALGROUP:DE-TEST/apps" in invoke("adapter", "grant", *words).output
    assert len(stored(config).rights) == 1
    assert "nobody" in invoke("adapter", "revoke", *words).output
    assert stored(config).rights == ()
    assert "balance" in invoke("adapter", "list", "--config", str(config)).output
    with pytest.raises(AdminError, match="GLOBALGROUP:DE-TEST/apps has no such right"):
        invoke("adapter", "revoke", *words)


def test_a_table_in_a_pipe_has_whole_names(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    register(config, grant=f"{KONTO}-{'x' * 200}")
    printed = CliRunner().invoke(app, ["adapter", "list", "--config", str(config)]).output
    assert f"{KONTO}-{'x' * 200}" in printed
    folded = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["adapter", "list", "--config", str(config)]).output
    assert "x" * 80 not in folded


def test_granting_what_is_not_registered_is_refused(config: Path) -> None:
    with pytest.raises(AdminError, match="register it first"):
        invoke("adapter", "grant", "--config", str(config), "--provider", KONTO, "--code", "x", "--grant", APP)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"provider": "DE-TEST/COM/SPARKASSE"}, "--provider"),
        ({"provider": "EE/COM/SPARKASSE/konto"}, "another instance"),
        ({"code": "listMethods"}, "--code"),
        ({"code": ""}, "--code"),
        ({"grant": "DE-TEST/GOV/MUSTERSTADT"}, "--grant"),
        ({"url": "ftp://127.0.0.1/"}, "--url"),
        ({"url": "http://user:secret@127.0.0.1/"}, "--url"),
        ({"url": "http://[::1/"}, "--url"),
        ({"url": "http://127.0.0.1/a b"}, "--url"),
        ({"url": "http://adapter.example/"}, "plain HTTP"),
        ({"title_de": " "}, "--title-de"),
        ({"purpose_en": "line\nbreak"}, "--purpose-en"),
        ({"legal_basis": "x" * 1001}, "--legal-basis"),
        ({"identity_level": "none"}, "--identity-level"),
        ({"data_category": None}, "--data-category"),
        ({"timeout": "0"}, "--timeout"),
        ({"timeout": "nan"}, "--timeout"),
        ({"openapi": "/absent.yaml"}, "absent.yaml"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_stored(config: Path, changes: dict[str, str | None], named: str) -> None:
    register(config, code="other")
    before = stored(config)
    with pytest.raises(AdminError, match=named):
        register(config, **changes)
    assert stored(config) == before


def test_plain_http_to_another_machine_has_an_insecure_name(config: Path) -> None:
    assert register(config, "--insecure-plain-http", url="http://adapter.example/").exit_code == 0


def test_clients(config: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file, now = config.parent / "client.pem", datetime.now(UTC)
    certificate = build_self_signed(key, "app", since=now, until=now + timedelta(days=1))
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    https = ("--connection-type", "HTTPS", "--certificate", str(file))
    result = invoke("client", "add", "--config", str(config), "--identifier", APP, *https)
    assert APP in result.output
    (client,) = stored(config).clients
    assert client.certificates == {certificate.public_bytes(Encoding.DER)}
    for words in (
        ("--identifier", "nonsense"),
        ("--identifier", APP, "--connection-type", "HTTPS"),
        ("--identifier", APP, "--certificate", str(config)),
        ("--identifier", "EE/GOV/X"),
    ):
        with pytest.raises(AdminError):
            invoke("client", "add", "--config", str(config), *words)
