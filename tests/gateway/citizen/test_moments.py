"""Times as citizens read them: the city's, told apart where an hour comes twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from gateway.citizen.moments import format_date, format_moment
from gateway.settings import GatewaySettings
from tests.gateway.citizen.city import City

BERLIN = ZoneInfo("Europe/Berlin")


def at(stated: str) -> int:
    return int(datetime.fromisoformat(stated).timestamp() * 1000)


@pytest.mark.parametrize(
    ("stated", "german", "english"),
    [
        ("2026-11-22T12:00:00+00:00", "2026-11-22 13:00:00 MEZ", "2026-11-22 13:00:00 CET"),
        ("2026-07-31T22:30:00+00:00", "2026-08-01 00:30:00 MESZ", "2026-08-01 00:30:00 CEST"),
        # The night in which the clocks go back.
        ("2026-10-25T00:30:00+00:00", "2026-10-25 02:30:00 MESZ", "2026-10-25 02:30:00 CEST"),
        ("2026-10-25T01:30:00+00:00", "2026-10-25 02:30:00 MEZ", "2026-10-25 02:30:00 CET"),
    ],
)
def test_a_moment_is_the_citys_time(stated: str, german: str, english: str) -> None:
    assert format_moment(at(stated), BERLIN, "de") == german
    assert format_moment(at(stated), BERLIN, "en") == english
    assert format_date(at(stated), BERLIN) == german[:10]


def test_other_zones_say_which_they_are() -> None:
    assert format_moment(0, UTC, "de") == "1970-01-01 00:00:00 UTC"
    assert format_moment(0, ZoneInfo("Asia/Dubai"), "de") == "1970-01-01 04:00:00 +04"


async def test_pages_show_the_citys_time(city: City) -> None:
    async with city.browser(language="de") as browser:
        await browser.log_in()
        page = await browser.get("/devices")
        # The city's clock in tests stands at noon, UTC.
        assert "2026-11-22 13:00:00 MEZ" in page.text
        assert "UTC" not in page.text


@pytest.mark.parametrize("name", ["", "Musterstadt", "../etc/passwd", "/etc/localtime", "Europe", "europe/\0"])
def test_a_time_zone_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    stated = {"instance": "DE-TEST", "owner": "DE-TEST/GOV/X", "server_code": "x", "anchor_file": tmp_path / "a"}
    with pytest.raises(ValidationError, match="Europe/Berlin"):
        GatewaySettings.model_validate({**stated, "data_directory": tmp_path, "citizen_time_zone": name})
