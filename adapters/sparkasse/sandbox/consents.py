"""The bank's consents and their strong authentication: a state machine without I/O.

NextGenPSD2 1.3.11 sections 6 (consents) and 7 (authorisation, embedded approach). One table holds the allowed steps;
whatever is not in it is STATUS_INVALID.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum, auto
from typing import Final
from uuid import uuid4

from adapters.sparkasse.sandbox.customers import CUSTOMERS, TEST_PASSWORD, TEST_TAN, Customer, SandboxAccount, TANMethod
from adapters.sparkasse.sandbox.errors import TPPError

MAX_CONSENTS: Final = 10_000
_LONGEST: Final = timedelta(days=180)
_MOST_PER_DAY: Final = 4
_WRONG_TANS: Final = 3


class Step(Enum):
    """What a TPP can send to an authorisation."""

    METHOD = auto()
    TAN = auto()


_STEPS: Final = {
    ("psuAuthenticated", Step.METHOD),
    ("scaMethodSelected", Step.METHOD),
    ("scaMethodSelected", Step.TAN),
}


@dataclass(slots=True)
class BankAuthorisation:
    """One run of the strong authentication."""

    authorisation_id: str
    status: str
    method: TANMethod | None = None
    wrong_tans: int = 0


@dataclass(slots=True)
class BankConsent:
    """A consent as the bank keeps it. `accounts` are those it covers, empty until the person has authorised it."""

    consent_id: str
    customer: Customer | None
    wants_balances: bool
    wanted_ibans: frozenset[str]
    recurring: bool
    valid_until: date
    frequency: int
    last_action: date
    status: str = "received"
    accounts: tuple[SandboxAccount, ...] = ()
    authorisations: dict[str, BankAuthorisation] = field(default_factory=dict)
    unattended: Counter[tuple[date, str]] = field(default_factory=Counter)


class Consents:
    """All consents. `at` is the time of the request."""

    def __init__(self) -> None:
        self._consents: dict[str, BankConsent] = {}

    def create(
        self,
        *,
        psu_id: str,
        wants_balances: bool,
        wanted_ibans: frozenset[str],
        recurring: bool,
        valid_until: date,
        frequency: int,
        at: datetime,
    ) -> BankConsent:
        """A consent in `received`; the bank shortens validity to 180 days and frequency to four a day."""
        if valid_until < at.date():
            raise TPPError("PERIOD_INVALID", "validUntil")
        if not recurring and frequency != 1:
            raise TPPError("FORMAT_ERROR", "frequencyPerDay")
        if len(self._consents) >= MAX_CONSENTS:
            self._consents.pop(next(iter(self._consents)))
        consent = BankConsent(
            consent_id=str(uuid4()),
            customer=CUSTOMERS.get(psu_id),
            wants_balances=wants_balances,
            wanted_ibans=wanted_ibans,
            recurring=recurring,
            valid_until=min(valid_until, (at + _LONGEST).date()),
            frequency=min(frequency, _MOST_PER_DAY),
            last_action=at.date(),
        )
        self._consents[consent.consent_id] = consent
        return consent

    def get(self, consent_id: str, at: datetime) -> BankConsent:
        """The consent, expired if its day has passed. Raises TPPError."""
        consent = self._consents.get(consent_id)
        if consent is None:
            raise TPPError("CONSENT_UNKNOWN")
        if consent.status in ("received", "valid") and at.date() > consent.valid_until:
            consent.status = "expired"
        return consent

    def terminate(self, consent_id: str, at: datetime) -> None:
        """DELETE by the TPP."""
        consent = self.get(consent_id, at)
        if consent.status in ("received", "valid"):
            consent.status = "terminatedByTpp"
        consent.last_action = at.date()

    def start_authorisation(self, consent_id: str, password: str, at: datetime) -> BankAuthorisation:
        """The person's password. An unknown PSU-ID and a wrong password are one answer."""
        consent = self._require_received(consent_id, at)
        if consent.customer is None or password != TEST_PASSWORD:
            raise TPPError("PSU_CREDENTIALS_INVALID")
        authorisation = BankAuthorisation(str(uuid4()), "psuAuthenticated")
        if len(consent.customer.methods) == 1:
            # Section 7.2: nothing to choose, so the bank goes on to the challenge.
            authorisation.status, authorisation.method = "scaMethodSelected", consent.customer.methods[0]
        consent.authorisations[authorisation.authorisation_id] = authorisation
        consent.last_action = at.date()
        return authorisation

    def authorisation(self, consent_id: str, authorisation_id: str, at: datetime) -> BankAuthorisation:
        """One authorisation. Raises TPPError."""
        found = self.get(consent_id, at).authorisations.get(authorisation_id)
        if found is None:
            raise TPPError("RESOURCE_UNKNOWN")
        return found

    def select_method(self, consent_id: str, authorisation_id: str, method_id: str, at: datetime) -> BankAuthorisation:
        """The TAN method."""
        consent, authorisation = self._step(consent_id, authorisation_id, Step.METHOD, at)
        methods = () if consent.customer is None else consent.customer.methods
        chosen = next((method for method in methods if method.method_id == method_id), None)
        if chosen is None:
            raise TPPError("SCA_METHOD_UNKNOWN", "authenticationMethodId")
        authorisation.status, authorisation.method = "scaMethodSelected", chosen
        return authorisation

    def authorise(self, consent_id: str, authorisation_id: str, tan: str, at: datetime) -> BankAuthorisation:
        """The TAN: right makes the consent valid, the third wrong one rejects it."""
        consent, authorisation = self._step(consent_id, authorisation_id, Step.TAN, at)
        if tan != TEST_TAN:
            authorisation.wrong_tans += 1
            if authorisation.wrong_tans >= _WRONG_TANS:
                authorisation.status, consent.status = "failed", "rejected"
            raise TPPError("SCA_INVALID", "scaAuthenticationData")
        owned = () if consent.customer is None else consent.customer.accounts
        consent.accounts = tuple(
            account for account in owned if not consent.wanted_ibans or account.iban in consent.wanted_ibans
        )
        authorisation.status, consent.status = "finalised", "valid"
        return authorisation

    def read(
        self, consent_id: str, resource: str, *, account_id: str | None, balances: bool, attended: bool, at: datetime
    ) -> BankConsent:
        """One read of account information, checked in this order: consent, what it covers, how often.

        An unattended read counts per resource and day (section 6.3, frequencyPerDay). Raises TPPError.
        """
        consent = self.get(consent_id, at)
        if consent.status == "expired":
            raise TPPError("CONSENT_EXPIRED")
        if consent.status != "valid" or (balances and not consent.wants_balances):
            raise TPPError("CONSENT_INVALID")
        if account_id is not None and all(account.resource_id != account_id for account in consent.accounts):
            raise TPPError("RESOURCE_UNKNOWN")
        if not attended:
            key = (at.date(), resource)
            if consent.unattended[key] >= consent.frequency:
                raise TPPError("ACCESS_EXCEEDED")
            consent.unattended[key] += 1
        consent.last_action = at.date()
        return consent

    def _step(
        self, consent_id: str, authorisation_id: str, step: Step, at: datetime
    ) -> tuple[BankConsent, BankAuthorisation]:
        authorisation = self.authorisation(consent_id, authorisation_id, at)
        if (authorisation.status, step) not in _STEPS:
            raise TPPError("STATUS_INVALID")
        consent = self._require_received(consent_id, at)
        consent.last_action = at.date()
        return consent, authorisation

    def _require_received(self, consent_id: str, at: datetime) -> BankConsent:
        consent = self.get(consent_id, at)
        if consent.status == "expired":
            raise TPPError("CONSENT_EXPIRED")
        if consent.status != "received":
            raise TPPError("STATUS_INVALID")
        return consent
