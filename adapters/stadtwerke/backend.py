"""The utility's customer service over SOAP: the three operations of `kundenservice.wsdl` that the adapter uses."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from adapters.kit.backend import BackendClient, malformed_answer
from adapters.kit.errors import BackendError, ProblemKind
from adapters.kit.problems import BACKEND_REFUSED
from adapters.kit.soap import SOAPClient, SOAPFault
from adapters.stadtwerke.bills import build_bill
from adapters.stadtwerke.problems import BILL_UNKNOWN, CUSTOMER_GONE, CUSTOMER_UNKNOWN

NAMESPACE: Final = "http://stadtwerke.example/kundenservice/v1"
PATH: Final = "kundenservice/v1"


def load_wsdl() -> bytes:
    """The WSDL that ships with the package."""
    return files("adapters.stadtwerke").joinpath("kundenservice.wsdl").read_bytes()


class CustomerService:
    """Answers are checked to be this customer's; anything else raises BackendError."""

    def __init__(self, backend: BackendClient) -> None:
        self._client = SOAPClient(
            wsdl=load_wsdl(), binding=f"{{{NAMESPACE}}}KundenserviceSOAP", path=PATH, backend=backend
        )

    async def verify_customer(self, customer_number: str, meter_number: str) -> str:
        """PruefeKunde: the customer number, if the meter is this customer's. Raises BackendError (customer_unknown)."""
        try:
            arguments = {"kundennummer": customer_number, "zaehlernummer": meter_number}
            await self._call("PruefeKunde", arguments, customer_number)
        except SOAPFault as fault:
            raise self._refusal(fault, CUSTOMER_UNKNOWN) from None
        return customer_number

    async def bills(self, customer_number: str) -> list[dict[str, object]]:
        """HoleRechnungen: the overview, newest first."""
        try:
            answer = await self._call("HoleRechnungen", {"kundennummer": customer_number}, customer_number)
        except SOAPFault as fault:
            raise self._refusal(fault, CUSTOMER_GONE) from None
        bills = answer.get("rechnung") or []
        if not isinstance(bills, list):
            raise malformed_answer("rechnung")
        found = [build_bill(bill, customer_number=customer_number) for bill in bills]
        return sorted(found, key=lambda bill: str(bill.get("rechnungsdatum", "")), reverse=True)

    async def bill(self, customer_number: str, invoice_number: str) -> dict[str, object]:
        """HoleRechnung: one bill with its positions. Raises BackendError (bill_unknown)."""
        try:
            arguments = {"kundennummer": customer_number, "rechnungsnummer": invoice_number}
            answer = await self._call("HoleRechnung", arguments, customer_number)
        except SOAPFault as fault:
            raise self._refusal(fault, CUSTOMER_GONE) from None
        bill = build_bill(answer.get("rechnung"), customer_number=customer_number)
        if bill.get("rechnungsnummer") != invoice_number:
            raise malformed_answer("rechnungsnummer")
        return bill

    async def _call(
        self, operation: str, arguments: Mapping[str, object], customer_number: str
    ) -> Mapping[str, object]:
        answer = await self._client.call(operation, arguments)
        if not isinstance(answer, Mapping) or answer.get("kundennummer") != customer_number:
            raise malformed_answer("kundennummer")
        return answer

    @staticmethod
    def _refusal(fault: SOAPFault, unknown_customer: ProblemKind) -> BackendError:
        match fault.name:
            case "KundeUnbekannt":
                return BackendError(unknown_customer, backend_code=fault.name)
            case "RechnungUnbekannt":
                return BackendError(BILL_UNKNOWN, backend_code=fault.name)
            case _:
                return BackendError(BACKEND_REFUSED)
