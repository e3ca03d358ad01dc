from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.trust.configurations import (
    INSTANCE,
    NOW,
    VALIDITY,
    Signed,
    anchor,
    key,
    key_pair,
    parameters,
    signed,
)
from trust.configuration_client import ConfigurationClient
from trust.configuration_store import ConfigurationStore, escape_instance
from trust.errors import ConfigurationExpired, ConfigurationInvalid, ConfigurationRolledBack, FetchFailed
from trust.globalconf import (
    Anchor,
    AnchorSource,
    OptionalParts,
    VerifiedConfiguration,
    build_optional_parts,
    parse_shared_parameters,
    verify_configuration,
)
from trust.parameters import ConfigurationSource

OTHER = replace(parameters(), ocsp_freshness_seconds=60)


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


def full_disk(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# The store


def stored(
    directory: Path, configuration: Signed, previous: VerifiedConfiguration | None = None
) -> VerifiedConfiguration:
    accepted = verify_configuration(
        configuration.directory, configuration.files, anchor=anchor(), at=NOW, previous=previous
    )
    ConfigurationStore(directory, anchor()).save(accepted, configuration.files, previous)
    return accepted


def test_the_store_keeps_the_last_two_generations(tmp_path: Path) -> None:
    previous = None
    for number in range(1, 5):
        previous = stored(tmp_path, signed(number=number), previous)
    kept = [entry for entry in tmp_path.iterdir() if entry.name.startswith(f".{INSTANCE}.")]
    assert len(kept) == 2
    loaded = ConfigurationStore(tmp_path, anchor()).load()
    assert loaded is not None
    assert previous is not None
    assert loaded.configuration.sequence == previous.sequence


def test_an_interrupted_save_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stored(tmp_path, signed(number=1))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            stored(tmp_path, signed(number=2), first)
    loaded = ConfigurationStore(tmp_path, anchor()).load()
    assert loaded is not None
    assert loaded.configuration.sequence == first.sequence
    stored(tmp_path, signed(number=3), first)


def test_an_altered_store_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, signed())
    current = tmp_path / INSTANCE
    for name in ("directory", "shared-params.xml", "private-params.xml", "state.json"):
        original = (current / name).read_bytes()
        for altered in (original[:-20], b"", None):
            if altered is None:
                (current / name).unlink()
            else:
                (current / name).write_bytes(altered)
            if name == "state.json" and altered is None:
                assert ConfigurationStore(tmp_path, anchor()).load() is None
            else:
                with pytest.raises(ConfigurationInvalid):
                    ConfigurationStore(tmp_path, anchor()).load()
        (current / name).write_bytes(original)
    known = json.loads(original)
    outside = {**known, "files": dict.fromkeys(known["files"], "../../../etc/passwd")}
    for state in ("[]", "{}", json.dumps({**known, "announced": ["*"]}), json.dumps(outside)):
        (current / "state.json").write_text(state)
        with pytest.raises(ConfigurationInvalid):
            ConfigurationStore(tmp_path, anchor()).load()


def test_a_new_anchor_begins_anew(tmp_path: Path) -> None:
    stored(tmp_path, signed())
    assert ConfigurationStore(tmp_path, anchor(key_pair())).load() is None
    regenerated = replace(anchor(), generated_at=NOW + timedelta(days=1))
    assert ConfigurationStore(tmp_path, regenerated).load() is not None


def test_instances_cannot_leave_the_folder(tmp_path: Path) -> None:
    for instance in ("../x", "a/b", "..", ".", ".x", "Länder TEST~"):
        store = ConfigurationStore(tmp_path / "in", Anchor(instance, anchor().sources))
        assert store.load() is None
        assert store.path.parent == tmp_path / "in"
        assert not store.path.name.startswith(".")
    assert escape_instance("Länder TEST~*") == "L%C3%A4nder+TEST%7E*"


def test_the_folder_is_in_x_roads_layout(tmp_path: Path) -> None:
    stored(
        tmp_path,
        signed(more=[("NEXTUPDATE", build_optional_parts(OptionalParts(verify_next_update=True))["NEXTUPDATE"])]),
    )
    assert (tmp_path / "instance-identifier").read_text() == INSTANCE
    folder = tmp_path / INSTANCE
    assert parse_shared_parameters((folder / "shared-params.xml").read_bytes()) == parameters()
    metadata = json.loads((folder / "shared-params.xml.metadata").read_bytes())
    assert metadata == {
        "contentIdentifier": "SHARED-PARAMETERS",
        "instanceIdentifier": INSTANCE,
        "expirationDate": "2026-11-22T10:10:00Z",
        "contentLocation": "/V6/20261122100000000000001/shared-params.xml",
        "configurationVersion": "6",
    }
    names = {entry.name for entry in folder.iterdir() if not entry.name.endswith((".metadata", ".json"))}
    assert names == {"shared-params.xml", "private-params.xml", "nextupdate-params.xml", "directory"}


def test_a_folder_in_the_place_of_the_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / INSTANCE).mkdir()
    (tmp_path / INSTANCE / "state.json").write_text("{}")
    stored(tmp_path, signed())
    assert ConfigurationStore(tmp_path, anchor()).load() is not None
