"""The city of the citizen's tests, on SQLite unless a test asks for both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.citizen.notice_settings import NoticeSettings
from tests.gateway.citizen.citizens import session_for
from tests.gateway.citizen.city import BANK, UTILITY, City, run_city
from tests.gateway.citizen.consent_town import PURPOSE, SERVICE, call
from tests.gateway.citizen.mail_server import HOST, servers
from tests.gateway.citizen.post import Post


@pytest.fixture
async def city(sqlite_url: str, tmp_path: Path) -> AsyncIterator[City]:
    async with run_city(sqlite_url, tmp_path) as running:
        yield running


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    """A city where the utility offers consumption data, the bank wants them, and Erika uses the bank's service."""
    async with run_city(database_url, tmp_path) as city:
        assert (await call(city, UTILITY, "PUT", "declarations/service/sd-verbrauch", SERVICE))[0] == 200
        assert (await call(city, BANK, "PUT", "declarations/purpose/pd-kredit", PURPOSE))[0] == 200
        service = (await city.citizen.catalogues.current()).find("kontostand")
        await city.citizen.consents.introduce(session_for(city), service)
        yield city


@pytest.fixture
async def post(database_url: str, tmp_path: Path) -> AsyncIterator[Post]:
    async with servers(tmp_path) as (mail, push, authority):
        settings = NoticeSettings(
            smtp_host=HOST,
            smtp_port=mail.port,
            mail_from="Stadt Musterstadt <noreply@musterstadt.example>",
            push_contact="mailto:it@musterstadt.example",
            push_hosts=(f"{HOST}:{push.port}",),
            insecure_private_push_services=True,
        )
        async with run_city(database_url, tmp_path, notices=settings) as city:
            city.accounts.delivery._tls = authority.client
            yield Post(city, mail, push)
