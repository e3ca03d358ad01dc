"""The citizen's list of accesses: bundles of real logs, merged, proven, and what happens when a proof doesn't hold."""

from __future__ import annotations

import copy
import html
import io
import json
import os
import re
import zipfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.access import accesses
from audit.entry import Entry
from audit.errors import LogUnavailable
from audit.note import NoteSigner
from audit.publisher import Publisher
from audit.store import open_engine
from audit.subject_keys import SubjectKeys
from gateway.citizen.accesses import is_month, months_before
from gateway.citizen.bundles import BundleBroken, verify_bundle
from gateway.citizen.texts import text
from tests.audit.factory import NOVEMBER_MS, OpenLog, open_log
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import APP, BANK, UTILITY, Browser, City, pseudonym_of
from trust.identifiers import SubsystemId

MONTH = "2026-11"
Bundle = dict[str, Any]


@dataclass
class Log:
    """A log of its own with a publisher."""

    log: OpenLog
    keys: SubjectKeys
    publisher: Publisher

    async def record(self, name: str, **fields: Any) -> None:
        self.log.clock.now_ms += 1000
        key = await self.keys.key_for(name)
        record = {
            "client": {"id": APP.encoded, "name": "Bürgerkonto"},
            "provider": {"id": BANK.encoded, "name": "Sparkasse"},
            "service": {"id": f"{BANK.encoded}/konto"},
            "result": "delivered",
            "messageId": os.urandom(8).hex(),
            "requestId": "request",
            "requestDigest": b64encode(os.urandom(64)).decode(),
        } | fields
        entry = Entry("access", key, os.urandom(32), json.dumps(record).encode(), NOVEMBER_MS * 2)
        await self.log.append(entry)

    async def bundle(self, name: str) -> Bundle:
        await self.publisher.publish()
        found = await accesses(self.log.engine, self.keys, name, MONTH, publisher=self.publisher)
        plain: Bundle = json.loads(json.dumps(found.as_json()))
        return plain


@asynccontextmanager
async def run_log(folder: Path, name: str, *, keeper: SubsystemId = BANK) -> AsyncIterator[Log]:
    origin = f"{keeper.member.encoded}/gw/audit/2026"
    engine = open_engine(f"sqlite+aiosqlite:///{folder / name}-keys.sqlite")
    keys = SubjectKeys(engine, os.urandom(32), os.urandom(32))
    await keys.create_schema()
    async with open_log(f"sqlite+aiosqlite:///{folder / name}.sqlite", origin=origin) as log:
        signer = NoteSigner(origin, Ed25519PrivateKey.generate())
        publisher = Publisher(log.engine, signer, lock_file=folder / f"{name}.lock", origin=origin, clock_ms=log.clock)
        await publisher.start()
        try:
            yield Log(log, keys, publisher)
        finally:
            await publisher.close()
            await engine.dispose()


@pytest.fixture
async def bundle(tmp_path: Path) -> AsyncIterator[Bundle]:
    async with run_log(tmp_path, "one") as log:
        for number in range(4):
            await log.record("erika", number=number)
            await log.record("somebody else")
        yield await log.bundle("erika")


def test_months_are_whole_and_go_two_years_back() -> None:
    assert is_month("2026-11")
    for wrong in ("2026-13", "2026-1", "1999-12", "2026-11\n", "../x"):
        assert not is_month(wrong)
    months = months_before(datetime(2026, 1, 5, tzinfo=UTC))
    assert months[:2] == ("2026-01", "2025-12")
    assert len(months) == 24


def test_a_true_bundle_holds(bundle: Bundle) -> None:
    verified = verify_bundle(bundle, month=MONTH, log_keys=[bundle["vkey"]])
    assert (verified.entries, verified.unsealed, verified.erased) == (4, 0, 0)
    assert [record.content["number"] for record in verified.records] == [0, 1, 2, 3]


async def test_a_bundle_about_nobody_is_empty(tmp_path: Path) -> None:
    async with run_log(tmp_path, "one") as log:
        await log.record("erika")
        verified = verify_bundle(await log.bundle("max"), month=MONTH)
    assert (verified.entries, verified.records) == (0, ())


def test_an_erased_record_is_counted_and_an_unsealed_leaf_too(bundle: Bundle) -> None:
    bundle["accesses"][0] |= {"nonce": None, "record": None}
    assert verify_bundle(bundle, month=MONTH).erased == 1


def change_record(bundle: Bundle) -> None:
    record = json.loads(b64decode(bundle["accesses"][1]["record"])) | {"result": "nothing"}
    bundle["accesses"][1]["record"] = b64encode(json.dumps(record).encode()).decode()


TAMPERINGS: dict[str, Callable[[Bundle], Any]] = {
    "a record changed": change_record,
    "an access dropped": lambda b: b["accesses"].pop(1),
    "the first dropped": lambda b: b["accesses"].pop(0),
    "two swapped": lambda b: b["accesses"].reverse(),
    "one twice": lambda b: b["accesses"].append(b["accesses"][-1]),
    "a proof withheld": lambda b: b["accesses"][0].update(proof=None),
    "another's proof": lambda b: b["accesses"][0].update(proof=b["accesses"][3]["proof"]),
    "another index": lambda b: b["accesses"][0].update(index=3),
    "a leaf changed": lambda b: b["accesses"][0].update(leaf=b["accesses"][0]["leaf"].replace('"t":1', '"t":2')),
    "another person's key": lambda b: b.update(month_key=b64encode(bytes(32)).decode()),
    "no key": lambda b: b.update(month_key=None),
    "another log": lambda b: b.update(origin="other.example/log"),
    "a broken note": lambda b: b.update(checkpoint=b["checkpoint"].replace("\n8\n", "\n9\n")),
    "another month": lambda b: b.update(month="2026-10"),
    "no list": lambda b: b.update(accesses={}),
    "nothing": lambda b: b.clear(),
    "half a hash": lambda b: b["accesses"][0].update(proof=["AAAA"]),
    "no text": lambda b: b["accesses"][0].update(leaf=7),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_whatever_is_changed_breaks_the_bundle(bundle: Bundle, tampering: Callable[[Bundle], Any]) -> None:
    changed = copy.deepcopy(bundle)
    tampering(changed)
    with pytest.raises(BundleBroken):
        verify_bundle(changed, month=MONTH)


def test_only_the_keys_of_the_policy_count(bundle: Bundle) -> None:
    with pytest.raises(BundleBroken) as broken:
        verify_bundle(bundle, month=MONTH, log_keys=["another key"])
    assert broken.value.reason == "log key"
    stranger = NoteSigner(bundle["origin"], Ed25519PrivateKey.generate()).verifier
    with pytest.raises(BundleBroken) as broken:
        verify_bundle(bundle, month=MONTH, log_keys=[stranger.text])
    assert broken.value.reason == "log key"


async def test_both_logs_become_one_list_with_the_refused_ones_marked(city: City, tmp_path: Path) -> None:
    here = pseudonym_of(city, ERIKA, APP.member)
    there = pseudonym_of(city, ERIKA, BANK.member)
    declared = {
        "service": {"id": f"{BANK.encoded}/konto", "title": {"de": "Kontostand", "en": "Balance <b>"}},
        "purpose": {"de": "Anzeige", "en": "Display"},
        "legalBasis": {"kind": "consent", "text": "Art. 6"},
        "dataCategories": ["Kontostand"],
    }
    async with run_log(tmp_path, "own", keeper=APP) as own, run_log(tmp_path, "bank") as bank:
        for digest, result, reason in (
            ("m-1", "delivered", None),
            ("m-2", "denied", "server.serverproxy.consent_required"),
        ):
            outcome = {"requestDigest": digest, "result": result, "reason": reason}
            await own.record(here, **outcome)
            await bank.record(there, **outcome, **declared)
        own_bundles(city)[here] = await own.bundle(here)
        city.road.bundles["SPARKASSE"] = await bank.bundle(there)
    city.road.dead.add("STADTWERKE")
    async with city.browser() as browser:
        await browser.log_in()
        page = await browser.get(f"/accesses?month={MONTH}")
        assert "2 accesses. 3 logs were asked." in re_spaces(page.text)
        assert "This institution does not answer at the moment: Stadtwerke Musterstadt" in page.text
        assert page.text.count("<article") == 2
        assert "Refused: no data was handed over" in page.text
        assert "The institution handed out no data because your consent is missing." in page.text
        assert "Balance &lt;b&gt;" in page.text
        asked = [r for r in city.road.of("datenwegAccesses") if "SPARKASSE" in r.path][-1]
        assert asked.query == {"month": MONTH}
        assert asked.headers["X-Datenweg-Citizen"].count(".") == 2

        # The second step: everything about one, from the two logs that hold it and no other.
        before = len(city.road.requests)
        one = await browser.get(links_of(page.text)[0])
        assert one.status == 200
        assert "server.serverproxy.consent_required" in one.text
        assert re_spaces("The city's gateway, Sparkasse Musterstadt") in re_spaces(one.text.replace("&#39;", "'"))
        assert [r.path.split("/")[4] for r in city.road.requests[before:]] == ["SPARKASSE"]
        assert (await browser.get(f"/accesses/one/{MONTH}/{'0' * 64}")).status == 404

        checked = await browser.get(f"/verify?month={MONTH}")
        assert checked.text.count("2 entries checked, all proofs hold.") == 2
        assert "Not reachable" in checked.text
        downloaded = await browser.get(f"/accesses/bundle?month={MONTH}&source={BANK.encoded}&seen=1")
        assert city.road.requests[-1].query == {"month": MONTH, "seen": "1"}
        assert "attachment" in downloaded.headers["Content-Disposition"]
        assert json.loads(downloaded.text) == city.road.bundles["SPARKASSE"]
        for source in (UTILITY.encoded, "own:x", "9", "-1", "x", "", "²"):
            assert (await browser.get(f"/accesses/bundle?month={MONTH}&source={source}")).status in (400, 404)
        verifier = await browser.get(f"/verify/verifier.html?month={MONTH}")
        assert "attachment" in verifier.headers["Content-Disposition"]
        assert "<html" in verifier.text

        # The same, together: what each log gave, and the page that reads it.
        together = await browser.get(f"/me/accesses?month={MONTH}")
        assert json.loads(together.text)["month"] == MONTH
        bundles = json.loads(together.text)["logs"]
        assert city.road.bundles["SPARKASSE"] in bundles
        assert len(bundles) == 2
        archived = await browser.session.get(f"{city.url}/accesses/proofs.zip?month={MONTH}")
        assert archived.headers["Content-Disposition"] == f'attachment; filename="accesses-{MONTH}.zip"'
        with zipfile.ZipFile(io.BytesIO(await archived.read())) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        assert files.pop("datenweg-verifier.html").decode() == verifier.text
        assert [json.loads(content) for content in files.values()] == bundles
        assert (await browser.get("/accesses/proofs.zip?month=2026-99")).status == 400
        assert (await browser.get("/me/accesses?month=x")).status == 400

        change_record(city.road.bundles["SPARKASSE"])
        broken = await browser.get(f"/verify?month={MONTH}")
        assert "Attention: a proof does not hold." in broken.text
        assert "Attention: a proof does not hold." in (await browser.get(f"/accesses?month={MONTH}")).text
        assert (await browser.get("/accesses?month=2026-99")).status == 400


def own_bundles(city: City) -> dict[str, Bundle]:
    return city.context.own_log.bundles  # type: ignore[union-attr, no-any-return]


async def listed(browser: Browser) -> dict[str, Any]:
    answer = await browser.get(f"/api/v1/accesses?month={MONTH}")
    view: dict[str, Any] = json.loads(answer.text)
    return view


async def test_a_client_cannot_hide_accesses_behind_one_message_id(city: City, tmp_path: Path) -> None:
    here, there = pseudonym_of(city, ERIKA, APP.member), pseudonym_of(city, ERIKA, BANK.member)
    async with run_log(tmp_path, "own", keeper=APP) as own, run_log(tmp_path, "bank") as bank:
        for digest in ("d-1", "d-2", "d-3"):
            await own.record(here, messageId="one and the same", requestDigest=digest)
            await bank.record(there, messageId="one and the same", requestDigest=digest)
        own_bundles(city)[here] = await own.bundle(here)
        city.road.bundles["SPARKASSE"] = await bank.bundle(there)
    async with city.browser() as browser:
        await browser.log_in()
        shown = (await listed(browser))["accesses"]
    assert [access["recordedBy"] for access in shown] == [[None, "Sparkasse Musterstadt"]] * 3


@pytest.mark.parametrize("digest", ["the same", "", 7, None])
async def test_whatever_one_log_says_twice_is_shown_twice(city: City, tmp_path: Path, digest: Any) -> None:
    there = pseudonym_of(city, ERIKA, BANK.member)
    async with run_log(tmp_path, "bank") as bank:
        for _ in range(3):
            await bank.record(there, requestDigest=digest)
        city.road.bundles["SPARKASSE"] = await bank.bundle(there)
    async with city.browser() as browser:
        await browser.log_in()
        assert len((await listed(browser))["accesses"]) == 3


async def test_a_log_cannot_merge_its_record_into_anothers_service(city: City, tmp_path: Path) -> None:
    at_bank, at_utility = pseudonym_of(city, ERIKA, BANK.member), pseudonym_of(city, ERIKA, UTILITY.member)
    async with run_log(tmp_path, "bank") as bank, run_log(tmp_path, "utility", keeper=UTILITY) as utility:
        await bank.record(at_bank, requestDigest="d")
        await utility.record(at_utility, requestDigest="d", service={"id": f"{UTILITY.encoded}/rechnungen"})
        city.road.bundles["SPARKASSE"] = await bank.bundle(at_bank)
        city.road.bundles["STADTWERKE"] = await utility.bundle(at_utility)
    async with city.browser() as browser:
        await browser.log_in()
        assert len((await listed(browser))["accesses"]) == 2


async def test_a_provider_cannot_answer_with_the_log_of_another_gateway(city: City, tmp_path: Path) -> None:
    there = pseudonym_of(city, ERIKA, BANK.member)
    async with run_log(tmp_path, "bank", keeper=UTILITY) as other:
        await other.record(there)
        for bundle in (await other.bundle(there), await other.bundle("of whom it knows nothing")):
            city.road.bundles["SPARKASSE"] = bundle
            async with city.browser() as browser:
                await browser.log_in()
                view = await listed(browser)
                assert "Attention: a proof does not hold." in (await browser.get(f"/verify?month={MONTH}")).text
            (bank,) = (source for source in view["sources"] if source["provider"] == BANK.encoded)
            assert (bank["broken"], bank["entriesVerified"]) == ("origin", 0)
            assert view["accesses"] == []


async def test_calls_without_the_citizens_token_are_found_in_our_own_log_too(city: City, tmp_path: Path) -> None:
    here, there = pseudonym_of(city, ERIKA, APP.member), pseudonym_of(city, ERIKA, BANK.member)
    async with run_log(tmp_path, "own", keeper=APP) as own, run_log(tmp_path, "bank") as bank:
        await own.record(here, requestDigest="with")
        # The client named the person itself, as the bank knows them.
        await own.record(there, requestDigest="without")
        await bank.record(there, requestDigest="with")
        await bank.record(there, requestDigest="without")
        own_bundles(city)[here] = await own.bundle(here)
        own_bundles(city)[there] = await own.bundle(there)
        city.road.bundles["SPARKASSE"] = await bank.bundle(there)
    async with city.browser() as browser:
        await browser.log_in()
        view = await listed(browser)
        assert [access["recordedBy"] for access in view["accesses"]] == [[None, "Sparkasse Musterstadt"]] * 2
        own_sources = [source for source in view["sources"] if source["name"] is None]
        assert [source["entriesVerified"] for source in own_sources] == [1, 1]
        assert "2 accesses. 3 logs were asked." in re_spaces((await browser.get(f"/accesses?month={MONTH}")).text)
        page = await browser.get(f"/verify?month={MONTH}")
        assert "<h2>The city&#39;s gateway, calls to Sparkasse Musterstadt</h2>" in page.text
        download = await browser.get(f"/accesses/bundle?month={MONTH}&source=own:{BANK.member.encoded}")
        assert json.loads(download.text) == own_bundles(city)[there]


async def test_before_a_first_quorum_the_own_log_is_named_and_the_pages_stand(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unconfirmed(*_: object, **__: object) -> None:
        raise LogUnavailable("nothing has been published yet")

    monkeypatch.setattr(type(city.context.own_log), "read", unconfirmed)
    async with city.browser() as browser:
        await browser.log_in()
        assert (await browser.get("/")).status == 200
        page = await browser.get("/accesses")
        view = json.loads((await browser.get(f"/api/v1/accesses?month={MONTH}")).text)
    assert page.status == 200
    assert text("unreachable", "en", name=text("own_gateway", "en")) in html.unescape(page.text)
    (own,) = [source for source in view["sources"] if source["key"].startswith("own")]
    assert own["reachable"] is False


async def test_the_list_needs_a_login_that_proves_enough(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in("max.beispiel")
        page = await browser.get("/accesses")
        assert page.status == 403
        assert "/login?level=substantial&amp;return_to=/accesses" in page.text


def links_of(page: str) -> list[str]:
    """The addresses of the accesses' own pages, in the page's order."""
    return [html.unescape(link) for link in re.findall(r'href="(/accesses/one/[^"]+)"', page)]


def re_spaces(text: str) -> str:
    return " ".join(text.split())
