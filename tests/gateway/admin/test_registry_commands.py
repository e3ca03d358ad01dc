"""`datenweg registry class|member|server|group|authority`, as the registry's operator types them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.admin.errors import AdminError
from gateway.cli import app
from gateway.registry.state import RegistryState
from tests.trust.configurations import key
from trust.identifiers import GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import PROFILE_BASIC, ApprovedCA, ApprovedTSA, GlobalGroup, SharedParameters

CITY = MemberId("DE-TEST", "GOV", "MUSTERSTADT")
APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
SERVER = SecurityServerId(CITY, "city-1")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "registry.toml"
    path.write_text('instance = "DE-TEST"\ndata_directory = "registry"\n')
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.crt"
    path.write_bytes(key().certificate_der)
    return path


def run(config: Path, *words: object) -> str:
    result = CliRunner().invoke(app, ["registry", *map(str, words[:2]), "--config", str(config), *map(str, words[2:])])
    if isinstance(result.exception, AdminError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def state(config: Path) -> SharedParameters:
    return RegistryState(config.parent / "registry" / "registry.xml", "DE-TEST").read()


def register(config: Path, certificate: Path) -> None:
    run(config, "class", "add", "GOV", "--description", "Verwaltung")
    assert run(config, "member", "add", CITY.encoded, "--name", "Stadt") == f"{CITY}: Stadt\n"
    run(config, "member", "add", APP.encoded, "--name", "App")
    run(config, "server", "add", SERVER.encoded, "--address", "gw.example")
    run(config, "server", "certificate", SERVER.encoded, certificate)
    run(config, "server", "client", SERVER.encoded, APP.encoded)
    run(config, "server", "maintenance", SERVER.encoded, "--notice", "bis fünf")
    run(config, "group", "set", "apps", "--description", "Apps", "--member", APP.encoded)
    run(config, "authority", "approve", certificate, "--name", "CA", "--ocsp", "http://ca.example/ocsp")
    run(config, "authority", "approve", certificate, "--name", "TSA", "--time-stamping", "http://tsa.example")


def test_an_instance_is_set_up_from_nothing(config: Path, certificate: Path) -> None:
    register(config, certificate)
    found = state(config)
    (member,) = found.members
    assert (member.id, member.name, [part.id for part in member.subsystems]) == (CITY, "Stadt", [APP])
    (server,) = found.security_servers
    assert (server.id, server.address, server.clients, server.maintenance) == (SERVER, "gw.example", {APP}, "bis fünf")
    assert server.authentication_hashes == {hashlib.sha256(key().certificate_der).digest()}
    assert found.groups == (GlobalGroup(GlobalGroupId("DE-TEST", "apps"), "Apps", frozenset({APP})),)
    authority = ApprovedCA("CA", key().certificate_der, ocsp_urls=("http://ca.example/ocsp",), profile=PROFILE_BASIC)
    assert found.approved_cas == (authority,)
    assert found.approved_tsas == (ApprovedTSA("TSA", "http://tsa.example", key().certificate_der),)
    # It has its anchor, so that a gateway may begin.
    assert (config.parent / "registry" / "configuration-anchor.xml").is_file()
    registry_file = str(config.parent / "registry" / "registry.xml")
    assert "bis fünf" in CliRunner().invoke(app, ["configuration", "show", registry_file]).output


def test_everything_can_be_taken_back_once(config: Path, certificate: Path) -> None:
    register(config, certificate)
    run(config, "server", "maintenance", SERVER.encoded, "--end")
    assert state(config).security_servers[0].maintenance is None
    for words in (
        ("server", "client", SERVER.encoded, APP.encoded, "--remove"),
        ("server", "certificate", SERVER.encoded, certificate, "--remove"),
        ("group", "remove", "apps"),
        ("authority", "revoke", certificate),
        ("server", "remove", SERVER.encoded),
        ("member", "remove", APP.encoded),
        ("member", "remove", CITY.encoded),
    ):
        run(config, *words)
        before = state(config)
        with pytest.raises(AdminError, match=r"nothing to remove|no (SERVER|MEMBER):"):
            run(config, *words)
        assert state(config) == before
    empty = state(config)
    assert (empty.members, empty.security_servers, empty.groups) == ((), (), ())
    assert (empty.approved_cas, empty.approved_tsas) == ((), ())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("member", "add", "DE-TEST/NGO/X", "--name", "X"), "no member class NGO: add it first"),
        (("member", "add", "EE/GOV/X", "--name", "X"), "of instance DE-TEST"),
        (("member", "add", "DE-TEST", "--name", "X"), "CLIENT is"),
        (("member", "remove", "DE-TEST/GOV/MUSTERSTADT"), "still owns a gateway"),
        (("server", "add", "DE-TEST/GOV/MUSTERSTADT", "--address", "x"), "SERVER is"),
        (("server", "add", "DE-TEST/GOV/MUSTERSTADT/b", "--address", "https://x/"), "--address is"),
        (("server", "add", "DE-TEST/GOV/MUSTERSTADT/b", "--address", "x:port"), "--address is"),
        (("server", "maintenance", "DE-TEST/GOV/MUSTERSTADT/city-1"), "either --notice or --end"),
        (("server", "client", "DE-TEST/GOV/MUSTERSTADT/city-1", "DE-TEST/GOV/NOBODY"), "add it first"),
        (("server", "certificate", "DE-TEST/GOV/MUSTERSTADT/city-1", "registry.toml"), "holds no certificate"),
        (("group", "remove", "nobody"), "nothing to remove"),
        (("authority", "approve", "certificate.crt", "--name", "x"), "at least one --ocsp"),
        (("authority", "approve", "certificate.crt", "--name", "x", "--ocsp", "ca.example"), "--ocsp is"),
        (("authority", "approve", "certificate.crt", "--name", "x", "--ocsp", "http://x", "--profile", "y"), "one of"),
    ],
)
def test_what_does_not_fit_is_refused(
    config: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(config.parent)
    register(config, certificate)
    before = state(config)
    with pytest.raises(AdminError, match=said):
        run(config, *words)
    assert state(config) == before
