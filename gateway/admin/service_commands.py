"""`datenweg service`: what an institution types to offer services over the road, with or without declarations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gateway.admin import services
from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.admin.services import RefreshReport, ServiceOptions
from gateway.admin.terminal import Code, GatewayConfig, Provider, subsystem_of, with_repository
from gateway.settings import GatewaySettings
from gateway.store.model import Service, format_right_subject
from gateway.store.repository import Repository

service_commands = typer.Typer(
    help="Services of a gateway's subsystems: WSDL, OpenAPI and plain REST.", no_args_is_help=True
)

Timeout = Annotated[float | None, typer.Option(help="Seconds that the gateway waits for the service.")]
PlainHTTP = Annotated[bool, typer.Option("--insecure-plain-http", help="Allow http:// to another machine.")]
Whole = Annotated[
    bool, typer.Option("--whole-description", help="The same for all services of the same WSDL or OpenAPI document.")
]


@service_commands.command("list")
def list_services(config: GatewayConfig) -> None:
    """The services of this gateway."""
    found = with_repository(GatewaySettings.from_file(config), lambda repository: repository.services())
    _print(found)


@service_commands.command("add")
def add_service(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: GatewayConfig,
    provider: Provider,
    wsdl: Annotated[str, typer.Option(metavar="URL|FILE", help="WSDL 1.1: a service for each operation.")] = "",
    openapi: Annotated[str, typer.Option(metavar="URL|FILE", help="OpenAPI 3: a service with its endpoints.")] = "",
    code: Annotated[str, typer.Option(help="The service's code (not with --wsdl, which has its own).")] = "",
    url: Annotated[str, typer.Option(help="Where the gateway reaches the service; default: as described.")] = "",
    timeout: Timeout = None,
    verify_tls: Annotated[
        bool,
        typer.Option(
            "--verify-tls/--insecure-no-verify-tls",
            help="Whether an https service must show one of the subsystem's certificates.",
        ),
    ] = True,
    insecure_plain_http: PlainHTTP = False,
) -> None:
    """Offer a service as X-Road has them; nothing is declared to citizens (`datenweg adapter register` does that)."""
    settings = GatewaySettings.from_file(config)
    subsystem = subsystem_of(provider, "--provider")
    if subsystem.instance != settings.instance:
        raise AdminError(f"--provider belongs to another instance than this gateway ({settings.instance})")
    if wsdl and (openapi or code):
        raise AdminError("--wsdl brings the codes of its operations: leave out --code and --openapi")
    if not wsdl and not code:
        raise AdminError("give --wsdl, or a --code with --openapi or --url")
    options = ServiceOptions(url, timeout, verify_tls, insecure_plain_http)

    async def add(repository: Repository) -> tuple[Service, ...]:
        if wsdl:
            return await services.add_wsdl(repository, subsystem, wsdl, options)
        if openapi:
            service, warnings = await services.add_openapi(repository, subsystem, code, openapi, options)
            for warning in warnings:
                typer.echo(f"warning: {warning}", err=True)
            return (service,)
        return (await services.add_rest(repository, subsystem, code, options),)

    _print(with_repository(settings, add))


@service_commands.command("refresh")
def refresh_service(
    config: GatewayConfig,
    provider: Provider,
    code: Code,
    source: Annotated[str, typer.Option(metavar="URL|FILE", help="Where the description is now.")] = "",
    insecure_plain_http: PlainHTTP = False,
) -> None:
    """Read a service's description anew, and say what came, what went, and which rights went with it."""
    subsystem = subsystem_of(provider, "--provider")
    report, _ = with_repository(
        GatewaySettings.from_file(config),
        lambda repository: services.refresh(
            repository, subsystem, code, source=source, insecure_plain_http=insecure_plain_http
        ),
    )
    print_table(f"Refreshed from {report.source}", ("change", "what"), _report_rows(report))


@service_commands.command("enable")
def enable_service(config: GatewayConfig, provider: Provider, code: Code, whole_description: Whole = False) -> None:
    """Switch a service on."""
    _change(config, provider, code, services.enable, whole_description)


@service_commands.command("disable")
def disable_service(
    config: GatewayConfig,
    provider: Provider,
    code: Code,
    notice: Annotated[str, typer.Option(help="What callers read meanwhile.")] = "",
    whole_description: Whole = False,
) -> None:
    """Switch a service off; callers with a right to it read the notice."""
    _change(config, provider, code, services.disable(notice), whole_description)


@service_commands.command("set")
def set_service(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: GatewayConfig,
    provider: Provider,
    code: Code,
    url: Annotated[str | None, typer.Option(help="Where the gateway reaches the service.")] = None,
    timeout: Timeout = None,
    verify_tls: Annotated[
        bool | None,
        typer.Option(
            "--verify-tls/--insecure-no-verify-tls",
            help="Whether an https service must show one of the subsystem's certificates.",
        ),
    ] = None,
    insecure_plain_http: PlainHTTP = False,
    whole_description: Whole = False,
) -> None:
    """Change where a service is, how long it may take, and whether its TLS certificate is verified."""
    if url is None and timeout is None and verify_tls is None:
        raise AdminError("give --url, --timeout, --verify-tls or --insecure-no-verify-tls")
    change = services.settings_change(
        url=url, timeout_seconds=timeout, verify_tls=verify_tls, insecure_plain_http=insecure_plain_http
    )
    _change(config, provider, code, change, whole_description)


@service_commands.command("remove")
def remove_service(config: GatewayConfig, provider: Provider, code: Code) -> None:
    """Remove a service in all its versions, with its endpoints and the rights to it."""
    subsystem = subsystem_of(provider, "--provider")

    async def remove(repository: Repository) -> tuple[Service, ...]:
        chosen = [s for s in await repository.services() if (s.provider, s.code) == (subsystem, code)]
        if not chosen:
            raise AdminError("--code: no such service at this gateway")
        await repository.upsert_services((), removed=[service.identifier for service in chosen])
        return await repository.services()

    _print(with_repository(GatewaySettings.from_file(config), remove))


def _change(
    config: Path, provider: str, code: str, change: Callable[[Service], Service], whole_description: bool
) -> None:
    subsystem = subsystem_of(provider, "--provider")
    _print(
        with_repository(
            GatewaySettings.from_file(config),
            lambda repository: services.change_services(
                repository, subsystem, code, change, whole_description=whole_description
            ),
        )
    )


def _report_rows(report: RefreshReport) -> list[tuple[str, str]]:
    rows = [("added", text) for text in report.added] + [("removed", text) for text in report.removed]
    for right in report.lost_rights:
        where = "" if right.endpoint.is_base else f" to {right.method} {right.path}"
        rows.append(("right lost", f"{right.service.encoded}{where}: {format_right_subject(right.subject)}"))
    return rows or [("nothing", "the description has the same operations")]


def _print(found: tuple[Service, ...]) -> None:
    print_table(
        "Services",
        ("service", "type", "address", "timeout", "TLS verified", "state"),
        [
            (
                service.identifier.encoded,
                service.service_type.value,
                service.url,
                "default" if service.timeout_seconds is None else f"{service.timeout_seconds:g} s",
                "yes" if service.verify_tls else "no",
                "enabled" if service.enabled else f"disabled: {service.disabled_notice}",
            )
            for service in found
        ],
    )
