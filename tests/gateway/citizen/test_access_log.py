"""The access log as it is looked through: filters, groups, the timeline, explanations, files of data."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.citizen import access_pages
from gateway.citizen import accesses as reading
from gateway.citizen.access import Access, read_access
from gateway.citizen.access_exports import COLUMNS, build_csv, build_json
from gateway.citizen.access_listing import Look, build_listing, explain_access, months_of, read_look, title_of
from gateway.citizen.accesses import AccessView, Source, WithheldDay, months_before
from gateway.citizen.bundles import BundleBroken
from gateway.citizen.datenschutzcockpit import TRANSPORT
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.texts import text
from gateway.citizen.timeline import HEIGHT, KINDS, WIDTH, build_timeline
from gateway.rate import RateLimit
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import BANK, City, pseudonym_of
from tests.gateway.citizen.test_accesses import MONTH, re_spaces, run_log
from trust.xml import parse

AT: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
MONTHS: Final = months_before(AT)


def access(number: int = 1, **fields: Any) -> Access:
    """An access of 22 November at noon, `number` minutes later."""
    record = {
        "client": {"id": "DE-TEST/GOV/OFFICE/app", "name": "Amt"},
        "provider": {"id": BANK.encoded, "name": "Sparkasse"},
        "service": {"id": f"{BANK.encoded}/konto", "title": {"de": "Kontostand", "en": "Balance"}},
        "purpose": {"de": "Anzeigen", "en": "Display"},
        "legalBasis": {"kind": "consent", "text": "Art. 6"},
        "dataCategories": ["balances"],
        "result": "delivered",
        "requestId": f"request-{number}",
    } | fields
    time_ms = int(AT.timestamp() * 1000) + number * 60_000
    return read_access(record, {}, key=f"{number:064x}", time_ms=time_ms, log="own", recorded_by="")


def view(*accesses: Access, month: str = MONTH) -> AccessView:
    return AccessView(month, (Source("own"),), tuple(sorted(accesses, key=lambda one: -one.time_ms)))


def listed(look: Look, *accesses: Access) -> list[str]:
    return [one.request_id for one in build_listing([view(*accesses)], look, "de").selected]


def test_the_consent_service_is_our_own_logs_and_no_institutions() -> None:
    record = {
        "role": "provider",
        "client": {"id": BANK.encoded},
        "service": {"id": "DE-TEST/GOV/MUSTERSTADT/app/consent"},
        "result": "delivered",
    }

    def built_in(log: str, **fields: Any) -> str:
        return read_access(record | fields, {}, key="0", time_ms=0, log=log, recorded_by="").built_in

    assert built_in("own") == built_in(f"own:{BANK.member.encoded}") == "consent"
    assert built_in("own", service={"id": "DE-TEST/GOV/MUSTERSTADT/app/reporting"}) == "reporting"
    # Elsewhere these are codes like any other.
    assert built_in(BANK.encoded) == ""
    assert built_in("own", role="consumer") == ""
    assert built_in("own", legalBasis={"kind": "law", "text": "§ 1"}) == ""


# -- looks ------------------------------------------------------------------------------------------------------------


def test_a_look_is_what_its_address_says() -> None:
    assert read_look({}, MONTHS) == Look(MONTH)
    query = {"month": "2026-10", "span": "3", "institution": "Amt", "result": "denied", "q": " a b ", "order": "time"}
    look = read_look({**query, "own": "1", "page": "2"}, MONTHS)
    assert look == Look("2026-10", 3, "Amt", "denied", "a b", "time", own=True, page=2)
    assert read_look(look.query(page=2), MONTHS) == look
    assert read_look(Look(MONTH).query(), MONTHS) == Look(MONTH)


@pytest.mark.parametrize(
    "query",
    [
        {"month": "2026-13"},
        {"span": "2"},
        {"span": "²"},
        {"span": ""},
        {"page": "0"},
        {"page": "99999999999"},
        {"result": "nothing"},
        {"order": "size"},
        {"q": "x" * 201},
        {"institution": "x" * 201},
    ],
)
def test_what_nobody_can_look_for_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        read_look(query, MONTHS)


def test_a_span_goes_back_from_its_month_as_far_as_records_exist() -> None:
    assert months_of(Look("2026-11", 3), MONTHS) == ("2026-11", "2026-10", "2026-09")
    assert months_of(Look(MONTHS[-1], 12), MONTHS) == (MONTHS[-1],)
    assert months_of(Look("2020-01", 3), MONTHS) == ("2020-01",)


def test_filters_and_search_narrow_and_say_so() -> None:
    one, two = access(1), access(2, result="denied", reason="server.serverproxy.consent_required")
    three = access(3, client={"name": "Stadtwerke"}, dataCategories=["bills"], withheld={"origin": "x"})
    everything = (one, two, three)
    assert listed(Look(MONTH), *everything) == ["request-3", "request-2", "request-1"]
    assert listed(Look(MONTH, result="denied"), *everything) == ["request-2"]
    assert listed(Look(MONTH, result="released"), *everything) == ["request-3"]
    assert listed(Look(MONTH, institution="Stadtwerke"), *everything) == ["request-3"]
    assert listed(Look(MONTH, institution="Sparkasse"), *everything) == ["request-3", "request-2", "request-1"]
    assert listed(Look(MONTH, search="RECHNUNGEN stadt"), *everything) == ["request-3"]
    assert listed(Look(MONTH, search="kontostände request-1"), *everything) == ["request-1"]
    assert listed(Look(MONTH, search="nichts"), *everything) == []
    assert Look(MONTH, search="x").is_narrowed
    assert not Look(MONTH, order="time", own=True).is_narrowed


def test_own_looks_are_left_out_unless_wanted() -> None:
    own = access(1, service={"id": f"{BANK.encoded}/datenwegAccesses"})
    listing = build_listing([view(own, access(2))], Look(MONTH), "de")
    assert (listing.found, listing.own_looks, len(listing.selected)) == (1, 1, 1)
    assert build_listing([view(own, access(2))], Look(MONTH, own=True), "de").found == 2


def test_groups_are_by_month_then_institution_or_by_time() -> None:
    november = view(access(1), access(2, provider={"name": "Amt"}), access(3))
    october = view(access(4), month="2026-10")
    groups = build_listing([november, october], Look(MONTH, 3), "de").groups
    assert [(g.month, g.institution, len(g.accesses)) for g in groups] == [
        (MONTH, "Sparkasse", 2),
        (MONTH, "Amt", 1),
        ("2026-10", "Sparkasse", 1),
    ]
    by_time = build_listing([november, october], Look(MONTH, 3, order="time"), "de").groups
    assert [(g.month, len(g.accesses)) for g in by_time] == [(MONTH, 3), ("2026-10", 1)]


def test_long_lists_have_pages_and_none_is_lost() -> None:
    month = view(*(access(number) for number in range(250)))
    pages = [build_listing([month], Look(MONTH, page=page), "de") for page in (1, 2, 3, 4)]
    assert [listing.pages for listing in pages] == [3] * 4
    shown = [one.request_id for listing in pages for group in listing.groups for one in group.accesses]
    assert len(shown) == len(set(shown)) == 250


# -- explanations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["de", "en"])
@pytest.mark.parametrize("result", ["delivered", "denied", "failed", "whatever"])
@pytest.mark.parametrize("kind", ["consent", "law", "contract", "not_declared", "whatever"])
def test_each_access_is_explained(language: str, result: str, kind: str) -> None:
    lines = explain_access(access(result=result, legalBasis={"kind": kind}), language)
    assert len(lines) == 2
    assert all("{" not in line for line in lines)
    assert "Sparkasse" in lines[0]


def test_a_refusal_says_why_and_a_release_that_it_was_withheld() -> None:
    refused = access(result="denied", reason="server.serverproxy.consent_withdrawn")
    assert text("fault_consent_withdrawn", "de") in explain_access(refused, "de")
    assert text("why_released", "en") in explain_access(access(withheld={}), "en")


def test_on_whose_behalf() -> None:
    assert access().behalf == "institution"
    assert access(identityLevel="high").behalf == "citizen"
    assert access(identityLevel="high", representative="parent").behalf == "represented"
    assert access(identityLevel="<b>", representative="<b>").behalf == "institution"


def test_a_look_into_the_log_says_whose_it_was() -> None:
    looks = {"id": f"{BANK.encoded}/datenwegAccesses"}
    own, theirs = access(service=looks), access(service=looks, representative="parent")
    assert own.own_look
    assert theirs.own_look
    assert title_of(own, "en") == "Your own look into the access log"
    assert title_of(theirs, "en") == "A look into the access log for you"
    assert text("why_own_look", "de") in explain_access(own, "de")
    assert text("why_represented_look", "de") in explain_access(theirs, "de")


# -- the timeline -----------------------------------------------------------------------------------------------------


def test_the_timeline_counts_each_day_of_a_month() -> None:
    shown = [access(1), access(2, result="denied"), access(3, result="failed"), access(4, result="?")]
    timeline = build_timeline([view(*shown)], shown)
    assert len(timeline.columns) == 30
    (column,) = timeline.filled
    assert column.period == "2026-11-22"
    assert dict(column.counts) == {"delivered": 1, "failed": 2, "denied": 1}
    assert [part.kind for part in column.segments] == list(KINDS)
    assert timeline.most == 4


def test_the_timeline_counts_months_and_leaves_out_what_happened_elsewhere() -> None:
    views = [view(access(1)), view(month="2026-10"), view(month="2026-09")]
    old = replace(access(2), time_ms=int(datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000))
    timeline = build_timeline(views, [access(1), old])
    assert [(column.period, column.total) for column in timeline.columns] == [
        ("2026-09", 0),
        ("2026-10", 0),
        ("2026-11", 1),
    ]


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(("delivered", "denied", "failed"))), max_size=60))
def test_nothing_is_drawn_outside_of_the_picture(drawn: list[tuple[int, str]]) -> None:
    shown = [access(number, result=result) for number, result in drawn]
    for column in build_timeline([view(*shown)], shown).columns:
        assert column.x >= 0
        assert column.x + column.width <= WIDTH + 0.2
        assert sum(part.height for part in column.segments) <= HEIGHT + 0.2
        assert all(part.y >= -0.2 for part in column.segments)


# -- files ------------------------------------------------------------------------------------------------------------


def test_the_table_is_one_and_no_formula() -> None:
    hostile = access(client={"name": "=HYPERLINK(1)"}, purpose={"de": '+1,"2"\r\nx'}, reason="@x", requestId="-1")
    data = build_csv([hostile, access(2)], "de")
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert rows[0][0] == text("when", "de")
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert rows[1][COLUMNS.index("who")] == "'=HYPERLINK(1)"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
@pytest.mark.parametrize(
    "before", ["", " ", "x;", "x;  ", "x\t", 'x";"', 'x;"', "x\r", "\n", "x\r\n", "'", '"', "\u00a0"]
)
def test_no_spreadsheet_of_any_country_finds_a_formula(before: str, sign: str, delimiter: str) -> None:
    """Where the comma stands in numbers, spreadsheets part cells at semicolons, whatever the file means."""
    hostile = f"{before}{sign}cmd|' /C calc'!A1"
    data = build_csv([access(client={"name": hostile}, reason=hostile)], "de").decode("utf-8-sig")
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        for row in csv.reader(io.StringIO(data, newline=""), delimiter=delimiter, quoting=quoting):
            assert not [cell for cell in row if cell.strip(' "\u00a0').startswith(sign)], row


def test_what_is_no_formula_stays_as_it_is() -> None:
    """But for spreadsheets a cell is text: dates, names, lists."""
    words = "Name, Adresse; Konto - Stand (a+b) c=d e@f.example; 2026-11-22"
    data = build_csv([access(client={"name": words})], "de").decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(data, newline="")))
    assert rows[1][COLUMNS.index("who")] == words


def test_the_data_come_with_their_proofs() -> None:
    chosen = access(1)
    document = json.loads(build_json([view(chosen, access(2))], [chosen], at=AT))
    assert [one["requestId"] for one in document["accesses"]] == ["request-1"]
    assert document["accesses"][0]["key"] == chosen.key
    assert [month["month"] for month in document["months"]] == [MONTH]
    assert "bundle" in document["months"][0]["sources"][0]


async def test_files_are_made_beside_the_loop(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many accesses takes seconds to make, and the road is in the same process."""
    made: dict[str, bool] = {}
    for name in ("build_csv", "build_json", "build_pdf", "build_protocol_data"):

        def noted(*_: Any, name: str = name, **__: Any) -> bytes:
            made[name] = threading.current_thread() is threading.main_thread()
            return b"x"

        monkeypatch.setattr(access_pages, name, noted)
    async with city.browser() as browser:
        await browser.log_in()
        for kind in access_pages.FORMATS:
            assert (await browser.get(f"/accesses/export.{kind}?month={MONTH}")).status == 200
    assert made == dict.fromkeys(("build_csv", "build_json", "build_pdf", "build_protocol_data"), False)


async def test_proofs_are_verified_beside_the_loop(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ten thousand accesses take seconds."""
    threads: list[threading.Thread] = []

    def noted(*_: Any, **__: Any) -> None:
        threads.append(threading.current_thread())
        raise BundleBroken("form")

    monkeypatch.setattr(reading, "verify_bundle", noted)
    async with city.browser() as browser:
        await browser.log_in()
        assert (await browser.get(f"/accesses?month={MONTH}")).status == 200
    assert threads
    assert threading.main_thread() not in threads


async def test_months_are_asked_for_a_few_at_once_and_each_counts(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each month asks every institution: one click for two years isn't one request to the road."""
    under_way, most = 0, 0
    real = reading._own

    async def own(*asked: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await real(*asked)
        finally:
            under_way -= 1

    monkeypatch.setattr(reading, "_own", own)
    async with city.browser() as browser:
        await browser.log_in()
        object.__setattr__(city.citizen, "person_requests", RateLimit(burst=30, refill_ms=60_000))
        answered = [(await browser.get("/accesses?span=12")).status for _ in range(3)]
        assert answered == [200, 200, 429]
    assert 0 < most <= reading.MONTHS_AT_ONCE < 12


async def test_pages_and_files_agree(city: City, tmp_path: Path) -> None:
    there = pseudonym_of(city, ERIKA, BANK.member)
    async with run_log(tmp_path, "bank") as bank:
        for number in range(3):
            await bank.record(there, result="denied" if number == 1 else "delivered", requestId=f"request-{number}")
        bundle = await bank.bundle(there)
        withheld = [{"day": "2026-11-03", "accesses": 2}, {"day": "<b>"}, 7]
        city.road.bundles["SPARKASSE"] = bundle | {"withheld": withheld}
    async with city.browser() as browser:
        await browser.log_in()
        page = await browser.get(f"/accesses?month={MONTH}&result=denied")
        assert page.text.count("<article") == 1
        assert "1 access. Chosen from 3." in re_spaces(page.text)
        assert "Sparkasse Musterstadt: on 2026-11-03 the law withheld 2 accesses." in page.text
        table = await browser.get(f"/accesses/export.csv?month={MONTH}&result=denied")
        assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert [row[-1] for row in csv.reader(io.StringIO(table.text, newline=""))][1:] == ["request-1"]
        data = json.loads((await browser.get(f"/accesses/export.json?month={MONTH}&result=denied")).text)
        assert [one["requestId"] for one in data["accesses"]] == ["request-1"]
        exported = await browser.get(f"/accesses/export.xml?month={MONTH}&result=denied")
        assert exported.headers["Content-Type"] == "application/xml"
        assert exported.headers["Content-Disposition"] == f'attachment; filename="accesses-{MONTH}.xml"'
        root = parse(exported.text.encode())
        assert root.tag == f"{{{TRANSPORT}}}antwortListeProtokolldaten"
        assert len(root.findall("{*}protokolldaten")) == 1
        assert (await browser.get("/accesses/export.exe")).status == 404


def test_what_a_log_withholds_is_told_once_for_each_log() -> None:
    days = (WithheldDay("2026-11-03", 2),)
    sources = (Source("own", withheld=days), Source("own:x", calls_to="Bank", withheld=days), Source("bank", "Bank"))
    assert [source.key for source in AccessView(MONTH, sources, ()).withheld] == ["own"]
