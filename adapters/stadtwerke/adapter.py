"""The utility's adapter: a person proves to be a customer with customer and meter number, then reads their bills."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from adapters.kit.app import Answer, Operation, OperationRequest, build_adapter_app
from adapters.kit.attempts import FailedAttempts
from adapters.kit.backend import BackendClient
from adapters.kit.errors import BackendError, CallerError, InternalError
from adapters.kit.fields import Fields
from adapters.kit.links import Link, LinkExists, LinkStore
from adapters.kit.problems import ALREADY_LINKED, INTERNAL, NOT_LINKED
from adapters.kit.settings import AdapterSettings, Clock, utc_now
from adapters.stadtwerke.backend import CustomerService
from adapters.stadtwerke.problems import CUSTOMER_UNKNOWN

_NAME: Final = "customer"
# The patterns of the WSDL: what can't be a number is refused before it reaches the backend.
_CUSTOMER_NUMBER: Final = re.compile(r"[0-9]{7}")
_METER_NUMBER: Final = re.compile(r"[A-Z0-9]{6,20}")
_INVOICE_NUMBER: Final = re.compile(r"[A-Z0-9-]{4,30}")


class StadtwerkeAdapter:
    """The operations."""

    def __init__(self, service: CustomerService, links: LinkStore, *, clock: Clock) -> None:
        self._service = service
        self._links = links
        self._clock = clock
        self._attempts = FailedAttempts()

    async def start_link(self, request: OperationRequest) -> Answer:
        """POST /link {customerNumber, meterNumber}. The meter number proves, and is not kept."""
        subject = request.context.subject
        body = request.body.only("customerNumber", "meterNumber")
        customer_number = body.text("customerNumber", pattern=_CUSTOMER_NUMBER)
        meter_number = body.text("meterNumber", pattern=_METER_NUMBER)
        if await self._links.find(subject, _NAME) is not None:
            raise CallerError(ALREADY_LINKED)
        with self._attempts.attempt(subject, self._clock()):
            try:
                verified = await self._service.verify_customer(customer_number, meter_number)
            except BackendError as error:
                if error.kind is CUSTOMER_UNKNOWN:
                    self._attempts.record(subject, self._clock())
                raise
        self._attempts.clear(subject)
        try:
            await self._links.add(subject, _NAME, {"customerNumber": verified})
        except LinkExists:
            raise CallerError(ALREADY_LINKED) from None
        return Answer(_link_json(verified), status=201)

    async def link_state(self, request: OperationRequest) -> Answer:
        """GET /link."""
        return Answer(_link_json(await self._customer_number(request.context.subject)))

    async def remove_link(self, request: OperationRequest) -> Answer:
        """DELETE /link."""
        await self._links.remove(await self._link(request.context.subject))
        return Answer(None, status=204)

    async def bills(self, request: OperationRequest) -> Answer:
        """GET /bills: the overview."""
        customer_number = await self._customer_number(request.context.subject)
        return Answer({"bills": await self._service.bills(customer_number)})

    async def bill(self, request: OperationRequest) -> Answer:
        """GET /bills/{invoiceNumber}."""
        invoice_number = request.path.text("invoiceNumber", pattern=_INVOICE_NUMBER)
        customer_number = await self._customer_number(request.context.subject)
        return Answer(await self._service.bill(customer_number, invoice_number))

    async def _link(self, subject: str) -> Link:
        link = await self._links.find(subject, _NAME)
        if link is None:
            raise CallerError(NOT_LINKED)
        return link

    async def _customer_number(self, subject: str) -> str:
        link = await self._link(subject)
        return Fields(link.payload, lambda _: InternalError(INTERNAL)).text("customerNumber")


def _link_json(customer_number: str) -> dict[str, object]:
    # Enough to recognise one's own number, not enough to use somebody else's.
    return {"state": "linked", "customerNumber": "*" * (len(customer_number) - 3) + customer_number[-3:]}


def build_app(settings: AdapterSettings, *, clock: Clock = utc_now) -> web.Application:
    """The adapter's application."""
    backend = BackendClient(settings)
    links = LinkStore(settings.data_directory, clock=clock)
    adapter = StadtwerkeAdapter(CustomerService(backend), links, clock=clock)
    operations = (
        Operation("POST", "/link", adapter.start_link, has_body=True),
        Operation("GET", "/link", adapter.link_state),
        Operation("DELETE", "/link", adapter.remove_link),
        Operation("GET", "/bills", adapter.bills),
        Operation("GET", "/bills/{invoiceNumber}", adapter.bill),
    )
    return build_adapter_app(operations, settings=settings, resources=(backend, links))
