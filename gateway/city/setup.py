"""Sets the city up in its folder: authority, keys, certificates, registrations, settings.

Doing it again changes nothing that matters, so a second start finds keys, logs and links as they were; addresses
follow the base port.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.kit.entries import Entry, Kind
from audit.note import NoteSigner
from audit.store import open_engine
from gateway.admin.registration import Declaration, check_declaration, register
from gateway.city.plan import (
    BANK,
    CITY,
    HOST,
    INSTANCE,
    MEMBER_CLASSES,
    ORGANISATIONS,
    PROVIDERS,
    TOKEN_AUDIENCE,
    Organisation,
    Plan,
)
from gateway.clock import Clock
from gateway.exchange.origins import origin_of
from gateway.node_keys import load_log_key, make_log_key
from gateway.registry import membership
from gateway.registry.node import Registry
from gateway.settings import (
    AdapterSettings,
    GatewaySettings,
    IssuerSettings,
    RegistrySettings,
    SandboxSettings,
    Settings,
    TestCASettings,
)
from gateway.store.migrate import migrate
from gateway.store.model import Client, ConnectionType, LegalBasisKind, RequiredIdentityLevel
from gateway.store.repository import Repository
from trust.keystore import load_pkcs12, read_secret, save_pkcs12, write_private
from trust.parameters import SharedParameters
from trust.testca.authority import CertificateAuthority

REGISTRY: Final = "registry"
TESTCA: Final = "testca"
ISSUER: Final = "issuer"
# Nobody waits for long for a demo to end; and less than what `gateway.city.start` gives a process.
_SHUTDOWN_SECONDS: Final = 15


def all_settings(plan: Plan) -> dict[str, Settings]:
    """The settings of every node by its name."""
    settings: dict[str, Settings] = {
        TESTCA: TestCASettings(instance=INSTANCE, data_directory=plan.folder(TESTCA), host=HOST, port=plan.testca_port),
        REGISTRY: RegistrySettings(
            instance=INSTANCE, data_directory=plan.folder(REGISTRY), host=HOST, port=plan.registry_port
        ),
        ISSUER: IssuerSettings(
            instance=INSTANCE,
            data_directory=plan.folder(ISSUER),
            issuer_url=plan.issuer_url,
            token_audience=TOKEN_AUDIENCE,
            redirect_uris=(f"{plan.citizen_url}/login/callback",),
            host=HOST,
            port=plan.issuer_port,
        ),
    }
    for organisation in ORGANISATIONS:
        settings[organisation.folder] = gateway_settings(plan, organisation)
        institution = organisation.institution
        if institution is not None:
            origin = plan.url(plan.sandbox_port(organisation))
            settings[f"{organisation.folder}-adapter"] = AdapterSettings(
                kind=institution.kind,
                data_directory=plan.folder(f"{organisation.folder}-adapter"),
                backend_url=Entry(Kind(institution.kind)).backend_url(origin),
                host=HOST,
                port=plan.adapter_port(organisation),
            )
            settings[f"{organisation.folder}-sandbox"] = SandboxSettings(
                kind=institution.kind, host=HOST, port=plan.sandbox_port(organisation)
            )
    short = {"shutdown_seconds": _SHUTDOWN_SECONDS}
    return {name: node.model_copy(update=short) for name, node in settings.items()}


def gateway_settings(plan: Plan, organisation: Organisation) -> GatewaySettings:
    """The settings of one organisation's gateway."""
    values: dict[str, Any] = {
        "instance": INSTANCE,
        "owner": organisation.member.encoded,
        "server_code": organisation.server_code,
        "data_directory": plan.folder(organisation.folder),
        "client_host": HOST,
        "client_port": plan.client_port(organisation),
        "peer_host": HOST,
        "peer_port": plan.peer_port(organisation),
        "ocsp_port": plan.ocsp_port(organisation),
        "operations_host": HOST,
        "operations_port": plan.operations_port(organisation),
        "anchor_file": plan.folder(REGISTRY) / "configuration-anchor.xml",
        "consent_authorities": (CITY.member.encoded,),
    }
    if organisation is CITY:
        values |= {
            "token_issuer": plan.issuer_url,
            "token_audience": TOKEN_AUDIENCE,
            "pseudonym_key_file": plan.folder(CITY.folder) / "keys" / "pseudonym.key",
            "citizen_host": HOST,
            "citizen_port": plan.citizen_port,
            "citizen_url": plan.citizen_url,
            "citizen_client": CITY.subsystem.encoded,
            "citizen_purposes_file": plan.data_directory / "purposes.toml",
        }
    return GatewaySettings(**values)


async def prepare(plan: Plan, clock: Clock) -> dict[str, Settings]:
    """The city on disk, ready to start. Raises NotATestInstance, KeyUnavailable and the registry's errors."""
    plan.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = all_settings(plan)
    for organisation in ORGANISATIONS:
        await _register(plan, organisation)
    settings[CITY.folder] = settings[CITY.folder].model_copy(update={"citizen_log_keys": _log_keys(plan, clock)})
    authority = CertificateAuthority.load_or_create(plan.folder(TESTCA), INSTANCE, clock=clock.now)
    certificates = {organisation: _keys(plan, organisation, authority) for organisation in ORGANISATIONS}
    registry_settings = settings[REGISTRY]
    assert isinstance(registry_settings, RegistrySettings)
    registry = Registry(registry_settings, clock)
    registry.state.update(_registrations(plan, authority, certificates))
    (plan.data_directory / "purposes.toml").write_text(_purposes(), "utf-8")
    for name, node in settings.items():
        plan.settings_file(name).write_text(to_toml(node), "utf-8")
    return settings


def _keys(plan: Plan, organisation: Organisation, authority: CertificateAuthority) -> bytes:
    """Makes the gateway's keys and certificates if there are none; its authentication certificate (DER)."""
    folder = plan.folder(organisation.folder) / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pin_file, signing, authentication = folder / "pin", folder / "signing.p12", folder / "authentication.p12"
    if not pin_file.exists():
        write_private(pin_file, secrets.token_urlsafe(24).encode())
    pin = read_secret(file=pin_file)
    for path, issue in ((signing, authority.issue_signing), (authentication, authority.issue_authentication)):
        if not path.exists():
            _issue(path, issue, organisation, pin)
    return load_pkcs12(authentication, pin).certificate_der


def _log_keys(plan: Plan, clock: Clock) -> tuple[str, ...]:
    """The keys of all gateways' logs, which the citizens' pages then hold proofs against.

    Of this year, of those before of which records exist, and of the next, so that the city lives through New Year.
    """
    this = clock.now().year
    keys = []
    for organisation in ORGANISATIONS:
        key = load_log_key(gateway_settings(plan, organisation))
        origins = (origin_of(organisation.server, year) for year in range(this - 2, this + 2))
        keys += [NoteSigner(origin, key).verifier.text for origin in origins]
    return tuple(keys)


def _issue(path: Path, issue: Callable[..., x509.Certificate], organisation: Organisation, pin: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue(
        key.public_key(), organisation.member, member_name=organisation.name, server_code=organisation.server_code
    )
    save_pkcs12(path, key, certificate, (), pin)


def _registrations(
    plan: Plan, authority: CertificateAuthority, certificates: dict[Organisation, bytes]
) -> Callable[[SharedParameters], SharedParameters]:
    """The city's members, gateways and trust services, as one change of the registry's state."""

    def change(parameters: SharedParameters) -> SharedParameters:
        for code, description in MEMBER_CLASSES:
            parameters = membership.add_member_class(parameters, code, description)
        parameters = membership.approve_ca(parameters, authority.approved_ca(plan.ocsp_url))
        parameters = membership.approve_tsa(parameters, authority.approved_tsa(plan.url(plan.testca_port) + "/tsa"))
        return reduce(add, ORGANISATIONS, parameters)

    def add(parameters: SharedParameters, organisation: Organisation) -> SharedParameters:
        server = organisation.server
        parameters = membership.add_member(parameters, organisation.member, organisation.name)
        parameters = membership.add_subsystem(parameters, organisation.subsystem, organisation.subsystem_name)
        parameters = membership.register_server(parameters, server, f"{HOST}:{plan.peer_port(organisation)}")
        parameters = membership.register_certificate(parameters, server, certificates[organisation])
        return membership.register_client(parameters, server, organisation.subsystem)

    return change


async def _register(plan: Plan, organisation: Organisation) -> None:
    """The gateway's own configuration: its client, and the institution's service with the city's right to it.

    The log's key, too: the city's pages name the keys of all logs before any gateway has started.
    """
    settings = gateway_settings(plan, organisation)
    settings.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_engine(settings.database_url)
    try:
        await migrate(engine)
        await make_log_key(settings, engine)
        repository = Repository(engine)
        await repository.upsert_client(Client(organisation.subsystem, ConnectionType.HTTP))
        if organisation.institution is not None:
            await register(repository, check_declaration(_declaration(plan, organisation), instance=INSTANCE))
    finally:
        await engine.dispose()


def _declaration(plan: Plan, organisation: Organisation) -> Declaration:
    assert organisation.institution is not None
    description = Entry(Kind(organisation.institution.kind)).description()
    return Declaration(
        provider=organisation.subsystem.encoded,
        code=description.service_code,
        url=plan.url(plan.adapter_port(organisation)),
        title_de=description.title.de,
        title_en=description.title.en,
        purpose_de=description.purpose.de,
        purpose_en=description.purpose.en,
        legal_basis_kind=LegalBasisKind(description.legal_basis_kind),
        legal_basis=description.legal_basis,
        data_categories=description.data_categories,
        identity_level=RequiredIdentityLevel(description.identity_level),
        grants=(CITY.subsystem.encoded,),
        openapi=description.document,
    )


def service_code(organisation: Organisation) -> str:
    """The code of the institution's one service."""
    assert organisation.institution is not None
    return Entry(Kind(organisation.institution.kind)).description().service_code


def _purposes() -> str:
    tables = []
    for organisation in PROVIDERS:
        institution = organisation.institution
        assert institution is not None
        values = {
            "key": institution.purpose_key,
            "service": f"{organisation.subsystem.encoded}/{service_code(organisation)}",
            "journey": institution.journey.value,
            "provider_name": organisation.name,
            "text_de": institution.text_de,
            "text_en": institution.text_en,
            "validity_days": 90 if organisation is BANK else 180,
        }
        tables.append("[[purpose]]\n" + "".join(f"{name} = {_literal(value)}\n" for name, value in values.items()))
    return "\n".join(tables)


def to_toml(settings: Settings) -> str:
    """The settings as a file that `from_file` reads back; values that are None are left out."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return "".join(f"{name} = {_literal(value)}\n" for name, value in values.items())


def _literal(value: object) -> str:
    # A JSON string, number, boolean or list of strings is a TOML one, but for DEL and surrogates, which no setting
    # holds.
    return json.dumps(value, ensure_ascii=False)
