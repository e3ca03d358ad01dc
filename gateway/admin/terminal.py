"""What the commands have in common: the gateway's database, files, identifiers as typed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from gateway.admin.errors import AdminError
from gateway.settings import GatewaySettings
from gateway.store.errors import StoreError, UnknownService
from gateway.store.repository import Repository
from trust.certification_path import UNREADABLE
from trust.identifiers import InvalidIdentifier, ServiceId, SubsystemId, parse_subsystem_id

_Result = TypeVar("_Result")

GatewayConfig = Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with the gateway's settings.")]
Provider = Annotated[str, typer.Option(help="The providing subsystem: INSTANCE/CLASS/MEMBER/SUBSYSTEM.")]
Code = Annotated[str, typer.Option(help="The service's code.")]


def with_repository(settings: GatewaySettings, work: Callable[[Repository], Awaitable[_Result]]) -> _Result:
    """What `work` returns, done on the gateway's own database. Raises AdminError."""
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
        except StoreError as error:
            raise AdminError(str(error)) from None
        finally:
            await engine.dispose()

    return asyncio.run(main())


def subsystem_of(text: str, option: str) -> SubsystemId:
    """A subsystem as typed. Raises AdminError."""
    try:
        return parse_subsystem_id(text)
    except InvalidIdentifier as error:
        raise AdminError(f"{option} is INSTANCE/CLASS/MEMBER/SUBSYSTEM: {error}") from None


def service_of(provider: str, code: str) -> ServiceId:
    """A service code of a subsystem as typed. Raises AdminError."""
    return ServiceId(subsystem_of(provider, "--provider"), code)


def read_certificate(path: Path) -> bytes:
    """The certificate (DER) in a PEM or DER file. Raises AdminError."""
    data = read_file(path)
    try:
        parse = load_pem_x509_certificate if data.startswith(b"-----") else load_der_x509_certificate
        return parse(data).public_bytes(Encoding.DER)
    except UNREADABLE:
        raise AdminError(f"{path} holds no certificate") from None


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises AdminError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None
