"""The settings of the processes beside a gateway: registry, test certification authority, adapters, sandboxes, issuer.

Described with the gateway's in docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gateway.settings_base import Port, Seconds, Settings, in_data_directory, is_loopback, is_private
from trust.identifiers import InvalidIdentifier, parse_client_id


class InstitutionKind(StrEnum):
    """The institutions that ship with an adapter and a sandbox."""

    OZG = "ozg"
    STADTWERKE = "stadtwerke"
    SPARKASSE = "sparkasse"


class RegistrySettings(Settings):
    """The registry: builds, signs and serves the global configuration."""

    # Every gateway then takes an OCSP answer for good beyond the time that its responder gave it.
    weakened_at: ClassVar[Mapping[str, object]] = {"verify_next_update": False}

    instance: str
    data_directory: Path
    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: str | None = None
    registry_file: Path = in_data_directory("registry.xml")
    signing_key_file: Path = in_data_directory("keys/configuration.p12")
    pin_file: Path = in_data_directory("keys/pin")
    interval_seconds: Seconds = 60
    validity_seconds: Seconds = 600
    management_provider: str | None = None
    management_url: str | None = None
    time_stamping_interval_seconds: Annotated[int, Field(gt=0)] = 60
    federation_directory: Path = in_data_directory("federation")
    monitoring_client: str | None = None
    ocsp_fetch_interval_seconds: Annotated[int, Field(gt=0)] | None = None
    verify_next_update: bool | None = None

    @model_validator(mode="after")
    def _clients_are_named(self) -> Self:
        for name in ("management_provider", "monitoring_client"):
            value = getattr(self, name)
            try:
                _ = None if value is None else parse_client_id(value)
            except InvalidIdentifier as error:
                raise ValueError(f"{name} is INSTANCE/CLASS/MEMBER[/SUBSYSTEM]: {error}") from None
        return self


class TestCASettings(Settings):
    """The test certification authority with OCSP responder and time-stamping authority. Test instances only."""

    __test__: ClassVar[bool] = False  # not a test class, whatever its name suggests to pytest

    instance: str
    data_directory: Path
    host: str = "127.0.0.1"
    port: Port = 8001
    public_url: str | None = None
    certificate_profile: Literal["basic", "fi-vrk"] = "basic"


class AdapterSettings(Settings):
    """One adapter: its institution's kind, where it listens and where the institution's backend is."""

    kind: InstitutionKind
    data_directory: Path
    backend_url: str
    host: str = "127.0.0.1"
    port: Port = 8200
    backend_timeout_seconds: Seconds = 20
    document_authorities: Path | None = None

    insecure_plain_http_backend: bool = False
    insecure_plain_http_gateway: bool = False

    @model_validator(mode="after")
    def _nobody_else_reaches_it(self) -> Self:
        # An adapter takes its gateway's word for who asks about whom: whoever reaches the port has every person's data.
        if not is_loopback(self.host) and not self.insecure_plain_http_gateway:
            raise ValueError(
                "host is not a loopback address, and the adapter believes whoever reaches it: put a proxy before it "
                "that lets in its gateway alone, or set insecure_plain_http_gateway"
            )
        if not is_private(self.backend_url) and not self.insecure_plain_http_backend:
            raise ValueError(
                "backend_url is neither https nor on this machine: give its https address, or set "
                "insecure_plain_http_backend"
            )
        return self


class SandboxSettings(Settings):
    """One sandbox: which institution's backend it stands in for, and where it listens."""

    kind: InstitutionKind
    host: str = "127.0.0.1"
    port: Port = 8300


class IssuerSettings(Settings):
    """The demo's OpenID Connect issuer with invented citizens. Test instances only."""

    instance: str
    data_directory: Path
    issuer_url: str
    token_audience: str
    redirect_uris: tuple[str, ...]
    host: str = "127.0.0.1"
    port: Port = 8002
    client_id: str = "datenweg-citizen"
    client_secret_file: Path | None = None
    logout_url: str | None = None
    app_client_id: str | None = None
    app_redirect_uris: tuple[str, ...] = ()
    token_seconds: Seconds = 900
