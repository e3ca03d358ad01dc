"""Sets the city up in its folder: the instance of its topology file, and what stands beside the road.

The instance is `gateway.instance`'s business. Added here: what each adapter's description declares to citizens, the
issuer, adapters and sandboxes, the citizens' pages and what they know of services and logs. Doing it again changes
nothing that matters, so a second start finds keys, logs, links and registrations as they were; addresses follow the
base port.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from adapters.kit.entries import Entry, Kind
from audit.note import NoteSigner
from gateway.city.plan import (
    BANK,
    CITY,
    FILE,
    INSTANCE,
    ORGANISATIONS,
    PROVIDERS,
    TOKEN_AUDIENCE,
    UTILITY,
    Organisation,
    Plan,
)
from gateway.clock import Clock
from gateway.exchange.origins import origin_of
from gateway.instance.plan import HOST, SHUTDOWN_SECONDS, TESTCA, InstancePlan, build_plan
from gateway.instance.reading import TopologyFile
from gateway.instance.settings_files import to_toml, toml_literal
from gateway.instance.setup import prepare as prepare_instance
from gateway.instance.topology import Declaration, Member
from gateway.node_keys import load_log_key
from gateway.settings import AdapterSettings, GatewaySettings, IssuerSettings, SandboxSettings, Settings
from gateway.store.model import LegalBasisKind, RequiredIdentityLevel

ISSUER: Final = "issuer"


@lru_cache(maxsize=8)
def instance_plan(plan: Plan) -> InstancePlan:
    """The city's part of the road: the topology file, its services where this plan has the adapters."""
    members = tuple(_with_adapters(plan, member) for member in FILE.topology.members)
    topology = FILE.topology.model_copy(update={"members": members})
    return build_plan(TopologyFile(topology, FILE.path), plan.data_directory, plan.base_port)


def _with_adapters(plan: Plan, member: Member) -> Member:
    identifier = FILE.topology.id_of(member)
    organisation = next(known for known in ORGANISATIONS if known.member == identifier)
    if organisation.institution is None:
        return member
    url, declaration = plan.url(plan.adapter_port(organisation)), _declaration(organisation)
    subsystems = (
        part.model_copy(
            update={
                # What the file declares itself stays.
                "services": tuple(
                    service.model_copy(update={"url": url, "declaration": service.declaration or declaration})
                    for service in part.services
                )
            }
        )
        for part in member.subsystems
    )
    return member.model_copy(update={"subsystems": tuple(subsystems)})


def _declaration(organisation: Organisation) -> Declaration:
    description = _entry(organisation).description()
    return Declaration(
        title_de=description.title.de,
        title_en=description.title.en,
        purpose_de=description.purpose.de,
        purpose_en=description.purpose.en,
        legal_basis_kind=LegalBasisKind(description.legal_basis_kind),
        legal_basis=description.legal_basis,
        data_categories=description.data_categories,
        identity_level=RequiredIdentityLevel(description.identity_level),
    )


def all_settings(plan: Plan) -> dict[str, Settings]:
    """The settings of every node by its name."""
    settings = instance_plan(plan).all_settings()
    settings[CITY.folder] = gateway_settings(plan, CITY)
    settings[ISSUER] = IssuerSettings(
        instance=INSTANCE,
        data_directory=plan.folder(ISSUER),
        issuer_url=plan.issuer_url,
        token_audience=TOKEN_AUDIENCE,
        redirect_uris=(f"{plan.citizen_url}/login/callback",),
        logout_url=f"{plan.citizen_url}/login/backchannel",
        app_client_id="citizen-app",
        app_redirect_uris=("http://127.0.0.1/callback",),
        host=HOST,
        port=plan.issuer_port,
        shutdown_seconds=SHUTDOWN_SECONDS,
    )
    for organisation in PROVIDERS:
        institution = organisation.institution
        assert institution is not None
        origin = plan.url(plan.sandbox_port(organisation))
        settings[f"{organisation.folder}-adapter"] = AdapterSettings(
            kind=institution.kind,
            data_directory=plan.folder(f"{organisation.folder}-adapter"),
            backend_url=_entry(organisation).backend_url(origin),
            host=HOST,
            port=plan.adapter_port(organisation),
            # In Musterstadt landlords get their certificates where members do.
            document_authorities=plan.folder(TESTCA) / "root.crt",
            shutdown_seconds=SHUTDOWN_SECONDS,
        )
        settings[f"{organisation.folder}-sandbox"] = SandboxSettings(
            kind=institution.kind, host=HOST, port=plan.sandbox_port(organisation), shutdown_seconds=SHUTDOWN_SECONDS
        )
    return settings


def gateway_settings(plan: Plan, organisation: Organisation) -> GatewaySettings:
    """The settings of one organisation's gateway; the city's serves the citizens' pages, too."""
    settings = instance_plan(plan).gateway_settings(organisation.folder)
    if organisation is not CITY:
        return settings
    pages: dict[str, Any] = {
        "token_issuer": plan.issuer_url,
        "token_audience": TOKEN_AUDIENCE,
        "pseudonym_key_file": plan.folder(CITY.folder) / "keys" / "pseudonym.key",
        "citizen_host": HOST,
        "citizen_port": plan.citizen_port,
        "citizen_url": plan.citizen_url,
        "citizen_client": CITY.subsystem.encoded,
        "citizen_purposes_file": plan.data_directory / "purposes.toml",
        "citizen_consent_declarants": (BANK.subsystem.encoded, UTILITY.subsystem.encoded),
    }
    return settings.model_copy(update=pages)


async def prepare(plan: Plan, clock: Clock) -> dict[str, Settings]:
    """The city on disk, ready to start. Raises NotATestInstance, KeyUnavailable and the registry's errors."""
    # What institutions registered in a running city stays.
    await prepare_instance(instance_plan(plan), clock, exact=False)
    settings = all_settings(plan)
    settings[CITY.folder] = settings[CITY.folder].model_copy(update={"citizen_log_keys": _log_keys(plan, clock)})
    (plan.data_directory / "purposes.toml").write_text(_purposes(), "utf-8")
    for name, node in settings.items():
        plan.settings_file(name).write_text(to_toml(node), "utf-8")
    return settings


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


def service_code(organisation: Organisation) -> str:
    """The code of the institution's one service."""
    return _entry(organisation).description().service_code


def _entry(organisation: Organisation) -> Entry:
    assert organisation.institution is not None
    return Entry(Kind(organisation.institution.kind))


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
            "storage_location": "Deutschland",
        }
        if institution.unlink_code:
            values["unlink_service"] = f"{organisation.subsystem.encoded}/{institution.unlink_code}"
        tables.append("[[purpose]]\n" + "".join(f"{name} = {toml_literal(value)}\n" for name, value in values.items()))
    return "\n".join(tables)
