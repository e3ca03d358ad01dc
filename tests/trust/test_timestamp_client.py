"""Asking an authority for a time-stamp, and what isn't one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trust.errors import FetchFailed, TimestampInvalid
from trust.parameters import ApprovedTSA
from trust.testca import CertificateAuthority, build_app
from trust.timestamp import verify_token
from trust.timestamp_client import TimestampClient

NOW = datetime.now(UTC)
DIGEST = hashlib.sha512(b"signature").digest()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.load_or_create(tmp_path, "DE-TEST", clock=lambda: NOW)


async def test_a_stamp_carries_its_certificate(session: aiohttp.ClientSession, authority: CertificateAuthority) -> None:
    async with TestServer(build_app(authority)) as server:
        approved = authority.approved_tsa(str(server.make_url("/tsa")))
        dead = ApprovedTSA("dead", "http://127.0.0.1:1/tsa", approved.certificate)
        stamp = await TimestampClient(session, lambda: NOW).stamp(DIGEST, [dead, approved])
    assert stamp.time == NOW
    assert approved.certificate in stamp.token
    assert verify_token(stamp.token, digest=DIGEST, tsa_certificate=approved.certificate, at=NOW) == stamp


async def test_without_an_authority_there_is_no_stamp(session: aiohttp.ClientSession) -> None:
    with pytest.raises(FetchFailed) as failed:
        await TimestampClient(session, lambda: NOW).stamp(DIGEST, [])
    assert failed.value.code == "mlog.no_timestamping_provider_found"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": 500}, FetchFailed),
        ({"body": b"x", "content_type": "text/html"}, TimestampInvalid),
        ({"body": b"junk", "content_type": "application/timestamp-reply"}, TimestampInvalid),
        ({"body": b"x" * (1 << 17), "content_type": "application/timestamp-reply"}, TimestampInvalid),
        ({"status": 302, "headers": {"Location": "/tsa"}}, FetchFailed),
    ],
)
async def test_answers_that_are_no_stamps(
    session: aiohttp.ClientSession, authority: CertificateAuthority, answer: dict[str, object], error: type[Exception]
) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(**answer)  # type: ignore[arg-type]

    app = web.Application()
    app.router.add_post("/tsa", handle)
    async with TestServer(app) as server:
        approved = authority.approved_tsa(str(server.make_url("/tsa")))
        with pytest.raises(error):
            await TimestampClient(session, lambda: NOW).stamp(DIGEST, [approved])


async def test_a_stamp_of_another_authority_is_refused(
    session: aiohttp.ClientSession, authority: CertificateAuthority, tmp_path: Path
) -> None:
    other = CertificateAuthority.load_or_create(tmp_path / "other", "DE-TEST", clock=lambda: NOW)
    async with TestServer(build_app(other)) as server:
        with pytest.raises(TimestampInvalid):
            await TimestampClient(session, lambda: NOW).stamp(
                DIGEST, [authority.approved_tsa(str(server.make_url("/tsa")))]
            )
