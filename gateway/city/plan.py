"""Musterstadt on paper: who is on the road, on which ports, in which folders. No real organisation or person appears.

Everything listens on loopback. Ports count from the base port: shared nodes at 0 to 9, then ten for each organisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.citizen.purposes import Journey
from gateway.settings import InstitutionKind
from trust.identifiers import MemberId, SecurityServerId, SubsystemId

INSTANCE: Final = "DE-TEST"
HOST: Final = "127.0.0.1"
TOKEN_AUDIENCE: Final = "https://datenweg.example/musterstadt"  # noqa: S105 - a name, no secret
MEMBER_CLASSES: Final = (("GOV", "Verwaltung"), ("COM", "Unternehmen"))


@dataclass(frozen=True, slots=True)
class Institution:
    """What stands behind a provider's gateway, and what the city's app wants it for."""

    kind: InstitutionKind
    journey: Journey
    purpose_key: str
    text_de: str
    text_en: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """A member with one gateway and one subsystem."""

    name: str
    member_class: str
    member_code: str
    subsystem_code: str
    subsystem_name: str
    folder: str
    first_port: int
    institution: Institution | None = None

    @property
    def member(self) -> MemberId:
        return MemberId(INSTANCE, self.member_class, self.member_code)

    @property
    def subsystem(self) -> SubsystemId:
        return SubsystemId(INSTANCE, self.member_class, self.member_code, self.subsystem_code)

    @property
    def server(self) -> SecurityServerId:
        return SecurityServerId(self.member, self.server_code)

    @property
    def server_code(self) -> str:
        return f"{self.folder}-1"


CITY: Final = Organisation("Stadt Musterstadt", "GOV", "MUSTERSTADT", "app", "Musterstadt-App", "city", 10)
AUTHORITY: Final = Organisation(
    "Bürgeramt Musterstadt",
    "GOV",
    "BUERGERAMT",
    "termine",
    "Terminvereinbarung",
    "authority",
    20,
    Institution(
        InstitutionKind.OZG,
        Journey.APPOINTMENTS,
        "appointments",
        "Termine beim Bürgeramt buchen und absagen.",
        "Booking and cancelling appointments at the residents' office.",
    ),
)
UTILITY: Final = Organisation(
    "Stadtwerke Musterstadt",
    "COM",
    "STADTWERKE",
    "kundenservice",
    "Kundenservice",
    "utility",
    30,
    Institution(
        InstitutionKind.STADTWERKE,
        Journey.UTILITY,
        "bills",
        "Ihre Rechnungen in der Musterstadt-App anzeigen.",
        "Showing your bills in the Musterstadt app.",
    ),
)
BANK: Final = Organisation(
    "Sparkasse Musterstadt",
    "COM",
    "SPARKASSE",
    "konto",
    "Kontoauskunft",
    "bank",
    40,
    Institution(
        InstitutionKind.SPARKASSE,
        Journey.BANK,
        "balance",
        "Ihren Kontostand in der Musterstadt-App anzeigen.",
        "Showing your account balance in the Musterstadt app.",
    ),
)
PROVIDERS: Final = (BANK, UTILITY, AUTHORITY)
ORGANISATIONS: Final = (CITY, *PROVIDERS)


@dataclass(frozen=True, slots=True)
class Plan:
    """The city at one place: folders below `data_directory`, ports from `base_port` on."""

    data_directory: Path
    base_port: int

    def folder(self, name: str) -> Path:
        """The folder of a node."""
        return self.data_directory / name

    def settings_file(self, name: str) -> Path:
        """The settings of a node that runs as a process."""
        return self.data_directory / f"{name}.toml"

    @property
    def registry_port(self) -> int:
        return self.base_port

    @property
    def testca_port(self) -> int:
        return self.base_port + 1

    @property
    def issuer_port(self) -> int:
        return self.base_port + 2

    def client_port(self, organisation: Organisation) -> int:
        """Where the organisation's own systems reach its gateway."""
        return self.base_port + organisation.first_port

    def peer_port(self, organisation: Organisation) -> int:
        """Where other gateways reach it."""
        return self.client_port(organisation) + 1

    def ocsp_port(self, organisation: Organisation) -> int:
        """Where other gateways get the status of its certificates: next to the message port (`host:port` addresses)."""
        return self.client_port(organisation) + 2

    def operations_port(self, organisation: Organisation) -> int:
        """Metrics, health and the public log."""
        return self.client_port(organisation) + 3

    def adapter_port(self, organisation: Organisation) -> int:
        """The institution's adapter."""
        return self.client_port(organisation) + 5

    def sandbox_port(self, organisation: Organisation) -> int:
        """The stand-in for its backend."""
        return self.client_port(organisation) + 6

    @property
    def citizen_port(self) -> int:
        return self.client_port(CITY) + 4

    @property
    def citizen_url(self) -> str:
        return self.url(self.citizen_port)

    @property
    def issuer_url(self) -> str:
        return self.url(self.issuer_port)

    @property
    def ocsp_url(self) -> str:
        return self.url(self.testca_port) + "/ocsp"

    @staticmethod
    def url(port: int) -> str:
        """A node's address on this machine."""
        return f"http://{HOST}:{port}"
