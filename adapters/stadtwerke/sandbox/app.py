"""The utility's SOAP endpoint: the operations of `kundenservice.wsdl` over the invented customers."""

from __future__ import annotations

from datetime import date
from typing import Final

from aiohttp import web
from lxml import etree

from adapters.kit.sandbox import build_sandbox_app
from adapters.kit.settings import Clock, SandboxSettings, utc_now
from adapters.kit.soap_server import ServiceFault, build_soap_handler
from adapters.stadtwerke.backend import NAMESPACE, PATH, load_wsdl
from adapters.stadtwerke.sandbox.customers import CUSTOMERS, Customer
from adapters.stadtwerke.sandbox.documents import add, add_invoice, element
from adapters.stadtwerke.sandbox.invoices import invoices_of

BASE_PATH: Final = ""


class UtilitySandbox:
    """The operations: a valid request element in, the response element out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def verify_customer(self, request: etree._Element) -> etree._Element:
        """PruefeKunde. An unknown number and somebody else's meter are one fault."""
        customer = CUSTOMERS.get(_text(request, "kundennummer") or "")
        meter = _text(request, "zaehlernummer")
        if customer is None or all(supply.meter_number != meter for supply in customer.supplies):
            raise _fault("KundeUnbekannt", "Kundennummer oder Zählernummer ist unbekannt.")
        answer = _answer("PruefeKundeResponse", customer)
        for supply in customer.supplies:
            add(answer, "sparten", supply.tariff.sparte)
        return answer

    def invoices(self, request: etree._Element) -> etree._Element:
        """HoleRechnungen: the overview, filtered by branch and by date of issue."""
        customer = _customer(request)
        sparte, start, end = _text(request, "sparte"), _date(request, "von"), _date(request, "bis")
        if start is not None and end is not None and start > end:
            raise _fault("ZeitraumUngueltig", "Der Beginn liegt nach dem Ende.")
        answer = _answer("HoleRechnungenResponse", customer)
        for invoice in invoices_of(customer, self._clock()):
            issued = invoice.issued.date()
            if (
                (sparte is None or invoice.supply.tariff.sparte == sparte)
                and (start is None or issued >= start)
                and (end is None or issued <= end)
            ):
                add_invoice(answer, invoice, complete=False)
        return answer

    def invoice(self, request: etree._Element) -> etree._Element:
        """HoleRechnung. Another customer's bill is as unknown as one that does not exist."""
        customer, number = _customer(request), _text(request, "rechnungsnummer")
        for invoice in invoices_of(customer, self._clock()):
            if invoice.number == number:
                answer = _answer("HoleRechnungResponse", customer)
                add_invoice(answer, invoice, complete=True)
                return answer
        raise _fault("RechnungUnbekannt", "Diese Rechnung gibt es nicht.")


def _customer(request: etree._Element) -> Customer:
    customer = CUSTOMERS.get(_text(request, "kundennummer") or "")
    if customer is None:
        raise _fault("KundeUnbekannt", "Die Kundennummer ist unbekannt.")
    return customer


def _answer(name: str, customer: Customer) -> etree._Element:
    answer = element(name)
    add(answer, "kundennummer", customer.customer_number)
    return answer


def _text(request: etree._Element, name: str) -> str | None:
    return request.findtext(f"{{{NAMESPACE}}}{name}")


def _date(request: etree._Element, name: str) -> date | None:
    text = _text(request, name)
    # XML Schema allows a time zone after a date; the day is what counts.
    return None if text is None else date.fromisoformat(text[:10])


def _fault(name: str, text: str) -> ServiceFault:
    detail = element(name)
    add(detail, "meldung", text)
    return ServiceFault(detail, text)


def build_app(settings: SandboxSettings, *, clock: Clock = utc_now) -> web.Application:
    """The sandbox's application."""
    sandbox = UtilitySandbox(clock)
    handle = build_soap_handler(
        load_wsdl(),
        NAMESPACE,
        {
            "PruefeKunde": sandbox.verify_customer,
            "HoleRechnungen": sandbox.invoices,
            "HoleRechnung": sandbox.invoice,
        },
    )
    app = build_sandbox_app(settings)
    app.router.add_get(f"/{PATH}", handle)
    app.router.add_post(f"/{PATH}", handle)
    return app
