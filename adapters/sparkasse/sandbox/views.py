"""The bank's answers: JSON bodies of NextGenPSD2 1.3.11 from the sandbox's state."""

from __future__ import annotations

from adapters.sparkasse.sandbox.consents import BankAuthorisation, BankConsent
from adapters.sparkasse.sandbox.customers import BIC, SandboxAccount, TANMethod

JSON = dict[str, object]


def created_consent(consent: BankConsent, base: str) -> JSON:
    """consentsResponse-201."""
    path = f"{base}/v1/consents/{consent.consent_id}"
    return {
        "consentStatus": consent.status,
        "consentId": consent.consent_id,
        "psuMessage": "Bitte melden Sie sich mit Ihren Zugangsdaten zum Online-Banking an.",
        "_links": {
            "self": {"href": path},
            "status": {"href": f"{path}/status"},
            "startAuthorisationWithPsuAuthentication": {"href": f"{path}/authorisations"},
        },
    }


def consent(found: BankConsent, base: str) -> JSON:
    """consentInformationResponse-200."""
    references: list[JSON] = [{"iban": account.iban, "currency": "EUR"} for account in found.accounts]
    access: JSON = {"accounts": references}
    if found.wants_balances:
        access["balances"] = references
    return {
        "access": access,
        "recurringIndicator": found.recurring,
        "validUntil": found.valid_until.isoformat(),
        "frequencyPerDay": found.frequency,
        "lastActionDate": found.last_action.isoformat(),
        "consentStatus": found.status,
        "_links": {"account": {"href": f"{base}/v1/accounts"}},
    }


def started_authorisation(found: BankConsent, authorisation: BankAuthorisation, base: str) -> JSON:
    """startScaprocessResponse: the methods to choose from, or the challenge of the only one."""
    path = _authorisation_path(found, authorisation, base)
    common: JSON = {"scaStatus": authorisation.status, "authorisationId": authorisation.authorisation_id}
    if authorisation.method is not None:
        return common | _challenge(authorisation.method) | {"_links": {"authoriseTransaction": {"href": path}}}
    methods = () if found.customer is None else found.customer.methods
    return common | {
        "scaMethods": [_method(method) for method in methods],
        "psuMessage": "Bitte wählen Sie ein TAN-Verfahren.",
        "_links": {"selectAuthenticationMethod": {"href": path}, "scaStatus": {"href": path}},
    }


def selected_method(found: BankConsent, authorisation: BankAuthorisation, base: str) -> JSON:
    """selectPsuAuthenticationMethodResponse."""
    path = _authorisation_path(found, authorisation, base)
    challenge = {} if authorisation.method is None else _challenge(authorisation.method)
    links = {"authoriseTransaction": {"href": path}, "scaStatus": {"href": path}}
    return {"scaStatus": authorisation.status, "_links": links} | challenge


def finalised(found: BankConsent, base: str) -> JSON:
    """scaStatusResponse."""
    return {
        "scaStatus": "finalised",
        "psuMessage": "Die Freigabe ist erteilt.",
        "_links": {"status": {"href": f"{base}/v1/consents/{found.consent_id}/status"}},
    }


def account(found: SandboxAccount, under: BankConsent, base: str) -> JSON:
    """accountDetails."""
    path = f"{base}/v1/accounts/{found.resource_id}"
    owner = "" if under.customer is None else under.customer.owner_name
    return {
        "resourceId": found.resource_id,
        "iban": found.iban,
        "currency": "EUR",
        "name": found.name,
        "ownerName": owner,
        "product": found.product,
        "cashAccountType": "CACC",
        "status": "enabled",
        "bic": BIC,
        "usage": "PRIV",
        "_links": {"balances": {"href": f"{path}/balances"}} if under.wants_balances else {},
    }


def balances(found: SandboxAccount, reference_date: str) -> list[JSON]:
    """balanceList."""
    return [
        {
            "balanceAmount": {"currency": "EUR", "amount": amount},
            "balanceType": balance_type,
            "referenceDate": reference_date,
        }
        for balance_type, amount in found.balances
    ]


def _method(method: TANMethod) -> JSON:
    return {
        "authenticationType": method.method_type,
        "authenticationVersion": method.version,
        "authenticationMethodId": method.method_id,
        "name": method.name,
    }


def _challenge(method: TANMethod) -> JSON:
    return {
        "chosenScaMethod": _method(method),
        "challengeData": {
            "otpMaxLength": 6,
            "otpFormat": "integer",
            "additionalInformation": method.challenge,
        },
        "psuMessage": "Bitte geben Sie die TAN ein.",
    }


def _authorisation_path(found: BankConsent, authorisation: BankAuthorisation, base: str) -> str:
    return f"{base}/v1/consents/{found.consent_id}/authorisations/{authorisation.authorisation_id}"
