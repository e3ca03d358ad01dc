"""JSON from outside: what is no text is refused where it comes in, so that no page or export fails on it later."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.citizen.json_texts import NotJSON, parse_json
from tests.gateway.citizen.city import City
from tests.gateway.citizen.test_api import bearer, send

# Half a character in a value, in a name, deep inside; NUL; a name twice; what JSON has no number for; no JSON.
NO_TEXTS = (
    rb'{"text":"\ud800"}',
    rb'{"text":"\udc00\ud800"}',
    rb'{"\udfff":1}',
    rb'{"text":[{"a":["\ud83d"]}]}',
    rb'{"text":"\u0000"}',
    b'{"text":"a","text":"b"}',
    b'{"text":NaN}',
    b'{"text":-Infinity}',
    b'{"text":"\xff"}',
    b"[" * 100_000,
    b"",
)
_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("body", NO_TEXTS)
def test_what_is_no_text_is_refused(body: bytes) -> None:
    with pytest.raises(NotJSON):
        parse_json(body)


@given(_VALUES, st.booleans())
def test_every_text_is_taken_however_it_is_escaped(value: object, escaped: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


def test_a_backslash_is_a_text_and_a_pair_a_character() -> None:
    assert parse_json(rb'["\\ud800", "\ud83d\ude00", "\\u0000"]') == ["\\ud800", "\U0001f600", "\\u0000"]


async def test_a_citizen_cannot_break_their_own_export(city: City) -> None:
    async with city.browser() as browser:
        headers = bearer(city) | {"Content-Type": "application/json"}
        for body in NO_TEXTS:
            url = f"{city.url}/api/v1/complaints"
            async with browser.session.post(url, data=body, headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request"), body[:40]
        status, listed = await send(browser, "GET", "/complaints", bearer(city))
        assert (status, listed["complaints"]) == (200, [])


async def test_an_institution_cannot_break_a_page(city: City) -> None:
    async with city.browser(language="de") as browser:
        await browser.log_in()
        city.road.answers["GET", "balance"] = (200, {"name": "\ud800"})
        page = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert page.status == 200
        call = {"service": "kontostand", "path": ["balance"]}
        status, answer = await send(browser, "POST", "/calls", bearer(city), call)
        # Given as the text that came: it is not a value that could be written again.
        assert (status, answer["status"], answer["body"]) == (200, 200, r'{"name": "\ud800"}')
