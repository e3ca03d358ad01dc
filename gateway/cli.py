"""The command `datenweg`: starts each process of the road, and does what operators and institutions do by hand.

Commands load what they run when they run it, so that `--help` stays quick. Exit codes: 0 done, 1 it did not hold,
2 wrong use or settings.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

import gateway
from audit.errors import AuditError
from gateway.admin.access_commands import endpoint_commands, group_commands, right_commands
from gateway.admin.citizen_commands import citizen_commands
from gateway.admin.commands import client_commands, register_adapter_commands
from gateway.admin.configuration import configuration_commands
from gateway.admin.doctor import doctor
from gateway.admin.errors import AdminError
from gateway.admin.keys import key_commands
from gateway.admin.log_commands import monitor, register_access_log_commands
from gateway.admin.registry import rotate_key
from gateway.admin.registry_commands import register_registry_commands
from gateway.admin.service_commands import service_commands
from gateway.admin.verify_document import verify_document
from gateway.errors import ListenFailed, StartRefused
from gateway.logging import configure_logging
from gateway.message_log.commands import register_message_log_commands
from gateway.settings import (
    AdapterSettings,
    GatewaySettings,
    InvalidSettings,
    IssuerSettings,
    RegistrySettings,
    SandboxSettings,
    Settings,
    TestCASettings,
)
from trust.errors import TrustError

if TYPE_CHECKING:
    from aiohttp import web

_Settings = TypeVar("_Settings", bound=Settings)
_ListeningSettings = RegistrySettings | TestCASettings | IssuerSettings | SandboxSettings | AdapterSettings

app = typer.Typer(
    name="datenweg",
    help="A data-exchange gateway after Estonia's X-Road: signed, authorised, consented, and provably logged.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
adapter_app = typer.Typer(
    help="An institution's adapter: run it, or register its service at a gateway.", invoke_without_command=True
)
log_app = typer.Typer(help="The verifiable log of a gateway.", no_args_is_help=True)
registry_app = typer.Typer(
    help="The registry: run it, say who is on the road, change the key that signs the configuration.",
    invoke_without_command=True,
)
registry_app.command("rotate-key")(rotate_key)
register_registry_commands(registry_app)
app.command()(doctor)
app.command("verify-document")(verify_document)
app.add_typer(registry_app, name="registry")
app.add_typer(configuration_commands, name="configuration")
app.add_typer(adapter_app, name="adapter")
app.add_typer(client_commands, name="client")
app.add_typer(service_commands, name="service")
app.add_typer(endpoint_commands, name="endpoint")
app.add_typer(group_commands, name="group")
app.add_typer(right_commands, name="right")
app.add_typer(citizen_commands, name="citizen")
app.add_typer(key_commands, name="key")
app.add_typer(log_app, name="log")
register_adapter_commands(adapter_app)
register_message_log_commands(log_app)
register_access_log_commands(log_app)
# Whoever watches logs has none of their own.
app.command("monitor")(monitor)

ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="TOML file with the settings (docs/operations.md).")
]


@app.command()
def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Walk the journey, then stop; exit 0 if every step held.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the journey's report as JSON.")] = None,
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the city keeps its data.")] = Path("data"),
    base_port: Annotated[int, typer.Option(min=1024, max=65000, help="First of the ports in use.")] = 8000,
    processes: Annotated[bool, typer.Option("--processes", help="Each node in a process of its own.")] = False,
) -> None:
    """The embedded city Musterstadt on this machine: start it and walk a citizen's journey."""
    from gateway.city.demo import run_demo

    configure_logging("warning")
    held = run_demo(data_directory=data_dir, base_port=base_port, once=once, report=report, processes=processes)
    raise typer.Exit(0 if held else 1)


@app.command()
def instance(
    *,
    topology: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What it consists of, TOML or JSON (docs/instance.md)."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it keeps its data; default: a temporary folder.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option(metavar="PATH", help="Also write the JSON document here.")] = None,
    base_port: Annotated[
        int | None, typer.Option(min=1024, max=65000, help="First of the ports in use; default: free ones.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the file's JSON Schema, and end.")] = False,
) -> None:
    """A test instance on loopback: registry, trust services, gateways, services, rights, as one file names them."""
    from gateway.instance.reading import schema as describe

    if schema:
        print(describe(), end="")
        return
    if topology is None:
        raise typer.BadParameter("give --topology FILE", param_hint="--topology")
    from gateway.instance.run import run_instance

    configure_logging("warning")
    run_instance(topology, directory=directory, base_port=base_port, json_file=json_file)


@app.command("gateway")
def run_gateway(config: ConfigOption) -> None:
    """One gateway of the road, in its consumer and provider role."""
    settings = _load(GatewaySettings, config)
    from gateway.app import run_gateway as main
    from gateway.serve import run

    run(main(settings))


@registry_app.callback()
def registry(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with the registry's settings.")
    ] = None,
) -> None:
    """The registry: `--config FILE` runs it, publishing the signed global configuration."""
    settings = _settings_to_run(context, RegistrySettings, config)
    if settings is not None:
        from gateway.registry.app import build_app

        _serve(build_app(settings), settings)


@app.command()
def testca(config: ConfigOption) -> None:
    """The test certification authority with OCSP responder and time-stamping. Test instances only."""
    settings = _load(TestCASettings, config)
    from trust.testca.app import build_app
    from trust.testca.authority import CertificateAuthority

    authority = CertificateAuthority.load_or_create(
        settings.data_directory, settings.instance, profile=settings.certificate_profile
    )
    _serve(build_app(authority), settings)


@app.command()
def issuer(config: ConfigOption) -> None:
    """The demo's OpenID Connect issuer with invented citizens. Test instances only."""
    settings = _load(IssuerSettings, config)
    from gateway.city.issuer import NotATestInstance, build_issuer
    from gateway.city.issuer_clients import DemoIssuerSettings
    from gateway.clock import SystemClock
    from trust.keystore import read_secret

    secret = None if settings.client_secret_file is None else read_secret(file=settings.client_secret_file)
    try:
        application = build_issuer(DemoIssuerSettings.from_settings(settings, secret=secret), clock=SystemClock())
    except NotATestInstance:
        raise AdminError("the demo's issuer serves test instances only") from None
    _serve(application, settings)


@app.command()
def sandbox(config: ConfigOption) -> None:
    """The stand-in for an institution's backend."""
    settings = _load(SandboxSettings, config)
    from gateway.city.institutions import build_sandbox_app

    _serve(build_sandbox_app(settings), settings)


@adapter_app.callback()
def run_adapter(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with the adapter's settings.")
    ] = None,
) -> None:
    """An institution's adapter: `--config FILE` runs it; the commands below register services at a gateway."""
    settings = _settings_to_run(context, AdapterSettings, config)
    if settings is not None:
        from gateway.city.institutions import build_adapter_app

        _serve(build_adapter_app(settings), settings)


@log_app.command("verify")
def verify_log(config: ConfigOption) -> None:
    """Recompute a gateway's whole log: leaves, tree, chains, records, messages. Exit 0 if all of it holds."""
    settings = _load(GatewaySettings, config)
    from gateway.admin.log import print_verification

    raise typer.Exit(0 if asyncio.run(print_verification(settings)) else 1)


@app.command()
def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A container (.asice), or a ZIP archive with several of them.")
    ],
    configuration: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The instance's verification configuration: verificationconf.zip, or its folder."
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    extract: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write messages and attachments that hold there; nothing is overwritten."),
    ] = None,
) -> None:
    """Prove a signed container: who signed what and when, and that a time-stamp saw it. Needs no gateway, no network.

    Exit codes: 0 every container holds, 1 one doesn't (its code is printed), 2 wrong use.
    """
    from gateway.admin.verify import run_verification

    raise typer.Exit(0 if run_verification(file, configuration, as_json=as_json, extract=extract) else 1)


@app.command()
def version() -> None:
    """The version of this software."""
    print(f"datenweg {gateway.__version__}")


def main() -> None:
    """The entry point: errors that the operator can mend become one line and exit code 2."""
    threading.excepthook = _in_a_thread
    try:
        app(prog_name="datenweg")
    except (InvalidSettings, AdminError, StartRefused, TrustError, AuditError) as error:
        hint = f": {error.hint}" if isinstance(error, TrustError) and error.hint else ""
        print(f"datenweg: {error}{hint}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        from gateway.refusals import operator_line

        line = operator_line(error)
        if line is None:
            raise
        print(f"datenweg: {line}", file=sys.stderr)
        raise SystemExit(2) from None


def _in_a_thread(failure: threading.ExceptHookArgs) -> None:
    # aiosqlite's thread, whose file could not be opened, tells a loop that is gone that it has stopped.
    if str(failure.exc_value) != "Event loop is closed":
        threading.__excepthook__(failure)


def _load(kind: type[_Settings], config: Path) -> _Settings:
    settings = kind.from_file(config)
    configure_logging(settings.log_level)
    return settings


def _settings_to_run(context: typer.Context, kind: type[_Settings], config: Path | None) -> _Settings | None:
    """Of a command that runs a server by itself and has others below it; None when it is one of those."""
    if context.invoked_subcommand is not None:
        if config is not None:
            raise typer.BadParameter("give --config after the command", param_hint="--config")
        return None
    if config is None:
        print(context.get_help())
        raise typer.Exit(2)
    return _load(kind, config)


def _serve(application: web.Application, settings: _ListeningSettings) -> None:
    from gateway.serve import run_app
    from gateway.shouting import shout_modes

    node = settings.kind.value if isinstance(settings, AdapterSettings | SandboxSettings) else settings.instance
    shout_modes(settings, node)
    try:
        run_app(application, settings.host, settings.port, shutdown_seconds=settings.shutdown_seconds)
    except ListenFailed as error:
        raise StartRefused(f"can't listen at {error.strerror}: stop what uses it, or change the setting") from None


if __name__ == "__main__":
    main()
