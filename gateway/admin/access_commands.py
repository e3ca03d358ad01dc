"""`datenweg endpoint`, `group` and `right`: who may use what of a gateway's services."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.admin.registration import check_segment, parse_grants, take_rights
from gateway.admin.terminal import Code, GatewayConfig, Provider, service_of, subsystem_of, with_repository
from gateway.messages.rest import METHODS
from gateway.settings import GatewaySettings
from gateway.store.model import (
    ANY_METHOD,
    ANY_PATH,
    AccessRight,
    Endpoint,
    Group,
    NodeConfiguration,
    ServiceType,
    format_right_subject,
)
from gateway.store.repository import Repository
from trust.identifiers import SubsystemId

endpoint_commands = typer.Typer(help="Endpoints of REST services, for rights of their own.", no_args_is_help=True)
group_commands = typer.Typer(help="Local groups: subsystems that get rights together.", no_args_is_help=True)
right_commands = typer.Typer(help="Who may use which service or endpoint.", no_args_is_help=True)

_MAX_PATH: Final = 2048

Method = Annotated[str, typer.Option(help="GET, POST …; * is any.")]
PathGlob = Annotated[
    str, typer.Option("--path", help="Glob of the path after the service's code: * within a segment, ** anything.")
]
RightMethod = Annotated[str, typer.Option(help="With --path: the endpoint's method.")]
RightPath = Annotated[str, typer.Option("--path", help="The endpoint that the right is for; default: all the service.")]
Subjects = Annotated[
    list[str],
    typer.Option(
        "--subject",
        metavar="SUBJECT",
        help="INSTANCE/CLASS/MEMBER/SUBSYSTEM, GLOBALGROUP:INSTANCE/GROUP or LOCALGROUP:GROUP. Repeatable.",
    ),
]
Owner = Annotated[str, typer.Option(help="The subsystem whose group it is: INSTANCE/CLASS/MEMBER/SUBSYSTEM.")]
GroupCode = Annotated[str, typer.Option("--code", help="The group's code.")]
Members = Annotated[
    list[str] | None, typer.Option("--member", metavar="SUBSYSTEM", help="A subsystem of any instance. Repeatable.")
]


# -- endpoints --


@endpoint_commands.command("add")
def add_endpoint(config: GatewayConfig, provider: Provider, code: Code, path: PathGlob, method: Method = "*") -> None:
    """Add an endpoint to a REST service."""
    endpoint = _endpoint(provider, code, method, path)

    async def add(repository: Repository) -> None:
        if not any(
            service.key == endpoint.service and service.service_type is not ServiceType.WSDL
            for service in await repository.services()
        ):
            raise AdminError("--code: no such REST service at this gateway")
        if endpoint not in await repository.endpoints():
            await repository.add_endpoint(endpoint)

    with_repository(GatewaySettings.from_file(config), add)
    list_endpoints(config)


@endpoint_commands.command("remove")
def remove_endpoint(
    config: GatewayConfig, provider: Provider, code: Code, path: PathGlob, method: Method = "*"
) -> None:
    """Remove an endpoint with the rights to it."""
    endpoint = _endpoint(provider, code, method, path)
    with_repository(GatewaySettings.from_file(config), lambda repository: repository.remove_endpoint(endpoint))
    list_endpoints(config)


@endpoint_commands.command("list")
def list_endpoints(config: GatewayConfig) -> None:
    """The endpoints of this gateway's REST services; each service has its base endpoint besides."""
    found = with_repository(GatewaySettings.from_file(config), lambda repository: repository.endpoints())
    print_table(
        "Endpoints",
        ("service", "method", "path", "from the description"),
        [(e.service.encoded, e.method, e.path, "yes" if e.generated else "no") for e in found],
    )


def _endpoint(provider: str, code: str, method: str, path: str) -> Endpoint:
    if method != ANY_METHOD and method.upper() not in METHODS:
        raise AdminError(f"--method is * or one of {', '.join(sorted(METHODS))}")
    if not path or len(path) > _MAX_PATH or not path.isprintable() or not path.startswith(("/", "*")):
        raise AdminError("--path is a glob that begins with / or *, without control characters")
    endpoint = Endpoint(service_of(provider, code), method.upper(), path)
    if endpoint.is_base:
        raise AdminError("* ** is the base endpoint, which every service has")
    return endpoint


# -- groups --


@group_commands.command("add")
def add_group(
    config: GatewayConfig,
    owner: Owner,
    code: GroupCode,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    member: Members = None,
) -> None:
    """Add a local group, or members to one that is there."""
    settings = GatewaySettings.from_file(config)
    subsystem, members = subsystem_of(owner, "--owner"), _members(member)
    if subsystem.instance != settings.instance:
        raise AdminError(f"--owner belongs to another instance than this gateway ({settings.instance})")
    checked = check_segment(code, "--code")

    async def add(repository: Repository) -> None:
        known = [g for g in await repository.groups() if (g.owner, g.code) == (subsystem, checked)]
        if not known:
            await repository.upsert_group(Group(subsystem, checked, description, members))
            return
        if description:
            await repository.upsert_group(Group(subsystem, checked, description, known[0].members | members))
            return
        await repository.change_group(subsystem, checked, add=members)

    with_repository(settings, add)
    list_groups(config)


@group_commands.command("remove")
def remove_group(config: GatewayConfig, owner: Owner, code: GroupCode, member: Members = None) -> None:
    """Remove members from a group; without --member the group itself, with the rights that it has."""
    subsystem, members = subsystem_of(owner, "--owner"), _members(member)

    async def remove(repository: Repository) -> None:
        if members:
            await repository.change_group(subsystem, code, remove=members)
        else:
            await repository.remove_group(subsystem, code)

    with_repository(GatewaySettings.from_file(config), remove)
    list_groups(config)


@group_commands.command("members")
def list_groups(config: GatewayConfig) -> None:
    """The local groups of this gateway's subsystems and who is in them."""
    found = with_repository(GatewaySettings.from_file(config), lambda repository: repository.groups())
    print_table(
        "Groups",
        ("owner", "group", "description", "members"),
        [
            (g.owner.encoded, g.code, g.description, "\n".join(sorted(m.encoded for m in g.members)) or "nobody")
            for g in found
        ],
    )


def _members(texts: list[str] | None) -> frozenset[SubsystemId]:
    return frozenset(subsystem_of(text, "--member") for text in texts or ())


# -- rights --


@right_commands.command("grant")
def grant_right(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: GatewayConfig,
    provider: Provider,
    code: Code,
    subject: Subjects,
    method: RightMethod = ANY_METHOD,
    path: RightPath = ANY_PATH,
) -> None:
    """Let somebody use a service, in all its versions, or one endpoint of it."""
    rights = _rights(provider, code, subject, method, path)
    with_repository(GatewaySettings.from_file(config), lambda repository: repository.grant(*rights))
    list_rights(config)


@right_commands.command("revoke")
def revoke_right(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: GatewayConfig,
    provider: Provider,
    code: Code,
    subject: Subjects,
    method: RightMethod = ANY_METHOD,
    path: RightPath = ANY_PATH,
) -> None:
    """Take a right away. A right to the whole service and rights to its endpoints are taken one by one."""
    rights = _rights(provider, code, subject, method, path)
    with_repository(GatewaySettings.from_file(config), lambda repository: take_rights(repository, *rights))
    list_rights(config)


@right_commands.command("list")
def list_rights(config: GatewayConfig) -> None:
    """Who may use what at this gateway."""
    configuration: NodeConfiguration = with_repository(
        GatewaySettings.from_file(config), lambda repository: repository.load()
    )
    print_table(
        "Rights",
        ("service", "endpoint", "subject"),
        sorted(
            (
                right.service.encoded,
                "all" if right.endpoint.is_base else f"{right.method} {right.path}",
                format_right_subject(right.subject),
            )
            for right in configuration.rights
        ),
    )


def _rights(provider: str, code: str, subjects: list[str], method: str, path: str) -> tuple[AccessRight, ...]:
    service = service_of(provider, code)
    return tuple(AccessRight(service, subject, method.upper(), path) for subject in parse_grants(subjects, "--subject"))
