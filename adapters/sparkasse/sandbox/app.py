"""The bank's HTTP interface: NextGenPSD2 1.3.11 paths, headers and bodies over the state machine of `consents`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from aiohttp import web

from adapters.kit.fields import Fields, MalformedJSON
from adapters.kit.sandbox import build_sandbox_app, json_body
from adapters.kit.settings import Clock, SandboxSettings, utc_now
from adapters.sparkasse.sandbox import views
from adapters.sparkasse.sandbox.consents import BankConsent, Consents
from adapters.sparkasse.sandbox.customers import BANK_CODE
from adapters.sparkasse.sandbox.errors import TPPError, format_error

BASE_PATH: Final = f"/fixs2a-env/xs2a-api/{BANK_CODE}"
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}")
_ACCESS: Final = ("accounts", "balances", "transactions")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BankSandbox:
    """The handlers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._consents = Consents()

    async def create_consent(self, request: web.Request) -> web.Response:
        """POST /v1/consents."""
        # The mandatory form of the header: here the person is always in the loop.
        if not _attended(request):
            raise format_error("PSU-IP-Address")
        body = Fields(await json_body(request), format_error)
        psu_id = request.headers.get("PSU-ID", "")
        if not psu_id:
            raise format_error("PSU-ID")
        valid_until = body.optional_date("validUntil")
        if valid_until is None:
            raise format_error("validUntil")
        wants_balances, ibans = _access(body.object("access"))
        if body.boolean("combinedServiceIndicator"):
            raise TPPError("PARAMETER_NOT_SUPPORTED", "combinedServiceIndicator")
        consent = self._consents.create(
            psu_id=psu_id,
            wants_balances=wants_balances,
            wanted_ibans=ibans,
            recurring=body.boolean("recurringIndicator"),
            valid_until=valid_until,
            frequency=body.integer("frequencyPerDay", minimum=1, maximum=1000),
            at=self._clock(),
        )
        headers = {
            "ASPSP-SCA-Approach": "EMBEDDED",
            "Location": f"{BASE_PATH}/v1/consents/{consent.consent_id}",
        }
        return web.json_response(views.created_consent(consent, BASE_PATH), status=201, headers=headers)

    async def consent(self, request: web.Request) -> web.Response:
        """GET /v1/consents/{consentId}."""
        return web.json_response(views.consent(self._consent(request), BASE_PATH))

    async def consent_status(self, request: web.Request) -> web.Response:
        """GET .../status."""
        return web.json_response({"consentStatus": self._consent(request).status})

    async def delete_consent(self, request: web.Request) -> web.Response:
        """DELETE /v1/consents/{consentId}."""
        self._consents.terminate(request.match_info["consentId"], self._clock())
        return web.Response(status=204)

    async def start_authorisation(self, request: web.Request) -> web.Response:
        """POST .../authorisations."""
        body = Fields(await json_body(request), format_error)
        password = body.object("psuData").text("password", maximum=64)
        consent = self._consent(request)
        if consent.customer is not None and request.headers.get("PSU-ID") != consent.customer.psu_id:
            raise TPPError("PSU_CREDENTIALS_INVALID")
        authorisation = self._consents.start_authorisation(consent.consent_id, password, self._clock())
        headers = {"ASPSP-SCA-Approach": "EMBEDDED"}
        return web.json_response(
            views.started_authorisation(consent, authorisation, BASE_PATH), status=201, headers=headers
        )

    async def authorisations(self, request: web.Request) -> web.Response:
        """GET .../authorisations."""
        return web.json_response({"authorisationIds": list(self._consent(request).authorisations)})

    async def authorisation_status(self, request: web.Request) -> web.Response:
        """GET .../authorisations/{authorisationId}."""
        ids = request.match_info
        found = self._consents.authorisation(ids["consentId"], ids["authorisationId"], self._clock())
        return web.json_response({"scaStatus": found.status})

    async def update_authorisation(self, request: web.Request) -> web.Response:
        """PUT .../authorisations/{authorisationId}: a method or a TAN."""
        body = Fields(await json_body(request), format_error)
        ids, at = (request.match_info["consentId"], request.match_info["authorisationId"]), self._clock()
        if body.has("authenticationMethodId"):
            method_id = body.text("authenticationMethodId", maximum=35)
            authorisation = self._consents.select_method(*ids, method_id, at)
            consent = self._consents.get(ids[0], at)
            return web.json_response(views.selected_method(consent, authorisation, BASE_PATH))
        self._consents.authorise(*ids, body.text("scaAuthenticationData", maximum=35), at)
        consent = self._consents.get(ids[0], at)
        return web.json_response(views.finalised(consent, BASE_PATH))

    async def accounts(self, request: web.Request) -> web.Response:
        """GET /v1/accounts."""
        consent = self._read(request, account_id=None, balances=_with_balance(request))
        accounts = [views.account(account, consent, BASE_PATH) for account in consent.accounts]
        if _with_balance(request):
            reference = self._reference_date()
            accounts = [
                view | {"balances": views.balances(account, reference)}
                for view, account in zip(accounts, consent.accounts, strict=True)
            ]
        return web.json_response({"accounts": accounts})

    async def account(self, request: web.Request) -> web.Response:
        """GET /v1/accounts/{accountId}."""
        account_id = request.match_info["accountId"]
        consent = self._read(request, account_id=account_id, balances=False)
        found = next(account for account in consent.accounts if account.resource_id == account_id)
        return web.json_response({"account": views.account(found, consent, BASE_PATH)})

    async def balances(self, request: web.Request) -> web.Response:
        """GET /v1/accounts/{accountId}/balances."""
        account_id = request.match_info["accountId"]
        consent = self._read(request, account_id=account_id, balances=True)
        found = next(account for account in consent.accounts if account.resource_id == account_id)
        body = {
            "account": {"iban": found.iban, "currency": "EUR"},
            "balances": views.balances(found, self._reference_date()),
        }
        return web.json_response(body)

    def _consent(self, request: web.Request) -> BankConsent:
        return self._consents.get(request.match_info["consentId"], self._clock())

    def _read(self, request: web.Request, *, account_id: str | None, balances: bool) -> BankConsent:
        consent_id = request.headers.get("Consent-ID", "")
        if not consent_id:
            raise format_error("Consent-ID")
        return self._consents.read(
            consent_id,
            request.path,
            account_id=account_id,
            balances=balances,
            attended=_attended(request),
            at=self._clock(),
        )

    def _reference_date(self) -> str:
        return (self._clock() - timedelta(days=1)).date().isoformat()


def _attended(request: web.Request) -> bool:
    address = request.headers.get("PSU-IP-Address")
    if address is None:
        return False
    try:
        ip_address(address)
    except ValueError:
        raise format_error("PSU-IP-Address") from None
    return True


def _with_balance(request: web.Request) -> bool:
    return request.query.get("withBalance") == "true"


def _access(access: Fields) -> tuple[bool, frozenset[str]]:
    """Whether balances are wanted, and for which accounts (none named: all that the person has)."""
    if access.has("allPsd2"):
        if access.text("allPsd2") != "allAccounts":
            raise TPPError("PARAMETER_NOT_SUPPORTED", "access.allPsd2")
        return True, frozenset()
    if not any(access.has(name) for name in _ACCESS):
        raise format_error("access")
    ibans = {
        reference.text("iban", pattern=_IBAN)
        for name in _ACCESS
        if access.has(name)
        for reference in access.objects(name, maximum=100)
    }
    return access.has("balances"), frozenset(ibans)


@web.middleware
async def _speak_xs2a(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """X-Request-ID is mandatory and echoed (section 4.9); every refusal is a `tppMessages` body."""
    if not request.path.startswith(BASE_PATH):
        return await handler(request)
    request_id = request.headers.get("X-Request-ID", "")
    try:
        UUID(request_id)
    except ValueError:
        return _refuse(format_error("X-Request-ID"), None)
    try:
        if request.can_read_body and request.content_type != "application/json":
            raise TPPError("UNSUPPORTED_MEDIA_TYPE")
        response = await handler(request)
    except TPPError as error:
        return _refuse(error, request_id)
    except (MalformedJSON, web.HTTPRequestEntityTooLarge):
        return _refuse(TPPError("FORMAT_ERROR"), request_id)
    except web.HTTPMethodNotAllowed:
        return _refuse(TPPError("SERVICE_INVALID"), request_id)
    except web.HTTPNotFound:
        return _refuse(TPPError("RESOURCE_UNKNOWN"), request_id)
    response.headers["X-Request-ID"] = request_id
    return response


def _refuse(error: TPPError, request_id: str | None) -> web.Response:
    headers = {} if request_id is None else {"X-Request-ID": request_id}
    return web.json_response(error.as_json(), status=error.status, headers=headers)


def build_app(settings: SandboxSettings, *, clock: Clock = utc_now) -> web.Application:
    """The sandbox's application; the interface lies below BASE_PATH."""
    app = build_sandbox_app(settings)
    app.middlewares.append(_speak_xs2a)
    sandbox = BankSandbox(clock)
    consent, account = f"{BASE_PATH}/v1/consents", f"{BASE_PATH}/v1/accounts"
    authorisation = f"{consent}/{{consentId}}/authorisations"
    app.router.add_post(consent, sandbox.create_consent)
    app.router.add_get(f"{consent}/{{consentId}}", sandbox.consent)
    app.router.add_delete(f"{consent}/{{consentId}}", sandbox.delete_consent)
    app.router.add_get(f"{consent}/{{consentId}}/status", sandbox.consent_status)
    app.router.add_post(authorisation, sandbox.start_authorisation)
    app.router.add_get(authorisation, sandbox.authorisations)
    app.router.add_get(f"{authorisation}/{{authorisationId}}", sandbox.authorisation_status)
    app.router.add_put(f"{authorisation}/{{authorisationId}}", sandbox.update_authorisation)
    app.router.add_get(account, sandbox.accounts)
    app.router.add_get(f"{account}/{{accountId}}", sandbox.account)
    app.router.add_get(f"{account}/{{accountId}}/balances", sandbox.balances)
    return app
