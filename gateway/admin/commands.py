"""What an institution types: register a service, grant and take access, name the clients of its gateway.

Each command takes the gateway's settings file, works on the gateway's database and prints what is so afterwards. The
rules are in `gateway.admin.registration`; a running gateway follows within `store_poll_seconds`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.admin.registration import Declaration, Registration, check_declaration, parse_grants, register, take_rights
from gateway.admin.terminal import (
    Code,
    GatewayConfig,
    Provider,
    read_certificate,
    read_file,
    service_of,
    with_repository,
)
from gateway.settings import GatewaySettings
from gateway.store.model import (
    AccessRight,
    Client,
    ClientState,
    ConnectionType,
    LegalBasisKind,
    RequiredIdentityLevel,
    format_right_subject,
)
from gateway.store.repository import Repository
from trust.identifiers import InvalidIdentifier, ServiceId, parse_client_id

Grants = Annotated[
    list[str] | None,
    typer.Option(
        "--grant", metavar="SUBSYSTEM", help="Who may use it; GLOBALGROUP:INSTANCE/GROUP for a group. Repeatable."
    ),
]

_NOT_SERVED: Final = "--identifier: this gateway doesn't serve it"

client_commands = typer.Typer(help="The members and subsystems that a gateway serves.", no_args_is_help=True)


def register_adapter_commands(commands: typer.Typer) -> None:
    """Adds the commands to `datenweg adapter`."""
    for name, function in (("register", register_service), ("list", list_services)):
        commands.command(name)(function)
    commands.command("grant")(grant_access)
    commands.command("revoke")(revoke_access)


def register_service(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: GatewayConfig,
    provider: Provider,
    code: Code,
    url: Annotated[str, typer.Option(help="Where the gateway reaches the adapter.")],
    title_de: Annotated[str, typer.Option(help="What citizens read as its name, in German.")],
    title_en: Annotated[str, typer.Option(help="The same in English.")],
    purpose_de: Annotated[str, typer.Option(help="What the data is used for, in German.")],
    purpose_en: Annotated[str, typer.Option(help="The same in English.")],
    legal_basis_kind: Annotated[LegalBasisKind, typer.Option(help="Why the data may be used.")],
    legal_basis: Annotated[str, typer.Option(help="Law and paragraph, contract, or what is consented to.")],
    identity_level: Annotated[RequiredIdentityLevel, typer.Option(help="Lowest level of the citizen's login.")],
    openapi: Annotated[Path | None, typer.Option(metavar="FILE", help="OpenAPI 3 description, JSON or YAML.")] = None,
    wsdl: Annotated[Path | None, typer.Option(metavar="FILE", help="WSDL 1.1 description.")] = None,
    data_category: Annotated[list[str] | None, typer.Option(help="What data it gives. Repeatable.")] = None,
    grant: Grants = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that the gateway waits for the adapter.")] = None,
    insecure_plain_http: Annotated[
        bool, typer.Option("--insecure-plain-http", help="Allow http:// to another machine.")
    ] = False,
) -> None:
    """Register a service, or register it anew with changed declarations."""
    settings = GatewaySettings.from_file(config)
    declaration = Declaration(
        provider=provider,
        code=code,
        url=url,
        title_de=title_de,
        title_en=title_en,
        purpose_de=purpose_de,
        purpose_en=purpose_en,
        legal_basis_kind=legal_basis_kind,
        legal_basis=legal_basis,
        data_categories=tuple(data_category or ()),
        identity_level=identity_level,
        grants=tuple(grant or ()),
        openapi=None if openapi is None else read_file(openapi),
        wsdl=None if wsdl is None else read_file(wsdl),
        timeout_seconds=timeout,
        insecure_plain_http=insecure_plain_http,
    )
    registration = check_declaration(declaration, instance=settings.instance)
    with_repository(settings, lambda repository: register(repository, registration))
    _print_registration(registration)


def _print_registration(registration: Registration) -> None:
    service = registration.service
    print_table(
        f"Registered {service.identifier.encoded}",
        ("", ""),
        [
            ("type", service.service_type.value),
            ("address", service.url),
            ("title", f"{service.title_de} / {service.title_en}"),
            ("purpose", f"{service.purpose_de} / {service.purpose_en}"),
            ("legal basis", f"{service.legal_basis_kind.value}: {service.legal_basis}"),
            ("data", ", ".join(service.data_categories) or "none"),
            ("identity level", service.identity_level.value),
            ("operations", "\n".join(registration.operations) or "not described"),
            ("granted to", "\n".join(map(format_right_subject, registration.grants)) or "nobody yet"),
        ],
    )


def list_services(config: GatewayConfig) -> None:
    """The services of this gateway and who may use them."""
    configuration = with_repository(GatewaySettings.from_file(config), lambda repository: repository.load())
    granted: dict[ServiceId, list[str]] = {}
    for right in configuration.rights:
        endpoint = "" if right.endpoint.is_base else f" ({right.method} {right.path})"
        granted.setdefault(right.service, []).append(format_right_subject(right.subject) + endpoint)
    print_table(
        "Services",
        ("service", "type", "legal basis", "identity level", "enabled", "granted to"),
        [
            (
                service.identifier.encoded,
                service.service_type.value,
                service.legal_basis_kind.value,
                service.identity_level.value,
                "yes" if service.enabled else "no",
                "\n".join(sorted(granted.get(service.key, ()))) or "nobody",
            )
            for service in configuration.services
        ],
    )


def grant_access(config: GatewayConfig, provider: Provider, code: Code, grant: Grants = None) -> None:
    """Let subsystems or global groups use a service."""
    _change_rights(config, provider, code, grant, Repository.grant)


def revoke_access(config: GatewayConfig, provider: Provider, code: Code, grant: Grants = None) -> None:
    """Take access away."""
    _change_rights(config, provider, code, grant, take_rights)


@client_commands.command("add")
def add_client(
    config: GatewayConfig,
    identifier: Annotated[str, typer.Option(help="INSTANCE/CLASS/MEMBER, or INSTANCE/CLASS/MEMBER/SUBSYSTEM.")],
    connection_type: Annotated[
        ConnectionType, typer.Option(help="How its systems connect; HTTPS pins certificates.")
    ] = ConnectionType.HTTP,
    certificate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Certificate of one of its systems, PEM or DER: of a caller over HTTPS, of a service. Repeatable.",
        ),
    ] = None,
    state: Annotated[
        ClientState, typer.Option(help="How far its registration is; only a registered client exchanges messages.")
    ] = ClientState.REGISTERED,
) -> None:
    """Serve a member or subsystem at this gateway, or change how it connects."""
    settings = GatewaySettings.from_file(config)
    try:
        client_id = parse_client_id(identifier)
    except InvalidIdentifier as error:
        raise AdminError(f"--identifier: {error}") from None
    if client_id.instance != settings.instance:
        raise AdminError(f"--identifier belongs to another instance than this gateway ({settings.instance})")
    certificates = frozenset(map(read_certificate, certificate or ()))
    if connection_type is ConnectionType.HTTPS and not certificates:
        raise AdminError("--connection-type HTTPS needs a --certificate: nobody else could connect")
    client = Client(client_id, connection_type, state, certificates)
    with_repository(settings, lambda repository: repository.upsert_client(client))
    list_clients(config)


@client_commands.command("list")
def list_clients(config: GatewayConfig) -> None:
    """The members and subsystems that this gateway serves."""
    clients = with_repository(GatewaySettings.from_file(config), lambda repository: repository.clients())
    print_table(
        "Clients",
        ("client", "connection", "state"),
        [(c.identifier.encoded, c.connection_type.value, c.state.value) for c in clients],
    )


@client_commands.command("state")
def set_client_state(
    config: GatewayConfig,
    identifier: Annotated[str, typer.Option(help="INSTANCE/CLASS/MEMBER, or INSTANCE/CLASS/MEMBER/SUBSYSTEM.")],
    state: Annotated[ClientState, typer.Option(help="Only a registered client exchanges messages.")],
) -> None:
    """Say how far a client's registration is; `disabled` stops its exchanges, `registered` lets them pass again."""

    async def change(repository: Repository) -> None:
        for client in await repository.clients():
            if client.identifier.encoded == identifier:
                return await repository.upsert_client(replace(client, state=state))
        raise AdminError(_NOT_SERVED)

    with_repository(GatewaySettings.from_file(config), change)
    list_clients(config)


@client_commands.command("remove")
def remove_client(
    config: GatewayConfig,
    identifier: Annotated[str, typer.Option(help="INSTANCE/CLASS/MEMBER, or INSTANCE/CLASS/MEMBER/SUBSYSTEM.")],
) -> None:
    """No longer serve a member or subsystem at this gateway. Its services stay registered, and unreachable."""
    try:
        client_id = parse_client_id(identifier)
    except InvalidIdentifier as error:
        raise AdminError(f"--identifier: {error}") from None

    async def remove(repository: Repository) -> None:
        if client_id not in {client.identifier for client in await repository.clients()}:
            raise AdminError(_NOT_SERVED)
        await repository.remove_client(client_id)

    with_repository(GatewaySettings.from_file(config), remove)
    list_clients(config)


def _change_rights(
    config: Path,
    provider: str,
    code: str,
    grants: list[str] | None,
    change: Callable[[Repository, AccessRight], Awaitable[None]],
) -> None:
    subjects = parse_grants(grants or ())
    if not subjects:
        raise AdminError("name at least one --grant")
    service = service_of(provider, code)

    async def apply(repository: Repository) -> None:
        for subject in subjects:
            await change(repository, AccessRight(service, subject))

    with_repository(GatewaySettings.from_file(config), apply)
    list_services(config)
