"""Following a configuration: from which source, in which version, what is kept, and what a bad source can't do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.trust.configurations import INSTANCE, NOW, VALIDITY, Signed, anchor, key, key_pair, parameters, signed
from tests.trust.test_configuration_store import OTHER, full_disk, stored
from trust.configuration_client import ConfigurationClient
from trust.configuration_store import ConfigurationStore
from trust.errors import ConfigurationExpired, ConfigurationInvalid, ConfigurationRolledBack, FetchFailed
from trust.globalconf import Anchor, AnchorSource, verify_configuration
from trust.parameters import ConfigurationSource


@dataclass
class Source:
    """A configuration source that can be told what to serve."""

    serves: Signed = field(default_factory=signed)
    version: int = 6
    path: str = "/internalconf"
    requests: list[str] = field(default_factory=list)
    override: dict[str, web.Response] = field(default_factory=dict)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(str(request.rel_url))
        if request.path in self.override:
            answer = self.override[request.path]
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        if request.path == self.path:
            if request.query["version"] != str(self.version):
                raise web.HTTPNotFound
            return web.Response(body=self.serves.directory)
        if request.path in self.serves.files:
            return web.Response(body=self.serves.files[request.path])
        raise web.HTTPNotFound


class Time:
    """A clock that tests move."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source = Source()
    app = web.Application()
    app.router.add_get("/{path:.*}", source.handle)
    async with TestServer(app) as server:
        source.url = str(server.make_url("/internalconf"))
        yield source


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def time() -> Time:
    return Time()


async def test_it_downloads_and_keeps(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    client = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    assert await client.load() is None
    accepted = await client.refresh()
    assert accepted.parameters == parameters()
    assert client.current is accepted
    # After a restart without any source it is still there.
    again = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    loaded = await again.load()
    assert loaded is not None
    assert loaded.parameters == parameters()
    assert loaded.expires == accepted.expires


async def test_it_probes_versions_downwards_and_remembers(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    source.version, source.serves = 4, signed(version=4)
    client = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    assert (await client.refresh()).version == 4
    assert [r for r in source.requests if "version" in r] == [f"/internalconf?version={n}" for n in (6, 5, 4)]
    source.requests.clear()
    await client.refresh()
    assert source.requests == ["/internalconf?version=4"], "nothing has changed: no file is fetched again"
    # The source is renewed: the known version is gone, so all are looked for again.
    source.version, source.serves = 6, signed(number=2)
    assert (await client.refresh()).version == 6
    (report,) = client.reports
    assert (report.url, report.version, report.failure) == (source.url, 6, None)
    source.version = 7
    with pytest.raises(FetchFailed):
        await client.refresh()
    failures = {report.url: report.failure for report in client.reports}
    # The source that is announced doesn't exist: over https and over http.
    assert failures.pop(source.url) == "global_conf_get_version_failed"
    assert failures == dict.fromkeys(
        ("https://registry.test/internalconf", "http://registry.test/internalconf"),
        "global_conf_download_url_connection_failure",
    )


async def test_a_version_that_the_anchor_fixes_is_kept(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    source.version, source.serves = 2, signed(version=2)
    client = ConfigurationClient(session, anchor(url=f"{source.url}?version=2"), tmp_path, time)
    assert (await client.refresh()).version == 2
    assert [r for r in source.requests if "version" in r] == ["/internalconf?version=2"]


async def test_unchanged_files_are_not_fetched_again(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    client = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    await client.refresh()
    source.requests.clear()
    source.serves = signed(number=2)
    accepted = await client.refresh()
    assert accepted.sequence == 20261122100000000000002 * 10**6
    assert source.requests == ["/internalconf?version=6"]
    source.serves = signed(number=3, values=replace(parameters(), ocsp_freshness_seconds=60))
    assert (await client.refresh()).parameters.ocsp_freshness_seconds == 60
    assert source.requests[-1] == "/V6/20261122100000000000003/shared-params.xml"


async def test_a_refused_configuration_leaves_the_accepted_one(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    client = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    source.serves = signed(number=5)
    accepted = await client.refresh()
    for wrong, error in (
        (signed(number=4, values=OTHER), ConfigurationRolledBack),
        (signed(number=6, signer=key_pair()), ConfigurationInvalid),
        (signed(number=6, at=NOW - VALIDITY), ConfigurationExpired),
        (replace(signed(number=6, shared=b"<x/>")), ConfigurationInvalid),
    ):
        source.serves = wrong
        with pytest.raises(error):
            await client.refresh()
        assert client.current is accepted
    # Also over a restart.
    again = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    source.serves = signed(number=4, values=OTHER)
    with pytest.raises(ConfigurationRolledBack):
        await again.refresh()
    source.serves = signed(number=4)
    kept = await again.refresh()
    assert kept.sequence == accepted.sequence, "the same, but older: a node whose clock is behind; nothing goes back"


async def test_an_unchanged_configuration_expires(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    client = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    await client.refresh()
    time.now = NOW + VALIDITY
    with pytest.raises(ConfigurationExpired):
        await client.refresh()


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
        web.Response(body=b"x" * (1 << 20)),
    ],
)
async def test_a_source_that_misbehaves_is_not_reached(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time, answer: web.Response
) -> None:
    source.override["/internalconf"] = answer
    with pytest.raises(FetchFailed):
        await ConfigurationClient(session, anchor(url=source.url), tmp_path, time).refresh()


async def test_files_come_from_where_their_directory_came_from(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    source.serves = signed(location="http://127.0.0.1:1/shared-params.xml")
    with pytest.raises(ConfigurationInvalid) as refused:
        await ConfigurationClient(session, anchor(url=source.url), tmp_path, time).refresh()
    assert refused.value.code == "global_conf_part_download_failure"


async def test_a_file_that_is_gone(source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time) -> None:
    source.serves = Signed(source.serves.directory, {})
    with pytest.raises(FetchFailed) as refused:
        await ConfigurationClient(session, anchor(url=source.url), tmp_path, time).refresh()
    assert refused.value.code == "global_conf_part_download_failure"


async def test_the_next_source_is_asked(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time
) -> None:
    dead = AnchorSource("https://127.0.0.1:1/internalconf", (key().certificate_der,))
    both = Anchor(INSTANCE, (dead, AnchorSource(source.url, (key().certificate_der,))))
    client = ConfigurationClient(session, both, tmp_path, time)
    assert (await client.refresh()).parameters == parameters()
    with pytest.raises(FetchFailed):
        await ConfigurationClient(session, Anchor(INSTANCE, (dead,)), tmp_path / "x", time).refresh()


# A configuration proxy publishes under a path of its own, and signs with what may stand under either name.
@pytest.mark.parametrize(
    "announced_at",
    [
        ("/internalconf", "internal_certificates"),
        ("/externalconf", "external_certificates"),
        ("/WEITERGABE/conf", "internal_certificates"),
        ("/WEITERGABE/conf", "external_certificates"),
    ],
)
async def test_an_announced_source_with_an_announced_key_is_followed(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time, announced_at: tuple[str, str]
) -> None:
    """The registry moves and changes its key; nobody hands out a new anchor."""
    new = key_pair()
    path, name = announced_at
    source.path = path
    announced = ConfigurationSource(source.url.split("/")[2], **{name: (new.certificate_der,)})
    values = replace(parameters(), sources=(announced,))
    old_anchor = anchor(url=f"http://127.0.0.1:1{path}")
    first = signed(values=values)
    store = ConfigurationStore(tmp_path, old_anchor)
    store.save(
        verify_configuration(first.directory, first.files, anchor=old_anchor, at=NOW, previous=None), first.files, None
    )
    source.serves = signed(values=values, signer=new, number=2)
    accepted = await ConfigurationClient(session, old_anchor, tmp_path, time).refresh()
    assert accepted.directory.document == source.serves.directory
    again = await ConfigurationClient(session, old_anchor, tmp_path, time).load()
    assert again is not None
    assert again.directory.document == source.serves.directory


async def test_a_full_disk_is_said_and_passes(
    source: Source, session: aiohttp.ClientSession, tmp_path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ConfigurationClient(session, anchor(url=source.url), tmp_path, time)
    with monkeypatch.context() as patch:
        patch.setattr(ConfigurationStore, "save", full_disk)
        with pytest.raises(FetchFailed, match="can't be kept on disk"):
            await client.refresh()
        assert client.current is None
    assert (await client.refresh()).parameters == parameters()


# The store


def test_a_new_anchor_begins_anew(tmp_path: Path) -> None:
    stored(tmp_path, signed())
    assert ConfigurationStore(tmp_path, anchor(key_pair())).load() is None
    regenerated = replace(anchor(), generated_at=NOW + timedelta(days=1))
    assert ConfigurationStore(tmp_path, regenerated).load() is not None
