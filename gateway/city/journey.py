"""A citizen's journey through Musterstadt: log in, consent, three institutions, withdrawal, the log and its proofs.

Walked through the public doors alone: the issuer's login form, the citizen API, the road. Every step checks what it
got; the first that doesn't hold ends the journey.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import perf_counter
from typing import Any, Final

import aiohttp

from gateway.city.browser import Browser, PageUnexpected
from gateway.city.citizens import CITIZENS, DEMO_PASSWORD
from gateway.city.evidence import SignaturesDiffer, count_verified_signatures
from gateway.city.plan import AUTHORITY, BANK, PROVIDERS, UTILITY, Organisation, Plan
from gateway.city.report import AccessLogReport, ExchangeReport, Report
from gateway.city.third_party import PURPOSE, Answered, ThirdParty
from gateway.clock import Clock
from trust.errors import TrustError

Tell = Callable[[str], None]

_CITIZEN: Final = CITIZENS[0]
# What an invented customer knows of their own accounts: published test values of the sandboxes.
BANK_LOGIN: Final = {"psuId": "chipTAN", "password": "okok1"}
BANK_TAN: Final = "111111"
UTILITY_CUSTOMER: Final = {"customerNumber": "4711001", "meterNumber": "1MUS0047110011"}
_SEALED_SECONDS: Final = 15.0
# A little more than a log's checkpoint interval.
_PUBLISHED_SECONDS: Final = 1.3


class StepFailed(Exception):
    """A step of the journey doesn't hold. The text says which and what was seen."""


class Journey:
    """One walk. `tell` gets a line for each thing that a person wants to read."""

    def __init__(self, plan: Plan, clock: Clock, tell: Tell, *, started: float) -> None:
        self._plan = plan
        self._clock = clock
        self._tell = tell
        self._started = started
        self.report = Report()
        self._reference = ""

    async def walk(self) -> Report:
        """The report; its `failure` is set if a step didn't hold."""
        try:
            async with Browser(self._plan.citizen_url) as browser:
                for step in (
                    self._log_in,
                    self._give_consent,
                    self._bank,
                    self._utility,
                    self._authority,
                    self._third_party,
                    self._remove_link,
                    self._withdraw,
                    self._unlink_bank,
                    self._access_log,
                ):
                    await step(browser)
                    self.report.steps.append(step.__name__.strip("_"))
        except (StepFailed, PageUnexpected, TrustError, SignaturesDiffer) as failure:
            self.report.failure = f"{type(failure).__name__}: {failure}"
        except (LookupError, TypeError, StopIteration) as missing:
            self.report.failure = f"an answer lacks what the journey looks for: {type(missing).__name__} {missing}"
        if self.report.failure is not None:
            self._tell(f"[red]✗ {self.report.failure}[/red]")
        return self.report

    async def _log_in(self, browser: Browser) -> None:
        level = await browser.log_in(_CITIZEN.username, DEMO_PASSWORD)
        _require(level == "high", f"identity level {level}")
        self._tell(f"[bold]{_CITIZEN.name}[/bold] is logged in, identity level {level}")

    async def _give_consent(self, browser: Browser) -> None:
        for earlier in await self._links(browser):
            # With a link that an earlier walk has left go the consents, so that comes first.
            await browser.api("DELETE", f"links/{earlier['id']}")
        for earlier in (await browser.api("GET", "consents"))["consents"]:
            # A walk that was cut short has left its consent; this one shall begin without.
            if earlier["purpose"] in (_key(BANK), PURPOSE) and earlier["state"] == "valid":
                await browser.api("POST", f"consents/{earlier['reference']}/withdrawal")
        consent = await browser.api("POST", "consents", {"service": _key(BANK)})
        _require(consent["state"] == "valid" and consent["acknowledged"], "the bank has not acknowledged the consent")
        self._reference = consent["reference"]
        self._tell(f"consent given to see the balance, acknowledged by {BANK.name}")

    async def _bank(self, browser: Browser) -> None:
        await self._link_bank(browser)
        answer = await self._call(browser, BANK, "balance", "GET", "balance")
        accounts = answer["accounts"]
        _require(bool(accounts), "no account")
        for account in accounts:
            balance = account["balances"][0]
            self._tell(f"{BANK.name}: {account['iban']} {balance['amount']} {balance['currency']}")

    async def _link_bank(self, browser: Browser) -> None:
        """The bank's own strong authentication, passed through: password, method, TAN (embedded SCA)."""
        await self._unlink(browser, BANK)
        started = await self._call(browser, BANK, "link", "POST", "link", body=BANK_LOGIN)
        link = started["linkId"]
        method = started["scaMethods"][0]["authenticationMethodId"]
        await self._call(
            browser, BANK, "choose TAN method", "PUT", "link", link, body={"authenticationMethodId": method}
        )
        linked = await self._call(
            browser, BANK, "enter TAN", "PUT", "link", link, body={"scaAuthenticationData": BANK_TAN}
        )
        _require(linked["state"] == "linked", f"the account link is {linked['state']}")
        _require(_key(BANK) in {one["service"] for one in await self._links(browser)}, "the link is not on the list")
        self._tell(f"account linked at {BANK.name} with password and TAN")

    async def _unlink(self, browser: Browser, organisation: Organisation) -> None:
        """An earlier walk has left its link, of which the sandboxes, which keep nothing, no longer know."""
        ended, _ = await self._exchange(browser, organisation, "unlink", "DELETE", "link")
        _require(ended.http_status in (204, 404), f"the earlier link at {organisation.name} can't be ended")

    async def _utility(self, browser: Browser) -> None:
        await self._unlink(browser, UTILITY)
        await self._call(browser, UTILITY, "link", "POST", "link", body=UTILITY_CUSTOMER)
        bills = (await self._call(browser, UTILITY, "bills", "GET", "bills"))["bills"]
        electricity = [bill for bill in bills if bill["sparte"] == "STROM"]
        _require(bool(electricity), "no electricity bill")
        number = electricity[0]["rechnungsnummer"]
        bill = await self._call(browser, UTILITY, "bill", "GET", "bills", number)
        _require(bill["rechnungsnummer"] == number, "another bill")
        due = bill["zuZahlen"]
        self._tell(f"{UTILITY.name}: bill {number}, to pay {due['wert']} {due['waehrung']}")

    async def _authority(self, browser: Browser) -> None:
        offices = (await self._call(browser, AUTHORITY, "offices", "GET", "offices"))["offices"]
        services = (await self._call(browser, AUTHORITY, "services", "GET", "services"))["services"]
        office = offices[0]
        service = next(s for s in services if office["id"] in s["officeIds"])
        today = self._clock.now().date()
        query = {
            "officeId": str(office["id"]),
            "serviceId": str(service["id"]),
            "from": today.isoformat(),
            "to": (today + timedelta(days=14)).isoformat(),
        }
        slots = (await self._call(browser, AUTHORITY, "slots", "GET", "slots", query=query))["slots"]
        _require(bool(slots), "no free slot within two weeks")
        wish = {
            "officeId": office["id"],
            "serviceId": service["id"],
            "timestamp": slots[0]["timestamp"],
            "familyName": _CITIZEN.family_name,
            "email": "erika@musterstadt.example",
        }
        booked = await self._call(browser, AUTHORITY, "book", "POST", "appointments", body=wish)
        _require(booked["status"] == "confirmed", f"the appointment is {booked['status']}")
        self._tell(f"{AUTHORITY.name}: appointment booked at {office['name']}")
        process_id = booked["processId"]
        await self._call(browser, AUTHORITY, "cancel", "DELETE", "appointments", str(process_id))
        left = (await self._call(browser, AUTHORITY, "appointments", "GET", "appointments"))["appointments"]
        _require(process_id not in {appointment["processId"] for appointment in left}, "the appointment is still there")
        self._tell(f"{AUTHORITY.name}: appointment cancelled")

    async def _third_party(self, browser: Browser) -> None:
        """The utility asks for the balance at the bank; the citizen consents, and takes the consent back."""
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            utility = ThirdParty(self._plan, http, _CITIZEN.subject)
            await browser.decide(await utility.ask(), "give")
            given = await utility.look_up()
            started = perf_counter()
            answer = await utility.balance(given)
            report = await self._reported(answer, "balance for the utility", started)
            _require(answer.status == 200 and bool(answer.json["accounts"]), "the utility got no balance")
            _require(report.signatures_verified == 2, "the utility's exchange is not in both message logs")
            self.report.third_party = report
            await browser.api("POST", f"consents/{given.reference}/withdrawal")
            refused = await self._reported(await utility.balance(given), "the same after withdrawal", perf_counter())
            _require(refused.error == "server.serverproxy.consent_withdrawn", f"{UTILITY.name}: {refused.error}")
        self._tell(f"{UTILITY.name} asked for the balance at {BANK.name}: consent given, used and taken back")

    async def _reported(self, answer: Answered, operation: str, started: float) -> ExchangeReport:
        """An exchange between the utility and the bank, from the utility's side."""
        request_id = answer.headers["X-Road-Request-Id"]
        return ExchangeReport(
            service=BANK.subsystem.encoded,
            operation=operation,
            http_status=answer.status,
            request_id=request_id,
            signatures_verified=await count_verified_signatures(
                self._plan, BANK, request_id, self._clock, consumer=UTILITY
            ),
            consumer_receipt=answer.headers.get("X-Datenweg-Consumer-Receipt"),
            provider_receipt=answer.headers.get("X-Datenweg-Audit-Receipt"),
            duration_ms=round((perf_counter() - started) * 1000, 1),
            error=answer.headers.get("X-Road-Error"),
        )

    async def _remove_link(self, browser: Browser) -> None:
        """The citizen ends what they have begun: the utility confirms, and gives nothing any more."""
        await self._remove(browser, UTILITY)
        refused, _ = await self._exchange(browser, UTILITY, "bills without a link", "GET", "bills")
        _require(refused.http_status >= 400, "bills were given without a link")
        self._tell(f"account at {UTILITY.name} linked and unlinked again")

    async def _links(self, browser: Browser) -> list[Any]:
        """The accounts that are linked now."""
        return [one for one in (await browser.api("GET", "links"))["links"] if one["state"] == "linked"]

    async def _withdraw(self, browser: Browser) -> None:
        withdrawn = await browser.api("POST", f"consents/{self._reference}/withdrawal")
        _require(withdrawn["acknowledged"], "the bank has not acknowledged the withdrawal")
        exchange, _ = await self._exchange(browser, BANK, "balance after withdrawal", "GET", "balance")
        _require(exchange.error is not None, "the balance was given after the withdrawal")
        _require(exchange.signatures_verified == 1, "the refused request is not in both message logs, or was answered")
        self.report.refused = exchange
        self._tell(f"consent withdrawn; the next request is refused: {exchange.error}")

    async def _unlink_bank(self, browser: Browser) -> None:
        """The link ends at the bank, too, which hears of it though the consent is taken back already."""
        await self._remove(browser, BANK)
        self._tell(f"account at {BANK.name} unlinked, there as well")

    async def _remove(self, browser: Browser, organisation: Organisation) -> None:
        linked = next(one for one in await self._links(browser) if one["service"] == _key(organisation))
        ended = await browser.api("DELETE", f"links/{linked['id']}")
        _require(ended["state"] == "ended", f"the link at {organisation.name} is {ended['state']}")

    async def _access_log(self, browser: Browser) -> None:
        view = await self._sealed_view(browser)
        for source in view["sources"]:
            name = source["name"] or "the city"
            _require(source["reachable"], f"the log of {name} can't be reached")
            _require(source["broken"] is None, f"a proof in the log of {name} does not hold: {source['broken']}")
        request_ids = {access["requestId"]: access["result"] for access in view["accesses"]}
        refused = self.report.refused
        for exchange in self.report.exchanges:
            _require(request_ids.get(exchange.request_id) == "delivered", f"{exchange.operation} is not in the log")
        _require(
            refused is not None and request_ids.get(refused.request_id) == "denied", "the refusal is not in the log"
        )
        third = self.report.third_party
        _require(
            third is not None and request_ids.get(third.request_id) == "delivered", "the utility is not in the log"
        )
        checkpoints = {
            source["bundle"]["origin"]: source["bundle"]["checkpoint"] for source in view["sources"] if source["bundle"]
        }
        proven = sum(source["entriesVerified"] for source in view["sources"])
        denied = sum(1 for result in request_ids.values() if result == "denied")
        self.report.access_log = AccessLogReport(len(view["accesses"]), proven, denied, checkpoints)
        self._tell(
            f"access log of {len(checkpoints)} gateways: {len(view['accesses'])} accesses, {denied} of them refused; "
            f"{proven} leaves proven against signed checkpoints"
        )

    async def _sealed_view(self, browser: Browser) -> Mapping[str, Any]:
        """The month's accesses, once every log has published a checkpoint over those of the journey.

        Looking is an access too, so there is a pause before each look in which a checkpoint can cover what came before;
        what one look itself adds, an entry for each provider's log at most, may still be unsealed.
        """
        deadline = asyncio.get_running_loop().time() + _SEALED_SECONDS
        month = self._clock.now().strftime("%Y-%m")
        while True:
            await asyncio.sleep(_PUBLISHED_SECONDS)
            view: Mapping[str, Any] = await browser.api("GET", "accesses", month=month)
            sources = view["sources"]
            if all(one["reachable"] and one["entriesNotYetSealed"] <= len(PROVIDERS) for one in sources):
                return view
            if asyncio.get_running_loop().time() > deadline:
                raise StepFailed("the log is not sealed")

    async def _call(
        self,
        browser: Browser,
        organisation: Organisation,
        operation: str,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """An exchange that must succeed: its answer's body."""
        exchange, content = await self._exchange(
            browser, organisation, operation, method, *path, body=body, query=query
        )
        if exchange.error is not None or exchange.http_status >= 300:
            raise StepFailed(f"{operation} at {organisation.name}: {exchange.http_status} {exchange.error or content}")
        self.report.exchanges.append(exchange)
        if self.report.seconds_to_first_exchange is None:
            self.report.seconds_to_first_exchange = round(perf_counter() - self._started, 3)
        _require(exchange.signatures_verified == 2, f"{operation}: {exchange.signatures_verified} signatures hold")
        return content

    async def _exchange(
        self,
        browser: Browser,
        organisation: Organisation,
        operation: str,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[ExchangeReport, Any]:
        call: dict[str, Any] = {"service": _key(organisation), "method": method, "path": list(path)}
        call |= {} if body is None else {"body": body}
        call |= {} if query is None else {"query": query}
        started = perf_counter()
        answer = await browser.api("POST", "calls", call)
        duration_ms = round((perf_counter() - started) * 1000, 1)
        request_id = answer["requestId"]
        signatures = await count_verified_signatures(self._plan, organisation, request_id, self._clock)
        failure = answer["failure"]
        report = ExchangeReport(
            service=organisation.subsystem.encoded,
            operation=operation,
            http_status=answer["status"],
            request_id=request_id,
            signatures_verified=signatures,
            consumer_receipt=answer["consumerReceipt"],
            provider_receipt=answer["receipt"],
            duration_ms=duration_ms,
            error=None if failure is None else failure["code"],
        )
        return report, answer["body"]


def _key(organisation: Organisation) -> str:
    assert organisation.institution is not None
    return organisation.institution.purpose_key


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise StepFailed(otherwise)
