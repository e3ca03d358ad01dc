"""Who there is in the tests' small town: three members with a gateway each, and the provider's services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from gateway.registry import membership
from gateway.settings import GatewaySettings
from gateway.store.model import AccessRight, Client, LegalBasisKind, RequiredIdentityLevel, Service, ServiceType
from gateway.store.repository import Repository
from tests.databases import migrated
from tests.gateway.exchange.ports import HOST, free_port
from trust.identifiers import GlobalGroupId, MemberId, SecurityServerId, ServiceId, SubsystemId
from trust.keys import SoftwareKey
from trust.keystore import load_pkcs12, save_pkcs12, write_private
from trust.parameters import SharedParameters
from trust.testca.authority import CertificateAuthority

INSTANCE = "DE-TEST"
GROUP = GlobalGroupId(INSTANCE, "apps")
_PIN = "geheim"


@dataclass(frozen=True)
class Party:
    """A member with one gateway and one subsystem."""

    member_class: str
    code: str
    subsystem_code: str

    @property
    def member(self) -> MemberId:
        return MemberId(INSTANCE, self.member_class, self.code)

    @property
    def subsystem(self) -> SubsystemId:
        return SubsystemId(INSTANCE, self.member_class, self.code, self.subsystem_code)

    @property
    def server(self) -> SecurityServerId:
        return SecurityServerId(self.member, "ss1")


CITY = Party("GOV", "MUSTERSTADT", "app")
UTILITY = Party("COM", "STADTWERKE", "kundenservice")
# A member like any other, whose gateway does not play by the rules.
ROGUE = Party("COM", "FALSCHSPIEL", "dienst")
APP = CITY.subsystem
# Registered at the city's gateway, but without any right.
GUEST = SubsystemId(INSTANCE, "GOV", "MUSTERSTADT", "gast")
# The member's own subsystem, in the gateway's store, but not registered at this gateway.
STRAY = SubsystemId(INSTANCE, "GOV", "MUSTERSTADT", "verirrt")
ROGUE_SERVICE = ServiceId(ROGUE.subsystem, "auskunft")


def service(code: str) -> ServiceId:
    """A service of the utility."""
    return ServiceId(UTILITY.subsystem, code)


def path_of(identifier: ServiceId, rest: str = "") -> str:
    """The REST path of a service."""
    return f"/r1/{identifier.encoded}{rest}"


def service_at(code: str, url: str, **changes: object) -> Service:
    values: dict[str, object] = {
        "provider": UTILITY.subsystem,
        "code": code,
        "service_type": ServiceType.REST,
        "url": url,
        "title_de": "Auskunft",
        "title_en": "Information",
        "purpose_de": "Auskunft geben",
        "purpose_en": "Giving information",
        "legal_basis_kind": LegalBasisKind.LAW,
        "legal_basis": "§ 1 MusterG",
        "data_categories": ("Vertragsdaten",),
    }
    return Service(**(values | changes))  # type: ignore[arg-type]


def services(url: str) -> list[Service]:
    """The utility's services; `url` is where its backend listens."""
    return [
        service_at("echo", url),
        service_at("gruppe", url),
        service_at("ohne-recht", url),
        service_at("aus", url, enabled=False, disabled_notice="Wartung bis Montag"),
        service_at("wsdl", url, service_type=ServiceType.WSDL),
        *soap_services(url),
        service_at("hoch", url, identity_level=RequiredIdentityLevel.HIGH),
        service_at("konto", url, legal_basis_kind=LegalBasisKind.CONSENT, legal_basis="Art. 6 Abs. 1 lit. a DSGVO"),
        service_at("tot", f"http://{HOST}:{free_port()}/dienst"),
        service_at("langsam", url, timeout_seconds=0.3),
        service_at("falsche-adresse", "gopher://127.0.0.1/dienst"),
    ]


def soap_services(url: str) -> list[Service]:
    """The utility's SOAP services; what they answer is for `Backend.soap` to say."""
    soap, dead = f"{url}/soap", f"http://{HOST}:{free_port()}/soap"
    return [
        service_at("auskunft", soap, service_type=ServiceType.WSDL, version="v1"),
        service_at("auskunftHoch", soap, service_type=ServiceType.WSDL, identity_level=RequiredIdentityLevel.HIGH),
        service_at("auskunftAus", soap, service_type=ServiceType.WSDL, enabled=False, disabled_notice="bis Montag"),
        service_at("auskunftTot", dead, service_type=ServiceType.WSDL),
        service_at("auskunftLangsam", soap, service_type=ServiceType.WSDL, timeout_seconds=0.3),
        service_at("auskunftOhneAdresse", "", service_type=ServiceType.WSDL),
        service_at("auskunftFalscheAdresse", "gopher://127.0.0.1/", service_type=ServiceType.WSDL),
        service_at("auskunftFremd", "http://dienst.invalid/soap", service_type=ServiceType.WSDL),
    ]


async def fill_store(settings: GatewaySettings, clients: list[SubsystemId], offered: list[Service]) -> None:
    """The gateway's own configuration, as its operator would enter it."""
    async with migrated(settings.database_url) as engine:
        repository = Repository(engine)
        for client in clients:
            await repository.upsert_client(Client(client))
        for entry in offered:
            rights = [] if entry.code == "ohne-recht" else [AccessRight(entry.identifier, APP)]
            if entry.code == "gruppe":
                rights = [AccessRight(entry.identifier, GROUP)]
            await repository.upsert_service(entry, grant_to=rights)


def issue_keys(
    folder: Path, party: Party, authority: CertificateAuthority, *, rsa: bool = False
) -> tuple[SoftwareKey, SoftwareKey]:
    """The gateway's signing and authentication keys, on disk below `folder`; with `rsa` as most security servers'."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(keys / "pin", _PIN.encode())
    issues: tuple[tuple[str, Callable[..., x509.Certificate]], ...] = (
        ("signing", authority.issue_signing),
        ("authentication", authority.issue_authentication),
    )
    for name, issue in issues:
        key = generate_private_key(65537, 2048) if rsa else ec.generate_private_key(ec.SECP256R1())
        certificate = issue(
            key.public_key(), party.member, member_name=party.code.capitalize(), server_code=party.server.server_code
        )
        save_pkcs12(keys / f"{name}.p12", key, certificate, (), _PIN)
    return load_pkcs12(keys / "signing.p12", _PIN), load_pkcs12(keys / "authentication.p12", _PIN)


def registrations(
    authority: CertificateAuthority, ocsp_url: str, gateways: dict[Party, tuple[int, bytes]]
) -> Callable[[SharedParameters], SharedParameters]:
    """The town as one change of the registry's state. `gateways`: each party's peer port and TLS certificate."""

    def change(parameters: SharedParameters) -> SharedParameters:
        for code in ("GOV", "COM"):
            parameters = membership.add_member_class(parameters, code, code)
        parameters = membership.approve_ca(parameters, authority.approved_ca(ocsp_url))
        parameters = reduce(add, gateways, parameters)
        for subsystem in (GUEST, STRAY):
            parameters = membership.add_subsystem(parameters, subsystem, subsystem.subsystem_code)
        parameters = membership.register_client(parameters, CITY.server, GUEST)
        return membership.set_group(parameters, GROUP.group_code, "Apps", [APP])

    def add(parameters: SharedParameters, party: Party) -> SharedParameters:
        port, certificate = gateways[party]
        parameters = membership.add_member(parameters, party.member, party.code.capitalize())
        parameters = membership.add_subsystem(parameters, party.subsystem, party.subsystem_code)
        parameters = membership.register_server(parameters, party.server, f"{HOST}:{port}")
        parameters = membership.register_certificate(parameters, party.server, certificate)
        return membership.register_client(parameters, party.server, party.subsystem)

    return change
