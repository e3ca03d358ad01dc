"""`datenweg registry rotate-key`: a new key for the configuration's signature, without new anchors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.admin.errors import AdminError
from gateway.clock import SystemClock
from gateway.settings import RegistrySettings

RegistryConfig = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="TOML file with the registry's settings.")
]


def rotate_key(
    config: RegistryConfig,
    *,
    activate: Annotated[
        bool, typer.Option("--activate", help="Sign with the announced key from now on; it must be known by then.")
    ] = False,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="With --activate: don't wait; gateways that haven't seen it need the new anchor."
        ),
    ] = False,
) -> None:
    """Make and announce the next signing key; later, with --activate, switch to it. The running registry follows."""
    from gateway.registry.membership import RegistrationRefused
    from gateway.registry.node import Registry

    registry = Registry(RegistrySettings.from_file(config), SystemClock())
    now = SystemClock().now()
    try:
        if activate:
            registry.keys.activate(now, at_once=at_once)
        else:
            registry.keys.make_successor(now)
    except RegistrationRefused as error:
        raise AdminError(str(error)) from None
    registry.announce()
    if activate:
        typer.echo("the new key signs from the next generation on; hand out the new anchors to those who join")
    else:
        typer.echo("the next key is announced from the next generation on; activate it when its validity has passed")
