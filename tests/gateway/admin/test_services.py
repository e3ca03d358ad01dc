"""Services, endpoints, groups and rights by command: what is stored, what a refresh reports, what is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from typer.testing import CliRunner

from gateway.admin.errors import AdminError
from gateway.admin.openapi import Operation
from gateway.admin.services import ServiceOptions, add_openapi, add_wsdl, refresh
from gateway.cli import app
from gateway.serve import Listener, listening
from gateway.store.model import AccessRight, ClientState, Endpoint, Group, ServiceType
from gateway.store.repository import Repository
from tests.databases import migrated
from tests.gateway.admin.commands import stored, write_settings
from tests.gateway.exchange.ports import HOST, free_port
from trust.identifiers import LocalGroupId, ServiceId, SubsystemId

KONTO = SubsystemId("DE-TEST", "COM", "SPARKASSE", "konto")
APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
FOREIGN = SubsystemId("ANDERSWO", "GOV", "X", "y")
PROVIDER = ("--provider", KONTO.encoded)
RESPONSES = '{responses: {"200": {description: gut}}}'
OPENAPI = """
openapi: 3.0.3
info: {title: Konto, version: "1"}
servers: [{url: "http://127.0.0.1:8201/v1"}]
paths:
%s"""
WSDL = """<d:definitions xmlns:d="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
 xmlns:x="http://x-road.eu/xsd/xroad.xsd" xmlns:t="urn:t">
<d:binding name="B"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>%s</d:binding>
<d:service name="S"><d:port name="P" binding="t:B"><s:address location="http://127.0.0.1:8202/soap"/></d:port></d:service>
</d:definitions>"""


def openapi(*operations: str) -> bytes:
    """A description with these operations, each `method path`."""
    paths: dict[str, list[str]] = {}
    for operation in operations:
        method, path = operation.split()
        declared = "".join(f"{{name: {name}, in: path, required: true}}, " for name in re.findall(r"{([^}]*)}", path))
        paths.setdefault(path, [f"parameters: [{declared}]"]).append(f"{method}: {RESPONSES}")
    return (OPENAPI % "".join(f"  {path}: {{{', '.join(found)}}}\n" for path, found in paths.items())).encode()


def wsdl(*operations: str) -> bytes:
    """A WSDL with these operations, each `name` or `name.version`."""
    parts = (operation.partition(".") for operation in operations)
    made = (
        f'<d:operation name="{name}">{f"<x:version>{version}</x:version>" if dot else ""}</d:operation>'
        for name, dot, version in parts
    )
    return (WSDL % "".join(made)).encode()


# -- by command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_settings(tmp_path)


def invoke(config: Path, *words: str) -> str:
    group, command, *rest = words
    found = CliRunner(env={"COLUMNS": "300"}).invoke(app, (group, command, "--config", str(config), *rest))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def test_a_plain_service_from_its_first_day_to_its_last(config: Path) -> None:
    invoke(config, "service", "add", *PROVIDER, "--code", "rein", "--url", "http://127.0.0.1:1/basis")
    (service,) = stored(config).services
    assert (service.service_type, service.url, service.legal_basis_kind.value) == (
        ServiceType.REST, "http://127.0.0.1:1/basis", "not_declared",
    )  # fmt: skip
    assert service.verify_tls
    assert [client.identifier for client in stored(config).clients] == [KONTO]
    named = (*PROVIDER, "--code", "rein")
    invoke(config, "service", "set", *named, "--url", "https://bank.example/x", "--timeout", "2.5")
    invoke(config, "service", "set", *named, "--insecure-no-verify-tls")
    (service,) = stored(config).services
    assert (service.url, service.timeout_seconds, service.verify_tls) == ("https://bank.example/x", 2.5, False)
    assert "Wartung bis Montag" in invoke(config, "service", "disable", *named, "--notice", "Wartung bis Montag")
    (service,) = stored(config).services
    assert (service.enabled, service.disabled_notice) == (False, "Wartung bis Montag")
    invoke(config, "service", "enable", *named)
    (service,) = stored(config).services
    assert (service.enabled, service.disabled_notice) == (True, "")
    invoke(config, "right", "grant", *named, "--subject", APP.encoded)
    assert "rein" in invoke(config, "service", "list")
    invoke(config, "service", "remove", *named)
    assert (stored(config).services, stored(config).rights) == ((), ())


def test_a_refresh_by_command_says_what_changed(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "konto.yaml"
    file.write_bytes(openapi("get /konten", "get /konten/{id}", "post /konten"))
    named = (*PROVIDER, "--code", "konto")
    invoke(config, "service", "add", *named, "--openapi", str(file))
    assert stored(config).services[0].url == "http://127.0.0.1:8201/v1"
    invoke(config, "right", "grant", *named, "--subject", APP.encoded, "--method", "GET", "--path", "/konten/*")
    assert "nothing" in invoke(config, "service", "refresh", *named)
    file.write_bytes(openapi("get /konten", "get /umsaetze/{id}/{seite}"))
    output = invoke(config, "service", "refresh", *named)
    for line in (
        ("added", "GET /umsaetze/*/*"),
        ("removed", "GET /konten/*"),
        ("removed", "POST /konten"),
        ("right lost", "GET /konten/*", APP.encoded),
    ):
        assert any(all(word in row for word in line) for row in output.splitlines()), (line, output)
    assert stored(config).rights == ()


def test_endpoints_groups_and_rights(config: Path) -> None:
    named = (*PROVIDER, "--code", "rein")
    invoke(config, "service", "add", *named, "--url", "http://127.0.0.1:1")
    invoke(config, "endpoint", "add", *named, "--path", "/a/*", "--method", "get")
    invoke(config, "endpoint", "add", *named, "--path", "/b/**")
    key = ServiceId(KONTO, "rein")
    assert set(stored(config).endpoints) == {Endpoint(key, "GET", "/a/*"), Endpoint(key, "*", "/b/**")}
    owner = ("--owner", KONTO.encoded, "--code", "freunde")
    invoke(config, "group", "add", *owner, "--description", "die nahen", "--member", APP.encoded)
    invoke(config, "group", "add", *owner, "--member", FOREIGN.encoded)
    assert stored(config).groups == (Group(KONTO, "freunde", "die nahen", frozenset({APP, FOREIGN})),)
    invoke(config, "group", "remove", *owner, "--member", APP.encoded)
    assert FOREIGN.encoded in invoke(config, "group", "members")
    subjects = ("--subject", "LOCALGROUP:freunde", "--subject", "GLOBALGROUP:DE-TEST/apps")
    invoke(config, "right", "grant", *named, *subjects, "--method", "get", "--path", "/a/*")
    assert "GET /a/*" in invoke(config, "right", "list")
    assert len(stored(config).rights) == 2
    invoke(
        config, "right", "revoke", *named, "--subject", "GLOBALGROUP:DE-TEST/apps", "--method", "GET", "--path", "/a/*"
    )
    assert stored(config).rights == (AccessRight(key, LocalGroupId("freunde"), "GET", "/a/*"),)
    with pytest.raises(AdminError, match="no such right"):
        invoke(config, "right", "revoke", *named, "--subject", "LOCALGROUP:freunde")
    with pytest.raises(AdminError, match="--subject is "):
        invoke(config, "right", "revoke", *named, "--subject", "DE-TEST/GOV/X")
    invoke(config, "group", "remove", *owner)
    assert (stored(config).groups, stored(config).rights) == ((), ())
    invoke(config, "right", "grant", *named, "--subject", APP.encoded, "--method", "GET", "--path", "/a/*")
    invoke(config, "endpoint", "remove", *named, "--path", "/a/*", "--method", "GET")
    assert stored(config).rights == ()


def test_clients_and_their_states(config: Path) -> None:
    invoke(config, "client", "add", "--identifier", KONTO.encoded, "--state", "saved")
    assert stored(config).clients[0].state is ClientState.SAVED
    output = invoke(config, "client", "state", "--identifier", KONTO.encoded, "--state", "disabling in progress")
    assert "disabling in progress" in output
    assert not stored(config).clients[0].may_exchange
    invoke(config, "client", "state", "--identifier", KONTO.encoded, "--state", "registered")
    assert stored(config).clients[0].may_exchange
    with pytest.raises(AdminError):
        invoke(config, "client", "state", "--identifier", APP.encoded, "--state", "registered")
    invoke(config, "client", "remove", "--identifier", KONTO.encoded)
    assert stored(config).clients == ()
    with pytest.raises(AdminError, match="doesn't serve it"):
        invoke(config, "client", "remove", "--identifier", KONTO.encoded)


@pytest.mark.parametrize(
    "words",
    [
        ("service", "add", *PROVIDER, "--url", "http://127.0.0.1:1"),
        ("service", "add", *PROVIDER, "--code", "a", "--url", "gopher://x"),
        ("service", "add", *PROVIDER, "--code", "a"),
        ("service", "add", *PROVIDER, "--code", "a", "--url", "http://bank.example"),
        ("service", "add", *PROVIDER, "--code", "rein", "--url", "http://127.0.0.1:1"),
        ("service", "add", *PROVIDER, "--wsdl", "x.wsdl", "--code", "a"),
        ("service", "add", *PROVIDER, "--wsdl", "gibt-es-nicht.wsdl"),
        ("service", "add", "--provider", "XX/COM/B/k", "--code", "a", "--url", "http://127.0.0.1:1"),
        *(
            ("service", "add", *PROVIDER, "--code", code, "--url", "http://127.0.0.1:1")
            for code in (
                "listClients",
                "listMethods",
                "allowedMethods",
                "getWsdl",
                "getOpenAPI",
                "getSecurityServerMetrics",
                "getSecurityServerOperationalData",
                "getSecurityServerHealthData",
                "datenwegServices",
                "a/b",
                "",
            )
        ),
        ("service", "set", *PROVIDER, "--code", "rein"),
        ("service", "set", *PROVIDER, "--code", "rein", "--timeout", "0"),
        ("service", "set", *PROVIDER, "--code", "fehlt", "--timeout", "1"),
        ("service", "refresh", *PROVIDER, "--code", "rein"),
        ("service", "refresh", *PROVIDER, "--code", "fehlt"),
        ("service", "disable", *PROVIDER, "--code", "rein", "--notice", "x" * 256),
        ("service", "remove", *PROVIDER, "--code", "fehlt"),
        ("endpoint", "add", *PROVIDER, "--code", "rein", "--path", "a"),
        ("endpoint", "add", *PROVIDER, "--code", "rein", "--path", "**"),
        ("endpoint", "add", *PROVIDER, "--code", "rein", "--path", "/a", "--method", "FETCH"),
        ("endpoint", "add", *PROVIDER, "--code", "fehlt", "--path", "/a"),
        ("endpoint", "remove", *PROVIDER, "--code", "rein", "--path", "/a"),
        ("group", "add", "--owner", FOREIGN.encoded, "--code", "g"),
        ("group", "add", "--owner", KONTO.encoded, "--code", "g:h"),
        ("group", "add", "--owner", KONTO.encoded, "--code", "g", "--member", "DE-TEST/GOV/MUSTERSTADT"),
        ("group", "remove", "--owner", KONTO.encoded, "--code", "fehlt"),
        ("right", "grant", *PROVIDER, "--code", "rein", "--subject", "DE-TEST/GOV/MUSTERSTADT"),
        ("right", "grant", *PROVIDER, "--code", "rein", "--subject", "MEMBER:DE-TEST/GOV/MUSTERSTADT"),
        ("right", "grant", *PROVIDER, "--code", "rein", "--subject", "LOCALGROUP:fehlt"),
        ("right", "grant", *PROVIDER, "--code", "fehlt", "--subject", APP.encoded),
        ("right", "grant", *PROVIDER, "--code", "rein", "--subject", APP.encoded, "--path", "/fehlt"),
    ],
    ids=lambda words: " ".join(words[:2]) + "…" + words[-1][:20],
)
def test_what_is_refused_changes_nothing(config: Path, words: tuple[str, ...]) -> None:
    invoke(config, "service", "add", *PROVIDER, "--code", "rein", "--url", "http://127.0.0.1:1")
    before = stored(config)
    with pytest.raises(AdminError):
        invoke(config, *words)
    after = stored(config)
    assert (after.services, after.endpoints, after.groups, after.rights) == (
        before.services, before.endpoints, before.groups, before.rights,
    )  # fmt: skip


# -- from where a service describes itself


@pytest_asyncio.fixture
async def repository(sqlite_url: str) -> AsyncIterator[Repository]:
    async with migrated(sqlite_url) as engine:
        yield Repository(engine)


class Describing:
    """An institution's service that serves its description."""

    def __init__(self) -> None:
        self.url = f"http://{HOST}:{free_port()}"
        self.answer: Callable[[], web.Response] = lambda: web.Response(status=404)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        return self.answer()

    def serves(self, body: bytes, kind: str) -> None:
        self.answer = lambda: web.Response(body=body, headers={"Content-Type": kind})


@pytest_asyncio.fixture
async def describing() -> AsyncIterator[Describing]:
    found = Describing()
    port = int(found.url.rpartition(":")[2])
    async with listening([Listener(web.Server(found.handle), HOST, port)], shutdown_seconds=1):
        yield found


def named(operations: tuple[str, ...], codes: list[str]) -> bool:
    return sorted(operations) == sorted(codes)


async def test_a_wsdl_over_http_and_its_refresh(repository: Repository, describing: Describing) -> None:
    describing.serves(wsdl("alt", "bleibt.v1", "bleibt.v2"), "text/xml")
    source = f"{describing.url}/?wsdl"
    services = await add_wsdl(repository, KONTO, source, ServiceOptions(timeout_seconds=3))
    assert {(s.code, s.version, s.url, s.timeout_seconds) for s in services} == {
        ("alt", None, "http://127.0.0.1:8202/soap", 3),
        ("bleibt", "v1", "http://127.0.0.1:8202/soap", 3),
        ("bleibt", "v2", "http://127.0.0.1:8202/soap", 3),
    }
    rights = [AccessRight(ServiceId(KONTO, code), APP) for code in ("alt", "bleibt")]
    await repository.grant(*rights)
    describing.serves(wsdl("bleibt.v2", "bleibt.v3", "neu"), "text/xml")
    report, now = await refresh(repository, KONTO, "bleibt")
    assert (report.source, report.added, report.removed) == (source, ("bleibt.v3", "neu"), ("alt", "bleibt.v1"))
    assert report.lost_rights == (rights[0],)
    stored = await repository.services()
    assert {s.identifier for s in stored} == {s.identifier for s in now}
    assert {s.timeout_seconds for s in stored} == {3}
    assert len({id(s.description) for s in stored}) == 1
    assert await repository.rights() == (rights[1],)


@pytest.mark.parametrize("operation", ["zahl:1", "zahl/../1", "zahl.v1%2", "zahl.v1;2"])
async def test_codes_and_versions_that_identifiers_can_not_have(
    repository: Repository, describing: Describing, operation: str
) -> None:
    describing.serves(wsdl("gut", operation), "text/xml")
    with pytest.raises(AdminError, match="may be in it"):
        await add_wsdl(repository, KONTO, f"{describing.url}/?wsdl", ServiceOptions())
    assert await repository.services() == ()


async def test_a_refresh_leads_no_data_into_the_open(repository: Repository, describing: Describing) -> None:
    """A new version has the rights of its code: were its address taken unseen, data would go there at the next call."""
    describing.serves(wsdl("bleibt.v1"), "text/xml")
    await add_wsdl(repository, KONTO, f"{describing.url}/?wsdl", ServiceOptions())
    before = await repository.services()
    away = wsdl("bleibt.v1", "bleibt.v2").replace(b"http://127.0.0.1:8202", b"http://anderswo.example")
    describing.serves(away, "text/xml")
    with pytest.raises(AdminError, match="--insecure-plain-http"):
        await refresh(repository, KONTO, "bleibt")
    assert await repository.services() == before
    _, now = await refresh(repository, KONTO, "bleibt", insecure_plain_http=True)
    # What was there keeps its address whatever the description says.
    assert {(s.version, s.url) for s in now} == {
        ("v1", "http://127.0.0.1:8202/soap"),
        ("v2", "http://anderswo.example/soap"),
    }


async def test_a_relative_server_counts_from_the_document(repository: Repository, describing: Describing) -> None:
    document = openapi("get /a").replace(b"http://127.0.0.1:8201/v1", b"../v2")
    describing.serves(document, "application/x-yaml; charset=utf-8")
    service, _ = await add_openapi(repository, KONTO, "konto", f"{describing.url}/doc/openapi.yaml", ServiceOptions())
    assert service.url == f"{describing.url}/v2"
    assert (service.description, service.description_type) == (document, "application/x-yaml; charset=utf-8")


async def test_an_endpoint_added_by_hand_outlives_a_refresh(repository: Repository, describing: Describing) -> None:
    describing.serves(openapi("get /a", "get /b"), "application/yaml")
    service, _ = await add_openapi(repository, KONTO, "konto", f"{describing.url}/x.yaml", ServiceOptions())
    own = Endpoint(service.key, "DELETE", "/b")
    await repository.add_endpoint(own)
    await repository.grant(AccessRight(service.key, APP, "DELETE", "/b"), AccessRight(service.key, APP))
    describing.serves(openapi("get /b", "delete /b"), "application/yaml")
    report, _ = await refresh(repository, KONTO, "konto")
    assert (report.added, report.removed, report.lost_rights) == ((), ("GET /a",), ())
    assert set(await repository.endpoints()) == {own, Endpoint(service.key, "GET", "/b", True)}
    assert len(await repository.rights()) == 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/anderswo"}),
        lambda: web.Response(body=b"kein Dokument"),
        lambda: web.Response(body=b"x" * (2 << 20)),
    ],
    ids=["status", "redirect", "garbage", "too large"],
)
async def test_a_refresh_that_fails_changes_nothing(
    repository: Repository, describing: Describing, answer: Callable[[], web.Response]
) -> None:
    describing.serves(openapi("get /a"), "application/yaml")
    await add_openapi(repository, KONTO, "konto", f"{describing.url}/x.yaml", ServiceOptions())
    before = await repository.load()
    describing.answer = answer
    with pytest.raises(AdminError):
        await refresh(repository, KONTO, "konto")
    assert await repository.load() == before


@pytest.mark.parametrize(
    ("path", "glob"),
    [
        ("/konten", "/konten"),
        ("/konten/{id}", "/konten/*"),
        ("/a/{x}/b/{y}", "/a/*/b/*"),
        ("/a/{x}-{y}", "/a/*"),
        ("/a/*b\\c", "/a/\\*b\\\\c"),
    ],
)
def test_what_a_path_becomes_for_rights(path: str, glob: str) -> None:
    assert Operation("GET", path, None).glob == glob
