"""`datenweg configuration`: look into a global configuration, check it, compare two, read an anchor.

A configuration is named by where it is: a gateway's settings file (.toml: what that gateway has accepted), a folder in
X-Road's layout, the shared parameters' XML, or the address of a source. With an anchor it is verified; without one a
file is shown as it stands, and the output says so.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.admin.configuration_values import Difference, compare, describe, fingerprint
from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.clock import SystemClock
from trust.errors import ConfigurationInvalid, FetchFailed, TrustError
from trust.globalconf import Anchor, VerifiedConfiguration, anchor_hash, parse_anchor, parse_shared_parameters
from trust.parameters import SharedParameters

_MAX_FILE_BYTES: Final = 64 << 20

configuration_commands = typer.Typer(help="The global configuration: show, verify, compare.", no_args_is_help=True)

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A gateway's settings file (.toml), a folder, an XML file or a URL.")
]
AnchorFile = Annotated[
    Path | None, typer.Option("--anchor", metavar="FILE", help="The configuration anchor; makes it a verified one.")
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]


@dataclass(frozen=True, slots=True)
class Read:
    """A configuration and, if it was verified, what that says of it."""

    parameters: SharedParameters
    verified: VerifiedConfiguration | None


@configuration_commands.command("show")
def show(source: Source, anchor: AnchorFile = None, as_json: AsJSON = False) -> None:
    """Members, gateways, authorities, time stamps and validity of a configuration."""
    read = _read(source, anchor)
    if as_json:
        typer.echo(json.dumps(_document(read), ensure_ascii=False, indent=2))
        return
    for name, values in _header(read).items():
        typer.echo(f"{name}: {values}")
    rows = [
        (name, "\n".join(f"{key}: {value}" for key, value in entry.items() if value))
        for name, entry in describe(read.parameters).items()
    ]
    print_table("", ("what", "attributes"), rows)


@configuration_commands.command("verify")
def verify(
    source: Source,
    anchor: Annotated[Path | None, typer.Option("--anchor", metavar="FILE", help="The configuration anchor.")] = None,
    as_json: AsJSON = False,
) -> None:
    """Check signature, digests, instance, age and rollback as a gateway does. Exit 0 if all of it holds, else 1."""
    try:
        read = _read(source, anchor)
        if read.verified is None:
            raise AdminError("give --anchor: without it nothing can be verified")
        read.verified.require_current(SystemClock().now())
    except TrustError as error:
        problem = {"valid": False, "code": error.code, "reason": str(error), "hint": error.hint}
        typer.echo(json.dumps(problem) if as_json else f"INVALID {error.code}: {error}")
        if error.hint and not as_json:
            typer.echo(f"  {error.hint}")
        raise typer.Exit(1) from None
    result = {"valid": True, **_header(read)}
    typer.echo(
        json.dumps(result) if as_json else "\n".join(["valid", *(f"{k}: {v}" for k, v in _header(read).items())])
    )


@configuration_commands.command("diff")
def diff(old: Source, new: Source, anchor: AnchorFile = None, as_json: AsJSON = False) -> None:
    """What the second configuration adds, removes and changes. Exit 0 if nothing, 1 otherwise."""
    difference = compare(_read(old, anchor).parameters, _read(new, anchor).parameters)
    typer.echo(json.dumps(_difference(difference), ensure_ascii=False, indent=2) if as_json else _text(difference))
    raise typer.Exit(0 if difference.is_empty else 1)


@configuration_commands.command("anchor")
def show_anchor(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration anchor.")], as_json: AsJSON = False
) -> None:
    """An anchor's hash (SHA-224), to compare with the registry's operator, and the sources that it names."""
    data, anchor = _bytes(file), _anchor(file)
    values: dict[str, Any] = {
        "hash": anchor_hash(data),
        "instance": anchor.instance,
        "generated": None if anchor.generated_at is None else anchor.generated_at.isoformat(),
        "sources": [
            {"url": source.url, "certificates": [fingerprint(der) for der in source.certificates]}
            for source in anchor.sources
        ],
    }
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    typer.echo(
        f"hash: {values['hash']}\ninstance: {values['instance']}\ngenerated: {values['generated'] or 'not said'}"
    )
    for source in values["sources"]:
        typer.echo(f"source: {source['url']} ({', '.join(source['certificates'])})")


def _read(source: str, anchor_file: Path | None) -> Read:
    """The configuration at `source`, verified if there is an anchor. Raises TrustError, AdminError."""
    anchor = None if anchor_file is None else _anchor(anchor_file)
    if source.startswith(("http://", "https://")):
        if anchor is None:
            raise AdminError("an address needs --anchor: what comes over the network counts for nothing without it")
        return _verified(asyncio.run(_fetch(source, anchor)))
    path = Path(source)
    if path.suffix == ".toml":
        return _of_gateway(path, anchor)
    if path.is_dir():
        return _of_folder(path, anchor)
    if anchor is not None:
        raise AdminError("a single file has no signature: give the folder or the address, or leave out --anchor")
    return Read(parse_shared_parameters(_bytes(path)), None)


def _anchor(path: Path) -> Anchor:
    try:
        return parse_anchor(_bytes(path))
    except ConfigurationInvalid as error:
        raise ConfigurationInvalid(f"{path}: {error}", code=error.code, hint=error.hint) from None


def _of_gateway(path: Path, anchor: Anchor | None) -> Read:
    from gateway.settings import GatewaySettings

    settings = GatewaySettings.from_file(path)
    used = anchor or _anchor(settings.anchor_file)
    return _of_folder(settings.data_directory / "configuration", used)


def _of_folder(path: Path, anchor: Anchor | None) -> Read:
    from trust.configuration_store import INSTANCE_FILE, ConfigurationStore, escape_instance

    if anchor is not None:
        stored = ConfigurationStore(path, anchor).load()
        if stored is None:
            raise ConfigurationInvalid(
                "the folder holds no signed directory that was accepted under this anchor",
                code="global_conf_missing_signed_data",
                hint="X-Road keeps the files alone; verify the address of their source instead",
            )
        return _verified(stored.configuration)
    folder = path
    if (path / INSTANCE_FILE).is_file():
        folder = path / escape_instance(_bytes(path / INSTANCE_FILE).decode("utf-8", "replace").strip())
    return Read(parse_shared_parameters(_bytes(folder / "shared-params.xml")), None)


async def _fetch(url: str, anchor: Anchor) -> VerifiedConfiguration:
    import aiohttp

    from trust.configuration_client import ConfigurationClient
    from trust.globalconf import AnchorSource

    # The anchor says who may sign; where to ask is what was typed.
    asked = Anchor(anchor.instance, (AnchorSource(url, anchor.certificates),))
    with tempfile.TemporaryDirectory() as folder:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            try:
                return await ConfigurationClient(session, asked, Path(folder), SystemClock().now).refresh()
            except FetchFailed as error:
                raise FetchFailed(f"{url}: {error}", code=error.code, hint=error.hint) from None


def _verified(configuration: VerifiedConfiguration) -> Read:
    return Read(configuration.parameters, configuration)


def _header(read: Read) -> dict[str, str]:
    values = {"instance": read.parameters.instance}
    if read.verified is None:
        return values | {"verified": "no: as the file has it"}
    configuration = read.verified
    left = configuration.expires - SystemClock().now()
    values |= {
        "verified": "yes",
        "version": str(configuration.version),
        "expires": f"{configuration.expires:%Y-%m-%dT%H:%M:%SZ}",
        "seconds left": str(int(left.total_seconds())),
        "OCSP fetched every": f"{configuration.ocsp_fetch_interval_seconds} s",
        "OCSP nextUpdate counts": "yes" if configuration.verify_next_update else "no",
        "monitoring client": str(configuration.monitoring_client or "none"),
    }
    if configuration.private is not None:
        values["management services"] = str(configuration.private.management_provider)
        values["time stamps every"] = f"{configuration.private.time_stamping_interval_seconds} s"
        values["federated with"] = ", ".join(sorted(a.instance for a in configuration.private.anchors)) or "nobody"
    return values


def _document(read: Read) -> dict[str, Any]:
    return {**_header(read), "contents": describe(read.parameters)}


def _difference(difference: Difference) -> Mapping[str, Any]:
    changed = {
        name: {key: {"old": old, "new": new} for key, (old, new) in attributes.items()}
        for name, attributes in difference.changed.items()
    }
    return {"added": difference.added, "removed": difference.removed, "changed": changed}


def _text(difference: Difference) -> str:
    lines = [f"+ {name}" for name in difference.added] + [f"- {name}" for name in difference.removed]
    for name, attributes in difference.changed.items():
        lines += [f"~ {name}: {key}: {old or '-'} -> {new or '-'}" for key, (old, new) in attributes.items()]
    return "\n".join(lines) or "no difference"


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise AdminError(f"{path}: too large")
        return path.read_bytes()
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None
