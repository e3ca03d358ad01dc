"""The bank's adapter: links a person's accounts through the bank's own authorisation, then reads accounts and balances.

The link's life: POST /link (password) -> PUT /link/{id} (TAN method) -> PUT /link/{id} (TAN) -> linked -> DELETE.
The password and the TAN pass through and are never kept. What is kept is the bank's consent id, which ends at the
bank when the link is removed: DELETE forgets only what the bank has confirmed. Until then the link is `ending`:
nothing is read on it any more, and DELETE may be tried again.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import uuid4

from aiohttp import web

from adapters.kit.app import Answer, Operation, OperationRequest, build_adapter_app
from adapters.kit.attempts import FailedAttempts
from adapters.kit.backend import BackendClient
from adapters.kit.context import RequestContext
from adapters.kit.errors import AdapterError, BackendError, CallerError, InternalError
from adapters.kit.fields import Fields
from adapters.kit.links import Link, LinkExists, LinkStore
from adapters.kit.problems import ALREADY_LINKED, INTERNAL, NOT_LINKED
from adapters.kit.settings import AdapterSettings, Clock, utc_now
from adapters.sparkasse.backend import BankClient
from adapters.sparkasse.model import Authorisation
from adapters.sparkasse.problems import AUTHORISATION_FAILED, CREDENTIALS_REFUSED, LINK_STATE, LINK_UNKNOWN, TAN_REFUSED

_log: Final = logging.getLogger("adapters.sparkasse")
_NAME: Final = "bank"
# PSD2 regulatory technical standards, article 10: strong authentication at least every 180 days.
_VALIDITY: Final = timedelta(days=180)
_PSU_ID: Final = re.compile(r"[\x21-\x7e]+")
_TAN: Final = re.compile(r"[A-Za-z0-9]{4,12}")
# The person has removed the link, and the bank doesn't know yet.
_ENDING: Final = "ending"
_STATE_OF_CONSENT: Final = {"valid": "linked", "expired": "expired"}


@dataclass(frozen=True, slots=True)
class _BankLink:
    """The stored payload."""

    link_id: str
    consent_id: str
    authorisation_id: str
    state: str
    valid_until: str


class SparkasseAdapter:
    """The operations. Holds no state of its own but the count of failed sign-ins."""

    def __init__(self, bank: BankClient, links: LinkStore, *, clock: Clock, own_address: str) -> None:
        self._bank = bank
        self._links = links
        self._clock = clock
        self._own_address = own_address
        self._attempts = FailedAttempts()

    async def start_link(self, request: OperationRequest) -> Answer:
        """POST /link {psuId, password}."""
        subject = request.context.subject
        body = request.body.only("psuId", "password")
        psu_id, password = body.text("psuId", maximum=64, pattern=_PSU_ID), body.text("password", maximum=64)
        with self._attempts.attempt(subject, self._clock()):
            await self._make_room(subject)
            link, authorisation = await self._begin(subject, psu_id, password, self._address(request.context))
        self._attempts.clear(subject)
        return Answer(_link_json(link, authorisation), status=201)

    async def _begin(self, subject: str, psu_id: str, password: str, address: str) -> tuple[_BankLink, Authorisation]:
        valid_until = (self._clock() + _VALIDITY).date()
        consent_id = await self._bank.create_consent(psu_id, valid_until, address=address)
        try:
            authorisation = await self._bank.start_authorisation(
                consent_id, psu_id=psu_id, password=password, address=address
            )
            link = _BankLink(
                link_id=str(uuid4()),
                consent_id=consent_id,
                authorisation_id=authorisation.authorisation_id,
                state=_state_after(authorisation),
                valid_until=valid_until.isoformat(),
            )
            await self._links.add(subject, _NAME, asdict(link))
        except (AdapterError, LinkExists) as error:
            await self._give_up(consent_id)
            if isinstance(error, LinkExists):
                raise CallerError(ALREADY_LINKED) from None
            if error.kind is CREDENTIALS_REFUSED:
                self._attempts.record(subject, self._clock())
            raise
        return link, authorisation

    async def continue_link(self, request: OperationRequest) -> Answer:
        """PUT /link/{linkId} with either {authenticationMethodId} or {scaAuthenticationData}."""
        stored = await self._stored(request.context.subject)
        link = _parse_link(stored.payload)
        if request.path.text("linkId") != link.link_id:
            raise CallerError(LINK_UNKNOWN)
        if link.state in ("linked", _ENDING):
            raise CallerError(LINK_STATE)
        body, address = request.body, self._address(request.context)
        if body.has("authenticationMethodId"):
            method_id = body.only("authenticationMethodId").text("authenticationMethodId", maximum=35)
            authorisation = await self._bank.select_method(
                link.consent_id, link.authorisation_id, method_id, address=address
            )
            link = await self._store(stored, replace(link, state=_state_after(authorisation)))
            return Answer(_link_json(link, authorisation))
        tan = body.only("scaAuthenticationData").text("scaAuthenticationData", pattern=_TAN)
        if link.state != "methodSelected":
            raise CallerError(LINK_STATE)
        return await self._finish(stored, tan, address)

    async def link_state(self, request: OperationRequest) -> Answer:
        """GET /link: a linked account's state as the bank has it now."""
        link = await self._link(request.context.subject)
        if link.state == "linked":
            status = await self._bank.consent_status(link.consent_id)
            link = replace(link, state=_STATE_OF_CONSENT.get(status, "ended"))
        elif link.state == _ENDING:
            link = replace(link, state="ended")
        return Answer(_link_json(link, None))

    async def remove_link(self, request: OperationRequest) -> Answer:
        """DELETE /link: reads nothing on it any more, ends the consent at the bank, then forgets it."""
        stored = await self._stored(request.context.subject)
        link = _parse_link(stored.payload)
        if link.state != _ENDING:
            ending = await self._links.replace(stored, asdict(replace(link, state=_ENDING)))
            if ending is None:
                # Another call was faster: what it made of the link is for the caller to see first.
                raise CallerError(LINK_STATE)
            stored = ending
        await self._bank.terminate_consent(link.consent_id)
        await self._links.remove(stored)
        return Answer(None, status=204)

    async def accounts(self, request: OperationRequest) -> Answer:
        """GET /accounts."""
        link = await self._linked(request.context.subject)
        accounts = await self._bank.accounts(link.consent_id, address=self._read_address(request.context))
        return Answer({"accounts": [account.as_json() for account in accounts]})

    async def balance(self, request: OperationRequest) -> Answer:
        """GET /balance: the balances of all linked accounts."""
        link = await self._linked(request.context.subject)
        address = self._read_address(request.context)
        accounts = []
        for account in await self._bank.accounts(link.consent_id, address=address):
            balances = await self._bank.balances(link.consent_id, account, address=address)
            accounts.append(account.as_json() | {"balances": [balance.as_json() for balance in balances]})
        return Answer({"accounts": accounts})

    async def _finish(self, stored: Link, tan: str, address: str) -> Answer:
        """Sends the TAN. Linked only once the bank itself says that the consent is valid."""
        link = _parse_link(stored.payload)
        try:
            authorisation = await self._bank.authorise(link.consent_id, link.authorisation_id, tan, address=address)
            status = authorisation.status
        except BackendError as error:
            if error.kind not in (TAN_REFUSED, LINK_STATE):
                raise
            # The third wrong TAN ends the authorisation; an earlier TAN whose answer was lost may have completed it.
            status = await self._bank.authorisation_status(link.consent_id, link.authorisation_id)
            if status not in ("failed", "finalised"):
                raise
        if status not in ("finalised", "exempted") or await self._bank.consent_status(link.consent_id) != "valid":
            await self._give_up(link.consent_id)
            await self._links.remove(stored)
            raise BackendError(AUTHORISATION_FAILED)
        link = await self._store(stored, replace(link, state="linked"))
        return Answer(_link_json(link, None))

    async def _make_room(self, subject: str) -> None:
        """A finished link stays and must be removed first; one that was never finished is given up."""
        stored = await self._links.find(subject, _NAME)
        if stored is None:
            return
        link = _parse_link(stored.payload)
        if link.state == "linked":
            raise CallerError(ALREADY_LINKED)
        await self._bank.terminate_consent(link.consent_id)
        await self._links.remove(stored)

    async def _give_up(self, consent_id: str) -> None:
        """Ends a consent that leads nowhere. If the bank can't be reached now, it lapses there, never authorised."""
        try:
            await self._bank.terminate_consent(consent_id)
        except AdapterError as error:
            _log.warning("unfinished consent not terminated code=%s", error.kind.code)

    async def _store(self, stored: Link, link: _BankLink) -> _BankLink:
        if await self._links.replace(stored, asdict(link)) is not None:
            return link
        current = await self._links.find(stored.subject, stored.name)
        if current is not None and _parse_link(current.payload).link_id == link.link_id:
            # The same link, carried on by another call: that one's outcome stands.
            raise CallerError(LINK_STATE)
        # Removed or replaced while the bank was working: that wins, also at the bank.
        with suppress(AdapterError):
            await self._bank.terminate_consent(link.consent_id)
        raise CallerError(LINK_UNKNOWN)

    async def _stored(self, subject: str) -> Link:
        stored = await self._links.find(subject, _NAME)
        if stored is None:
            raise CallerError(NOT_LINKED)
        return stored

    async def _link(self, subject: str) -> _BankLink:
        return _parse_link((await self._stored(subject)).payload)

    async def _linked(self, subject: str) -> _BankLink:
        link = await self._link(subject)
        if link.state != "linked":
            raise CallerError(NOT_LINKED)
        return link

    def _address(self, context: RequestContext) -> str:
        """For calls that the person makes in any case: their address, else ours, as the standard says."""
        return context.person_address or self._own_address

    def _read_address(self, context: RequestContext) -> str | None:
        """For reads: an address only if the person verifiably takes part, or the bank would count too few."""
        return self._address(context) if context.attended else None


def _state_after(authorisation: Authorisation) -> str:
    """The bank skips the choice of a method where there is only one."""
    match authorisation.status:
        case "psuAuthenticated":
            return "started"
        case "scaMethodSelected" | "started":
            return "methodSelected"
        case _:
            raise BackendError(AUTHORISATION_FAILED)


def _link_json(link: _BankLink, authorisation: Authorisation | None) -> dict[str, object]:
    result: dict[str, object] = {"linkId": link.link_id, "state": link.state, "validUntil": link.valid_until}
    if authorisation is None:
        return result
    if authorisation.methods:
        result["scaMethods"] = [method.as_json() for method in authorisation.methods]
    if authorisation.challenge is not None:
        result["challenge"] = authorisation.challenge
    if authorisation.message is not None:
        result["message"] = authorisation.message
    return result


def _parse_link(payload: object) -> _BankLink:
    fields = Fields(payload, lambda _: InternalError(INTERNAL))
    return _BankLink(
        link_id=fields.text("link_id"),
        consent_id=fields.text("consent_id"),
        authorisation_id=fields.text("authorisation_id"),
        state=fields.text("state"),
        valid_until=fields.text("valid_until"),
    )


def build_app(settings: AdapterSettings, *, clock: Clock = utc_now) -> web.Application:
    """The adapter's application."""
    backend = BackendClient(settings)
    links = LinkStore(settings.data_directory, clock=clock)
    adapter = SparkasseAdapter(BankClient(backend), links, clock=clock, own_address=settings.own_address)
    operations = (
        Operation("POST", "/link", adapter.start_link, has_body=True),
        Operation("GET", "/link", adapter.link_state),
        Operation("DELETE", "/link", adapter.remove_link),
        Operation("PUT", "/link/{linkId}", adapter.continue_link, has_body=True),
        Operation("GET", "/accounts", adapter.accounts),
        Operation("GET", "/balance", adapter.balance),
    )
    return build_adapter_app(operations, settings=settings, resources=(backend, links))
