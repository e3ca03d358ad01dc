"""The settings of each process: a TOML file, overridden by DATENWEG_* environment variables.

A setting is described once, here or in the module of its part; docs/operations.md lists the same names (a test holds
both together). Settings are values that are passed on: nothing reads them through a module global. Insecure modes carry
`insecure` in their names; those and settings at a value that gives up a protection are listed by `insecure_modes`,
which the start-up log shouts (gateway.shouting).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gateway.citizen_settings import CitizenSettings
from gateway.database_urls import unprotected_hosts
from gateway.message_log_settings import MessageLogSettings
from gateway.other_settings import (
    AdapterSettings,
    InstitutionKind,
    IssuerSettings,
    RegistrySettings,
    SandboxSettings,
    TestCASettings,
)
from gateway.settings_base import (
    ENVIRONMENT_PREFIX,
    InvalidSettings,
    Port,
    Seconds,
    Settings,
    database_in,
    in_data_directory,
    is_loopback,
)
from gateway.transport_settings import TransportSettings
from trust.identifiers import (
    InvalidIdentifier,
    MemberId,
    SecurityServerId,
    SubsystemId,
    parse_member_id,
    parse_security_server_id,
    parse_subsystem_id,
)

__all__ = [
    "ALL_SETTINGS",
    "ENVIRONMENT_PREFIX",
    "AdapterSettings",
    "GatewaySettings",
    "InstitutionKind",
    "InvalidSettings",
    "IssuerSettings",
    "RegistrySettings",
    "SandboxSettings",
    "Settings",
    "TestCASettings",
    "is_loopback",
]


class GatewaySettings(Settings, TransportSettings, MessageLogSettings, CitizenSettings):
    """One gateway: consumer and provider role, its databases, keys and ports."""

    weakened_at: ClassVar[Mapping[str, object]] = {
        # Whoever gets at the database, or a backup of it, reads every message.
        "message_encryption": False,
        # Messages go on for ever without any proof of when.
        "acceptable_timestamp_failure_seconds": 0,
    }

    instance: str = Field(description="the instance of the road, e.g. DE-TEST")
    owner: str = Field(description="the member that runs this gateway, e.g. DE-TEST/GOV/MUSTERSTADT")
    server_code: str = Field(description="this gateway's code, unique within its owner")

    database_url: str = database_in("gateway.db")
    subject_key_database_url: str = database_in("subject-keys.db")

    client_host: str = "127.0.0.1"
    client_port: Port = 8080
    client_tls_host: str = "0.0.0.0"  # noqa: S104 - other machines of the organisation; it speaks TLS only
    client_tls_port: Port | None = None
    client_tls_key_file: Path = in_data_directory("keys/client-tls.p12")
    peer_host: str = "0.0.0.0"  # noqa: S104 - peers of other organisations must reach it; it speaks mutual TLS only
    peer_port: Port = 5500
    ocsp_port: Port = 5577
    ocsp_cost_strategy: Literal["NONE", "ONLY_FREE", "ONLY_PAID", "FREE_FIRST", "PAID_FIRST"] = "NONE"
    operations_host: str = "127.0.0.1"
    operations_port: Port = 8090

    anchor_file: Path = Field(description="the configuration anchor, obtained from the registry's operator")
    signing_key_file: Path = in_data_directory("keys/signing.p12")
    authentication_key_file: Path = in_data_directory("keys/authentication.p12")
    pin_file: Path = in_data_directory("keys/pin")
    key_directory: Path = in_data_directory("keys/ring")
    pkcs11_module: Path | None = None
    pkcs11_token: str | None = None
    pkcs11_pin_file: Path | None = None
    log_key_file: Path = in_data_directory("keys/log.key")
    record_key_file: Path = in_data_directory("keys/record.key")
    subject_index_key_file: Path = in_data_directory("keys/subject-index.key")
    checkpoint_lock_file: Path = in_data_directory("checkpoint.lock")
    # C2SP tlog-policy: which logs this gateway cosigns, and who must have cosigned its own.
    witness_policy_file: Path | None = None
    witness_key_file: Path = in_data_directory("keys/witness.key")
    witness_interval_seconds: Seconds = 10
    witness_alarm_seconds: Seconds = 60
    witness_limit_seconds: Seconds = 14_400
    # Where others reach /audit and /witness of the operations port.
    audit_url: str | None = None
    auditor_token_file: Path | None = None
    log_mldsa_key_file: Path | None = None
    log_old_key_file: Path = in_data_directory("keys/log-old.key")
    withheld_clients: tuple[str, ...] = ()
    data_tracker_clients: tuple[str, ...] = ()

    configuration_interval_seconds: Seconds = 60
    allowed_federations: tuple[str, ...] = ("none",)
    store_poll_seconds: Seconds = 1
    spool_directory: Path = in_data_directory("spool")
    error_vocabulary: Literal["snake", "camel"] = "snake"
    tracing_endpoint: str | None = None
    record_retention_days: Annotated[int, Field(gt=0)] = 730

    consent_authorities: tuple[str, ...] = ()

    insecure_plain_database: bool = False
    insecure_plain_http_clients: bool = False
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
    def audit_base_url(self) -> str:
        """Where others reach /audit and /witness."""
        return self.audit_url or f"http://{self.operations_host}:{self.operations_port}"

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
        if not is_loopback(self.client_host) and not self.insecure_plain_http_clients:
            raise ValueError(
                "client_host is not a loopback address and client_port speaks plain HTTP: put a TLS proxy on this "
                "machine before it, or set insecure_plain_http_clients"
            )
        return self

    @model_validator(mode="after")
    def _databases_over_tls(self) -> Self:
        """Whoever is on the way to a database reads what is in it, and changes who may do what."""
        for name in ("database_url", "subject_key_database_url"):
            hosts = unprotected_hosts(getattr(self, name), os.environ)
            if not self.insecure_plain_database and not all(map(is_loopback, hosts)):
                raise ValueError(
                    f"{name} leads to another machine without verified TLS: add ?ssl=verify-full (the authority's "
                    "certificate is PGSSLROOTCERT's), or set insecure_plain_database"
                )
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


ALL_SETTINGS: tuple[type[Settings], ...] = (
    GatewaySettings,
    RegistrySettings,
    TestCASettings,
    AdapterSettings,
    SandboxSettings,
    IssuerSettings,
)
