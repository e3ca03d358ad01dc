"""The bank's invented customers and their accounts.

The bank code 999 455 00 lies in clearing area 9, which Germany never assigned, so no account here exists anywhere. Test
values as in the FI sandbox: the PSU-ID names the TAN method, the password is `okok1`, the TAN 111111.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BANK_CODE: Final = "99945500"
BIC: Final = "MUSTDET0XXX"
TEST_PASSWORD: Final = "okok1"  # noqa: S105  # a published test value of a sandbox, no secret
TEST_TAN: Final = "111111"


@dataclass(frozen=True, slots=True)
class TANMethod:
    """An authenticationObject of the standard."""

    method_id: str
    method_type: str
    version: str
    name: str
    challenge: str


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """An account and its balances as the bank writes them (type, amount)."""

    resource_id: str
    iban: str
    name: str
    product: str
    balances: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """A person with online banking (PSU)."""

    psu_id: str
    owner_name: str
    methods: tuple[TANMethod, ...]
    accounts: tuple[SandboxAccount, ...]


def build_iban(account_number: str) -> str:
    """A German IBAN of this bank: check digits by ISO 7064 MOD 97-10 (D=13, E=14, and 00)."""
    account = BANK_CODE + account_number.zfill(10)
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


_MANUAL: Final = TANMethod(
    "MANUAL",
    "CHIP_OTP",
    "HHD1.3.2",
    "chipTAN manuell",
    "Stecken Sie die Karte in den TAN-Generator und geben Sie den Startcode 28730451 ein.",
)
_OPTICAL: Final = TANMethod(
    "OPTICAL",
    "CHIP_OTP",
    "HHD1.3.2OPT",
    "chipTAN optisch",
    "Halten Sie den TAN-Generator vor die Grafik.",
)
_QR: Final = TANMethod("QR", "PHOTO_OTP", "HHD1.3.2", "chipTAN QR", "Lesen Sie den QR-Code mit dem TAN-Generator.")
_PUSH: Final = TANMethod("PUSH", "PUSH_OTP", "1.0", "pushTAN", "Die TAN steht in Ihrer pushTAN-App.")

CUSTOMERS: Final = {
    customer.psu_id: customer
    for customer in (
        Customer(
            "chipTAN",
            "Erika Beispiel",
            (_MANUAL, _OPTICAL, _QR),
            (
                SandboxAccount(
                    "3f6c1c52-8f0e-4a52-9b64-4f2f5a8f1001",
                    build_iban("1000471101"),
                    "Girokonto",
                    "Giro Komfort",
                    (("closingBooked", "2504.37"), ("interimAvailable", "2404.87")),
                ),
                SandboxAccount(
                    "3f6c1c52-8f0e-4a52-9b64-4f2f5a8f1002",
                    build_iban("3000471102"),
                    "Tagesgeld",
                    "Musterstädter Tagesgeld",
                    (("closingBooked", "12850.5"),),
                ),
            ),
        ),
        Customer(
            "pushTAN",
            "Max Beispiel",
            (_PUSH,),
            (
                SandboxAccount(
                    "3f6c1c52-8f0e-4a52-9b64-4f2f5a8f2001",
                    build_iban("1000471201"),
                    "Girokonto",
                    "Giro Direkt",
                    (("closingBooked", "-137.05"), ("interimAvailable", "362.95")),
                ),
            ),
        ),
    )
}
