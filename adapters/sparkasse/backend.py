"""The bank's XS2A interface: NextGenPSD2 1.3.11, account information with embedded authentication.

Paths are built from identifiers that passed `parse_identifier`; the hrefs in `_links` are not followed, so that an
answer can't send the next request somewhere else. The TPP's certificates (QWAC for TLS, QSEAL for signatures) belong
to the connection between adapter and bank and are not part of this client.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final
from uuid import uuid4

from adapters.kit.backend import BackendAnswer, BackendClient, malformed_answer
from adapters.kit.errors import BackendError
from adapters.kit.fields import Fields
from adapters.kit.problems import BACKEND_REFUSED
from adapters.sparkasse.model import (
    MAX_ACCOUNTS,
    Account,
    Authorisation,
    Balance,
    parse_account,
    parse_authorisation,
    parse_balance,
    parse_identifier,
)
from adapters.sparkasse.problems import OF_TPP_CODE

_CONSENT_STATUSES: Final = frozenset(
    ["received", "rejected", "valid", "revokedByPsu", "expired", "terminatedByTpp", "partiallyAuthorised"]
)


class BankClient:
    """`address` is the person's IP address; None on a read means that they take no part in it."""

    def __init__(self, backend: BackendClient) -> None:
        self._backend = backend

    async def create_consent(self, psu_id: str, valid_until: date, *, address: str) -> str:
        """POST /v1/consents: a recurring bank-offered consent to accounts and balances. Returns its id."""
        body: dict[str, object] = {
            # Empty lists: the person chooses the accounts with their bank (section 6.3, bank-offered consent).
            "access": {"accounts": [], "balances": []},
            "recurringIndicator": True,
            "validUntil": valid_until.isoformat(),
            "frequencyPerDay": 4,
            "combinedServiceIndicator": False,
        }
        headers = {"PSU-ID": psu_id, "TPP-Redirect-Preferred": "false"}
        answer = await self._send("POST", "v1/consents", expected=201, address=address, headers=headers, body=body)
        return parse_identifier(answer, "consentId")

    async def start_authorisation(self, consent_id: str, *, psu_id: str, password: str, address: str) -> Authorisation:
        """POST .../authorisations with the person's password; the answer lists their TAN methods."""
        path = f"v1/consents/{consent_id}/authorisations"
        body = {"psuData": {"password": password}}
        headers = {"PSU-ID": psu_id}
        return parse_authorisation(
            await self._send("POST", path, expected=201, address=address, headers=headers, body=body)
        )

    async def select_method(
        self, consent_id: str, authorisation_id: str, method_id: str, *, address: str
    ) -> Authorisation:
        """PUT: chooses the TAN method; the answer holds the challenge."""
        body = {"authenticationMethodId": method_id}
        return await self._update(consent_id, authorisation_id, body, address)

    async def authorise(self, consent_id: str, authorisation_id: str, tan: str, *, address: str) -> Authorisation:
        """PUT: the TAN."""
        return await self._update(consent_id, authorisation_id, {"scaAuthenticationData": tan}, address)

    async def authorisation_status(self, consent_id: str, authorisation_id: str) -> str:
        """GET .../authorisations/{id}: scaStatus."""
        answer = await self._send("GET", f"v1/consents/{consent_id}/authorisations/{authorisation_id}")
        return parse_authorisation(answer, authorisation_id).status

    async def consent_status(self, consent_id: str) -> str:
        """GET .../status: consentStatus."""
        status = (await self._send("GET", f"v1/consents/{consent_id}/status")).text("consentStatus")
        if status not in _CONSENT_STATUSES:
            raise malformed_answer("consentStatus")
        return status

    async def terminate_consent(self, consent_id: str) -> None:
        """DELETE the consent. One that the bank no longer knows, or that has ended, counts as terminated."""
        answer = await self._exchange("DELETE", f"v1/consents/{consent_id}")
        if answer.status == 204:
            return
        error = _error_of(answer)
        if error.backend_code not in ("CONSENT_UNKNOWN", "CONSENT_EXPIRED", "RESOURCE_UNKNOWN"):
            raise error

    async def accounts(self, consent_id: str, *, address: str | None) -> tuple[Account, ...]:
        """GET /v1/accounts."""
        answer = await self._send("GET", "v1/accounts", address=address, headers={"Consent-ID": consent_id})
        return tuple(parse_account(fields) for fields in answer.objects("accounts", maximum=MAX_ACCOUNTS))

    async def balances(self, consent_id: str, account: Account, *, address: str | None) -> tuple[Balance, ...]:
        """GET /v1/accounts/{id}/balances. An answer for another account raises BackendError."""
        path = f"v1/accounts/{account.resource_id}/balances"
        answer = await self._send("GET", path, address=address, headers={"Consent-ID": consent_id})
        if answer.has("account") and answer.object("account").optional_text("iban") not in (None, account.iban):
            raise malformed_answer("account.iban")
        return tuple(parse_balance(fields) for fields in answer.objects("balances", maximum=50))

    async def _update(
        self, consent_id: str, authorisation_id: str, body: Mapping[str, object], address: str
    ) -> Authorisation:
        path = f"v1/consents/{consent_id}/authorisations/{authorisation_id}"
        return parse_authorisation(await self._send("PUT", path, address=address, body=body), authorisation_id)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        expected: int = 200,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Fields:
        answer = await self._exchange(method, path, address=address, headers=headers, body=body)
        if answer.status != expected:
            raise _error_of(answer)
        return answer.json_object()

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        address: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> BackendAnswer:
        request_id = str(uuid4())
        sent = {"X-Request-ID": request_id, "Accept": "application/json", **(headers or {})}
        if address is not None:
            sent["PSU-IP-Address"] = address
        answer = await self._backend.send(method, path, headers=sent, json_body=body)
        # Section 4.9: the bank echoes the id; an answer with another id is an answer to another request.
        if answer.headers.get("X-Request-ID") not in (None, request_id):
            raise malformed_answer("X-Request-ID")
        return answer


def _error_of(answer: BackendAnswer) -> BackendError:
    """The first ERROR of `tppMessages` as our error; a code that we don't know is not passed on."""
    if answer.status < 400:
        return malformed_answer("status")
    messages = answer.json_object().objects("tppMessages", maximum=50)
    for message in messages:
        if message.text("category") == "ERROR":
            code = message.text("code", maximum=60)
            kind = OF_TPP_CODE.get(code)
            return BackendError(BACKEND_REFUSED) if kind is None else BackendError(kind, backend_code=code)
    return malformed_answer("tppMessages")
