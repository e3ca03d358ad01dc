"""Musterstadt on paper: its organisations from the city's topology file, and what stands beside the road.

Everything listens on loopback. Ports count from the base port as those of any instance (`gateway.instance.plan`):
shared nodes at 0 to 9, then ten for each organisation, of which citizens' pages, adapters and sandboxes take the free
ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.citizen.purposes import Journey
from gateway.instance.plan import FIRST_GATEWAY, HOST, SPAN
from gateway.instance.reading import read_topology
from gateway.settings import InstitutionKind
from trust.identifiers import MemberId, SecurityServerId, SubsystemId

TOKEN_AUDIENCE: Final = "https://datenweg.example/musterstadt"  # noqa: S105 - a name, no secret


@dataclass(frozen=True, slots=True)
class Institution:
    """What stands behind a provider's gateway, and what the city's app wants it for.

    `unlink_code`: the service by which a link ends without a consent, where there is one.
    """

    kind: InstitutionKind
    journey: Journey
    purpose_key: str
    text_de: str
    text_en: str
    unlink_code: str = ""


@dataclass(frozen=True, slots=True)
class Organisation:
    """A member with one gateway and one subsystem."""

    name: str
    member_class: str
    member_code: str
    subsystem_code: str
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
        return FILE.topology.server(self.folder)


FILE: Final = read_topology(Path(__file__).with_name("musterstadt.toml"))
INSTANCE: Final = FILE.topology.instance


def _organisation(folder: str, institution: Institution | None = None) -> Organisation:
    """The organisation behind a gateway of the file; it has one subsystem there."""
    topology = FILE.topology
    server = topology.server(folder)
    member = next(member for member in topology.members if topology.id_of(member) == server.owner)
    (subsystem,) = member.subsystems
    place = list(topology.gateways).index(folder)
    return Organisation(
        name=member.name or member.code,
        member_class=member.member_class,
        member_code=member.code,
        subsystem_code=subsystem.code,
        folder=folder,
        first_port=FIRST_GATEWAY + place * SPAN,
        institution=institution,
    )


CITY: Final = _organisation("city")
AUTHORITY: Final = _organisation(
    "authority",
    Institution(
        InstitutionKind.OZG,
        Journey.APPOINTMENTS,
        "appointments",
        "Termine beim Bürgeramt buchen und absagen.",
        "Booking and cancelling appointments at the residents' office.",
    ),
)
UTILITY: Final = _organisation(
    "utility",
    Institution(
        InstitutionKind.STADTWERKE,
        Journey.UTILITY,
        "bills",
        "Ihre Rechnungen in der Musterstadt-App anzeigen.",
        "Showing your bills in the Musterstadt app.",
    ),
)
BANK: Final = _organisation(
    "bank",
    Institution(
        InstitutionKind.SPARKASSE,
        Journey.BANK,
        "balance",
        "Ihren Kontostand in der Musterstadt-App anzeigen.",
        "Showing your account balance in the Musterstadt app.",
        unlink_code="verknuepfung",
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
