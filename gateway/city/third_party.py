"""A third party of the journey: the utility asks for the citizen's balance at the bank, on the citizen's consent.

Before a payment by instalments is agreed on, say. It goes the way that docs/institution-guide.md describes: both
declare, the utility asks at the city's consent service, the citizen decides on the page behind the one-time link, and
the utility calls the bank over its own gateway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from yarl import URL

from gateway.city.browser import PageUnexpected
from gateway.city.plan import BANK, CITY, UTILITY, Organisation, Plan
from gateway.city.setup import gateway_settings, service_code
from gateway.exchange.pseudonyms import pseudonym
from gateway.node_keys import read_random_key

PURPOSE: Final = "pd-ratenzahlung"
_SERVICE: Final = "sd-kontostand"
_CONSENT: Final = f"{CITY.subsystem.encoded}/consent/api"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_BANK_OFFERS: Final = {
    "name": "Kontostand",
    "description": "Die Stände Ihrer verknüpften Konten",
    "controllerName": BANK.name,
    "dataCategories": ["balances"],
    "maxValidityDays": 30,
}
_UTILITY_WANTS: Final = {
    "name": "Ratenzahlung",
    "recipientName": UTILITY.name,
    "serviceDeclaration": _SERVICE,
    "purpose": "Damit wir eine Ratenzahlung vereinbaren können.",
    "purposeEn": "So that we can agree on payment by instalments.",
    "privacyUrl": "https://stadtwerke.musterstadt.example/datenschutz",
    "storageLocation": "Deutschland",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer over the road, as a client's system reads it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise PageUnexpected(f"no JSON in an answer with status {self.status}") from None


@dataclass(frozen=True, slots=True)
class Given:
    """What the utility knows of a consent: its reference, and the person's pseudonym at the bank."""

    reference: str
    subject: str


class ThirdParty:
    """The utility's own system, at its own gateway."""

    def __init__(self, plan: Plan, http: aiohttp.ClientSession, citizen: str) -> None:
        """`citizen`: the issuer's `sub` of who uses the utility's service."""
        self._plan = plan
        self._http = http
        # What the utility's adapter reads in X-Datenweg-Subject whenever this citizen uses its service.
        key = gateway_settings(plan, CITY).pseudonym_key_file
        assert key is not None
        self._person = pseudonym(read_random_key(key), UTILITY.member, plan.issuer_url, citizen)

    async def ask(self) -> str:
        """Both declare, as often as they like; then the utility asks. The link for the citizen."""
        service = f"{BANK.subsystem.encoded}/{service_code(BANK)}"
        offered = _BANK_OFFERS | {"service": service}
        await self._consent_service(BANK, "PUT", f"declarations/service/{_SERVICE}", offered)
        await self._consent_service(UTILITY, "PUT", f"declarations/purpose/{PURPOSE}", _UTILITY_WANTS)
        asked = {"callback": "https://stadtwerke.musterstadt.example/raten", **self._about()}
        return str((await self._consent_service(UTILITY, "POST", "consent", asked))["url"])

    async def look_up(self) -> Given:
        """The consent that the citizen gave. Raises PageUnexpected if there is none."""
        reference = (await self._consent_service(UTILITY, "POST", "consent/reference", self._about()))[PURPOSE]
        known = await self._consent_service(UTILITY, "GET", f"consent/validation/client?consentReference={reference}")
        return Given(reference, known["subject"])

    async def balance(self, given: Given) -> Answered:
        """The utility asks the bank."""
        headers = {"X-Datenweg-Subject": given.subject, "X-Datenweg-Consent": given.reference}
        return await self._call(UTILITY, "GET", f"{BANK.subsystem.encoded}/{service_code(BANK)}/balance", None, headers)

    def _about(self) -> dict[str, Any]:
        return {"idCode": self._person, "purposeDeclarationBusinessIdentifiers": [PURPOSE]}

    async def _consent_service(
        self, client: Organisation, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Any:
        named = {"X-Datenweg-Subject": self._person} if path == "consent" else {}
        answer = await self._call(client, method, f"{_CONSENT}/{path}", body, named)
        if answer.status != 200:
            raise PageUnexpected(f"the consent service answered {method} {path.partition('?')[0]} with {answer.status}")
        return answer.json

    async def _call(
        self, client: Organisation, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Answered:
        url = URL(f"{self._plan.url(self._plan.client_port(client))}/r1/{path}", encoded=True)
        sent = {"X-Road-Client": client.subsystem.encoded, "Accept": "application/json", **headers}
        async with self._http.request(method, url, json=body, headers=sent, timeout=_TIMEOUT) as answer:
            return Answered(answer.status, answer.headers, await answer.read())
