"""Account information as the adapter passes it on: the bank's answers, read strictly and normalised.

NextGenPSD2 1.3.11, schemas scaMethods, challengeData, accountDetails, balance. Amounts are exact decimals as text,
with a point and two digits at least; the bank may write `5877.5`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from adapters.kit.backend import malformed_answer
from adapters.kit.fields import Fields

MAX_ACCOUNTS: Final = 50
# What we put into a path must be one plain segment; nothing that a bank answers may lead elsewhere.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_=.-]{1,120}")
_AMOUNT: Final = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,3})?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}")
_BALANCE_TYPES: Final = frozenset(
    {
        "closingBooked",
        "expected",
        "openingBooked",
        "interimAvailable",
        "interimBooked",
        "forwardAvailable",
        "nonInvoiced",
    }
)
_SCA_STATUSES: Final = frozenset(
    {
        "received",
        "psuIdentified",
        "psuAuthenticated",
        "scaMethodSelected",
        "started",
        "unconfirmed",
        "finalised",
        "failed",
        "exempted",
    }
)


@dataclass(frozen=True, slots=True)
class Method:
    """A TAN method that the bank offers."""

    method_id: str
    method_type: str
    name: str | None

    def as_json(self) -> dict[str, object]:
        """In the standard's names."""
        result: dict[str, object] = {
            "authenticationMethodId": self.method_id,
            "authenticationType": self.method_type,
        }
        return result if self.name is None else result | {"name": self.name}


@dataclass(frozen=True, slots=True)
class Authorisation:
    """A step of the strong customer authentication: its status, and what the person has to do next."""

    authorisation_id: str
    status: str
    methods: tuple[Method, ...]
    challenge: dict[str, object] | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """An account that the consent covers."""

    resource_id: str
    iban: str
    currency: str
    name: str | None
    product: str | None
    owner_name: str | None

    def as_json(self) -> dict[str, object]:
        """As the gateway's side sees it."""
        optional = {"name": self.name, "product": self.product, "ownerName": self.owner_name}
        required: dict[str, object] = {"accountId": self.resource_id, "iban": self.iban, "currency": self.currency}
        return required | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Balance:
    """One balance of an account."""

    amount: str
    currency: str
    balance_type: str
    reference_date: date | None

    def as_json(self) -> dict[str, object]:
        """As the gateway's side sees it."""
        result: dict[str, object] = {"type": self.balance_type, "amount": self.amount, "currency": self.currency}
        return result if self.reference_date is None else result | {"referenceDate": self.reference_date.isoformat()}


def parse_identifier(fields: Fields, name: str) -> str:
    """A consentId, authorisationId or resourceId. Raises BackendError."""
    return fields.text(name, maximum=120, pattern=_IDENTIFIER)


def parse_authorisation(fields: Fields, authorisation_id: str | None = None) -> Authorisation:
    """startScaprocessResponse, or with a known id one of the update responses. Raises BackendError."""
    status = fields.text("scaStatus")
    if status not in _SCA_STATUSES:
        raise malformed_answer("scaStatus")
    methods = fields.objects("scaMethods", maximum=20) if fields.has("scaMethods") else []
    if not methods and fields.has("chosenScaMethod"):
        methods = [fields.object("chosenScaMethod")]
    return Authorisation(
        authorisation_id=authorisation_id or parse_identifier(fields, "authorisationId"),
        status=status,
        methods=tuple(_parse_method(method) for method in methods),
        challenge=_parse_challenge(fields.object("challengeData")) if fields.has("challengeData") else None,
        message=fields.optional_text("psuMessage", maximum=500),
    )


def _parse_method(fields: Fields) -> Method:
    return Method(
        method_id=fields.text("authenticationMethodId", maximum=35),
        method_type=fields.text("authenticationType", maximum=35),
        name=fields.optional_text("name", maximum=140),
    )


def _parse_challenge(fields: Fields) -> dict[str, object]:
    challenge: dict[str, object] = {}
    for name, maximum in (("additionalInformation", 500), ("otpFormat", 20), ("image", 64 << 10)):
        text = fields.optional_text(name, maximum=maximum)
        if text is not None:
            challenge[name] = text
    if fields.has("otpMaxLength"):
        challenge["otpMaxLength"] = fields.integer("otpMaxLength", maximum=64)
    return challenge


def parse_account(fields: Fields) -> Account:
    """accountDetails. Raises BackendError, also for an IBAN whose check digits are wrong."""
    iban = fields.text("iban", pattern=_IBAN)
    if not iban_holds(iban):
        raise malformed_answer("iban")
    return Account(
        resource_id=parse_identifier(fields, "resourceId"),
        iban=iban,
        currency=fields.text("currency", pattern=_CURRENCY),
        name=fields.optional_text("name", maximum=70),
        product=fields.optional_text("product", maximum=35),
        owner_name=fields.optional_text("ownerName", maximum=140),
    )


def parse_balance(fields: Fields) -> Balance:
    """One balance. Raises BackendError."""
    amount = fields.object("balanceAmount")
    balance_type = fields.text("balanceType")
    if balance_type not in _BALANCE_TYPES:
        raise malformed_answer("balanceType")
    return Balance(
        amount=normalise_amount(amount.text("amount", pattern=_AMOUNT)),
        currency=amount.text("currency", pattern=_CURRENCY),
        balance_type=balance_type,
        reference_date=fields.optional_date("referenceDate"),
    )


def normalise_amount(text: str) -> str:
    """`5877.5` and `005877.50` as `5877.50`; a third digit stays; never `-0.00`."""
    value = Decimal(text)
    places = max(2, -int(value.as_tuple().exponent))
    return f"{abs(value) if value == 0 else value:.{places}f}"


def iban_holds(iban: str) -> bool:
    """Whether the check digits are right (ISO 13616, ISO 7064 MOD 97-10)."""
    rearranged = iban[4:] + iban[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1
