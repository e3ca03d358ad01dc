"""The settings of each process: a TOML file, overridden by DATENWEG_* environment variables.

A setting is described once, here; docs/operations.md lists the same names (a test holds both together). Settings are
values that are passed on: nothing reads them through a module global. A relative path in the file is relative to the
file's own folder. Insecure modes carry `insecure` in their names and are listed by `insecure_modes`, which the start-up
log shouts.
"""

from __future__ import annotations

import ipaddress
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.transport_settings import TransportSettings
from trust.identifiers import (
    InvalidIdentifier,
    MemberId,
    SecurityServerId,
    SubsystemId,
    parse_client_id,
    parse_member_id,
    parse_security_server_id,
    parse_subsystem_id,
)

ENVIRONMENT_PREFIX = "DATENWEG_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class InvalidSettings(Exception):
    """The settings can't be used; the text names each setting and what is wrong with it (never its value)."""


class InstitutionKind(StrEnum):
    """The institutions that ship with an adapter and a sandbox."""

    OZG = "ozg"
    STADTWERKE = "stadtwerke"
    SPARKASSE = "sparkasse"


class Settings(BaseSettings):
    """What the settings of all processes share. Built directly, nothing is read from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX)

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")
    shutdown_seconds: Seconds = Field(90, description="how long a stop waits for what was accepted")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The settings in a TOML file, each overridable by DATENWEG_<NAME>. Raises InvalidSettings."""
        try:
            values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidSettings(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{path}: not a TOML file: {error}") from None
        values |= EnvSettingsSource(cls)()
        folder = path.resolve().parent
        for name, field in cls.model_fields.items():
            is_path = field.annotation is Path or Path in get_args(field.annotation)
            if is_path and isinstance(values.get(name), str):
                values[name] = folder / values[name]
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
            raise InvalidSettings(f"{path}: " + "; ".join(problems)) from None


def _in_data_directory(name: str) -> Any:
    return Field(default_factory=lambda data: data["data_directory"] / name)


def _database_in(name: str) -> Any:
    return Field(default_factory=lambda data: f"sqlite+aiosqlite:///{data['data_directory'] / name}")


class GatewaySettings(Settings, TransportSettings):
    """One gateway: consumer and provider role, its databases, keys and ports."""

    instance: str = Field(description="the instance of the road, e.g. DE-TEST")
    owner: str = Field(description="the member that runs this gateway, e.g. DE-TEST/GOV/MUSTERSTADT")
    server_code: str = Field(description="this gateway's code, unique within its owner")
    data_directory: Path = Field(description="folder for everything this gateway writes; private to it")

    database_url: str = _database_in("gateway.db")
    subject_key_database_url: str = _database_in("subject-keys.db")

    client_host: str = "127.0.0.1"
    client_port: Port = 8080
    client_tls_host: str = "0.0.0.0"  # noqa: S104 - other machines of the organisation; it speaks TLS only
    client_tls_port: Port | None = None
    client_tls_key_file: Path = _in_data_directory("keys/client-tls.p12")
    peer_host: str = "0.0.0.0"  # noqa: S104 - peers of other organisations must reach it; it speaks mutual TLS only
    peer_port: Port = 5500
    ocsp_port: Port = 5577
    operations_host: str = "127.0.0.1"
    operations_port: Port = 8090

    anchor_file: Path = Field(description="the configuration anchor, obtained from the registry's operator")
    signing_key_file: Path = _in_data_directory("keys/signing.p12")
    authentication_key_file: Path = _in_data_directory("keys/authentication.p12")
    pin_file: Path = _in_data_directory("keys/pin")
    key_directory: Path = _in_data_directory("keys/ring")
    pkcs11_module: Path | None = None
    pkcs11_token: str | None = None
    pkcs11_pin_file: Path | None = None
    log_key_file: Path = _in_data_directory("keys/log.key")
    record_key_file: Path = _in_data_directory("keys/record.key")
    subject_index_key_file: Path = _in_data_directory("keys/subject-index.key")
    checkpoint_lock_file: Path = _in_data_directory("checkpoint.lock")
    # C2SP tlog-policy: which logs this gateway cosigns, and who must have cosigned its own.
    witness_policy_file: Path | None = None
    witness_key_file: Path = _in_data_directory("keys/witness.key")
    witness_interval_seconds: Seconds = 10
    witness_alarm_seconds: Seconds = 60
    witness_limit_seconds: Seconds = 14_400
    # Where others reach /audit and /witness of the operations port.
    audit_url: str | None = None
    auditor_token_file: Path | None = None
    log_mldsa_key_file: Path | None = None
    log_old_key_file: Path = _in_data_directory("keys/log-old.key")
    withheld_clients: tuple[str, ...] = ()
    data_tracker_clients: tuple[str, ...] = ()

    configuration_interval_seconds: Seconds = 60
    allowed_federations: tuple[str, ...] = ("none",)
    store_poll_seconds: Seconds = 1
    spool_directory: Path = _in_data_directory("spool")
    error_vocabulary: Literal["snake", "camel"] = "snake"
    tracing_endpoint: str | None = None
    record_retention_days: Annotated[int, Field(gt=0)] = 730

    message_stamping: Literal["batch", "immediate"] = "batch"
    message_stamping_interval_seconds: Seconds | None = None
    acceptable_timestamp_failure_seconds: Annotated[float, Field(ge=0)] = 14_400
    timestamp_cost_strategy: Literal["NONE", "ONLY_FREE", "ONLY_PAID", "FREE_FIRST", "PAID_FIRST"] = "NONE"
    message_encryption: bool = True
    message_body_logging: bool = True
    message_body_logging_enabled: tuple[str, ...] = ()
    message_body_logging_disabled: tuple[str, ...] = ()
    max_loggable_body_bytes: Annotated[int, Field(gt=0)] = 10 * 1024 * 1024
    truncated_body_allowed: bool = False
    body_digest_allowed: bool = False
    message_retention_days: Annotated[int, Field(gt=0)] = 30
    message_archiving: bool = True
    message_archive_directory: Path = _in_data_directory("archive")
    message_archive_interval_seconds: Seconds = 21_600
    message_archive_max_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    message_archive_grouping: Literal["none", "member", "subsystem"] = "none"
    message_archive_transfer_command: tuple[str, ...] = ()
    message_archive_transfer_timeout_seconds: Seconds = 600

    token_issuer: str | None = None
    token_audience: str | None = None
    # The issuer's `acr` values and what they mean here: low, substantial or high.
    token_acr_levels: dict[str, Literal["low", "substantial", "high"]] = {}
    # How clients name the client ports: the addresses that proofs of bound tokens (RFC 9449) are made for.
    client_urls: tuple[str, ...] = ()
    pseudonym_key_file: Path | None = None
    consent_authorities: tuple[str, ...] = ()

    citizen_host: str = "127.0.0.1"
    citizen_port: Port | None = None
    citizen_url: str | None = None
    citizen_client: str | None = None
    citizen_client_id: str = "datenweg-citizen"
    citizen_client_secret_file: Path | None = None
    citizen_session_seconds: Seconds = 1800
    citizen_requests_per_minute: Annotated[int, Field(gt=0)] = 240
    citizen_require_bound_tokens: bool = False
    citizen_require_dpop_nonce: bool = False
    citizen_cookie_key_file: Path = _in_data_directory("keys/cookie.key")
    citizen_purposes_file: Path | None = None
    citizen_city_name: str = "Musterstadt"
    citizen_log_keys: tuple[str, ...] = ()
    # Subsystems that may declare services and purposes at the consent service.
    citizen_consent_declarants: tuple[str, ...] = ()
    citizen_smtp_host: str | None = None
    citizen_smtp_port: Port = 587
    citizen_smtp_user: str | None = None
    citizen_smtp_password_file: Path | None = None
    citizen_mail_from: str | None = None
    citizen_push_contact: str | None = None
    citizen_push_hosts: tuple[str, ...] = (
        "fcm.googleapis.com",
        "updates.push.services.mozilla.com",
        "*.notify.windows.com",
        "*.push.apple.com",
    )
    citizen_notice_digest_seconds: Seconds = 3600

    insecure_plain_http_clients: bool = False
    insecure_plain_http_issuer: bool = False
    insecure_plain_http_citizens: bool = False
    insecure_plain_smtp: bool = False
    insecure_private_push_services: bool = False
    insecure_peers_without_receipt: tuple[str, ...] = ()

    @property
    def owner_id(self) -> MemberId:
        """The owner as an identifier."""
        return parse_member_id(self.owner)

    @property
    def server_id(self) -> SecurityServerId:
        """This gateway as an identifier."""
        return SecurityServerId(self.owner_id, self.server_code)

    @property
    def receiptless_server_ids(self) -> frozenset[SecurityServerId]:
        """The gateways whose answers are delivered without an audit receipt."""
        return frozenset(parse_security_server_id(server) for server in self.insecure_peers_without_receipt)

    @property
    def consent_authority_ids(self) -> frozenset[MemberId]:
        """The members whose signed consents count here."""
        return frozenset(parse_member_id(authority) for authority in self.consent_authorities)

    @property
    def withheld_client_ids(self) -> frozenset[SubsystemId]:
        """The clients whose accesses are withheld from the citizen where they ask for it."""
        return frozenset(parse_subsystem_id(client) for client in self.withheld_clients)

    @property
    def data_tracker_client_ids(self) -> frozenset[SubsystemId]:
        """The portals that may ask for a person's accesses as the Data Tracker does."""
        return frozenset(parse_subsystem_id(client) for client in self.data_tracker_clients)

    @property
    def citizen_consent_declarant_ids(self) -> frozenset[SubsystemId]:
        """Who may declare services and purposes at the consent service."""
        return frozenset(parse_subsystem_id(declarant) for declarant in self.citizen_consent_declarants)

    @property
    def consent_service_id(self) -> SubsystemId | None:
        """The subsystem that has the consent service; None without citizens here."""
        if self.citizen_port is None or self.citizen_client is None:
            return None
        return parse_subsystem_id(self.citizen_client)

    @property
    def audit_base_url(self) -> str:
        """Where others reach /audit and /witness."""
        return self.audit_url or f"http://{self.operations_host}:{self.operations_port}"

    @property
    def insecure_modes(self) -> tuple[str, ...]:
        """The insecure settings in force; each is shouted at start."""
        return tuple(name for name in type(self).model_fields if name.startswith("insecure_") and getattr(self, name))

    @model_validator(mode="after")
    def _device(self) -> Self:
        if (self.pkcs11_module is None) != (self.pkcs11_token is None):
            raise ValueError("pkcs11_module (the device's library) and pkcs11_token (the token's label) go together")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in (self.owner, *self.consent_authorities):
            try:
                member = parse_member_id(name)
            except InvalidIdentifier as error:
                raise ValueError(f"owner and consent_authorities are INSTANCE/CLASS/CODE: {error}") from None
            if member.instance != self.instance and name == self.owner:
                raise ValueError("owner belongs to another instance")
        try:
            _ = self.receiptless_server_ids
        except InvalidIdentifier as error:
            raise ValueError(f"insecure_peers_without_receipt names INST/CLASS/MEMBER/SERVER: {error}") from None
        try:
            for subsystem in (*self.message_body_logging_enabled, *self.message_body_logging_disabled):
                parse_subsystem_id(subsystem)
        except InvalidIdentifier as error:
            raise ValueError(f"message_body_logging_… name INST/CLASS/MEMBER/SUBSYSTEM: {error}") from None
        if not is_loopback(self.client_host) and not self.insecure_plain_http_clients:
            raise ValueError(
                "client_host is not a loopback address and client_port speaks plain HTTP: put a TLS proxy on this "
                "machine before it, or set insecure_plain_http_clients"
            )
        if self.token_issuer is not None and (self.token_audience is None or self.pseudonym_key_file is None):
            raise ValueError("token_issuer needs token_audience and pseudonym_key_file")
        needed = (self.token_issuer, self.citizen_url, self.citizen_client, self.citizen_purposes_file)
        if self.citizen_port is not None and None in needed:
            raise ValueError("citizen_port needs token_issuer, citizen_url, citizen_client and citizen_purposes_file")
        return self

    @model_validator(mode="after")
    def _access_log(self) -> Self:
        try:
            _ = (self.withheld_client_ids, self.data_tracker_client_ids)
        except InvalidIdentifier as error:
            raise ValueError(
                f"withheld_clients and data_tracker_clients name INST/CLASS/MEMBER/SUBSYSTEM: {error}"
            ) from None
        if self.audit_url is not None and (urlsplit(self.audit_url).scheme not in ("http", "https")):
            raise ValueError("audit_url is the http or https address under which others reach /audit and /witness")
        return self

    @model_validator(mode="after")
    def _citizens_are_told(self) -> Self:
        try:
            _ = (self.citizen_consent_declarant_ids, self.consent_service_id)
        except InvalidIdentifier as error:
            raise ValueError(
                f"citizen_client and citizen_consent_declarants name INST/CLASS/MEMBER/SUBSYSTEM: {error}"
            ) from None
        if self.citizen_smtp_host is not None and not self.citizen_mail_from:
            raise ValueError("citizen_smtp_host needs citizen_mail_from, the address that mails come from")
        if self.citizen_smtp_user is not None and self.citizen_smtp_password_file is None:
            raise ValueError("citizen_smtp_user needs citizen_smtp_password_file")
        contact = self.citizen_push_contact
        if contact is not None and not contact.startswith(("mailto:", "https://")):
            raise ValueError("citizen_push_contact is a mailto: or https: address (RFC 8292 section 2.1)")
        return self

    @model_validator(mode="after")
    def _citizens_over_tls(self) -> Self:
        """Whoever can change the issuer's keys on the way is every citizen; whoever reads a cookie is one of them."""
        if self.token_issuer and not _is_private(self.token_issuer) and not self.insecure_plain_http_issuer:
            raise ValueError(
                "token_issuer is neither https nor on this machine: give its https address, or set "
                "insecure_plain_http_issuer"
            )
        if self.citizen_port is None or self.insecure_plain_http_citizens:
            return self
        if not is_loopback(self.citizen_host):
            raise ValueError(
                "citizen_host is not a loopback address and citizen_port speaks plain HTTP: put a TLS proxy on this "
                "machine before it, or set insecure_plain_http_citizens"
            )
        if self.citizen_url and not _is_private(self.citizen_url):
            raise ValueError(
                "citizen_url is neither https nor on this machine: put a TLS proxy before it and give its https "
                "address, or set insecure_plain_http_citizens"
            )
        return self


class RegistrySettings(Settings):
    """The registry: builds, signs and serves the global configuration."""

    instance: str
    data_directory: Path
    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: str | None = None
    registry_file: Path = _in_data_directory("registry.xml")
    signing_key_file: Path = _in_data_directory("keys/configuration.p12")
    pin_file: Path = _in_data_directory("keys/pin")
    interval_seconds: Seconds = 60
    validity_seconds: Seconds = 600
    management_provider: str | None = None
    management_url: str | None = None
    time_stamping_interval_seconds: Annotated[int, Field(gt=0)] = 60
    federation_directory: Path = _in_data_directory("federation")
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


ALL_SETTINGS: tuple[type[Settings], ...] = (
    GatewaySettings,
    RegistrySettings,
    TestCASettings,
    AdapterSettings,
    SandboxSettings,
    IssuerSettings,
)


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what goes to this address: by TLS, or because there is no way."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
