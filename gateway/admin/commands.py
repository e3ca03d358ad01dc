"""What an institution types: register a service, grant and take access, name the clients of its gateway.

Each command takes the gateway's settings file, works on the gateway's database and prints what is so afterwards. The
rules are in `gateway.admin.registration`; a running gateway follows within `store_poll_seconds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from gateway.admin.errors import AdminError
from gateway.admin.registration import Declaration, check_declaration, parse_grants, register
from gateway.settings import GatewaySettings
from gateway.store.model import (
    AccessRight,
    Client,
    ConnectionType,
    LegalBasisKind,
    RequiredIdentityLevel,
    format_right_subject,
)
from gateway.store.repository import Repository, UnknownService
from trust.identifiers import InvalidIdentifier, ServiceId, parse_client_id, parse_subsystem_id

_Result = TypeVar("_Result")

GatewayConfig = Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with the gateway's settings.")]
Provider = Annotated[str, typer.Option(help="The providing subsystem: INSTANCE/CLASS/MEMBER/SUBSYSTEM.")]
Code = Annotated[str, typer.Option(help="The service's code.")]
Grants = Annotated[
    list[str] | None,
    typer.Option(
        "--grant", metavar="SUBSYSTEM", help="Who may use it; GLOBALGROUP:INSTANCE/GROUP for a group. Repeatable."
    ),
]

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
        openapi=_read(openapi),
        wsdl=_read(wsdl),
        timeout_seconds=timeout,
        insecure_plain_http=insecure_plain_http,
    )
    registration = check_declaration(declaration, instance=settings.instance)
    _with_repository(settings, lambda repository: register(repository, registration))
    service = registration.service
    _print_table(
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
    configuration = _with_repository(GatewaySettings.from_file(config), lambda repository: repository.load())
    granted: dict[ServiceId, list[str]] = {}
    for right in configuration.rights:
        granted.setdefault(right.service, []).append(format_right_subject(right.subject))
    _print_table(
        "Services",
        ("service", "type", "legal basis", "identity level", "enabled", "granted to"),
        [
            (
                service.identifier.encoded,
                service.service_type.value,
                service.legal_basis_kind.value,
                service.identity_level.value,
                "yes" if service.enabled else "no",
                "\n".join(sorted(granted.get(service.identifier, ()))) or "nobody",
            )
            for service in configuration.services
        ],
    )


def grant_access(config: GatewayConfig, provider: Provider, code: Code, grant: Grants = None) -> None:
    """Let subsystems or global groups use a service."""
    _change_rights(config, provider, code, grant, Repository.grant)


def revoke_access(config: GatewayConfig, provider: Provider, code: Code, grant: Grants = None) -> None:
    """Take access away."""
    _change_rights(config, provider, code, grant, Repository.revoke)


@client_commands.command("add")
def add_client(
    config: GatewayConfig,
    identifier: Annotated[str, typer.Option(help="INSTANCE/CLASS/MEMBER[/SUBSYSTEM].")],
    connection_type: Annotated[
        ConnectionType, typer.Option(help="How its systems connect; HTTPS pins certificates.")
    ] = ConnectionType.HTTP,
    certificate: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Certificate of a client system, PEM or DER. Repeatable."),
    ] = None,
) -> None:
    """Serve a member or subsystem at this gateway, or change how it connects."""
    settings = GatewaySettings.from_file(config)
    try:
        client_id = parse_client_id(identifier)
    except InvalidIdentifier as error:
        raise AdminError(f"--identifier: {error}") from None
    if client_id.instance != settings.instance:
        raise AdminError(f"--identifier belongs to another instance than this gateway ({settings.instance})")
    certificates = frozenset(map(_read_certificate, certificate or ()))
    if (connection_type is ConnectionType.HTTPS) != bool(certificates):
        raise AdminError("--connection-type HTTPS and --certificate go together")
    client = Client(client_id, connection_type, certificates=certificates)
    _with_repository(settings, lambda repository: repository.upsert_client(client))
    list_clients(config)


@client_commands.command("list")
def list_clients(config: GatewayConfig) -> None:
    """The members and subsystems that this gateway serves."""
    clients = _with_repository(GatewaySettings.from_file(config), lambda repository: repository.clients())
    _print_table(
        "Clients",
        ("client", "connection", "enabled"),
        [(c.identifier.encoded, c.connection_type.value, "yes" if c.enabled else "no") for c in clients],
    )


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
    try:
        service = ServiceId(parse_subsystem_id(provider), code)
    except InvalidIdentifier as error:
        raise AdminError(f"--provider is INSTANCE/CLASS/MEMBER/SUBSYSTEM: {error}") from None

    async def apply(repository: Repository) -> None:
        for subject in subjects:
            await change(repository, AccessRight(service, subject))

    _with_repository(GatewaySettings.from_file(config), apply)
    list_services(config)


def _with_repository(settings: GatewaySettings, work: Callable[[Repository], Awaitable[_Result]]) -> _Result:
    # Loaded here: Alembic, SQLAlchemy's engine and the audit log take their time, and `--help` needs none of them.
    from audit.store import open_engine
    from gateway.store.migrate import migrate

    async def main() -> _Result:
        settings.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = open_engine(settings.database_url)
        try:
            await migrate(engine)
            return await work(Repository(engine))
        except UnknownService as error:
            raise AdminError(f"{error}: register it first") from None
        finally:
            await engine.dispose()

    return asyncio.run(main())


def _read_certificate(path: Path) -> bytes:
    data = _read(path) or b""
    try:
        parse = load_pem_x509_certificate if data.startswith(b"-----") else load_der_x509_certificate
        return parse(data).public_bytes(Encoding.DER)
    except ValueError:
        raise AdminError(f"--certificate: {path} holds no certificate") from None


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None


def _print_table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not markup: what institutions declare is never an instruction to the terminal.
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)
