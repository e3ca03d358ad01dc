"""`datenweg registry class|member|server|group|authority`: who is on the road, as the registry's operator decides it.

Each command changes the registry's state and says so in one line; a running registry publishes a new configuration
within a second. The rules are in `gateway.registry.membership`. What is registered is shown by `datenweg configuration
show` of the registry's file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from gateway.admin.errors import AdminError
from gateway.admin.registry import RegistryConfig
from gateway.admin.terminal import read_certificate
from gateway.settings import RegistrySettings
from trust.identifiers import (
    ClientId,
    InvalidIdentifier,
    SecurityServerId,
    SubsystemId,
    parse_client_id,
    parse_security_server_id,
)
from trust.parameters import PROFILE_BASIC, ApprovedCA, ApprovedTSA

if TYPE_CHECKING:
    from gateway.registry.state import Change
    from trust.parameters import SharedParameters

class_commands = typer.Typer(help="Classes of members.", no_args_is_help=True)
member_commands = typer.Typer(help="Members and their subsystems.", no_args_is_help=True)
server_commands = typer.Typer(help="Gateways, their certificates and clients.", no_args_is_help=True)
global_group_commands = typer.Typer(help="Global groups, which gateways give rights to.", no_args_is_help=True)
authority_commands = typer.Typer(help="Certification and time-stamping authorities.", no_args_is_help=True)

ClientArgument = Annotated[
    str, typer.Argument(metavar="CLIENT", help="INSTANCE/CLASS/MEMBER, or INSTANCE/CLASS/MEMBER/SUBSYSTEM.")
]
ServerArgument = Annotated[str, typer.Argument(metavar="SERVER", help="INSTANCE/CLASS/OWNER/CODE.")]
CertificateFile = Annotated[Path, typer.Argument(metavar="FILE", help="Its certificate, PEM or DER.")]
Remove = Annotated[bool, typer.Option("--remove", help="Take it back instead.")]


def register_registry_commands(registry_app: typer.Typer) -> None:
    """Adds these commands to `datenweg registry`."""
    registry_app.add_typer(class_commands, name="class")
    registry_app.add_typer(member_commands, name="member")
    registry_app.add_typer(server_commands, name="server")
    registry_app.add_typer(global_group_commands, name="group")
    registry_app.add_typer(authority_commands, name="authority")


@class_commands.command("add")
def add_class(
    config: RegistryConfig,
    code: Annotated[str, typer.Argument(metavar="CODE", help="The class, e.g. GOV.")],
    description: Annotated[str, typer.Option(help="What it is for.")],
) -> None:
    """Add a class of members, or change its description."""
    from gateway.registry import membership

    _update(config, lambda parameters: membership.add_member_class(parameters, code, description))
    typer.echo(f"member class {code}: {description}")


@member_commands.command("add")
def add_member(
    config: RegistryConfig, client: ClientArgument, name: Annotated[str, typer.Option(help="Its name, for people.")]
) -> None:
    """Register a member, or a subsystem of one, or change its name."""
    from gateway.registry import membership

    identifier = _client(client)
    if isinstance(identifier, SubsystemId):
        _update(config, partial(membership.add_subsystem, subsystem=identifier, name=name))
    else:
        _update(config, partial(membership.add_member, member=identifier, name=name))
    typer.echo(f"{identifier}: {name}")


@member_commands.command("remove")
def remove_member(config: RegistryConfig, client: ClientArgument) -> None:
    """Remove a member with its subsystems, or one subsystem: off every gateway, and out of every group."""
    from gateway.registry import membership

    identifier = _client(client)
    if isinstance(identifier, SubsystemId):
        _remove(config, partial(membership.remove_subsystem, subsystem=identifier))
    else:
        _remove(config, partial(membership.remove_member, member=identifier))
    typer.echo(f"{identifier}: removed")


@server_commands.command("add")
def add_server(
    config: RegistryConfig,
    server: ServerArgument,
    address: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Where the other gateways reach it.")],
) -> None:
    """Register a gateway of a member, or change its address."""
    from gateway.registry import membership

    identifier = _server(server)
    _check_address(address)
    _update(config, partial(membership.register_server, server=identifier, address=address))
    typer.echo(f"{identifier}: at {address}")


@server_commands.command("remove")
def remove_server(config: RegistryConfig, server: ServerArgument) -> None:
    """Remove a gateway with its certificates and the registrations of its clients."""
    from gateway.registry import membership

    identifier = _server(server)
    _remove(config, partial(membership.remove_server, server=identifier))
    typer.echo(f"{identifier}: removed")


@server_commands.command("certificate")
def change_certificate(
    config: RegistryConfig, server: ServerArgument, file: CertificateFile, *, remove: Remove = False
) -> None:
    """Register an authentication certificate of a gateway: peers accept it from the next configuration on."""
    from gateway.registry import membership

    identifier, der = _server(server), read_certificate(file)
    _register(
        config,
        f"{identifier}: certificate",
        partial(membership.register_certificate, server=identifier, der=der),
        back=partial(membership.remove_certificate, server=identifier, der=der) if remove else None,
    )


@server_commands.command("client")
def change_client(
    config: RegistryConfig, server: ServerArgument, client: ClientArgument, *, remove: Remove = False
) -> None:
    """Register a member or subsystem at a gateway, which then speaks for it."""
    from gateway.registry import membership

    identifier, served = _server(server), _client(client)
    _register(
        config,
        f"{identifier}: {served}",
        partial(membership.register_client, server=identifier, client=served),
        back=partial(membership.remove_client, server=identifier, client=served) if remove else None,
    )


@server_commands.command("maintenance")
def set_maintenance(
    config: RegistryConfig,
    server: ServerArgument,
    *,
    notice: Annotated[str | None, typer.Option(help="What callers read meanwhile.")] = None,
    end: Annotated[bool, typer.Option("--end", help="Back to work.")] = False,
) -> None:
    """Put a gateway into maintenance with a notice, or end it."""
    from gateway.registry import membership

    if (notice is None) is not end:
        raise AdminError("either --notice or --end")
    identifier = _server(server)
    _update(config, partial(membership.set_maintenance, server=identifier, notice=notice))
    typer.echo(f"{identifier}: {'back to work' if notice is None else f'under maintenance: {notice}'}")


@global_group_commands.command("set")
def set_group(
    config: RegistryConfig,
    code: Annotated[str, typer.Argument(metavar="CODE", help="The group's code.")],
    description: Annotated[str, typer.Option(help="What it is for.")],
    member: Annotated[
        list[str] | None, typer.Option("--member", metavar="CLIENT", help="A member or subsystem in it. Repeatable.")
    ] = None,
) -> None:
    """A global group with exactly these members."""
    from gateway.registry import membership

    members = [_client(text) for text in member or ()]
    _update(config, lambda parameters: membership.set_group(parameters, code, description, members))
    typer.echo(f"global group {code}: {len(members)} members")


@global_group_commands.command("remove")
def remove_group(
    config: RegistryConfig, code: Annotated[str, typer.Argument(metavar="CODE", help="The group's code.")]
) -> None:
    """Remove a global group: rights that it has at gateways open nothing any more."""
    from gateway.registry import membership

    _remove(config, lambda parameters: membership.remove_group(parameters, code))
    typer.echo(f"global group {code}: removed")


@authority_commands.command("approve")
def approve_authority(  # noqa: PLR0917 - typer reads the options of a command from its parameters
    config: RegistryConfig,
    file: CertificateFile,
    name: Annotated[str, typer.Option(help="Its name, for people.")],
    ocsp: Annotated[
        list[str] | None, typer.Option("--ocsp", metavar="URL", help="A responder of its. Repeatable.")
    ] = None,
    responder: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A certificate that signs its OCSP answers without its leave. Repeatable."),
    ] = None,
    intermediate: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="An authority below it that issues, too. Repeatable.")
    ] = None,
    profile: Annotated[str, typer.Option(help="How its certificates name members: X-Road's class.")] = PROFILE_BASIC,
    time_stamping: Annotated[
        str | None, typer.Option("--time-stamping", metavar="URL", help="It stamps times there, and issues nothing.")
    ] = None,
) -> None:
    """Approve a certification authority, or with --time-stamping a time-stamping authority."""
    from gateway.registry import membership
    from trust.profiles import PROFILES

    der = read_certificate(file)
    if time_stamping is not None:
        stamper = ApprovedTSA(name, _url(time_stamping, "--time-stamping"), der)
        _update(config, partial(membership.approve_tsa, authority=stamper))
    else:
        if profile not in PROFILES:
            raise AdminError(f"--profile is one of {', '.join(sorted(PROFILES))}")
        if not ocsp:
            raise AdminError("name at least one --ocsp: without a responder no certificate of it is ever good")
        authority = ApprovedCA(
            name,
            der,
            intermediates=tuple(map(read_certificate, intermediate or ())),
            ocsp_urls=tuple(_url(text, "--ocsp") for text in ocsp),
            ocsp_responders=tuple(map(read_certificate, responder or ())),
            profile=profile,
        )
        _update(config, partial(membership.approve_ca, authority=authority))
    typer.echo(f"{name}: approved")


@authority_commands.command("revoke")
def revoke_authority(config: RegistryConfig, file: CertificateFile) -> None:
    """End the approval of an authority: what it issues or stamps counts no more."""
    from gateway.registry import membership

    der = read_certificate(file)
    _remove(config, lambda parameters: membership.revoke_tsa(membership.revoke_ca(parameters, der), der))
    typer.echo("approval ended")


def _register(config: Path, what: str, change: Change, *, back: Change | None) -> None:
    """Makes the change, or with `back` takes it back."""
    if back is None:
        _update(config, change)
    else:
        _remove(config, back)
    typer.echo(f"{what} {'registered' if back is None else 'removed'}")


def _remove(config: Path, change: Change) -> None:
    """As `_update`; what changes nothing was mistyped."""

    def checked(parameters: SharedParameters) -> SharedParameters:
        after = change(parameters)
        if after == parameters:
            raise AdminError("nothing to remove: look at what is registered with `datenweg configuration show`")
        return after

    _update(config, checked)


def _update(config: Path, change: Change) -> None:
    from gateway.clock import SystemClock
    from gateway.registry.membership import RegistrationRefused
    from gateway.registry.node import Registry

    registry = Registry(RegistrySettings.from_file(config), SystemClock())
    try:
        registry.state.update(change)
    except RegistrationRefused as error:
        raise AdminError(str(error)) from None


def _client(text: str) -> ClientId:
    try:
        return parse_client_id(text)
    except InvalidIdentifier as error:
        raise AdminError(f"CLIENT is INSTANCE/CLASS/MEMBER, or INSTANCE/CLASS/MEMBER/SUBSYSTEM: {error}") from None


def _server(text: str) -> SecurityServerId:
    try:
        return parse_security_server_id(text)
    except InvalidIdentifier as error:
        raise AdminError(f"SERVER is INSTANCE/CLASS/OWNER/CODE: {error}") from None


def _check_address(text: str) -> None:
    try:
        parts = urlsplit(f"//{text}")
        whole = parts.netloc == text and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not text.isprintable() or " " in text:
        raise AdminError("--address is HOST or HOST:PORT")


def _url(text: str, option: str) -> str:
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable() and " " not in text
    except ValueError:
        whole = False
    if not whole:
        raise AdminError(f"{option} is an http(s) address")
    return text
